"""Runs the vectors against this library: each in every cut, and each answer compared with what was expected.

A vector's bytes are fed whole, byte by byte, and in two at every offset (of long ones at some hundred, evenly spread).
An expectation says only what it names: of an answer, and of a fault, the members that the vector has are compared.
Values are compared as JSON texts, so that 1, 1.0 and true are three things.

Nothing but the standard library: it runs wherever the library does, and takes some seconds.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ..dialects import DIALECTS
from . import framing, messages
from .files import NAMES, Vector, load
from .framing import Chunks

__all__ = ["Failure", "Report", "check", "cuts", "main", "run"]

MACHINES = {**framing.MACHINES, **messages.MACHINES}
WHOLE = {"json", "sse-encode", "jsonrpc", "jsonrpc-dialogue"}
"""What takes its input in one piece, if it has bytes for input at all."""


class Failure(NamedTuple):
    """A vector that was answered otherwise; `cut` is the lengths of the chunks."""

    id: str
    cut: list[int]
    expected: Any
    found: Any

    def __str__(self) -> str:
        cut = "byte by byte" if len(self.cut) > 2 else "+".join(map(str, self.cut)) or "whole"
        return f"{self.id} ({cut})\n  expected {_text(self.expected)}\n  found    {_text(self.found)}"


class Report(NamedTuple):
    """How many vectors of each file ran, how many cuts they took, which failed and which could not be run."""

    counts: dict[str, int]
    runs: int
    failures: list[Failure]
    skipped: list[str]

    def __str__(self) -> str:
        lines = [f"{name:<18}{count:>5}" for name, count in self.counts.items()]
        lines += [f"{'all':<18}{sum(self.counts.values()):>5} vectors in {self.runs} cuts", *map(str, self.failures)]
        lines += [f"skipped {id}" for id in self.skipped]
        return "\n".join([*lines, f"{len(self.failures)} failures, {len(self.skipped)} skipped"])


def cuts(data: bytes, splits: int) -> Iterator[Chunks]:
    """Whole, byte by byte, and in two at every offset, or at about `splits` of them."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(0, len(data) + 1, len(data) // splits + 1):
        yield [data[:at], data[at:]]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _named(expected: Any, found: Any) -> Any:
    """Of what was found the members that were expected, and so of a fault in it."""
    if not isinstance(expected, dict) or not isinstance(found, dict):
        return found
    named = {name: found[name] for name in expected if name in found}
    for name in named.keys() & {"fault", "strict"}:
        named[name] = _named(expected[name], named[name])
    return named


def check(name: str, vector: Vector, splits: int = 100) -> tuple[int, Failure | None]:
    """Run one vector of the file `name`; how many cuts it took, and the first that was answered otherwise."""
    data = b64decode(vector.get("input", ""))
    ran = 0
    for chunks in [[data]] if name in WHOLE else cuts(data, splits):
        ran += 1
        found: Any
        try:
            found = MACHINES[name](vector, chunks)
            agrees = _text(_named(vector["expect"], found)) == _text(vector["expect"])
        except Exception as error:  # whatever it is, it is this vector's failure, and the others still run
            found, agrees = f"{type(error).__name__}: {error}", False
        if not agrees:
            return ran, Failure(vector["id"], [len(chunk) for chunk in chunks], vector["expect"], found)
    return ran, None


def run(names: Iterable[str] = NAMES, splits: int = 100) -> Report:
    """Run the vectors of these files. Streams of a dialect that this version does not have are skipped."""
    report = Report({}, 0, [], [])
    runs = 0
    for name in names:
        vectors = load(name)
        report.counts[name] = len(vectors)
        for vector in vectors:
            if name == "streams" and vector["options"]["dialect"] not in DIALECTS:
                report.skipped.append(vector["id"])
                continue
            ran, failure = check(name, vector, splits)
            runs += ran
            if failure is not None:
                report.failures.append(failure)
    return report._replace(runs=runs)


def main(names: list[str]) -> int:
    """Run the files of these names, or all, and write what came of it. The exit code: 1 where something failed."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        sys.stderr.write(f"no vectors are called {', '.join(unknown)}; there are {', '.join(NAMES)}\n")
        return 2
    report = run(names or NAMES)
    sys.stdout.write(f"{report}\n")
    return 1 if report.failures else 0
