"""Separate deadlines for one attempt at an upstream, on one cancel scope.

A scope a phase would cost more than the phase; so one scope is entered for the whole attempt and its
deadline is moved: `connect`, then `first_event` (or `answer`, for what does not stream), then `idle` from
event to event, and `settle` when all is said but the end marker; all of them under a point in time that no
phase may pass. When the scope fires, `fired` says what ran out.
"""

from __future__ import annotations

import trio

from .settings import Timeouts

__all__ = ["Deadline"]

_NEVER = float("inf")


class Deadline:
    """Moves one cancel scope's deadline from phase to phase.

    `scope` is to be entered by the driver (`with deadline.scope:`); `timeouts` has the seconds of each
    phase by name, 0 being none; `until` is the point on trio's clock that no phase may pass (the request's
    `total`). For an answer in one piece (`whole`), what follows the request is one phase, `answer`.
    """

    __slots__ = ("_timeouts", "_until", "_whole", "scope", "which")

    def __init__(self, timeouts: Timeouts, *, until: float = _NEVER, whole: bool = False) -> None:
        self._timeouts = timeouts
        self._until = until
        self._whole = whole
        self.scope = trio.CancelScope()
        self.which = ""

    def enter(self, phase: str) -> None:
        """Begin `phase` (`connect`, `first_event`, `idle`, `settle`) with its whole time."""
        if self._whole and phase != "connect":
            if self.which == "answer":
                return
            phase = "answer"
        self.which = phase
        self.extend()

    def extend(self) -> None:
        """Something happened: the phase under way gets its whole time again."""
        seconds = self.seconds
        due = trio.current_time() + seconds if seconds else _NEVER
        self.scope.deadline = due if due < self._until else self._until

    def suspend(self) -> None:
        """Stop the phase's clock until the next `enter` or `extend`; the total goes on."""
        self.scope.deadline = self._until

    def limit(self, until: float) -> None:
        """No phase may pass `until` from now on, if that is earlier than before."""
        self._until = min(self._until, until)
        self.scope.deadline = min(self.scope.deadline, self._until)

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
