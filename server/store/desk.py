"""The desk: where tasks hand in what they want read and written, and wait without holding up the loop.

Reads go to a few threads. Writes go to one, by group commit: while a group is being committed the next one
gathers, so that the more wait, the more share a commit, and one that comes alone waits for nobody. `write`
returns when the job is committed: acknowledged means committed.

A caller that is cancelled gets away at once. Its job is withdrawn if no group has it yet; else it is done all
the same and nobody is told. So a cancelled write may or may not have happened, but it never happened by half.

No queue here grows without bound: past `MAX_WAITING` the answer is StoreError `busy`.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, TypeVar

import trio

from .database import Database, Done, Job
from .engine import READERS
from .errors import StoreError

__all__ = ["Desk"]

log = logging.getLogger("penstock.store")

T = TypeVar("T")

MAX_WAITING = 10_000
"""Jobs that may wait, for reading and for writing each: as many as connections by default."""

MAX_GROUP = 500
"""Jobs in one commit; so many small ones take some ten milliseconds, for which later ones wait."""


class _Entry:
    """A job that waits to be committed."""

    __slots__ = ("done", "job", "ready", "withdrawn")

    def __init__(self, job: Job[Any]) -> None:
        self.job = job
        self.ready = trio.Event()
        self.done: Done | None = None
        self.withdrawn = False

    def finish(self, done: Done) -> None:
        self.done = done
        self.ready.set()


class Desk:
    """Reads and writes of `database` for tasks; writes are done by `run`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._readers = trio.CapacityLimiter(READERS)
        self._writer = trio.CapacityLimiter(1)
        self._waiting: deque[_Entry] = deque()
        self._wake = trio.Event()
        self._closed = False
        self.read_error: StoreError | None = None
        """Why nothing can be read now; None if the last read worked."""
        self.write_error: StoreError | None = None
        """Why nothing can be written now; None if the last write worked. A full disk can still be read."""
        self.commits = 0
        """Groups committed so far."""

    async def open(self) -> None:
        """Open the database. Raises StoreError."""
        await trio.to_thread.run_sync(self._database.open, abandon_on_cancel=True)

    async def read(self, job: Job[T]) -> T:
        """What `job` finds, in a transaction that is then undone. Raises StoreError."""
        self._refuse_if_closed()
        if self._readers.statistics().tasks_waiting >= MAX_WAITING:
            raise _busy()
        try:
            found = await trio.to_thread.run_sync(
                self._database.read, job, limiter=self._readers, abandon_on_cancel=True
            )
        except StoreError as error:
            self.read_error = _noted(error, self.read_error)
            raise
        self.read_error = _noted(None, self.read_error)
        return found

    async def write(self, job: Job[T]) -> T:
        """What `job` returns, once it is committed. Raises StoreError."""
        self._refuse_if_closed()
        if len(self._waiting) >= MAX_WAITING:
            raise _busy()
        entry = _Entry(job)
        self._waiting.append(entry)
        self._wake.set()
        try:
            await entry.ready.wait()
        finally:
            entry.withdrawn = True
        assert entry.done is not None
        value: T = entry.done.unwrap()
        return value

    async def run(self) -> None:
        """Commit what is handed in, until `close`; what waits then is still done. To be run by one task.

        Cancelled, it lets go at once: who still waits is told `closed`, and what is being committed is so or not.
        """
        group: list[_Entry] = []
        try:
            while self._waiting or not self._closed:
                group = self._take()
                if not group:
                    self._wake = trio.Event()
                    await self._wake.wait()
                    continue
                await self._commit(group)
        finally:
            self._closed = True
            for entry in [*group, *self._waiting]:
                if entry.done is None:
                    entry.finish(Done(error=_closed()))
            self._waiting.clear()

    def close(self) -> None:
        """Take nothing more; `run` returns when all that waits is done."""
        self._closed = True
        self._wake.set()

    async def dispose(self) -> None:
        """Close the database's connections, after `run` has returned: when the last thread is out of them."""
        for limiter in (self._writer, *[self._readers] * READERS):  # an abandoned thread keeps its place until it ends
            await limiter.acquire_on_behalf_of(object())
        await trio.to_thread.run_sync(self._database.close, abandon_on_cancel=True)

    def _take(self) -> list[_Entry]:
        group: list[_Entry] = []
        while self._waiting and len(group) < MAX_GROUP:
            entry = self._waiting.popleft()
            if not entry.withdrawn:
                group.append(entry)
        return group

    async def _commit(self, group: list[_Entry]) -> None:
        jobs = [entry.job for entry in group]
        results = await trio.to_thread.run_sync(
            self._database.commit, jobs, limiter=self._writer, abandon_on_cancel=True
        )
        self.commits += 1
        for entry, done in zip(group, results, strict=True):
            if done.error is None or isinstance(done.error, StoreError):
                self.write_error = _noted(done.error, self.write_error)
            entry.finish(done)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise _closed()


def _noted(error: StoreError | None, before: StoreError | None) -> StoreError | None:
    """What is to be remembered of an outcome; a conflict or a refusal of data says that the store can be used."""
    if error is not None and error.kind != "unavailable":
        error = None
    if error is not None and before is None:
        log.error("%s", error.message)
    elif error is None and before is not None:
        log.info("The store can be used again.")
    return error


def _closed() -> StoreError:
    return StoreError("closed", "The store is closed: the gateway is shutting down.")


def _busy() -> StoreError:
    return StoreError("busy", "The store is busy: too many requests wait for it.")
