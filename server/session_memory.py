"""Sessions without a store: in memory, until the gateway ends.

Who starts a gateway without any configuration can use `X-Session-ID` all the same. What is kept is bounded: beyond
`MAX_SESSIONS` or `MAX_BYTES` the key that has most of them loses the session that it has not used for longest, so that
nobody loses any by what others do. One in which a request is under way is not forgotten before that has ended.

Messages are held as JSON, so that their size is known, and written and read one after the other with other work in
between. The methods are those of `store.sessions.Sessions`, which says what each of them means.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import trio

from ..protocol import jsontext
from .store.errors import StoreError
from .store.session_rows import INSTRUCTIONS, PAGE, Message, Page, Recent, Session, Turns

__all__ = ["MAX_BYTES", "MAX_SESSIONS", "MemorySessions"]

MAX_SESSIONS = 1000
"""Sessions of all keys together."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of all messages together, as JSON, with `PER_MESSAGE` for each."""

PER_MESSAGE = 200
"""Bytes that it takes to hold a message, however short it is."""

SLICE = 65536
"""Bytes of messages that are written or read between two turns of the loop."""


class _Kept(NamedTuple):
    """A message as JSON."""

    role: str
    text: bytes
    created_at: float


class _Talk:
    """One session and its messages."""

    __slots__ = ("messages", "session", "size")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.messages: list[_Kept] = []
        self.size = 0

    def read(self, place: int) -> Message:
        kept = self.messages[place]
        return Message(place, json.loads(kept.text), kept.created_at)


class MemorySessions:
    """The sessions of one process. `clock` tells the time of day."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        max_sessions: int = MAX_SESSIONS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._clock = clock
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._talks: dict[tuple[int, str], _Talk] = {}  # the one that was used last comes last
        self._size = 0
        self._turns = Turns()

    def __len__(self) -> int:
        return len(self._talks)

    @asynccontextmanager
    async def turn(self, key_id: int, name: str) -> AsyncIterator[None]:
        """Hold a session."""
        try:
            async with self._turns.hold((key_id, name)):
                yield
        finally:
            self._make_room()

    @property
    def active(self) -> int:
        """Sessions that somebody uses just now."""
        return len(self._turns)

    async def create(
        self, key_id: int, name: str, *, title: str = "", details: Mapping[str, Any] = MappingProxyType({})
    ) -> Session:
        """The session of this name, made if there is none."""
        session = self._made(key_id, name, title, details).session
        self._make_room()
        return session

    async def get(self, key_id: int, name: str) -> Session | None:
        """The session of this name; None if this key has none."""
        talk = self._talks.get((key_id, name))
        return None if talk is None else talk.session

    async def append(
        self,
        key_id: int,
        name: str,
        bodies: Sequence[dict[str, Any]],
        *,
        expected: int | None = None,
        new: bool = False,
    ) -> int:
        """Add messages to a session; returns its new length. Raises StoreError `conflict`."""
        now = self._clock()
        added = [
            _Kept(str(body.get("role", "")), text, now)
            for body, text in zip(bodies, await _written(bodies), strict=True)
        ]
        talk = self._made(key_id, name) if new else self._used(key_id, name)
        if talk is None or expected not in (None, talk.session.length):
            raise StoreError("conflict", "The session was changed or deleted meanwhile.")
        talk.messages += added
        size = sum([len(kept.text) + PER_MESSAGE for kept in added])
        talk.size += size
        self._size += size
        talk.session = talk.session._replace(length=len(talk.messages), updated_at=now)
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
            start = _first_that_fits(talk.messages, start, end, max_chars)
        return await _read(talk, range(start, end))

    async def recent(self, key_id: int, name: str, *, max_chars: int) -> Recent | None:
        """The newest messages, with what goes for them; None: no such session."""
        talk = self._used(key_id, name)
        if talk is None:
            return None
        end = len(talk.messages)
        start = _first_that_fits(talk.messages, 0, end, max_chars)
        told: list[int] = []
        for place in reversed(range(start)):
            if talk.messages[place].role in INSTRUCTIONS:
                told.append(place)
            elif told:
                break
        size = sum([len(kept.text) for kept in talk.messages[start:]])
        return Recent(await _read(talk, range(start, end)), await _read(talk, told[::-1]), size)

    async def page(self, key_id: int, *, cursor: str = "", limit: int = PAGE) -> Page:
        """A key's sessions, the latest used first. Raises ValueError for a cursor that is none."""
        start = int(cursor) if cursor else 0
        if not 0 <= start <= self._max_sessions:
            raise ValueError(cursor)
        mine = [talk.session for (owner, _), talk in reversed(self._talks.items()) if owner == key_id]
        mine.sort(key=lambda session: session.updated_at, reverse=True)
        end = start + min(max(limit, 1), PAGE)
        return Page(mine[start:end], str(end) if end < len(mine) else "")

    async def delete(self, key_id: int, name: str) -> bool:
        """Delete a session with its messages; False if this key has none of this name."""
        talk = self._talks.pop((key_id, name), None)
        if talk is not None:
            self._size -= talk.size
        return talk is not None

    def _made(
        self, key_id: int, name: str, title: str = "", details: Mapping[str, Any] = MappingProxyType({})
    ) -> _Talk:
        now = self._clock()
        talk = self._used(key_id, name) or _Talk(Session(name, title, 0, now, now, details))
        self._talks[key_id, name] = talk
        return talk

    def _used(self, key_id: int, name: str) -> _Talk | None:
        """The session of this name, now the one that was used last."""
        talk = self._talks.pop((key_id, name), None)
        if talk is not None:
            self._talks[key_id, name] = talk
        return talk

    def _make_room(self) -> None:
        while len(self._talks) > self._max_sessions or self._size > self._max_bytes:
            place = self._least_missed()
            if place is None:
                return  # when their turns are over
            self._size -= self._talks.pop(place).size

    def _least_missed(self) -> tuple[int, str] | None:
        """Of whoever takes most of what is short, the session that was not used for longest; None if all are in use."""
        number, size = Counter[int](), Counter[int]()
        oldest: dict[int, tuple[int, str]] = {}
        for place, talk in self._talks.items():
            number[place[0]] += 1
            size[place[0]] += talk.size
            if place not in self._turns:
                oldest.setdefault(place[0], place)
        takes = size if self._size > self._max_bytes else number
        owner = max(oldest, key=takes.__getitem__, default=None)
        return None if owner is None else oldest[owner]


async def _written(bodies: Sequence[dict[str, Any]]) -> list[bytes]:
    """The messages as JSON, in which no half of a surrogate pair is left."""
    found, done = [], 0
    for body in bodies:
        found.append(text := jsontext.dumps(body))
        done += len(text) + PER_MESSAGE
        if done > SLICE:
            done = 0
            await trio.lowlevel.checkpoint()
    return found


async def _read(talk: _Talk, places: Sequence[int]) -> list[Message]:
    """The messages at these places."""
    found, done = [], 0
    for place in places:
        found.append(talk.read(place))
        done += len(talk.messages[place].text) + PER_MESSAGE
        if done > SLICE:
            done = 0
            await trio.lowlevel.checkpoint()
    return found


def _first_that_fits(messages: Sequence[_Kept], start: int, end: int, max_chars: int) -> int:
    """The first of these places from which on all fit; the last one always does."""
    first = end
    for place in reversed(range(start, end)):
        max_chars -= len(messages[place].text)
        if max_chars < 0 and place < end - 1:
            break
        first = place
    return first
