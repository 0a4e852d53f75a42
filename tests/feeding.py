"""Ways to cut the same bytes, and one way to drive a machine: what the laws of `feed` and `close` are tested with.

A law holds if `outcome` is the same for every cut in `cuts`: whole, byte by byte, in two at every offset (both
ends included, so that empty chunks occur), and at random places with empty chunks in between.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from penstock.protocol.errors import LimitExceeded, RemoteProtocolError

__all__ = [
    "Outcome",
    "bytewise",
    "cuts",
    "every_split",
    "outcome",
    "random_splits",
    "same_for_every_cut",
    "whole",
    "work",
]

Chunks = list[bytes]


def whole(data: bytes) -> Chunks:
    """All in one chunk."""
    return [data]


def bytewise(data: bytes) -> Chunks:
    """One byte a chunk."""
    return [data[at : at + 1] for at in range(len(data))]


def every_split(data: bytes) -> Iterator[Chunks]:
    """Two chunks, cut at every offset from 0 through the length."""
    for at in range(len(data) + 1):
        yield [data[:at], data[at:]]


def random_splits(data: bytes, count: int = 10, seed: int = 0) -> Iterator[Chunks]:
    """`count` random cuts into a few chunks, some of them empty; the same for the same seed."""
    choose = random.Random(seed)
    for _ in range(count):
        places = sorted(choose.choices(range(len(data) + 1), k=choose.randint(1, 8)))
        chunks = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
        chunks.insert(choose.randint(0, len(chunks)), b"")
        yield chunks


def cuts(data: bytes, *, splits: int = 400) -> Iterator[Chunks]:
    """Every way to cut that a test tries; data longer than `splits` are not cut at every offset."""
    yield whole(data)
    yield bytewise(data)
    yield from random_splits(data)
    if len(data) <= splits:
        yield from every_split(data)


class Outcome(NamedTuple):
    """All that a machine said: results, joined where they are text or bytes, and its fault."""

    results: Any
    fault: tuple[str, int] | None


def outcome(machine: Any, chunks: Chunks, *, joined: bool = False) -> Outcome:
    """Feed all chunks and close, looking at `.fault` after each call as a driver does.

    `joined` concatenates a list of bytes; results that are str or bytes are always concatenated.
    """
    results: Any = None
    try:
        for chunk in chunks:
            part = machine.feed(chunk)
            results = part if results is None else results + part
            if machine.fault is not None:
                break
        part = machine.close()
        results = part if results is None else results + part
    except RemoteProtocolError as fault:
        assert fault is machine.fault  # noqa: PT017  which call raises depends on the cut
    return Outcome(b"".join(results or ()) if joined else results or None, described(machine.fault))


def described(fault: RemoteProtocolError | None) -> tuple[str, int] | None:
    """A fault's kind and offset, which is what must not depend on the cut."""
    if fault is None:
        return None
    assert type(fault) in (RemoteProtocolError, LimitExceeded)
    return fault.kind, fault.offset


def same_for_every_cut(make: Callable[[], Any], data: bytes, *, joined: bool = False, splits: int = 400) -> Outcome:
    """What a new machine makes of `data`, after checking that no cut changes it."""
    expected = outcome(make(), [data], joined=joined)
    for chunks in cuts(data, splits=splits):
        found = outcome(make(), chunks, joined=joined)
        assert found == expected, f"cut as {chunks!r}"
    return expected


class Ledger(bytearray):
    """A buffer that counts the bytes which are written to it and read from it."""

    touched = 0

    def __iadd__(self, more: Any) -> Ledger:  # type: ignore[override,misc]
        self.touched += len(more)
        return super().__iadd__(more)

    def __add__(self, more: Any) -> bytearray:
        self.touched += len(self) + len(more)
        return super().__add__(more)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.touched += 1 if isinstance(found, int) else len(found)
        return found

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        end = len(self) if end is None else end
        self.touched += max(min(end, len(self)) - start, 0)
        return super().find(sub, start, end)

    def _all(name: str) -> Any:  # type: ignore[misc]  # noqa: N805
        def method(self: Ledger, *args: Any) -> Any:
            self.touched += len(self)
            return getattr(bytearray, name)(self, *args)

        return method

    rfind, count, split, splitlines, decode = map(_all, ("rfind", "count", "split", "splitlines", "decode"))


def work(machine: Any, data: bytes, piece: int) -> int:
    """Bytes that `machine` touches in what it holds, while `data` (which completes nothing) comes in pieces."""
    machine._held = held = Ledger()
    for at in range(0, len(data), piece):
        machine.feed(data[at : at + piece])
    assert machine._held is held
    return held.touched
