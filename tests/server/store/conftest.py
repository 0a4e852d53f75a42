"""Stores to test with: each test that asks for `location` or `store` runs on SQLite and on PostgreSQL.

The tables are made once; a test gets a copy of that file, or that database emptied.
"""

import contextlib
import shutil

import pytest

import postgres as postgresql
from penstock.server.store import schema
from penstock.server.store.database import Database
from penstock.server.store.key_rows import Terms
from penstock.server.store.location import locate
from penstock.server.store.store import Store

NOON = 1_800_000_000.0  # 2027-01-15 08:00 UTC


class Clock:
    """The time of day, for a test to set."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server."""
    folder = postgresql.binaries()
    if folder is None:
        pytest.skip("NO POSTGRESQL: neither the pgserver wheel nor the system has one, half of the store is untested")
    with contextlib.closing(postgresql.Postgres(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def made_file(tmp_path_factory):
    """A file of SQLite with the tables."""
    file = tmp_path_factory.mktemp("made") / "penstock.db"
    with Database(locate(f"sqlite:///{file}", {})):
        pass
    return file


@pytest.fixture(scope="session")
def made_database(postgres):
    """A place in PostgreSQL with the tables."""
    location = locate(postgres.url(postgres.make()), {})
    with Database(location):
        pass
    return location


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_location(request, tmp_path):
    """A place where there are no tables yet."""
    if request.param == "sqlite":
        return locate(f"sqlite:///{tmp_path}/penstock.db", {})
    server = request.getfixturevalue("postgres")
    return locate(server.url(server.make()), {})


@pytest.fixture
def server_location(made_database):
    """A place in PostgreSQL with empty tables, also for what SQLite cannot do."""

    def empty(connection):
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(table.delete())
        connection.execute(schema.counters.insert().values(name="keys", value=0))

    with Database(made_database) as database:
        database.write(empty)
    return made_database


@pytest.fixture
def file_location(made_file, tmp_path):
    """A file of SQLite with empty tables."""
    shutil.copy(made_file, tmp_path / "penstock.db")
    return locate(f"sqlite:///{tmp_path}/penstock.db", {})


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request):
    """A place with empty tables, of either kind."""
    return request.getfixturevalue("file_location" if request.param == "sqlite" else "server_location")


@pytest.fixture
def database(location):
    """A database that is open, for threads."""
    with Database(location) as database:
        yield database


@pytest.fixture
async def store(location, clock, nursery):
    """A store that runs."""
    store = Store(location, clock=clock)
    await nursery.start(store.run)
    yield store
    await store.aclose()


@pytest.fixture
async def other(location, clock, nursery):
    """The same store, as another process has it."""
    store = Store(location, clock=clock)
    await nursery.start(store.run)
    yield store
    await store.aclose()


@pytest.fixture
async def key(store):
    """A key with a budget of 10 tokens."""
    made, _ = await store.keys.create("ann", Terms(token_budget=10))
    return made
