"""SQLAlchemy's engine for a location: how connections are opened, begun and bounded, and what their errors mean.

**SQLite** runs in WAL mode, so that readers and the writer do not wait for each other, with `synchronous = FULL`:
a commit returns when it is on the disk, which is what "acknowledged means committed" asks for (NORMAL would
survive `kill -9`, but not a power cut). Group commit makes that affordable. Python's driver would begin
transactions by rules of its own, so it is told to begin none, and we say BEGIN: IMMEDIATE where something is to
be written, since a transaction that reads first and then wants to write may be refused without any waiting.

**PostgreSQL** is reached through psycopg, imported only then.

Whatever is asked of a database ends within a bound, by error if need be: locks, statements and connecting have
their time-outs, so that a store that hangs becomes one that is unavailable.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from .errors import StoreError
from .location import Location

__all__ = ["BEGIN", "READERS", "WRITING", "explain", "is_collision", "make_engine"]

READERS = 4
"""Reads at once; each has a connection of its own, the writer one more."""

PATIENCE = 5.0
"""Seconds to wait for a lock that another process holds, and for a connection."""

STATEMENT_SECONDS = 10.0
"""No statement takes longer; PostgreSQL ends it then, and SQLite's are short by nature."""

BEGIN = "penstock_begin"
"""The execution option that says how SQLite begins a transaction; "" for not at all."""

WRITING = {BEGIN: "BEGIN IMMEDIATE"}
"""The execution options of connections that will write."""


def make_engine(location: Location, *, patience: float = PATIENCE) -> sa.Engine:
    """An engine that has not connected yet. Raises StoreError if the driver is missing or the URL no use."""
    if location.file is not None:
        return _sqlite(str(location.file), patience)
    return _postgresql(location.url, patience)


def _sqlite(file: str, patience: float) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite+pysqlite", database=file),
        connect_args={"timeout": patience, "check_same_thread": False, "isolation_level": None},
        pool_size=READERS + 1,
        max_overflow=0,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if sys.platform == "darwin":  # there fsync does not reach the disk, this does
            connection.execute("PRAGMA fullfsync = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        statement = connection.get_execution_options().get(BEGIN, "BEGIN")
        if statement:
            connection.exec_driver_sql(statement)

    return engine


def _postgresql(url: str, patience: float) -> sa.Engine:
    milliseconds = {
        "statement_timeout": max(STATEMENT_SECONDS, patience),
        "lock_timeout": patience,
        "idle_in_transaction_session_timeout": 2 * STATEMENT_SECONDS,
    }
    try:
        return sa.create_engine(
            sa.make_url(url).set(drivername="postgresql+psycopg"),
            connect_args={
                "application_name": "penstock",
                "connect_timeout": round(PATIENCE),
                # A server that vanished without a word is noticed, as one that hangs is.
                "keepalives_idle": 30,
                "tcp_user_timeout": round(STATEMENT_SECONDS * 1000),
                "options": " ".join(f"-c {name}={seconds * 1000:.0f}" for name, seconds in milliseconds.items()),
            },
            pool_size=READERS + 1,
            max_overflow=0,
            pool_pre_ping=True,  # a server that was restarted costs a round trip, not an error
            hide_parameters=True,
        )
    except ImportError as problem:
        raise StoreError(
            "unavailable",
            "A store in PostgreSQL needs a package that is not installed (psycopg); "
            "install it with: pip install 'penstock[postgresql]'",
        ) from problem


# What errors mean

_COLLISIONS = ("40001", "40P01")
"""PostgreSQL's serialization failure and deadlock: the same again will do."""

_TELLING = ("08", "25", "28", "3D", "42501", "53", "55", "57")
"""Beginnings of SQLSTATEs that are about the server and whose messages name no data of ours: connections,
read-only, passwords, no such database, privileges, resources, locks, shutting down."""


def is_collision(error: exc.SQLAlchemyError) -> bool:
    """Whether two transactions got in each other's way and one of them, this one, was given up for it."""
    return _sqlstate(error) in _COLLISIONS


def explain(error: exc.SQLAlchemyError, location: Location) -> StoreError:
    """What an error of SQLAlchemy or a driver is to us. Raise it `from None`: the cause holds statements."""
    origin = getattr(error, "orig", None)
    state = _sqlstate(error)
    if isinstance(error, exc.IntegrityError):
        unique = ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY")
        if state == "23505" or getattr(origin, "sqlite_errorname", "") in unique:
            return StoreError("conflict", "The store has this already.")
        return StoreError("rejected", "The store refused the data: a rule of its tables was broken.")
    # A StatementError of no closer kind: a value that could not even be given to the driver.
    ours = isinstance(error, (exc.DataError, exc.ProgrammingError, exc.NotSupportedError))
    if (ours or type(error) is exc.StatementError) and not state.startswith(_TELLING):
        return StoreError("rejected", f"The store refused a statement{f' ({state})' if state else ''}.")
    return StoreError("unavailable", f"The store cannot be used: {_word(error, state, location)}.")


def _sqlstate(error: exc.SQLAlchemyError) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def _word(error: exc.SQLAlchemyError, state: str, location: Location) -> str:
    """The driver's own words, where they cannot hold a value."""
    origin: Any = getattr(error, "orig", None)
    if isinstance(origin, sqlite3.Error):
        words = str(origin)  # "database is locked", "unable to open database file": names, never values
    elif state.startswith(_TELLING):
        words = origin.diag.message_primary or state
    elif state:
        words = f"PostgreSQL says {state}"
    elif origin is not None:  # libpq's: "connection to server at ... failed: Connection refused"
        words = str(origin).partition("\n")[0]
    else:
        words = f"SQLAlchemy says {type(error).__name__}"
    if location.password:
        words = words.replace(location.password, "***")
    return words.rstrip(". ")
