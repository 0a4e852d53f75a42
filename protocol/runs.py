"""Three framings, one form: whatever an upstream sends comes out as runs of SSE events in normal form.

    SSE      as `sse.Blocks` gives it
    NDJSON   each line as an event of its own
    JSON     the whole body as one event, unterminated: it is the tail that `close` returns

So everything behind this is written once. A JSON text loses its line breaks on the way, which are white
space there: inside a string they would be escaped. Costs nothing for SSE, a join for NDJSON.
"""

from __future__ import annotations

from . import sse
from .errors import LimitExceeded
from .machine import Machine
from .ndjson import Framing, content

__all__ = ["Runs", "runs"]

_BOM = b"\xef\xbb\xbf"


class _Lines(Framing[bytes]):
    """NDJSON as events."""

    __slots__ = ("_begun", "_ends")

    _empty = bytes

    def __init__(self, max_frame_bytes: int) -> None:
        super().__init__(max_frame_bytes)
        self._begun = False
        self._ends: dict[int, int] = {}

    @property
    def offset(self) -> int:
        """How many bytes have come."""
        return self._offset

    def end_of(self, place: int) -> int:
        """The offset in the stream behind the LF of an event, which ends at `place` of the last run."""
        return self._ends[place]

    def _take(self, chunk: bytes) -> bytes:
        end = self._offset - len(self._held)
        self._ends.clear()
        run = bytearray()
        for line in self._cut(chunk):
            end += len(line) + 1
            if text := self._text(line):
                run += _event(text) + b"\n\n"
                self._ends[len(run)] = end
        return bytes(run)

    def _end(self) -> bytes:
        return b"".join([_event(text) for line in self._rest() if (text := self._text(line))])

    def _text(self, line: bytes) -> bytes:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        return content(line)


class _Body(Machine[bytes]):
    """A whole body as one event."""

    __slots__ = ("_body", "_limit", "offset")

    _empty = bytes

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._limit = max_bytes
        self._body = bytearray()
        self.offset = 0
        """How many bytes have come."""

    def end_of(self, place: int) -> int:
        """The event is the whole body."""
        return self.offset

    def _take(self, chunk: bytes) -> bytes:
        self._body += chunk
        self.offset += len(chunk)
        if len(self._body) > self._limit:
            self._body.clear()
            message = f"the answer is larger than {self._limit} bytes"
            self.fault = LimitExceeded(message, kind="answer_too_large", limit=self._limit, offset=self._limit)
        return b""

    def _end(self) -> bytes:
        body, self._body = bytes(self._body).strip(), bytearray()
        return _event(body.removeprefix(_BOM)) if body else b""


def _event(text: bytes) -> bytes:
    return b"data: " + text.replace(b"\r", b" ").replace(b"\n", b" ")


Runs = sse.Blocks | _Lines | _Body
"""`offset` counts the bytes that came, `end_of` says where in them an event of the last run ended."""


def runs(framing: str, max_frame_bytes: int) -> Runs:
    """A machine for the framing that `detect.Detector` named. `feed` returns b"" or events that each end in a
    blank line; `close` returns the last one, if there is one, without.
    """
    if framing == "sse":
        return sse.Blocks(max_frame_bytes)
    return _Lines(max_frame_bytes) if framing == "ndjson" else _Body(max_frame_bytes)
