"""The older, simple forms: a prompt in, a text out, whole or in events."""

import json

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
from door import refused
from rig import Rig, settled
from scripted import EXPECT_CLOSE, Upstream

FORMS = {"/v1/chat": "prompt", "/api/v1/chat/": "message", "/chat": "prompt", "/api/v1/chat": "message"}
forms = pytest.mark.parametrize(("path", "name"), FORMS.items())
BEGUN = [STREAM, chunked(sse(role(), text("Hel")))]
DEFAULT = '[aliases]\ndefault = "up/tiny"\n'


async def send(rig, path="/v1/chat", **body):
    client = rig.connect()
    await client.request("POST", path, {"content-type": "application/json"}, json.dumps(body).encode())
    return client


async def ask(rig, path="/v1/chat", **body):
    client = await send(rig, path, **body)
    answer = await client.answer()
    client.leave()
    return answer


@forms
async def test_an_answer_in_one_piece(nursery, autojump_clock, path, name):
    upstream = Upstream(nursery, [reply(completion("Привет \u2028"))])
    answer = await ask(Rig(nursery, upstream), path, **{name: "Hi", "model": "up/tiny"})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == {
        "id": "chatcmpl-1",
        "model": "tiny",
        "response": "Привет \u2028",
        "done": True,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
    assert upstream.requests[0].json == {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


@forms
async def test_a_stream(nursery, autojump_clock, path, name):
    script = stream(role(), reasoning("hm"), text("Hel"), text("lo\u2028"), finish("length"), usage(9, 2), DONE)
    answer = await ask(
        Rig(nursery, Upstream(nursery, script)), path, **{name: "Hi", "model": "up/tiny", "stream": True}
    )
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    *early, last = payloads(answer.body)
    assert early == [
        {"response": "", "reasoning": "hm", "done": False},
        {"response": "Hel", "done": False},
        {"response": "lo\u2028", "done": False},
    ]
    assert last.pop("id")
    assert last == {
        "model": "tiny",
        "response": "",
        "done": True,
        "finish_reason": "length",
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }


async def test_an_answer_without_counts_and_choices_that_have_no_place_here(nursery, autojump_clock):
    other = {"index": 1, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    refusal = completion(None, refusal="no", reasoning_content="hm")
    refusal["choices"].insert(0, other)
    del refusal["usage"]
    only = {**completion(), "choices": [other]}
    rig = Rig(nursery, Upstream(nursery, [reply(refusal)], [reply(only)]))
    told = (await ask(rig, prompt="Hi", model="up/tiny")).json
    assert (told["response"], told["reasoning"], told["usage"]) == ("no", "hm", None)
    assert (await ask(rig, prompt="Hi", model="up/tiny")).json["response"] == ""


async def test_a_stream_of_several_choices_has_one_and_no_calls(nursery, autojump_clock):
    calls = [tool(0, "{}", id="a", name="f"), text("x", 1), finish(index=1)]
    rig = Rig(nursery, Upstream(nursery, stream(role(), text("a"), *calls, finish(), DONE)))
    answer = await ask(rig, prompt="Hi", model="up/tiny", stream=True)
    assert [event["response"] for event in payloads(answer.body)] == ["a", ""]
    assert payloads(answer.body)[-1]["usage"] is None


BEFORE = [
    (None, []),
    ("", []),
    ([], []),
    ("Be brief.", [{"role": "system", "content": "Be brief."}]),
    ({"file": "a.py"}, [{"role": "system", "content": '{"file": "a.py"}'}]),
    ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],) * 2,
]


@pytest.mark.parametrize(("context", "before"), BEFORE)
async def test_what_goes_before_the_prompt(nursery, autojump_clock, context, before):
    upstream = Upstream(nursery, [reply(completion())])
    await ask(Rig(nursery, upstream), prompt="Hi", model="up/tiny", context=context)
    assert upstream.requests[0].json["messages"] == [*before, {"role": "user", "content": "Hi"}]


async def test_sampling_is_that_of_a_chat_and_tools_are_left_out(nursery, autojump_clock):
    upstream = Upstream(nursery, [reply(completion())])
    more = {"temperature": 0.5, "max_tokens": 5, "tools": [{}], "n": 3, "messages": "x"}
    await ask(Rig(nursery, upstream), prompt="Hi", model="up/tiny", **more)
    sent = upstream.requests[0].json
    assert sent.keys() - {"stream"} == {"model", "messages", "temperature", "max_tokens"}


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}, {"model": "default"}])
async def test_without_a_model_it_is_the_alias_default(nursery, autojump_clock, model):
    upstream = Upstream(nursery, [reply(completion())])
    assert (await ask(Rig(nursery, upstream, DEFAULT), prompt="Hi", **model)).json["response"] == "Hello"
    assert upstream.requests[0].json["model"] == "tiny"
    error = refused(await ask(Rig(nursery, Upstream(nursery)), prompt="Hi"), 400, "missing_required_parameter")
    assert error["param"] == "model"
    assert "alias 'default'" in error["message"]


@forms
@pytest.mark.parametrize("said", [{}, {"x": 1}, "", " \n", None, 7, ["Hi"]])
async def test_a_missing_prompt_is_a_400_that_says_so(nursery, autojump_clock, path, name, said):
    body = said if isinstance(said, dict) else {name: said}
    answer = await ask(Rig(nursery, Upstream(nursery)), path, model="up/tiny", **body)
    error = refused(answer, 400, "missing_required_parameter")
    assert error["message"].startswith(f"{name.capitalize()} is required")
    assert error["param"] == name


REFUSED = [
    ({"stream": "yes"}, 400, "invalid_value", "stream"),
    ({"context": 7, "stream": 1}, 400, "invalid_value", "stream"),
    ({"context": ["a"]}, 400, "invalid_value", "context"),
    ({"model": 7}, 400, "invalid_value", "model"),
    ({"model": "nope"}, 404, "model_not_found", "model"),
]


@pytest.mark.parametrize(("more", "status", "code", "param"), REFUSED)
async def test_refusals(nursery, autojump_clock, more, status, code, param):
    body = {"prompt": "Hi", "model": "up/tiny", **more}
    assert refused(await ask(Rig(nursery, Upstream(nursery)), **body), status, code)["param"] == param


@pytest.mark.parametrize("streams", [True, False])
async def test_c25_an_upstream_s_error_is_a_status(nursery, autojump_clock, streams):
    rig = Rig(nursery, Upstream(nursery, [reply(error("нет", code="x"), 429)]))
    answer = await ask(rig, prompt="Hi", model="up/tiny", stream=streams)
    assert refused(answer, 429, "x", "server_error")["message"] == "нет"


async def test_c22_a_200_without_an_answer_is_a_failure(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [reply({"choices": []})]))
    answer = await ask(rig, prompt="Hi", model="up/tiny")
    assert answer.status == 502
    assert answer.error["message"]


@pytest.mark.parametrize("then", [[chunked(sse(error("сломалось")))], [LAST]])
async def test_c24_an_error_on_the_way_is_the_last_event(nursery, autojump_clock, then):
    rig = Rig(nursery, Upstream(nursery, [*BEGUN, *then]))
    first, last = payloads((await ask(rig, prompt="Hi", model="up/tiny", stream=True)).body)
    assert first == {"response": "Hel", "done": False}
    assert last.keys() == {"error", "done"}
    assert last["error"].keys() == {"message", "type", "param", "code"}


async def test_a_deadline_on_the_way_is_told_too(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [*BEGUN, EXPECT_CLOSE]), "[timeouts]\nidle = 3\n")
    _, last = payloads((await ask(rig, prompt="Hi", model="up/tiny", stream=True)).body)
    assert (last["error"]["code"], last["done"]) == ("upstream_timeout", True)


async def test_an_error_after_a_silence_was_filled(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [1.5, reply(error("нет"), 500)]), "[timeouts]\nkeepalive = 1\n")
    answer = await ask(rig, prompt="Hi", model="up/tiny", stream=True)
    comment, _, told = answer.body.partition(b"\n\n")
    assert comment == b": keep-alive"
    assert [event["error"]["message"] for event in payloads(told)] == ["нет"]


@pytest.mark.parametrize("streams", [True, False])
async def test_an_upstream_of_another_kind(nursery, autojump_clock, streams):
    values = [line("Hel", thinking="hm"), line("lo"), line(done="stop")]
    script = [NDJSON, *(chunked(ndjson(value)) for value in values), LAST]
    rig = Rig(nursery, Upstream(nursery, script, models=None), '[providers.up]\npreset = "ollama"\n')
    answer = await ask(rig, prompt="Hi", model="up/llama3.2", stream=streams)
    events = payloads(answer.body) if streams else [answer.json]
    assert "".join(event["response"] for event in events) == "Hello"
    assert events[-1]["usage"] == {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    assert "".join(event.get("reasoning", "") for event in events) == "hm"


@forms
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("script", [[], BEGUN], ids=["before the first byte", "between tokens"])
async def test_c04_leaving_closes_the_upstream_at_once(nursery, autojump_clock, path, name, streams, script):
    upstream = Upstream(nursery, [*script, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    client = await send(rig, path, **{name: "Hi", "model": "up/tiny", "stream": streams})
    asked = await upstream.request()
    await settled()
    left = trio.current_time()
    client.leave()
    await asked.closed.wait()
    await settled()
    assert asked.closed_at == trio.current_time() == left
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert rig.gateway.admitted == 0


@pytest.mark.parametrize("streams", [True, False])
async def test_a_session_remembers_what_was_said_in_this_form(nursery, autojump_clock, streams):
    script = (
        stream(role(), reasoning("hm"), text("Blue"), text("."), finish(), DONE)
        if streams
        else [reply(completion("Blue."))]
    )
    upstream = Upstream(nursery, always=script)
    rig = Rig(nursery, upstream)
    for prompt in ("It is blue.", "What is it?"):
        answer = await ask(rig, prompt=prompt, model="up/tiny", stream=streams, session_id="s1")
        assert answer.status == 200
    assert [message["content"] for message in upstream.requests[1].json["messages"]] == [
        "It is blue.",
        "Blue.",
        "What is it?",
    ]
    assert "session_id" not in upstream.requests[1].json


async def test_a_session_forgets_an_answer_that_failed(nursery, autojump_clock):
    upstream = Upstream(nursery, stream(text("Bl"), error("сломалось")), [reply(completion())])
    rig = Rig(nursery, upstream)
    for streams in (True, False):
        await ask(rig, prompt="Hi", model="up/tiny", stream=streams, session_id="s1")
    assert [message["content"] for message in upstream.requests[1].json["messages"]] == ["Hi"]


# -- beside the chat --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/health", "/proxy/health", "/api/v1/chat/health"])
async def test_health_by_its_older_names(nursery, autojump_clock, path):
    client = Rig(nursery, Upstream(nursery)).connect()
    await client.request("GET", path)
    answer = await client.answer()
    assert (answer.status, answer.json["status"]) == (200, "ok")
    assert answer.json["version"]


async def test_models_by_their_older_name(nursery, autojump_clock):
    client = Rig(nursery, Upstream(nursery)).connect()
    await client.request("GET", "/api/v1/chat/models")
    assert "up/tiny" in [model["id"] for model in (await client.answer()).json["data"]]
