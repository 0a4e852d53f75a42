"""Sessions without a store: in memory, until the gateway ends.

Who starts a gateway without any configuration can use `X-Session-ID` all the same. What is kept is bounded: beyond
`MAX_SESSIONS` or `MAX_CHARS` the session that was used longest ago is forgotten. The methods are those of
`store.sessions.Sessions`, which says what each of them means.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import islice
from types import MappingProxyType
from typing import Any

from .store.errors import StoreError
from .store.session_rows import INSTRUCTIONS, PAGE, Message, Page, Recent, Session, Turns

__all__ = ["MAX_CHARS", "MAX_SESSIONS", "MemorySessions"]

MAX_SESSIONS = 1000
"""Sessions of all keys together."""

MAX_CHARS = 64 * 1024 * 1024
"""Characters of all messages together, as JSON."""


class _Talk:
    """One session and its messages; `sizes` has the length of each as JSON."""

    __slots__ = ("messages", "session", "sizes")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.messages: list[Message] = []
        self.sizes: list[int] = []


class MemorySessions:
    """The sessions of one process. `clock` tells the time of day."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        max_sessions: int = MAX_SESSIONS,
        max_chars: int = MAX_CHARS,
    ) -> None:
        self._clock = clock
        self._max_sessions = max_sessions
        self._max_chars = max_chars
        self._talks: dict[tuple[int, str], _Talk] = {}  # the one that was used last comes last
        self._chars = 0
        self._turns = Turns()

    def __len__(self) -> int:
        return len(self._talks)

    def turn(self, key_id: int, name: str) -> AbstractAsyncContextManager[None]:
        """Hold a session."""
        return self._turns.hold((key_id, name))

    @property
    def active(self) -> int:
        """Sessions that somebody uses just now."""
        return len(self._turns)

    async def create(
        self, key_id: int, name: str, *, title: str = "", details: Mapping[str, Any] = MappingProxyType({})
    ) -> Session:
        """The session of this name, made if there is none."""
        now = self._clock()
        talk = self._talks.setdefault((key_id, name), _Talk(Session(name, title, 0, now, now, details)))
        self._make_room()
        return talk.session

    async def get(self, key_id: int, name: str) -> Session | None:
        """The session of this name; None if this key has none."""
        talk = self._talks.get((key_id, name))
        return None if talk is None else talk.session

    async def append(
        self, key_id: int, name: str, bodies: Sequence[dict[str, Any]], *, expected: int | None = None
    ) -> int:
        """Add messages to a session that is there; returns its new length. Raises StoreError `conflict`."""
        talk = self._talks.get((key_id, name))
        if talk is None or expected not in (None, talk.session.length):
            raise StoreError("conflict", "The session was changed or deleted meanwhile.")
        now = self._clock()
        talk.messages += [Message(number, body, now) for number, body in enumerate(bodies, talk.session.length)]
        sizes = [len(json.dumps(body, ensure_ascii=False)) for body in bodies]
        talk.sizes += sizes
        self._chars += sum(sizes)
        talk.session = talk.session._replace(length=len(talk.messages), updated_at=now)
        self._talks[key_id, name] = self._talks.pop((key_id, name))
        self._make_room()
        return talk.session.length

    async def history(
        self,
        key_id: int,
        name: str,
        *,
        before: int | None = None,
        limit: int = PAGE,
        max_chars: int | None = None,
    ) -> list[Message] | None:
        """The last messages, or those before number `before`."""
        talk = self._talks.get((key_id, name))
        if talk is None:
            return None
        end = len(talk.messages) if before is None else min(max(before, 0), len(talk.messages))
        start = max(0, end - max(limit, 1))
        if max_chars is not None:
            start = _first_that_fits(talk.sizes, start, end, max_chars)
        return talk.messages[start:end]

    async def recent(self, key_id: int, name: str, *, max_chars: int) -> Recent | None:
        """The newest messages, with what goes for them; None: no such session."""
        talk = self._talks.get((key_id, name))
        if talk is None:
            return None
        start = _first_that_fits(talk.sizes, 0, len(talk.sizes), max_chars)
        told: list[Message] = []
        for message in reversed(talk.messages[:start]):
            if message.body.get("role") in INSTRUCTIONS:
                told.append(message)
            elif told:
                break
        return Recent(talk.messages[start:], told[::-1])

    async def page(self, key_id: int, *, cursor: str = "", limit: int = PAGE) -> Page:
        """A key's sessions, the latest used first. Raises ValueError for a cursor that is none."""
        start = int(cursor) if cursor else 0
        if not 0 <= start <= self._max_sessions:
            raise ValueError(cursor)
        mine = [talk.session for (owner, _), talk in reversed(self._talks.items()) if owner == key_id]
        end = start + min(max(limit, 1), PAGE)
        return Page(mine[start:end], str(end) if end < len(mine) else "")

    async def delete(self, key_id: int, name: str) -> bool:
        """Delete a session with its messages; False if this key has none of this name."""
        talk = self._talks.pop((key_id, name), None)
        if talk is not None:
            self._chars -= sum(talk.sizes)
        return talk is not None

    def _make_room(self) -> None:
        while self._talks and (len(self._talks) > self._max_sessions or self._chars > self._max_chars):
            (oldest,) = islice(self._talks, 1)
            self._chars -= sum(self._talks.pop(oldest).sizes)


def _first_that_fits(sizes: Sequence[int], start: int, end: int, max_chars: int) -> int:
    """The first of these places from which on all fit; the last one always does."""
    first = end
    for place in reversed(range(start, end)):
        max_chars -= sizes[place]
        if max_chars < 0 and place < end - 1:
            break
        first = place
    return first
