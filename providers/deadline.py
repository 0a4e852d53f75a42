"""Separate deadlines for one attempt at an upstream, on one cancel scope.

A scope a phase would cost more than the phase; so one scope is entered for the whole attempt, and what is
moved is when it is cancelled: in `connect`, then `first_event` (for what does not stream, `answer` or
`embeddings`), then `idle` from event to event, and `settle` when all is said but the end marker; all of them
under a point in time that no phase may pass. When the scope fires, `fired` says what ran out.

By default the scope's own deadline is moved. Where each token would do so, a clock that is cheaper to push
back can be handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import trio

from .settings import Timeouts

__all__ = ["Clock", "Deadline"]

_NEVER = float("inf")


class Clock(Protocol):
    """Calls `ring` when the time that was set has come."""

    def set(self, due: float, ring: Callable[[], None]) -> None: ...
    def move(self, due: float) -> None: ...


class _ScopeClock:
    """The scope's own deadline as a clock."""

    __slots__ = ("_scope",)

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope

    def set(self, due: float, ring: Callable[[], None]) -> None:
        self.move(due)

    def move(self, due: float) -> None:
        self._scope.deadline = due


class Deadline:
    """Moves one cancel scope's deadline from phase to phase.

    `scope` is to be entered by the driver (`with deadline.scope:`); `timeouts` has the seconds of each
    phase by name, 0 being none; `until` is the point on trio's clock that no phase may pass (the request's
    `total`). For an answer in one piece, what follows the request is one phase, and `whole` is its name. `clock`
    cancels the scope in place of the scope's own deadline.
    """

    __slots__ = ("_clock", "_limit", "_now", "_seconds", "_timeouts", "_until", "_whole", "due", "scope", "which")

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        until: float = _NEVER,
        whole: Literal["", "answer", "embeddings"] = "",
        clock: Clock | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._until = until
        self._limit = "total"
        self._whole = whole
        self._now = trio.lowlevel.current_clock().current_time
        self._seconds = _NEVER
        self.scope = trio.CancelScope()
        self.due = _NEVER
        self.which = ""
        self._clock = clock or _ScopeClock(self.scope)
        self._clock.set(_NEVER, self.scope.cancel)

    def enter(self, phase: str) -> None:
        """Begin `phase` (`connect`, `first_event`, `idle`, `settle`) with its whole time."""
        if self._whole and phase != "connect":
            if phase == "settle":
                self.limit(self.due, self._whole)  # it is part of the answer's time
            elif self.which == self._whole:
                return
            else:
                phase = self._whole
        self.which = phase
        self._seconds = getattr(self._timeouts, phase) or _NEVER
        self.extend()

    def extend(self) -> None:
        """Something happened: the phase under way gets its whole time again."""
        due = self._now() + self._seconds
        self.due = due = due if due < self._until else self._until
        self._clock.move(due)

    def suspend(self) -> None:
        """Stop the phase's clock until the next `enter` or `extend`; the total goes on."""
        self.due = self._until
        self._clock.move(self._until)

    def limit(self, until: float, name: str) -> None:
        """No phase may pass `until` from now on, if that is earlier than before; `name` is what has then fired."""
        if until < self._until:
            self._until, self._limit = until, name
        self.hold_to(self._until)

    def hold_to(self, due: float) -> None:
        """The phase under way ends at `due` at the latest."""
        self.due = min(self.due, due)
        self._clock.move(self.due)

    @property
    def fired(self) -> str:
        """The phase that ran out, or the limit above all phases (`total`); "" if none did."""
        if not self.scope.cancelled_caught:
            return ""
        return self._limit if self._now() >= self._until else self.which
