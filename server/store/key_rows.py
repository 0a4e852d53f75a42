"""API keys as rows: jobs that create, find, revoke and rotate them, for the gateway and the command line alike.

A key is `sk-penstock-` and 256 random bits. The store has its SHA-256 digest, never the key. A slow hash would
add nothing: it is there to make guessing a password dear, and nobody guesses 256 random bits; it would cost
each request tens of milliseconds, and an attacker who sends wrong keys could make us pay that at will.

Each change of a key takes the next number of one counter, whose row stays locked until the change is committed.
So numbers become visible in their order, and a reader that asks for all after the last number that it knows
misses none.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from ..access import Key
from . import schema
from .statements import upsert

__all__ = [
    "NO_LIMITS",
    "PREFIX",
    "Period",
    "StoredKey",
    "Terms",
    "adopt",
    "changed",
    "digest_of",
    "every",
    "find",
    "insert",
    "new_secret",
    "revoke",
    "rotate",
    "used",
]

PREFIX = "sk-penstock-"

Period = Literal["day", "month", "total"]

keys, users = schema.keys, schema.users


class Terms(NamedTuple):
    """What a key may do. 0 means no limit."""

    models: tuple[str, ...] = ("*",)
    origins: tuple[str, ...] = ()
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    parallel: int = 0
    token_budget: int = 0
    budget_period: Period = "total"
    expires_at: float | None = None


NO_LIMITS = Terms()


class StoredKey(Key):
    """A key out of the store; as a `Key` it has a name, and `may_use` says which models it opens."""

    __slots__ = (
        "created_at",
        "hint",
        "id",
        "last_used_at",
        "old_digest",
        "old_until",
        "revision",
        "revoked_at",
        "rotated_at",
        "terms",
        "user",
    )

    def __init__(self, row: Any) -> None:
        super().__init__(row.name, row.digest or b"", tuple(row.models))
        self.id: int = row.id
        self.user: str = row.user or ""
        self.hint: str = row.hint
        self.old_digest: bytes | None = row.old_digest
        self.old_until: float | None = row.old_until
        self.terms = Terms(
            self.models,
            tuple(row.origins),
            row.requests_per_minute,
            row.tokens_per_minute,
            row.parallel,
            row.token_budget,
            row.budget_period,
            row.expires_at,
        )
        self.created_at: float = row.created_at
        self.revoked_at: float | None = row.revoked_at
        self.rotated_at: float | None = row.rotated_at
        self.last_used_at: float | None = row.last_used_at
        self.revision: int = row.revision

    def state(self, now: float) -> Literal["active", "expired", "revoked"]:
        """Whether it opens anything."""
        if self.revoked_at is not None:
            return "revoked"
        expires = self.terms.expires_at
        return "active" if expires is None or now < expires else "expired"


def new_secret() -> str:
    """A key that nobody had before, nor can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """What the store keeps of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


# Jobs


def insert(
    connection: sa.Connection, secret: str, name: str, terms: Terms, user: str, *, now: float
) -> StoredKey | None:
    """A new key; None if a living one has the name."""
    if _living(connection, name) is not None:
        return None
    owner = None
    if user:
        connection.execute(upsert(connection, users).values(name=user, created_at=now).on_conflict_do_nothing())
        owner = connection.execute(sa.select(users.c.id).where(users.c.name == user)).scalar_one()
    values = {
        **terms._asdict(),
        "origins": [origin.lower() for origin in terms.origins],  # as browsers send them
        "kind": "stored",
        "name": name,
        "user_id": owner,
        "digest": digest_of(secret),
        "hint": _hint(secret),
        "created_at": now,
        "revision": _next_revision(connection),
    }
    made = connection.execute(keys.insert().values(values).returning(keys.c.id)).scalar_one()
    return _by_id(connection, made)


def every(connection: sa.Connection) -> list[StoredKey]:
    """All stored keys, the revoked ones too, in the order in which they were made."""
    return [StoredKey(row) for row in connection.execute(_SELECT.order_by(keys.c.id))]


def find(connection: sa.Connection, name: str) -> StoredKey | None:
    """The living key of this name."""
    row = _living(connection, name)
    return None if row is None else StoredKey(row)


def revoke(connection: sa.Connection, name: str, *, now: float) -> StoredKey | None:
    """End the living key of this name, for good; None if there is none."""
    return _change(connection, name, revoked_at=now)


def rotate(connection: sa.Connection, secret: str, name: str, *, now: float, grace: float) -> StoredKey | None:
    """Give the living key of this name a new secret; the old one is good for `grace` seconds more.

    All else stays, its sessions and its budget too. None if there is no such key.
    """
    old = {"old_digest": keys.c.digest, "old_until": now + grace} if grace else {"old_digest": None, "old_until": None}
    return _change(connection, name, **old, digest=digest_of(secret), hint=_hint(secret), rotated_at=now)


def changed(connection: sa.Connection, known: int) -> tuple[int, list[StoredKey]]:
    """The number of the latest change, and the keys that changed after the one with number `known`."""
    latest = connection.execute(_COUNTER).scalar_one()
    if latest == known:
        return known, []
    return latest, [StoredKey(row) for row in connection.execute(_SELECT.where(keys.c.revision > known))]


def adopt(connection: sa.Connection, kind: str, names: Iterable[str], *, now: float) -> dict[str, int]:
    """Rows for those who show no stored key: keys of the configuration ("static"), or nobody at all ("nobody").

    They open nothing here; they own sessions and are billed. Returns their ids by name.
    """
    found = {}
    for name in names:
        mine = sa.select(keys.c.id).where(keys.c.kind == kind, keys.c.name == name, keys.c.revoked_at.is_(None))
        there = connection.execute(mine).scalar()
        if there is None:
            values = {**NO_LIMITS._asdict(), "kind": kind, "name": name, "hint": "", "created_at": now, "revision": 0}
            connection.execute(upsert(connection, keys).values(values).on_conflict_do_nothing())
            there = connection.execute(mine).scalar_one()
        found[name] = there
    return found


def used(connection: sa.Connection, times: dict[int, float]) -> None:
    """Note when keys were last used."""
    for key_id in sorted(times):  # in one order everywhere, so that two processes cannot lock each other out
        later = sa.or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < times[key_id])
        connection.execute(keys.update().where(keys.c.id == key_id, later).values(last_used_at=times[key_id]))


_SELECT = (
    sa.select(keys, users.c.name.label("user"))
    .select_from(keys.outerjoin(users, keys.c.user_id == users.c.id))
    .where(keys.c.kind == "stored")
)
_COUNTER = sa.select(schema.counters.c.value).where(schema.counters.c.name == "keys")


def _hint(secret: str) -> str:
    """Enough to recognise a key by: 24 of its 256 bits."""
    return f"{PREFIX}...{secret[-4:]}"


def _living(connection: sa.Connection, name: str) -> Any:
    return connection.execute(_SELECT.where(keys.c.name == name, keys.c.revoked_at.is_(None))).one_or_none()


def _by_id(connection: sa.Connection, key_id: int) -> StoredKey:
    return StoredKey(connection.execute(_SELECT.where(keys.c.id == key_id)).one())


def _change(connection: sa.Connection, name: str, **values: Any) -> StoredKey | None:
    revision = _next_revision(connection)  # first: it also makes changes of one key wait for each other
    there = _living(connection, name)
    if there is None:
        return None
    connection.execute(keys.update().where(keys.c.id == there.id).values(revision=revision, **values))
    return _by_id(connection, there.id)


def _next_revision(connection: sa.Connection) -> int:
    counters = schema.counters
    connection.execute(counters.update().where(counters.c.name == "keys").values(value=counters.c.value + 1))
    latest: int = connection.execute(_COUNTER).scalar_one()
    return latest
