"""Sessions: conversations that are kept, each owned by the key that made it.

A session's name is the client's choice (`X-Session-ID`), so it is unique for its owner only: somebody else's
"default" is another session, and no answer tells whether it exists. Messages are numbered from 0; how many there
are is the session's version. `append` returns when they are committed, and with `expected` it refuses to write
after what another process has written meanwhile. Within one process, requests of one session take turns by
`turn`, in the order in which they came.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from . import schema
from .database import Job
from .desk import Desk
from .errors import StoreError
from .session_rows import INSTRUCTIONS, PAGE, Message, Page, Recent, Session, Turns
from .statements import upsert

__all__ = ["Sessions"]

MOST = 2**53
"""Numbers beyond it are not exact everywhere."""

BATCH = 100
"""Sessions that are deleted in one commit: each may have many messages."""

LOOKED_AT = 1000
"""The most messages that are looked at for one request."""

MOST_INSTRUCTIONS = 8
"""Messages of the system's that go before them."""

sessions, messages = schema.sessions, schema.messages


class Sessions:
    """The sessions in the store at `desk`. `clock` tells the time of day."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._clock = clock
        self._turns = Turns()

    def turn(self, key_id: int, name: str) -> AbstractAsyncContextManager[None]:
        """Hold a session: whoever comes later waits until it is let go, first come first served."""
        return self._turns.hold((key_id, name))

    @property
    def active(self) -> int:
        """Sessions that somebody uses just now."""
        return len(self._turns)

    async def create(
        self, key_id: int, name: str, *, title: str = "", details: Mapping[str, Any] = MappingProxyType({})
    ) -> Session:
        """The session of this name, made if there is none. Raises StoreError."""
        new = Session(name, title, 0, now := self._clock(), now, details)
        return await self._desk.write(partial(_create, key_id=key_id, new=new))

    async def get(self, key_id: int, name: str) -> Session | None:
        """The session of this name; None if this key has none. Raises StoreError."""
        return await self._desk.read(partial(_get, key_id=key_id, name=name))

    async def append(
        self,
        key_id: int,
        name: str,
        bodies: Sequence[dict[str, Any]],
        *,
        expected: int | None = None,
        new: bool = False,
    ) -> int:
        """Add messages to a session; returns its new length, committed. A `new` one is made with them, if it is not
        there yet: there is none that has been made and is empty because they could not be added.

        With `expected`, the length that the caller knows, nothing is added if it has another: StoreError
        `conflict`, as for a session that is not there.
        """
        now = self._clock()
        job: Job[int | None] = partial(_append, key_id=key_id, name=name, bodies=bodies, expected=expected, now=now)
        if new:
            job = partial(_create_with, key_id=key_id, new=Session(name, "", 0, now, now), append=job)
        length = await self._desk.write(job)
        if length is None:
            raise _conflict()
        return length

    async def history(
        self,
        key_id: int,
        name: str,
        *,
        before: int | None = None,
        limit: int = PAGE,
        max_chars: int | None = None,
    ) -> list[Message] | None:
        """The last `limit` messages, or those before number `before`, in their order; None: no such session.

        With `max_chars` not more than as long, but for a single one. Paging back: ask again with the first one's
        number as `before`, until it is 0. Raises StoreError.
        """
        before = None if before is None else min(max(before, 0), MOST)
        job = partial(_history, key_id=key_id, name=name, before=before, limit=max(limit, 1), max_chars=max_chars)
        return await self._desk.read(job)

    async def recent(self, key_id: int, name: str, *, max_chars: int) -> Recent | None:
        """The newest messages, not longer than `max_chars` together, with what goes for them; None: no such session.

        Raises StoreError.
        """
        return await self._desk.read(partial(_recent, key_id=key_id, name=name, max_chars=max_chars))

    async def page(self, key_id: int, *, cursor: str = "", limit: int = PAGE) -> Page:
        """A key's sessions, the latest used first. Raises StoreError; ValueError for a cursor that is none."""
        after = _read_cursor(cursor) if cursor else None
        return await self._desk.read(partial(_page, key_id=key_id, after=after, limit=min(max(limit, 1), PAGE)))

    async def delete(self, key_id: int, name: str) -> bool:
        """Delete a session with its messages; False if this key has none of this name. Raises StoreError."""
        return await self._desk.write(partial(_delete, key_id=key_id, name=name))

    async def purge(self, before: float) -> int:
        """Delete some that were not used since; how many: 0 if none are left. Raises StoreError."""
        return await self._desk.write(partial(_purge, before=before))


# Jobs


def _mine(key_id: int, name: str) -> Any:
    return sa.and_(sessions.c.key_id == key_id, sessions.c.name == name)


def _create(connection: sa.Connection, key_id: int, new: Session) -> Session:
    values = {**new._asdict(), "details": dict(new.details), "key_id": key_id}
    connection.execute(upsert(connection, sessions).values(values).on_conflict_do_nothing())
    session = _get(connection, key_id, new.name)
    assert session is not None
    return session


def _create_with(connection: sa.Connection, key_id: int, new: Session, append: Job[int | None]) -> int:
    _create(connection, key_id, new)
    length = append(connection)
    if length is None:
        raise _conflict()  # here, so that the session is not made either
    return length


def _conflict() -> StoreError:
    return StoreError("conflict", "The session was changed or deleted meanwhile.")


def _get(connection: sa.Connection, key_id: int, name: str) -> Session | None:
    row = connection.execute(sa.select(sessions).where(_mine(key_id, name))).one_or_none()
    return None if row is None else _session(row)


def _session(row: Any) -> Session:
    return Session(row.name, row.title, row.length, row.created_at, row.updated_at, row.details)


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


def _history(
    connection: sa.Connection, key_id: int, name: str, before: int | None, limit: int, max_chars: int | None
) -> list[Message] | None:
    session_id = _id_of(connection, key_id, name)
    if session_id is None:
        return None
    query = sa.select(messages).where(messages.c.session_id == session_id)
    if before is not None:
        query = query.where(messages.c.number < before)
    if max_chars is not None:
        first = _first_that_fits(connection, query.order_by(messages.c.number.desc()).limit(limit), max_chars)
        query = query.where(messages.c.number >= first)
    rows = connection.execute(query.order_by(messages.c.number.desc()).limit(limit)).all()
    return [Message(row.number, row.body, row.created_at) for row in reversed(rows)]


def _id_of(connection: sa.Connection, key_id: int, name: str) -> int | None:
    return connection.execute(sa.select(sessions.c.id).where(_mine(key_id, name))).scalar()


def _first_that_fits(connection: sa.Connection, newest: sa.Select[Any], max_chars: int) -> int:
    """The number of the oldest of these messages that still fits; at least the newest does."""
    first = 0
    sizes = newest.with_only_columns(messages.c.number, sa.func.length(messages.c.body).label("size"))
    for place, row in enumerate(connection.execute(sizes)):
        max_chars -= row.size
        if max_chars < 0 and place:
            break
        first = row.number
    return first


def _recent(connection: sa.Connection, key_id: int, name: str, max_chars: int) -> Recent | None:
    found = _history(connection, key_id, name, None, LOOKED_AT, max_chars)
    if not found:
        return None if found is None else Recent([], [])
    mine = messages.c.session_id == _id_of(connection, key_id, name)
    size = sa.select(sa.func.sum(sa.func.length(messages.c.body))).where(mine, messages.c.number >= found[0].number)
    chars = int(connection.execute(size).scalar() or 0)
    if not found[0].number:
        return Recent(found, [], chars)
    told = sa.select(messages).where(mine)
    told = told.where(messages.c.number < found[0].number, messages.c.role.in_(INSTRUCTIONS))
    rows = connection.execute(told.order_by(messages.c.number.desc()).limit(MOST_INSTRUCTIONS)).all()
    # Those that were given together: their numbers follow on each other.
    run = [row for place, row in enumerate(rows) if row.number == rows[0].number - place]
    return Recent(found, [Message(row.number, row.body, row.created_at) for row in reversed(run)], chars)


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


def _purge(connection: sa.Connection, before: float) -> int:
    some = sa.select(sessions.c.id).where(sessions.c.updated_at < before).limit(BATCH)
    return connection.execute(sessions.delete().where(sessions.c.id.in_(some))).rowcount
