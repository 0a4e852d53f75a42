"""The core stays pure, and imports point one way: fuzz -> server -> providers -> protocol."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import penstock

ROOT = Path(penstock.__file__).parent
FOLDERS = ["protocol", "providers", "server", "fuzz"]  # each may import itself and those before it

IO_MODULES = {
    "trio",
    "asyncio",
    "socket",
    "ssl",
    "select",
    "selectors",
    "httpx",
    "httpcore",
    "h11",
    "wsproto",
    "msgspec",
}
# All that the core may use; a further module is a decision, and has to be written here.
PURE_MODULES = {"__future__", "abc", "binascii", "codecs", "collections", "datetime", "enum", "functools"} | {
    *("hashlib", "html", "json", "math", "re", "string", "struct", "types", "typing"),
}
IMPURE_CALLS = {"open", "input", "print", "exec", "eval", "__import__", "breakpoint"}
IMPURE_METHODS = {"now", "utcnow", "today", "getenv", "environ", "urandom", "read_text", "read_bytes", "open"}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules that a file imports, as parts; those of the package begin with `penstock`."""
    package = ("penstock", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, *module, alias.name) for alias in node.names)


# The conformance vectors are files, and what runs them has to read them: the one exception, which nothing imports.
CORE = [path for path in sources("protocol") if path.parent.name != "vectors"]


def test_importing_the_core_loads_no_io_and_no_vectors() -> None:
    code = "import sys, penstock.protocol.relay, penstock.protocol.members; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "penstock.protocol.vectors" not in run.stdout.split()
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "penstock" in loaded
    assert not loaded & (IO_MODULES | {"_socket", "_ssl"})


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_only_what_is_pure_and_itself(path: Path) -> None:
    for parts in imports(path):
        if parts[0] == "penstock":
            assert parts[1] == "protocol", parts
            assert "vectors" not in parts, parts
        else:
            assert parts[0] in PURE_MODULES, parts


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_reads_no_clock_random_source_environment_file_or_socket(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                assert node.func.id not in IMPURE_CALLS, node.lineno
            elif isinstance(node.func, ast.Attribute):
                assert node.func.attr not in IMPURE_METHODS, node.lineno


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_one_way(folder: str) -> None:
    allowed = FOLDERS[: FOLDERS.index(folder) + 1]
    for path in sources(folder):
        for parts in imports(path):
            if parts[0] == "penstock" and len(parts) > 1 and (ROOT / parts[1]).is_dir():
                assert parts[1] in allowed, f"{path}: {'.'.join(parts)}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_inside_the_package_imports_are_relative(folder: str) -> None:
    for path in sources(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module is not None
                assert node.module.partition(".")[0] not in {"penstock", *FOLDERS}, f"{path}:{node.lineno}"
            elif isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
                assert not names & {"penstock", *FOLDERS}, f"{path}:{node.lineno}"


def test_the_front_of_the_core_names_what_it_exports() -> None:
    import penstock.protocol as front

    assert sorted(front.__all__) == front.__all__
    for name in front.__all__:
        assert hasattr(front, name)
    modules = {path.stem for path in (ROOT / "protocol").glob("*.py")} - {"__init__"}
    assert {"chunked", "detect", "head", "ndjson", "sse", "utf8"} <= set(front.__all__) & modules


def test_the_scan_finds_what_it_looks_for() -> None:
    assert 0 < len(sources("protocol")) - len(CORE) < 10
    used = {parts[0] for path in CORE for parts in imports(path)}
    assert used == PURE_MODULES | {"penstock"}
    inside = ("penstock", "protocol", "errors", "ProtocolError")
    assert inside in set(imports(ROOT / "protocol" / "__init__.py"))
    assert any(parts[:2] == ("penstock", "protocol") for path in sources("server") for parts in imports(path))
