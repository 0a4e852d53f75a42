"""The store as a whole: started, down, killed, closed."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
import trio

from penstock.server.store import schema
from penstock.server.store import store as stores
from penstock.server.store.database import Database
from penstock.server.store.errors import StoreError
from penstock.server.store.key_rows import Terms, digest_of
from penstock.server.store.location import locate
from penstock.server.store.store import Store
from penstock.server.store.usage import Request

PROGRAM = Path(__file__).with_name("acknowledging.py")


def request(key, name="req_1"):
    return Request(name, key.id, "chat", "local/tiny", True, 200, "completed", 100.0, 1.0)


# Starting and closing


async def test_a_store_that_cannot_be_opened_says_so_to_who_starts_it(nursery, tmp_path):
    (tmp_path / "file").touch()
    store = Store(locate(f"sqlite:///{tmp_path}/file/penstock.db", {}))
    with pytest.raises(StoreError, match="cannot be made"):
        await nursery.start(store.run)
    with trio.fail_after(5):
        await store.aclose()


async def test_closing_writes_what_is_written_behind(location, clock, nursery):
    store = Store(location, clock=clock)
    await nursery.start(store.run)
    key, _ = await store.keys.create("ann")
    store.usage.add(request(key))
    store.keys.note_use(key.id)
    with trio.fail_after(10):
        await store.aclose()
    with Database(location) as database:
        assert database.read(lambda c: c.execute(sa.select(schema.requests.c.id)).scalars().all()) == ["req_1"]
        assert database.read(lambda c: c.execute(sa.select(schema.keys.c.last_used_at)).scalar()) == clock.now
    for call in (store.keys.all, store.usage.flush):
        store.usage.add(request(key))
        with pytest.raises(StoreError, match="is closed"):
            await call()


async def test_closing_a_store_that_is_away_takes_no_longer_than_it_is_given_and_tells_what_is_lost(
    location, caplog, monkeypatch
):
    monkeypatch.setattr(stores, "RETRY_SECONDS", 0.001)

    async def away(job):
        raise StoreError("unavailable", "The store cannot be used: it is away.")

    async with trio.open_nursery() as nursery:
        store = Store(location)
        await nursery.start(store.run)
        key, _ = await store.keys.create("ann")
        monkeypatch.setattr(store._desk, "write", away)
        store.usage.add(request(key))
        with trio.move_on_after(0.05) as patience:
            await store.aclose()
        assert patience.cancelled_caught
        nursery.cancel_scope.cancel()
    assert "The accounts of 1 requests could not be written." in caplog.text


async def test_what_has_had_its_time_is_deleted_when_it_starts(location, clock, nursery):
    store = Store(location, clock=clock, usage_days=10)
    await nursery.start(store.run)
    key, _ = await store.keys.create("ann", Terms(token_budget=10))
    clock.now -= 11 * 86400
    await store.sessions.create(key.id, "s")
    clock.now += 11 * 86400
    store.usage.add(request(key, "old")._replace(started_at=clock.now - 11 * 86400))
    store.usage.add(request(key, "new")._replace(started_at=clock.now - 9 * 86400))
    await store.budgets.reserve(key.id, 10, period="total")
    await store.aclose()
    clock.now += 61
    store = Store(location, clock=clock, usage_days=10, session_days=10)
    await nursery.start(store.run)
    with trio.fail_after(10):
        while await store.sessions.get(key.id, "s") is not None:
            await trio.sleep(0.001)
        while await store._desk.read(lambda c: c.execute(sa.select(schema.requests.c.id)).scalars().all()) != ["new"]:
            await trio.sleep(0.001)
        while (await store.budgets.get(key.id, period="total")).left != 10:
            await trio.sleep(0.001)
    await store.aclose()


# Away


@pytest.mark.parametrize("policy", ["refuse", "continue"])
async def test_c85_store_away_new_work_is_taken_or_not_by_policy_and_it_comes_back_by_itself(
    postgres, server_location, nursery, monkeypatch, policy
):
    monkeypatch.setattr("penstock.server.store.keys.POLL_SECONDS", 0.01)
    monkeypatch.setattr("penstock.server.store.keys.LOOK_SECONDS", 0.005)
    monkeypatch.setattr(stores, "RETRY_SECONDS", 0.01)
    store = Store(server_location, on_failure=policy)
    await nursery.start(store.run)
    key, secret = await store.keys.create("ann")
    assert (store.healthy, store.refusal()) == (True, None)
    await trio.to_thread.run_sync(postgres.stop)
    try:
        with pytest.raises(StoreError) as caught:
            await store.sessions.create(key.id, "s")
        assert caught.value.kind == "unavailable"
        with trio.fail_after(10):
            while store.last_error is None or store._desk.read_error is None:
                await trio.sleep(0.005)
        assert not store.healthy
        refusal = None if policy == "continue" else "The gateway's store cannot be used now."
        assert store.refusal() == refusal
        assert store.keys.known(secret).id == key.id
        store.usage.add(request(key))
    finally:
        await trio.to_thread.run_sync(postgres.start)
    with trio.fail_after(10):
        while not store.healthy:
            await trio.sleep(0.005)
    assert store.refusal() is None
    await store.sessions.create(key.id, "s")
    await store.usage.flush()
    assert await store._desk.read(lambda c: c.execute(sa.select(schema.requests.c.id)).scalars().all()) == ["req_1"]
    await store.aclose()


async def test_c85_a_disk_that_is_full_is_noticed_and_so_is_its_end(file_location, nursery, monkeypatch):
    """While everything is refused nobody writes; the store finds out by itself when writing works again."""
    monkeypatch.setattr(stores, "RETRY_SECONDS", 0.01)
    store = Store(file_location)
    await nursery.start(store.run)
    key, _ = await store.keys.create("ann")

    def limit(pages):
        def job(connection):
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        return job

    full = [True]
    real = store._desk._database._transaction

    def transaction(jobs):
        if full[0]:
            jobs = [limit(1), *jobs]
            return real(jobs)[1:]
        return real([limit(2**30), *jobs])[1:]

    monkeypatch.setattr(store._desk._database, "_transaction", transaction)
    await store.sessions.create(key.id, "s")
    with pytest.raises(StoreError, match="database or disk is full"):
        await store.sessions.append(key.id, "s", [{"role": "user", "content": "x" * 10**6}])
    assert store.refusal() == "The gateway's store cannot be used now."
    full[0] = False
    with trio.fail_after(10):
        while not store.healthy:
            await trio.sleep(0.005)
    await store.aclose()


# Killed


def test_kill_9_amid_a_thousand_writes_loses_nothing_that_was_acknowledged(location):
    url = location.url or f"sqlite:///{location.file}"
    with subprocess.Popen([sys.executable, PROGRAM, url], stdout=subprocess.PIPE) as process:
        lines = list(itertools.islice(process.stdout, 1000))
        process.kill()
        lines += process.stdout.readlines()
    told = [line.decode().split() for line in lines if line.endswith(b"\n")]
    lengths, keys, reserved, settled = {}, set(), set(), set()
    for what, *words in told:
        if what == "session":
            lengths[words[0]] = int(words[1])
        elif what == "key":
            keys.add(digest_of(words[0]))
        else:
            (reserved if what == "reserved" else settled).add(words[0])
    assert all((lengths, keys, reserved, settled))

    def check(connection):
        if location.file is None:  # what the server was still committing is waited for, and nothing comes after it
            connection.exec_driver_sql("LOCK TABLE keys, sessions, messages, budgets, reservations")

        def column(one):
            return connection.execute(sa.select(one)).scalars().all()

        sessions = connection.execute(sa.select(schema.sessions.c.name, schema.sessions.c.length))
        found = {row.name: row.length for row in sessions}
        assert {name for name in lengths if found[name] >= lengths[name]} == lengths.keys()
        assert len(column(schema.messages.c.number)) == sum(found.values())
        assert keys <= set(column(schema.keys.c.digest))
        held = set(column(schema.reservations.c.id))
        assert not settled & held
        (spent,), (still,) = column(schema.budgets.c.spent), column(schema.budgets.c.reserved)
        assert spent >= len(settled)
        assert spent + len(held) >= len(reserved)  # each is held, or settled by 1
        assert still == 2 * len(held)

    with Database(location) as database:
        database.write(check)


# What it costs


def test_a_store_costs_little_time_and_memory(location):
    """The gateway's own modules, the store and its first answer; the figures are for the whole process."""
    code = """
import sys, time
began = time.perf_counter()
import trio
import penstock.server.app
from penstock.server.store.location import locate
from penstock.server.store.store import Store

async def main():
    async with trio.open_nursery() as nursery:
        store = Store(locate(sys.argv[1], {}))
        await nursery.start(store.run)
        await store.keys.identify("sk-penstock-nobody-has-this")
        took = time.perf_counter() - began
        used = next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]
        await store.aclose()
    print(took, int(used) / 1024)

trio.run(main)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("how much memory a process has can be read on Linux only")
    url = location.url or f"sqlite:///{location.file}"
    tries = []
    for _ in range(3):  # the machine may be busy with something else
        run = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
        took, used = map(float, run.stdout.split())
        tries.append((took, used))
        if took < 1.0 and used < 90:
            return
    pytest.fail(f"seconds and MB: {tries}")


# The queries


@pytest.mark.parametrize("what", ["sessions", "keys", "requests", "expired", "leases"])
def test_queries_use_indexes(tmp_path, what):
    from penstock.server.store import budgets, key_rows

    sessions, requests, responses = schema.sessions.c, schema.requests.c, schema.responses.c
    queries = {
        "sessions": sa.select(sessions.name)
        .where(sessions.key_id == 1)
        .order_by(sessions.updated_at.desc(), sessions.id.desc()),
        "keys": key_rows._SELECT.where(schema.keys.c.revision > 5),
        "requests": sa.select(requests.id).where(requests.started_at < 5),
        "expired": sa.select(responses.id).where(responses.expires_at <= 5.0),
        "leases": sa.select(schema.reservations.c.id).where(budgets._expired(5.0)),
    }
    with Database(locate(f"sqlite:///{tmp_path}/p.db", {})) as database:

        def explain(connection):
            text = queries[what].compile(connection, compile_kwargs={"literal_binds": True})
            return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]

        plan = database.read(explain)
    assert any("USING" in step and "INDEX ix_" in step for step in plan), plan
    assert not any(step.startswith("SCAN") or "TEMP B-TREE" in step for step in plan), plan
