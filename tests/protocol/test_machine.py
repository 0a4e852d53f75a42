"""The laws of `feed` and `close`, for every framing machine."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from penstock.protocol import chunked, detect, head, ndjson, sse, utf8
from penstock.protocol.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError


class Case(NamedTuple):
    """A machine, bytes that complete something, and bytes that break the rules after it."""

    make: Callable[[], Any]
    good: bytes
    results: Any
    bad: bytes
    kind: str
    offset: int  # of the fault, in good + bad
    nothing: Any


CASES = {
    "utf8": Case(lambda: utf8.Decoder("strict"), b"ab", "ab", b"\xff", "invalid_utf8", 2, ""),
    "chunked": Case(chunked.Decoder, b"2\r\nab\r\n", [b"ab"], b"x", "bad_chunk_size", 7, []),
    "head": Case(head.Scanner, b"", b"", b"GET\0", "nul", 3, b""),
    "blocks": Case(lambda: sse.Blocks(10), b"data: a\n\n", b"data: a\n\n", b"data: abcdef", "event_too_large", 19, b""),
    "sse": Case(lambda: sse.Decoder(10), b"data: a\n\n", [sse.Event("a")], b"data: abcdef", "event_too_large", 19, []),
    "lines": Case(lambda: ndjson.Lines(4), b"[]\n", [b"[]"], b"[1,2]", "line_too_long", 7, []),
    "ndjson": Case(lambda: ndjson.Decoder(4), b"[]\n", [[]], b"[1,2]", "line_too_long", 7, []),
}

every_machine = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
with_results = pytest.mark.parametrize(
    "case", [c for c in CASES.values() if c.good], ids=[n for n, c in CASES.items() if c.good]
)


@with_results
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_will_do(case: Case, kind: Callable[[bytes], Any]) -> None:
    machine = case.make()
    fed = kind(case.good)
    assert machine.feed(fed) == case.results


def test_a_buffer_that_is_used_again_changes_nothing() -> None:
    decoder = sse.Decoder()
    buffer = bytearray(b"data: a")
    assert decoder.feed(buffer) == []
    buffer[:] = b"\n\nxxxxx"
    assert decoder.feed(memoryview(buffer)[:2]) == [sse.Event("a")]


@every_machine
@pytest.mark.parametrize("junk", ["text", 5, None])
def test_what_is_not_bytes_is_a_type_error(case: Case, junk: object) -> None:
    with pytest.raises(TypeError):
        case.make().feed(junk)


@every_machine
def test_empty_chunks_are_fine(case: Case) -> None:
    machine = case.make()
    assert machine.feed(b"") == case.nothing
    assert machine.feed(bytearray()) == case.nothing


@with_results
def test_a_fault_never_hides_what_came_before_it(case: Case) -> None:
    machine = case.make()
    assert machine.feed(case.good + case.bad) == case.results
    assert (machine.fault.kind, machine.fault.offset) == (case.kind, case.offset)
    with pytest.raises(RemoteProtocolError) as raised:
        machine.feed(b"")
    assert raised.value is machine.fault


@every_machine
def test_the_first_call_with_nothing_else_to_give_raises(case: Case) -> None:
    machine = case.make()
    machine.feed(case.good)
    assert machine.fault is None
    with pytest.raises(RemoteProtocolError) as raised:
        machine.feed(case.bad)
    assert raised.value is machine.fault
    assert raised.value.offset == case.offset


@every_machine
def test_every_later_feed_raises_the_same_and_the_traceback_does_not_grow(case: Case) -> None:
    machine = case.make()
    machine.feed(case.good)
    faults, depths = [], []
    for _ in range(5):
        with pytest.raises(RemoteProtocolError) as raised:
            machine.feed(case.bad)
        faults.append(raised.value)
        depths.append(len(traceback.extract_tb(raised.value.__traceback__)))
    assert all(fault is machine.fault for fault in faults)
    assert len(set(depths)) == 1


@every_machine
def test_close_after_a_fault_was_raised_returns_nothing(case: Case) -> None:
    machine = case.make()
    machine.feed(case.good)
    with pytest.raises(RemoteProtocolError):
        machine.feed(case.bad)
    assert machine.close() == case.nothing
    assert machine.close() == case.nothing


@with_results
def test_close_raises_a_fault_that_was_not_raised_yet(case: Case) -> None:
    machine = case.make()
    machine.feed(case.good + case.bad)
    with pytest.raises(RemoteProtocolError) as raised:
        machine.close()
    assert raised.value is machine.fault
    assert machine.close() == case.nothing


@with_results
def test_bytes_after_a_fault_are_discarded(case: Case) -> None:
    machine = case.make()
    machine.feed(case.good + case.bad)
    with pytest.raises(RemoteProtocolError):
        machine.feed(case.good)
    assert machine.close() == case.nothing


@every_machine
def test_close_twice_is_close_once(case: Case) -> None:
    assert_closed(case.make(), case.nothing)


def assert_closed(machine: Any, nothing: Any) -> None:
    with contextlib.suppress(RemoteProtocolError):  # of a body that has not ended
        machine.close()
    assert machine.close() == nothing
    with pytest.raises(LocalProtocolError):
        machine.feed(b"")


@with_results
def test_feed_after_close_is_the_callers_fault(case: Case) -> None:
    machine = case.make()
    assert machine.feed(case.good) == case.results
    assert_closed(machine, case.nothing)
    assert not isinstance(machine.fault, LocalProtocolError)


def test_detector_obeys_as_well() -> None:
    detector = detect.Detector()
    assert detector.close() is None
    assert detector.close() is None
    with pytest.raises(LocalProtocolError):
        detector.feed(b"{}")


def test_a_limit_says_what_it_is() -> None:
    machine = sse.Decoder(max_event_bytes=3)
    with pytest.raises(LimitExceeded) as raised:
        machine.feed(b"data")
    assert raised.value.limit == 3
