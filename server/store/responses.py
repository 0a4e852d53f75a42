"""Stored answers of the Responses API: kept so long, owned by the key that asked for them.

With each goes the input that it answered, so that `previous_response_id` can be followed back through a
conversation. One before may have been deleted or have expired: the chain ends there, and the caller is told.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa

from . import schema
from .desk import Desk
from .statements import upsert

__all__ = ["Item", "StoredResponse", "StoredResponses"]

MAX_CHAIN = 1000
"""Responses that are followed back; a longer conversation is beyond any model's window."""

BATCH = 500
"""Expired responses that are deleted in one commit."""

responses = schema.responses


class StoredResponse(NamedTuple):
    """A response as its client got it, and the input items that it answered."""

    id: str
    key_id: int
    status: str
    input: Any
    body: dict[str, Any]
    created_at: float
    previous_id: str | None = None
    expires_at: float | None = None


class Item(NamedTuple):
    """An item of an answer; `size` is its length as JSON, in bytes."""

    id: str
    value: dict[str, Any]
    size: int


class StoredResponses:
    """The stored responses at `desk`. `clock` tells the time of day."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._clock = clock

    async def put(self, response: StoredResponse) -> bool:
        """Keep a response, or its newer state; committed on return. False: the id is taken by another key.

        Raises StoreError.
        """
        return await self._desk.write(partial(_put, response=response))

    async def get(self, key_id: int, response_id: str) -> StoredResponse | None:
        """The response of this id, if it is this key's and has not expired. Raises StoreError."""
        return await self._desk.read(partial(_get, key_id=key_id, response_id=response_id, now=self._clock()))

    async def chain(
        self, key_id: int, response_id: str, *, max_chars: int = 2**40
    ) -> tuple[list[StoredResponse], bool]:
        """A response and those before it, the oldest first, and whether it is the whole chain. Raises StoreError.

        Where they are longer than `max_chars` together, the oldest are left out.
        """
        job = partial(_chain, key_id=key_id, response_id=response_id, max_chars=max_chars, now=self._clock())
        return await self._desk.read(job)

    async def output(self, key_id: int, response_id: str, ids: Container[str]) -> list[Item]:
        """Of what this response said, the items with these ids; of two with the same id the last. Raises StoreError."""
        job = partial(_output, key_id=key_id, response_id=response_id, ids=ids, now=self._clock())
        return await self._desk.read(job)

    async def delete(self, key_id: int, response_id: str) -> bool:
        """Forget a response; False if this key has none of this id. Raises StoreError."""
        return await self._desk.write(partial(_delete, key_id=key_id, response_id=response_id, now=self._clock()))

    async def purge(self) -> int:
        """Delete some that have expired; how many: 0 if none are left. Raises StoreError."""
        return await self._desk.write(partial(_purge, now=self._clock()))


def _put(connection: sa.Connection, response: StoredResponse) -> bool:
    values = response._asdict()
    newer = {name: value for name, value in values.items() if name not in ("id", "key_id", "created_at")}
    statement = upsert(connection, responses).values(values)
    mine = responses.c.key_id == response.key_id
    statement = statement.on_conflict_do_update(index_elements=["id"], set_=newer, where=mine)
    return connection.execute(statement.returning(responses.c.id)).first() is not None


def _mine(key_id: int, response_id: str, now: float) -> Any:
    alive = sa.or_(responses.c.expires_at.is_(None), responses.c.expires_at > now)
    return sa.and_(responses.c.id == response_id, responses.c.key_id == key_id, alive)


def _get(connection: sa.Connection, key_id: int, response_id: str, now: float) -> StoredResponse | None:
    row = connection.execute(sa.select(responses).where(_mine(key_id, response_id, now))).one_or_none()
    return None if row is None else StoredResponse(**row._mapping)


def _output(connection: sa.Connection, key_id: int, response_id: str, ids: Container[str], now: float) -> list[Item]:
    query = sa.select(responses.c.body).where(_mine(key_id, response_id, now))
    body = connection.execute(query).scalar()
    output = body.get("output") if body is not None else None
    found: dict[str, Item] = {}
    for value in output if isinstance(output, list) else []:
        id = value.get("id") if isinstance(value, dict) else None
        if isinstance(id, str) and id in ids:
            found[id] = Item(id, value, len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")))
    return list(found.values())


def _chain(
    connection: sa.Connection, key_id: int, response_id: str, max_chars: int, now: float
) -> tuple[list[StoredResponse], bool]:
    found: list[StoredResponse] = []
    following: str | None = response_id
    size = sa.func.length(responses.c.input) + sa.func.length(responses.c.body)
    while following is not None and len(found) < MAX_CHAIN:
        max_chars -= connection.execute(sa.select(size).where(_mine(key_id, following, now))).scalar() or 0
        if max_chars < 0:
            break
        response = _get(connection, key_id, following, now)
        if response is None:
            break
        found.append(response)
        following = response.previous_id
    return found[::-1], following is None


def _delete(connection: sa.Connection, key_id: int, response_id: str, now: float) -> bool:
    return connection.execute(responses.delete().where(_mine(key_id, response_id, now))).rowcount > 0


def _purge(connection: sa.Connection, now: float) -> int:
    some = sa.select(responses.c.id).where(responses.c.expires_at <= now).limit(BATCH)
    return connection.execute(responses.delete().where(responses.c.id.in_(some))).rowcount
