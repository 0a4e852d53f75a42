"""Separate deadlines for one attempt at an upstream, on one cancel scope.

A scope a phase would cost more than the phase; so one scope is entered for the whole attempt, and what is
moved is when it is cancelled: in `connect`, then `first_event` (or `answer`, for what does not stream), then
`idle` from event to event, and `settle` when all is said but the end marker; all of them under a point in
time that no phase may pass. When the scope fires, `fired` says what ran out.

By default the scope's own deadline is moved. Where each token would do so, a clock that is cheaper to push
back can be handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from .settings import Timeouts

__all__ = ["Clock", "Deadline"]

_NEVER = float("inf")


class Clock(Protocol):
    """Calls `ring` when the time that was set has come."""

    def set(self, due: float, ring: Callable[[], None]) -> None: ...
    def move(self, due: float) -> None: ...


class Deadline:
    """Moves one cancel scope's deadline from phase to phase.

    `scope` is to be entered by the driver (`with deadline.scope:`); `timeouts` has the seconds of each
    phase by name, 0 being none; `until` is the point on trio's clock that no phase may pass (the request's
    `total`). For an answer in one piece (`whole`), what follows the request is one phase, `answer`. `clock`
    cancels the scope in place of the scope's own deadline.
    """

    __slots__ = ("_clock", "_timeouts", "_until", "_whole", "due", "scope", "which")

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        until: float = _NEVER,
        whole: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._until = until
        self._whole = whole
        self._clock = clock
        self.scope = trio.CancelScope()
        self.due = _NEVER
        self.which = ""
        if clock is not None:
            clock.set(_NEVER, self.scope.cancel)

    def enter(self, phase: str) -> None:
        """Begin `phase` (`connect`, `first_event`, `idle`, `settle`) with its whole time."""
        if self._whole and phase != "connect":
            if phase == "settle":
                self._until = min(self._until, self.due)  # it is part of the answer's time
            elif self.which == "answer":
                return
            else:
                phase = "answer"
        self.which = phase
        self.extend()

    def extend(self) -> None:
        """Something happened: the phase under way gets its whole time again."""
        seconds = self.seconds
        due = trio.current_time() + seconds if seconds else _NEVER
        self._move(due if due < self._until else self._until)

    def suspend(self) -> None:
        """Stop the phase's clock until the next `enter` or `extend`; the total goes on."""
        self._move(self._until)

    def limit(self, until: float) -> None:
        """No phase may pass `until` from now on, if that is earlier than before."""
        self._until = min(self._until, until)
        self._move(min(self.due, self._until))

    def _move(self, due: float) -> None:
        self.due = due
        if self._clock is None:
            self.scope.deadline = due
        else:
            self._clock.move(due)

    @property
    def seconds(self) -> float:
        """The time that the phase under way has, in seconds; 0 means no limit."""
        seconds: float = getattr(self._timeouts, self.which, 0.0)
        return seconds

    @property
    def fired(self) -> str:
        """The phase that ran out (`total` if it was the request's own limit), or "" if none did."""
        if not self.scope.cancelled_caught:
            return ""
        return "total" if trio.current_time() >= self._until else self.which
