"""One small interface for bytes both ways: what every connection here stands on.

A gateway's event costs a wake-up, and whatever Python adds to it. So the interface says exactly what a
relay needs and no more: wait for bytes; hand bytes over now, if the other side takes them; wait only when
it does not. `SocketStream` does it on a plain non-blocking socket, where trio is asked only to wait;
`tls.TlsStream` on top of any other one; `memory.MemoryStream` without the system, for tests and
simulation. What tests run is what serves.

Faults of the transport are `StreamBroken`, and nothing else, whatever lies below. Closing never waits and
never raises.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod

import trio

__all__ = ["READ_SIZE", "ByteStream", "SocketStream", "StreamBroken", "no_delay"]

READ_SIZE = 65536
"""Bytes asked for in one read: so many that a flood costs few wake-ups. Made only when bytes are there."""

_LOOK = socket.MSG_PEEK | socket.MSG_DONTWAIT

# Closing wakes a task that waits, with trio's error; who comes later waits on -1, which is a ValueError.
_BROKEN = (OSError, ValueError, trio.ClosedResourceError)


class StreamBroken(Exception):
    """The connection is gone: reset, timed out in the kernel, closed by us, or broken TLS."""


class ByteStream(ABC):
    """A connection. One task may receive while another sends; no more than that."""

    __slots__ = ()

    @abstractmethod
    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        """Wait for bytes and return at least one, or `b""` at the end of input. Raises StreamBroken."""

    @abstractmethod
    def receive_now(self, max_bytes: int = READ_SIZE) -> bytes | None:
        """What `receive` would return at once, or None if it would wait. Raises StreamBroken."""

    @abstractmethod
    def send_now(self, data: bytes | memoryview) -> int:
        """Hand over what is taken without waiting; return how many bytes that was. Raises StreamBroken.

        What was not taken is to be sent next, before anything else: TLS may have it half on its way.
        """

    @abstractmethod
    async def send_some(self, data: bytes | memoryview) -> int:
        """Wait until at least one byte is taken; return how many were. Raises StreamBroken."""

    @abstractmethod
    def idle_and_open(self) -> bool:
        """One look, without waiting: whether the peer has neither closed nor sent anything unasked."""

    @abstractmethod
    def end_sending(self) -> None:
        """Say that no more will be sent; receiving goes on. Without waiting and without raising."""

    @abstractmethod
    def close(self) -> None:
        """Close at once, both ways, without waiting and without raising. Twice is once."""

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send everything, waiting as often as the peer makes us."""
        sent = self.send_now(data)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            while rest:
                rest = rest[await self.send_some(rest) :]


class SocketStream(ByteStream):
    """A connected socket of any family, non-blocking."""

    __slots__ = ("_fd", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._fd = sock.fileno()

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        while True:
            # Wait first: tokens come one by one, and a read that finds nothing is a wasted system call.
            try:
                await trio.lowlevel.wait_readable(self._fd)
                return self._sock.recv(max_bytes)
            except BlockingIOError:
                continue
            except _BROKEN as exc:
                raise StreamBroken(str(exc)) from exc

    def receive_now(self, max_bytes: int = READ_SIZE) -> bytes | None:
        try:
            return self._sock.recv(max_bytes)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise StreamBroken(str(exc)) from exc

    def send_now(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise StreamBroken(str(exc)) from exc

    async def send_some(self, data: bytes | memoryview) -> int:
        while True:
            try:
                await trio.lowlevel.wait_writable(self._fd)
                return self._sock.send(data)
            except BlockingIOError:
                continue
            except _BROKEN as exc:
                raise StreamBroken(str(exc)) from exc

    def idle_and_open(self) -> bool:
        try:
            self._sock.recv(1, _LOOK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def end_sending(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone already

    def close(self) -> None:
        if self._fd >= 0:
            # Tasks that still wait on the descriptor are woken before its number can be used again.
            trio.lowlevel.notify_closing(self._fd)
            self._sock.close()
            self._fd = -1


def no_delay(sock: socket.socket) -> None:
    """Switch Nagle's algorithm off where the socket has one: a token must not wait for an acknowledgement."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
