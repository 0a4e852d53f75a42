"""Idle connections to one origin, kept for the next request.

A stack: the connection given last is taken first, so that the others grow old and go, and taking and
giving cost the same however many there are. (httpcore's pool walks all its connections at each request:
15 ms beside 200 idle ones.) Only idle connections are here. Those with a stream under way are their
holders', and nothing here can close them.

A connection that is taken is looked at once, without waiting: whoever has closed it, or has said
something unasked, is out.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

import trio

__all__ = ["IDLE_SECONDS", "MAX_IDLE", "Keepable", "Pool"]

MAX_IDLE = 128
"""Idle connections kept to one origin."""

IDLE_SECONDS = 55.0
"""How long one is kept: just under the 60 s after which the usual load balancers close theirs."""


class Keepable(Protocol):
    """What a pool needs of a connection."""

    def idle_and_open(self) -> bool:
        """One look, without waiting: whether it can serve another request."""

    def close(self) -> None:
        """Close it at once."""


T = TypeVar("T", bound=Keepable)


class Pool(Generic[T]):
    """The idle connections to one origin: at most `max_idle`, none for longer than `idle_seconds`."""

    __slots__ = ("_idle", "_idle_seconds", "_max_idle")

    def __init__(self, max_idle: int = MAX_IDLE, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle: deque[tuple[T, float]] = deque()
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> T | None:
        """The connection used last among those that still live; it is the caller's now."""
        self.expire()
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.idle_and_open():
                return connection
            connection.close()
        return None

    def give(self, connection: T) -> None:
        """Keep `connection` for a later `take`."""
        self._idle.append((connection, trio.current_time() + self._idle_seconds))
        if len(self._idle) > self._max_idle:
            self._idle.popleft()[0].close()
        self.expire()

    def expire(self) -> None:
        """Close those whose time is over: they are at the bottom, so no other is touched."""
        now = trio.current_time()
        while self._idle and self._idle[0][1] <= now:
            self._idle.popleft()[0].close()

    def close(self) -> None:
        """Close all of them."""
        while self._idle:
            self._idle.pop()[0].close()
