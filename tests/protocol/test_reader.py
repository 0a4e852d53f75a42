"""An answer read into events: whatever the upstream really sends."""

from __future__ import annotations

import pytest

from chat_streams import chunk, ndjson, sse
from feeding import cuts
from penstock.protocol.chat import End, Ending, Event, Failed, Finish, Start, Text
from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.reader import Reader

HI = [Start("chatcmpl-1", "org/model-a", 1760000000), Text("hi"), Finish(0, "stop"), End()]
STREAM = sse(chunk({"content": "hi"}), chunk({}, "stop"))
LINES = ndjson(chunk({"content": "hi"}), chunk({}, "stop"))
DOCUMENT = (
    b'{"id":"chatcmpl-1","created":1760000000,"model":"org/model-a",\n "choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
)


def read(reader: Reader, chunks: list[bytes]) -> list[Event]:
    events = [event for piece in chunks for event in reader.feed(piece)] + reader.close()
    assert reader.close() == []
    return events


@pytest.mark.parametrize("body", [STREAM, LINES, DOCUMENT], ids=["SSE", "NDJSON", "JSON"])
@pytest.mark.parametrize("content_type", [None, "text/event-stream", "application/json"])
def test_the_bytes_say_what_it_is(body: bytes, content_type: str | None) -> None:
    for chunks in cuts(body):
        reader = Reader("openai", content_type=content_type)
        assert read(reader, chunks) == HI
        assert (reader.ending, reader.failed, reader.ended) == (Ending("completed"), None, True)
        assert reader.stats.bytes_in == len(body)


def test_an_event_comes_with_its_last_byte_and_the_end_with_its_marker() -> None:
    reader = Reader("openai")
    first = sse(chunk({"content": "hi"}), done=False)
    assert reader.feed(first[:-1]) == []
    assert not reader.ended
    assert reader.feed(first[-1:]) == HI[:2]
    assert reader.feed(STREAM[len(first) :]) == HI[2:]
    assert reader.ended


def test_what_is_cut_off_is_truncated() -> None:
    reader = Reader("openai")
    *events, last = read(reader, [sse(chunk({"content": "hi"}), done=False)])
    assert events == HI[:2]
    assert isinstance(last, Failed)
    assert reader.ending == Ending("truncated")
    assert reader.failed == last


@pytest.mark.parametrize("nothing", [[], [b""], [b"\n", b" "]])
def test_nothing_is_a_failure(nothing: list[bytes]) -> None:
    reader = Reader("openai")
    assert (reader.ending, reader.failed, reader.usage) == (None, None, None)
    (last,) = read(reader, nothing)
    assert isinstance(last, Failed)
    assert reader.ending == Ending("failed")


def test_usage_is_what_the_upstream_counted() -> None:
    counts = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    reader = Reader("openai")
    read(reader, [sse(chunk({"content": "hi"}), chunk({}, "stop"), {**chunk(), "choices": [], "usage": counts})])
    assert reader.usage is not None
    assert (reader.usage.prompt, reader.usage.completion) == (2, 3)


def test_no_feeding_after_the_end() -> None:
    reader = Reader("openai")
    reader.close()
    with pytest.raises(LocalProtocolError):
        reader.feed(b"x")


@pytest.mark.parametrize("body", [b"{}", b'{"error":"no"}\n'])
def test_what_is_known_only_at_the_end(body: bytes) -> None:
    """A document too short to be told from a line."""
    reader = Reader("openai", content_type="application/json")
    (last,) = read(reader, [body])
    assert isinstance(last, Failed)
