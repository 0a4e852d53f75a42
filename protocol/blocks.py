"""An event stream as bytes: lines, and runs of whole events for a relay that need not look inside.

`EventLines` is what the WHATWG HTML text says about lines (section 9.2.6): they end at CR, LF or CRLF, in any
mix, and at nothing else; one leading byte order mark is dropped. A line that ends in CR is complete at once and
a following LF is skipped, so that nothing is late. `Blocks` returns events in normal form, `fields` reads one.

The limit counts the raw bytes of an event, from its first byte through its blank line. Comments between events
are outside of it, and each may be as long as an event. It is kept as one number, the offset that the stream
must not reach before the open event ends, so that the verdict cannot depend on the cuts.

Cost: where a chunk holds no CR and the limit is far, one `rfind` finds the last blank line and one `join` makes
the run. Anything else goes line by line. Bytes that wait for their line end are searched once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .errors import LimitExceeded
from .machine import Machine, Results

__all__ = ["MAX_EVENT_BYTES", "Blocks", "EventLines", "Fields", "fields"]

MAX_EVENT_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_LF, _COLON = b"\n:"


class EventLines(Machine[Results]):
    """Finds lines, knows whether an event is open, and keeps the limit."""

    __slots__ = ("_after_cr", "_bom", "_edge", "_end_at", "_held", "_limit", "_offset", "_open")

    def __init__(self, max_event_bytes: int) -> None:
        super().__init__()
        self._limit = max_event_bytes
        self._bom: bytes | None = b""  # what came of a byte order mark; None once that is decided
        self._held: bytes | bytearray = b""  # the unfinished line
        self._open = False  # whether a whole line of an event has come, and not its blank line
        self._after_cr = False  # whether a LF that comes next belongs to the last line's end
        self._offset = 0  # of the next byte in the stream
        self._edge = max_event_bytes  # the offset that the open event, or comment, must not reach
        self._end_at = 0  # the offset behind the first byte of the last line's end: there the line was complete

    def _is_plain(self, chunk: bytes) -> bool:
        """Whether LF is the only line end to think of, and no event in `chunk` can be too large."""
        return (
            b"\r" not in chunk and not self._after_cr and self._bom is None and self._offset + len(chunk) <= self._edge
        )

    def _rest(self, chunk: bytes, end: int) -> bytes:
        """An event ended at `end` of a plain chunk: hold an unfinished line, return whole ones."""
        self._offset += end
        self._edge = self._offset + self._limit
        rest = chunk[end:]
        if b"\n" in rest:
            self._held = b""
            return rest
        self._held = rest
        self._offset += len(rest)
        return b""

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without their ends; a blank one ends the open event."""
        if self._bom is not None:
            chunk = self._without_bom(chunk)
        if not chunk:
            return
        if self._after_cr:
            self._after_cr = False
            if chunk[0] == _LF:
                self._offset += 1
                self._edge += not self._open
                chunk = chunk[1:]
        base, end = self._offset, 0
        for raw in chunk.splitlines(keepends=True):  # of bytes: at LF, CR, CRLF and nothing else
            line = raw.rstrip(b"\r\n")
            if len(line) == len(raw):
                if not isinstance(self._held, bytearray):
                    self._held = bytearray(self._held)  # which grows in place
                self._held += raw
                break
            if base + end + len(line) >= self._edge:  # its line end, or a byte before that, is over the limit
                break
            self._end_at = base + end + len(line) + 1
            end += len(raw)
            if self._held:
                line = bytes(self._held + line)
                self._held = b""
            if not line:
                self._open = False
            elif line[0] != _COLON:
                self._open = True
            if not self._open:
                self._edge = base + end + self._limit
            yield line
        self._after_cr = chunk.endswith(b"\r")
        self._offset = base + len(chunk)
        if self._offset > self._edge:
            self._held = b""
            self.fault = LimitExceeded(
                f"an event is larger than {self._limit} bytes",
                kind="event_too_large",
                limit=self._limit,
                offset=self._edge,
            )

    def _without_bom(self, chunk: bytes) -> bytes:
        """`chunk` and what was held before it, without the mark; b"" while that is undecided."""
        assert self._bom is not None
        chunk = self._bom + chunk
        if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
            self._bom = chunk
            return b""
        self._bom = None
        if chunk.startswith(_BOM):
            self._offset = len(_BOM)
            self._edge += len(_BOM)
            return chunk[len(_BOM) :]
        return chunk

    def _last_lines(self) -> Iterator[bytes]:
        """End of input: what was held as a possible mark, and an unfinished last line as a line."""
        if self._bom:
            held, self._bom = self._bom, None
            yield from self._lines(held)
        if self._held:
            line = bytes(self._held)
            self._held = b""
            self._open = self._open or line[0] != _COLON
            yield line


class Blocks(EventLines[bytes]):
    """Bytes to runs of whole events in normal form: LF only, no byte order mark, a blank line after each.

    `feed` returns b"" or bytes that end in a blank line. There may be more blank lines and comments between
    events, and comments inside of them; a comment between two events is not held back. `close` returns the
    unterminated last event, each line with its LF but without the blank line. An event of more than
    `max_event_bytes` raw bytes is a fault, kind `event_too_large`. Held back: an unfinished event.
    """

    __slots__ = ("_block", "_ends", "_run_end")

    _empty = bytes

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(max_event_bytes)
        self._block = bytearray()  # the whole lines of the open event
        self._run_end = 0  # what to add to a place in the last run to have the offset in the stream ...
        self._ends: dict[int, int] = {}  # ... but for these events, which took the general path

    @property
    def offset(self) -> int:
        """How many bytes have come."""
        return self._offset

    @property
    def pending(self) -> bool:
        """Whether bytes are held back."""
        return bool(self._block or self._held or self._bom)

    def skip(self, size: int) -> None:
        """So many bytes of whole events were looked at by others, while nothing was pending."""
        self._offset += size
        self._edge += size

    def end_of(self, place: int) -> int:
        """The offset in the stream behind the byte that completed an event, which ends at `place` of the last run."""
        return self._ends.get(place) or self._run_end + place

    def _take(self, chunk: bytes) -> bytes:
        if self._ends:
            self._ends.clear()
        if not self._is_plain(chunk) or (self._open and not self._held):
            return self._normal(chunk)
        end = chunk.rfind(b"\n\n") + 2
        if end < 2:
            return self._normal(chunk)
        run = b"".join((self._block, self._held, chunk[:end]))
        self._block.clear()
        self._open = False
        self._run_end = self._offset + end - len(run)
        rest = self._rest(chunk, end)
        return run + self._normal(rest) if rest else run

    def _normal(self, chunk: bytes) -> bytes:
        """The general path."""
        run = bytearray()
        for line in self._lines(chunk):
            if self._open:
                self._block += line + b"\n"
            elif line:
                run += line + b"\n\n"  # a comment between two events
            elif self._block:
                run += self._block + b"\n"
                self._ends[len(run)] = self._end_at
                self._block.clear()
        if self.fault is not None:
            self._block.clear()
        return bytes(run)

    def _end(self) -> bytes:
        for line in self._last_lines():
            if self._open:
                self._block += line + b"\n"
        block = bytes(self._block)
        self._block.clear()
        return block


class Fields(NamedTuple):
    """One block's fields: `data` lines joined by LF, the last `event`, `id` and `retry`.

    `error` is what a line `error: ...` says: no field of the standard, but some servers send it.
    """

    data: bytes
    event: bytes = b""
    id: bytes | None = None
    retry: bytes | None = None
    error: bytes | None = None


def fields(block: bytes) -> Fields | None:
    """What one block of `Blocks` says; None if it holds nothing but comments and blank lines."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return Fields(block[6:])
    found: dict[bytes, bytes] = {}
    data = []
    empty = True
    for line in block.split(b"\n"):
        if line and line[0] != _COLON:
            empty = False
            name, value = _field(line)
            if name == b"data":
                data.append(value)
            else:
                found[name] = value
    if empty:
        return None
    get = found.get
    return Fields(b"\n".join(data), get(b"event", b""), get(b"id"), get(b"retry"), get(b"error"))


def _field(line: bytes) -> tuple[bytes, bytes]:
    """Name and value: "If value starts with a U+0020 SPACE character, remove it from value." """
    name, _, value = line.partition(b":")
    return name, value.removeprefix(b" ")
