"""The accounts on disk: one row a request, one a call of an upstream, written behind the requests' backs.

`add` takes what is known of a request that has ended and returns at once. The rows are written in batches
within `WRITE_SECONDS`; what a crash loses is what was added since. A row is written once, however often it is
tried: its request's id is its key.

The buffer has a bound. When it is full (the store has been away for long) nothing is thrown away: `has_room` is
False, and then no new work may be taken. What is under way at that moment still finds its place, so the buffer
holds at most `CAPACITY` rows and as many as there can be requests at once.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple

import sqlalchemy as sa
import trio

from . import schema
from .desk import Desk
from .errors import StoreError
from .statements import upsert

__all__ = ["Attempt", "Request", "Total", "Usage"]

log = logging.getLogger("penstock.store")

WRITE_SECONDS = 1.0
"""A row is written so long after its request, if the store can be written."""

GATHER_SECONDS = 0.5
"""How long the first row of a batch waits for others; the rest of the time is for writing."""

RETRY_SECONDS = 1.0

CAPACITY = 10_000
"""Rows that wait; a thousand requests a second fill that in ten seconds without a store."""

BATCH = 500
"""Rows in one commit."""

MOST = 2**53
"""No count is larger; upstreams can send any number."""


class Attempt(NamedTuple):
    """One call of an upstream, successful or not. `estimated`: the upstream did not tell the counts."""

    provider: str
    model: str
    failure: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


class Request(NamedTuple):
    """One request that has ended, and what was tried for it. `started_at` is the time of day."""

    id: str
    key_id: int
    endpoint: str
    model: str
    stream: bool
    status: int
    ending: str
    started_at: float
    seconds: float
    bytes_out: int = 0
    attempts: Sequence[Attempt] = ()


class Total(NamedTuple):
    """What was used under one name: `provider/model`, or a key's, of which `key_id` tells those of one name apart."""

    name: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    key_id: int | None = None


class Usage:
    """The accounts in the store at `desk`. `clock` tells the time of day."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time, *, capacity: int = CAPACITY) -> None:
        self._desk = desk
        self._clock = clock
        self._capacity = capacity
        self._rows: deque[Request] = deque()
        self._some = trio.Event()
        self._one_writer = trio.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def has_room(self) -> bool:
        """Whether new work may be taken."""
        return len(self._rows) < self._capacity

    def add(self, request: Request) -> None:
        """Take a row; it is written soon. Never waits and never refuses."""
        self._rows.append(request)
        self._some.set()

    async def run(self) -> None:
        """Write what is added, for ever."""
        while True:
            await self._some.wait()
            await trio.sleep(GATHER_SECONDS)
            try:
                await self.flush()
            except StoreError:
                await trio.sleep(RETRY_SECONDS)

    async def flush(self) -> None:
        """Write all there is. Raises StoreError, and then the rest is still there."""
        async with self._one_writer:
            while self._rows:
                batch = list(islice(self._rows, BATCH))
                await self._write(batch)
                for _ in batch:
                    self._rows.popleft()
            if self._some.is_set():  # else `run` is waiting for this one
                self._some = trio.Event()

    async def _write(self, batch: list[Request]) -> None:
        try:
            await self._desk.write(partial(_insert, batch=batch, now=self._clock()))
        except StoreError as error:
            if error.kind not in ("conflict", "rejected"):
                raise
            if len(batch) > 1:  # one of them the store will not have: the others shall not suffer
                for request in batch:
                    await self._write([request])
            else:
                log.error("The store refuses the accounts of request %s: %s", batch[0].id, error.message)

    async def totals(self, by: Literal["key", "model"], *, since: float, key_id: int | None = None) -> list[Total]:
        """What was used since a time of day, by key or by model, the most tokens first. Raises StoreError."""
        return await self._desk.read(partial(_totals, by=by, since=since, key_id=key_id))

    async def purge(self, before: float) -> int:
        """Delete some requests that began before a time of day; how many: 0 if none are left. Raises StoreError."""
        return await self._desk.write(partial(_purge, before=before))


def _insert(connection: sa.Connection, batch: Iterable[Request], now: float) -> None:
    attempts = [
        {
            "request_id": request.id,
            "attempt": number,
            **attempt._asdict(),
            **{name: _count(getattr(attempt, name)) for name in _COUNTS},
        }
        for request in batch
        for number, attempt in enumerate(request.attempts)
    ]
    # Sorted: two processes that insert the same names in different orders would lock each other out.
    models = sorted({(attempt["provider"], attempt["model"]) for attempt in attempts})
    rows = [{**request._asdict(), "bytes_out": _count(request.bytes_out)} for request in batch]
    for row in rows:
        del row["attempts"]
    for table, values in (
        (schema.models, [{"provider": provider, "name": name, "seen_at": now} for provider, name in models]),
        (schema.requests, rows),
        (schema.usage, attempts),
    ):
        if values:
            connection.execute(upsert(connection, table).on_conflict_do_nothing(), values)


_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


def _count(number: int) -> int:
    return min(max(number, 0), MOST)


def _totals(connection: sa.Connection, by: Literal["key", "model"], since: float, key_id: int | None) -> list[Total]:
    requests, usage, keys = schema.requests, schema.usage, schema.keys
    of_key = by == "key"
    name = keys.c.name if of_key else usage.c.provider + "/" + usage.c.model
    of = keys.c.id if of_key else sa.null()
    prompt, completion = sa.func.sum(usage.c.prompt_tokens), sa.func.sum(usage.c.completion_tokens)
    query = (
        sa.select(name, sa.func.count(requests.c.id.distinct()), prompt, completion, of)
        .select_from(requests.join(usage, usage.c.request_id == requests.c.id).join(keys))
        .where(requests.c.started_at >= since)
        .group_by(*([name, of] if of_key else [name]))
        .order_by((prompt + completion).desc(), name)
    )
    if key_id is not None:
        query = query.where(requests.c.key_id == key_id)
    return [Total(row[0], row[1], int(row[2]), int(row[3]), row[4]) for row in connection.execute(query)]


def _purge(connection: sa.Connection, before: float) -> int:
    requests = schema.requests
    some = sa.select(requests.c.id).where(requests.c.started_at < before).limit(BATCH)
    return connection.execute(requests.delete().where(requests.c.id.in_(some))).rowcount
