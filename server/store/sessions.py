"""Sessions: conversations that are kept, each owned by the key that made it.

A session's name is the client's choice (`X-Session-ID`), so it is unique for its owner only: somebody else's
"default" is another session, and no answer tells whether it exists. Messages are numbered from 0; how many there
are is the session's version. `append` returns when they are committed, and with `expected` it refuses to write
after what another process has written meanwhile. Within one process, requests of one session take turns by
`turn`, in the order in which they came.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
import trio

from . import schema
from .desk import Desk
from .errors import StoreError
from .statements import upsert

__all__ = ["MAX_SESSION_NAME", "Message", "Page", "Session", "Sessions", "is_session_name"]

MAX_SESSION_NAME = 200
"""Characters of a session's name."""

PAGE = 100
"""The most that one page lists."""

MOST = 2**53
"""No number is larger; clients can send any."""

sessions, messages = schema.sessions, schema.messages


class Session(NamedTuple):
    """A session, without its messages. `length` is how many there are."""

    name: str
    title: str
    length: int
    created_at: float
    updated_at: float


class Message(NamedTuple):
    """A message as it was handed in, and its place."""

    number: int
    body: dict[str, Any]
    created_at: float


class Page(NamedTuple):
    """Some of a list, and the cursor with which the next page is asked for; "" at the end."""

    sessions: list[Session]
    cursor: str


def is_session_name(text: str) -> bool:
    """Whether a client may call a session so: printable ASCII without spaces, and not too long."""
    return 0 < len(text) <= MAX_SESSION_NAME and text.isascii() and text.isprintable() and " " not in text


class Sessions:
    """The sessions in the store at `desk`. `clock` tells the time of day."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._clock = clock
        self._turns: dict[tuple[int, str], tuple[trio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, key_id: int, name: str) -> AsyncIterator[None]:
        """Hold a session: whoever comes later waits until it is let go, first come first served."""
        place = key_id, name
        lock, users = self._turns.get(place, (None, 0))
        lock = lock or trio.Lock()
        self._turns[place] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            users = self._turns[place][1] - 1
            if users:
                self._turns[place] = lock, users
            else:
                del self._turns[place]

    async def create(self, key_id: int, name: str, *, title: str = "") -> Session:
        """The session of this name, made if there is none. Raises StoreError."""
        return await self._desk.write(partial(_create, key_id=key_id, name=name, title=title, now=self._clock()))

    async def get(self, key_id: int, name: str) -> Session | None:
        """The session of this name; None if this key has none. Raises StoreError."""
        return await self._desk.read(partial(_get, key_id=key_id, name=name))

    async def append(
        self, key_id: int, name: str, bodies: Sequence[dict[str, Any]], *, expected: int | None = None
    ) -> int:
        """Add messages to a session that is there; returns its new length, committed.

        With `expected`, the length that the caller knows, nothing is added if it has another: StoreError
        `conflict`, as for a session that is not there.
        """
        job = partial(_append, key_id=key_id, name=name, bodies=bodies, expected=expected, now=self._clock())
        length = await self._desk.write(job)
        if length is None:
            raise StoreError("conflict", "The session was changed or deleted meanwhile.")
        return length

    async def history(
        self, key_id: int, name: str, *, before: int | None = None, limit: int = PAGE
    ) -> list[Message] | None:
        """The last `limit` messages, or those before number `before`, in their order; None: no such session.

        Paging back: ask again with the first one's number as `before`, until it is 0. Raises StoreError.
        """
        before = None if before is None else min(max(before, 0), MOST)
        job = partial(_history, key_id=key_id, name=name, before=before, limit=max(limit, 1))
        return await self._desk.read(job)

    async def page(self, key_id: int, *, cursor: str = "", limit: int = PAGE) -> Page:
        """A key's sessions, the latest used first. Raises StoreError; ValueError for a cursor that is none."""
        after = _read_cursor(cursor) if cursor else None
        return await self._desk.read(partial(_page, key_id=key_id, after=after, limit=min(max(limit, 1), PAGE)))

    async def delete(self, key_id: int, name: str) -> bool:
        """Delete a session with its messages; False if this key has none of this name. Raises StoreError."""
        return await self._desk.write(partial(_delete, key_id=key_id, name=name))


# Jobs


def _mine(key_id: int, name: str) -> Any:
    return sa.and_(sessions.c.key_id == key_id, sessions.c.name == name)


def _create(connection: sa.Connection, key_id: int, name: str, title: str, now: float) -> Session:
    new = {"key_id": key_id, "name": name, "title": title, "length": 0, "created_at": now, "updated_at": now}
    connection.execute(upsert(connection, sessions).values(new).on_conflict_do_nothing())
    session = _get(connection, key_id, name)
    assert session is not None
    return session


def _get(connection: sa.Connection, key_id: int, name: str) -> Session | None:
    row = connection.execute(sa.select(sessions).where(_mine(key_id, name))).one_or_none()
    return None if row is None else _session(row)


def _session(row: Any) -> Session:
    return Session(row.name, row.title, row.length, row.created_at, row.updated_at)


def _append(
    connection: sa.Connection,
    key_id: int,
    name: str,
    bodies: Sequence[dict[str, Any]],
    expected: int | None,
    now: float,
) -> int | None:
    # The update comes first: it locks the session, so that two appends number their messages one after the other.
    this = _mine(key_id, name)
    if expected is not None:
        this = sa.and_(this, sessions.c.length == expected)
    longer = {"length": sessions.c.length + len(bodies), "updated_at": now}
    row = connection.execute(
        sessions.update().where(this).values(longer).returning(sessions.c.id, sessions.c.length)
    ).one_or_none()
    if row is None:
        return None
    if bodies:
        first: int = row.length - len(bodies)
        rows = [
            {
                "session_id": row.id,
                "number": number,
                "role": str(body.get("role", "")),
                "body": body,
                "created_at": now,
            }
            for number, body in enumerate(bodies, first)
        ]
        connection.execute(messages.insert(), rows)
    return int(row.length)


def _history(connection: sa.Connection, key_id: int, name: str, before: int | None, limit: int) -> list[Message] | None:
    session_id = connection.execute(sa.select(sessions.c.id).where(_mine(key_id, name))).scalar()
    if session_id is None:
        return None
    query = sa.select(messages).where(messages.c.session_id == session_id)
    if before is not None:
        query = query.where(messages.c.number < before)
    rows = connection.execute(query.order_by(messages.c.number.desc()).limit(limit)).all()
    return [Message(row.number, row.body, row.created_at) for row in reversed(rows)]


def _page(connection: sa.Connection, key_id: int, after: tuple[float, int] | None, limit: int) -> Page:
    query = sa.select(sessions).where(sessions.c.key_id == key_id)
    if after is not None:
        query = query.where(sa.tuple_(sessions.c.updated_at, sessions.c.id) < sa.tuple_(*after))
    latest = query.order_by(sessions.c.updated_at.desc(), sessions.c.id.desc())
    rows = connection.execute(latest.limit(limit + 1)).all()
    cursor = f"{rows[limit - 1].updated_at!r}:{rows[limit - 1].id}" if len(rows) > limit else ""
    return Page([_session(row) for row in rows[:limit]], cursor)


def _read_cursor(cursor: str) -> tuple[float, int]:
    updated_at, _, number = cursor.partition(":")
    found = float(updated_at), int(number)
    if not 0 <= found[0] < MOST or not 0 <= found[1] < MOST:
        raise ValueError(cursor)
    return found


def _delete(connection: sa.Connection, key_id: int, name: str) -> bool:
    return connection.execute(sessions.delete().where(_mine(key_id, name))).rowcount > 0
