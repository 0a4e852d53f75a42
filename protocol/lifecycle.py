"""How a stream lives and ends: a written table, the same for every dialect.

Two rules. The upstream declares the end, by its dialect's marker or by a finish reason for each choice seen;
either is enough and neither is invented. And each stream has exactly one ending. The table is walked by
whoever reads a stream; dialect output, metrics, logs and accounting derive from where it arrives.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from .errors import LocalProtocolError

__all__ = ["TRANSITIONS", "Ending", "Lifecycle", "Phase", "Sign"]


class Ending(NamedTuple):
    """How a stream ended: one of a closed set, and each stream has exactly one.

    `kind`: `completed`, `truncated`, `failed`, `client_gone`, `timed_out`, `shut_down`; `which` names the
    deadline of a `timed_out`.
    """

    kind: str
    which: str = ""

    def __str__(self) -> str:
        return f"{self.kind}({self.which})" if self.which else self.kind


class Phase(enum.Enum):
    """Where a stream stands."""

    WAITING = "nothing meaningful has come"
    STREAMING = "some choice has begun and not finished"
    FINISHED = "each choice seen has a finish reason"
    COMPLETED = "the upstream declared the end"
    TRUNCATED = "the input ended and the upstream had not declared the end"
    FAILED = "an error, or an empty answer"


class Sign(enum.Enum):
    """What moves a stream from phase to phase."""

    CONTENT = "a choice begins or goes on, and some choice is not finished"
    FINISH = "the last unfinished choice got its finish reason, or more came for finished ones"
    MARKER = "the dialect's end marker"
    EOF = "the input ended"
    FAILURE = "an error of the upstream, of its framing, or from outside"


TRANSITIONS: Mapping[Phase, Mapping[Sign, Phase]] = {
    Phase.WAITING: {
        Sign.CONTENT: Phase.STREAMING,
        Sign.FINISH: Phase.FINISHED,
        Sign.MARKER: Phase.FAILED,  # an empty answer is a failure
        Sign.EOF: Phase.FAILED,
        Sign.FAILURE: Phase.FAILED,
    },
    Phase.STREAMING: {
        Sign.CONTENT: Phase.STREAMING,
        Sign.FINISH: Phase.FINISHED,
        Sign.MARKER: Phase.COMPLETED,  # the marker alone is enough, and no finish reason is invented
        Sign.EOF: Phase.TRUNCATED,
        Sign.FAILURE: Phase.FAILED,
    },
    Phase.FINISHED: {
        Sign.CONTENT: Phase.STREAMING,  # another choice begins
        Sign.FINISH: Phase.FINISHED,
        Sign.MARKER: Phase.COMPLETED,
        Sign.EOF: Phase.COMPLETED,  # the finish reasons alone are enough
        Sign.FAILURE: Phase.FAILED,
    },
    Phase.COMPLETED: {},
    Phase.TRUNCATED: {},
    Phase.FAILED: {},
}

_ENDINGS = {phase: Ending(phase.name.lower()) for phase, signs in TRANSITIONS.items() if not signs}


class Lifecycle:
    """Walks one stream through `TRANSITIONS`. A sign after the end raises LocalProtocolError."""

    __slots__ = ("_finished", "_open", "ended", "ending", "finished", "phase", "started")

    def __init__(self) -> None:
        self.phase = Phase.WAITING
        """Where the stream stands."""
        self.started = False
        """Whether something meaningful came. It stays False where an error is all there ever was."""
        self.finished = False
        """Whether only the marker, or late usage, is still to come."""
        self.ended = False
        """Whether nothing more can come."""
        self.ending: Ending | None = None
        """The ending, once there is one."""
        self._open: set[int] = set()
        self._finished: set[int] = set()

    def content(self, choice: int = 0) -> None:
        """Choice `choice` begins or goes on."""
        if self.phase is Phase.STREAMING and choice in self._open:
            return  # nearly always
        if choice not in self._finished:
            self._open.add(choice)
        self.started = True
        self._move(Sign.CONTENT if self._open else Sign.FINISH)

    def finish(self, choice: int = 0) -> None:
        """Choice `choice` has its finish reason."""
        self._open.discard(choice)
        self._finished.add(choice)
        self.started = True
        self._move(Sign.CONTENT if self._open else Sign.FINISH)

    def marker(self) -> None:
        """The dialect's end marker came."""
        self._move(Sign.MARKER)

    def eof(self) -> None:
        """The input is over."""
        self._move(Sign.EOF)

    def fail(self) -> None:
        """An error ends the stream."""
        self._move(Sign.FAILURE)

    def _move(self, sign: Sign) -> None:
        following = TRANSITIONS[self.phase].get(sign)
        if following is None:
            raise LocalProtocolError(f"{sign.name} after the end: {self.phase.value}")
        if following is not self.phase:
            self.phase = following
            self.finished = following is Phase.FINISHED
            self.ending = _ENDINGS.get(following)
            self.ended = self.ending is not None
