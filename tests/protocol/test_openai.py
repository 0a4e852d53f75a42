"""`dialects.openai` streams: bytes to events, events to bytes, and back again."""

import json

import pytest

import feeding
from chat_streams import ROLE, chunk, sse, told
from penstock.protocol.chat import (
    End,
    Failed,
    Finish,
    Reasoning,
    Refusal,
    Start,
    Text,
    ToolCall,
    Usage,
)
from penstock.protocol.dialects import DIALECTS, openai
from penstock.protocol.errors import LocalProtocolError

START = Start("chatcmpl-1", "org/model-a", 1760000000)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Decoding:
    """A decoder as `feeding` drives machines; it has no faults, for they are events."""

    fault = None

    def __init__(self, **options):
        decoder = openai.StreamDecoder(**options)
        self.feed, self.close = decoder.feed, decoder.close


def decoded(stream, **options):
    return feeding.same_for_every_cut(lambda: Decoding(**options), stream).results


STREAMS = {
    "text, reasoning, refusal": (
        sse(
            chunk(ROLE),
            chunk({"reasoning": "hm"}),
            chunk({"content": "Привет"}),
            chunk({"refusal": "no"}),
            chunk({}, "eos"),
        ),
        [START, Reasoning("hm"), Text("Привет"), Refusal("no"), Finish(0, "stop"), End()],
    ),
    "tools and usage": (
        sse(
            chunk(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}],
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}),
            chunk({}, "stop"),
            {"choices": [], "usage": USAGE},
        ),
        [
            START,
            ToolCall(0, 0, "a", "f", "{"),
            ToolCall(0, 0, "", "", "}"),
            Finish(0, "tool_calls"),
            Usage(3, 2, 5, raw=USAGE),
            End(),
        ],
    ),
    "a custom tool": (
        sse(
            chunk(
                {
                    **ROLE,
                    "tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}],
                }
            )
        ),
        [START, ToolCall(0, 0, "a", "f", "x"), End()],
    ),
    "two choices": (
        sse(chunk(ROLE), chunk({**ROLE, "content": "b"}, index=1)),
        [START, Text("b", 1), End()],
    ),
    "truncated": (
        sse(chunk({"content": "a"}), done=False),
        [START, Text("a"), Failed("the upstream closed the connection before its answer was complete")],
    ),
    "empty": (b"", [Failed("the upstream sent an empty answer")]),
    "an error": (sse({"error": "boom"}), [Failed("boom", native={"error": "boom"})]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_becomes_events_and_the_last_says_how_it_ended(name):
    stream, events = STREAMS[name]
    assert decoded(stream) == events


def test_a_decoder_can_be_failed_from_outside_and_is_over_then():
    decoder = openai.StreamDecoder()
    failed = Failed("gone")
    assert decoder.fail(failed) == [failed]
    assert decoder.fail(Failed("again")) == decoder.feed(b"data: x\n\n") == decoder.close() == decoder.close() == []
    with pytest.raises(LocalProtocolError):
        decoder.feed(b"")


EVENTS = [
    START,
    Reasoning("hm"),
    Text("日本 \u2028"),
    Text("b", 1),
    Refusal("no", 1),
    ToolCall(0, 0, "a", "f", '{"x"'),
    ToolCall(0, 0, "", "", ":1}"),
    Finish(0, "tool_calls"),
    Finish(1, "length"),
    Usage(3, 2, 5, cached=1, reasoning=1),
    End(),
]


def test_a_decoder_says_whether_it_has_ended_and_how():
    decoder = openai.StreamDecoder()
    decoder.feed(sse(chunk({"content": "a"}), done=False))
    assert (decoder.ended, decoder.ending) == (False, None)
    decoder.feed(b"data: [DONE]\n\n")
    assert (decoder.ended, str(decoder.ending)) == (True, "completed")


def test_events_become_the_canonical_stream():
    stream = openai.StreamEncoder(include_usage=True).encode(EVENTS)
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x"'}}
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert told(stream) == [
        (0, ROLE, None),
        (0, {"reasoning_content": "hm"}, None),
        (0, {"content": "日本 \u2028"}, None),
        (1, ROLE, None),
        (1, {"content": "b"}, None),
        (1, {"refusal": "no"}, None),
        (0, {"tool_calls": [call]}, None),
        (0, {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}, None),
        (0, {}, "tool_calls"),
        (1, {}, "length"),
        ("usage", usage),
        "[DONE]",
    ]
    assert json.loads(stream.split(b"\n\n")[0][6:])["object"] == "chat.completion.chunk"


def test_what_was_encoded_decodes_to_the_same_events():
    stream = openai.StreamEncoder(include_usage=True).encode(EVENTS)
    events = decoded(stream)
    assert [event for event in events if not isinstance(event, Usage)] == [
        e for e in EVENTS if not isinstance(e, Usage)
    ]
    assert [event[:5] for event in events if isinstance(event, Usage)] == [(3, 2, 5, 1, 1)]


def test_usage_alone_is_told_only_if_asked_for_and_the_upstream_s_own_words_stay():
    raw = {**USAGE, "cost": 1.5}
    usage = [Usage(3, 2, 5, raw=raw), End()]
    assert told(openai.StreamEncoder(include_usage=True).encode(usage)) == [("usage", raw), "[DONE]"]
    assert told(openai.StreamEncoder().encode(usage)) == ["[DONE]"]
    assert told(openai.StreamEncoder(include_usage=True).encode([End()])) == ["[DONE]"]


def test_c24_c28_nothing_follows_an_error_or_the_end():
    encoder = openai.StreamEncoder(id="own", created=5, model="m")
    assert told(encoder.encode([Text("a"), Failed("boom"), Text("b"), End()]))[2:] == [("error", "upstream_error")]
    assert encoder.encode([End()]) == b""


def test_the_rows_of_the_dialect_table_are_whole():
    for dialect in DIALECTS.values():
        assert dialect.encoder.content_type
        assert json.loads(dialect.encode_error(Failed("boom"))[1])["error"]


def test_what_is_no_chunk_is_nothing_to_learn_from():
    passage = openai.Passage()
    for block in (
        b": comment",
        b"data: {oops",
        b"data: 5",
        b'data: {"error":"x"}',
        b'event: error\ndata: {"choices":[]}',
    ):
        assert passage._mend(block) is None
