"""Event streams as bytes: the same events in any cut, in normal form, within limits that count raw bytes."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

import feeding
from penstock.protocol import blocks
from penstock.protocol.blocks import Blocks, Fields
from penstock.protocol.errors import LimitExceeded

BOM = b"\xef\xbb\xbf"

STREAMS = {
    "chat chunks": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [Fields(b'{"a":1}'), Fields(b"[DONE]")]),
    "typed": (b"event: x\ndata: a\n\nid: 1\ndata: b\n\n", [Fields(b"a", b"x"), Fields(b"b", id=b"1")]),
    "no space": (b"data:a\n\ndata:  b\n\n", [Fields(b"a"), Fields(b" b")]),
    "comments": (b": c\n: d\ndata: a\n: e\n\n:\n\n: f\n", [Fields(b"a")]),
    "several lines": (b"data: a\ndata\ndata: b\n\n", [Fields(b"a\n\nb")]),
    "blank lines": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [Fields(b"a"), Fields(b"b")]),
    "an error line": (b'error: {"code":1}\n\n', [Fields(b"", error=b'{"code":1}')]),
    "retry": (b"retry: 10\n\n", [Fields(b"", retry=b"10")]),
    "unknown fields": (b"foo: 1\ndata: a\nbar\n\n", [Fields(b"a")]),
    "byte order mark": (BOM + b"data: a\n\n", [Fields(b"a")]),
    "half a byte order mark": (BOM[:2] + b"data: a\n\n", [Fields(b"")]),
    "scripts": ("data: жে😀\u2028\n\n".encode(), [Fields("жে😀\u2028".encode())]),
    "invalid UTF-8 is left alone": (b"data: \xff\n\n", [Fields(b"\xff")]),
    "nothing": (b"", []),
}


def read(run: bytes | None) -> list[Fields]:
    """The events of a run of blocks."""
    found = [blocks.fields(block) for block in (run or b"").split(b"\n\n")]
    return [fields for fields in found if fields is not None]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(("data", "events"), STREAMS.values(), ids=STREAMS)
def test_c35_c37_blocks_in_any_cut(data: bytes, events: list[Fields], end: bytes) -> None:
    data = data.replace(b"\n", end)
    for chunks in feeding.cuts(data):
        machine = Blocks()
        runs = [machine.feed(chunk) for chunk in chunks]
        assert all(run == b"" or run.endswith(b"\n\n") for run in runs)
        assert b"\r" not in b"".join(runs)
        assert machine.close() == b""
        assert read(b"".join(runs)) == events


def test_an_lf_only_stream_is_passed_on_as_it_is() -> None:
    data = b"event: x\ndata: a\n\n" * 3 + b"data: b\n\n"
    assert feeding.same_for_every_cut(Blocks, data) == (data, None)


def test_results_come_with_the_byte_that_completes_them() -> None:
    for data, places in [
        (b"data: a\n\ndata: b\n\n", [8, 17]),
        (b"data: a\r\rdata: b\r\r", [8, 17]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [9, 20]),
        (b": c\ndata: a\n\n", [3, 12]),
    ]:
        machine = Blocks()
        assert [at for at, byte in enumerate(feeding.bytewise(data)) if machine.feed(byte)] == places


@pytest.mark.parametrize(
    ("end", "block"),
    [
        (b"data: b", b"data: b\n"),
        (b"data: b\r", b"data: b\n"),
        (b"event: x\r\ndata: b\n", b"event: x\ndata: b\n"),
        (b": comment", b""),
        (b"data: b\n: c", b"data: b\n: c\n"),
        (b"", b""),
    ],
)
def test_c36_close_returns_the_unterminated_event(end: bytes, block: bytes) -> None:
    for chunks in feeding.cuts(b"data: a\n\n" + end):
        machine = Blocks()
        assert b"".join(machine.feed(chunk) for chunk in chunks) == b"data: a\n\n"
        assert machine.close() == block
        assert machine.pending is False


def test_close_with_part_of_a_byte_order_mark() -> None:
    machine = Blocks()
    assert machine.feed(BOM[:2]) == b""
    assert machine.pending
    assert machine.close() == BOM[:2] + b"\n"


def test_pending_says_whether_bytes_are_held() -> None:
    machine = Blocks()
    assert not machine.pending
    for byte in feeding.bytewise(b"data: a\n"):
        machine.feed(byte)
        assert machine.pending
    machine.feed(b"\n")
    assert not machine.pending


LIMIT = 20
LIMITED = {
    "just fits": (b"data: 345678901234\n\n" * 3, 3, None),
    "one too many": (b"data: a\n\ndata: 3456789012345\n\n", 1, 9 + LIMIT),
    "CRLF counts": (b"data: 345678901\r\n\r\ndata: 345678901234\r\n\r\n", 1, 19 + LIMIT),
    "comments do not": (b": 345678901234\n" * 5 + b"data: 345678901234\n\n", 1, None),
    "many lines": (b"data\n" * 5, 0, LIMIT),
    "no end": (b"x" * 50, 0, LIMIT),
    "not even a mark": (BOM[:2], 0, 1),
}


@pytest.mark.parametrize(("data", "count", "offset"), LIMITED.values(), ids=LIMITED)
def test_c44_the_limit_counts_raw_bytes_wherever_the_cuts_fall(data: bytes, count: int, offset: int | None) -> None:
    limit = 1 if data == BOM[:2] else LIMIT
    fault = None if offset is None else ("event_too_large", offset)
    for chunks in feeding.cuts(data):
        found = feeding.outcome(Blocks(limit), chunks)
        assert found.fault == fault
        assert len(read(found.results)) == count


def test_a_fault_keeps_nothing() -> None:
    machine = Blocks(max_event_bytes=1000)
    for _ in range(200):
        with contextlib.suppress(LimitExceeded):
            machine.feed(b"data: x\ny")
        assert len(machine._held) + len(machine._block) <= 1009
    assert machine.fault is not None
    assert not machine.pending


@pytest.mark.parametrize("piece", [1, 64, 1460])
def test_c45_work_is_linear_in_the_bytes(piece: int) -> None:
    machine: Any = Blocks()
    machine.feed(b"\n")
    line = b"data: " + b"x" * 20_000
    assert feeding.work(machine, line, piece) <= 2 * len(line)


def test_the_quick_way_and_the_general_way_say_the_same() -> None:
    choose = random.Random(7)
    alphabet = [b"data: x\n\n", b"data: y\n", b"\n", b": c\n", b"event: t\ndata: z\n\n", b"\r\n", b"w"]
    for _ in range(500):
        data = b"".join(choose.choices(alphabet, k=8))
        slowly = Blocks()
        expected = read(b"".join(map(slowly.feed, feeding.bytewise(data))))
        last = slowly.close()
        for chunks in feeding.random_splits(data, 3, choose.random()):
            machine = Blocks()
            assert read(b"".join(map(machine.feed, chunks))) == expected
            assert machine.close() == last


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        (b"", None),
        (b"\n", None),
        (b": a\n:", None),
        (b"data: a", Fields(b"a")),
        (b"data:a\n", Fields(b"a")),
        (b"\ndata: a", Fields(b"a")),
        (b"data", Fields(b"")),
        (b"data: a\nevent: b\nid: c\nretry: 1\nerror: e", Fields(b"a", b"b", b"c", b"1", b"e")),
        (b"event: a\nevent: b", Fields(b"", b"b")),
        (b"data: a\n: c\ndata: b", Fields(b"a\nb")),
    ],
)
def test_fields_of_a_block(block: bytes, fields: Fields | None) -> None:
    assert blocks.fields(block) == fields
