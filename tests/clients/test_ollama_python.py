"""The `ollama` package from PyPI, sync and async, with penstock as its Ollama."""

import gc
from contextlib import aclosing
from functools import partial

import ollama
import pytest
import trio

import scripted
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
from clients.told import SAID, TOLD
from gateway import Gateway, provider

# An AsyncClient that is left in mid-stream leaves generators of httpx's to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")

HELLO = [{"role": "user", "content": "Привет"}]
PNG = bytes.fromhex("89504e470d0a1a0a")


def weather(city: str) -> str:
    """The weather somewhere.

    Args:
      city: where
    """
    return city


class Async:
    """`ollama.AsyncClient`, on this process's trio."""

    def __init__(self, host, **options):
        self._client = ollama.AsyncClient(host=host, **options)

    async def call(self, name, **arguments):
        return await getattr(self._client, name)(**arguments)

    async def parts(self, name, **arguments):
        """All parts of a stream."""
        return [part async for part in await getattr(self._client, name)(stream=True, **arguments)]

    async def first_part(self, name, **arguments):
        """The first part; the stream is left there."""
        async with aclosing(await getattr(self._client, name)(stream=True, **arguments)) as parts:
            return await anext(parts)

    async def close(self):
        await self._client._client.aclose()
        gc.collect()  # what is left to it belongs to this test


class Sync:
    """`ollama.Client`, in a thread."""

    def __init__(self, host, **options):
        self._client = ollama.Client(host=host, **options)

    async def call(self, name, **arguments):
        return await _thread(getattr(self._client, name), **arguments)

    async def parts(self, name, **arguments):
        return await _thread(lambda: list(getattr(self._client, name)(stream=True, **arguments)))

    async def first_part(self, name, **arguments):
        def read():
            parts = getattr(self._client, name)(stream=True, **arguments)
            try:
                return next(parts)
            finally:
                parts.close()

        return await _thread(read)

    async def close(self):
        self._client._client.close()


async def _thread(function, **arguments):
    return await trio.to_thread.run_sync(partial(function, **arguments), abandon_on_cancel=True)


@pytest.fixture(params=[Async, Sync], ids=["async", "sync"])
async def connect(request):
    """A function from a gateway to a client of it."""
    clients = []

    def connect(gateway, **options):
        clients.append(request.param(gateway.base_url.removesuffix("/v1"), **options))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()


def chat(**more):
    return {"model": "local/tiny", "messages": HELLO} | more


def generate(**more):
    return {"model": "local/tiny", "prompt": "Привет"} | more


# -- a process of its own, with the echo --------------------------------------------------------------------


async def test_with_the_echo_in_a_process_of_its_own(connect):
    """What a user does first: what is there, what is it, and a chat."""
    async with Gateway('[aliases]\nme = "echo/echo"\n') as gateway:
        client = connect(gateway)
        listed = (await client.call("list")).models
        assert {"echo/echo:latest", "me:latest"} <= {model.model for model in listed}
        for model in listed:
            assert (model.details.family, model.modified_at.tzinfo is not None) == ("echo", True)
            shown = await client.call("show", model=model.model)
            assert "tools" in shown.capabilities
            assert shown.modelinfo["general.architecture"] == shown.details.family
            parts = await client.parts("chat", model=model.model, messages=HELLO)
            assert "".join(part.message.content for part in parts) == "Привет"
            last = parts[-1]
            assert (last.done, last.done_reason) == (True, "stop")
            assert last.total_duration >= last.prompt_eval_duration + last.eval_duration > 0
            parts = await client.parts("generate", model=model.model, prompt="Привет, 日本語 \u2028 👩‍👩‍👧")
            assert "".join(part.response for part in parts) == "Привет, 日本語 \u2028 👩‍👩‍👧"
            vectors = await client.call("embed", model=model.model, input=["a", "b"])
            assert len(vectors.embeddings) == 2
        assert (await client.call("ps")).models == []
        whole = await client.call("chat", model="me", messages=HELLO, options={"num_predict": 1})
        assert whole.done_reason == "length"
        assert "Привет".startswith(whole.message.content)
    assert gateway.exit_code == 0, gateway.output
    assert "Traceback" not in gateway.output


async def test_with_an_upstream_in_a_process_of_its_own(nursery, connect):
    upstream = await scripted.listen(nursery, always=stream(*TOLD))
    async with Gateway(provider(upstream.base_url)) as gateway:
        client = connect(gateway)
        assert "".join(part.message.content for part in await client.parts("chat", **chat())) == SAID
        assert "".join(part.response for part in await client.parts("generate", **generate())) == SAID
    assert "Traceback" not in gateway.output


# -- chat ---------------------------------------------------------------------------------------------------


async def test_a_stream_with_thinking_tools_and_images(start, connect):
    calls = [tool(0, id="call_a", name="weather"), tool(0, '{"city":'), tool(0, '"Київ 🌧"}')]
    calls += [tool(1, "{}", id="call_b", name="now")]
    upstream, gateway = await start(stream(reasoning("хм"), text("a\u2028b"), *calls, finish("tool_calls"), DONE))
    message = {"role": "user", "content": "What?", "images": [PNG]}
    more = {"messages": [message], "tools": [weather], "think": "high", "format": "json", "options": {"seed": 7}}
    parts = await connect(gateway).parts("chat", **chat(**more))
    assert [part.message.thinking for part in parts if part.message.thinking] == ["хм"]
    assert "".join(part.message.content for part in parts) == "a\u2028b"
    made = [call.function for part in parts for call in part.message.tool_calls or ()]
    assert [(call.name, call.arguments) for call in made] == [("weather", {"city": "Київ 🌧"}), ("now", {})]
    assert parts[-1].done_reason == "stop"
    sent = (await upstream.request()).json
    url = sent["messages"][0]["content"][1]["image_url"]["url"]
    assert url == "data:image/png;base64,iVBORw0KGgo="
    assert sent["tools"][0]["function"]["name"] == "weather"
    assert (sent["reasoning_effort"], sent["seed"]) == ("high", 7)
    assert sent["response_format"] == {"type": "json_object"}


async def test_a_tool_s_answer_goes_back(start, connect):
    upstream, gateway = await start([reply(completion("ясно"))])
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Київ"}}}]}
    answered = {"role": "tool", "content": "дождь", "tool_name": "weather"}
    whole = await connect(gateway).call("chat", **chat(messages=[*HELLO, called, answered]))
    assert whole.message.content == "ясно"
    _, call, answer = (await upstream.request()).json["messages"]
    assert call["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Київ"}'}
    assert answer["tool_call_id"] == call["tool_calls"][0]["id"]


async def test_an_answer_in_one_piece(start, connect):
    _, gateway = await start(always=[reply(completion(SAID, "length"))])
    client = connect(gateway)
    whole = await client.call("chat", **chat())
    assert (whole.message.content, whole.done_reason, whole.eval_count) == (SAID, "length", 2)
    assert whole.eval_duration >= 1
    whole = await client.call("generate", **generate(system="s", images=[PNG]))
    assert (whole.response, whole.done_reason, whole.prompt_eval_count) == (SAID, "length", 9)


@pytest.mark.parametrize("name", ["chat", "generate"])
async def test_c24_an_error_on_the_way_is_raised_after_the_text(start, connect, name):
    _, gateway = await start(always=stream(role(), text("Пол"), error("сломалось")))
    arguments = chat() if name == "chat" else generate()
    with pytest.raises(ollama.ResponseError) as caught:
        await connect(gateway).parts(name, **arguments)
    assert caught.value.error == "сломалось"


@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_c25_an_error_before_the_answer_is_a_status(start, connect, status):
    _, gateway = await start([reply(error("нет"), status)])
    with pytest.raises(ollama.ResponseError) as caught:
        await connect(gateway).parts("chat", **chat())
    assert (caught.value.error, caught.value.status_code) == ("нет", status)


async def test_a_model_that_is_not_there(start, connect):
    _, gateway = await start()
    for name, arguments in [("chat", chat(model="nope")), ("show", {"model": "nope"}), ("generate", {"model": "nope"})]:
        with pytest.raises(ollama.ResponseError) as caught:
            await connect(gateway).call(name, **arguments)
        assert (caught.value.error, caught.value.status_code) == ("model 'nope' not found", 404)


async def test_a_key(start, connect):
    toml = '[[keys]]\nname = "k"\nkey = { env = "KEY" }\n'
    _, gateway = await start(always=[reply(completion(SAID))], toml=toml, env={"KEY": "pk-secret"})
    told = await connect(gateway, headers={"Authorization": "Bearer pk-secret"}).call("chat", **chat())
    assert told.message.content == SAID
    with pytest.raises(ollama.ResponseError) as caught:
        await connect(gateway).call("chat", **chat())
    assert (caught.value.status_code, "API key" in caught.value.error) == (401, True)


async def test_what_the_gateway_does_not_do(start, connect):
    _, gateway = await start()
    for name, arguments in [
        ("pull", {"model": "x"}),
        ("push", {"model": "x"}),
        ("create", {"model": "x", "from_": "y"}),
        ("copy", {"source": "x", "destination": "y"}),
        ("delete", {"model": "x"}),
    ]:
        with pytest.raises(ollama.ResponseError) as caught:
            await connect(gateway).call(name, **arguments)
        assert (caught.value.error, caught.value.status_code) == ("not supported by this gateway", 403)


async def test_loading_and_unloading(start, connect):
    _, gateway = await start()
    client = connect(gateway)
    assert (await client.call("generate", model="local/tiny")).done_reason == "load"
    assert (await client.call("generate", model="local/tiny", keep_alive=0)).done_reason == "unload"
    assert (await client.call("chat", model="local/tiny", keep_alive="5m")).done_reason == "load"


async def test_embeddings(start, connect):
    rows = [{"index": 1, "embedding": [0.5, 1]}, {"index": 0, "embedding": [0.1, -2e-3]}]
    usage_ = {"prompt_tokens": 7, "total_tokens": 7}
    _, gateway = await start(always=[reply({"object": "list", "data": rows, "model": "tiny", "usage": usage_})])
    client = connect(gateway)
    found = await client.call("embed", model="local/tiny", input=["a", "b"], dimensions=2)
    assert ([list(vector) for vector in found.embeddings], found.prompt_eval_count) == ([[0.1, -0.002], [0.5, 1]], 7)
    assert list((await client.call("embeddings", model="local/tiny", prompt="a")).embedding) == [0.1, -0.002]


async def test_an_upstream_that_is_an_ollama(nursery, start, connect):
    """`ollama` before penstock before `ollama`."""
    tag = {"name": "tiny:latest", "model": "tiny:latest", "modified_at": "2025-10-09T08:53:20.123456789+02:00"}
    tag |= {"size": 5, "digest": "d", "details": {"family": "llama", "parameter_size": "3.2B"}}
    shown = {"model_info": {"general.architecture": "llama"}, "capabilities": ["completion"], "details": tag["details"]}
    loaded = {**tag, "size_vram": 5, "expires_at": "2026-01-02T03:04:05.678901+01:00", "context_length": 4096}
    told = [NDJSON, *(chunked(ndjson(value)) for value in (line("Hel"), line("lo"), line(done="stop"))), LAST]
    scripts = [[reply({"models": [tag]})], [reply(shown)], [reply({"models": [loaded]})], told]
    own = await scripted.listen(nursery, *scripts, models=None)
    _, gateway = await start(toml=f'[providers.own]\npreset = "ollama"\nbase_url = "{own.url}"\n')
    client = connect(gateway)
    listed = {model.model: model for model in (await client.call("list")).models}["own/tiny:latest"]
    assert (listed.size, listed.digest, listed.details.parameter_size) == (5, "d", "3.2B")
    assert (await client.call("show", model="own/tiny")).capabilities == ["completion"]
    assert [(model.name, model.context_length) for model in (await client.call("ps")).models] == [
        ("own/tiny:latest", 4096)
    ]
    parts = await client.parts("chat", model="own/tiny", messages=HELLO)
    assert "".join(part.message.content for part in parts) == "Hello"


async def test_c04_leaving_a_stream_closes_the_upstream(start, connect):
    upstream, gateway = await start(always=[STREAM, chunked(sse(role(), text("x"))), scripted.EXPECT_CLOSE])
    client = connect(gateway)
    for number, (name, arguments) in enumerate([("chat", chat()), ("generate", generate())]):
        assert not (await client.first_part(name, **arguments)).done
        await (await upstream.request(number)).closed.wait()


async def test_c72_a_filled_silence_is_nothing_to_a_client(start, connect):
    _, gateway = await start([0.2, *stream(*TOLD, usage())], toml="[timeouts]\nkeepalive = 0.02\n")
    parts = await connect(gateway).parts("chat", **chat())
    assert "".join(part.message.content for part in parts) == SAID
    assert parts[0].message.content == ""
