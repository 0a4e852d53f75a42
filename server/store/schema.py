"""The tables. What is here is what the newest migration leaves behind; a test compares the two.

Who asks is a row of `keys`, also for a key of the configuration and for nobody at all: such a row has no digest
and opens nothing, but owns sessions and is billed as any other. So everything that has an owner has a foreign
key. Times are seconds since 1970 as floats, UTC. Each index names the query that it is for.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Table, text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

__all__ = [
    "HEAD",
    "budgets",
    "counters",
    "keys",
    "messages",
    "metadata",
    "models",
    "requests",
    "reservations",
    "responses",
    "sessions",
    "settings",
    "usage",
    "users",
]

HEAD = "0001"
"""The revision of the newest migration. Revisions are four digits, so that the newer of two is the greater."""

MAX_NAME = 512
"""Characters of a name or a word that are kept: some come from clients, who may send anything."""


class Word(TypeDecorator[str]):
    """Short text from anywhere, made fit: PostgreSQL takes no NUL, no database takes half a surrogate pair."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value[:MAX_NAME].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


class Json(TypeDecorator[Any]):
    """Any JSON value as text of our own making: PostgreSQL's json types refuse some valid strings."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))  # a NUL becomes \u0000 here
        try:
            written.encode()
        except UnicodeEncodeError:  # half a surrogate pair: it survives as an escape
            written = json.dumps(value, separators=(",", ":"))
        return written

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


Time = sa.Double
Big = sa.BigInteger
Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite counts up only what is called INTEGER

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("name", Word, nullable=False, unique=True),
    Column("created_at", Time, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("kind", Word, nullable=False),  # "stored", or "static" and "nobody", which have no digest
    Column("name", Word, nullable=False),
    Column("user_id", ForeignKey("users.id"), index=True),
    Column("digest", sa.LargeBinary, unique=True),
    Column("hint", Word, nullable=False),  # the last characters, to recognise it by
    Column("old_digest", sa.LargeBinary, unique=True),  # still good until old_until, after a rotation
    Column("old_until", Time),
    Column("models", Json, nullable=False),
    Column("origins", Json, nullable=False),
    Column("requests_per_minute", Big, nullable=False),  # 0: no limit, here and below
    Column("tokens_per_minute", Big, nullable=False),
    Column("parallel", Big, nullable=False),
    Column("token_budget", Big, nullable=False),
    Column("budget_period", Word, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("revoked_at", Time),
    Column("rotated_at", Time),
    Column("last_used_at", Time),
    Column("revision", Big, nullable=False, index=True),  # the cache reads what is greater than what it knows
    # A name means one living key; that of a revoked one may be given again.
    Index(
        "ix_keys_living_name",
        "kind",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Word, primary_key=True),
    Column("value", Big, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("provider", Word, primary_key=True),
    Column("name", Word, primary_key=True),
    Column("context_tokens", Big),
    Column("seen_at", Time, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("key_id", ForeignKey("keys.id"), nullable=False),
    Column("name", Word, nullable=False),  # what clients call its id; theirs to choose, so one per key
    Column("title", Word, nullable=False),
    Column("details", Json, nullable=False),  # what its client says of it: a model, metadata
    Column("length", Big, nullable=False),  # messages so far: the next one's number, and the version of the session
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False, index=True),  # the sweep
    sa.UniqueConstraint("key_id", "name"),
    Index("ix_sessions_listed", "key_id", "updated_at", "id"),  # a key's sessions, the latest first
)

messages = Table(
    "messages",
    metadata,
    Column("session_id", ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Big, primary_key=True),
    Column("role", Word, nullable=False),
    Column("body", Json, nullable=False),
    Column("created_at", Time, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("id", Word, primary_key=True),
    Column("key_id", ForeignKey("keys.id"), nullable=False, index=True),
    Column("previous_id", Word),  # no foreign key: the one before may be deleted or have expired
    Column("status", Word, nullable=False),
    Column("input", Json, nullable=False),
    Column("body", Json, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time, index=True),  # the sweep
)

requests = Table(
    "requests",
    metadata,
    Column("id", Word, primary_key=True),
    Column("key_id", ForeignKey("keys.id"), nullable=False),
    Column("endpoint", Word, nullable=False),
    Column("model", Word, nullable=False),
    Column("stream", sa.Boolean, nullable=False),
    Column("status", sa.Integer, nullable=False),
    Column("ending", Word, nullable=False),
    Column("seconds", sa.Double, nullable=False),
    Column("bytes_out", Big, nullable=False),
    Column("started_at", Time, nullable=False, index=True),  # totals of a time, and the sweep
    Index("ix_requests_of_key", "key_id", "started_at"),
)

usage = Table(
    "usage",
    metadata,
    Column("request_id", ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", sa.Integer, primary_key=True),
    Column("provider", Word, nullable=False),
    Column("model", Word, nullable=False),
    Column("failure", Word, nullable=False),
    Column("prompt_tokens", Big, nullable=False),
    Column("completion_tokens", Big, nullable=False),
    Column("cached_tokens", Big, nullable=False),
    Column("reasoning_tokens", Big, nullable=False),
    Column("estimated", sa.Boolean, nullable=False),
    sa.ForeignKeyConstraint(["provider", "model"], ["models.provider", "models.name"], name="fk_usage_model"),
    Index("ix_usage_model", "provider", "model"),
)

budgets = Table(
    "budgets",
    metadata,
    Column("key_id", ForeignKey("keys.id"), primary_key=True),
    Column("period_start", Time, primary_key=True),
    Column("spent", Big, nullable=False),
    Column("reserved", Big, nullable=False),
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", Word, primary_key=True),
    Column("key_id", Big, nullable=False),
    Column("period_start", Time, nullable=False),
    Column("instance", Word, nullable=False, index=True),  # whose lease is renewed
    Column("tokens", Big, nullable=False),
    Column("expires_at", Time, nullable=False, index=True),  # the sweep
    Column("released", sa.Boolean, nullable=False),  # swept; kept a while, so that a late settlement is known
    sa.ForeignKeyConstraint(
        ["key_id", "period_start"], ["budgets.key_id", "budgets.period_start"], name="fk_reservations_budget"
    ),
    Index("ix_reservations_budget", "key_id", "period_start"),
)

settings = Table(
    "settings",
    metadata,
    Column("name", Word, primary_key=True),
    Column("value", Json, nullable=False),
    Column("updated_at", Time, nullable=False),
)
