"""What our encoder makes of the Responses API, read by the `openai` package from npm, in Node."""

import pytest

import scripted
from clients import nodes
from clients.responses_served import SAID, script

pytestmark = pytest.mark.node


@pytest.fixture(scope="session")
def node():
    return nodes.require(nodes.FOLDER)


@pytest.fixture
def ask(node, nursery):
    """A function from the name of a stream to what the SDK printed: its events, and what its helper made of them."""

    async def ask(name):
        server = await scripted.listen(nursery, script(name), script(name))
        options = {"options": {"maxRetries": 0}}
        events = await nodes.drive(node, server.base_url, "responseEvents", **options)
        return events, await nodes.drive(node, server.base_url, "responseHelper", **options)

    return ask


async def test_text(ask):
    events, [*snapshots, end] = await ask("text")
    assert "".join(line["event"].get("delta", "") for line in events) == SAID
    assert snapshots[-1]["event"] == SAID
    assert end["result"]["output_text"] == SAID
    assert (end["result"]["status"], end["result"]["usage"]["total_tokens"]) == ("completed", 16)


async def test_tool_calls(ask):
    events, [end] = await ask("tools")
    assert events[-1]["event"]["type"] == "response.completed"
    assert [(item["call_id"], item["name"], item["arguments"]) for item in end["result"]["output"]] == [
        ("call_a", "f", '{"x":1}'),
        ("call_b", "g", "{}"),
    ]


async def test_reasoning_and_text(ask):
    _, [*_, end] = await ask("reasoning")
    thought, said = end["result"]["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "hm, yes"}]
    assert (thought["encrypted_content"], said["content"][0]["text"]) == ("gAAA", SAID)


async def test_refusal(ask):
    _, [end] = await ask("refusal")
    assert [part["refusal"] for part in end["result"]["output"][0]["content"]] == ["I won't"]


async def test_incomplete(ask):
    events, [*_, end] = await ask("incomplete")
    assert events[-1]["event"]["type"] == "response.incomplete"
    assert end["result"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert end["result"]["output_text"] == SAID


@pytest.mark.parametrize("name", ["failed", "failed at once"])
async def test_failed(ask, name):
    events, helped = await ask(name)
    assert events[-2]["event"]["response"]["error"] == {"code": "rate_limit_exceeded", "message": "boom"}
    for lines in (events, helped):
        error = lines[-1]["error"]
        assert error["apiError"]
        assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
        assert "boom" in error["message"]
