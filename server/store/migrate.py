"""Brings the tables to the newest revision, if they are not there yet.

Whether they are is one small query, compared with a constant: Alembic, which costs 8 MB and a twentieth of a
second, is imported only when a migration is due. Two processes that start at once take turns: the whole
migration is one transaction that begins with a lock (SQLite's write lock, an advisory lock of PostgreSQL), and
what is to be done is looked up again under that lock. So a migration is done once and wholly, or not at all.
"""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from .engine import BEGIN, WRITING, make_engine
from .errors import StoreError
from .location import Location
from .schema import HEAD

__all__ = ["migrate", "revision"]

PATIENCE = 60.0
"""Seconds to wait while another process migrates."""

_LOCK = 0x70656E73746F636B  # "penstock", as PostgreSQL's advisory locks are numbers


def revision(connection: sa.Connection) -> str:
    """The revision of the tables that are there; "" if there are none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() or ""


def migrate(location: Location, engine: sa.Engine) -> None:
    """See to it that the tables are those of `schema`. Raises StoreError `newer`, and SQLAlchemy's own."""
    with engine.connect() as connection:
        if revision(connection) == HEAD:
            return
    patient = make_engine(location, patience=PATIENCE)
    try:
        if location.file is not None:
            _write_ahead(patient)
        with patient.execution_options(**WRITING).begin() as connection:
            if location.file is None:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            there = revision(connection)
            if there > HEAD:
                raise StoreError(
                    "newer",
                    f"was made by a newer penstock (revision {there}; this one knows {HEAD}): "
                    "upgrade penstock, or let store.url name another place.",
                )
            if there != HEAD:
                _upgrade(connection)
    finally:
        patient.dispose()


def _write_ahead(engine: sa.Engine) -> None:
    """Turn the file to WAL mode, which it then keeps.

    The turn needs the file for itself, and SQLite does not always wait for that as it does for other locks.
    """
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            with engine.connect().execution_options(**{BEGIN: ""}) as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                return
        except exc.OperationalError as problem:
            if "locked" not in str(problem.orig) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
