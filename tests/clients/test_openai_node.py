"""The `openai` package from npm, in Node, through a gateway to a scripted upstream."""

import pytest
import trio

import scripted
from answers import (
    DONE,
    LAST,
    STREAM,
    chunked,
    completion,
    content,
    delta,
    error,
    finish,
    reply,
    role,
    sse,
    stream,
    text,
    tool,
)
from clients import nodes
from clients.told import SAID, TOLD, WORDS
from gateway import provider

pytestmark = pytest.mark.node


@pytest.fixture(scope="session")
def node():
    return nodes.require(nodes.FOLDER)


async def test_whole_answer(start, node):
    upstream, gateway = await start([reply(completion(SAID) | {"x_vendor": 1.5})])
    [line] = await nodes.drive(node, gateway.base_url, "whole", arguments={"x_unknown": [1]})
    answer = line["result"]
    assert answer["data"] == completion(SAID) | {"x_vendor": 1.5} | _request_id(answer)
    assert answer["headers"]["x-penstock-provider"] == "local"
    assert answer["requestID"]
    assert (await upstream.request()).json["x_unknown"] == [1]


def _request_id(answer):
    return {"_request_id": answer["requestID"]} if "_request_id" in answer["data"] else {}


async def test_stream(start, node):
    _, gateway = await start(always=stream(*TOLD))
    *lines, end = await nodes.drive(node, gateway.base_url, "chunks")
    chunks = [line["chunk"] for line in lines]
    assert content(chunks) == SAID
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert not any(chunk.get("usage") for chunk in chunks)
    assert end == {"result": {"aborted": False}}


async def test_each_chunk_arrives_before_the_next_is_sent(start, node):
    steps, events = [STREAM], []
    for payload in (role(), text("a"), text("b"), text("c")):
        events.append(trio.Event())
        steps += [chunked(sse(payload)), events[-1]]
    _, gateway = await start([*steps, chunked(sse(finish(), DONE)), LAST])
    pending = iter(events)
    seen = lambda line: next(pending, trio.Event()).set()  # noqa: E731
    lines = await nodes.drive(node, gateway.base_url, "chunks", seen)
    assert content(line["chunk"] for line in lines[:-1]) == "abc"


async def test_stream_helper_puts_the_completion_together(start, node):
    _, gateway = await start(stream(*TOLD))
    arguments = {"stream_options": {"include_usage": True}}
    *events, final = await nodes.drive(node, gateway.base_url, "helper", arguments=arguments)
    assert [line["event"] for line in events if line["event"]] == WORDS
    choice = final["result"]["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (SAID, "stop")
    assert final["result"]["usage"]["completion_tokens"] == 8


async def test_tool_calls(start, node):
    calls = [tool(0, id="call_a", name="погода"), tool(0, '{"где":'), tool(0, '"Київ 🌧"}')]
    calls += [tool(1, "{}", id="call_b", name="now")]
    _, gateway = await start(stream(delta(role="assistant", content=None), *calls, finish("tool_calls"), DONE))
    *_, final = await nodes.drive(node, gateway.base_url, "helper")
    made = final["result"]["choices"][0]["message"]["tool_calls"]
    functions = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in made]
    assert functions == [("call_a", "погода", '{"где":"Київ 🌧"}'), ("call_b", "now", "{}")]


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "BadRequestError"), (404, "NotFoundError"), (429, "RateLimitError"), (500, "InternalServerError")],
)
async def test_upstream_statuses_have_their_classes(start, node, status, name):
    _, gateway = await start([reply(error("нет", code="some_code"), status)])
    [line] = await nodes.drive(node, gateway.base_url, "chunks", options={"maxRetries": 0})
    caught = line["error"]
    assert (caught["name"], caught["status"], caught["code"]) == (name, status, "some_code")
    assert "нет" in caught["message"]


@pytest.mark.parametrize(
    ("code", "headers", "requests"),
    [(None, [], 3), ("insufficient_quota", [], 1), (None, [("x-should-retry", "false")], 1)],
)
async def test_how_often_the_sdk_tries(start, node, code, headers, requests):
    upstream, gateway = await start(always=[reply(error("no", code=code), 429, ("retry-after-ms", "1"), *headers)])
    [line] = await nodes.drive(node, gateway.base_url, "whole")
    assert line["error"]["name"] == "RateLimitError"
    assert len(upstream.requests) == requests


@pytest.mark.parametrize("call", ["chunks", "helper"])
@pytest.mark.parametrize(
    ("then", "code"),
    [
        ([chunked(sse(error("сломалось", code="model_crashed")))], "model_crashed"),
        ([LAST], "upstream_error"),
        ([scripted.RESET], "upstream_error"),
    ],
    ids=["error event", "clean end", "reset"],
)
async def test_an_error_in_the_middle_is_an_api_error_after_the_text(start, node, call, then, code):
    upstream, gateway = await start([STREAM, chunked(sse(role(), text("Пол"))), *then])
    *lines, end = await nodes.drive(node, gateway.base_url, call)
    assert (end["error"]["apiError"], end["error"].get("status"), end["error"]["code"]) == (True, None, code)
    if call == "chunks":
        assert content(line["chunk"] for line in lines) == "Пол"
    assert len(upstream.requests) == 1


async def test_c72_keepalive_comments_are_safe(start, node):
    silence = trio.Event()
    _, gateway = await start([silence, *stream(*TOLD)], toml="[timeouts]\nkeepalive = 0.02\n")
    seen = lambda line: silence.set() if "comment" in line else None  # noqa: E731
    first, *lines = await nodes.drive(node, gateway.base_url, "chunks", seen, comments=True)
    assert first["comment"].startswith(": keep-alive\n\n")
    assert content(line["chunk"] for line in lines if "chunk" in line) == SAID


async def test_models(start, node):
    _, gateway = await start(toml=provider("http://127.0.0.1:9/v1", name="b", models='["org/a:free@1.0"]'))
    [line] = await nodes.drive(node, gateway.base_url, "models")
    assert {"local/tiny", "b/org/a:free@1.0"} <= set(line["result"])
    [line] = await nodes.drive(node, gateway.base_url, "model", id="b/org/a:free@1.0")
    assert (line["result"]["id"], line["result"]["object"]) == ("b/org/a:free@1.0", "model")
    [line] = await nodes.drive(node, gateway.base_url, "model", id="local/a/b:c")
    assert (line["error"]["name"], line["error"]["code"]) == ("NotFoundError", "model_not_found")
