"""One HTTP response, written by hand: a head, then either a whole body or chunks as they come.

The hot path is `write`: one transfer chunk around all that came out of a relay, handed to the socket in
one call that waits only when the socket is full. The head of a streamed response goes out together with
its first bytes, and that is the commit point: until then nothing has been promised to the client.

A client that takes nothing for `write_timeout` seconds is `ClientStalled`; one that is gone is
`StreamBroken`. Either way nothing more can be said to it.
"""

from __future__ import annotations

import time
from email.utils import formatdate

import trio

from ..protocol import head
from ..protocol.chunked import LAST
from ..providers.deadline import Deadline
from ..providers.stream import ByteStream
from .http import Headers, Request

__all__ = ["ClientStalled", "Reply"]


class ClientStalled(Exception):
    """The client did not take a byte within the write deadline."""


class _Clock:
    """The Date header, made anew once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def __call__(self) -> str:
        now = int(time.time())
        if now != self._second:
            self._second, self._text = now, formatdate(now, usegmt=True)
        return self._text


_date = _Clock()


class Reply:
    """The response to one request. Exactly one of `send` or `begin`, `write`..., `end` is used.

    `common` are headers for any response (request id, CORS); `keep_alive` may be cleared until the head is
    written; `committed` is whether any byte of it has gone, `ended` whether the last of it was handed over. A
    `muted` one goes on as if nobody had left, and writes nothing. A write that was cancelled can be followed by
    another: what was left of it goes first.
    """

    __slots__ = (
        "_chunked",
        "_head_only",
        "_held",
        "_http10",
        "_stream",
        "_waits",
        "bytes_out",
        "committed",
        "common",
        "deadline",
        "ended",
        "errors",
        "keep_alive",
        "muted",
        "status",
        "write_timeout",
    )

    def __init__(self, stream: ByteStream, request: Request | None, write_timeout: float, *, keep_alive: bool) -> None:
        self._stream = stream
        self.write_timeout = write_timeout or float("inf")
        self._http10 = request is not None and request.http10
        self._head_only = request is not None and request.method == "HEAD"
        self._chunked = False
        self._held = b""  # to go out before anything else: the head, or the rest of a write that was cancelled
        self._waits = False
        self.keep_alive = keep_alive
        self.common: Headers = []
        self.errors = "openai"
        """The dialect in which errors are told."""
        self.committed = False
        self.ended = False
        self.muted = False
        self.deadline: Deadline | None = None
        self.bytes_out = 0
        self.status = 0

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole response in one write."""
        self.status = status
        length = [] if status in (204, 304) else [("content-length", str(len(body)))]
        top = head.encode_response(status, [*self._preamble(), *headers, *length])
        self.committed = self.ended = True
        await self._push(top if self._head_only or not length else top + body)

    async def switch(self, headers: Headers) -> ByteStream:
        """Answer 101: from here on the connection speaks another protocol, and what is said goes to the stream that
        is returned."""
        self.status = 101
        self.keep_alive = False  # for when that is over
        self.committed = self.ended = True
        await self._push(head.encode_response(101, [("date", _date()), *self.common, *headers]))
        return self._stream

    def begin(self, status: int, headers: Headers) -> None:
        """Prepare a response whose length is not known; nothing goes out before the first `write` or `end`."""
        self.status = status
        if self._http10:
            self.keep_alive = False  # the end of the body is the end of the connection
        else:
            self._chunked = True
            headers = [*headers, ("transfer-encoding", "chunked")]
        self._held = head.encode_response(status, [*self._preamble(), *headers])

    async def write(self, data: bytes) -> None:
        """Send `data` (not empty) now, as one transfer chunk. Raises StreamBroken or ClientStalled."""
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._held:
            data = self._with_held(data)
        if self.muted:
            return
        self.bytes_out += len(data)
        sent = self._stream.send_now(data)
        if sent < len(data):
            await self._wait_for_client(memoryview(data)[sent:])

    def remark(self, data: bytes) -> None:
        """Send `data` as a chunk of its own, if the client is taking bytes just now. Never waits.

        Where bytes are still on their way to the client there is no silence to be filled, and `data` is dropped.
        Raises StreamBroken.
        """
        if self.ended or self._waits:
            return
        if self.committed and self._held:
            data, self._held = self._held, b""  # the rest of an earlier one is sign enough
        else:
            data = self._with_held(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if not self.muted:
            sent = self._stream.send_now(data)
            self.bytes_out += sent
            self._held = data[sent:]

    async def end(self, data: bytes = b"") -> None:
        """Complete the body, `data` being the last of it, in one write with the terminator."""
        if self.ended:
            data = b""  # all was said before, and is only to be sent: a write of it was cut short
        elif self._chunked:
            data = (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + LAST
        self.ended = True
        if self._held:
            data = self._with_held(data)
        if data:
            await self._push(data)

    def _with_held(self, data: bytes) -> bytes:
        self.committed = True
        data, self._held = self._held + data, b""
        return data

    def _preamble(self) -> Headers:
        fields = [("date", _date()), *self.common]
        if not self.keep_alive:
            fields.append(("connection", "close"))
        elif self._http10:
            fields.append(("connection", "keep-alive"))
        return fields

    async def _push(self, data: bytes) -> None:
        if self.muted:
            return
        self.bytes_out += len(data)
        sent = self._stream.send_now(data)
        if sent < len(data):
            await self._wait_for_client(memoryview(data)[sent:])

    async def _wait_for_client(self, rest: memoryview) -> None:
        if self.deadline is not None:
            self.deadline.suspend()  # while the client is slow, the upstream owes us nothing
        self._waits = True
        try:
            while rest:
                with trio.move_on_after(self.write_timeout):
                    rest = rest[await self._stream.send_some(rest) :]
                    continue
                self.keep_alive = False  # the client can no longer tell where a next response would begin
                raise ClientStalled
        except trio.Cancelled:
            self._held = bytes(rest)
            self.bytes_out -= len(rest)
            raise
        finally:
            self._waits = False
