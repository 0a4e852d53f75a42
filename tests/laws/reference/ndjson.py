"""NDJSON, line by line over the whole input: what `ndjson.Lines` and `ndjson.Decoder` must say."""

from __future__ import annotations

from collections.abc import Iterator

from .json import Bad, parse
from .told import Fault, Telling, Told

__all__ = ["lines", "values"]


def _raw_lines(data: bytes, limit: int) -> Iterator[tuple[bytes, int] | Fault]:
    """Lines without LF, and after how many bytes each is complete; or a fault as the last."""
    start = 0
    for at, byte in enumerate(data):
        if byte == 0x0A:
            yield data[start:at], at + 1
            start = at + 1
        elif at - start >= limit:
            yield Fault("line_too_long", start + limit, at + 1)
            return
    if start < len(data):
        yield data[start:], len(data) + 1


def _content(line: bytes) -> bytes:
    if all(byte in b" \t\r" for byte in line):
        return b""
    return line[:-1] if line.endswith(b"\r") else line


def lines(data: bytes, limit: int, *, mark: bytes = b"") -> Told:
    """The lines that are not blank, without line end. `mark`: what is dropped from the very first."""
    telling, fault = Telling([]), None
    for number, line in enumerate(_raw_lines(data, limit)):
        if isinstance(line, Fault):
            fault = line
        elif content := _content(line[0] if number else line[0].removeprefix(mark)):
            telling.add(line[1], [content])
    return telling.told(len(data), fault)


def values(data: bytes, limit: int, max_depth: int) -> Told:
    """Values, and ("bad", number, raw, reason) for each line that is none."""
    telling, fault = Telling([]), None
    for number, line in enumerate(_raw_lines(data, limit), 1):
        if isinstance(line, Fault):
            fault = line
        elif content := _content(line[0]):
            try:
                telling.add(line[1], [parse(content, max_depth)])
            except Bad as bad:
                telling.add(line[1], [("bad", number, content, str(bad))])
    return telling.told(len(data), fault)
