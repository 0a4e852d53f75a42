"""What our encoder makes of the Responses API, read by Vercel's AI SDK, which speaks it where nothing else is said."""

import pytest

import scripted
from clients import nodes
from clients.responses_served import SAID, script

pytestmark = pytest.mark.node


@pytest.fixture(scope="session")
def node():
    return nodes.require(nodes.AI_SDK)


@pytest.fixture
def parts(node, nursery):
    """A function from the name of a stream to the parts that the SDK made of it."""

    async def parts(name):
        server = await scripted.listen(nursery, script(name))
        return await nodes.ai_parts(node, server.base_url, tools=["f", "g"])

    return parts


def joined(parts, kind):
    return "".join(part["text"] for part in parts if part["type"] == f"{kind}-delta")


async def test_text(parts):
    found = await parts("text")
    assert joined(found, "text") == SAID
    usage = found[-1]["totalUsage"]
    assert (found[-1]["finishReason"], usage["inputTokens"], usage["outputTokens"]) == ("stop", 9, 7)
    assert (usage["cachedInputTokens"], usage["reasoningTokens"]) == (4, 3)


async def test_tool_calls(parts):
    found = await parts("tools")
    calls = [(part["toolCallId"], part["toolName"], part["input"]) for part in found if part["type"] == "tool-call"]
    assert calls == [("call_a", "f", {"x": 1}), ("call_b", "g", {})]
    assert found[-1]["finishReason"] == "tool-calls"


async def test_reasoning_and_text(parts):
    found = await parts("reasoning")
    assert (joined(found, "reasoning"), joined(found, "text")) == ("hm, yes", SAID)
    [end] = [part for part in found if part["type"] == "reasoning-end"]
    assert end["providerMetadata"]["openai"]["reasoningEncryptedContent"] == "gAAA"


async def test_incomplete(parts):
    found = await parts("incomplete")
    assert (joined(found, "text"), found[-1]["finishReason"]) == (SAID, "length")


async def test_failed(parts):
    found = await parts("failed")
    assert joined(found, "text") == SAID
    assert {part["error"]["message"] for part in found if part["type"] == "error"} == {"boom"}
    assert found[-1]["finishReason"] == "error"
    [error] = [part for part in await parts("failed at once") if part["type"] == "error"]
    assert error["error"] == {"name": "APICallError", "message": "boom", "statusCode": 429}
