"""Three framings, one form: whatever an upstream sends comes out as runs of SSE events in normal form.

    SSE      as `sse.Blocks` gives it
    NDJSON   each line as an event of its own
    JSON     the whole body as one event, unterminated: it is the tail that `close` returns

So everything behind this is written once. A JSON text loses its line breaks on the way, which are white
space there: inside a string they would be escaped. Costs nothing for SSE, a join for NDJSON.
"""

from __future__ import annotations

from . import ndjson, sse
from .errors import LimitExceeded, RemoteProtocolError
from .machine import Machine

__all__ = ["runs"]


def runs(framing: str, max_frame_bytes: int) -> Machine[bytes]:
    """A machine for the framing that `detect.Detector` named. `feed` returns b"" or events that each end in a
    blank line; `close` returns the last one, if there is one, without.
    """
    if framing == "sse":
        return sse.Blocks(max_frame_bytes)
    return _Lines(max_frame_bytes) if framing == "ndjson" else _Body(max_frame_bytes)


class _Lines(Machine[bytes]):
    """NDJSON as events."""

    __slots__ = ("_lines",)

    _empty = bytes

    def __init__(self, max_frame_bytes: int) -> None:
        super().__init__()
        self._lines = ndjson.Lines(max_frame_bytes)

    def _take(self, chunk: bytes) -> bytes:
        try:
            lines = self._lines.feed(chunk)
        except RemoteProtocolError:
            lines = []
        self.fault = self._lines.fault
        return b"".join([_event(line) + b"\n\n" for line in lines])

    def _end(self) -> bytes:
        return b"".join([_event(line) for line in self._lines.close()])


class _Body(Machine[bytes]):
    """A whole body as one event."""

    __slots__ = ("_body", "_limit")

    _empty = bytes

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._limit = max_bytes
        self._body = bytearray()

    def _take(self, chunk: bytes) -> bytes:
        self._body += chunk
        if len(self._body) > self._limit:
            self._body.clear()
            message = f"the answer is larger than {self._limit} bytes"
            self.fault = LimitExceeded(message, kind="answer_too_large", limit=self._limit, offset=self._limit)
        return b""

    def _end(self) -> bytes:
        body, self._body = bytes(self._body).strip(), bytearray()
        return _event(body.removeprefix(b"\xef\xbb\xbf")) if body else b""


def _event(text: bytes) -> bytes:
    return b"data: " + text.replace(b"\r", b" ").replace(b"\n", b" ")
