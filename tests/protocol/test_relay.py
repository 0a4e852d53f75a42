"""`relay`, OpenAI to OpenAI: whatever a server sends, what a client reads, at every cut."""

import json

import pytest

import feeding
from chat_streams import DONE, MULTILINGUAL, ROLE, chunk, drive, relayed, sse, told
from penstock.protocol.chat import Failed
from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.relay import Relay

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
FIRST = chunk(ROLE)
HI = [FIRST, chunk({"content": "Hi"}), chunk({}, "stop")]
HI_TOLD = [(0, ROLE, None), (0, {"content": "Hi"}, None), (0, {}, "stop"), "[DONE]"]


def call(index=None, id=None, name=None, arguments=None, **more):
    """One tool call delta, with the keys that are given."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    entry = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return {**entry, **more, **({"function": function} if function else {})}


def begun(index, id, name, arguments=""):
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}


def more(index, arguments):
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


# -- what passes untouched --------------------------------------------------------------------------------

STREAM = sse(FIRST, *[chunk({"content": text}) for text in MULTILINGUAL * 2], chunk({}, "stop"))


def test_c33_c35_c50_characters_and_events_cut_anywhere_arrive_whole():
    found = relayed(STREAM, splits=len(STREAM))
    assert found.out == STREAM
    assert "".join(delta.get("content", "") for _, delta, _ in found.told[:-1]) == "".join(MULTILINGUAL * 2)
    assert found.counts[0] == 2 * len(MULTILINGUAL) + 2


def test_c61_unknown_fields_and_exact_numbers_survive():
    odd = b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"org/model-a","x":1.0E+2'
    odd += b',"big":123456789012345678901234567890,"choices":[{"index":0,"delta":{"content":"a","k":[ ]},"z":1e400}]}'
    stream = sse(FIRST, *[b"data: " + odd + b"\n\n"] * 3, chunk({}, "stop", extra={"kept": [1.5]}))
    found = relayed(stream)
    assert found.out.count(odd) == 3
    assert json.loads(found.out.split(b"\n\n")[4][6:])["extra"] == {"kept": [1.5]}


@pytest.mark.parametrize(
    "stream",
    [
        sse(FIRST, *[chunk({"content": text}, obfuscation="x" * (at % 5)) for at, text in enumerate(MULTILINGUAL)]),
        sse(FIRST, *[chunk({"reasoning_content": text, "content": None}) for text in "ab"], chunk({"content": "c"})),
        sse(FIRST, chunk({"refusal": "I "}), chunk({"refusal": "can't"}), chunk({}, "stop")),
        sse(FIRST, chunk({"content": "a"}, usage=None), chunk({"content": "b"}, usage=None), chunk({}, "stop")),
        sse(
            *[chunk(begun(0, "call_a", "f")), chunk(more(0, '{"x":')), chunk(more(0, "1}"))][:0],
            FIRST,
            chunk({"content": ""}),
        ),
        sse(
            FIRST,
            b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":'
            b'"org/model-a","choices":[{"index":0,"delta":{"content":"\\ud83d\\ude00 \\u0416 \\/"}}]}\n\n',
        ),
    ],
    ids=["obfuscation", "deepseek reasoning", "refusal", "usage null", "empty content", "escapes"],
)
def test_what_is_canonical_goes_out_byte_for_byte(stream):
    assert relayed(stream).out == stream


def test_usage_on_no_chunk_but_the_last_and_logprobs_stay_with_their_tokens():
    logprobs = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None}
    first, ending = chunk({"content": "a"}), chunk({"content": "b"}, "stop")
    first["choices"][0]["logprobs"] = ending["choices"][0]["logprobs"] = logprobs
    found = [json.loads(event[6:]) for event in relayed(sse(FIRST, first, ending)).out.split(b"\n\n")[:-2]]
    assert [entry["choices"][0]["logprobs"] for entry in found] == [None, logprobs, logprobs, None]


# -- what is mended: each deviation that breaks some client, each quirk of some server ---------------------

MENDED = {
    "c58 role in every chunk": (
        [chunk({"role": "assistant", "content": "H"}), chunk({"role": "assistant", "content": "i"}), chunk({}, "stop")],
        [(0, {"role": "assistant", "content": "H"}, None), (0, {"content": "i"}, None), (0, {}, "stop")],
    ),
    "role missing everywhere": ([chunk({"content": "Hi"}), chunk({}, "stop")], HI_TOLD[:-1]),
    "role null": ([chunk({"role": None, "content": "Hi"}), chunk({}, "stop")], HI_TOLD[:-1]),
    "role empty, then model": (
        [chunk({"role": "", "content": ""}), chunk({"role": "model", "content": "Hi"}), chunk({}, "stop")],
        HI_TOLD[:-1],
    ),
    "role null later": ([FIRST, chunk({"role": None, "content": "Hi"}), chunk({}, "stop")], HI_TOLD[:-1]),
    "role alone again": ([FIRST, chunk({"role": "assistant"}), *HI[1:]], HI_TOLD[:-1]),
    "c57 finish reason empty until the end": (
        [FIRST, chunk({"content": "Hi"}, ""), chunk({}, "stop")],
        HI_TOLD[:-1],
    ),
    "c57 finish reason empty to the last": (
        [chunk({**ROLE}, ""), chunk({"content": "H"}, ""), chunk({"content": "i"}, ""), chunk({}, "")],
        [HI_TOLD[0], (0, {"content": "H"}, None), (0, {"content": "i"}, None), (0, {}, None), (0, {}, "stop")],
    ),
    "c57 finish reason on the last text": ([FIRST, chunk({"content": "Hi"}, "stop")], HI_TOLD[:-1]),
    "finish reason twice": ([*HI, chunk({}, "stop")], HI_TOLD[:-1]),
    "c57 length wins": ([*HI, chunk({}, "length")], [*HI_TOLD[:2], (0, {}, "length")]),
    "finish with the role": ([chunk(ROLE, "stop")], [(0, ROLE, None), (0, {}, "stop")]),
    "text after the finish": (
        [*HI, chunk({"content": "!"})],
        [*HI_TOLD[:2], (0, {"content": "!"}, None), (0, {}, "stop")],
    ),
    "index missing": (
        [
            {**chunk(), "choices": [{"delta": {"content": "Hi"}}]},
            {**chunk(), "choices": [{"delta": {}, "finish_reason": "stop"}]},
        ],
        HI_TOLD[:-1],
    ),
    "delta null with the finish": (
        [*HI[:2], {**chunk(), "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}],
        HI_TOLD[:-1],
    ),
    "object of another kind, forbidden keys": (
        [{**entry, "object": "chat.completion", "error": None, "type": "x", "event": 1} for entry in HI],
        HI_TOLD[:-1],
    ),
    "c58 id, created and model move": (
        [{**entry, "id": f"{at}", "created": 1760000000.5 + at, "model": "m" * at} for at, entry in enumerate(HI)],
        HI_TOLD[:-1],
    ),
    "no id, created or model": ([{"choices": entry["choices"]} for entry in HI], HI_TOLD[:-1]),
    "azure: filter results first, annotations between": (
        [
            {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{}]},
            *HI[:2],
            {**chunk(), "object": "", "choices": [{"index": 0, "content_filter_offsets": {}, "finish_reason": None}]},
            HI[2],
        ],
        HI_TOLD[:-1],
    ),
    "c55 choices null, missing, empty, of strings": (
        [{**chunk(), "choices": None}, {"timings": {}}, {**chunk(), "choices": []}, {**chunk(), "choices": ["x"]}, *HI],
        HI_TOLD[:-1],
    ),
    "one of two choices is an annotation": (
        [
            FIRST,
            {**chunk(), "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}, {"index": 1}]},
            HI[2],
        ],
        HI_TOLD[:-1],
    ),
    "message in the place of delta": (
        [
            {
                **chunk(),
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": None}],
            },
            chunk({}, "stop"),
        ],
        [(0, {"role": "assistant", "content": "Hi"}, None), (0, {}, "stop")],
    ),
    "text in the place of delta": (
        [
            {**chunk(), "choices": [{"index": 0, "text": "Hi"}]},
            {**chunk(), "choices": [{"index": 0, "text": "", "finish_reason": "eos"}]},
        ],
        HI_TOLD[:-1],
    ),
    "mistral: content in parts": (
        [
            chunk(
                {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}
            ),
            chunk({"content": [{"type": "text", "text": "H"}, "i", 5, {"type": "reference"}]}),
            chunk({"content": [{"type": "thinking", "thinking": "!"}]}),
            chunk({}, "model_length"),
        ],
        [
            (0, {"role": "assistant", "content": "", "reasoning_content": "hm"}, None),
            (0, {"content": "Hi"}, None),
            (0, {"content": "", "reasoning_content": "!"}, None),
            (0, {}, "length"),
        ],
    ),
    "content an object, a number": (
        [FIRST, chunk({"content": {"type": "text", "text": "H"}}), chunk({"content": 7}), chunk({}, "stop")],
        [(0, ROLE, None), (0, {"content": "H"}, None), (0, {"content": "7"}, None), (0, {}, "stop")],
    ),
    "c60 reasoning and text in one delta": (
        [FIRST, chunk({"reasoning_content": "hm", "content": "Hi"}), chunk({}, "stop")],
        [(0, ROLE, None), (0, {"reasoning_content": "hm"}, None), (0, {"content": "Hi"}, None), (0, {}, "stop")],
    ),
    "reasoning by its other name": (
        [
            FIRST,
            *[chunk({"reasoning": text}) for text in ("h", "m", "", "\\", "ж")],
            chunk({"reasoning": "!", "reasoning_content": None}),
            chunk({"reasoning": "?", "reasoning_content": "?"}),
            chunk({}, "stop"),
        ],
        [
            (0, ROLE, None),
            (0, {"reasoning_content": "h"}, None),
            (0, {"reasoning_content": "m"}, None),
            (0, {"reasoning": ""}, None),
            (0, {"reasoning_content": "\\"}, None),
            (0, {"reasoning_content": "ж"}, None),
            (0, {"reasoning_content": "!"}, None),
            (0, {"reasoning_content": "?"}, None),
            (0, {}, "stop"),
        ],
    ),
    "reasoning details without index": (
        [FIRST, chunk({"reasoning_details": [{"text": "a"}, {"text": "b", "index": 7}, 5]}), chunk({}, "stop")],
        [
            (0, ROLE, None),
            (0, {"reasoning_details": [{"text": "a", "index": 0}, {"text": "b", "index": 7}, 5]}, None),
            (0, {}, "stop"),
        ],
    ),
    "index 0 comes first": (
        [chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk({}, "stop", 1), chunk({}, "stop")],
        [
            (0, ROLE, None),
            (1, ROLE, None),
            (1, {"content": "b"}, None),
            (0, {"content": "a"}, None),
            (0, {}, "stop"),
            (1, {}, "stop"),
        ],
    ),
    "n=2 in one chunk": (
        [
            {**chunk(), "choices": [{"index": n, "delta": {"role": "assistant", "content": str(n)}} for n in (0, 1)]},
            {**chunk(), "choices": [{"index": n, "delta": {}, "finish_reason": "stop"} for n in (0, 1)]},
        ],
        [*[(n, {"role": "assistant", "content": str(n)}, None) for n in (0, 1)], *[(n, {}, "stop") for n in (0, 1)]],
    ),
    "a reason that nobody knows": ([*HI[:2], chunk({}, "banana")], HI_TOLD[:-1]),
    "a reason that is no text": ([*HI[:2], chunk({}, 17)], HI_TOLD[:-1]),
    "SAFETY": ([*HI[:2], chunk({}, "SAFETY")], [*HI_TOLD[:2], (0, {}, "content_filter")]),
    "function_call of old": (
        [
            chunk({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}),
            chunk({}, "function_call"),
        ],
        [
            (0, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}, None),
            (0, {}, "function_call"),
        ],
    ),
    "function_call of those who mean tools": (
        [*HI[:2], chunk({}, "function_call")],
        [*HI_TOLD[:2], (0, {}, "tool_calls")],
    ),
    "tool calls null, empty, odd": (
        [
            FIRST,
            chunk({"content": "H", "tool_calls": []}),
            chunk({"content": "i", "tool_calls": None}),
            chunk({"tool_calls": ["x"]}),
            chunk({}, "stop"),
        ],
        [
            (0, ROLE, None),
            (0, {"content": "H"}, None),
            (0, {"content": "i"}, None),
            (0, {"tool_calls": []}, None),
            (0, {}, "stop"),
        ],
    ),
    "c60 the same without logprobs": (
        [FIRST, {"choices": [{"index": 0, "delta": {"reasoning_content": "hm", "content": "Hi"}}]}, chunk({}, "stop")],
        [(0, ROLE, None), (0, {"reasoning_content": "hm"}, None), (0, {"content": "Hi"}, None), (0, {}, "stop")],
    ),
}


@pytest.mark.parametrize("name", MENDED)
def test_whatever_a_server_sends_the_stream_is_canonical(name):
    objects, expected = MENDED[name]
    for done in (True, False):
        found = relayed(sse(*objects, done=done), splits=0)
        assert found.told == [*expected, "[DONE]"]
        assert found.kind == "completed"


TOOLS = {
    "canonical": (
        [
            chunk(begun(0, "call_a", "f")),
            chunk(more(0, '{"x":')),
            chunk(more(0, "1}")),
            chunk(begun(1, "call_b", "g", "{}")),
        ],
        [begun(0, "call_a", "f"), more(0, '{"x":'), more(0, "1}"), begun(1, "call_b", "g", "{}")],
    ),
    "c56 index missing, ids given": (
        [
            chunk({"tool_calls": [call(None, "a", "f", '{"x":1}'), call(None, "b", "g", "{}")]}),
            chunk({"tool_calls": [call(None, "a", None, " ")]}),
        ],
        [
            {"tool_calls": [*begun(0, "a", "f", '{"x":1}')["tool_calls"], *begun(1, "b", "g", "{}")["tool_calls"]]},
            more(0, " "),
        ],
    ),
    "c56 all calls at index 0": (
        [
            chunk({"tool_calls": [call(0, "a", "f", "{}")]}),
            chunk({"tool_calls": [call(0, "b", "f", "{")]}),
            chunk({"tool_calls": [call(0, None, None, "}")]}),
        ],
        [begun(0, "a", "f", "{}"), begun(1, "b", "f", "{"), more(1, "}")],
    ),
    "c56 index starts at 1 and has gaps": (
        [chunk({"tool_calls": [call(1, "a", "f", "{}")]}), chunk({"tool_calls": [call(5, "b", "g", "{}")]})],
        [begun(0, "a", "f", "{}"), begun(1, "b", "g", "{}")],
    ),
    "id, type and name repeated, null": (
        [
            chunk({"tool_calls": [call(0, "a", "f", "{", type="function")]}),
            chunk({"tool_calls": [call(0, "a", "f", "}", type="function")]}),
            chunk(
                {"tool_calls": [{"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}}]}
            ),
            chunk({"tool_calls": [{"index": 0, "id": "", "function": {"name": "", "arguments": " "}}]}),
        ],
        [begun(0, "a", "f", "{"), more(0, "}"), more(0, ""), more(0, " ")],
    ),
    "function missing": (
        [chunk({"tool_calls": [{"index": 0, "id": "a"}]}), chunk({"tool_calls": [call(0, None, "f", "{}")]})],
        [begun(0, "a", ""), {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}],
    ),
    "a name without id opens a call": (
        [
            chunk({"tool_calls": [call(0, "a", "f", "{}")]}),
            chunk({"tool_calls": [call(0, "b", "g", "{}")]}),
            chunk(
                {
                    "tool_calls": [
                        call(0, "", "h", "{}"),
                    ]
                }
            ),
        ],
        [begun(0, "a", "f", "{}"), begun(1, "b", "g", "{}"), None],
    ),
    "the id comes late": (
        [chunk({"tool_calls": [call(0, None, None, None)]}), chunk({"tool_calls": [call(0, "a", "f", "{}")]})],
        [None, {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}],
    ),
    "arguments an object": (
        [chunk({"tool_calls": [call(0, "a", "f", {"x": [1]})]})],
        [begun(0, "a", "f", '{"x":[1]}')],
    ),
    "an index that is no number": (
        [chunk({"tool_calls": [call(False, "a", "f", "{}", type="function")]})],
        [begun(0, "a", "f", "{}")],
    ),
    "a numeric id": ([chunk({"tool_calls": [call(0, 17, "f", "{}")]})], [begun(0, "17", "f", "{}")]),
    "no arguments at all": (
        [chunk({"tool_calls": [call(0, "a", "f")]}), chunk({"tool_calls": [call(1, "b", "g", "{}")]})],
        [begun(0, "a", "f"), begun(1, "b", "g", "{}"), more(0, "{}")],
    ),
    "gemini: a thought signature alone": (
        [chunk({"tool_calls": [call(None, "a", "f", "{}")]}), chunk({"tool_calls": [{"extra_content": {"s": 1}}]})],
        [
            begun(0, "a", "f", "{}"),
            {"tool_calls": [{"extra_content": {"s": 1}, "index": 0, "function": {"arguments": ""}}]},
        ],
    ),
    "a custom tool": (
        [chunk({"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]})],
        [{"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]}],
    ),
}


@pytest.mark.parametrize("name", TOOLS)
def test_c56_tool_calls_are_put_together_by_any_client(name):
    objects, expected = TOOLS[name]
    start = chunk({"role": "assistant", "content": None})
    found = relayed(sse(start, *objects, chunk({}, "stop")), splits=0)
    deltas = [delta for _, delta, _ in found.told[1:-2]]
    assert len(deltas) == len(expected)
    for delta, wanted in zip(deltas, expected, strict=True):
        if wanted is not None:
            assert delta == wanted
    assert found.told[-2:] == [(0, {}, "tool_calls"), "[DONE]"]
    first = [entry for delta in deltas for entry in delta["tool_calls"] if "id" in entry]
    assert all(type(entry["index"]) is int for entry in first)
    assert [entry["index"] for entry in first] == list(range(len(first)))
    assert len({entry["id"] for entry in first}) == len(first)


def test_synthesised_ids_differ_between_streams_and_do_not_between_runs():
    def ids(stream_id):
        stream = sse({**chunk({"tool_calls": [call(0, None, "f", "{}"), call(1, None, "g", "{}")]}), "id": stream_id})
        return [entry["id"] for entry in relayed(stream, splits=0).told[1][1]["tool_calls"]]

    assert ids("a") == ids("a")
    assert len({*ids("a"), *ids("b")}) == 4


# -- usage ------------------------------------------------------------------------------------------------

USED = {
    "c51 c52 on its own chunk after the finish": [*HI, {**chunk(), "choices": [], "usage": USAGE}],
    "without choices key": [*HI, {"usage": USAGE}],
    "deepseek: on the finish chunk": [*HI[:2], {**HI[2], "usage": USAGE}],
    "gemini: on every chunk, cumulative": [
        {**entry, "usage": {**USAGE, "completion_tokens": at, "total_tokens": 3 + at}} for at, entry in enumerate(HI)
    ],
    "groq: under x_groq": [*HI[:2], {**HI[2], "x_groq": {"id": "req", "usage": USAGE}}],
    "before the finish": [HI[0], {**chunk(), "choices": [], "usage": USAGE}, *HI[1:]],
    "zeros at the end": [*HI, {"choices": [], "usage": USAGE}, {"choices": [], "usage": dict.fromkeys(USAGE, 0)}],
}


@pytest.mark.parametrize("name", USED)
def test_c51_c52_c54_usage_comes_once_and_last_and_only_if_asked_for(name):
    stream = sse(*USED[name])
    asked = relayed(stream, splits=0, include_usage=True)
    assert asked.told == [*HI_TOLD[:-1], ("usage", USAGE), "[DONE]"]
    unasked = relayed(stream, splits=0)
    assert unasked.told == HI_TOLD
    assert asked.usage[:3] == unasked.usage[:3] == (3, 2, 5)


def test_usage_keeps_what_the_upstream_added_and_is_made_whole():
    usage = {"prompt_tokens": 3, "completion_tokens": 2.0, "cost": 0.25, "prompt_cache_hit_tokens": 1}
    usage["completion_tokens_details"] = {"reasoning_tokens": 1}
    found = relayed(sse(*HI, {"choices": [], "usage": usage, "timings": {"ms": 1}}), include_usage=True, splits=0)
    assert found.told[-2] == ("usage", {**usage, "completion_tokens": 2, "total_tokens": 5})
    assert (found.usage.cached, found.usage.reasoning, found.usage.raw) == (1, 1, usage)
    assert b'"timings":{"ms":1}' in found.out


# -- endings ----------------------------------------------------------------------------------------------

TEXT = (0, {"content": "Hi"}, None)
ENDINGS = {
    "c19 nothing at all": (b"", "failed", [], "upstream_error"),
    "c19 only comments": (b": PROCESSING\n\n: PROCESSING\n\n", "failed", [], "upstream_error"),
    "an empty answer and its end": (DONE, "failed", [], "upstream_error"),
    "metadata and its end": (sse({"choices": [], "usage": USAGE}), "failed", [], "upstream_error"),
    "c20 c21 no finish reason, no marker": (
        sse(*HI[:2], done=False),
        "truncated",
        [("error", "upstream_error")],
        "upstream_error",
    ),
    "c21 a marker is enough": (sse(*HI[:2]), "completed", ["[DONE]"], None),
    "finish reasons are enough": (sse(*HI, done=False), "completed", [(0, {}, "stop"), "[DONE]"], None),
    "n=2, one of them finished": (
        sse(*HI, chunk({"content": "b"}, index=1), done=False),
        "truncated",
        [(1, ROLE, None), (1, {"content": "b"}, None), ("error", "upstream_error")],
        "upstream_error",
    ),
    "c22 c24 an error in the middle": (
        sse(*HI[:2], {"error": {"message": "boom", "code": 502}}),
        "failed",
        [("error", "upstream_error")],
        "upstream_error",
    ),
    "c28 an error after the finish": (
        sse(*HI, {"error": "boom"}),
        "failed",
        [("error", "upstream_error")],
        "upstream_error",
    ),
    "openrouter: error beside a choice": (
        sse(*HI[:2], chunk({"content": ""}, "error", error={"code": "server_error", "message": "m"})),
        "failed",
        [("error", "server_error")],
        "server_error",
    ),
    "groq: event error": (
        sse(*HI[:2], b'event: error\ndata: {"error":{"message":"m","code":"x"}}\n\n'),
        "failed",
        [("error", "x")],
        "x",
    ),
    "event error, flat": (
        sse(*HI[:2], b'event: error\ndata: {"message":"m"}\n\n'),
        "failed",
        [("error", "upstream_error")],
        "upstream_error",
    ),
    "llama.cpp of old: an error line": (
        sse(*HI[:2], b'error: {"code":500,"message":"m","type":"server_error"}\n\n'),
        "failed",
        [("error", "upstream_error")],
        "upstream_error",
    ),
    "c31 a frame that is no JSON": (
        sse(*HI[:2], b"data: {oops}\n\n", HI[1]),
        "failed",
        [("error", "upstream_error")],
        "upstream_error",
    ),
    "nested too deep": (
        sse(*HI[:2], b'data: {"a":' + b"[" * 500 + b"]" * 500 + b"}\n\n"),
        "failed",
        [("error", "upstream_error")],
        "upstream_error",
    ),
    "c36 the last event without a blank line": (
        sse(*HI, done=False)[:-2],
        "completed",
        [(0, {}, "stop"), "[DONE]"],
        None,
    ),
    "c36 the marker without a blank line": (sse(*HI[:2]).rstrip(), "completed", ["[DONE]"], None),
    "a tail that is cut off": (
        sse(*HI[:2], done=False) + b'data: {"id":"chat',
        "truncated",
        [("error", "upstream_error")],
        "upstream_error",
    ),
    "a tail that is something else": (
        sse(*HI[:2], done=False) + b"data: oops",
        "failed",
        [("error", "upstream_error")],
        "upstream_error",
    ),
    "c28 what follows the marker is ignored": (
        sse(*HI) + sse(HI[1], {"error": "x"}),
        "completed",
        [(0, {}, "stop"), "[DONE]"],
        None,
    ),
    "done by equality after strip": (sse(*HI[:2], b"data:  [DONE] \n\n", done=False), "completed", ["[DONE]"], None),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_stream_has_one_ending(name):
    stream, kind, tail, code = ENDINGS[name]
    found = relayed(stream, splits=500)
    assert found.kind == kind
    assert (found.failed.code if found.failed else None) == code
    if found.started:
        assert found.told == [*HI_TOLD[:2], *tail]
        assert found.told.count("[DONE]") == (kind == "completed")
    else:
        assert (found.out, tail) == (b"", [])


def test_c23_an_error_as_the_first_event_is_an_http_status_still():
    stream = sse({"error": {"message": "m", "type": "invalid_request_error", "code": "context_length_exceeded"}})
    found = relayed(stream)
    assert (found.started, found.out, found.kind) == (False, b"", "failed")
    assert found.failed[:4] == ("m", 400, "invalid_request_error", "context_length_exceeded")


def test_azure_metadata_and_then_an_error_is_an_http_status_still():
    stream = sse({"choices": [], "prompt_filter_results": []}, {"error": {"message": "m", "code": "429"}})
    found = relayed(stream)
    assert (found.started, found.out, found.failed.status) == (False, b"", 429)


def test_a_stream_that_breaks_off_before_its_first_event_is_told_apart_from_an_empty_one():
    broken, nothing = relayed(b'data: {"id":"cha').failed, relayed(b"").failed
    assert "before its answer was complete" in broken.message
    assert "empty" in nothing.message


def test_c44_a_frame_beyond_the_limit_fails_the_stream():
    found = relayed(sse(*HI[:2], chunk({"content": "x" * 500})), splits=0, max_frame_bytes=400)
    assert (found.kind, found.told[:2], found.told[-1]) == ("failed", HI_TOLD[:2], ("error", "upstream_error"))


def test_c44_the_limit_holds_for_frames_that_look_ordinary_wherever_they_are_cut():
    small, large = chunk({"content": "a"}), chunk({"content": "a" * 100})
    most = len(sse(large, done=False))
    stream = sse(FIRST, *[small] * 3, large, done=False)
    passed = relayed(stream + DONE, splits=len(stream), max_frame_bytes=most)
    assert (passed.out, passed.kind) == (stream + DONE, "completed")
    found = relayed(stream, splits=len(stream), max_frame_bytes=most - 1)
    assert (found.told[:-1], found.kind) == ([HI_TOLD[0], *[(0, {"content": "a"}, None)] * 3], "failed")


@pytest.mark.parametrize("sink", ["openai", "ollama"])
def test_c44_choices_and_tool_calls_have_an_end(sink):
    many = [chunk({"content": "a"}, index=at) for at in range(128)]
    assert relayed(sse(*many), sink=sink, splits=0).kind == "completed"
    found = relayed(sse(*many, chunk({"content": "a"}, index=-1)), sink=sink, splits=0)
    assert (found.kind, "128 choices" in found.failed.message) == ("failed", True)
    calls = [call(at, f"id{at}", "f", "{}") for at in range(1024)]
    assert relayed(sse(chunk({"tool_calls": calls})), sink=sink, splits=0).kind == "completed"
    found = relayed(sse(FIRST, chunk({"tool_calls": [*calls, call(None, "more")]})), sink=sink, splits=0)
    assert (found.kind, "1024 tool calls" in found.failed.message) == ("failed", True)


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ([chunk({}, "")], "completed"),
        ([chunk({"role": "assistant"}, "")], "completed"),
        ([chunk({"content": ""}, "")], "truncated"),
        ([chunk({}, ""), chunk({"content": ""})], "truncated"),
        ([chunk({"content": "!"}, "")], "truncated"),
        ([chunk({}, ""), chunk({"content": "!"})], "truncated"),
        ([chunk({}, ""), chunk({"content": "!"}, index=1)], "truncated"),
    ],
)
def test_c57_an_empty_finish_reason_that_comes_alone_ends_a_choice_without_marker(last, kind):
    found = relayed(sse(FIRST, chunk({"content": "Hi"}, ""), *last, done=False))
    assert found.kind == kind
    assert ((0, {}, "stop") in found.told) is (kind == "completed")


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([chunk({"content": "Hi"}, "")], ["Hi", "stop"]),
        ([chunk({"content": "Hi"}, ""), chunk({})], ["Hi", None, "stop"]),
        ([chunk({"content": "x"}, "")] * 3 + [chunk({"content": "y"})] * 3 + [chunk({})], [*"xxxyyy", None]),
        ([chunk({"content": "y"})] * 3 + [chunk({"content": "x"}, "")] * 3, [*"yyyxxx", "stop"]),
        ([chunk({"content": "x"}, ""), chunk({}, "length")], ["x", "length"]),
    ],
)
def test_c57_an_empty_finish_reason_is_a_stop_on_the_last_chunk_only(chunks, expected):
    found = relayed(sse(FIRST, *chunks))
    assert [delta.get("content") or reason for _, delta, reason in found.told[1:-1]] == expected


def test_c43_a_frame_of_four_mebibytes_passes():
    big = chunk({"content": "жx" * (4 << 20)})
    stream = sse(FIRST, big, chunk({}, "stop"))
    pieces = [stream[at : at + 65536] for at in range(0, len(stream), 65536)]
    assert drive(Relay("openai", "openai"), pieces)[0] == stream


# -- framing ----------------------------------------------------------------------------------------------

FRAMINGS = {
    "c37 CRLF": sse(*HI).replace(b"\n", b"\r\n"),
    "c37 CR": sse(*HI).replace(b"\n", b"\r"),
    "BOM": b"\xef\xbb\xbf" + sse(*HI),
    "c38 no space after the colon": sse(*HI).replace(b"data: ", b"data:"),
    "c39 comments everywhere": b": a\n\n" + sse(*HI).replace(b"data: {", b":\n: x\ndata: {") + b":\n\n",
    "c41 empty and control-only events": b"retry: 3\n\nid: 1\n\nevent: ping\n\n"
    + b"data:\n\n".join([sse(entry, done=False) for entry in HI])
    + b"data: \n\ndata: : keepalive\n\n"
    + DONE,
    "event and id lines": sse(*HI).replace(b"data: {", b"event: message\nid: 7\ndata: {"),
    "c42 data over several lines": sse(*HI).replace(b'"choices"', b'\ndata: "choices"'),
    "blank lines": b"\n\n" + sse(*HI).replace(b"\n\n", b"\n\n\n\n"),
    "data that is no object": b"data: null\n\ndata: [1,2]\n\n" + sse(*HI),
    "an array around each object": b"".join([sse([entry], done=False) for entry in HI]) + DONE,
    "c48 ndjson": b"".join(sse(entry, done=False)[6:-1] for entry in HI),
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_framing_of_the_upstream_never_shows(name):
    found = relayed(FRAMINGS[name])
    assert found.told == HI_TOLD


def test_c48_c40_json_in_the_place_of_a_stream_becomes_chunks():
    message = {"role": "assistant", "content": "Hi", "tool_calls": [call(None, "a", "f", "{}", type="function")]}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE}
    body["choices"] = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}]
    for text in (json.dumps(body).encode(), b"\n\n" + json.dumps(body, indent=1).encode()):
        for content_type in ("application/json", "text/event-stream", None):
            found = relayed(text, splits=0, include_usage=True, content_type=content_type)
            delta = {"role": "assistant", "content": "Hi", **begun(0, "a", "f", "{}")}
            assert found.told == [(0, delta, None), (0, {}, "tool_calls"), ("usage", USAGE), "[DONE]"]


def test_c48_json_with_an_error_is_an_http_status():
    found = relayed(b'{"error":{"message":"No credits","code":402}}\n', content_type="application/json")
    assert (found.started, found.failed.status, found.failed.message) == (False, 402, "No credits")


# -- halves of surrogate pairs ----------------------------------------------------------------------------


def raw(text):
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text


def test_c34_halves_of_a_character_are_rejoined_and_lone_ones_replaced():
    stream = sse(
        raw(b"a\\ud83d"), raw(b""), raw(b"\\ude00b"), raw(b"c\\ud83d"), raw(b"d"), raw(b"\\ude00"), raw(b"e\\ud83d")
    )
    texts = [delta.get("content") for _, delta, _ in relayed(stream).told[:-1]]
    assert texts == ["", "a", "", "😀b", "c", "\ufffdd", "\ufffd", "e", "\ufffd"]


def test_halves_wait_for_their_own_field_and_tool_call():
    def args(index, text):
        return (
            b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":"%b"}}]}}]}\n\n'
            % (index, text)
        )

    stream = sse(
        chunk({"tool_calls": [call(0, "a", "f", "1"), call(1, "b", "g", "2")]}),
        args(0, b"\\ud83d"),
        args(1, b"\\ud83d"),
        raw(b"\\ud83d"),
        raw(b"\\ude00"),
        args(1, b"\\ude01"),
        args(0, b"\\ude02"),
        args(0, b"\\ud83d"),
    )
    joined = {0: "", 1: "", "text": ""}
    for _, delta, _ in relayed(stream).told[:-1]:
        joined["text"] += delta.get("content") or ""
        for entry in delta.get("tool_calls", ()):
            joined[entry["index"]] += entry["function"]["arguments"]
    assert joined == {0: "1😂\ufffd", 1: "2😁", "text": "😀"}


def test_s8_s9_raw_line_breaks_bad_bytes_and_nan_never_pass():
    bad = sse(
        FIRST,
        raw("a\u2028b".encode()),
        raw("c\x85".encode()),
        raw(b"d\xff"),
        raw(b"ok"),
        b'data: {"choices":[{"index":0,"delta":{"content":"e"},"x":NaN}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"f"},"x":1e400}]}\n\n',
    )
    found = relayed(bad)
    texts = [delta["content"] for _, delta, _ in found.told[1:-1]]
    assert texts == ["a\u2028b", "c\x85", "d\ufffd", "ok", "e", "f"]


# -- the machine ------------------------------------------------------------------------------------------


def test_nothing_goes_out_before_something_meaningful_and_each_frame_in_time():
    relay = Relay("openai", "openai", content_type="text/event-stream")
    assert relay.feed(b": hello\n\n" + sse({"choices": [], "prompt_filter_results": []}, done=False)) == b""
    assert (relay.started, relay.ended, relay.finished, relay.ending) == (False, False, False, None)
    frames = [sse(entry, done=False) for entry in HI]
    assert told(relay.feed(frames[0][:-1])) == []
    assert told(relay.feed(frames[0][-1:])) == HI_TOLD[:1]
    assert relay.started
    assert relay.feed(frames[1]) == frames[1]
    assert relay.feed(frames[2]) == b""
    assert (relay.finished, relay.ended) == (True, False)
    assert told(relay.feed(DONE)) == HI_TOLD[2:]
    assert (relay.finished, relay.ended, str(relay.ending)) == (False, True, "completed")
    assert relay.feed(frames[1]) == relay.close() == relay.close() == b""


def test_c39_comments_are_not_copied():
    relay = Relay("openai", "openai")
    for data in (b": ping\n\n", sse(FIRST, done=False), b": ping\n\n", b"", b":\n\n"):
        assert b"ping" not in relay.feed(data)
    assert relay.started


def test_what_an_upstream_says_of_its_failure_can_be_cleaned():
    for frames in (b"", sse(FIRST, done=False)):
        relay = Relay("openai", "openai", clean=lambda failed: failed._replace(message=failed.message.upper()))
        out = relay.feed(frames + b'data: {"error": {"message": "key sk-1"}}\n\n')
        assert relay.failed is not None
        assert relay.failed.message == "KEY SK-1"
        assert b"key sk-1" not in out


def test_c24_an_error_from_outside_is_told_in_band_and_never_followed_by_done():
    relay = Relay("openai", "openai")
    relay.feed(sse(*HI[:2], done=False))
    failed = Failed("idle", 504, code="upstream_timeout")
    assert told(relay.fail(failed)) == [("error", "upstream_timeout")]
    assert (relay.failed, str(relay.ending)) == (failed, "failed")
    assert relay.fail(Failed("again")) == relay.close() == b""
    with pytest.raises(LocalProtocolError):
        relay.feed(b"x")


def test_an_error_from_outside_before_anything_was_sent_is_silent():
    for fed in (b"", b"\n", sse({"choices": []}, done=False)):
        relay = Relay("openai", "openai")
        relay.feed(fed)
        assert relay.fail(Failed("gone")) == b""
        assert (relay.started, relay.failed.message, str(relay.ending)) == (False, "gone", "failed")


def test_fail_after_the_end_changes_nothing():
    relay = Relay("openai", "openai")
    relay.feed(sse(*HI))
    assert relay.fail(Failed("late")) == b""
    assert (relay.failed, str(relay.ending)) == (None, "completed")


def test_the_look_changes_nothing_but_the_cost():
    """Streams with every shape that it knows, against the same relay that may learn none."""
    shapes = (
        [{"content": t} for t in MULTILINGUAL]
        + [{"reasoning": t} for t in MULTILINGUAL]
        + [{"content": ""}, {"reasoning": ""}]
    )
    objects = [FIRST, *[chunk(shape, obfuscation="ab" * (at % 3)) for at, shape in enumerate(shapes * 2)]]
    objects += [chunk(shape, index=at % 2) for at, shape in enumerate(shapes * 2)]
    objects += [
        chunk({"tool_calls": [call(0, "a", "f", "{")]}),
        *[chunk(more(0, "x")) for _ in range(5)],
        chunk({}, "stop"),
    ]
    stream = sse(*objects, raw(b"late \\u0416"), raw(b"\\/"))
    for piece in (len(stream), 1460, 97):
        pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
        plain = Relay("openai", "openai", content_type="text/event-stream")
        plain.feed(b": begin\n\n")
        plain._pipe._look._lessons = 0
        looked = Relay("openai", "openai")
        looked.feed(b": begin\n\n")
        assert drive(looked, pieces) == drive(plain, pieces)


def test_c45_a_stream_in_single_bytes_costs_no_more_than_its_frames():
    found = drive(Relay("openai", "openai"), feeding.bytewise(STREAM))
    assert found[0] == STREAM


def test_tokens_that_come_one_by_one_go_the_short_way_to_the_same_end():
    texts = ["Hel", "lo", " мир", "👩‍💻", "\\n", "\u2028", '\\"', "", "\x7f"]
    frames = [
        chunk(ROLE),
        *(chunk(delta={"content": text}) for text in ["first", *texts]),
        chunk(delta={}, finish="stop"),
    ]
    pieces = [sse(frame, done=False) for frame in frames] + [DONE]
    relay, short = Relay("openai", "openai"), 0
    quick = []
    out = b""
    for piece in pieces:
        if relay._quick is not None:
            passed = relay._quick(piece)
            short += passed is not None
            quick.append(passed in (None, piece))
            if passed is not None:
                out += passed
                continue
        out += relay.feed(piece)
    assert all(quick)
    assert short >= 5
    assert out == drive(Relay("openai", "openai"), [b"".join(pieces)])[0]


def test_the_short_way_counts_what_passes():
    relay, other = Relay("openai", "openai"), Relay("openai", "openai")
    pieces = [sse(chunk(delta={"content": f"token {at}" * at}), done=False) for at in range(9)]
    for piece in (sse(chunk(ROLE), done=False), *pieces):
        relay.feed(piece)
        other.feed(bytearray(piece))  # which is no bytes, and goes the long way
    for name in ("frames", "bytes_in", "bytes_out", "largest_frame"):
        assert getattr(relay.stats, name) == getattr(other.stats, name), name


def test_a_chunk_whose_identity_is_mended_keeps_the_order_of_its_members():
    """llama.cpp puts `choices` first, and another `created` in each second."""
    first = {"choices": [{"finish_reason": None, "index": 0, "delta": {"content": "a"}}], "created": 1, "id": "c"}
    rest = {"model": "m", "object": "chat.completion.chunk"}
    out = drive(Relay("openai", "openai"), [sse(first | rest, {**first, "created": 2} | rest)])[0]
    events = [json.loads(event[6:]) for event in out.split(b"\n\n") if b'"content":"a"' in event.replace(b" ", b"")]
    assert [(list(event), event["created"]) for event in events] == [(list(first | rest), 1)] * 2
