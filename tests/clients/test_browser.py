"""A page in Chromium: CORS as a browser judges it, streams by `fetch`, OpenAI's SDK, and JSON-RPC over WebSocket.

The gateway is a `penstock serve` in a process of its own; a browser is started for each test.
"""

import base64
from contextlib import asynccontextmanager

import pytest

import scripted
from answers import STREAM, chunked, content, payloads, role, sse, stream, text
from clients import browser, nodes
from clients.told import SAID, TOLD
from gateway import Gateway, provider

pytestmark = pytest.mark.browser

KEY = "sk-page~>?~1"
ASK = {"model": "local/tiny", "stream": True, "messages": [{"role": "user", "content": "Привет"}]}
SHOWN = ["llm.rpc.v1", "bearer." + base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("=")]
KEYS = '[[keys]]\nname = "page"\nkey = { env = "PAGE_KEY" }\n'


@pytest.fixture
async def open_page(nursery):
    """A function from scripts of an upstream to a context with that, and with a function that visits the page."""

    @asynccontextmanager
    async def open_page(*scripts):
        pages = await browser.serve(nursery)
        upstream = await scripted.listen(nursery, *scripts)
        toml = f'[server]\nallowed_origins = ["{pages.origin}"]\n\n{KEYS}\n{provider(upstream.base_url)}'
        async with Gateway(toml, env={"PAGE_KEY": KEY}) as gateway:
            defaults = {"gateway": gateway.base_url, "key": KEY, "body": ASK}
            defaults |= {"url": gateway.base_url.replace("http", "ws") + "/chat/ws", "protocols": SHOWN}

            async def visit(call, *, foreign=False, **job):
                return await pages.visit(call, origin=pages.foreign if foreign else pages.origin, **defaults | job)

            yield upstream, visit

    return open_page


async def test_c87_a_stream_by_fetch(open_page):
    async with open_page(stream(*TOLD)) as (_, visit):
        seen = (await visit("stream"))["result"]
        assert seen["status"] == 200
        assert content(payloads("".join(seen["pieces"]).encode())) == SAID
        assert seen["headers"]["x-request-id"]
        assert seen["headers"]["x-penstock-provider"] == "local"


async def test_c87_the_openai_package_in_a_page(open_page):
    """It sends `x-stainless-*`, each of which a browser has allowed by a preflight."""
    nodes.require(nodes.FOLDER)
    async with open_page(stream(*TOLD)) as (_, visit):
        assert "".join((await visit("sdk"))["result"]["texts"]) == SAID
        told = await visit("sdk", body=ASK | {"model": "nobody-has-this"})
        assert (told["error"]["status"], told["error"]["code"]) == (404, "model_not_found")
        told = await visit("sdk", key="sk-wrong")
        assert (told["error"]["status"], told["error"]["code"]) == (401, "invalid_api_key")


async def test_c01_leaving_a_page_closes_the_upstream(open_page):
    begun = [STREAM, chunked(sse(role(), text("x"))), scripted.EXPECT_CLOSE]
    async with open_page(begun, begun) as (upstream, visit):
        assert len((await visit("stream", leaveAfter=1))["result"]["pieces"]) == 1
        await (await upstream.request()).closed.wait()
        asks = {"jsonrpc": "2.0", "id": 1, "method": "chat.completions.create", "params": ASK}
        await visit("socket", messages=[asks], leaveAfter=1)  # the browser is killed in mid-stream
        await (await upstream.request(1)).closed.wait()


async def test_json_rpc_over_a_websocket(open_page):
    asks = [{"jsonrpc": "2.0", "id": id, "method": "chat.completions.create", "params": ASK} for id in ("a", "b")]
    messages = [
        {"jsonrpc": "2.0", "id": 15, "method": "prettier/format", "params": {}},
        {"jsonrpc": "2.0", "id": 16, "method": "initialize", "params": {"protocolVersion": "1"}},
        *asks,
    ]
    async with open_page(stream(*TOLD), stream(*TOLD)) as (_, visit):
        seen = (await visit("socket", messages=messages, responses=4))["result"]
    assert seen["protocol"] == "llm.rpc.v1"
    assert seen["close"] == {"code": 1000, "reason": "", "wasClean": True}
    answers = {message["id"]: message for message in seen["messages"] if "id" in message}
    assert answers[15]["error"]["code"] == -32601
    assert answers[16]["result"]["protocolVersion"] == "1"
    for id in ("a", "b"):
        deltas = [message["params"] for message in seen["messages"] if message.get("params", {}).get("requestId") == id]
        assert [delta["seq"] for delta in deltas] == list(range(len(deltas)))
        assert content(delta["chunk"] for delta in deltas) == SAID
        assert answers[id]["result"]["choices"][0]["message"]["content"] == SAID
        last = max(n for n, m in enumerate(seen["messages"]) if m.get("params", {}).get("requestId") == id)
        assert seen["messages"].index(answers[id]) > last


async def test_c87_a_page_of_a_foreign_origin_gets_nowhere(open_page):
    async with open_page() as (upstream, visit):
        told = await visit("stream", foreign=True)
        assert told["error"]["name"] == "TypeError"
        seen = (await visit("socket", foreign=True, messages=[], responses=0))["result"]
        assert (seen["close"]["code"], seen["protocol"]) == (1006, "")
        assert upstream.requests == []
