"""The desk: groups of writes, callers that leave, bounds, and what is remembered of failures."""

import threading

import pytest
import trio
import trio.testing

from penstock.server.store import desk as desks
from penstock.server.store.database import Done
from penstock.server.store.desk import Desk
from penstock.server.store.errors import StoreError


class Fake:
    """A database whose jobs are plain functions of nothing; `hold` makes it wait inside a commit or a read."""

    def __init__(self):
        self.groups = []
        self.free = threading.Event()
        self.free.set()
        self.busy = trio.Event()
        self.failure = None
        self._token = trio.lowlevel.current_trio_token()

    def hold(self):
        self.free.clear()
        self.busy = trio.Event()

    def commit(self, jobs):
        self.groups.append(len(jobs))
        self._wait()
        if self.failure is not None:
            return [Done(error=self.failure)] * len(jobs)
        return [self._run(job) for job in jobs]

    def read(self, job):
        self._wait()
        if self.failure is not None:
            raise self.failure
        return job()

    def _run(self, job):
        try:
            return Done(job())
        except Exception as error:
            return Done(error=error)

    def _wait(self):
        self._token.run_sync_soon(self.busy.set)
        assert self.free.wait(30)


@pytest.fixture
async def fake():
    return Fake()


@pytest.fixture
async def desk(fake, nursery):
    desk = Desk(fake)
    nursery.start_soon(desk.run)
    return desk


async def waiting(nursery, desk, *jobs):
    """Hand in jobs, each by a task of its own; their outcomes are in the list when they are known."""
    outcomes = []

    async def write(job):
        try:
            outcomes.append(await desk.write(job))
        except Exception as error:
            outcomes.append(error)

    for job in jobs:
        nursery.start_soon(write, job)
    await trio.testing.wait_all_tasks_blocked()
    return outcomes


async def test_what_gathers_during_a_commit_is_committed_together_and_in_order(desk, fake, nursery):
    done = []
    fake.hold()
    await waiting(nursery, desk, lambda: done.append(0))
    await fake.busy.wait()
    await waiting(nursery, desk, *[lambda n=n: done.append(n) for n in range(1, 100)])
    fake.free.set()
    await desk.write(lambda: done.append(100))
    assert fake.groups == [1, 100]
    assert sorted(done) == list(range(101))
    assert desk.commits == 2


async def test_a_group_has_a_bound(desk, fake, nursery, monkeypatch):
    monkeypatch.setattr(desks, "MAX_GROUP", 10)
    fake.hold()
    await waiting(nursery, desk, int)
    await fake.busy.wait()
    outcomes = await waiting(nursery, desk, *[int] * 25)
    fake.free.set()
    await desk.write(int)
    await trio.testing.wait_all_tasks_blocked()
    assert fake.groups == [1, 10, 10, 6]
    assert outcomes == [0] * 25


async def test_each_caller_gets_what_became_of_its_own_job(desk, fake, nursery):
    fake.hold()
    first = await waiting(nursery, desk, int)
    await fake.busy.wait()
    outcomes = await waiting(nursery, desk, lambda: "a", lambda: 1 / 0, lambda: "b")
    fake.free.set()
    await desk.write(int)
    await trio.testing.wait_all_tasks_blocked()
    assert first == [0]
    assert {str(outcome) for outcome in outcomes} == {"a", "b", "division by zero"}
    assert desk.write_error is None  # a bug is no failure of the store


async def test_a_cancelled_caller_leaves_at_once_and_its_job_is_withdrawn_or_done(desk, fake, nursery):
    done = []
    fake.hold()
    async with trio.open_nursery() as callers:
        callers.start_soon(desk.write, lambda: done.append("under way"))
        await fake.busy.wait()
        callers.start_soon(desk.write, lambda: done.append("waits"))
        await trio.testing.wait_all_tasks_blocked()
        callers.cancel_scope.cancel()
    fake.free.set()
    await desk.write(lambda: done.append("later"))
    assert done == ["under way", "later"]


async def test_a_cancelled_reader_leaves_at_once_and_its_thread_is_counted_until_it_ends(desk, fake):
    fake.hold()
    for _ in range(desks.READERS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.read, int)
            await fake.busy.wait()
            fake.busy = trio.Event()
            nursery.cancel_scope.cancel()
    assert desk._readers.borrowed_tokens == desks.READERS
    fake.free.set()
    assert await desk.read(lambda: 7) == 7


async def test_nobody_waits_in_a_queue_without_bound(desk, fake, nursery, monkeypatch):
    monkeypatch.setattr(desks, "MAX_WAITING", 3)
    fake.hold()
    await waiting(nursery, desk, int)
    await fake.busy.wait()
    outcomes = await waiting(nursery, desk, int, int, int)
    with pytest.raises(StoreError, match="too many") as caught:
        await desk.write(int)
    await trio.testing.wait_all_tasks_blocked()
    assert caught.value.kind == "busy"
    async with trio.open_nursery() as readers:
        for _ in range(desks.READERS + 3):
            readers.start_soon(desk.read, int)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StoreError, match="too many"):
            await desk.read(int)
        fake.free.set()
    await desk.write(int)
    await trio.testing.wait_all_tasks_blocked()
    assert outcomes == [0, 0, 0]
    assert desk.write_error is None


async def test_what_waits_when_it_is_closed_is_done_and_nothing_more_is_taken(fake, nursery):
    desk = Desk(fake)
    fake.hold()
    async with trio.open_nursery() as running:
        running.start_soon(desk.run)
        outcomes = await waiting(running, desk, int)
        await fake.busy.wait()
        later = await waiting(running, desk, int, int)
        desk.close()
        for call in (desk.write, desk.read):
            with pytest.raises(StoreError) as caught:
                await call(int)
            assert caught.value.kind == "closed"
        fake.free.set()
    assert outcomes + later == [0, 0, 0]


async def test_closed_while_idle_it_is_gone(fake):
    desk = Desk(fake)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        await trio.testing.wait_all_tasks_blocked()
        desk.close()
    assert fake.groups == []


async def test_cancelled_it_lets_go_of_everybody(fake, nursery):
    desk = Desk(fake)
    fake.hold()
    async with trio.open_nursery() as running:
        running.start_soon(desk.run)
        first = await waiting(nursery, desk, int)
        await fake.busy.wait()
        later = await waiting(nursery, desk, int)
        running.cancel_scope.cancel()
    fake.free.set()
    await trio.testing.wait_all_tasks_blocked()
    assert [error.kind for error in first + later] == ["closed", "closed"]


async def test_failures_to_read_and_to_write_are_remembered_each_until_the_next_success(desk, fake, caplog):
    caplog.set_level("INFO", "penstock.store")
    fake.failure = StoreError("unavailable", "The store cannot be used: the disk is full.")
    for call in (desk.write, desk.write, desk.read):
        with pytest.raises(StoreError, match="disk is full"):
            await call(int)
    assert desk.write_error is desk.read_error is fake.failure
    assert [record.message for record in caplog.records] == [fake.failure.message] * 2
    fake.failure = None
    await desk.read(int)
    assert desk.read_error is None
    assert desk.write_error is not None  # a full disk can be read
    await desk.write(int)
    await trio.testing.wait_all_tasks_blocked()
    assert desk.write_error is None
    assert caplog.records[-1].message == "The store can be used again."


async def test_a_conflict_says_that_the_store_can_be_used(desk, fake):
    for kind in ("conflict", "rejected"):
        fake.failure = StoreError(kind, "No.")
        with pytest.raises(StoreError):
            await desk.write(int)
        assert desk.write_error is None
