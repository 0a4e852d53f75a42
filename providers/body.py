"""The ends of a response body where its connection may serve again; the machines are in `protocol.response`."""

from __future__ import annotations

from typing import Literal

from ..protocol.errors import RemoteProtocolError
from ..protocol.response import Body, UntilEnd, body_of
from .response_head import ResponseHead
from .stream import READ_SIZE, ByteStream, StreamBroken

__all__ = ["Body", "UntilEnd", "drain", "framing"]


def framing(method: str, head: ResponseHead) -> Body:
    """How the body of this response ends."""
    return body_of(method, head.status, chunked=head.chunked, length=head.length)


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
