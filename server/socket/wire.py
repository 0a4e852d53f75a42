"""A WebSocket on a connection of ours: messages in, messages out. RFC 6455 by wsproto.

In: `receive` gives one whole text message, however it was fragmented, within its limit; pings are answered in
between. What breaks the rules is `Closing`, with the code that says so. The end of input is StreamBroken.

Out: one message at a time, behind one lock. In the usual case nobody else is sending and the socket takes all of
it: then a message costs a system call and no wait. A sender that is cancelled in the midst of a message leaves the
rest of it here, and whoever sends next completes it first: a frame once begun is never broken off. Frames with text
are written by hand, since wsproto would decode and encode their bytes once more.

A client that takes nothing for `write_timeout` is `ClientStalled`, and so is everyone who sends from then on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator

import trio
from wsproto.connection import SERVER, Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from ...providers.stream import ByteStream, StreamBroken
from ..reply import ClientStalled
from .deflate import Inflate

__all__ = ["Closing", "Wire"]

SLICE = 2048
"""So much is read between two turns of the loop: some hundred frames, or two megabytes of what unpacks to the most."""

EVENTS = 64
"""So many frames are dealt with between two turns of the loop."""

LAST_WORD = 2.0  # seconds for the Close frame to reach a client that may be the slow one

NORMAL, GOING_AWAY, UNSUPPORTED, POLICY, TOO_BIG, INTERNAL = 1000, 1001, 1003, 1008, 1009, 1011


class Closing(Exception):
    """The connection is to be closed with this code; `by_peer`: the client has said so first."""

    def __init__(self, code: int, reason: str = "", *, by_peer: bool = False) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason
        self.by_peer = by_peer


class Wire:
    """The frames of one socket. `take` waits for bytes of the client; b"" is their end. `heard` is whether there
    was a sign of life since somebody set it False: a frame, or room for more where there was none.
    """

    __slots__ = (
        "_closed",
        "_events",
        "_inflate",
        "_limit",
        "_lock",
        "_message",
        "_rest",
        "_stalled",
        "_take",
        "_unread",
        "_ws",
        "heard",
        "stream",
        "write_timeout",
    )

    def __init__(
        self,
        stream: ByteStream,
        take: Callable[[], Awaitable[bytes]],
        *,
        limit: int,
        write_timeout: float,
        compressed: bool = False,
    ) -> None:
        self.stream = stream
        self._take = take
        self._limit = limit
        self.write_timeout = write_timeout or float("inf")
        self._inflate = Inflate(limit)
        self._ws = Connection(SERVER, [self._inflate] if compressed else [])
        self._unread = b""
        self._events: Iterator[Event] = iter(())
        self._message = bytearray()
        self._lock = trio.Lock()
        self._rest = b""  # of a message whose sender was cancelled, or of one that is being sent
        self._stalled = False
        self._closed = False
        self.heard = False

    # -- in --------------------------------------------------------------------------------------------

    @property
    def limit(self) -> int:
        """How many bytes a message may have, unpacked: from the next one on."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = self._inflate.limit = limit

    async def receive(self) -> bytes:
        """The next message. Raises Closing, StreamBroken, ClientStalled."""
        while True:
            for count, event in enumerate(self._events, 1):
                if await self._happened(event):
                    message, self._message = self._message, bytearray()
                    return bytes(message)
                if not count % EVENTS:
                    await trio.lowlevel.checkpoint()
            await self._feed()

    async def _feed(self) -> None:
        """Take the next piece of what has come: a small one, with a turn of the loop after each."""
        if self._unread:
            await trio.lowlevel.checkpoint()
        else:
            self._unread = await self._take()
            if not self._unread:
                raise StreamBroken("the client left without a word")
        piece, self._unread = self._unread[:SLICE], self._unread[SLICE:]
        self._ws.receive_data(piece)
        self._events = self._ws.events()

    async def _happened(self, event: Event) -> bool:
        """Deal with one event; returns whether a message is complete."""
        self.heard = True
        if isinstance(event, TextMessage):
            self._message += event.data.encode()
            if len(self._message) > self._limit:
                raise Closing(TOO_BIG, f"A message has more than {self._limit} bytes.")
            return event.message_finished
        if isinstance(event, BytesMessage):
            raise Closing(UNSUPPORTED, "Messages are text.")
        if isinstance(event, Ping):
            await self._send(self._ws.send(event.response()))
        elif isinstance(event, CloseConnection):
            broken = self._ws.state is ConnectionState.OPEN  # then it is wsproto's word for a broken rule
            raise Closing(event.code, event.reason or "", by_peer=not broken)
        return False

    # -- out -------------------------------------------------------------------------------------------

    def send_now(self, messages: Iterable[bytes]) -> bool:
        """Send text messages if that takes no waiting at all; False if nothing was done. Raises StreamBroken.

        Where the client takes only a part of them, True all the same: whoever sends next waits for it.
        """
        if self._rest or self._closed or self._lock.locked():
            return False
        data = b"".join(map(_framed, messages))
        self._rest = data[self.stream.send_now(data) :]
        return True

    @property
    def clear(self) -> bool:
        """Whether all that was sent has been taken."""
        return not self._rest

    async def send(self, messages: Callable[[], list[bytes]]) -> None:
        """Send text messages when it is their turn; `messages` is asked for them then, and they may have become none.

        Raises StreamBroken, ClientStalled.
        """
        async with self._lock:
            await self._push(b"".join(map(_framed, messages())))

    async def say(self, messages: list[bytes]) -> None:
        """Send text messages and wait until the client has taken them. Raises StreamBroken, ClientStalled."""
        if not messages:
            return  # not even wait for others
        if not self.send_now(messages):
            await self.send(lambda: messages)
        elif self._rest:
            await self.send(list)

    async def ping(self) -> None:
        """Ask the client for a sign of life."""
        await self._send(self._ws.send(Ping()))

    async def close(self, code: int, reason: str) -> None:
        """Say that it is over, if the client can still be told. Whoever sends after that gets StreamBroken."""
        if self._ws.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING) and not self._stalled:
            frame = self._ws.send(CloseConnection(code, reason or None))
            with trio.move_on_after(LAST_WORD):
                try:
                    await self._send(frame)
                except (StreamBroken, ClientStalled):
                    pass
        self._closed = True

    async def _send(self, frame: bytes) -> None:
        async with self._lock:
            await self._push(bytes(frame))

    async def _push(self, data: bytes) -> None:
        """Send the rest of what went before, and then `data`. The lock is ours."""
        if self._stalled:
            raise ClientStalled
        if self._closed:
            raise StreamBroken("the WebSocket is closed")
        rest = self._rest
        if not rest:
            rest, data = data[self.stream.send_now(data) :], b""
        await self._wait_for_client(memoryview(rest + data))

    async def _wait_for_client(self, rest: memoryview) -> None:
        try:
            while rest:
                with trio.move_on_after(self.write_timeout):
                    rest = rest[await self.stream.send_some(rest) :]
                    self.heard = True
                    continue
                self._stalled = True
                raise ClientStalled
        finally:
            self._rest = bytes(rest)


def _framed(payload: bytes) -> bytes:
    """A text message in one frame, unmasked, as servers send them (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)
