"""Vercel's AI SDK, which checks what it reads against schemas: by chat (`@ai-sdk/openai-compatible`, which is what
agents and editors use), by the Responses API (`@ai-sdk/openai`) and by messages (`@ai-sdk/anthropic`)."""

import pytest

import scripted
from answers import DONE, LAST, STREAM, chunked, error, finish, reasoning, reply, role, sse, stream, text, tool, usage
from clients import nodes
from clients.told import SAID, TOLD, WORDS

pytestmark = pytest.mark.node

APIS = ["chat", "responses", "messages"]


@pytest.fixture(scope="session")
def node():
    return nodes.require(nodes.AI_SDK)


@pytest.fixture
def ask(node):
    """A function from a gateway to the parts that `streamText` made of its answer."""

    async def ask(gateway, api="chat", **job):
        return await nodes.ai_parts(node, gateway.base_url, api=api, **job)

    return ask


def texts(parts, kind="text"):
    return [part["text"] for part in parts if part["type"] == f"{kind}-delta"]


@pytest.mark.parametrize("api", APIS)
async def test_text_and_usage(start, ask, api):
    upstream, gateway = await start(stream(*TOLD))
    parts = await ask(gateway, api, settings={"temperature": 0.5, "maxOutputTokens": 9})
    assert texts(parts) == WORDS
    assert (parts[-1]["finishReason"], parts[-1]["totalUsage"]["outputTokens"]) == ("stop", 8)
    asked = (await upstream.request()).json
    assert (asked["temperature"], asked["max_tokens"], asked["model"]) == (0.5, 9, "tiny")


@pytest.mark.parametrize("api", APIS)
async def test_reasoning_and_two_tools_whose_arguments_come_in_pieces(start, ask, api):
    calls = [tool(0, id="call_a", name="погода"), tool(0, '{"где":'), tool(1, "{}", id="call_b", name="now")]
    told = [role(), reasoning("Хм"), text("Да"), *calls, tool(0, '"Київ 🌧"}'), finish("tool_calls"), usage(), DONE]
    upstream, gateway = await start(stream(*told))
    parts = await ask(gateway, api, tools=["погода", "now"])
    assert ("".join(texts(parts, "reasoning")), texts(parts)) == ("Хм", ["Да"])
    made = [(part["toolCallId"], part["toolName"], part["input"]) for part in parts if part["type"] == "tool-call"]
    assert sorted(made) == [("call_a", "погода", {"где": "Київ 🌧"}), ("call_b", "now", {})]
    assert parts[-1]["finishReason"] == "tool-calls"
    assert [entry["function"]["name"] for entry in (await upstream.request()).json["tools"]] == ["погода", "now"]


@pytest.mark.parametrize(
    ("then", "message"),
    [([chunked(sse(error("сломалось"))) + LAST], "сломалось"), ([LAST], ""), ([scripted.RESET], "")],
    ids=["error event", "clean end", "reset"],
)
async def test_an_error_in_the_middle_is_an_error_part_after_the_text(start, ask, then, message):
    _, gateway = await start([STREAM, chunked(sse(role(), text("Пол"))), *then])
    parts = await ask(gateway)
    assert texts(parts) == ["Пол"]
    [told] = [part["error"] for part in parts if part["type"] == "error"]
    assert message in str(told["message"])
    assert parts[-1]["finishReason"] == "error"


@pytest.mark.parametrize("api", ["chat", "messages"])
async def test_reasoning_is_given_back_with_the_results_of_tools(start, ask, api):
    """Some models want it; the SDK keeps only what it may take for signed."""
    told = [role(), reasoning("Хм"), tool(0, "{}", id="call_a", name="now"), finish("tool_calls"), usage(), DONE]
    upstream, gateway = await start(stream(*told), stream(*TOLD))
    parts = await ask(gateway, api, tools=["now"], steps=2)
    assert "".join(texts(parts)) == SAID
    _, made, result = (await upstream.request(1)).json["messages"]
    assert (made["reasoning_content"], made["tool_calls"][0]["id"]) == ("Хм", "call_a")
    assert (result["role"], result["content"]) == ("tool", "done")


@pytest.mark.parametrize("api", ["responses", "messages"])
async def test_an_error_in_the_middle_is_one_with_the_other_apis_as_well(start, ask, api):
    _, gateway = await start([STREAM, chunked(sse(role(), text("Пол"))), scripted.RESET])
    parts = await ask(gateway, api)
    assert texts(parts) == ["Пол"]
    assert "error" in [part["type"] for part in parts]


@pytest.mark.parametrize("api", APIS)
async def test_an_error_before_it_has_its_status_and_words(start, ask, api):
    _, gateway = await start([reply(error("нет"), 400)])
    [told] = [part["error"] for part in await ask(gateway, api) if part["type"] == "error"]
    assert told == {"name": "APICallError", "message": "нет", "statusCode": 400}


async def test_a_retry_succeeds(start, ask):
    busy = reply(error("busy"), 429, ("retry-after-ms", "1"))
    upstream, gateway = await start([busy], stream(*TOLD))
    assert "".join(texts(await ask(gateway, settings={"maxRetries": 1}))) == SAID
    assert len(upstream.requests) == 2


async def test_aborting_closes_the_upstream(start, ask):
    upstream, gateway = await start([STREAM, chunked(sse(role(), text("x"))), scripted.EXPECT_CLOSE])
    parts = await ask(gateway, leaveAfter=4)
    assert "x" in texts(parts)
    assert parts[-1]["type"] == "abort"
    await (await upstream.request()).closed.wait()
