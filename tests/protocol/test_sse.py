"""Server-sent events: the WHATWG text case by case, against a slow reference, in every cut, and the way back."""

from __future__ import annotations

import contextlib
import random
import re
import tracemalloc
from typing import Any

import pytest

import feeding
from penstock.protocol import sse
from penstock.protocol.errors import LimitExceeded, LocalProtocolError
from penstock.protocol.sse import Comment, Event

BOM = b"\xef\xbb\xbf"


def reference(data: bytes) -> tuple[list[Event | Comment], str, int | None]:
    """The WHATWG algorithm on the whole input at once: events and comments, last event id, retry."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    results: list[Event | Comment] = []
    buffer, kind, id_buffer, last_id, retry = "", "", "", "", None
    lines = re.split("\r\n|\r|\n", text)
    for line in lines[:-1]:
        if line == "":
            last_id = id_buffer
            if buffer:
                results.append(Event(buffer.removesuffix("\n"), kind or "message", last_id))
            buffer = kind = ""
        elif line.startswith(":"):
            results.append(Comment(line[1:].removeprefix(" ")))
        else:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                kind = value
            elif field == "data":
                buffer += value + "\n"
            elif field == "id" and "\0" not in value:
                id_buffer = value
            elif field == "retry" and re.fullmatch("[0-9]{1,15}", value):
                retry = int(value)
    return results, last_id, retry


STREAMS: dict[str, tuple[bytes, list[Event | Comment]]] = {
    "chat chunks": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [Event('{"a":1}'), Event("[DONE]")]),
    # The WHATWG text's own examples.
    "three lines": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("YHOO\n+2\n10")]),
    "four blocks": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [Comment("test stream"), Event("first event", id="1"), Event("second event"), Event(" third event")],
    ),
    "empty data": (b"data\n\ndata\ndata\n\ndata:", [Event(""), Event("\n")]),
    "space or none": (b"data:test\n\ndata: test\n\n", [Event("test"), Event("test")]),
    # Line ends.
    "unicode line ends are text": (
        "data: a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\n".encode(),
        [Event("a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg")],
    ),
    # Fields.
    "unknown fields": (b"foo: 1\ndata: x\nDATA: y\n data: z\ndata : w\n\n", [Event("x")]),
    "no event without data": (b"event: a\n\nid: 1\n\nretry: 5\n\n\n\nfoo\n\n", []),
    "type is forgotten": (b"event: a\ndata: 1\n\ndata: 2\n\n", [Event("1", "a"), Event("2")]),
    "type is forgotten without data": (b"event: a\n\ndata: 2\n\n", [Event("2")]),
    "type given twice": (b"event: a\nevent: b\ndata: 1\n\n", [Event("1", "b")]),
    "empty type": (b"event\ndata: 1\n\nevent:\ndata: 2\n\n", [Event("1"), Event("2")]),
    "id stays": (b"id: 7\ndata: a\n\ndata: b\n\n", [Event("a", id="7"), Event("b", id="7")]),
    "id without data counts": (b"id: 7\n\ndata: b\n\n", [Event("b", id="7")]),
    "id is taken back": (b"id: 7\ndata: a\n\nid\ndata: b\n\n", [Event("a", id="7"), Event("b")]),
    "id with NUL": (b"id: 7\nid: 8\0\ndata: a\n\n", [Event("a", id="7")]),
    "id after data": (b"data: a\nid: 9\n\n", [Event("a", id="9")]),
    "NUL in data": (b"data: a\0b\n\n", [Event("a\0b")]),
    "colon in data": (b"data: a: b\ndata::c\n\n", [Event("a: b\n:c")]),
    "two spaces": (b"data:  a \n\n", [Event(" a ")]),
    "tab is no space": (b"data:\ta\n\n", [Event("\ta")]),
    # Encoding.
    "byte order mark": (BOM + b"data: a\n\n", [Event("a")]),
    "two byte order marks": (BOM + BOM + b"data: a\n\ndata: b\n\n", [Event("b")]),
    "late byte order mark": (b"\n" + BOM + b"data: a\n\n", []),
    "byte order mark in data": (b"data: " + BOM + b"a\n\n", [Event("\ufeffa")]),
    "half a byte order mark": (b"\xef\xbbdata: a\n\ndata: b\n\n", [Event("b")]),
    "invalid UTF-8": (b"data: a\xffb\ndata: \xe2\x82\ndata: c\n\n", [Event("a\ufffdb\n\ufffd\nc")]),
    "invalid UTF-8 in one line": (b"data: a\xf0\x9f\n\ndata: b\n\n", [Event("a\ufffd"), Event("b")]),
    "many scripts": ("data: жে😀\nevent: é\nid: ü\n\n".encode(), [Event("жে😀", "é", "ü")]),
    # Ends.
    "no blank line": (b"data: a\n\ndata: b\n", [Event("a")]),
    "no line end": (b"data: a\n\ndata: b", [Event("a")]),
    "nothing": (b"", []),
    "only blank lines": (b"\n\n\r\r\n\n", []),
}


def with_comments() -> sse.Decoder:
    return sse.Decoder(comments=True)


@pytest.mark.parametrize(("data", "results"), STREAMS.values(), ids=STREAMS)
def test_c35_c36_events_in_any_cut(data: bytes, results: list[Event | Comment]) -> None:
    assert reference(data)[0] == results
    assert feeding.same_for_every_cut(with_comments, data) == (results or None, None)
    events = [result for result in results if isinstance(result, Event)]
    assert feeding.same_for_every_cut(sse.Decoder, data) == (events or None, None)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(("data", "results"), STREAMS.values(), ids=STREAMS)
def test_c37_line_ends(data: bytes, results: list[Event | Comment], end: bytes) -> None:
    other = data.replace(b"\r", b"\n").replace(b"\n", end)
    assert feeding.same_for_every_cut(with_comments, other) == (results or None, None)


def test_c37_line_ends_in_any_mix() -> None:
    choose = random.Random(3)
    lines = [b"data: a", b"data", b": c", b"id: 1", b"event: t", b"", b"", b""]
    for _ in range(200):
        data = b"".join(choose.choice(lines) + choose.choice([b"\n", b"\r\n", b"\r"]) for _ in range(12))
        expected, last_id, _ = reference(data)
        assert feeding.outcome(with_comments(), feeding.bytewise(data)).results == (expected or None)
        decoder = with_comments()
        assert decoder.feed(data) == expected
        assert decoder.last_event_id == last_id


def test_agrees_with_the_reference_on_anything() -> None:
    choose = random.Random(5)
    alphabet = [b"data: ", b"data", b":", b" ", b"\n", b"\n\n", b"\r", b"\r\n", b"x", b"id: ", b"event: ", b"\0"]
    alphabet += [b"\xff", "ж".encode(), BOM, b"retry: 12\n", b"data: y\n\n"]
    for _ in range(1500):
        data = b"".join(choose.choices(alphabet, k=choose.randint(1, 25)))
        results, last_id, retry = reference(data)
        for chunks in [[data], feeding.bytewise(data), *feeding.random_splits(data, 2, choose.random())]:
            decoder = with_comments()
            assert feeding.outcome(decoder, chunks) == (results or None, None), chunks
            assert (decoder.last_event_id, decoder.retry) == (last_id, retry), chunks


def test_c38_exactly_one_space_is_removed() -> None:
    data = b"data:{}\n\ndata: {}\n\ndata:  {}\n\n"
    assert feeding.same_for_every_cut(sse.Decoder, data).results == [Event("{}"), Event("{}"), Event(" {}")]


def test_c39_comments_are_never_data() -> None:
    data = b": first\n\n:\n::\n: two\ndata: a\n: within\n:408: x\ndata: b\n\n:last\n"
    comments = [Comment("first"), Comment(""), Comment(":"), Comment("two"), Comment("within"), Comment("408: x")]
    found = feeding.same_for_every_cut(with_comments, data)
    assert found == ([*comments, Event("a\nb"), Comment("last")], None)
    assert feeding.same_for_every_cut(sse.Decoder, data) == ([Event("a\nb")], None)


def test_c41_empty_and_control_only_events() -> None:
    data = b"retry: 3000\n\nid: 4\n\nevent: ping\n\ndata:\n\ndata: x\n\n"
    assert feeding.same_for_every_cut(sse.Decoder, data).results == [Event("", id="4"), Event("x", id="4")]


def test_c43_a_large_event_passes() -> None:
    decoder = sse.Decoder()
    text = "x" * (4 << 20)
    data = f"data: {text}\n\ndata: next\n\n".encode()
    chunks = [data[at : at + 1460] for at in range(0, len(data), 1460)]
    assert feeding.outcome(decoder, chunks) == ([Event(text), Event("next")], None)


LIMIT = 20
LIMITED: dict[str, tuple[bytes, list[str], int | None]] = {
    "just fits": (b"data: 345678901234\n\n", ["345678901234"], None),
    "one too many": (b"data: 3456789012345\n\n", [], LIMIT),
    "no end": (b"data: 345678901234567890", [], LIMIT),
    "after others": (b"data: a\n\ndata: b\n\ndata: 3456789012345\n\n", ["a", "b"], 18 + LIMIT),
    "CRLF counts": (b"data: 345678901\r\n\r\ndata: b\r\n\r\n", ["345678901", "b"], None),
    "CRLF is too many": (b"data: 34567890123\r\n\r\n", ["34567890123"], None),
    "CRLF is one more": (b"data: 345678901234\r\n\r\n", [], LIMIT),
    "the LF of a CRLF is the one too many": (b"data: 3456789\nid:\r\ndata\n\n", [], LIMIT),
    "many lines": (b"data\ndata\ndata\ndata\n\n", [], LIMIT),
    "comments within": (b"data: a\n: 34567890123\n\n", [], LIMIT),
    "comments between": (b": 345678901234\n" * 5 + b"data: 345678901234\n\n", ["345678901234"], None),
    "blank lines between": (b"\n" * 50 + b"data: 345678901234\r\r\n\n\ndata: a\n\n", ["345678901234", "a"], None),
    "a comment that fits": (b": 3456789012345678\r\ndata: b\n\n", ["b"], None),
    "a long comment": (b"data: a\n\n: 34567890123456789012\n\n", ["a"], 9 + LIMIT),
    "a comment without end": (b": 3456789012345678901", [], LIMIT),
    "byte order mark is not of the event": (BOM + b"data: 345678901234\n\n", ["345678901234"], None),
    "byte order mark, one too many": (BOM + b"data: 3456789012345\n\n", [], 3 + LIMIT),
    "after CR": (b"data: a\r\r\ndata: 345678901234\r\r\ndata: 3456789012345\n\n", ["a", "345678901234"], 31 + LIMIT),
}


@pytest.mark.parametrize(("data", "texts", "offset"), LIMITED.values(), ids=LIMITED)
def test_c44_the_limit_counts_raw_bytes_wherever_the_cuts_fall(
    data: bytes, texts: list[str], offset: int | None
) -> None:
    found = feeding.same_for_every_cut(lambda: sse.Decoder(LIMIT), data)
    assert found.fault == (None if offset is None else ("event_too_large", offset))
    assert [event.data for event in found.results or []] == texts


def test_a_comment_before_the_fault_is_not_lost() -> None:
    found = feeding.same_for_every_cut(lambda: sse.Decoder(10, comments=True), b": a\ndata\n: b\n: cdefgh\n\n")
    assert found == ([Comment("a"), Comment("b")], ("event_too_large", 14))


def test_a_mark_that_is_none_counts() -> None:
    assert feeding.same_for_every_cut(lambda: sse.Decoder(1), BOM[:2]) == (None, ("event_too_large", 1))


def test_c44_an_event_that_never_ends_is_not_kept() -> None:
    for line in (b"x" * 50, b"data: x\n" * 7):
        decoder = sse.Decoder(max_event_bytes=1000)
        for _ in range(100):
            with contextlib.suppress(LimitExceeded):
                decoder.feed(line)
            held = len(decoder._held) + len(decoder._data)
            assert held <= 1000 + len(line)
        assert decoder.fault is not None
        assert held == 0


def test_c44_an_open_event_of_many_lines_takes_no_more_memory_than_its_bytes() -> None:
    decoder = sse.Decoder()
    piece = b"data:\xff\n" * 200
    tracemalloc.start()
    for _ in range(200):
        decoder.feed(piece)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 200 * len(piece)
    assert decoder.feed(b"\n") == [Event("\n".join(["\ufffd"] * 40_000))]


@pytest.mark.parametrize("piece", [1, 64, 1460])
def test_c45_work_is_linear_in_the_bytes(piece: int) -> None:
    line = b"data: " + b"x" * 20_000
    assert feeding.work(after_bom(sse.Decoder()), line, piece) <= 2 * len(line)


def after_bom(machine: Any) -> Any:
    """A machine that has decided that there is no byte order mark."""
    machine.feed(b"\n")
    return machine


def test_results_come_with_the_byte_that_completes_them() -> None:
    for data, places in [
        (b"data: a\n\ndata: b\n\n", [8, 17]),
        (b"data: a\r\rdata: b\r\r", [8, 17]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [9, 20]),
        (BOM + b"data: a\n\n", [11]),
        (b"data: a\n\r\n:\n", [8]),
    ]:
        decoder = sse.Decoder()
        assert [at for at, byte in enumerate(feeding.bytewise(data)) if decoder.feed(byte)] == places


def test_comments_come_with_their_line_end() -> None:
    decoder = with_comments()
    assert decoder.feed(b"data: a\n: b") == []
    assert decoder.feed(b"\r") == [Comment("b")]
    assert decoder.feed(b"\n\r") == [Event("a")]


RETRIES = {
    b"3000": 3000,
    b"0": 0,
    b"007": 7,
    b"9" * 15: 10**15 - 1,
    b"0" * 5000 + b"1": 1,
    b"9" * 16: None,
    b"9" * 5000: None,
    b"": None,
    b"-1": None,
    b"+1": None,
    b"1.5": None,
    b"1_0": None,
    b" 1": None,  # one space was removed before
    b"1 ": None,
    "١٢".encode(): None,
    "²".encode(): None,
}


@pytest.mark.parametrize(("value", "retry"), RETRIES.items(), ids=range(len(RETRIES)))
def test_retry_is_ascii_digits_of_bounded_length(value: bytes, retry: int | None) -> None:
    for chunks in feeding.cuts(b"retry: " + value + b"\n", splits=100):
        decoder = sse.Decoder()
        assert feeding.outcome(decoder, chunks) == (None, None)
        assert decoder.retry == retry


def test_retry_takes_effect_at_once_and_an_id_at_dispatch() -> None:
    decoder = sse.Decoder()
    decoder.feed(b"retry: 10\nid: 1\ndata: a\n")
    assert (decoder.retry, decoder.last_event_id) == (10, "")
    assert decoder.feed(b"\n") == [Event("a", id="1")]
    assert decoder.last_event_id == "1"
    decoder.feed(b"id: 2\ndata: b\n")
    assert decoder.close() == []
    assert decoder.last_event_id == "1"


# What an unterminated end becomes: the events, and whether something was dropped (only when discarding).
ENDS: dict[str, tuple[bytes, list[Event | Comment], bool]] = {
    "whole": (b"data: a\n\n", [], False),
    "no blank line": (b"data: b\n", [Event("b")], True),
    "no line end": (b"data: b", [Event("b")], True),
    "CR": (b"data: b\r", [Event("b")], True),
    "part of a name": (b"dat", [], True),
    "only a type": (b"event: x\n", [], True),
    "a comment": (b": c\n", [], False),
    "an unfinished comment": (b": c", [Comment("c")], False),
    "an unfinished comment in an event": (b"data: b\n: c", [Comment("c"), Event("b")], True),
    "id and type": (b"id: 5\nevent: t\ndata: b", [Event("b", "t", "5")], True),
    "blank lines": (b"\n\r\n", [], False),
}


@pytest.mark.parametrize(("end", "events", "dropped"), ENDS.values(), ids=ENDS)
def test_an_unterminated_end_is_discarded_or_dispatched(
    end: bytes, events: list[Event | Comment], dropped: bool
) -> None:
    data = b"data: a\n\n" + end
    first: list[Event | Comment] = [Event("a"), *([Event("a")] if end == b"data: a\n\n" else [])]
    for chunks in feeding.cuts(data):
        decoder = sse.Decoder()
        assert feeding.outcome(decoder, chunks) == (first, None)
        assert decoder.dropped is dropped
        decoder = sse.Decoder(incomplete="dispatch", comments=True)
        found = feeding.outcome(decoder, chunks).results
        assert [result for result in found if result != Comment("c")] == first + [
            event for event in events if event != Comment("c")
        ]
        assert (Comment("c") in found) is (b": c" in end)
        assert decoder.dropped is False
    assert decoder.last_event_id == ("5" if b"id: 5" in end else "")


def test_part_of_a_byte_order_mark_is_an_open_event() -> None:
    decoder = sse.Decoder()
    assert feeding.outcome(decoder, [BOM[:2]]) == (None, None)
    assert decoder.dropped is True


def test_incomplete_is_one_of_two_words() -> None:
    wrong: Any = "keep"
    with pytest.raises(ValueError, match="'discard' or 'dispatch'"):
        sse.Decoder(incomplete=wrong)


def test_the_quick_way_and_the_general_way_say_the_same() -> None:
    plain = b'data: {"a":1}\n\n' * 7
    odd = [b"event: x\ndata: y\n\n", b": c\n\n", b"\n", b"data:z\n\n", b"data: p\ndata: q\n\n", b"id: 3\ndata: r\n\n"]
    for one in odd:
        for data in (one + plain, plain + one, plain + one + plain, BOM + plain + one):
            assert feeding.same_for_every_cut(with_comments, data).results == reference(data)[0]


# --- the way back ---

ENCODED: dict[str, tuple[Event, bytes]] = {
    "data": (Event("x"), b"data: x\n\n"),
    "JSON": (Event('{"a":1}'), b'data: {"a":1}\n\n'),
    "empty": (Event(""), b"data: \n\n"),
    "lines": (Event("a\nb\n\nc"), b"data: a\ndata: b\ndata: \ndata: c\n\n"),
    "only a line end": (Event("\n"), b"data: \ndata: \n\n"),
    "leading space": (Event("  a"), b"data:   a\n\n"),
    "looks like a field": (Event("id: 1\n: b"), b"data: id: 1\ndata: : b\n\n"),
    "type and id": (Event("x", "t: y", " 7"), b"event: t: y\nid:  7\ndata: x\n\n"),
    "scripts": (Event("жে😀\u2028\x85\0", "é"), "event: é\ndata: жে😀\u2028\x85\0\n\n".encode()),
    "NUL in type": (Event("x", "a\0"), b"event: a\0\ndata: x\n\n"),
    "byte order mark": (Event("\ufeff"), b"data: " + BOM + b"\n\n"),
}


@pytest.mark.parametrize(("event", "data"), ENCODED.values(), ids=ENCODED)
def test_encode_then_decode_is_the_identity(event: Event, data: bytes) -> None:
    assert sse.encode(event) == data
    assert feeding.same_for_every_cut(sse.Decoder, data).results == [event]


REFUSED = {
    "CR in data": Event("a\rid: 1"),
    "CRLF in data": Event("a\r\nb"),
    "LF in type": Event("x", "a\ndata: b"),
    "CR in type": Event("x", "a\rdata: b"),
    "no type": Event("x", ""),
    "LF in id": Event("x", id="1\n\ndata: y"),
    "CR in id": Event("x", id="1\r"),
    "NUL in id": Event("x", id="1\0"),
    "lone surrogate in data": Event("\ud83d"),
    "lone surrogate in type": Event("x", "\udc00"),
    "lone surrogate in id": Event("x", id="\udc00"),
}


@pytest.mark.parametrize("event", REFUSED.values(), ids=REFUSED)
def test_encode_cannot_be_made_to_inject_a_field(event: Event) -> None:
    with pytest.raises(LocalProtocolError):
        sse.encode(event)


def test_encode_says_retry() -> None:
    data = sse.encode(Event("x", id="1"), retry=1500)
    assert data == b"id: 1\nretry: 1500\ndata: x\n\n"
    decoder = sse.Decoder()
    assert decoder.feed(data) == [Event("x", id="1")]
    assert decoder.retry == 1500
    wrongs: list[Any] = [-1, 10**15, 1.5, True, "1"]
    for wrong in wrongs:
        with pytest.raises(LocalProtocolError):
            sse.encode(Event("x"), retry=wrong)


@pytest.mark.parametrize("text", ["keep-alive", "", " two spaces", ": colon", "a\0", "жে😀"])
def test_encode_comment_then_decode_is_the_identity(text: str) -> None:
    data = sse.encode_comment(text)
    assert data == f": {text}\n\n".encode()
    assert feeding.same_for_every_cut(with_comments, data).results == [Comment(text)]


@pytest.mark.parametrize("text", ["a\ndata: b", "a\rb", "\ud83d"])
def test_encode_comment_cannot_be_made_to_inject_a_field(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        sse.encode_comment(text)
