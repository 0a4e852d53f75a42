"""How much work a machine does, counted and not timed: lines of the core that run, and held bytes that are touched.

Lines alone would not see a copy that grows (it is one line), bytes alone not a loop that grows. Held bytes are
counted in two ways: a `bytearray` that a machine keeps is replaced by one that counts what is written and read;
`bytes` or `str` that it keeps anew after a call were copied in that call.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import penstock.protocol
from feeding import Ledger

__all__ = ["Effort", "effort", "pieces"]

_CORE = str(Path(penstock.protocol.__file__).parent)


def pieces(data: bytes, size: int) -> list[bytes]:
    """`data` in chunks of so many bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]


class Effort:
    """Counts while `with` lasts, and of the machines that are watched."""

    def __init__(self) -> None:
        self.lines = 0
        self.touched = 0
        self._ledgers: dict[int, Ledger] = {}
        self._kept: dict[tuple[int, str], Any] = {}

    def __enter__(self) -> Effort:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(_CORE) else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.lines += event == "line"
        return self._line

    def look(self, machine: Any) -> None:
        """Between two calls: what was copied since the last look, and a ledger for each buffer that has none."""
        for part, name, value in _buffers(machine):
            place = id(part), name
            if isinstance(value, bytearray):
                if not isinstance(value, Ledger):
                    self.touched += len(value)
                    ledger = Ledger(value)
                    setattr(part, name, ledger)
                    self._ledgers[id(ledger)] = ledger  # kept alive, so that no id is used twice
            elif self._kept.get(place) is not value:
                self.touched += len(value)
                self._kept[place] = value

    @property
    def total(self) -> int:
        """Lines and bytes in one figure: a line counts for a few bytes."""
        return 8 * self.lines + self.touched + sum(ledger.touched for ledger in self._ledgers.values())


def _buffers(machine: Any) -> Iterable[tuple[Any, str, Any]]:
    """What a machine and the machines in it keep: the owner, the name and the value."""
    waiting, seen = [machine], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        names = [name for kind in type(part).__mro__ for name in _slots(kind)] + list(getattr(part, "__dict__", ()))
        for name in names:
            value = getattr(part, name, None)
            if isinstance(value, bytes | bytearray | str):
                yield part, name, value
            elif type(value).__module__.startswith("penstock.protocol"):
                waiting.append(value)


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def effort(machine: Any, chunks: Iterable[bytes]) -> int:
    """What it costs to feed all chunks; faults end it."""
    counted = Effort()
    for chunk in chunks:
        with counted:
            machine.feed(chunk)
        counted.look(machine)
        if getattr(machine, "fault", None) is not None:
            break
    return counted.total
