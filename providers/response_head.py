"""Reading the head of a response from a stream, strictly.

The core does it (`protocol.head`): it finds the end within a limit, and what its check has read is what is
used. h11 is not asked: it would read the same bytes once more, with less care. Interim responses (1xx) are
skipped; all heads of one response together stay within the limit, wherever the bytes are cut.
"""

from __future__ import annotations

from typing import NamedTuple

from ..protocol import head
from ..protocol.errors import LimitExceeded, RemoteProtocolError
from .stream import ByteStream, StreamBroken
from .transport import ErrorKind, UpstreamError

__all__ = ["MAX_HEADERS", "MAX_HEAD_BYTES", "NoAnswerError", "ResponseHead", "read_head"]

MAX_HEAD_BYTES = 65536
MAX_HEADERS = 256

_NOT_HTTP = "the upstream's response is not valid HTTP"


class NoAnswerError(Exception):
    """The connection was over before any byte of a response; `kind` says how it ended."""

    def __init__(self, kind: ErrorKind) -> None:
        super().__init__(kind)
        self.kind = kind


class ResponseHead(NamedTuple):
    """A final response's head, and `rest`, what came behind it. `persists`: its connection may serve again;
    `length` and `chunked` say how its body ends, if it has one."""

    status: int
    headers: list[tuple[str, str]]
    persists: bool
    length: int | None
    chunked: bool
    rest: bytes


async def read_head(stream: ByteStream, max_bytes: int = MAX_HEAD_BYTES, early: bytes = b"") -> ResponseHead:
    """Wait for the head of a final response, of which `early` is here. Raises UpstreamError, or NoAnswerError if not
    one byte came."""
    data = early or await _receive(stream, begun=False)
    while True:
        scanner = head.Scanner(max_bytes)
        try:
            while not (raw := scanner.feed(data)):
                data = await _receive(stream, begun=True)
            checked = head.check(raw, kind="response")
        except LimitExceeded as exc:
            message = "the head of the upstream's response is too large"
            raise UpstreamError("too_large", message, sent=True) from exc
        except RemoteProtocolError as exc:
            raise UpstreamError("protocol", _NOT_HTTP, sent=True) from exc
        if checked.status >= 200:
            return _usable(checked, scanner.unused)
        if checked.status == 101:  # nobody asked for another protocol
            raise UpstreamError("protocol", _NOT_HTTP, sent=True)
        data = scanner.unused
        max_bytes -= len(raw)


async def _receive(stream: ByteStream, *, begun: bool) -> bytes:
    try:
        data = await stream.receive()
    except StreamBroken as exc:
        if not begun:
            raise NoAnswerError("reset") from exc
        raise UpstreamError("reset", "the upstream broke the connection", sent=True) from exc
    if not data:
        if not begun:
            raise NoAnswerError("closed")
        raise UpstreamError("closed", "the upstream closed the connection within its answer", sent=True)
    return data


def _usable(checked: head.ResponseHead, rest: bytes) -> ResponseHead:
    if len(checked.headers) > MAX_HEADERS:
        raise UpstreamError("too_large", "the upstream's response has too many headers", sent=True)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in checked.headers]
    return ResponseHead(checked.status, headers, checked.keep_alive, checked.content_length, checked.chunked, rest)
