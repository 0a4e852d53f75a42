"""NDJSON: one JSON value on each line (github.com/ndjson/ndjson-spec), and RFC 8259 to the letter inside it.

`Lines` cuts bytes into lines, `Decoder` makes values of them. Lines end at LF and only there; one CR before
it is dropped, blank lines are skipped, the last line needs no LF. A line that is no JSON does not lose the
framing: it becomes a `BadLine` in its place, and the later lines still come.

The standard library's JSON is laxer than RFC 8259 in a few places, and each is closed here: bytes are
decoded as strict UTF-8 first (`json.loads(bytes)` lets surrogates through), NaN and Infinity are refused, and
depth and length of numbers have limits of their own (else RecursionError, and a plain ValueError).

Cost: one `rfind` and one `split` for a chunk, one parse for a line; what waits for its LF is searched once.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn

from . import jsontext
from .errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from .machine import Machine, Results

__all__ = ["BadLine", "Decoder", "Lines", "encode", "parse"]

_MAX_DIGITS = 4_300  # as CPython has it (sys.set_int_max_str_digits), whose time grows with their square
_BLANK = b" \t\r"


class BadLine(NamedTuple):
    """Stands in the place of a line that holds no JSON value.

    `number` counts all lines from 1, blank ones too; `raw` is the line without its end; `reason` is one of
    `invalid_utf8`, `invalid_json`, `too_deep`, `number_too_long`.
    """

    number: int
    raw: bytes
    reason: str


class Framing(Machine[Results]):
    """Cuts bytes at LF. A line may have `max_line_bytes` raw bytes, its LF not counted."""

    __slots__ = ("_edge", "_held", "_limit", "_offset")

    def __init__(self, max_line_bytes: int) -> None:
        super().__init__()
        self._limit = max_line_bytes
        self._held = bytearray()
        self._offset = 0
        self._edge = max_line_bytes  # the offset at which the open line would be too long

    def _cut(self, chunk: bytes) -> list[bytes]:
        """All lines that `chunk` completes, blank ones too, without LF."""
        start = self._offset
        self._offset += len(chunk)
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._held += chunk
            if self._offset > self._edge:
                self._too_long()
            return []
        lines = b"".join((self._held, chunk[: end - 1])).split(b"\n")
        safe = self._offset <= self._edge  # all that came is shorter than one line may be
        self._held = bytearray(chunk[end:])
        if not safe and not self._within(lines):
            return lines
        self._edge = start + end + self._limit
        if self._offset > self._edge:
            self._too_long()
        return lines

    def _within(self, lines: list[bytes]) -> bool:
        """Whether no line is too long; else drops the first that is and all after it."""
        for index, line in enumerate(lines):
            if len(line) > self._limit:
                del lines[index:]
                self._too_long()
                return False
            self._edge += len(line) + 1
        return True

    def _too_long(self) -> None:
        self._held.clear()
        self.fault = LimitExceeded(
            f"a line is longer than {self._limit} bytes",
            kind="line_too_long",
            limit=self._limit,
            offset=self._edge,
        )

    def _rest(self) -> list[bytes]:
        """The last line, if it has no LF."""
        held, self._held = bytes(self._held), bytearray()
        return [held] if held else []


def content(line: bytes) -> bytes:
    """The line without one CR at its end; b"" if it is blank."""
    return line.removesuffix(b"\r") if line.strip(_BLANK) else b""


class Lines(Framing[list[bytes]]):
    """Bytes to lines: without line end, blank ones skipped.

    A line of more than `max_line_bytes` raw bytes (LF not counted) is a fault, kind `line_too_long`.
    Held back: an unfinished line.
    """

    __slots__ = ()

    def __init__(self, max_line_bytes: int = 16 * 1024 * 1024) -> None:
        super().__init__(max_line_bytes)

    def _take(self, chunk: bytes) -> list[bytes]:
        return [text for line in self._cut(chunk) if (text := content(line))]

    def _end(self) -> list[bytes]:
        return [text for line in self._rest() if (text := content(line))]


class Decoder(Framing[list[Any]]):
    """Bytes to JSON values, with a `BadLine` in the place of each line that is none.

    Limits: `max_line_bytes` as for `Lines` (a fault), `max_depth` of arrays and objects (a `BadLine`). Held
    back: an unfinished line.
    """

    __slots__ = ("_depth", "_number")

    def __init__(self, max_line_bytes: int = 16 * 1024 * 1024, *, max_depth: int = 128) -> None:
        super().__init__(max_line_bytes)
        self._depth = max_depth
        self._number = 0

    def _take(self, chunk: bytes) -> list[Any]:
        return self._values(self._cut(chunk))

    def _end(self) -> list[Any]:
        return self._values(self._rest())

    def _values(self, lines: list[bytes]) -> list[Any]:
        values = []
        for line in lines:
            self._number += 1
            if text := content(line):
                try:
                    values.append(parse(text, self._depth))
                except RemoteProtocolError as bad:
                    values.append(BadLine(self._number, text, bad.kind))
        return values


# --- one value ---


def _refusal(kind: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"not one JSON value: {kind.replace('_', ' ')}", kind=kind)


def _no_constant(name: str) -> NoReturn:
    raise _refusal("invalid_json")  # NaN, Infinity, -Infinity: RFC 8259, section 6, has none of them


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise _refusal("number_too_long")
    return int(digits)


def _bounded_float(digits: str) -> float:
    if len(digits) > _MAX_DIGITS:
        raise _refusal("number_too_long")
    return float(digits)


# A short text cannot hold a long number, and is spared a call for each number in it.
_SHORT = json.JSONDecoder(parse_constant=_no_constant)
_LONG = json.JSONDecoder(parse_constant=_no_constant, parse_int=_bounded_int, parse_float=_bounded_float)


def parse(raw: bytes, max_depth: int = 128) -> Any:
    """The one JSON value in `raw`, strictly. Raises RemoteProtocolError, of a kind as in `BadLine.reason`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _refusal("invalid_utf8") from None
    # Brackets inside of strings only make this look too large; then it is worth looking properly.
    if raw.count(b"[") + raw.count(b"{") > max_depth and jsontext.depth(raw) > max_depth:
        raise _refusal("too_deep")
    decoder = _SHORT if len(text) <= _MAX_DIGITS else _LONG
    try:
        return decoder.decode(text)
    except json.JSONDecodeError:
        raise _refusal("invalid_json") from None
    except ValueError:  # CPython's own limit was set lower
        raise _refusal("number_too_long") from None
    except RecursionError:  # a caller that is deep in its own stack leaves less than `max_depth`
        raise _refusal("too_deep") from None


def encode(value: Any) -> bytes:
    """`value` as one line of NDJSON.

    U+2028, U+2029 and U+0085 are escaped, for readers that split text at them. Raises LocalProtocolError for
    what JSON cannot carry: NaN, infinities, lone surrogates, other types.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")
        return text.encode("utf-8") + b"\n"
    except (ValueError, TypeError, RecursionError) as exc:
        raise LocalProtocolError(f"not expressible in JSON: {exc}") from exc
