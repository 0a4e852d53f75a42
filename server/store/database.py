"""The database, as threads see it: blocking calls that read, and that commit several jobs at once.

A *job* is a function of a connection that does a few statements and returns something; it may be run twice, so
it changes nothing but the database. `commit` runs a group of jobs in one transaction: a thousand requests that
wait for their acknowledgement do not make a thousand fsyncs. A job that fails spoils the group's transaction, so
then each is run again in one of its own, and the failure meets only whose it is. What happens when the database
itself is gone is the same for all, and nothing is run again: if it broke in the commit, nobody knows whether it
was done.

Every error that comes out is a StoreError, or a bug's own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from .engine import WRITING, explain, is_collision, make_engine
from .errors import StoreError
from .location import Location
from .migrate import migrate

__all__ = ["Database", "Done", "Job"]

T = TypeVar("T")
Job = Callable[[sa.Connection], T]

COLLISIONS = 5
"""How often a job that collided with another process's is tried."""


class Done(NamedTuple):
    """What became of a job that was to be committed: its value, or why not."""

    value: Any = None
    error: Exception | None = None

    def unwrap(self) -> Any:
        """The value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


class Database:
    """A store at a location, for use in threads; not more than `READERS` may read, and one commit, at a time.

    For work outside of a server it is a context manager.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._engine: sa.Engine | None = None

    def __enter__(self) -> Database:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Make the file if need be, connect, and migrate. Raises StoreError."""
        where = f"The store {self.location.shown}"
        try:
            _make_file(self.location)
            self._engine = make_engine(self.location)
            migrate(self.location, self._engine)
        except StoreError as error:
            self.close()
            if error.kind != "newer":
                raise
            raise StoreError(error.kind, f"{where} {error.message}") from None
        except exc.SQLAlchemyError as error:
            self.close()
            problem = explain(error, self.location)
            words = problem.message.partition(": ")[2] or problem.message
            raise StoreError("unavailable", f"{where} cannot be opened: {words.rstrip('.')}.") from None
        except OSError as error:
            raise StoreError("unavailable", f"{where} cannot be made: {error.strerror}.") from error

    def close(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            self._engine.dispose()

    def read(self, job: Job[T]) -> T:
        """What `job` finds. Raises StoreError."""
        assert self._engine is not None, "not open"
        try:
            with self._engine.connect() as connection:
                return job(connection)
        except exc.SQLAlchemyError as error:
            raise explain(error, self.location) from None

    def write(self, job: Job[T]) -> T:
        """What `job` returns, once it is committed. Raises StoreError."""
        value: T = self.commit([job])[0].unwrap()
        return value

    def commit(self, jobs: Sequence[Job[Any]]) -> list[Done]:
        """Run the jobs in one transaction if that works out, and tell of each what became of it."""
        for _ in range(COLLISIONS):
            try:
                return [Done(value) for value in self._transaction(jobs)]
            except exc.SQLAlchemyError as error:
                problem: Exception = explain(error, self.location)
                again = is_collision(error)
                shared = isinstance(problem, StoreError) and problem.kind == "unavailable" and not again
            except Exception as error:  # of a job's own: it goes to whoever asked for that job
                problem, again, shared = error, False, False
            if shared:
                return [Done(error=problem)] * len(jobs)
            if len(jobs) > 1:
                return [self.commit([job])[0] for job in jobs]
            if not again:
                break
        return [Done(error=problem)]

    def _transaction(self, jobs: Sequence[Job[Any]]) -> list[Any]:
        assert self._engine is not None, "not open"
        with self._engine.execution_options(**WRITING).begin() as connection:
            return [job(connection) for job in jobs]


def _make_file(location: Location) -> None:
    """The file and its folder, for nobody but their owner: there are prompts in it."""
    if location.file is not None:
        location.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # SQLite's other files take their mode from this one
            os.close(os.open(location.file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
