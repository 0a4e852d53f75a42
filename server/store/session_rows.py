"""What a session is, wherever it is kept: its name, its messages, and whose turn it is.

Nothing here needs a database, so that sessions can be kept in memory by the same rules.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import trio

__all__ = [
    "INSTRUCTIONS",
    "MAX_SESSION_NAME",
    "PAGE",
    "Message",
    "Page",
    "Recent",
    "Session",
    "Turns",
    "is_session_name",
]

MAX_SESSION_NAME = 200
"""Characters of a session's name."""

PAGE = 100
"""The most that one page lists."""

INSTRUCTIONS = ("system", "developer")
"""The roles of those who tell a model what it is to be."""


class Session(NamedTuple):
    """A session, without its messages. `length` is how many there are; `details` is what its client says of it."""

    name: str
    title: str
    length: int
    created_at: float
    updated_at: float
    details: Mapping[str, Any] = {}


class Message(NamedTuple):
    """A message as it was handed in, and its place."""

    number: int
    body: dict[str, Any]
    created_at: float


class Page(NamedTuple):
    """Some of a list, and the cursor with which the next page is asked for; "" at the end."""

    sessions: list[Session]
    cursor: str


class Recent(NamedTuple):
    """The newest messages of a session; and where these are not all, the last instructions before them. `size` is about
    how long they are together, as JSON."""

    messages: list[Message]
    instructions: list[Message]
    size: int = 0


def is_session_name(text: str) -> bool:
    """Whether a client may call a session so: printable ASCII without spaces, and not too long."""
    return 0 < len(text) <= MAX_SESSION_NAME and text.isascii() and text.isprintable() and " " not in text


class Turns:
    """Who may use what just now: whoever comes later waits, first come first served. What nobody uses is forgotten."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, str], tuple[trio.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, place: tuple[int, str]) -> bool:
        return place in self._held

    @asynccontextmanager
    async def hold(self, place: tuple[int, str]) -> AsyncIterator[None]:
        """Hold what is at this place, once all who came before have let it go."""
        lock, users = self._held.get(place, (None, 0))
        lock = lock or trio.Lock()
        self._held[place] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            users = self._held[place][1] - 1
            if users:
                self._held[place] = lock, users
            else:
                del self._held[place]
