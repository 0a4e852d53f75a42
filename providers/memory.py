"""A connection without a system beneath it: two byte streams that are each other's other end.

They behave as sockets do, as far as a program can tell: a direction holds so many bytes and then makes the
sender wait; an end may stop sending and go on receiving; closing ends what the peer reads, after what is
still on its way, and breaks what it sends; closing with bytes unread resets the connection, as Linux has
it. Every wait is trio's, so a test's clock rules them. Tests and simulation put these where sockets go.
"""

from __future__ import annotations

import trio

from .stream import READ_SIZE, ByteStream, StreamBroken

__all__ = ["MemoryStream", "memory_pair"]


class _Pipe:
    """One direction: at most `capacity` bytes on their way, then perhaps an end or a break."""

    __slots__ = ("broken", "capacity", "data", "ended", "waiting")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.ended = False
        self.broken = False
        self.waiting = trio.lowlevel.ParkingLot()

    def put(self, data: bytes | memoryview) -> int:
        if self.broken or self.ended:
            raise StreamBroken("broken pipe")
        taken = min(len(data), self.capacity - len(self.data))
        self.data += data[:taken]
        self.waiting.unpark_all()
        return taken

    def get(self, max_bytes: int) -> bytes | None:
        if self.data:
            taken = bytes(self.data[:max_bytes])
            del self.data[:max_bytes]
            self.waiting.unpark_all()
            return taken
        if self.broken:
            raise StreamBroken("connection reset by peer")
        return b"" if self.ended else None

    def end(self) -> None:
        self.ended = True
        self.waiting.unpark_all()

    def break_off(self) -> None:
        self.broken = True
        self.waiting.unpark_all()


class MemoryStream(ByteStream):
    """One end of a pair; made by `memory_pair`."""

    __slots__ = ("_in", "_out", "closed")

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._in = incoming
        self._out = outgoing
        self.closed = False

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        await trio.lowlevel.checkpoint()
        while (data := self.receive_now(max_bytes)) is None:
            await self._in.waiting.park()
        return data

    def receive_now(self, max_bytes: int = READ_SIZE) -> bytes | None:
        self._check_open()
        return self._in.get(max_bytes)

    def send_now(self, data: bytes | memoryview) -> int:
        self._check_open()
        return self._out.put(data)

    async def send_some(self, data: bytes | memoryview) -> int:
        await trio.lowlevel.checkpoint()
        while not (sent := self.send_now(data)):
            await self._out.waiting.park()
        return sent

    def idle_and_open(self) -> bool:
        return not (self.closed or self._in.data or self._in.ended or self._in.broken)

    def end_sending(self) -> None:
        """Close this end's own direction only: the peer reads to an end, and may go on sending."""
        self._out.end()

    def reset(self) -> None:
        """Break the connection: the peer gets what is on its way, then an error."""
        self._close(broken=True)

    def close(self) -> None:
        self._close(broken=bool(self._in.data))

    def _close(self, *, broken: bool) -> None:
        if self.closed:
            return
        self.closed = True
        self._in.data.clear()
        self._in.break_off()
        if broken:
            self._out.break_off()
        else:
            self._out.end()

    def _check_open(self) -> None:
        if self.closed:
            raise StreamBroken("the stream is closed")


def memory_pair(capacity: int = READ_SIZE) -> tuple[MemoryStream, MemoryStream]:
    """Two ends of one connection that holds at most `capacity` bytes in each direction."""
    one, other = _Pipe(capacity), _Pipe(capacity)
    return MemoryStream(one, other), MemoryStream(other, one)
