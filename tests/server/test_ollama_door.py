"""A client of Ollama's at `/api/chat` and `/api/generate`, before upstreams of either kind: the lines that it reads."""

import json
from datetime import datetime

import pytest
import trio

from answers import (
    DONE,
    LAST,
    NDJSON,
    STREAM,
    chunked,
    completion,
    error,
    finish,
    line,
    ndjson,
    reasoning,
    reply,
    role,
    sse,
    stream,
    text,
    tool,
    usage,
)
from rig import Rig, settled
from scripted import EXPECT_CLOSE, Upstream

OLLAMA = '[providers.up]\npreset = "ollama"\n'
CHAT = {"model": "up/tiny", "messages": [{"role": "user", "content": "Hi"}]}
GENERATE = {"model": "up/tiny", "prompt": "Hi"}
DOORS = {"/api/chat": CHAT, "/api/generate": GENERATE}
doors = pytest.mark.parametrize("path", DOORS)
BEGUN = [STREAM, chunked(sse(role(), text("Hel")))]
DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


async def send(rig, path, **more):
    client = rig.connect()
    await client.request("POST", path, {}, json.dumps({**DOORS[path], **more}).encode())
    return client


async def ask(rig, path, **more):
    client = await send(rig, path, **more)
    answer = await client.answer()
    client.leave()
    return answer


def lines(answer):
    """The lines of a stream, each a whole one with what Ollama's SDKs insist on."""
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    assert answer.body.endswith(b"\n")
    found = [json.loads(text) for text in answer.body[:-1].split(b"\n")]
    for value in found[:-1]:
        assert not checked(value)["done"]
    assert "error" in found[-1] or checked(found[-1])["done"]
    return found


def checked(value):
    """One line or whole answer."""
    assert isinstance(value["model"], str)
    assert datetime.fromisoformat(value["created_at"]).tzinfo is not None
    assert ("message" in value) != ("response" in value)
    if value["done"]:
        assert all(type(value[key]) is int for key in DURATIONS)
        assert value["eval_duration"] >= 1
    return value


def said(values):
    """The text of all lines."""
    parts = [value["message"]["content"] if "message" in value else value["response"] for value in values]
    return "".join(parts)


# -- an upstream of OpenAI's kind -------------------------------------------------------------------------


@doors
async def test_a_stream_is_what_comes_where_nothing_is_said(nursery, autojump_clock, path):
    upstream = Upstream(nursery, stream(role(), text("Hel"), text("lo"), finish(), usage(9, 2), DONE))
    *early, last = lines(await ask(Rig(nursery, upstream), path))
    assert said(early) == "Hello"
    assert (last["done"], last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == (True, "stop", 9, 2)
    sent = upstream.requests[0].json
    assert (sent["stream"], sent["model"]) == (True, "tiny")
    assert sent["messages"] == CHAT["messages"]


@doors
async def test_an_answer_in_one_piece(nursery, autojump_clock, path):
    upstream = Upstream(nursery, [reply(completion("Hello"))])
    answer = await ask(Rig(nursery, upstream), path, stream=False)
    assert answer.headers["content-type"] == "application/json"
    value = checked(answer.json)
    assert (said([value]), value["done"], value["done_reason"], value["eval_count"]) == ("Hello", True, "stop", 2)


@doors
async def test_the_stamp_moves_and_the_durations_are_true(nursery, path):
    """By the clock of the machine: what was waited for is in the durations, and nowhere else."""
    wait = 0.03
    script = [STREAM, wait, chunked(sse(role(), text("Hel"))), 2 * wait, chunked(sse(text("lo"), finish(), DONE)), LAST]
    values = lines(await ask(Rig(nursery, Upstream(nursery, script)), path))
    first, second, last = values
    assert first["created_at"] < second["created_at"] <= last["created_at"]
    ns = wait * 1e9
    assert last["prompt_eval_duration"] >= ns
    assert last["eval_duration"] >= 2 * ns
    assert last["total_duration"] >= last["prompt_eval_duration"] + last["eval_duration"]
    assert last["load_duration"] == 0


async def test_thinking_tools_and_images(nursery, autojump_clock):
    calls = [tool(0, id="call_a", name="weather"), tool(0, '{"city":'), tool(0, '"Київ"}')]
    upstream = Upstream(nursery, stream(reasoning("hm"), *calls, finish("tool_calls"), DONE))
    message = {"role": "user", "content": "What?", "images": ["iVBORw0KGgo="]}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    options = {"num_predict": 5, "temperature": 0.5, "top_k": 3}
    more = {"messages": [message], "tools": tools, "think": True, "options": options, "format": "json"}
    thought, called, last = lines(await ask(Rig(nursery, upstream), "/api/chat", **more))
    assert thought["message"] == {"role": "assistant", "content": "", "thinking": "hm"}
    function = {"index": 0, "name": "weather", "arguments": {"city": "Київ"}}
    assert called["message"]["tool_calls"] == [{"id": "call_a", "function": function}]
    assert last["done_reason"] == "stop"
    sent = upstream.requests[0].json
    assert sent["messages"][0]["content"][1]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
    assert (sent["tools"], sent["response_format"]) == (tools, {"type": "json_object"})
    assert (sent["temperature"], sent.get("max_tokens") or sent.get("max_completion_tokens")) == (0.5, 5)


@doors
async def test_c34_every_line_is_one_line(nursery, autojump_clock, path):
    words = "a\u2028b\u2029c\x85d\r\ne 👩‍👩‍👧 \ufffd"
    upstream = Upstream(nursery, stream(role(), text(words), finish("length"), DONE))
    *early, last = lines(answer := await ask(Rig(nursery, upstream), path))
    assert said(early) == words
    assert last["done_reason"] == "length"
    assert answer.body.decode().splitlines() == answer.body.decode()[:-1].split("\n")


@doors
async def test_c24_an_error_on_the_way_is_a_line_with_a_string(nursery, autojump_clock, path):
    upstream = Upstream(nursery, stream(role(), text("Hel"), error("сломалось")))
    first, last = lines(await ask(Rig(nursery, upstream), path))
    assert (said([first]), last) == ("Hel", {"error": "сломалось"})


@doors
async def test_c19_an_answer_that_is_cut_off_is_no_whole_one(nursery, autojump_clock, path):
    upstream = Upstream(nursery, [*BEGUN, LAST])
    _, last = lines(await ask(Rig(nursery, upstream), path))
    assert last.keys() == {"error"}
    assert isinstance(last["error"], str)


@doors
@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_c25_before_the_answer_an_error_is_a_status(nursery, autojump_clock, path, status):
    answer = await ask(Rig(nursery, Upstream(nursery, [reply(error("нет"), status)])), path)
    assert (answer.status, answer.json) == (status, {"error": "нет"})


REFUSED = [
    ({"model": "nope"}, 404, "model 'nope' not found"),
    ({"model": "nope:latest"}, 404, "model 'nope:latest' not found"),
    ({"model": None}, 400, "'model'"),
    ({"stream": "yes"}, 400, "'stream'"),
]


@doors
@pytest.mark.parametrize(("more", "status", "words"), REFUSED)
async def test_refusals_are_strings(nursery, autojump_clock, path, more, status, words):
    answer = await ask(Rig(nursery, Upstream(nursery)), path, **more)
    assert (answer.status, answer.json.keys()) == (status, {"error"})
    assert words in answer.json["error"]


@doors
@pytest.mark.parametrize("model", ["up/tiny", "up/tiny:latest", "tiny", "tiny:latest", "fast:latest"])
async def test_a_name_and_its_latest_are_one_model(nursery, autojump_clock, path, model):
    upstream = Upstream(nursery, [reply(completion())])
    rig = Rig(nursery, upstream, '[aliases]\nfast = "up/tiny"\n')
    assert (await ask(rig, path, model=model, stream=False)).status == 200
    assert upstream.requests[0].json["model"] == "tiny"


@doors
async def test_c72_a_silence_is_filled_with_an_empty_line(nursery, autojump_clock, path):
    upstream = Upstream(nursery, [2.5, *stream(role(), text("Hi"), finish(), DONE)])
    rig = Rig(nursery, upstream, "[timeouts]\nkeepalive = 1\n")
    values = lines(await ask(rig, path))
    assert [said([value]) for value in values] == ["", "", "Hi", ""]


@doors
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("script", [[], BEGUN], ids=["before the first byte", "between tokens"])
@pytest.mark.parametrize("leave", ["close", "end_sending", "reset"])
async def test_c04_leaving_closes_the_upstream_at_once(nursery, autojump_clock, path, streams, script, leave):
    upstream = Upstream(nursery, [*script, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    client = await send(rig, path, stream=streams)
    asked = await upstream.request()
    await settled()
    left = trio.current_time()
    client.stream.receive_now()
    getattr(client.stream, leave)()
    await asked.closed.wait()
    await settled()
    assert asked.closed_at == trio.current_time() == left
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert not rig.gateway.ledger.failures
    assert (rig.gateway.ledger.in_flight, rig.gateway.admitted) == (0, 0)


# -- loading and unloading --------------------------------------------------------------------------------

NOTHING = [("/api/chat", "messages", empty) for empty in ([], None, ...)]
NOTHING += [("/api/generate", "prompt", empty) for empty in ("", None, ...)]
KEPT = [({}, "load"), ({"keep_alive": "5m"}, "load"), ({"keep_alive": 0}, "unload"), ({"keep_alive": "0s"}, "unload")]


def without(path, needs, empty, **more):
    """The request's body with nothing asked in it; `...` stands for no such member."""
    body = {**DOORS[path], **more, needs: empty}
    return json.dumps({key: value for key, value in body.items() if value is not ...}).encode()


@pytest.mark.parametrize(("path", "needs", "empty"), NOTHING)
@pytest.mark.parametrize(("kept", "reason"), KEPT)
async def test_to_load_a_model_nobody_is_asked(nursery, autojump_clock, path, needs, empty, kept, reason):
    upstream = Upstream(nursery)
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.request("POST", path, {}, without(path, needs, empty, **kept))
    answer = await client.answer()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    value = answer.json
    assert (value["model"], value["done"], value["done_reason"], said([value])) == ("up/tiny", True, reason, "")
    assert datetime.fromisoformat(value["created_at"]).year > 2000
    assert not upstream.requests
    assert rig.gateway.admitted == 0


@pytest.mark.parametrize(("path", "needs", "empty"), NOTHING)
async def test_an_ollama_loads_it_itself(nursery, autojump_clock, path, needs, empty):
    shape = {"response": ""} if path == "/api/generate" else {"message": {"role": "assistant", "content": ""}}
    loaded = {"model": "tiny", "created_at": "2026-01-02T03:04:05Z", **shape, "done": True, "done_reason": "unload"}
    upstream = Upstream(nursery, [reply(loaded)], models=None)
    rig = Rig(nursery, upstream, OLLAMA)
    client = rig.connect()
    await client.request("POST", path, {}, without(path, needs, empty, keep_alive=0))
    answer = await client.answer()
    assert (answer.status, answer.json) == (200, loaded)
    (asked,) = upstream.requests
    assert (asked.target, asked.json["model"], asked.json["keep_alive"]) == (path, "tiny", 0)


@doors
@pytest.mark.parametrize(("model", "status"), [("nope", 404), (None, 400), (7, 400)])
async def test_only_a_model_that_is_there_can_be_loaded(nursery, autojump_clock, path, model, status):
    answer = await ask(Rig(nursery, Upstream(nursery)), path, model=model, messages=[], prompt="")
    assert (answer.status, answer.json.keys()) == (status, {"error"})


async def test_a_load_that_is_no_request_is_the_client_s_fault(nursery, autojump_clock):
    answer = await ask(Rig(nursery, Upstream(nursery)), "/api/chat", messages=[], options="x")
    assert (answer.status, answer.json.keys()) == (400, {"error"})


# -- an upstream of Ollama's kind -------------------------------------------------------------------------


@doors
async def test_c49_an_ollama_s_own_lines_pass(nursery, autojump_clock, path):
    values = [line("Hel"), line("lo", thinking="hm"), {**line(done="length"), "future": [1]}]
    if path == "/api/generate":
        for value in values:
            value["response"] = value.pop("message")["content"]
        values[-1]["context"] = [1, 2]
    upstream = Upstream(nursery, [NDJSON, *(chunked(ndjson(value)) for value in values), LAST], models=None)
    answer = await ask(Rig(nursery, upstream, OLLAMA), path, keep_alive="5m", options={"num_ctx": 8192})
    assert [json.loads(text) for text in answer.body.splitlines()] == values
    assert upstream.requests[0].json == {
        **DOORS[path],
        "model": "tiny",
        "keep_alive": "5m",
        "options": {"num_ctx": 8192},
    }
