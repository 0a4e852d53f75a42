"""`dialects.anthropic`: its streams, written."""

import json

import pytest

from anthropic_streams import about, block, start, stream, told
from chat_streams import chunk, relayed, sse
from penstock.protocol.chat import (
    NEW_ENTRY,
    Accumulator,
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
from penstock.protocol.dialects import anthropic, openai

NO_USAGE = {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
BEGIN = ("start", "id", "m")


def encoded(*events, **options):
    """What a client reads; the same whether the events come at once or one by one."""
    once = anthropic.StreamEncoder(**options).encode([Start("id", "m", 5), *events, End(), Text("late")])
    encoder = anthropic.StreamEncoder(**options)
    assert encoder.encode([Start("id", "m", 5)]) == b""
    assert b"".join(encoder.encode([event]) for event in [*events, End(), Text("late")]) == once
    return told(once)


def call(index, arguments="", id="", name=""):
    return ToolCall(0, index, id, name, arguments)


def test_c60_blocks_open_and_close_in_sequence():
    found = encoded(
        Reasoning("Let "),
        Reasoning("me", signature="sig"),
        Reasoning("", signature="redacted_thinking:opaque"),
        Reasoning("", signature="alone"),
        Reasoning("more"),
        Text("Hi"),
        Text("!"),
        call(0, id="a", name="f"),
        call(0, '{"x":1}'),
        Text("bye"),
        Finish(0, "tool_calls"),
        Usage(30, 89, 119, cached=3, reasoning=7),
    )
    counts = {**NO_USAGE, "input_tokens": 27, "cache_read_input_tokens": 3, "output_tokens": 89}
    assert found == [
        BEGIN,
        {"type": "thinking"},
        ("thinking_delta", "Let "),
        ("thinking_delta", "me"),
        ("signature_delta", "sig"),
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "thinking"},
        ("signature_delta", "alone"),
        {"type": "thinking"},
        ("thinking_delta", "more"),
        ("signature_delta", ""),
        {"type": "text"},
        ("text_delta", "Hi"),
        ("text_delta", "!"),
        {"type": "tool_use", "id": "a", "name": "f"},
        ("input_json_delta", '{"x":1}'),
        {"type": "text"},
        ("text_delta", "bye"),
        ("tool_use", {**counts, "output_tokens_details": {"thinking_tokens": 7}}),
        "stop",
    ]


def test_what_says_nothing_opens_nothing():
    events = [
        Text(""),
        Reasoning(""),
        Text("x", 1),
        Reasoning("x", 1),
        call(0, "x"),
        Finish(1, "stop"),
        ToolCall(1, 0, "a", "f", ""),
    ]
    assert encoded(*events) == [BEGIN, (None, NO_USAGE), "stop"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
    ],
)
def test_c57_finish_reasons(reason, expected):
    assert encoded(Text("x"), Finish(0, reason))[-2][0] == expected


def test_a_refusal_is_text_and_a_stop_reason():
    assert encoded(Refusal("No."), Finish(0, "stop"))[1:] == [
        {"type": "text"},
        ("text_delta", "No."),
        ("refusal", NO_USAGE),
        "stop",
    ]


def test_usage_that_is_known_early_is_told_early_and_the_upstreams_own_is_kept():
    own = {"input_tokens": 4, "output_tokens": 2, "service_tier": "standard"}
    out = anthropic.StreamEncoder().encode([Usage(4, 2, 6, raw=own), Text("x"), End()]).split(b"\n\n")
    assert json.loads(out[0].split(b"data: ")[1])["message"]["usage"] == {**NO_USAGE, **own}
    assert told(b"\n\n".join(out))[-2] == (None, {**NO_USAGE, **own})
    responses = {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6}
    assert encoded(Usage(4, 2, 6, cached=3, raw=responses))[-2][1] == {
        **NO_USAGE,
        "input_tokens": 1,
        "cache_read_input_tokens": 3,
        "output_tokens": 2,
    }


# -- calls that are interleaved ---------------------------------------------------------------------------

TWO = [call(0, id="a", name="f"), call(1, id="b", name="g")]
A, B = {"type": "tool_use", "id": "a", "name": "f"}, {"type": "tool_use", "id": "b", "name": "g"}
X = {"type": "text"}


def json_of(*fragments):
    return [("input_json_delta", fragment) for fragment in fragments]


INTERLEAVED = {
    "one after the other": (
        [TWO[0], call(0, '{"x"'), call(0, ":1}"), TWO[1], call(1, "{}")],
        [A, *json_of('{"x"', ":1}"), B, *json_of("{}")],
    ),
    "both begun, then filled in turn": (
        [*TWO, call(0, '{"x"'), call(1, '{"y"'), call(0, ":1}"), call(1, ":2}")],
        [A, *json_of('{"x"', ":1}"), B, *json_of('{"y"', ":2}")],
    ),
    "the second is complete first": (
        [*TWO, call(1, "{}"), call(0, "{"), call(0, "}")],
        [A, *json_of("{", "}"), B, *json_of("{}")],
    ),
    "brackets and quotes in strings": (
        [
            TWO[0],
            call(0, '{"a}":"\\'),
            call(0, '"}'),
            call(0, '\\\\\\"]'),
            TWO[1],
            call(0, '"'),
            call(0, ","),
            call(0, '"b":[{}]'),
            call(0, "}"),
        ],
        [A, *json_of('{"a}":"\\', '"}', '\\\\\\"]', '"', ",", '"b":[{}]', "}"), B],
    ),
    "text between them waits, and what follows it": (
        [TWO[0], call(0, '{"x":'), Text("mid"), TWO[1], Text("dle"), call(0, "1}"), call(1, "{}"), Text(".")],
        [
            A,
            *json_of('{"x":', "1}"),
            X,
            ("text_delta", "mid"),
            ("text_delta", "dle"),
            B,
            *json_of("{}"),
            X,
            ("text_delta", "."),
        ],
    ),
    "never completed": (
        [TWO[0], call(0, '{"x":'), Text("mid"), TWO[1], call(1, '{"y"')],
        [A, *json_of('{"x":'), X, ("text_delta", "mid"), B, *json_of('{"y"')],
    ),
    "more for one that was complete": (
        [TWO[0], call(0, "{}"), TWO[1], call(1, "{}"), call(0, "\n")],
        [A, *json_of("{}"), B, *json_of("{}")],
    ),
    "no arguments at all": (TWO, [A, B]),
    "arguments that are text": (
        [TWO[0], call(0, " \n"), call(0, 'say "'), call(0, "hi\\"), TWO[1], call(1, "[1]")],
        [A, *json_of(" \n", '{"arguments":"say \\"', "hi\\\\", '"}'), B, *json_of('{"arguments":"[1]', '"}')],
    ),
}


@pytest.mark.parametrize("name", INTERLEAVED)
def test_c56_exactly_one_block_is_open(name):
    events, expected = INTERLEAVED[name]
    assert encoded(*events, Finish(0, "tool_calls"))[1:-2] == expected
    assert encoded(*events)[1:-2] == expected


def test_arguments_that_are_text_become_one_member():
    found = encoded(*INTERLEAVED["arguments that are text"][0])
    fragments = "".join([item[1] for item in found if isinstance(item, tuple) and item[0] == "input_json_delta"])
    first, second = fragments.split("}{")
    assert json.loads(first + "}") == {"arguments": 'say "hi\\'}
    assert json.loads("{" + second) == {"arguments": "[1]"}


@pytest.mark.parametrize("arguments", ['{"a\\\\":["}",{"\\\\\\"]":"[\\\\u005d"}]}', "{}", '{"é\\n":"\\\\"}'])
def test_the_end_of_arguments_is_seen_wherever_they_are_cut(arguments):
    for at in range(1, len(arguments)):
        for fragments in ([arguments[:at], arguments[at:]], [*arguments]):
            encoder = anthropic.StreamEncoder()
            encoder.encode([TWO[0], TWO[1]])
            *before, last = [encoder.encode([call(0, fragment)]) for fragment in fragments]
            assert not any(b"tool_use" in out for out in before)
            assert b'"name":"g"' in last


def test_c44_what_waits_is_bounded():
    encoder = anthropic.StreamEncoder(max_held_bytes=2 * NEW_ENTRY + 10)
    events = [Start("id", "m", 5), TWO[0], call(0, "{"), call(1, "1234", "b", "g"), call(1, "1234"), call(1, "x")]
    found = told(encoder.encode([*events, Text("late")]))
    assert found == [BEGIN, A, *json_of("{"), ("error", "api_error")]
    assert encoder.failed is not None
    room = anthropic.StreamEncoder(max_held_bytes=2 * NEW_ENTRY + 10)
    for at in range(0, 9, 2):  # what went out makes room again
        assert room.encode([call(at, "{", "a", "f"), call(at + 1, "{", "b", "g"), call(at + 1, "}"), call(at, "}")])
    assert room.failed is None


# -- from and to the others -------------------------------------------------------------------------------


def openai_call(index, **function):
    more = {"id": f"c{index}", "type": "function"} if "name" in function else {}
    return chunk({"tool_calls": [{"index": index, **more, "function": function}]})


OPENAI = sse(
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "Привет \u2028"}),
    openai_call(0, name="f", arguments=""),
    openai_call(1, name="g", arguments=""),
    openai_call(0, arguments='{"x":1}'),
    chunk({}, "tool_calls"),
    chunk(usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}, choices=[]),
)
OPENAI_TOLD = [
    ("start", "chatcmpl-1", "org/model-a"),
    {"type": "thinking"},
    ("thinking_delta", "hm"),
    ("signature_delta", ""),  # some clients drop thinking that is not signed
    {"type": "text"},
    ("text_delta", "Привет \u2028"),
    {"type": "tool_use", "id": "c0", "name": "f"},
    ("input_json_delta", '{"x":1}'),
    {"type": "tool_use", "id": "c1", "name": "g"},
    ("input_json_delta", "{}"),
    ("tool_use", {**NO_USAGE, "input_tokens": 9, "output_tokens": 2}),
    "stop",
]


def test_openai_to_anthropic():
    found = relayed(OPENAI, "openai", "anthropic")
    assert told(found.out) == OPENAI_TOLD
    assert found.kind == "completed"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (sse(chunk({"content": "Hi"}), done=False), "api_error"),
        (sse(chunk({"content": "Hi"}), {"error": {"message": "slow", "code": 429}}, done=False), "rate_limit_error"),
        (sse(chunk({"content": "Hi"}), {"error": {"message": "x", "type": "overloaded_error"}}), "overloaded_error"),
    ],
)
def test_c20_c24_an_error_in_mid_stream_ends_it(data, expected):
    found = relayed(data, "openai", "anthropic")
    assert told(found.out)[-2:] == [("text_delta", "Hi"), ("error", expected)]


def test_an_error_before_anything_is_a_status():
    found = relayed(sse({"error": {"message": "x", "code": 429}}), "openai", "anthropic")
    assert (found.out, found.started) == (b"", False)
    assert anthropic.encode_error(found.failed)[0] == 429


@pytest.mark.parametrize(
    ("failed", "status", "kind"),
    [
        (Failed("m", 400), 400, "invalid_request_error"),
        (Failed("m", 401), 401, "authentication_error"),
        (Failed("m", 402), 402, "billing_error"),
        (Failed("m", 403), 403, "permission_error"),
        (Failed("m", 404), 404, "not_found_error"),
        (Failed("m", 408), 408, "timeout_error"),
        (Failed("m", 413), 413, "request_too_large"),
        (Failed("m", 422), 422, "invalid_request_error"),
        (Failed("m", 429), 429, "rate_limit_error"),
        (Failed("m", 500), 500, "api_error"),
        (Failed("m", 502), 502, "api_error"),
        (Failed("m", 503), 529, "overloaded_error"),
        (Failed("m", 504), 504, "timeout_error"),
    ],
)
def test_errors_have_anthropics_types(failed, status, kind):
    found, raw = anthropic.encode_error(failed)
    assert (found, json.loads(raw)) == (status, {"type": "error", "error": {"type": kind, "message": "m"}})


@pytest.mark.parametrize("message", ["too many tokens", "Prompt is too long: 9 > 8"])
def test_a_prompt_that_is_too_long_is_known_by_its_words(message):
    _, raw = anthropic.encode_error(Failed(message, 400, code="context_length_exceeded"))
    said = json.loads(raw)["error"]["message"]
    assert said.lower().count("prompt is too long") == 1
    assert said.endswith(message)
    again = anthropic.decode_error(400, (), raw)
    assert (again.status, again.code) == (400, "context_length_exceeded")


def test_round_trip():
    blocks = [block(0, "thinking", "hm", signature="s"), block(1, "redacted_thinking", data="d")]
    blocks += [block(2, "text", "Hi"), block(3, "tool_use", "{}", id="a", name="f")]
    for data in (stream(*blocks, reason="tool_use"), start() + blocks[3] + about("max_tokens")):
        events = gathered(anthropic.StreamDecoder(), data)
        again = gathered(anthropic.StreamDecoder(), anthropic.StreamEncoder().encode(events))
        assert again[:-2] == events[:-2]
        assert again[-2][:5] == events[-2][:5]
        there = gathered(openai.StreamDecoder(), openai.StreamEncoder(include_usage=True).encode(events))
        kept = [answer_of(found).choices[0]._replace(thoughts=()) for found in (events, there)]
        assert kept[0] == kept[1]


def gathered(decoder, data):
    return [*decoder.feed(data), *decoder.close()]


def answer_of(events):
    whole = Accumulator()
    whole.feed(events)
    return whole.answer()
