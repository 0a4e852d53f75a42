"""A chat through Ollama's own API, as a client of OpenAI's dialect sees it, and as Ollama does."""

import json

import pytest
import trio

from answers import DONE, LAST, NDJSON, chunked, completion, content, line, ndjson, payloads, reply
from rig import Rig
from scripted import Upstream

OLLAMA = '[providers.up]\npreset = "ollama"\n'
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def lines(*values):
    """A whole streamed answer as a script, one transfer chunk for each line."""
    return [NDJSON, *(chunked(ndjson(value)) for value in values), LAST]


def whole(said="Hello", done="stop", **message):
    """An answer in one piece."""
    return [reply(line(said, done=done, **message))]


def call(name="weather", id=None, **arguments):
    """A tool call as Ollama says it; older servers give no id."""
    function = {"function": {"name": name, "arguments": arguments}}
    return {"id": id, **function} if id else function


async def ask(nursery, script, **body):
    """The answer to one chat, and the request as Ollama saw it."""
    up = Upstream(nursery, script)
    answer = await Rig(nursery, up, OLLAMA).ask(**body)
    return answer, up.requests[0]


async def deltas(nursery, *values, **body):
    """The deltas and the finish reason of choice 0 of a complete stream."""
    answer, _ = await ask(nursery, lines(*values), stream=True, **body)
    *chunks, last = payloads(answer.body)
    assert last == DONE
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [choice["index"] for choice in choices] == [0] * len(choices)
    *before, finish = choices
    assert finish["delta"] == {}
    assert [choice["finish_reason"] for choice in before] == [None] * len(before)
    return [choice["delta"] for choice in before], finish["finish_reason"]


# -- what Ollama is sent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wants_stream", [True, False])
async def test_a_plain_chat(nursery, autojump_clock, wants_stream):
    script = lines(line("Hel"), line("lo"), line(done="stop")) if wants_stream else whole()
    answer, request = await ask(nursery, script, model="up/llama3.2:3b", stream=wants_stream)
    assert (request.method, request.target) == ("POST", "/api/chat")
    assert request.headers["content-type"] == "application/json"
    assert request.json == {
        "model": "llama3.2:3b",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": wants_stream,
    }
    assert answer.status == 200


MAPPED = {
    "max_tokens": ({"max_tokens": 5}, {"options": {"num_predict": 5}}),
    "max_completion_tokens": ({"max_completion_tokens": 5, "max_tokens": 9}, {"options": {"num_predict": 5}}),
    "sampling": (
        {"temperature": 0.5, "top_p": 1, "seed": 2**70, "presence_penalty": 1, "frequency_penalty": -1},
        {
            "options": {
                "temperature": 0.5,
                "top_p": 1,
                "seed": 2**70,
                "presence_penalty": 1,
                "frequency_penalty": -1,
            }
        },
    ),
    "one stop word is a list": ({"stop": "x"}, {"options": {"stop": ["x"]}}),
    "stop words": ({"stop": ["x", "y"]}, {"options": {"stop": ["x", "y"]}}),
    "JSON mode": ({"response_format": {"type": "json_object"}}, {"format": "json"}),
    "a schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
        {"format": {"type": "object"}},
    ),
    "text": ({"response_format": {"type": "text"}}, {}),
    "no thinking": ({"reasoning_effort": "none"}, {"think": False}),
    "some thinking": ({"reasoning_effort": "minimal"}, {"think": "low"}),
    "much thinking": ({"reasoning": {"effort": "xhigh"}}, {"think": "max"}),
    "tools": ({"tools": [WEATHER], "tool_choice": "auto", "parallel_tool_calls": True}, {"tools": [WEATHER]}),
    "no tools": ({"tools": []}, {}),
    "options of its own": ({"options": {"num_ctx": 8192}, "keep_alive": "5m"}, None),
    "what it has no word for": ({"n": 1, "logit_bias": {}, "user": "u", "stream_options": None}, {}),
    "nulls": ({"temperature": None, "stop": None, "tools": None, "max_tokens": None}, {}),
}


@pytest.mark.parametrize(("asked", "sent"), MAPPED.values(), ids=MAPPED)
async def test_the_request_in_ollamas_words(nursery, autojump_clock, asked, sent):
    _, request = await ask(nursery, whole(), **asked)
    found = {key: value for key, value in request.json.items() if key not in ("model", "messages", "stream")}
    assert found == (asked if sent is None else sent)


PNG = "iVBORw0KGgo="
CALLED = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
MESSAGES = {
    "a developer is the system": (
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": "Be brief."},
    ),
    "content in parts": (
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "ab"},
    ),
    "an image": (
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
        {"role": "user", "content": "What?", "images": [PNG]},
    ),
    "no content": ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
    "reasoning of before": (
        {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        {"role": "assistant", "content": "a", "thinking": "hm"},
    ),
}


@pytest.mark.parametrize(("said", "sent"), MESSAGES.values(), ids=MESSAGES)
async def test_messages_in_ollamas_words(nursery, autojump_clock, said, sent):
    _, request = await ask(nursery, whole(), messages=[said])
    assert request.json["messages"] == [sent]


async def test_a_tools_answer_names_its_tool(nursery, autojump_clock):
    """OpenAI's answer names the call's id only, Ollama's templates want the tool's name. Arguments are objects."""
    history = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "call_a", "content": "rain"},
    ]
    _, request = await ask(nursery, whole(), messages=history)
    assert request.json["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_a", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
        },
        {"role": "tool", "content": "rain", "tool_name": "weather", "tool_call_id": "call_a"},
    ]


REMOTE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}


async def test_c27_an_image_that_ollama_cannot_fetch_is_refused(nursery, autojump_clock):
    """By us and before Ollama is troubled: it is the request's fault, and no provider's."""
    up = Upstream(nursery)
    rig = Rig(nursery, up, OLLAMA)
    client = rig.connect()
    for count in (1, 2):
        await client.chat(messages=[{"role": "user", "content": [REMOTE]}])
        answer = await client.answer()
        assert answer.status == 400
        assert answer.error["type"] == "invalid_request_error"
        assert "data URL" in answer.error["message"]
        assert rig.gateway.ledger.endings == {"failed": count}
    assert not up.requests
    assert not rig.gateway.ledger.failures


async def test_what_ollama_cannot_be_told_another_provider_may_be(nursery, autojump_clock):
    up, backup = Upstream(nursery), Upstream(nursery, [reply(completion("A cat."))])
    rig = Rig(nursery, up, OLLAMA + '[routes.safe]\nproviders = ["up", "backup"]\n', backup=backup)
    answer = await rig.ask(model="safe/tiny", messages=[{"role": "user", "content": [REMOTE]}])
    assert answer.json["choices"][0]["message"]["content"] == "A cat."
    assert not up.requests


ODD = {
    "a message that is no object": {"messages": ["Hi"]},
    "content that is a number": {"messages": [{"role": "user", "content": 7}]},
    "parts of the wrong form": {"messages": [{"role": "user", "content": [7, {"type": "image_url", "image_url": 7}]}]},
    "a role that is a list": {"messages": [{"role": [], "content": "a"}]},
    "calls that are no list": {"messages": [{"role": "assistant", "tool_calls": 7}]},
    "calls that are no objects": {"messages": [{"role": "assistant", "tool_calls": ["f"]}]},
    "a call without a form": {"messages": [{"role": "assistant", "tool_calls": [{"id": [], "function": "f"}]}]},
    "an id that is a list": {"messages": [{"role": "tool", "tool_call_id": [], "content": "a"}]},
    "tools that are no list": {"tools": 7},
    "a format that is a text": {"response_format": "json"},
    "a schema that is a text": {"response_format": {"type": "json_schema", "json_schema": "x"}},
    "an effort that is a list": {"reasoning_effort": ["high"]},
    "options that are a text": {"options": "x"},
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
async def test_c31_odd_requests_are_refused_or_passed_on_and_no_bug_of_ours(nursery, autojump_clock, body):
    up = Upstream(nursery, whole())
    answer = await Rig(nursery, up, OLLAMA).ask(**body)
    assert answer.status in (200, 400), answer.body
    assert len(up.requests) == (answer.status == 200)


# -- what the client reads --------------------------------------------------------------------------------


async def test_a_stream_is_one_of_openais(nursery, autojump_clock):
    script = lines(line("Hel"), line("lo"), line(done="stop"))
    answer, _ = await ask(nursery, script, model="up/tiny", stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *chunks, last = payloads(answer.body)
    assert last == DONE
    assert content(chunks) == "Hello"
    assert [choice["delta"].get("role") for chunk in chunks for choice in chunk["choices"]] == [
        "assistant",
        None,
        None,
        None,
    ]
    assert {frozenset(chunk) for chunk in chunks} == {frozenset(("id", "object", "created", "model", "choices"))}
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert chunks[0]["id"] == answer.headers["x-request-id"].replace("req_", "chatcmpl-")
    assert type(chunks[0]["created"]) is int
    assert {chunk["model"] for chunk in chunks} == {"tiny"}


async def test_each_line_leaves_when_it_comes(nursery, autojump_clock):
    script = [NDJSON, 1, chunked(ndjson(line("a"))), 1, chunked(ndjson(line("b"), line(done="stop"))), LAST]
    answer, _ = await ask(nursery, script, stream=True)
    assert [(at, content(payloads(piece))) for at, piece in answer.pieces] == [(1.0, "a"), (2.0, "b")]


async def test_a_whole_answer(nursery, autojump_clock):
    answer, _ = await ask(nursery, whole("Hello"))
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "id": answer.headers["x-request-id"].replace("req_", "chatcmpl-"),
        "object": "chat.completion",
        "created": answer.json["created"],
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
    assert answer.json["created"] > 1_700_000_000


@pytest.mark.parametrize("wants_stream", [True, False])
async def test_c48_ollama_answers_in_the_other_way(nursery, autojump_clock, wants_stream):
    """A stream where none was asked for, and one object where a stream was."""
    script = whole("Hello") if wants_stream else lines(line("Hel"), line("lo"), line(done="stop"))
    answer, _ = await ask(nursery, script, stream=wants_stream)
    found = content(payloads(answer.body)) if wants_stream else answer.json["choices"][0]["message"]["content"]
    assert found == "Hello"


@pytest.mark.parametrize(("wanted", "expected"), [(True, 1), (False, 0), (None, 0)])
async def test_c51_usage_is_told_where_it_was_asked_for(nursery, autojump_clock, wanted, expected):
    options = {"include_usage": wanted}
    answer, _ = await ask(nursery, lines(line("a"), line(done="stop")), stream=True, stream_options=options)
    *chunks, _ = payloads(answer.body)
    assert sum("usage" in chunk for chunk in chunks) == expected
    if expected:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"] == {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


async def test_a_count_that_is_missing_is_zero(nursery, autojump_clock):
    """Ollama leaves the prompt's count out where its cache had the prompt."""
    last = line(done="stop")
    del last["prompt_eval_count"]
    answer, _ = await ask(nursery, [reply(line("Hello") | last | {"message": {"role": "assistant", "content": "a"}})])
    assert answer.json["usage"] == {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}


@pytest.mark.parametrize(
    ("reason", "expected"), [("stop", "stop"), ("length", "length"), ("load", "stop"), ("something new", "stop")]
)
async def test_c57_done_reason(nursery, autojump_clock, reason, expected):
    assert (await deltas(nursery, line("a"), line(done=reason)))[1] == expected
    answer, _ = await ask(nursery, whole("a", done=reason))
    assert answer.json["choices"][0]["finish_reason"] == expected


async def test_c60_thinking_is_reasoning(nursery, autojump_clock):
    values = [line(thinking="h"), line(thinking="m"), line("Hi", thinking="."), line(done="stop")]
    found, _ = await deltas(nursery, *values)
    assert [{k: v for k, v in delta.items() if k != "role" and v} for delta in found if delta != {}] == [
        {},
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"reasoning_content": "."},
        {"content": "Hi"},
    ]
    answer, _ = await ask(nursery, whole("Hi", thinking="hm."))
    message = answer.json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm.", "Hi")


def calls_in(found):
    """The calls as a client puts them together: by index, the arguments joined."""
    whole = {}
    for entry in (entry for delta in found for entry in delta.get("tool_calls", ())):
        known = whole.setdefault(entry["index"], {"id": "", "name": "", "arguments": ""})
        known["id"] += entry.get("id", "")
        known["name"] += entry["function"].get("name", "")
        known["arguments"] += entry["function"]["arguments"]
    return [(index, c["id"], c["name"], json.loads(c["arguments"])) for index, c in whole.items()]


async def test_c56_tool_calls(nursery, autojump_clock):
    """Whole calls with objects become calls with text; each has an index and an id of its own."""
    both = line(tool_calls=[call(city="Oslo", id="call_a"), call(city="Ærø")])
    found, reason = await deltas(nursery, both, line(tool_calls=[call("time")]), line(done="stop"))
    calls = calls_in(found)
    assert [(index, name, arguments) for index, _, name, arguments in calls] == [
        (0, "weather", {"city": "Oslo"}),
        (1, "weather", {"city": "Ærø"}),
        (2, "time", {}),
    ]
    ids = [id for _, id, _, _ in calls]
    assert ids[0] == "call_a"
    assert all(id.startswith("call_") for id in ids)
    assert len(set(ids)) == 3
    assert reason == "tool_calls"


async def test_c56_tool_calls_in_a_whole_answer(nursery, autojump_clock):
    answer, _ = await ask(nursery, whole("", tool_calls=[call(city="Oslo")]))
    (choice,) = answer.json["choices"]
    (made,) = choice["message"]["tool_calls"]
    assert made["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert (made["type"], made["id"][:5]) == ("function", "call_")
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"


async def test_c57_length_wins_over_tool_calls(nursery, autojump_clock):
    assert (await deltas(nursery, line(tool_calls=[call()]), line(done="length")))[1] == "length"


async def test_c34_half_characters(nursery, autojump_clock):
    raw = [b'{"message":{"role":"assistant","content":"a\\ud83d"},"done":false}\n']
    raw += [b'{"message":{"role":"assistant","content":"\\ude00\\ud83d"},"done":false}\n', ndjson(line(done="stop"))]
    answer, _ = await ask(nursery, [NDJSON, *map(chunked, raw), LAST], stream=True)
    assert content(payloads(answer.body)) == "a😀\ufffd"


# -- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize(
    ("status", "message"),
    [(400, "invalid options"), (404, "model 'x' not found"), (500, "out of memory"), (503, "server busy")],
)
async def test_c25_errors_become_openais_objects(nursery, autojump_clock, status, message, wants_stream):
    """Ollama's are texts, and OpenAI's clients lose those."""
    answer, _ = await ask(nursery, [reply({"error": message}, status)], stream=wants_stream)
    assert answer.status == status
    assert answer.error.keys() == {"message", "type", "param", "code"}
    assert answer.error["message"] == message


async def test_c24_error_in_mid_stream_in_the_clients_dialect(nursery, autojump_clock):
    answer, _ = await ask(nursery, lines(line("Hel"), {"error": "trouble"}, line("lo", done="stop")), stream=True)
    *chunks, last = payloads(answer.body)
    assert content(chunks) == "Hel"
    assert last["error"]["message"] == "trouble"
    assert DONE not in chunks


async def test_a_model_that_is_being_loaded_may_take_its_time(nursery, autojump_clock):
    """The preset's patience: fifteen seconds to connect, two minutes between lines."""
    script = [NDJSON, 100, chunked(ndjson(line("a"))), 110, chunked(ndjson(line("b", done="stop"))), LAST]
    answer, _ = await ask(nursery, script, stream=True)
    assert content(payloads(answer.body)) == "ab"
    assert trio.current_time() == 210.0
