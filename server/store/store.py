"""The front of the store: opened, kept and closed by one task of the gateway.

    store = Store(location, on_failure="refuse")
    await nursery.start(store.run)      # made, migrated, keys in memory; StoreError if it cannot be
    ...
    with trio.move_on_after(seconds):
        await store.aclose()            # what is written behind is written

`refusal` says whether new work may be taken: never while there is no room for its accounts, and while the store
is away by policy (`on_failure`). Readiness must say the same, so it asks the same question.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import sqlalchemy as sa
import trio

from . import schema
from .budgets import Budgets
from .database import Database
from .desk import Desk
from .errors import StoreError
from .keys import Keys
from .location import Location
from .notes import Models, Settings
from .responses import StoredResponses
from .sessions import Sessions
from .usage import Usage

__all__ = ["Store"]

log = logging.getLogger("penstock.store")

KEEP_SECONDS = 20.0
"""Between two renewals of leases, of which one lasts three times as long."""

RETRY_SECONDS = 1.0
"""Between two tries of what the store did not do."""

DISPOSE_SECONDS = 1.0
"""For closing connections, also when `run` is cancelled; what hangs then is left to the process's end."""

PURGE_SECONDS = 3600.0

DAY = 86400.0


class Store:
    """A store at `location`. Nothing is opened before `run`. `clock` tells the time of day."""

    def __init__(
        self,
        location: Location,
        *,
        on_failure: Literal["refuse", "continue"] = "refuse",
        usage_days: int = 0,
        session_days: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.location = location
        self._on_failure = on_failure
        self._usage_days = usage_days
        self._session_days = session_days
        self._clock = clock
        self._desk = Desk(Database(location))
        self.keys = Keys(self._desk, clock)
        self.usage = Usage(self._desk, clock)
        self.budgets = Budgets(self._desk, clock)
        self.sessions = Sessions(self._desk, clock)
        self.responses = StoredResponses(self._desk, clock)
        self.models = Models(self._desk, clock)
        self.settings = Settings(self._desk, clock)
        self._closing = trio.Event()
        self._gone = trio.Event()

    @property
    def last_error(self) -> StoreError | None:
        """Why the store cannot be used now; for operators, not for clients."""
        return self._desk.write_error or self._desk.read_error

    @property
    def healthy(self) -> bool:
        """Whether it can be read and written, as far as is known, and what is known of keys is fresh."""
        return self.last_error is None and self.keys.fresh

    @property
    def refuses(self) -> bool:
        """Whether work is refused while the store cannot be used, rather than done unaccounted."""
        return self._on_failure == "refuse"

    def refusal(self) -> str | None:
        """Why no new work may be taken now, in a sentence for clients; None if it may."""
        if not (self.usage.has_room and self.budgets.has_room):
            return "The gateway cannot account for more requests now."
        if self.refuses and not self.healthy:
            return "The gateway's store cannot be used now."
        return None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the store and keep it until `aclose`. Raises StoreError before `task_status.started()`, if at all."""
        try:
            await self._desk.open()
            await self.keys.refresh()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._desk.run)
                async with trio.open_nursery() as keepers:
                    for keeper in (self.keys.run, self.usage.run, self._keep_leases, self._watch, self._purge):
                        keepers.start_soon(keeper)
                    task_status.started()
                    await self._closing.wait()
                    keepers.cancel_scope.cancel()
                await self._drain()
                self._desk.close()
        finally:
            with trio.move_on_after(DISPOSE_SECONDS, shield=True):
                await self._desk.dispose()
            if len(self.usage):
                log.error("The accounts of %d requests could not be written.", len(self.usage))
            self._gone.set()

    async def aclose(self) -> None:
        """Write what is still to be written, and close. Give it a deadline; then cancel `run`."""
        self._closing.set()
        await self._gone.wait()

    async def _drain(self) -> None:
        for what in (self.budgets.keep, self.usage.flush, self.keys.write_uses):
            while not await _worked(what):  # noqa: ASYNC110 - nobody could set an event
                await trio.sleep(RETRY_SECONDS)

    async def _keep_leases(self) -> None:
        while True:
            if await _worked(self.budgets.keep):
                with trio.move_on_after(KEEP_SECONDS):
                    await self.budgets.owing.wait()
            else:
                await trio.sleep(RETRY_SECONDS)

    async def _watch(self) -> None:
        """Find out when a store that could not be written can be: while work is refused nobody else tries."""
        while True:
            await trio.sleep(RETRY_SECONDS)
            if self._desk.write_error is not None:
                await _worked(lambda: self._desk.write(_touch))

    async def _purge(self) -> None:
        """Delete what has had its time, a little at once, and note when keys were used."""
        while True:
            await _worked(self.keys.write_uses)
            await _worked(self._purge_once)
            for _ in range(round(PURGE_SECONDS / KEEP_SECONDS)):
                await trio.sleep(KEEP_SECONDS)
                await _worked(self.keys.write_uses)

    async def _purge_once(self) -> None:
        while await self.responses.purge():
            pass
        while self._session_days and await self.sessions.purge(self._clock() - self._session_days * DAY):
            pass
        while self._usage_days and await self.usage.purge(self._clock() - self._usage_days * DAY):
            pass


async def _worked(what: Callable[[], Awaitable[object]]) -> bool:
    try:
        await what()
    except StoreError:
        return False  # the desk has told it
    return True


def _touch(connection: sa.Connection) -> None:
    """A write that changes nothing, but for the disk."""
    counters = schema.counters
    connection.execute(counters.update().where(counters.c.name == "keys").values(value=counters.c.value))
