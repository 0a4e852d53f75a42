"""Keeps docs/cases.md: `python docs/cases.py` rewrites its column of tests from the tests themselves.

A test that proves a case bears its number: `test_c33_byte_by_byte`, or `test_c35_c37_blocks_in_any_cut` where it
proves two. So the column is never written by hand. What is by hand is what each case asks for, and, where there
is no test yet, `later:` and the area that it will come with; both stay as they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = Path(__file__).with_suffix(".md")

_ROW = re.compile(r"^\| C(\d\d) \| (.*?) \| (.*?) \|$", re.MULTILINE)
_NUMBERED = re.compile(r"test((?:_c\d\d)+)_")


def tests_by_case() -> dict[str, list[str]]:
    """`file::name` of the tests of each case, in the order of the files and of their lines."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in _functions(path):
            numbered = _NUMBERED.match(name)
            for number in numbered[1].split("_c")[1:] if numbered else ():
                found.setdefault(number, []).append(f"{path.relative_to(ROOT).as_posix()}::{name}")
    return found


def _functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def rows(text: str) -> dict[str, tuple[str, str]]:
    """What the table says of each case: what is asked for, and the tests."""
    return {number: (asked, tests) for number, asked, tests in _ROW.findall(text)}


def refreshed(text: str) -> str:
    """The table with its tests as they are now."""
    found = tests_by_case()

    def row(match: re.Match[str]) -> str:
        number, asked, said = match.groups()
        tests = "<br>".join(f"`{test}`" for test in found.get(number, ()))
        return f"| C{number} | {asked} | {tests or (said if said.startswith('later: ') else 'later: ?')} |"

    return _ROW.sub(row, text)


if __name__ == "__main__":
    TABLE.write_text(refreshed(TABLE.read_text()))
