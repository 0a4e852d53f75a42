"""The `openai` package from PyPI, sync and async, through a gateway to a scripted upstream, for real."""

import json

import httpx2
import openai
import pytest
import trio

import scripted
from answers import (
    DONE,
    LAST,
    STREAM,
    chunked,
    completion,
    delta,
    finish,
    reasoning,
    reply,
    role,
    sse,
    stream,
    text,
    tool,
)
from clients import sdk
from clients.sdk import said
from clients.told import SAID, TOLD, WORDS
from gateway import Gateway, provider

# The package leaves its own async generators unfinished at `[DONE]`, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx|httpcore):ResourceWarning")


async def test_whole_answer(start, connect):
    upstream, gateway = await start([reply(completion(SAID) | {"x_vendor": {"big": 12345678901234567890}})])
    answer = await connect(gateway.base_url).whole(seed=2**63, extra_body={"x_unknown": {"deep": [1.10, None]}})
    assert answer.choices[0].message.content == SAID
    assert (answer.choices[0].finish_reason, answer.usage.total_tokens, answer.model) == ("stop", 11, "tiny")
    assert answer.model_extra == {"x_vendor": {"big": 12345678901234567890}}
    asked = await upstream.request()
    assert asked.target == "/v1/chat/completions"
    assert asked.json["model"] == "tiny"
    assert asked.json["messages"] == sdk.HELLO
    assert asked.json["seed"] == 2**63
    assert b'"x_unknown":{"deep":[1.1,null]}' in asked.body.replace(b" ", b"")


async def test_stream(start, connect):
    _, gateway = await start(stream(*TOLD))
    chunks = await connect(gateway.base_url).chunks()
    assert [c.choices[0].delta.content for c in chunks] == ["", *WORDS, None]
    assert [c.choices[0].delta.role for c in chunks] == ["assistant", *[None] * (len(WORDS) + 1)]
    assert [c.choices[0].finish_reason for c in chunks] == [*[None] * (len(WORDS) + 1), "stop"]
    assert {(c.id, c.created, c.model) for c in chunks} == {("chatcmpl-1", 1760000000, "tiny")}


async def test_usage_comes_last_and_only_to_those_who_asked(start, connect):
    _, gateway = await start(always=stream(*TOLD))
    client = connect(gateway.base_url)
    *_, last = await client.chunks(stream_options={"include_usage": True})
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (9, 8)
    assert all(chunk.choices and chunk.usage is None for chunk in await client.chunks())


async def test_unknown_members_of_a_chunk_come_through(start, connect):
    chunk = delta(content="x", x_delta=[1.50, {"a": None}]) | {"x_chunk": 10**20}
    _, gateway = await start(stream(role(), chunk, finish(), DONE))
    _, got, _ = await connect(gateway.base_url).chunks()
    assert got.model_extra == {"x_chunk": 10**20}
    assert got.choices[0].delta.model_extra == {"x_delta": [1.5, {"a": None}]}


async def test_reasoning_comes_through(start, connect):
    told = [role(), reasoning("Хм"), reasoning("…"), text("Да"), finish(), DONE]
    _, gateway = await start(stream(*told))
    chunks = await connect(gateway.base_url).chunks()
    assert [c.choices[0].delta.model_extra.get("reasoning_content") for c in chunks[1:3]] == ["Хм", "…"]
    assert said(chunks) == "Да"


async def test_each_chunk_arrives_before_the_next_is_sent(start, connect):
    steps, events = [STREAM], []
    for payload in (role(), text("a"), text("b"), text("c")):
        events.append(trio.Event())
        steps += [chunked(sse(payload)), events[-1]]
    _, gateway = await start([*steps, chunked(sse(finish(), DONE)), LAST])
    pending = iter(events)
    chunks = await connect(gateway.base_url).chunks(seen=lambda chunk: next(pending, trio.Event()).set())
    assert said(chunks) == "abc"


async def test_stream_helper_puts_the_completion_together(start, connect):
    _, gateway = await start(stream(*TOLD))
    events, final = await connect(gateway.base_url).helper(stream_options={"include_usage": True})
    assert final.choices[0].message.content == SAID
    assert (final.choices[0].finish_reason, final.usage.completion_tokens) == ("stop", 8)
    assert [e.delta for e in events if e.type == "content.delta" and e.delta] == WORDS


async def test_tool_calls(start, connect):
    calls = [tool(0, id="call_a", name="погода"), tool(0, '{"где":'), tool(0, '"Київ 🌧"}')]
    calls += [tool(1, "{}", id="call_b", name="now")]
    told = [delta(role="assistant", content=None), *calls, finish("tool_calls"), DONE]
    upstream, gateway = await start(stream(*told))
    tools = [
        {"type": "function", "function": {"name": name, "strict": True, "parameters": {}}} for name in ("погода", "now")
    ]
    _, final = await connect(gateway.base_url).helper(tools=tools)
    made = final.choices[0].message.tool_calls
    assert [(call.id, call.function.name) for call in made] == [("call_a", "погода"), ("call_b", "now")]
    assert [json.loads(call.function.arguments) for call in made] == [{"где": "Київ 🌧"}, {}]
    assert final.choices[0].finish_reason == "tool_calls"
    assert (await upstream.request()).json["tools"] == tools


async def test_two_choices(start, connect):
    told = [role(), role(1), text("a"), text("б", 1), finish(), finish(index=1), DONE]
    _, gateway = await start(stream(*told))
    _, final = await connect(gateway.base_url).helper(n=2)
    assert [(c.message.content, c.finish_reason) for c in final.choices] == [("a", "stop"), ("б", "stop")]


async def test_response_headers(start, connect):
    _, gateway = await start(stream(*TOLD), [reply(completion())])
    client = connect(gateway.base_url)
    for streamed, kind in ((True, "text/event-stream"), (False, "application/json")):
        answer = await client.raw(stream=streamed)
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert answer.request_id
        assert answer.headers["x-penstock-provider"] == "local"
        assert answer.headers["x-penstock-attempts"] == "1"
        if streamed:
            assert answer.headers["x-accel-buffering"] == "no"
            assert answer.headers["cache-control"] == "no-cache"
            assert "content-length" not in answer.headers
            assert await _drained(answer) > 0


async def _drained(answer):
    chunks = answer.parse()
    if hasattr(chunks, "__aiter__"):
        return len([chunk async for chunk in chunks])
    return len(await trio.to_thread.run_sync(list, chunks))


async def test_keys_of_clients_stay_here_and_keys_of_upstreams_there(start, connect):
    lines = ['api_key = { env = "LOCAL_KEY" }']
    upstream, gateway = await start(stream(*TOLD), lines=lines, env={"LOCAL_KEY": "sk-upstream"})
    await connect(gateway.base_url).chunks(
        extra_headers={"Cookie": "session=1", "X-Custom": "sk-client", "X-Team": "blue"}
    )
    asked = await upstream.request()
    assert asked.headers["authorization"] == "Bearer sk-upstream"
    assert b"sk-client" not in asked.head + asked.body
    assert "cookie" not in asked.headers
    assert asked.headers["x-team"] == "blue"


# -- leaving early


async def test_leaving_a_stream_closes_the_upstream(start, connect):
    upstream, gateway = await start([STREAM, chunked(sse(role(), text("x"))), scripted.EXPECT_CLOSE])
    await connect(gateway.base_url).first_chunk()
    await (await upstream.request()).closed.wait()
    await upstream.all_closed()


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("begun", [[], [STREAM], [STREAM, chunked(b": hold on\n\n")]], ids=["none", "head", "comment"])
async def test_cancelling_before_the_first_token_closes_the_upstream(start, begun, streamed):
    upstream, gateway = await start([*begun, scripted.EXPECT_CLOSE])
    client = sdk.AsyncSdk(gateway.base_url)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.chunks if streamed else client.whole)
        asked = await upstream.request()
        nursery.cancel_scope.cancel()
    await asked.closed.wait()
    await client.close()


async def test_closing_at_done_is_no_trouble(start, connect):
    """The sync and async SDK both close the response when they read `[DONE]`; the connection serves on."""
    upstream, gateway = await start(always=stream(*TOLD))
    client = connect(gateway.base_url)
    for _ in range(3):
        assert said(await client.chunks()) == SAID
    assert upstream.connections == 1


async def test_c72_keepalive_comments_are_safe(start):
    """A comment is seen on the wire before the upstream says anything, and the SDK never notices."""
    silence, seen = trio.Event(), []
    _, gateway = await start([silence, *stream(*TOLD)], toml="[timeouts]\nkeepalive = 0.02\n")

    class Watched(httpx2.AsyncByteStream):
        def __init__(self, stream):
            self._stream = stream

        async def __aiter__(self):
            async for data in self._stream:
                seen.append(data)
                if data.startswith(b":"):
                    silence.set()
                yield data

        async def aclose(self):
            await self._stream.aclose()

    async def watch(response):
        response.stream = Watched(response.stream)

    async with httpx2.AsyncClient(event_hooks={"response": [watch]}) as http:
        chunks = await sdk.AsyncSdk(gateway.base_url, http_client=http).chunks()
    assert said(chunks) == SAID
    assert seen[0].startswith(b": keep-alive\n\n")


async def test_many_streams_at_once(start):
    _, gateway = await start(always=stream(*TOLD))
    client, texts = sdk.AsyncSdk(gateway.base_url), []

    async def one():
        texts.append(said(await client.chunks()))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one)
    await client.close()
    assert texts == [SAID] * 50


async def test_a_process_of_its_own(nursery, connect):
    """All the others have the gateway in this process; this is `penstock serve`, and SIGTERM ends it."""
    upstream = await scripted.listen(nursery, always=stream(*TOLD))
    async with Gateway(provider(upstream.base_url)) as gateway:
        client = connect(gateway.base_url)
        assert said(await client.chunks()) == SAID
        assert "local/tiny" in await client.models()
    assert gateway.exit_code == 0, gateway.output
    assert "Traceback" not in gateway.output


# -- models


async def test_models(start, connect):
    _, gateway = await start(lines=[], toml=provider("http://127.0.0.1:9/v1", name="b", models='["org/a:free@1.0"]'))
    client = connect(gateway.base_url)
    listed = await client.models()
    assert {"local/tiny", "b/org/a:free@1.0"} <= set(listed)
    for name in ("local/tiny", "b/org/a:free@1.0"):
        model = await client.model(name)
        assert (model.id, model.object) == (name, "model")
        assert isinstance(model.created, int)
        assert model.owned_by
    with pytest.raises(openai.NotFoundError) as caught:
        await client.model("b/of/none")
    assert caught.value.code == "model_not_found"
