"""Token budgets: reserved before an upstream is asked, settled when the request has ended.

    reserve(n): spent + reserved + n <= limit, in one UPDATE, so that no two requests get the same tokens
    settle(m):  the reservation goes, and m is spent, be it more or less than was reserved

Both return when they are committed. A budget is per key and period (a day or a month of UTC, or all time); the
limit is the key's, looked up in the same statement, and each period has a row of its own, so nothing is reset.

A reservation is a lease that its process renews. If the process dies, whoever comes by after `LEASE_SECONDS`
releases the tokens; so nobody is locked out by a crash. One that was only paused finds its reservation released
and settles it all the same: what was used is booked. A settlement that is repeated changes nothing.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa
import trio

from . import schema
from .desk import Desk
from .errors import StoreError
from .key_rows import Period
from .statements import upsert

__all__ = ["LEASE_SECONDS", "Budget", "Budgets", "Exhausted", "Reservation", "period_bounds"]

log = logging.getLogger("penstock.store")

LEASE_SECONDS = 60.0
"""After so long without a sign of life, the reservations of a process are released."""

KEPT_SECONDS = 86400.0
"""How long a released reservation is remembered, for whoever still wants to settle it."""

OWED = 1000
"""Settlements that may wait for a store that cannot be written; with more, no new work may be taken. Those of nothing
do not count: what they would give back, the end of the lease does."""

RENEWED = 500
"""Leases in one statement."""

MOST = 2**53

budgets, keys, reservations = schema.budgets, schema.keys, schema.reservations


class Reservation(NamedTuple):
    """Tokens that are held for one request."""

    id: str
    key_id: int
    period_start: float
    tokens: int


class Budget(NamedTuple):
    """A key's budget in the present period. `limit` is 0 if there is none; `resets_at` is None for all time."""

    limit: int
    spent: int
    reserved: int
    resets_at: float | None

    @property
    def left(self) -> int:
        """Tokens that can still be reserved."""
        return max(self.limit - self.spent - self.reserved, 0)


class Exhausted(NamedTuple):
    """The tokens could not be reserved, and nothing was."""

    budget: Budget


def period_bounds(period: Period, now: float) -> tuple[float, float | None]:
    """When the period of this moment began, and when the next one begins; of UTC."""
    if period == "total":
        return 0.0, None
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return day.timestamp(), day.timestamp() + 86400
    first = day.replace(day=1)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first.timestamp(), following.timestamp()


class Budgets:
    """The budgets in the store at `desk`, on behalf of one process. `clock` tells the time of day."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._clock = clock
        self._instance = secrets.token_hex(8)
        self._open: set[str] = set()
        self._owed: dict[str, tuple[Reservation, int]] = {}
        self.owing = trio.Event()
        """Set when there is something for `keep` to do soon."""

    @property
    def has_room(self) -> bool:
        """Whether new work may be taken."""
        return len(self._owed) < OWED or sum(tokens > 0 for _, tokens in self._owed.values()) < OWED

    async def reserve(self, key_id: int, tokens: int, *, period: Period) -> Reservation | Exhausted:
        """Hold `tokens` of a key's budget for a request, to be settled by `settle`. Raises StoreError.

        The key must have a budget; what a cancelled or failed call may have held is given back by `keep`.
        """
        now = self._clock()
        wanted = Reservation(secrets.token_hex(16), key_id, period_bounds(period, now)[0], _amount(tokens))
        job = partial(_reserve, wanted=wanted, instance=self._instance, expires_at=now + LEASE_SECONDS)
        try:
            held = await self._desk.write(job)
        except BaseException as exc:  # a cancellation too: it may be held, and nobody would give it back
            in_doubt = not isinstance(exc, StoreError) or exc.kind == "unavailable"
            if in_doubt and len(self._owed) < OWED:
                self._owe(wanted, 0)
            raise
        if held:
            self._open.add(wanted.id)
            return wanted
        return Exhausted(await self.get(key_id, period=period))

    async def settle(self, reservation: Reservation, tokens: int) -> None:
        """Book what was used in the place of what was reserved; 0 for nothing.

        Raises StoreError. It is then owed, and tried again until it is done; the caller need not.
        """
        try:
            await self._pay(reservation, _amount(tokens))
        except BaseException:  # a cancellation too: that the client has gone does not make it free
            self._owe(reservation, tokens)
            raise

    async def get(self, key_id: int, *, period: Period) -> Budget:
        """How a key's budget stands. Raises StoreError."""
        start, end = period_bounds(period, self._clock())
        return await self._desk.read(partial(_get, key_id=key_id, start=start, resets_at=end))

    async def keep(self) -> None:
        """To be called more often than every `LEASE_SECONDS`: renew what is ours, release what is nobody's.

        Raises StoreError.
        """
        self.owing = trio.Event()
        for reservation, tokens in list(self._owed.values()):
            try:
                await self._pay(reservation, tokens)
            except StoreError as error:
                if error.kind not in ("conflict", "rejected"):
                    raise
                log.error("The store refuses %d tokens of key %d: %s", tokens, reservation.key_id, error.message)
            self._owed.pop(reservation.id, None)
        now = self._clock()
        if self._open:
            await self._desk.write(partial(_renew, held=sorted(self._open), expires_at=now + LEASE_SECONDS))
        if await self._desk.read(partial(_any_expired, now=now)):
            await self._desk.write(partial(_sweep, now=now))

    def _owe(self, reservation: Reservation, tokens: int) -> None:
        self._owed[reservation.id] = reservation, _amount(tokens)
        self.owing.set()

    async def _pay(self, reservation: Reservation, tokens: int) -> None:
        await self._desk.write(partial(_settle, held=reservation, tokens=tokens))
        self._open.discard(reservation.id)


def _amount(tokens: int) -> int:
    return min(max(tokens, 0), MOST)


def _of(key_id: int, start: float) -> Any:
    return sa.and_(budgets.c.key_id == key_id, budgets.c.period_start == start)


def _reserve(connection: sa.Connection, wanted: Reservation, instance: str, expires_at: float) -> bool:
    new = {"key_id": wanted.key_id, "period_start": wanted.period_start, "spent": 0, "reserved": 0}
    connection.execute(upsert(connection, budgets).values(new).on_conflict_do_nothing())
    limit = sa.select(keys.c.token_budget).where(keys.c.id == wanted.key_id).scalar_subquery()
    fits = budgets.c.spent + budgets.c.reserved + wanted.tokens <= limit
    held = connection.execute(
        budgets.update()
        .where(_of(wanted.key_id, wanted.period_start), fits)
        .values(reserved=budgets.c.reserved + wanted.tokens)
    )
    if not held.rowcount:
        return False
    row = {**wanted._asdict(), "instance": instance, "expires_at": expires_at, "released": False}
    connection.execute(reservations.insert().values(row))
    return True


def _settle(connection: sa.Connection, held: Reservation, tokens: int) -> None:
    there = connection.execute(
        reservations.delete().where(reservations.c.id == held.id).returning(reservations.c.released)
    ).one_or_none()
    if there is not None:  # else it has been settled before
        back = 0 if there.released else held.tokens
        values = {"reserved": budgets.c.reserved - back, "spent": budgets.c.spent + tokens}
        connection.execute(budgets.update().where(_of(held.key_id, held.period_start)).values(values))


def _get(connection: sa.Connection, key_id: int, start: float, resets_at: float | None) -> Budget:
    limit = connection.execute(sa.select(keys.c.token_budget).where(keys.c.id == key_id)).scalar() or 0
    row = connection.execute(sa.select(budgets.c.spent, budgets.c.reserved).where(_of(key_id, start))).one_or_none()
    spent, reserved = (row.spent, row.reserved) if row is not None else (0, 0)
    return Budget(limit, spent, reserved, resets_at)


def _renew(connection: sa.Connection, held: list[str], expires_at: float) -> None:
    for start in range(0, len(held), RENEWED):
        some = sa.and_(reservations.c.id.in_(held[start : start + RENEWED]), reservations.c.released.is_(False))
        connection.execute(reservations.update().where(some).values(expires_at=expires_at))


def _expired(now: float) -> Any:
    forgettable = reservations.c.expires_at < now - KEPT_SECONDS
    return sa.and_(reservations.c.expires_at < now, sa.or_(reservations.c.released.is_(False), forgettable))


def _any_expired(connection: sa.Connection, now: float) -> bool:
    return connection.execute(sa.select(reservations.c.id).where(_expired(now)).limit(1)).first() is not None


def _sweep(connection: sa.Connection, now: float) -> None:
    dead = sa.and_(reservations.c.released.is_(False), reservations.c.expires_at < now)
    released = connection.execute(reservations.update().where(dead).values(released=True).returning(reservations))
    for row in sorted(released.all(), key=lambda row: (row.key_id, row.period_start)):
        less = {"reserved": budgets.c.reserved - row.tokens}
        connection.execute(budgets.update().where(_of(row.key_id, row.period_start)).values(less))
    connection.execute(reservations.delete().where(reservations.c.expires_at < now - KEPT_SECONDS))
