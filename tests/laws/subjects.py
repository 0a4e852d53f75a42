"""The machines that the laws are held against: how each is made, fed and read, and what its reference says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple

from laws.law import ERRORS, Broken, bytewise, follow, retained
from laws.reference.told import Told
from laws.streams import trouble

__all__ = ["AGREES", "Case", "Subject", "executions", "low_limit"]

AGREES = "A second way to the same answer gives the same answer."


class Case(NamedTuple):
    """A byte string, and the options (limits above all) of the machine that it is fed to."""

    data: bytes
    options: Mapping[str, Any] = {}


def _same(result: Any) -> Any:
    return result


def _nothing(machine: Any) -> tuple[Any, ...]:
    return ()


class Subject(NamedTuple):
    """One machine under the laws.

    `reference` says what a case must come to; without one (or None), the machine says it byte by byte. `read` puts what
    `feed` and `close` return into the reference's words, `state` what else the machine says. `room` bounds what may
    be kept besides the latest chunk, and `kept` measures it. `also` holds a case against whatever else is promised,
    once for all cuts.
    """

    name: str
    generate: Callable[[Random], Case]
    make: Callable[..., Any]
    reference: Callable[..., Told | None] | None = None
    read: Callable[[Any], Any] = _same
    state: Callable[[Any], Any] = _nothing
    room: Callable[[Mapping[str, Any]], int] | None = None
    kept: Callable[[Any], int] = retained
    also: Callable[[Case, Told], None] | None = None

    def told(self, case: Case) -> Told:
        """What every cut of the case must come to. Raises Broken for what has nothing to do with the cut."""
        try:
            told = self.reference(case.data, **case.options) if self.reference is not None else None
            if told is None:
                told = bytewise(self.make(**case.options), case.data, self.read, self.state)
            if self.also is not None:
                self.also(case, told)
        except Broken:
            raise
        except Exception as error:
            raise Broken(ERRORS, None, error) from error
        return told

    def hold(self, case: Case, chunks: list[bytes], told: Told, *, measured: bool = False) -> None:
        """One execution. Raises Broken. `measured`: memory too, which takes longer."""
        machine = self.make(**case.options)
        if measured and self.room is not None:
            follow(machine, chunks, told, self.read, self.state, self.kept, self.room(case.options))
        else:
            follow(machine, chunks, told, self.read, self.state)


def executions(subject: Subject, choose: Random, cuts: int = 16) -> Iterator[tuple[Case, list[bytes], Broken | None]]:
    """One new case in `cuts` ways: case, cut, and the law that it broke, if it did. Memory is measured for one of
    the cuts."""
    case = subject.generate(choose)
    told = None
    measured = int(choose.random() * cuts)
    for number, chunks in enumerate(trouble.cuts(choose, case.data, cuts)):
        broken = None
        try:
            if told is None:
                told = subject.told(case)
            subject.hold(case, chunks, told, measured=number == measured)
        except Broken as found:
            broken = found
        yield case, chunks, broken
        if told is None:
            return


def low_limit(choose: Random, most: int = 120) -> int:
    """A limit: a low one in two cases of three."""
    return 1 << 20 if choose.random() < 0.33 else 1 + int(choose.random() * most)
