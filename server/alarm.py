"""One clock for a connection, which costs next to nothing to push back.

Every token pushes a deadline back, and moving the deadline of one of trio's cancel scopes costs about as
much as all the rest that is done with a token. So a deadline that is pushed back is only written down: when
the scope's own time comes, whoever it was set for is looked up, and if its time is later now, the scope
sleeps on till then. A deadline is met to the moment, never early; a connection pays one idle wake-up for a
deadline that was pushed back, not one move for each push.

The task that runs the clock is one that the connection has anyway: `run` wraps what it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

__all__ = ["Alarm"]

_NEVER = float("inf")


def _nothing() -> None:
    pass


class Alarm:
    """Calls `ring` when the time set last has come. One time at a time; `set` forgets the one before."""

    __slots__ = ("_armed", "_due", "_ring", "_scope")

    def __init__(self) -> None:
        self._due = _NEVER
        self._armed = _NEVER  # when the scope will fire
        self._ring: Callable[[], None] = _nothing
        self._scope = trio.CancelScope()

    def set(self, due: float, ring: Callable[[], None]) -> None:
        """Call `ring` at `due`, on trio's clock, unless it is set anew before."""
        self._ring = ring
        self.move(due)

    def move(self, due: float) -> None:
        """Change the time that was set."""
        self._due = due
        if due < self._armed:
            self._armed = self._scope.deadline = due

    def clear(self) -> None:
        """Nothing is waited for any more."""
        self._due = _NEVER

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, which must bear being cancelled and called again, and keep the clock meanwhile."""
        while True:
            self._armed = self._due
            with trio.CancelScope(deadline=self._due) as self._scope:
                await work()
                return
            if trio.current_time() >= self._due:
                self._due = _NEVER
                self._ring()
