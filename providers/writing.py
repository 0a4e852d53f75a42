"""Writing a request: as fast as the upstream takes it, with an ear for what it says meanwhile.

A body that is held is one write, or two. A long one is read piece by piece, no faster than it is taken. While it goes
out, the upstream is listened to: RFC 9112, section 9.5 has a client watch for an error, and stop sending when one
comes; a server that has refused an upload need not read the rest of it. An answer that is no error is kept until
all is sent.
"""

from __future__ import annotations

import re

import trio

from .deadline import Deadline
from .stream import READ_SIZE, ByteStream, StreamBroken
from .transport import LongBody

__all__ = ["MAX_EARLY", "is_refused", "write"]

MAX_EARLY = 65536
"""Bytes of an answer that are kept while the request is still being sent; no more is read until then."""

_interim = re.compile(rb"(?:HTTP/1\.[01] 1[0-9][0-9][^\n]*+\n(?:[^\r\n][^\n]*+\n)*+\r?\n)*+").match
_STATUS_LINE = len(b"HTTP/1.1 200")


async def write(stream: ByteStream, head: bytes, body: bytes | LongBody, deadline: Deadline) -> tuple[bool, bytes]:
    """Write head and body; progress renews the deadline. Returns whether all was written, and what has come of the
    answer.

    A break is not raised here: an upstream that refuses a large body may have answered before it closed, and its
    answer says more.
    """
    if isinstance(body, LongBody):
        return await _write_long(stream, head, body, deadline)
    try:
        for part in [head + body] if len(body) < READ_SIZE else [head, body]:
            if (sent := stream.send_now(part)) < len(part):
                await _send(stream, part, deadline, sent)
    except StreamBroken:
        return False, b""
    return True, b""


async def _send(stream: ByteStream, part: bytes, deadline: Deadline, sent: int = 0) -> None:
    while sent < len(part):
        sent += await stream.send_some(memoryview(part)[sent:])
        deadline.extend()


async def _write_long(stream: ByteStream, head: bytes, body: LongBody, deadline: Deadline) -> tuple[bool, bytes]:
    early = bytearray()
    sent = -1
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            if not await _until_refused(stream, early):
                return
            nursery.cancel_scope.cancel()

        nursery.start_soon(listen)
        try:
            await _send(stream, head, deadline)
            sent = 0
            while piece := await body.read(sent):
                await _send(stream, piece, deadline)
                sent += len(piece)
                deadline.extend()
        except StreamBroken:
            sent = -1
        nursery.cancel_scope.cancel()
    return sent == len(body), bytes(early)


async def _until_refused(stream: ByteStream, early: bytearray) -> bool:
    """Read what comes into `early`; whether it says that there is no use in sending on."""
    try:
        while len(early) < MAX_EARLY:
            data = await stream.receive()
            early += data
            if not data:
                return True
            refused = is_refused(early)
            if refused is not None:
                return refused
    except StreamBroken:
        return True
    return False


def is_refused(early: bytes | bytearray) -> bool | None:
    """Whether an answer that begins so says that there is no use in sending on; None where it does not tell yet."""
    status = early[_interim(early).end() :][:_STATUS_LINE]  # type: ignore[union-attr]  # it matches everywhere
    if len(status) < _STATUS_LINE or status[9:10] == b"1":
        return None
    return status[9:10] != b"2"
