"""The database under the store: made, migrated, taken by several at once, and honest about what went wrong."""

import os
import stat
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from penstock.server.store import database as databases
from penstock.server.store import engine, migrate, schema
from penstock.server.store.database import Database
from penstock.server.store.errors import StoreError
from penstock.server.store.location import locate

SECRET = "s3cr3t-of-a-user"


def put(name):
    """A job that writes one setting."""
    return lambda connection: connection.execute(schema.settings.insert().values(name=name, value=1, updated_at=0.0))


def names(connection):
    return set(connection.execute(sa.select(schema.settings.c.name)).scalars())


def failure(call, *arguments):
    with pytest.raises(StoreError) as caught:
        call(*arguments)
    error = caught.value
    assert error.__cause__ is None or isinstance(error.__cause__, (OSError, ImportError))
    assert error.__suppress_context__ or error.__context__ is None  # a traceback shows no statement
    assert str(error) == error.message
    for secret in (SECRET, "INSERT", "SELECT", "settings", "postgresql+psycopg"):
        assert secret not in error.message
    return error


# Making and migrating


def test_the_migrations_make_the_tables_that_the_code_knows(empty_location):
    with Database(empty_location) as database:
        assert database.read(migrate.revision) == schema.HEAD
        assert database.read(lambda c: compare_metadata(MigrationContext.configure(c), schema.metadata)) == []


def test_every_foreign_key_has_an_index_that_begins_with_it():
    for table in schema.metadata.tables.values():
        indexes = [[column.name for column in index.columns] for index in table.indexes]
        indexes += [[column.name for column in rule.columns] for rule in table.constraints if hasattr(rule, "columns")]
        for key in table.foreign_key_constraints:
            wanted = [column.name for column in key.columns]
            others = [found for found in indexes if found[: len(wanted)] == wanted]
            assert len(others) > 1 or list(table.primary_key.columns.keys())[: len(wanted)] == wanted, (table, wanted)


def test_a_second_start_imports_no_migrations(location):
    code = """
import sys
from penstock.server.store.database import Database
from penstock.server.store.location import locate
with Database(locate(sys.argv[1], {})):
    pass
print(*sys.modules)
"""
    url = location.url or f"sqlite:///{location.file}"
    run = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "sqlalchemy" in loaded
    assert "alembic" not in loaded
    assert ("psycopg" in loaded) == bool(location.url)


def test_processes_that_start_at_once_do_not_break_each_other(empty_location):
    code = """
import sys
from penstock.server.store.database import Database
from penstock.server.store.location import locate
from penstock.server.store.keys import key_rows
location = locate(sys.argv[1], {})
print("ready", flush=True)
sys.stdin.readline()
with Database(location) as database:
    database.write(lambda c: key_rows.insert(c, key_rows.new_secret(), sys.argv[2], key_rows.NO_LIMITS, "", now=0.0))
"""
    url = empty_location.url or f"sqlite:///{empty_location.file}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", code, url, str(n)], **pipes) for n in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=30)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    with Database(empty_location) as database:
        keys = database.read(lambda c: list(c.execute(sa.select(schema.keys.c.name, schema.keys.c.revision))))
    assert sorted(key.name for key in keys) == list("0123")
    assert sorted(key.revision for key in keys) == [1, 2, 3, 4]


def test_a_store_of_a_newer_penstock_is_left_alone(empty_location):
    location = empty_location
    with Database(location) as database:
        database.write(lambda c: c.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))
    error = failure(Database(location).open)
    assert error.kind == "newer"
    assert error.message == (
        f"The store {location.shown} was made by a newer penstock (revision 9999; this one knows {schema.HEAD}): "
        "upgrade penstock, or let store.url name another place."
    )


def test_a_migration_that_breaks_leaves_nothing_behind(empty_location, monkeypatch):
    real = migrate._upgrade

    def broken(connection):
        real(connection)
        connection.execute(sa.text("SELECT * FROM nowhere"))

    monkeypatch.setattr(migrate, "_upgrade", broken)
    error = failure(Database(empty_location).open)
    assert error.message.startswith(f"The store {empty_location.shown} cannot be opened: ")
    monkeypatch.undo()
    with Database(empty_location) as database:
        assert database.read(names) == set()


# SQLite


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data" / "penstock.db"


def test_the_file_is_for_its_owner_only_and_what_sqlite_puts_beside_it_too(file):
    before = os.umask(0)
    try:
        with Database(locate(f"sqlite:///{file}", {})) as database:
            database.write(put("a"))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert modes == {"penstock.db": 0o600, "penstock.db-wal": 0o600, "penstock.db-shm": 0o600}
    assert [path.name for path in file.parent.iterdir()] == ["penstock.db"]  # closed, it is one file


def test_sqlite_is_set_to_be_durable_and_to_keep_its_rules(file):
    with Database(locate(f"sqlite:///{file}", {})) as database:
        for pragma, value in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}.items():

            def ask(connection, pragma=pragma):
                names(connection)  # of a file that it has not read yet, SQLite says "delete"
                return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()

            assert database.read(ask) == value


def test_a_file_that_is_no_database(file):
    file.parent.mkdir()
    file.write_text("My diary, which is none of your business." * 100)
    error = failure(Database(locate(f"sqlite:///{file}", {})).open)
    assert (error.kind, error.message) == (
        "unavailable",
        f"The store {file} cannot be opened: file is not a database.",
    )
    assert "diary" in file.read_text()


def test_a_place_where_nothing_can_be_made(tmp_path):
    (tmp_path / "file").touch()
    error = failure(Database(locate(f"sqlite:///{tmp_path}/file/penstock.db", {})).open)
    assert error.message.startswith(f"The store {tmp_path}/file/penstock.db cannot be made: ")


def test_a_writer_that_does_not_end_is_not_waited_for_for_ever(file, monkeypatch):
    monkeypatch.setattr(engine.make_engine, "__kwdefaults__", {"patience": 0.01})
    location = locate(f"sqlite:///{file}", {})
    with Database(location) as one, Database(location) as two:

        def meanwhile(connection):
            return failure(two.write, put("b"))

        error = one.write(meanwhile)
        assert (error.kind, error.message) == ("unavailable", "The store cannot be used: database is locked.")
        assert two.read(names) == set()


# PostgreSQL


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/store", "Connection refused"),
        (f"postgresql://ann:{SECRET}@host.invalid/store", "host.invalid"),
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/store?sslmode={SECRET}", "sslmode"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_without_the_password(url, words):
    error = failure(Database(locate(url, {})).open)
    assert error.kind == "unavailable"
    assert error.message.startswith("The store postgresql://")
    assert words in error.message


def test_a_database_that_does_not_exist(postgres):
    error = failure(Database(locate(postgres.url("nothing"), {})).open)
    assert error.message.startswith("The store postgresql:///nothing cannot be opened: ")
    assert error.message.endswith('database "nothing" does not exist.')


def test_a_missing_driver_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = failure(Database(locate("postgresql://127.0.0.1:1/store", {})).open)
    assert "pip install 'penstock[postgresql]'" in error.message


def test_a_server_that_was_restarted_is_used_again(postgres, server_location):
    with Database(server_location) as database:
        database.write(put("a"))
        postgres.stop()
        assert failure(database.read, names).kind == "unavailable"
        assert failure(database.write, put("b")).kind == "unavailable"
        postgres.start()
        database.write(put("c"))
        assert database.read(names) == {"a", "c"}


# Committing


def test_a_group_is_committed_together(database):
    assert [done.error for done in database.commit([put(str(n)) for n in range(50)])] == [None] * 50
    assert len(database.read(names)) == 50


def test_a_job_that_fails_meets_only_whose_it_is(database):
    database.write(put("taken"))

    def bug(connection):
        put("half")(connection)
        raise ZeroDivisionError

    orphan = schema.messages.insert().values(session_id=99, number=0, role="", body=None, created_at=0.0)
    jobs = [put("a"), put("taken"), put("b"), bug, lambda c: c.execute(orphan), put("c")]
    done = database.commit(jobs)
    kinds = [getattr(item.error, "kind", item.error) for item in done]
    assert kinds[:3] == [None, "conflict", None]
    assert isinstance(kinds[3], ZeroDivisionError)
    assert kinds[4:] == ["rejected", None]
    assert database.read(names) == {"taken", "a", "b", "c"}
    with pytest.raises(ZeroDivisionError):
        done[3].unwrap()


def test_what_the_store_refuses_is_told_without_values_and_statements(database):
    database.write(put(SECRET))
    assert failure(database.write, put(SECRET)).message == "The store has this already."
    wrong = schema.settings.insert().values(name=SECRET + "2", value=1, updated_at=None)
    assert failure(database.write, lambda c: c.execute(wrong)).kind == "rejected"
    assert failure(database.read, lambda c: c.execute(sa.text(f"SELECT '{SECRET}' FROM nowhere"))).kind in (
        "rejected",
        "unavailable",
    )


def test_a_collision_with_another_process_is_tried_again(server_location):
    with Database(server_location) as one, Database(server_location) as two:
        for name in ("a", "b"):
            one.write(put(name))
        both = threading.Barrier(2)

        def crosswise(database, first, second):
            """Change two rows, the other way round than the other thread; at first they have one row each."""
            met = []

            def job(connection):
                for name in (first, second):
                    row = schema.settings.update().where(schema.settings.c.name == name)
                    connection.execute(row.values(updated_at=schema.settings.c.updated_at + 1))
                    if not met:
                        met.append(both.wait(30))

            database.write(job)

        threads = [
            threading.Thread(target=crosswise, args=(one, "a", "b")),
            threading.Thread(target=crosswise, args=(two, "b", "a")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        rows = one.read(lambda c: list(c.execute(sa.select(schema.settings.c.updated_at)).scalars()))
        assert rows == [2.0, 2.0]


def test_collisions_without_end_are_told_at_last(database, monkeypatch):
    monkeypatch.setattr(databases, "is_collision", lambda error: True)
    database.write(put("a"))
    tried = []

    def job(connection):
        tried.append(1)
        put("a")(connection)

    assert failure(database.write, job).kind == "conflict"
    assert len(tried) == databases.COLLISIONS
