"""What a reference says of a byte string: the results, after which byte each must be out, and the fault."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["NEVER", "Fault", "Telling", "Told"]

NEVER = 1 << 60


class Told(NamedTuple):
    """`due[k]` is how many of `results` are out once k bytes were fed, for k from 0 through the length; the rest
    comes with the end. `known` is after how many bytes the fault is there; one more than there are: at the end.
    `state` is what else a machine says of itself when all is over.
    """

    results: Any
    due: list[int]
    fault: tuple[str, int] | None = None
    known: int = NEVER
    state: tuple[Any, ...] = ()


class Fault(Exception):
    """The rules are broken: how, at which byte, and after how many bytes that is certain."""

    def __init__(self, kind: str, offset: int, known: int) -> None:
        super().__init__(kind)
        self.kind, self.offset, self.known = kind, offset, known


class Telling:
    """Collects results with their places."""

    def __init__(self, results: Any) -> None:
        self.results = results
        self._steps: list[tuple[int, int]] = []

    def add(self, place: int, more: Any) -> None:
        """`more` (of the results' type) is complete once `place` bytes have come. Places never go back."""
        self.results += more
        self._steps.append((place, len(self.results)))

    def told(self, size: int, fault: Fault | None = None, state: tuple[Any, ...] = ()) -> Told:
        due, before, count = [], 0, 0
        for place, total in self._steps:
            due += [count] * (min(place, size + 1) - before)
            before, count = min(place, size + 1), total
        due += [count] * (size + 1 - before)
        if fault is None:
            return Told(self.results, due, None, NEVER, state)
        return Told(self.results, due, (fault.kind, fault.offset), fault.known, state)
