"""The chunks that a client of OpenAI's dialect reads, whatever its upstream makes of them."""

import json

import pytest
import trio.testing

from answers import (
    DONE,
    LAST,
    STREAM,
    chunked,
    completion,
    delta,
    finish,
    head,
    payloads,
    reasoning,
    reply,
    role,
    sse,
    stream,
    text,
    tool,
    usage,
)
from rig import Rig
from scripted import Upstream

HI = [role(), text("Hi")]
COUNTED = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
ASKED = {"include_usage": True}


async def ask(nursery, *script, **body):
    """The events of a streamed chat whose upstream follows `script`."""
    answer = await Rig(nursery, Upstream(nursery, script)).ask(stream=True, **body)
    assert answer.status == 200, answer.body
    return payloads(answer.body)


async def said(nursery, *chunks, **body):
    """The chunks that come out where these go in. The stream must be complete."""
    *found, last = await ask(nursery, *stream(*chunks), **body)
    assert last == DONE
    return found


def choices(chunks, index=0):
    return [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]


def deltas(chunks, index=0):
    return [choice["delta"] for choice in choices(chunks, index)]


# -- usage ------------------------------------------------------------------------------------------------

USAGES = {
    "in a chunk of its own": [*HI, finish(), usage(), DONE],
    "with the finish": [*HI, finish() | {"usage": COUNTED}, DONE],
    "before the finish": [*HI, usage(), finish(), DONE],
    "on each chunk, growing": [
        *(c | {"usage": COUNTED | {"completion_tokens": at, "total_tokens": 9 + at}} for at, c in enumerate(HI)),
        finish() | {"usage": COUNTED},
        DONE,
    ],
    "null until it comes": [*(c | {"usage": None} for c in [*HI, finish()]), usage(), DONE],
    "where Groq has it": [*HI, finish() | {"x_groq": {"id": "req_1", "usage": COUNTED}}, DONE],
    "with zeros after it": [*HI, finish(), usage(), usage(0, 0), DONE],
    "without an end marker": [*HI, finish(), usage()],
    "with choices that are null": [*HI, finish(), usage() | {"choices": None}, DONE],
}


@pytest.mark.parametrize("chunks", USAGES.values(), ids=USAGES)
async def test_c51_usage_comes_once_and_last_where_it_was_asked_for(nursery, autojump_clock, chunks):
    found = await said(nursery, *chunks, stream_options=ASKED)
    *before, last = found
    assert last["choices"] == []
    assert last["usage"] == COUNTED
    assert last["object"] == "chat.completion.chunk"
    assert choices(before)[-1]["finish_reason"] == "stop"
    assert not any(chunk.get("usage") for chunk in before)
    assert all(chunk["choices"] for chunk in before)


@pytest.mark.parametrize("options", [{}, {"stream_options": None}, {"stream_options": {"include_obfuscation": False}}])
@pytest.mark.parametrize("chunks", USAGES.values(), ids=USAGES)
async def test_c51_no_usage_where_it_was_not_asked_for(nursery, autojump_clock, caplog, chunks, options):
    """Though it was asked for upstream, and is booked."""
    caplog.set_level("INFO", "penstock.requests")
    up = Upstream(nursery, stream(*chunks))
    answer = await Rig(nursery, up).ask(stream=True, **options)
    *found, last = payloads(answer.body)
    assert last == DONE
    assert all(chunk["choices"] for chunk in found)
    assert not any(chunk.get("usage") or chunk.get("x_groq", {}).get("usage") for chunk in found)
    assert up.requests[0].json["stream_options"] == (options.get("stream_options") or {}) | ASKED
    await trio.testing.wait_all_tasks_blocked()
    assert " tokens=9+2 " in caplog.text


async def test_c51_a_client_that_declines_usage_is_taken_at_its_word(nursery, autojump_clock):
    up = Upstream(nursery, stream(*HI, finish(), DONE))
    await Rig(nursery, up).ask(stream=True, stream_options={"include_usage": False})
    assert up.requests[0].json["stream_options"] == {"include_usage": False}


async def test_c51_usage_is_not_asked_for_where_nothing_streams(nursery, autojump_clock):
    up = Upstream(nursery, [reply(completion())])
    answer = await Rig(nursery, up).ask(stream_options=ASKED)
    assert answer.json["usage"] == COUNTED
    assert "stream_options" not in up.requests[0].json


async def test_c52_usage_after_finish_reason_is_not_lost(nursery, autojump_clock):
    end = [chunked(sse(finish())), 3, chunked(sse(usage())), 3, chunked(sse(DONE)) + LAST]
    *_, last, done = await ask(nursery, STREAM, chunked(sse(*HI)), *end, stream_options=ASKED)
    assert (last["usage"], done) == (COUNTED, DONE)


async def test_c52_the_wait_for_usage_is_bounded(nursery, autojump_clock):
    """An upstream that has finished and says nothing more has still said all of its answer."""
    up = Upstream(nursery, [STREAM, chunked(sse(*HI, finish())), 3600, chunked(sse(usage(), DONE))])
    rig = Rig(nursery, up)
    answer = await rig.ask(stream=True, stream_options=ASKED)
    assert payloads(answer.body) == [*HI, finish(), DONE]
    assert trio.current_time() == 5.0
    assert rig.gateway.ledger.endings == {"completed": 1}


# -- choices ----------------------------------------------------------------------------------------------

FILTER = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{}]}
NOTHING = {
    "Azure's filter results": FILTER,
    "Azure's late filter results": FILTER
    | {"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {}}]},
    "llama.cpp's progress": text("") | {"choices": [], "prompt_progress": {"total": 9}},
    "choices that are null": text("") | {"choices": None},
    "choices that are missing": {"id": "x", "object": "chat.completion.chunk"},
    "a choice that is null": text("") | {"choices": [None]},
    "no object": 42,
}


@pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
async def test_c55_empty_or_absent_choices(nursery, autojump_clock, nothing):
    raw = b"data: " + json.dumps(nothing).encode() + b"\n\n"
    events = [sse(chunk) for chunk in (*HI, finish(), DONE)]
    assert await ask(nursery, STREAM, chunked(raw + raw.join(events)), LAST) == [*HI, finish(), DONE]


async def test_c55_a_delta_that_is_null_or_absent(nursery, autojump_clock):
    bare = finish()
    del bare["choices"][0]["delta"]
    found = await said(nursery, *HI, text("") | {"choices": [{"index": 0, "delta": None}]}, bare)
    assert [chunk["choices"][0]["delta"] for chunk in found] == [*deltas(HI), {}]
    assert choices(found)[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize("wrong", [[], None], ids=["empty", "null"])
async def test_c55_a_whole_answer_without_choices_is_none(nursery, autojump_clock, wrong):
    answer = await Rig(nursery, Upstream(nursery, [reply(completion() | {"choices": wrong})])).ask()
    assert answer.status == 502
    assert answer.error


# -- finish reasons ---------------------------------------------------------------------------------------


async def test_c57_finish_reason_is_null_until_the_end_and_comes_alone(nursery, autojump_clock):
    wordy = [delta("", role="assistant", content="H"), delta("", content="i"), delta("stop", content="!")]
    found = await said(nursery, *wordy, DONE)
    assert [choice["finish_reason"] for choice in choices(found)] == [None, None, None, "stop"]
    assert deltas(found)[-1] == {}
    assert "".join(d.get("content", "") for d in deltas(found)) == "Hi!"


async def test_c57_finish_reason_comes_once(nursery, autojump_clock):
    found = await said(nursery, *HI, finish(), finish(), text(""), finish(), usage(), DONE)
    assert [c["finish_reason"] for c in choices(found) if c["finish_reason"]] == ["stop"]


REASONS = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "STOP": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "content_filtered": "content_filter",
    "SAFETY": "content_filter",
    "tool_use": "tool_calls",
    "something new": "stop",
}


@pytest.mark.parametrize(("spelt", "expected"), REASONS.items())
async def test_c57_finish_reasons_in_canonical_words(nursery, autojump_clock, spelt, expected):
    found = await said(nursery, *HI, finish(spelt), DONE)
    assert choices(found)[-1]["finish_reason"] == expected


@pytest.mark.parametrize(("reason", "expected"), [("stop", "tool_calls"), ("length", "length")])
async def test_c57_after_tool_calls(nursery, autojump_clock, reason, expected):
    """`stop` means that the tools are to be called; `length` that they must not be."""
    found = await said(nursery, role(), tool(0, '{"x":', id="call_a", name="f"), finish(reason), DONE)
    assert choices(found)[-1]["finish_reason"] == expected


async def test_c57_length_wins(nursery, autojump_clock):
    call = tool(0, '{"x":', id="call_a", name="f")
    found = await said(nursery, role(), call, finish("tool_calls"), finish("length"), DONE)
    assert [c["finish_reason"] for c in choices(found) if c["finish_reason"]] == ["length"]


# -- identity ---------------------------------------------------------------------------------------------

ROLES = {
    "in each chunk": [delta(role="assistant", content=word) for word in "ab"],
    "never": [text("a"), text("b")],
    "null": [delta(role=None, content="a"), text("b")],
    "as a word of its own": [delta(role="model", content="a"), delta(role="model", content="b")],
    "without content": [delta(role="assistant"), text("a"), text("b")],
    "after the first text": [text("a"), delta(role="assistant", content="b")],
}


@pytest.mark.parametrize("chunks", ROLES.values(), ids=ROLES)
async def test_c58_role_in_the_first_chunk_only(nursery, autojump_clock, chunks):
    found = await said(nursery, *chunks, finish(), DONE)
    assert [d.get("role") for d in deltas(found)] == ["assistant"] + [None] * (len(found) - 1)
    assert "".join(d.get("content") or "" for d in deltas(found)) == "ab"


@pytest.mark.parametrize(
    "other",
    [{"id": "other"}, {"created": 1}, {"created": 1.5}, {"model": "other"}, {"object": ""}, {"id": "", "model": ""}],
    ids=str,
)
async def test_c58_one_identity_for_the_whole_stream(nursery, autojump_clock, other):
    found = await said(nursery, *HI, text("!") | other, finish() | other, usage() | other, DONE, stream_options=ASKED)
    assert {(c["id"], c["created"], c["model"], c["object"]) for c in found} == {
        ("chatcmpl-1", 1760000000, "tiny", "chat.completion.chunk")
    }


async def test_c58_an_identity_is_given_where_there_is_none(nursery, autojump_clock):
    bare = [{"choices": chunk["choices"]} for chunk in (*HI, finish())]
    found = await said(nursery, *bare, DONE)
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in found}) == 1
    assert found[0]["id"].startswith("chatcmpl-")
    assert type(found[0]["created"]) is int
    assert found[0]["created"] > 1_700_000_000
    assert found[0]["model"] == "up/tiny"


async def test_c58_each_chunk_has_object_and_index(nursery, autojump_clock):
    bare = [{"id": "x", "choices": [{"delta": c["delta"]} for c in chunk["choices"]]} for chunk in HI]
    found = await said(nursery, *bare, finish(), DONE)
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in found)
    assert [choice["index"] for choice in choices(found)] == [0, 0, 0]


async def test_c58_choice_indices_of_several_choices(nursery, autojump_clock):
    """They interleave, each with its own role and finish; index 0 is seen first whatever comes first."""
    words = [text("b", 1), text("a", 0), text("c", 2), text("B", 1)]
    found = await said(nursery, *words, finish("length", 1), finish("stop", 0), finish("stop", 2), DONE)
    assert found[0]["choices"][0]["index"] == 0
    for index, (word, reason) in enumerate([("a", "stop"), ("bB", "length"), ("c", "stop")]):
        mine = choices(found, index)
        assert [c["delta"].get("role") for c in mine] == ["assistant"] + [None] * (len(mine) - 1)
        assert "".join(c["delta"].get("content") or "" for c in mine) == word
        assert [c["finish_reason"] for c in mine if c["finish_reason"]] == [reason]


@pytest.mark.parametrize("key", ["error", "type", "event", "selected_model_id"])
async def test_c58_no_key_that_clients_take_for_something_else(nursery, autojump_clock, key):
    found = await said(nursery, *(chunk | {key: None} for chunk in (*HI, finish())), DONE)
    assert found == [*HI, finish()]


async def test_c60_reasoning_and_text_of_one_chunk_go_one_after_the_other(nursery, autojump_clock):
    both = delta(reasoning_content="hm", content="Hi")
    found = await said(nursery, role(), reasoning("so "), both, finish(), DONE)
    said_of = [{k: v for k, v in d.items() if v and k != "role"} for d in deltas(found)]
    assert said_of == [{}, {"reasoning_content": "so "}, {"reasoning_content": "hm"}, {"content": "Hi"}, {}]


THINKING = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]
ODD = {
    "a choice that is a text": text("") | {"choices": ["x"]},
    "choices that are an object": text("") | {"choices": {"index": 0}},
    "a delta that is a text": text("") | {"choices": [{"index": 0, "delta": "x"}]},
    "an index that is a text": text("") | {"choices": [{"index": "0", "delta": {"content": "x"}}]},
    "content that is a number": delta(content=7),
    "content in parts": delta(content=THINKING),
    "reasoning that is a number": delta(reasoning_content=7, content=THINKING),
    "a refusal that is an object": delta(refusal={"a": 1}),
    "a role that is a number": delta(role=7, content="x"),
    "calls that are an object": delta(tool_calls={"index": 0}),
    "a call that is a text": delta(tool_calls=["f"]),
    "a call whose function is a text": delta(tool_calls=[{"index": 0, "function": "f"}]),
    "a call whose name is a list": delta(tool_calls=[{"index": 0, "function": {"name": [], "arguments": None}}]),
    "arguments that are an object": delta(tool_calls=[{"function": {"name": "f", "arguments": {"x": 1}}}]),
    "a custom call whose input is an object": delta(
        tool_calls=[{"index": 0, "id": "c", "type": "custom", "custom": {"name": 7, "input": {"x": 1}}}]
    ),
    "details that are numbers": delta(reasoning_details=[7]),
    "usage that is a text": text("") | {"usage": "x"},
    "counts that are texts": text("") | {"usage": {"prompt_tokens": "9"}},
    "an id that is a list": text("") | {"id": [], "created": {}, "model": 7},
    "a finish reason that is a number": delta(7),
    "logprobs that are a text": text("") | {"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": "x"}]},
}


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("first", [True, False], ids=["first", "in mid-stream"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_c31_odd_chunks_are_mended_or_left_out(nursery, autojump_clock, caplog, odd, first, wants_stream):
    """They never bring the gateway to a fault of its own, and what goes out has the types that clients rely on."""
    chunks = [odd, *HI] if first else [*HI, odd]
    answer = await Rig(nursery, Upstream(nursery, stream(*chunks, finish(), DONE))).ask(stream=wants_stream)
    assert answer.status == 200
    assert "bug" not in caplog.text
    if wants_stream:
        *found, last = payloads(answer.body)
        assert last == DONE
        messages = [choice["delta"] for chunk in found for choice in chunk["choices"]]
    else:
        messages = [choice["message"] for choice in answer.json["choices"]]
    assert "Hi" in "".join(message.get("content") or "" for message in messages)
    for message in messages:
        assert all(isinstance(message.get(key) or "", str) for key in ("content", "reasoning_content", "refusal"))
        for call in message.get("tool_calls", ()):
            assert all(isinstance(value, str) for value in (call.get("function") or call["custom"]).values())


async def test_c59_the_model_is_as_the_upstream_says_it(nursery, autojump_clock):
    """By whatever name it was asked for, streamed or not."""
    toml = '[aliases]\nfast = "up/tiny"\n[routes.safe]\nproviders = ["up"]\n'
    rig = Rig(nursery, Upstream(nursery, *[[reply(completion())], stream(*HI, finish(), DONE)] * 3), toml)
    for name in ("up/tiny", "fast", "safe/tiny"):
        assert (await rig.ask(model=name)).json["model"] == "tiny"
        answer = await rig.ask(model=name, stream=True)
        assert {chunk["model"] for chunk in payloads(answer.body)[:-1]} == {"tiny"}


# -- what is passed on ------------------------------------------------------------------------------------

BIG = 123456789012345678901234567890
UNKNOWN = (
    '"system_fingerprint":null,"provider":"x","timings":{"ms":1.50,"n":1e2},"nested":[{"a":[]},-0.0,1E+2],'
    f'"escaped":"\\u0416\\/","big":{BIG}'
)


def with_unknown(chunk):
    """The text of a chunk with fields that nobody knows, in a form that nobody would write again."""
    return (json.dumps(chunk, ensure_ascii=False)[:-1] + ",  " + UNKNOWN + " }").encode()


async def test_c61_unknown_fields_of_chunks_survive_byte_for_byte(nursery, autojump_clock):
    chunks = [with_unknown(chunk) for chunk in (*HI, text("Ж"), delta(content="!", audio={"id": BIG}))]
    body = b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks)
    answer = await Rig(nursery, Upstream(nursery, [STREAM, chunked(body + sse(finish(), DONE)), LAST])).ask(stream=True)
    assert answer.body == body + sse(finish(), DONE)


async def test_c61_unknown_fields_survive_in_chunks_that_are_mended(nursery, autojump_clock):
    chunks = [text("a"), delta("stop", content="b", annotations=[BIG]), usage()]
    body = b"".join(b"data: " + with_unknown(chunk) + b"\n\n" for chunk in chunks) + sse(DONE)
    found = await ask(nursery, STREAM, chunked(body), LAST, stream_options=ASKED)
    assert len(found) == 6  # role, a, b, finish, usage, end
    assert all(chunk["big"] == BIG and chunk["nested"] == [{"a": []}, -0.0, 100.0] for chunk in found[1:-1])
    assert found[2]["choices"][0]["delta"]["annotations"] == [BIG]


async def test_c61_unknown_fields_of_a_whole_answer_survive_byte_for_byte(nursery, autojump_clock):
    raw = with_unknown(completion("Ж", thinking_blocks=[{"n": BIG}]))
    answer = await Rig(nursery, Upstream(nursery, [reply(raw)])).ask()
    assert answer.body == raw


REQUEST = (
    '{ "messages" : [{"role":"user","content":"\\u0416 Ж","cache_control":{"type":"ephemeral"}}],\n'
    '  "seed":BIG, "temperature":1.0, "top_k": 4e1, "chat_template_kwargs":{"thinking":true, "n":[1.10]},\n'
    '\t"model"  :  "up/tiny"  , "extra_body":{"model":"not this"}, "stop":null }'
)
REQUEST = REQUEST.replace("BIG", str(BIG)).encode()


async def test_c61_the_request_survives_byte_for_byte(nursery, autojump_clock):
    """Only `model` is spliced, and only at the top."""
    up = Upstream(nursery, [reply(completion())])
    client = Rig(nursery, up).connect()
    await client.request("POST", "/v1/chat/completions", {"content-type": "application/json"}, REQUEST)
    assert (await client.answer()).status == 200
    assert up.requests[0].body == REQUEST.replace(b'"up/tiny"', b'"tiny"')


async def test_c61_a_large_request_survives_byte_for_byte(nursery, autojump_clock):
    """It is judged in slices, with the same verdict."""
    body = REQUEST.replace(b'"cache_control"', b'"name":"' + "Ж".encode() * 200_000 + b'","cache_control"')
    up = Upstream(nursery, [reply(completion())])
    client = Rig(nursery, up).connect()
    await client.request("POST", "/v1/chat/completions", {"content-type": "application/json"}, body)
    assert (await client.answer()).status == 200
    assert up.requests[0].body == body.replace(b'"up/tiny"', b'"tiny"')


async def test_c61_a_streaming_request_is_changed_in_nothing_but_model_and_usage(nursery, autojump_clock):
    body = REQUEST.replace(b'"stop":null', b'"stream": true')
    up = Upstream(nursery, stream(*HI, finish(), DONE))
    client = Rig(nursery, up).connect()
    await client.request("POST", "/v1/chat/completions", {"content-type": "application/json"}, body)
    assert (await client.answer()).status == 200
    sent = up.requests[0].body
    added = sent.index(b'"stream_options"')
    assert json.loads(sent)["stream_options"] == ASKED
    assert sent.startswith(body.replace(b'"up/tiny"', b'"tiny"').rstrip(b" }"))
    assert added > sent.index(b'"stream": true')


@pytest.mark.parametrize("doubled", ["model", "messages", "stream"])
async def test_c61_a_member_that_stands_twice_is_refused(nursery, autojump_clock, doubled):
    """What was judged must be what is sent, whichever of the two an upstream would read."""
    up = Upstream(nursery)
    client = Rig(nursery, up).connect()
    twice = REQUEST.replace(b'"stop"', b'"%b":1, "%b"' % (doubled.encode(), doubled.encode()))
    await client.request("POST", "/v1/chat/completions", {"content-type": "application/json"}, twice)
    answer = await client.answer()
    assert answer.status == 400
    assert answer.error["code"] == "duplicate_key"
    assert not up.requests


async def test_c61_headers_of_the_upstream_that_mean_something(nursery, autojump_clock):
    typed = head(
        200,
        ("Content-Type", "text/event-stream"),
        ("Transfer-Encoding", "chunked"),
        ("X-RateLimit-Remaining-Tokens", "5"),
        ("X-Request-Id", "theirs"),
        ("Set-Cookie", "a=b"),
        ("Server", "up"),
        ("Alt-Svc", "h3"),
    )
    script = [typed, chunked(sse(*HI, finish(), DONE)), LAST]
    answer = await Rig(nursery, Upstream(nursery, script)).ask(stream=True)
    assert answer.headers["x-ratelimit-remaining-tokens"] == "5"
    assert answer.headers["x-upstream-request-id"] == "theirs"
    assert answer.headers["x-request-id"].startswith("req_")
    assert not {"set-cookie", "server", "alt-svc"} & answer.headers.keys()
