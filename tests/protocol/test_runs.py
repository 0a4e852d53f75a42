"""`runs`: three framings, one form."""

import pytest

import feeding
from penstock.protocol.runs import runs


@pytest.mark.parametrize(
    ("framing", "data", "expected"),
    [
        ("sse", b"data: a\r\n\r\ndata: b", b"data: a\n\ndata: b\n"),
        ("ndjson", b'{"a":1}\n\n{"b":\r2}\r\n{"c":3}', b'data: {"a":1}\n\ndata: {"b": 2}\n\ndata: {"c":3}'),
        ("json", b'\n\n{\n"a":\r\n1}\n', b'data: { "a":  1}'),
        ("json", b'\xef\xbb\xbf{"a":1}', b'data: {"a":1}'),
        ("json", b" \n", b""),
    ],
)
def test_whatever_comes_leaves_as_events(framing, data, expected):
    assert feeding.same_for_every_cut(lambda: runs(framing, 100), data).results == (expected or None)


@pytest.mark.parametrize(
    ("framing", "kind"), [("sse", "event_too_large"), ("ndjson", "line_too_long"), ("json", "answer_too_large")]
)
def test_c44_an_event_that_never_ends_is_a_fault(framing, kind):
    found = feeding.same_for_every_cut(lambda: runs(framing, 10), b'{"a":"' + b"x" * 50)
    assert found.fault is not None
    assert found.fault[0] == kind


@pytest.mark.parametrize(
    ("framing", "data", "ends"), [("ndjson", b"{}\r\n\n[1]\n", [4, 9]), ("json", b"{}\n[1]\n", [7])]
)
def test_it_is_known_where_in_the_stream_an_event_ended(framing, data, ends):
    machine = runs(framing, 100)
    run = machine.feed(data)
    places = [at + 2 for at in range(len(run)) if run.startswith(b"\n\n", at)] or [len(machine.close())]
    assert [machine.end_of(place) for place in places] == ends
    assert machine.offset == len(data)
