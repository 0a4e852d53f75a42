"""`dialects.anthropic`: its streams, read and passed on."""

import json

import pytest

import anthropic_streams
from anthropic_streams import USAGE, about, block, event, start, stream
from chat_streams import MULTILINGUAL, ROLE, relayed
from penstock.protocol.chat import End, Failed, Finish, Reasoning, Start, Text, ToolCall
from penstock.protocol.dialects import anthropic
from penstock.protocol.dialects.source import MAX_TOOL_CALLS
from penstock.protocol.relay import Relay

HI = block(0, "text", "Hi")
HI_TOLD = [(0, ROLE, None), (0, {"content": "Hi"}, None), (0, {}, "stop"), "[DONE]"]
BROKEN = [*HI_TOLD[:2], ("error", "upstream_error")]
COUNTS = {**USAGE, "output_tokens": 89}


def events(data, framing="sse"):
    decoder = anthropic.StreamDecoder(framing, id="own", created=7, model="own")
    return [*decoder.feed(data), *decoder.close()]


def body(data):
    """The events between `Start` and what says how many tokens there were."""
    begin, *rest, _, end = events(data)
    assert (type(begin), end) == (Start, End())
    return rest


# -- events -----------------------------------------------------------------------------------------------


def test_blocks_become_events_in_their_order():
    found = events(
        stream(
            block(0, "thinking", "Let ", "me", signature="EqQB"),
            block(1, "redacted_thinking", data="opaque"),
            block(2, "text", "Hi", "!"),
            block(3, "tool_use", "", '{"x":', "1}", id="toolu_1", name="f"),
            block(4, "tool_use", id="toolu_2", name="g"),
            reason="tool_use",
        )
    )
    assert found[:-2] == [
        Start("msg_1", "claude-a", 7),
        Reasoning("Let "),
        Reasoning("me"),
        Reasoning("", signature="EqQB"),
        Reasoning("", signature="redacted_thinking:opaque"),
        Text("Hi"),
        Text("!"),
        ToolCall(0, 0, "toolu_1", "f", ""),
        ToolCall(0, 0, "", "", '{"x":'),
        ToolCall(0, 0, "", "", "1}"),
        ToolCall(0, 1, "toolu_2", "g", ""),
        ToolCall(0, 1, "", "", "{}"),
        Finish(0, "tool_calls"),
    ]
    assert found[-2][:5] == (30, 89, 119, 3, 0)
    assert (found[-2].raw, found[-1]) == (COUNTS, End())


SAID = {
    "text in the start": (block(0, "text", text="Hi"), [Text("Hi")]),
    "thinking in the start": (
        block(0, "thinking", thinking="hm", signature="") + block(1, "text", "Hi"),
        [Reasoning("hm"), Text("Hi")],
    ),
    "a signature in the start": (
        event("content_block_start", index=0, content_block={"type": "thinking", "signature": "sig"}),
        [Reasoning("", signature="sig")],
    ),
    "the last signature counts, as in the vendor's client": (
        event("content_block_start", index=0, content_block={"type": "thinking"})
        + event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "a"})
        + event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "b"}),
        [Reasoning("", signature="b")],
    ),
    "arguments in the start": (
        block(0, "tool_use", id="a", name="f", input={"é": [1]}),
        [ToolCall(0, 0, "a", "f", ""), ToolCall(0, 0, "", "", '{"é":[1]}')],
    ),
    "arguments that are no object": (
        block(0, "tool_use", id="a", name="f", input="x"),
        [ToolCall(0, 0, "a", "f", ""), ToolCall(0, 0, "", "", "{}")],
    ),
    "no block was started": (
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"})
        + event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"})
        + event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "{}"})
        + event("content_block_stop", index=5),
        [Text("Hi"), Reasoning("hm")],
    ),
    "no block was stopped": (
        event("content_block_start", index=0, content_block={"type": "tool_use", "id": "a", "name": "f"})
        + event("content_block_start", index=1, content_block={"type": "thinking", "signature": "s"}),
        [ToolCall(0, 0, "a", "f", ""), ToolCall(0, 0, "", "", "{}"), Reasoning("", signature="s")],
    ),
    "an index used again": (
        event("content_block_start", index=0, content_block={"type": "tool_use", "id": "a", "name": "f"}) + HI,
        [ToolCall(0, 0, "a", "f", ""), ToolCall(0, 0, "", "", "{}"), Text("Hi")],
    ),
    "what no other dialect knows": (
        block(0, "server_tool_use", id="s", name="web_search", input={"q": 1})
        + block(1, "web_search_tool_result", tool_use_id="s", content=[])
        + event("content_block_start", index=2, content_block={"type": "text", "text": ""})
        + event("content_block_delta", index=2, delta={"type": "citations_delta", "citation": {"url": "x"}})
        + event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "{}"})
        + event("content_block_delta", index=2, delta={"type": "text_delta", "text": "Hi"})
        + event("content_block_stop", index=2)
        + event("vendor_news", text="x")
        + block(3, "redacted_thinking"),
        [Text("Hi")],
    ),
    "members of other types": (
        event("content_block_start", index="0", content_block="x")
        + event("content_block_delta", index=0, delta=None)
        + event("content_block_delta", index=0, delta={"type": "text_delta", "text": 5})
        + event("content_block_stop")
        + HI,
        [Text("Hi")],
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_blocks_of_all_forms(name):
    data, expected = SAID[name]
    *found, finish = body(stream(data))
    calls = any(isinstance(event, ToolCall) for event in expected)
    assert (found, finish) == (expected, Finish(0, "tool_calls" if calls else "stop"))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("odd", "stop"),
    ],
)
def test_c57_stop_reasons(reason, expected):
    assert body(stream(HI, reason=reason))[-1] == Finish(0, expected)


def test_c54_counts_are_totals_and_one_left_out_changes_nothing():
    data = start() + HI + about(None, output_tokens=5, input_tokens=None)
    data += about("end_turn", output_tokens=9, cache_read_input_tokens=7, output_tokens_details={"thinking_tokens": 4})
    found = relayed(data + event("message_stop"), "anthropic")
    assert found.usage[:5] == (34, 9, 43, 7, 4)
    assert relayed(start(usage=None) + HI + event("message_stop"), "anthropic").usage is None
    many = b"".join(about(None, **{f"x{at}": at}) for at in range(99))
    assert relayed(start() + many + HI + event("message_stop"), "anthropic", splits=0).usage.raw == USAGE
    odd = {"input_tokens": "x", "output_tokens": -1, "output_tokens_details": 5}
    assert relayed(start(usage=odd) + HI + event("message_stop"), "anthropic").usage[:5] == (0, 0, 0, 0, 0)


def test_identity_is_the_upstreams_or_the_gateways():
    assert events(stream(HI))[0] == Start("msg_1", "claude-a", 7)
    assert events(start(id=None, model="") + HI)[0] == Start("own", "own", 7)
    assert events(HI)[0] == Start("own", "own", 7)


def test_c34_halves_of_characters_are_rejoined_and_lone_ones_replaced():
    data = stream(
        block(0, "thinking", "\ud83d", "\ude00", signature="s"),
        block(1, "text", "a\ud83d", "b", "\ud83d", "\ude00\ud83d"),
        block(2, "tool_use", "\ud83d", id="a", name="f"),
    )
    assert body(data)[:-1] == [
        Reasoning("😀"),
        Reasoning("", signature="s"),
        *map(Text, ["a", "\ufffdb", "😀", "\ufffd"]),
        ToolCall(0, 0, "a", "f", ""),
        ToolCall(0, 0, "", "", "\ufffd"),
    ]


def test_what_a_stream_makes_us_remember_is_bounded():
    calls = [block(at, "tool_use", "{}", id=f"c{at}", name="f") for at in range(MAX_TOOL_CALLS + 1)]
    never = [event("content_block_start", index=at, content_block={"type": "text"}) for at in range(MAX_TOOL_CALLS + 2)]
    for parts in (calls, never):
        *_, last = events(start() + b"".join(parts))
        assert isinstance(last, Failed)
    content = [{"type": "tool_use", "id": f"c{at}", "name": "f", "input": {}} for at in range(MAX_TOOL_CALLS + 9)]
    assert isinstance(anthropic.decode_response(json.dumps({"type": "message", "content": content}).encode()), Failed)


# -- to OpenAI --------------------------------------------------------------------------------------------


def test_c33_every_character_arrives_whatever_the_cut():
    data = stream(block(0, "text", *MULTILINGUAL))
    found = relayed(data, "anthropic", splits=len(data))
    assert "".join(delta.get("content", "") for _, delta, _ in found.told[:-1]) == "".join(MULTILINGUAL)
    assert (found.kind, found.usage[:3]) == ("completed", (30, 89, 119))


def test_c56_calls_have_an_index_of_their_own():
    parts = [block(0, "text", "Hi"), block(1, "tool_use", '{"a":', "1}", id="x", name="f")]
    found = relayed(stream(*parts, block(7, "tool_use", id="y", name="g"), reason="tool_use"), "anthropic").told
    calls = [delta["tool_calls"][0] for _, delta, _ in found[2:-2]]
    assert [call["index"] for call in calls] == [0, 0, 0, 1, 1]
    assert [call["function"]["arguments"] for call in calls] == ["", '{"a":', "1}", "", "{}"]
    assert [call.get("id") for call in calls] == ["x", None, None, "y", None]
    assert found[-2:] == [(0, {}, "tool_calls"), "[DONE]"]


def test_a_signature_has_no_place_in_openais_chunks():
    found = relayed(stream(block(0, "thinking", "hm", signature="sig"), HI), "anthropic").told
    assert found == [HI_TOLD[0], (0, {"reasoning_content": "hm"}, None), *HI_TOLD[1:]]


OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"}, request_id="req_1")
ENDINGS = {
    "whole": (stream(HI), "completed", HI_TOLD),
    "c37 CRLF": (stream(HI).replace(b"\n", b"\r\n"), "completed", HI_TOLD),
    "c36 no blank line at the end": (stream(HI)[:-2], "completed", HI_TOLD),
    "without event lines": (
        b"".join(line + b"\n\n" for line in stream(HI).splitlines() if line[:5] == b"data:"),
        "completed",
        HI_TOLD,
    ),
    "an empty answer": (start() + about() + event("message_stop"), "completed", [HI_TOLD[0], *HI_TOLD[2:]]),
    "after the end": (stream(HI) + stream(HI), "completed", HI_TOLD),
    "no message_stop": (start() + HI + about(), "completed", HI_TOLD),
    "no stop reason": (start() + HI + event("message_stop"), "completed", [*HI_TOLD[:2], "[DONE]"]),
    "c24 an error in mid-stream": (
        start() + HI + OVERLOADED,
        "failed",
        [*HI_TOLD[:2], ("error", "server_is_overloaded")],
    ),
    "an error in text": (start() + HI + b"event: error\ndata: boom\n\n", "failed", BROKEN),
    "c21 cut after a block": (start() + HI, "truncated", BROKEN),
    "c20 cut in a block": ((start() + HI)[:-60], "truncated", BROKEN),
    "c31 no JSON": (start() + HI + b"data: oops\n\n", "failed", BROKEN),
    "JSON in the place of a stream": (
        json.dumps(
            {
                "type": "message",
                "content": [{"type": "text", "text": "Hi"}],
                "stop_reason": "end_turn",
                "usage": USAGE,
            },
            indent=1,
        ).encode(),
        "completed",
        HI_TOLD,
    ),
    "JSON that is cut": (b'{"type":"message","content":[{"type', "failed", None),
    "c23 an error at once": (OVERLOADED, "failed", None),
    "an error after message_start": (start() + event("ping") + OVERLOADED, "failed", None),
    "c19 nothing": (b"", "failed", None),
    "c19 message_start and no more": (start(), "failed", None),
    "message_start and message_stop": (start() + event("message_stop"), "failed", None),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_stream_has_one_ending(name):
    data, kind, expected = ENDINGS[name]
    found = relayed(data, "anthropic", content_type=None)
    assert (found.kind, found.told) == (kind, expected)
    assert (found.failed is None) == (kind == "completed")
    assert found.started is (expected is not None)


def test_an_early_overload_is_a_status_and_may_be_tried_again():
    failed = relayed(OVERLOADED, "anthropic").failed
    assert (failed.status, failed.type, failed.retry) == (503, "overloaded_error", None)


# -- to Anthropic -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENDINGS)
def test_c24_the_same_dialect_has_the_same_endings(name):
    data, kind, expected = ENDINGS[name]
    found = relayed(data, "anthropic", "anthropic")
    assert (found.kind, found.started) == (kind, expected is not None)
    if expected is None:
        assert found.out == b""
        return
    told = anthropic_streams.told(found.out.replace(event("ping"), b""))
    assert told[0][0] == "start"
    if kind != "completed":
        assert told[-1] == ("error", "overloaded_error" if name.startswith("c24") else "api_error")
        return
    assert told[-1] == "stop"
    if name != "an empty answer":
        assert ("text_delta", "Hi") in told


def test_c61_frames_pass_byte_for_byte():
    odd = event("vendor_news", n=1.10, big=12345678901234567890)
    data = stream(HI, odd, block(1, "server_tool_use", id="s", name="web_search"))
    data = data.replace(b'"index":0', b'"index": 0').replace(event("ping"), b"") + b""
    found = relayed(b": comment\n\n" + data, "anthropic", "anthropic")
    assert found.out == data
    assert found.usage.raw == COUNTS


def test_frames_whose_type_is_no_word_get_no_event_line():
    data = start() + HI + b'data: {"type":"a b"}\n\n' + b'data: {"x":1}\n\n' + event("message_stop")
    assert relayed(data, "anthropic", "anthropic").out == data


def test_what_no_client_could_read_is_written_anew():
    bad = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "BAD"}).replace(b"BAD", b"\xff")
    begin = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    data = start() + begin + bad + event("content_block_stop", index=0)
    data += block(1, "tool_use", "\ud83d", "\ude00", "\ud83d", id="a", name="f")
    data += block(2, "thinking", signature="\ud83d") + event("message_stop")
    found = anthropic_streams.told(relayed(data, "anthropic", "anthropic").out)
    told = [entry for entry in found if isinstance(entry, tuple)]
    assert told[1:] == [
        ("text_delta", "\ufffd"),
        ("input_json_delta", ""),
        ("input_json_delta", "😀"),
        ("input_json_delta", "\ufffd"),
        ("signature_delta", "\ufffd"),
    ]


def test_a_stream_that_only_failed_in_the_look_fails_for_the_client_too():
    calls = [block(at, "tool_use", "{}", id=f"c{at}", name="f") for at in range(MAX_TOOL_CALLS + 1)]
    relay_out = relayed(start() + b"".join(calls), "anthropic", "anthropic", splits=0)
    assert relay_out.kind == "failed"
    assert relay_out.out.endswith(anthropic.encode_error(relay_out.failed)[1] + b"\n\n")
    content = [{"type": "tool_use", "id": f"c{at}", "name": "f"} for at in range(MAX_TOOL_CALLS + 1)]
    whole = json.dumps({"type": "message", "content": content}).encode()
    assert relayed(whole, "anthropic", "anthropic", splits=0).kind == "failed"


JUNK = [None, True, 5, -1.5, "", "x", "\ud83d", [], ["x"], {}, {"type": "x"}, {"type": ["x"]}, [{}]]
RICH = stream(
    block(0, "thinking", "hm", signature="sig"),
    block(1, "redacted_thinking", data="opaque"),
    block(2, "text", "Hi"),
    block(3, "tool_use", '{"x":1}', id="a", name="f"),
)


def spoilt(value):
    """The object with junk in the place of each of its parts, one at a time."""
    for key, item in value.items():
        for other in [*JUNK, *(spoilt(item) if isinstance(item, dict) else ())]:
            yield {**value, key: other}


def framed(value):
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def test_c31_junk_in_any_place_raises_nothing():
    frames = [json.loads(frame.split(b"data: ")[1]) for frame in RICH.split(b"\n\n")[:-1]]
    for at, frame in enumerate(frames):
        before, after = (b"".join(map(framed, some)) for some in (frames[:at], frames[at + 1 :]))
        for junk in spoilt(frame):
            data = before + framed(junk) + after
            for sink in ("openai", "anthropic"):
                relay = Relay("anthropic", sink)
                out = relay.feed(data) + relay.close()
                assert relay.ending is not None
                out.decode()
