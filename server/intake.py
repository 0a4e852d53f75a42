"""Reads requests off a connection: heads, bodies, and whatever comes too early.

One task, `pump`, reads the socket as long as the connection lives, also while a request is being answered:
that is how a client that leaves is noticed at once. What it reads it keeps, up to a bound, until the
connection's own task takes it; heads and bodies are then plain calls over bytes that are there.

Every wait has its own deadline: `keep_alive` for the first byte of a request, `header` from that byte to
the end of the head, `body` for each sign of progress in the body, and `body_total` for all of it, so that a
place that is held meanwhile comes back. Every size has a limit, and whether a limit is passed does not depend on
how the bytes were cut. Heads are read by the core (`protocol.head`), which refuses what request smuggling is made
of; h11 would read the same bytes once more, with less care.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..protocol import chunked, head
from ..protocol.errors import RemoteProtocolError
from ..protocol.response import Counted
from ..providers.stream import ByteStream, StreamBroken
from . import refusal
from .alarm import Alarm
from .gateway import Gateway
from .http import Request

__all__ = ["Intake"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NEVER = float("inf")


def _nothing() -> None:
    pass


class Intake:
    """The reading side of one client connection.

    `on_gone` is called, once, when the client leaves, and `gone` is True from then on; whoever serves a request
    puts there what is to be done. The end of the client's input counts as leaving, as nginx has it, unless the
    configuration tolerates clients that close one half.
    """

    def __init__(self, gateway: Gateway, stream: ByteStream, peer: str) -> None:
        self._gateway = gateway
        self._stream = stream
        self._peer = peer
        self._early = b""  # read, and not taken yet
        self._waiting: trio.lowlevel.Task | None = None  # for what the pump reads
        self._room = trio.lowlevel.ParkingLot()
        self._length = 0  # of the body that was announced and not read yet
        self._chunked = False
        self._framed = False
        self._wants_continue = False
        self._fresh = True
        self._late = False
        self._body_due = _NEVER
        self._at_end = False
        self.alarm = Alarm()
        self.on_gone: Callable[[], None] = _nothing
        self.gone = False

    async def pump(self) -> None:
        """Read for as long as there is something to read, and keep the connection's clock.

        To be run beside whoever serves the connection. A client that sends more than `limits.pipeline_bytes`
        while it is being answered is read no further, and let go after the answer; if it leaves before, that
        shows when it is written to.
        """
        await self.alarm.run(self._read_on)

    async def _read_on(self) -> None:
        if not self._at_end:  # the clock cancels this now and then, and calls it again
            self.gone = await self._read_to_end()
            self._at_end = True
            self._wake()
            if self.gone:
                self.on_gone()
        await trio.sleep_forever()  # there is nothing more to read, but still a clock to keep

    async def _read_to_end(self) -> bool:
        """Read until nothing more can come; return whether this means that the client has left."""
        bound = self._gateway.config.limits.pipeline_bytes
        try:
            while True:
                while len(self._early) > bound:
                    await self._room.park()
                data = await self._stream.receive()
                if not data:
                    return self._gateway.config.server.half_closed == "leave"
                self._early += data
                del data  # the next wait may be a long one
                self._wake()
        except StreamBroken:
            return True

    async def _more(self) -> bytes:
        """What has been read, waiting for it if need be; b"" at the end of the client's input, or of the time."""
        if not self._early and not self._at_end and not self._late:
            self._waiting = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        data, self._early = self._early, b""
        self._room.unpark_all()
        return data

    def _wake(self) -> None:
        task, self._waiting = self._waiting, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._waiting = None
        return trio.lowlevel.Abort.SUCCEEDED

    def stop_waiting(self) -> None:
        """Let the connection's own task go on although nothing has come: its time is over."""
        self._late = True
        self._wake()

    # -- the head ------------------------------------------------------------------------------------

    async def next_request(self) -> Request | None:
        """The next request's head; None if the client is done, or was idle for too long.

        Raises RemoteProtocolError for a head that is not to be believed, Refusal for one that takes too long.
        """
        raw = await self._next_head()
        if raw is None:
            return None
        known = head.check(raw)
        limit = self._gateway.config.limits.target_bytes
        if len(known.target) > limit:
            raise refusal.plain(414, f"The request target is longer than {limit} bytes.")
        self._length = known.content_length or 0
        self._chunked = known.chunked
        self._framed = known.chunked or known.content_length is not None
        self._wants_continue = known.expect_continue
        request = Request(known, peer=self._peer, request_id=self._gateway.next_request_id())
        if self._gateway.proxies:
            request.peer = self._gateway.proxies.client(self._peer, request.header("x-forwarded-for"))
        return request

    async def _next_head(self) -> bytes | None:
        """The next head; None if the connection ends, or idles, before one has begun."""
        gateway, timeouts = self._gateway, self._gateway.config.timeouts
        scanner = head.Scanner(gateway.config.limits.header_bytes)
        fresh, self._fresh = self._fresh, False
        if self._early:
            await trio.lowlevel.checkpoint()  # many requests in one piece are not to keep the others waiting
        elif gateway.draining and not fresh:
            return None
        self.alarm.set(_after(timeouts.header if fresh else timeouts.keep_alive), self.stop_waiting)
        gateway.idle.add(self)
        begun = self._late = False
        try:
            while data := await self._more():
                if raw := scanner.feed(data):
                    self._early = scanner.unused + self._early
                    return raw
                if not begun and scanner.pending:  # more than the empty line that some send after a body
                    begun, self._late = True, False
                    gateway.idle.discard(self)
                    self.alarm.move(_after(timeouts.header))
        finally:
            gateway.idle.discard(self)
            self.alarm.clear()
        if self._late and begun:
            raise refusal.plain(408, f"The request's head did not come within {timeouts.header:g} s.")
        return None

    # -- the body ------------------------------------------------------------------------------------

    @property
    def announced(self) -> bool:
        """Whether the request says that it has a body, be it an empty one."""
        return self._framed

    def discard_body(self) -> bool:
        """Drop a body that nobody has read, if it is already here; return whether nothing is still to come."""
        if self._length and len(self._early) >= self._length:
            self._early, self._length = self._early[self._length :], 0
        return not self._length and not self._chunked

    async def read_body(self) -> bytes:
        """The request's body without its transfer coding. Raises Refusal, RemoteProtocolError, StreamBroken.

        For endpoints that need one: a request that does not say how long its body is gets a 411. RFC 9112,
        section 6.3 takes that for an empty body, but then what an old client sends as a body would be read as
        its next request; so the connection ends as well.
        """
        limit = self._gateway.config.limits.body_bytes
        self._begin_body(limit)
        if self._length:
            if len(self._early) >= self._length:
                body, self._early = self._early[: self._length], self._early[self._length :]
            else:
                body = await self._read_sized()
            self._length = 0
            return body
        if self._chunked:
            body = await self._read_chunked(limit)
            self._chunked = False
            return body
        return b""

    async def read_into(self, take: Callable[[bytes], Awaitable[None]], limit: int) -> None:
        """Hand the body to `take` as it comes, piece by piece. Raises as `read_body`."""
        self._begin_body(limit)
        body: Counted | chunked.Decoder = chunked.Decoder() if self._chunked else Counted(self._length)
        self._length, self._chunked = 0, True  # whatever is raised, its rest is not to be taken for a request
        size = 0
        if not body.done:
            await self._ask_for_body()
        while not body.done:
            for piece in body.feed(await self._progress()):
                size += len(piece)
                if size > limit:
                    raise refusal.plain(413, f"The body is longer than the limit of {limit} bytes.")
                await take(piece)
            if body.fault is not None:
                raise body.fault
        self._early = body.unused + self._early
        self._chunked = False

    def _begin_body(self, limit: int) -> None:
        if not self._framed:
            message = "This request needs a body, with a Content-Length or in chunked coding."
            raise RemoteProtocolError(message, kind="length_required", status=411)
        if self._length > limit:
            raise refusal.plain(413, f"The body is {self._length} bytes; the limit is {limit}.")
        self._body_due = _after(self._gateway.config.timeouts.body_total)

    async def _read_sized(self) -> bytes:
        body = bytearray()  # not a list of pieces: tiny ones would take many times the limit
        await self._ask_for_body()
        while len(body) < self._length:
            body += await self._progress()
        self._early = bytes(body[self._length :]) + self._early
        del body[self._length :]
        return bytes(body)

    async def _read_chunked(self, limit: int) -> bytes:
        decoder = chunked.Decoder()
        body = bytearray()
        await self._ask_for_body()
        while not decoder.done and len(body) <= limit:
            body += b"".join(decoder.feed(await self._progress()))
            if decoder.fault is not None:
                raise decoder.fault
        if len(body) > limit:
            raise refusal.plain(413, f"The body is longer than the limit of {limit} bytes.")
        self._early = decoder.unused + self._early
        return bytes(body)

    async def _ask_for_body(self) -> None:
        """RFC 9110 section 10.1.1: a client that expects 100 (Continue) may wait for it before it sends."""
        if self._wants_continue and not self._early:
            self._wants_continue = False
            with trio.move_on_after(self._gateway.config.timeouts.body or _NEVER):
                await self._stream.send_all(CONTINUE)
                return
            raise StreamBroken("the client does not read")

    async def _progress(self) -> bytes:
        timeouts = self._gateway.config.timeouts
        self.alarm.set(min(_after(timeouts.body), self._body_due), self.stop_waiting)
        self._late = False
        data = await self._more()
        self.alarm.clear()
        if trio.current_time() >= self._body_due:
            raise refusal.plain(408, f"The request's body did not come within {timeouts.body_total:g} s.")
        if self._late and not data:
            raise refusal.plain(408, f"No byte of the request's body came for {timeouts.body:g} s.")
        if not data:
            raise StreamBroken("the client left in the middle of a request")
        return data

    # -- what is no HTTP ---------------------------------------------------------------------------------

    async def take(self) -> bytes:
        """Bytes of a connection that speaks another protocol by now, waiting for them; b"" at their end."""
        self._late = False
        return await self._more()

    @property
    def unread(self) -> bool:
        """Whether something has come that nobody has taken."""
        return bool(self._early)

    # -- after an answer -----------------------------------------------------------------------------

    def may_go_on(self) -> bool:
        """Whether another request may be read from the connection, now that one is answered."""
        overrun = self.on_gone is not _nothing and len(self._early) > self._gateway.config.limits.pipeline_bytes
        self.on_gone = _nothing
        return self.discard_body() and not overrun

    async def discard_all(self, most: int) -> None:
        """Read away what the client still sends, until its end or `most` bytes."""
        self._late = False
        while most > 0 and (data := await self._more()):
            most -= len(data)


def _after(seconds: float) -> float:
    return trio.current_time() + seconds if seconds else _NEVER
