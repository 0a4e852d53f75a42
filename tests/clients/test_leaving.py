"""Clients that leave, each as its SDK leaves: on every endpoint the upstream's connection is closed at once."""

from contextlib import aclosing

import anthropic
import openai
import pytest
import trio

import scripted
from answers import STREAM, chunked, role, sse, text
from clients import nodes

# The packages leave their own async generators unfinished where they are left, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|anthropic|httpx|httpcore):ResourceWarning")

HELLO = [{"role": "user", "content": "Привет"}]
PIECE = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "tiny"}
PIECE |= {"choices": [{"text": "x", "index": 0, "logprobs": None, "finish_reason": None}]}

CREATES = {
    "chat": lambda client, **more: client.chat.completions.create(model="local/tiny", messages=HELLO, **more),
    "completions": lambda client, **more: client.completions.create(model="local/tiny", prompt="Привет", **more),
    "responses": lambda client, **more: client.responses.create(model="local/tiny", input="Привет", **more),
    "messages": lambda client, **more: client.messages.create(model="local/tiny", messages=HELLO, max_tokens=9, **more),
}
BEGUN = {name: [STREAM, chunked(sse(role(), text("x")))] for name in CREATES}
BEGUN["completions"] = [STREAM, chunked(sse(PIECE))]


@pytest.fixture(params=CREATES)
def route(request):
    return request.param


def client_for(route, gateway, asynchronous):
    """The SDK that asks at this route."""
    options = {"api_key": "sk-client", "max_retries": 0, "timeout": 10.0}
    if route == "messages":
        kind = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
        return kind(base_url=gateway.base_url.removesuffix("/v1"), **options)
    return (openai.AsyncOpenAI if asynchronous else openai.OpenAI)(base_url=gateway.base_url, **options)


async def test_c04_leaving_a_stream_closes_the_upstream(start, route):
    upstream, gateway = await start([*BEGUN[route], scripted.EXPECT_CLOSE])
    async with client_for(route, gateway, asynchronous=True) as client:
        stream = await CREATES[route](client, stream=True)
        async with stream, aclosing(aiter(stream)) as items:
            await anext(items)
    await (await upstream.request()).closed.wait()
    await upstream.all_closed()


async def test_c04_leaving_a_stream_from_a_thread_closes_the_upstream(start, route):
    upstream, gateway = await start([*BEGUN[route], scripted.EXPECT_CLOSE])

    def leave():
        with client_for(route, gateway, asynchronous=False) as client:
            for _ in CREATES[route](client, stream=True):
                break

    await trio.to_thread.run_sync(leave)
    await (await upstream.request()).closed.wait()


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
async def test_c04_cancelling_before_anything_was_said_closes_the_upstream(start, route, streamed):
    upstream, gateway = await start([scripted.EXPECT_CLOSE])

    async def ask():
        await CREATES[route](client, stream=streamed)

    async with client_for(route, gateway, asynchronous=True) as client, trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        asked = await upstream.request()
        nursery.cancel_scope.cancel()
    await asked.closed.wait()


@pytest.mark.node
@pytest.mark.parametrize("how", ["break", "abort"])
@pytest.mark.parametrize(
    ("call", "endpoint"),
    [("chunks", "chat"), ("completionChunks", "completions"), ("responseEvents", "responses")],
)
async def test_c04_leaving_in_node_closes_the_upstream(start, call, endpoint, how):
    node = await trio.to_thread.run_sync(nodes.require, nodes.FOLDER)
    upstream, gateway = await start([*BEGUN[endpoint], scripted.EXPECT_CLOSE])
    *_, end = await nodes.drive(node, gateway.base_url, call, leaveAfter=1, leaveBy=how)
    assert end == {"result": {"aborted": True}}
    await (await upstream.request()).closed.wait()
