"""The ends of a response body: so many bytes, or until the connection ends. (Chunks: `protocol.chunked`.)

The three ways share one shape, that of the core's decoders: `feed` and `close` return body pieces, `done`
says that the body is whole, `unused` is what came after it, `fault` is a fault kept for after the pieces.
A piece that came in is handed on as it is, without copying.
"""

from __future__ import annotations

from typing import Literal, Protocol

from ..protocol import chunked
from ..protocol.errors import RemoteProtocolError
from .response_head import ResponseHead
from .stream import READ_SIZE, ByteStream, StreamBroken

__all__ = ["Body", "Counted", "UntilEnd", "drain", "framing"]


class Body(Protocol):
    """A machine that takes the transfer coding off."""

    @property
    def done(self) -> bool: ...
    @property
    def unused(self) -> bytes: ...
    @property
    def fault(self) -> RemoteProtocolError | None: ...
    def feed(self, data: bytes, /) -> list[bytes]: ...
    def close(self) -> list[bytes]: ...


class Counted:
    """A body of `length` bytes."""

    __slots__ = ("_missing", "unused")

    fault: RemoteProtocolError | None = None

    def __init__(self, length: int) -> None:
        self._missing = length
        self.unused = b""

    @property
    def done(self) -> bool:
        return not self._missing

    def feed(self, data: bytes, /) -> list[bytes]:
        if len(data) > self._missing:
            data, self.unused = data[: self._missing], self.unused + data[self._missing :]
        self._missing -= len(data)
        return [data] if data else []

    def close(self) -> list[bytes]:
        if self._missing:
            raise RemoteProtocolError(f"the body ended {self._missing} bytes short", kind="truncated_body")
        return []


class UntilEnd:
    """A body that ends with its connection."""

    __slots__ = ("done",)

    fault: RemoteProtocolError | None = None
    unused = b""

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes, /) -> list[bytes]:
        return [data]

    def close(self) -> list[bytes]:
        self.done = True
        return []


def framing(method: str, head: ResponseHead) -> Body:
    """How the body of this response ends, by RFC 9112 section 6.3."""
    # "Any response to a HEAD request and any response with a 1xx, 204, or 304 status code is always
    # terminated by the first empty line after the header fields ... and thus cannot contain a message body"
    if method == "HEAD" or head.status in (204, 304):
        return Counted(0)
    if head.chunked:
        body: Body = chunked.Decoder()
        return body
    return UntilEnd() if head.length is None else Counted(head.length)


def drain(stream: ByteStream, body: Body, data: bytes | None = None) -> Literal["done", "waiting", "no"]:
    """Take what is already here of a body that nobody needs: `data`, then one read that does not wait.

    `done`: the body is over and nothing follows it; `waiting`: all is well, but its end has not come yet;
    `no`: the connection cannot be used again.
    """
    try:
        if data:
            if body.done:
                return "no"
            body.feed(data)
        if not body.done:
            data = stream.receive_now(READ_SIZE)
            if data:
                body.feed(data)
            elif data is not None:
                return "no"
    except (StreamBroken, RemoteProtocolError):
        return "no"
    if body.fault is not None or body.unused:
        return "no"
    return "done" if body.done else "waiting"
