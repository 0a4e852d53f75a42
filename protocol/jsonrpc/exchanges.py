"""The requests in flight in one direction: a written table, which does not know which side we are.

A request lives from its message to its answer. Two conventions end it otherwise, and they disagree: LSP's
cancellation leaves it to be answered, MCP's does not. What the table does not have is against the rules: a
second request of an id in flight, an answer to nothing. Who broke them depends on the direction, so it is the
caller of this module that raises or answers.

Ids are compared by type and value, as JSON has types: `1` is not `"1"`, while `1` and `1.0` are one number, which
is how Python compares them too. (`True`, which Python takes for 1, is no id at all.)

Cost: one entry for each request in flight, of which there are at most `limit`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from ..errors import LocalProtocolError
from .messages import Id

__all__ = ["TRANSITIONS", "Exchanges", "Phase", "Sign"]


class Phase(enum.Enum):
    """Where the request of an id stands."""

    FREE = "no request of this id is in flight"
    ASKED = "requested, and to be answered"
    CANCELLED = "cancelled as LSP does, and still to be answered"


class Sign(enum.Enum):
    """What moves a request from phase to phase."""

    REQUEST = "the request"
    ANSWER = "its result or error"
    CANCEL = "it is cancelled, and will be answered"
    ABANDON = "it is cancelled, and will not be answered"


TRANSITIONS: Mapping[Phase, Mapping[Sign, Phase]] = {
    Phase.FREE: {
        Sign.REQUEST: Phase.ASKED,
        Sign.CANCEL: Phase.FREE,  # too late: the answer and the cancellation crossed
        Sign.ABANDON: Phase.FREE,
    },
    Phase.ASKED: {
        Sign.ANSWER: Phase.FREE,
        Sign.CANCEL: Phase.CANCELLED,
        Sign.ABANDON: Phase.FREE,
    },
    Phase.CANCELLED: {
        Sign.ANSWER: Phase.FREE,
        Sign.CANCEL: Phase.CANCELLED,  # once is enough
        Sign.ABANDON: Phase.FREE,
    },
}


class Exchanges:
    """The requests in flight in one direction, at most `limit`."""

    __slots__ = ("_limit", "_phases")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._phases: dict[Id, Phase] = {}

    @property
    def full(self) -> bool:
        """Whether no further request may be in flight."""
        return len(self._phases) >= self._limit

    @property
    def ids(self) -> list[Id]:
        """The ids in flight, oldest first."""
        return list(self._phases)

    def phase(self, id: Id) -> Phase:
        """Where the request of this id stands."""
        return self._phases.get(id, Phase.FREE)

    def allows(self, id: Id, sign: Sign) -> bool:
        """Whether the table has a way on."""
        return sign in TRANSITIONS[self.phase(id)]

    def move(self, id: Id, sign: Sign) -> bool:
        """Go on; says whether the phase changed. Raises LocalProtocolError where the table has no way on."""
        before = self.phase(id)
        after = TRANSITIONS[before].get(sign)
        if after is None:
            raise LocalProtocolError(f"{sign.name} for the id {id!r}: {before.value}")
        if after is Phase.FREE:
            self._phases.pop(id, None)
        else:
            self._phases[id] = after
        return after is not before
