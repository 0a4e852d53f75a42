"""The helper that the laws are tested with is itself right at its ends."""

from __future__ import annotations

import pytest

import feeding
from penstock.protocol import ndjson, utf8
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.machine import Machine

DATA = bytes(range(10))


def test_every_cut_is_a_cut_of_the_same_bytes() -> None:
    for chunks in feeding.cuts(DATA):
        assert b"".join(chunks) == DATA


def test_every_split_has_both_ends() -> None:
    splits = list(feeding.every_split(DATA))
    assert len(splits) == len(DATA) + 1
    assert splits[0] == [b"", DATA]
    assert splits[-1] == [DATA, b""]
    assert list(feeding.every_split(b"")) == [[b"", b""]]


def test_bytewise_is_one_byte_a_chunk() -> None:
    assert feeding.bytewise(DATA) == [bytes([value]) for value in DATA]
    assert feeding.bytewise(b"") == []


def test_random_splits_are_repeatable_and_hold_empty_chunks() -> None:
    first = list(feeding.random_splits(DATA, count=20, seed=1))
    assert first == list(feeding.random_splits(DATA, count=20, seed=1))
    assert first != list(feeding.random_splits(DATA, count=20, seed=2))
    assert all(b"" in chunks for chunks in first)
    assert len({len(chunks) for chunks in first}) > 3


def test_long_data_are_not_cut_at_every_offset() -> None:
    assert len(list(feeding.cuts(DATA, splits=5))) < len(list(feeding.cuts(DATA)))


class HoldsNothing(Machine[list[bytes]]):
    """Breaks the first law: its results are the chunks."""

    def _take(self, chunk: bytes) -> list[bytes]:
        return [chunk]

    def _end(self) -> list[bytes]:
        return []


class BlamesTheChunk(Machine[list[bytes]]):
    """Breaks the first law: its fault's offset is where the chunk was cut."""

    def _take(self, chunk: bytes) -> list[bytes]:
        self.fault = RemoteProtocolError("no", kind="no", offset=len(chunk))
        return []

    def _end(self) -> list[bytes]:
        return []


@pytest.mark.parametrize("make", [HoldsNothing, BlamesTheChunk])
def test_a_machine_that_depends_on_the_cut_is_found_out(make: type[Machine[list[bytes]]]) -> None:
    with pytest.raises(AssertionError, match="cut as"):
        feeding.same_for_every_cut(make, DATA)


def test_an_outcome_has_what_came_before_the_fault() -> None:
    found = feeding.same_for_every_cut(lambda: utf8.Decoder("strict"), b"abc\xff")
    assert found == ("abc", ("invalid_utf8", 3))


def test_results_that_are_pieces_can_be_joined() -> None:
    assert feeding.same_for_every_cut(HoldsNothing, DATA, joined=True) == (DATA, None)


class SearchesAgain(Machine[list[bytes]]):
    """Quadratic: looks for a line end in all that it holds, each time."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def _take(self, chunk: bytes) -> list[bytes]:
        self._held += chunk
        return [b""] if self._held.find(b"\n") >= 0 else []

    def _end(self) -> list[bytes]:
        return []


def test_work_that_is_not_linear_is_found_out() -> None:
    assert feeding.work(SearchesAgain(), bytes(1000), 10) > 40 * 1000
    assert feeding.work(ndjson.Lines(), bytes(1000), 10) == 1000


def test_the_ledger_counts_what_is_read() -> None:
    held = feeding.Ledger(b"abcdefgh")
    held[0], held[2:5], held.find(b"c", 6), held.find(b"c", 6, 7), held.count(b"a"), held + b"xy"
    assert held.touched == 1 + 3 + 2 + 1 + 8 + 10
    held += b"zz"
    assert held.touched == 25 + 2
    assert held.split(b"c") == [b"ab", b"defghzz"]
    assert held.touched == 27 + 10
