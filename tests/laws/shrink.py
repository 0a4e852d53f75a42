"""Makes a finding small: bytes and cuts together, as long as the same law stays broken."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import pairwise

from laws.law import Broken
from laws.subjects import Case, Subject

__all__ = ["broken_by", "shrunk"]

Chunks = list[bytes]


def broken_by(subject: Subject, case: Case, chunks: Chunks) -> Broken | None:
    """What one execution breaks, everything that is ever looked at included."""
    try:
        subject.hold(case, chunks, subject.told(case), measured=True)
    except Broken as broken:
        return broken
    return None


def shrunk(subject: Subject, case: Case, chunks: Chunks, broken: Broken, *, tries: int = 5000) -> tuple[Chunks, Broken]:
    """The smallest that is found within so many tries to break the same law, and how it does."""
    data, cuts = b"".join(chunks), _places(chunks)
    before = None
    while before != (data, cuts) and tries > 0:
        before = data, cuts
        for simpler in (_fewer_cuts, _fewer_bytes, _plainer):
            candidates = simpler(data, cuts)
            kept = None
            while tries > 0:
                try:
                    candidate = candidates.send(kept) if kept is not None else next(candidates)
                except StopIteration:
                    break
                tries -= 1
                parts = _cut(*candidate)
                found = broken_by(subject, case._replace(data=candidate[0]), parts)
                kept = found is not None and found.law == broken.law
                if found is not None and kept:
                    (data, cuts), broken = candidate, found
    return _cut(data, cuts), broken


def _places(chunks: Chunks) -> tuple[int, ...]:
    """Where the chunks but the first begin."""
    places, at = [], 0
    for chunk in chunks[:-1]:
        at += len(chunk)
        places.append(at)
    return tuple(places)


def _cut(data: bytes, cuts: Sequence[int]) -> Chunks:
    return [data[start:end] for start, end in pairwise([0, *cuts, len(data)])]


# Each of these yields a candidate and is told whether it is kept; then it goes on from there.
Candidates = Generator[tuple[bytes, tuple[int, ...]], bool, None]


def _fewer_cuts(data: bytes, cuts: tuple[int, ...]) -> Candidates:
    size = len(cuts)
    while size:
        at = 0
        while at < len(cuts):
            fewer = cuts[:at] + cuts[at + size :]
            if (yield data, fewer):
                cuts = fewer
            else:
                at += size
        size //= 2


def _fewer_bytes(data: bytes, cuts: tuple[int, ...]) -> Candidates:
    size = len(data)
    while size:
        at = 0
        while at < len(data):
            gone = min(size, len(data) - at)
            fewer = data[:at] + data[at + gone :]
            moved = tuple(cut if cut <= at else max(at, cut - gone) for cut in cuts)
            if (yield fewer, moved):
                data, cuts = fewer, moved
            else:
                at += size
        size //= 2


def _plainer(data: bytes, cuts: tuple[int, ...]) -> Candidates:
    for at, byte in enumerate(data):
        if byte != 0x61 and (byte >= 0x80 or chr(byte).isalnum()):
            plainer = data[:at] + b"a" + data[at + 1 :]
            if (yield plainer, cuts):
                data = plainer
