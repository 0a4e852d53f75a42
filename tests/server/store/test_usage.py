"""The accounts: each request once, all its attempts, soon, and none lost while the process lives."""

import pytest
import sqlalchemy as sa
import trio
import trio.testing

from penstock.server.store import schema
from penstock.server.store import usage as accounts
from penstock.server.store.database import Database
from penstock.server.store.errors import StoreError
from penstock.server.store.usage import Attempt, Request, Total, Usage


@pytest.fixture
def rows(location):
    """What is in a table now, as another process sees it."""

    def rows(table):
        with Database(location) as database:
            return database.read(lambda c: [row._asdict() for row in c.execute(sa.select(table))])

    return rows


def request(key, number=0, *attempts, **more):
    said = {"model": "local/tiny", "stream": True, "status": 200, "ending": "completed", "started_at": 100.0 + number}
    return Request(f"req_{number}", key.id, "chat", **{**said, **more}, seconds=1.5, bytes_out=7, attempts=attempts)


async def test_c10_a_request_has_a_row_and_each_of_its_attempts_has_one(store, key, rows):
    failed = [Attempt("a", "one", "timed_out(connect)"), Attempt("b", "two", "busy")]
    store.usage.add(request(key, 1, *failed, status=502, ending="failed"))
    store.usage.add(request(key, 2, Attempt("b", "two", "", 10, 20, 3, 4, True)))
    store.usage.add(request(key, 3, status=404, ending="failed"))
    await store.usage.flush()
    found = {row["id"]: row for row in rows(schema.requests)}
    wanted = request(key, 1, status=502, ending="failed")._asdict()
    del wanted["attempts"]
    assert found["req_1"] == wanted
    assert {name: row["status"] for name, row in found.items()} == {"req_1": 502, "req_2": 200, "req_3": 404}
    attempts = rows(schema.usage)
    assert [(row["request_id"], row["attempt"], row["provider"], row["failure"]) for row in attempts] == [
        ("req_1", 0, "a", "timed_out(connect)"),
        ("req_1", 1, "b", "busy"),
        ("req_2", 0, "b", ""),
    ]
    assert tuple(attempts[2].values())[5:] == (10, 20, 3, 4, True)
    assert {(row["provider"], row["name"]) for row in rows(schema.models)} == {("a", "one"), ("b", "two")}


async def test_rows_are_written_within_a_second_without_being_asked_for(store, key, rows, monkeypatch):
    assert accounts.GATHER_SECONDS < accounts.WRITE_SECONDS <= 1
    monkeypatch.setattr(accounts, "GATHER_SECONDS", 0.0)
    for number in range(3):
        store.usage.add(request(key, number))
        with trio.fail_after(10):
            while len(store.usage):
                await trio.sleep(0.001)
        assert len(rows(schema.requests)) == number + 1


async def test_who_writes_is_woken_also_after_somebody_else_found_nothing_to_write(store, key, rows, monkeypatch):
    monkeypatch.setattr(accounts, "GATHER_SECONDS", 0.0)
    await trio.testing.wait_all_tasks_blocked()
    await store.usage.flush()
    store.usage.add(request(key, 1))
    with trio.fail_after(10):
        while len(store.usage):
            await trio.sleep(0.001)
    assert len(rows(schema.requests)) == 1


async def test_many_rows_make_few_commits(store, key, rows):
    before = store._desk.commits
    for number in range(1200):
        store.usage.add(request(key, number, Attempt("local", "tiny", "", 1, 2)))
    await store.usage.flush()
    assert store._desk.commits - before == 3
    assert len(rows(schema.usage)) == 1200


async def test_a_full_buffer_says_so_and_drops_nothing(store, key, rows):
    usage = Usage(store._desk, capacity=3)
    for number in range(3):
        assert usage.has_room
        usage.add(request(key, number))
    assert not usage.has_room
    usage.add(request(key, 3))  # of a request that was under way
    await usage.flush()
    assert usage.has_room
    assert len(rows(schema.requests)) == 4


async def test_while_the_store_is_away_rows_wait_and_are_then_written_once(store, key, rows, monkeypatch):
    monkeypatch.setattr(accounts, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(accounts, "RETRY_SECONDS", 0.001)
    write, failures = store._desk.write, []

    async def lost_after_commit(job):
        result = await write(job)
        if len(failures) < 3:
            failures.append(1)
            raise StoreError("unavailable", "The store cannot be used: it broke in the commit.")
        return result

    monkeypatch.setattr(store._desk, "write", lost_after_commit)
    store.usage.add(request(key, 1, Attempt("local", "tiny")))
    with trio.fail_after(10):
        while len(store.usage):
            await trio.sleep(0.001)
    assert len(failures) == 3
    assert len(rows(schema.requests)) == len(rows(schema.usage)) == 1


async def test_a_row_that_the_store_will_not_have_does_not_hold_up_the_others(store, key, rows, caplog):
    store.usage.add(request(key, 1))
    store.usage.add(request(key, 2)._replace(key_id=999_999))
    store.usage.add(request(key, 3))
    await store.usage.flush()
    assert {row["id"] for row in rows(schema.requests)} == {"req_1", "req_3"}
    assert "The store refuses the accounts of request req_2" in caplog.text
    assert len(store.usage) == 0


async def test_whatever_clients_and_upstreams_send_can_be_written(store, key, rows):
    wild = Attempt("local", "\0\ud800" + "x" * 5000, "", 10**30, -5)
    store.usage.add(request(key, 1, wild, model="a\0b\udfff")._replace(bytes_out=10**30))
    await store.usage.flush()
    (row,) = rows(schema.requests)
    assert (row["model"], row["bytes_out"]) == ("a\ufffdb?", accounts.MOST)
    (row,) = rows(schema.usage)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (accounts.MOST, 0)
    assert len(row["model"]) == schema.MAX_NAME


async def test_totals_by_key_and_by_model(store, key):
    other, _ = await store.keys.create("bob")
    store.usage.add(request(key, 1, Attempt("a", "x", "failed"), Attempt("b", "y", "", 10, 5)))
    store.usage.add(request(other, 2, Attempt("b", "y", "", 100, 50)))
    store.usage.add(request(other, 3, Attempt("b", "y", "", 1, 1)))
    await store.usage.flush()
    by_key = [Total("bob", 2, 101, 51, other.id), Total(key.name, 1, 10, 5, key.id)]
    assert await store.usage.totals("key", since=0) == by_key
    assert await store.usage.totals("model", since=0) == [Total("b/y", 3, 111, 56), Total("a/x", 1, 0, 0)]
    assert await store.usage.totals("model", since=102.5) == [Total("b/y", 1, 1, 1)]
    assert await store.usage.totals("model", since=0, key_id=key.id) == [Total("b/y", 1, 10, 5), Total("a/x", 1, 0, 0)]


async def test_two_keys_of_one_name_are_told_apart(store, key):
    first, _ = await store.keys.create("bob")
    store.usage.add(request(first, 1, Attempt("a", "x", "", 10, 5)))
    await store.keys.revoke("bob")
    second, _ = await store.keys.create("bob")
    store.usage.add(request(second, 2, Attempt("a", "x", "", 1, 1)))
    await store.usage.flush()
    wanted = [Total("bob", 1, 10, 5, first.id), Total("bob", 1, 1, 1, second.id)]
    assert await store.usage.totals("key", since=0) == wanted


async def test_old_requests_are_deleted_a_little_at_a_time(store, key, rows, monkeypatch):
    monkeypatch.setattr(accounts, "BATCH", 2)
    for number in range(5):
        store.usage.add(request(key, number, Attempt("local", "tiny")))
    await store.usage.flush()
    assert [await store.usage.purge(103.0) for _ in range(3)] == [2, 1, 0]
    assert [row["id"] for row in rows(schema.requests)] == ["req_3", "req_4"]
    assert [row["request_id"] for row in rows(schema.usage)] == ["req_3", "req_4"]
