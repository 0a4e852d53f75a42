"""The Responses API through the gateway, from servers that have it and from those that have chat only, read by the
`openai` packages of PyPI and npm."""

import json

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
    error,
    finish,
    reasoning,
    reply,
    role,
    sse,
    stream,
    text,
    tool,
    usage,
)
from clients import nodes
from clients.told import SAID, TOLD
from responses_streams import FULL
from responses_streams import stream as responses_stream

# The package leaves its own async generators unfinished where it raises, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx|httpcore):ResourceWarning")

HAS_RESPONSES = ['speaks = ["openai", "responses"]']
TOOLS = [
    {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}, "strict": True}
    for name in ("погода", "now")
]
CALLED = [
    *(tool(0, id="call_a", name="погода"), tool(0, '{"где":'), tool(0, '"Київ 🌧"}')),
    tool(1, "{}", id="b", name="now"),
]


@pytest.fixture(scope="session")
def node():
    return nodes.require(nodes.FOLDER)


@pytest.fixture
def ask(connect):
    """A function from a gateway and arguments to what `responses.create` gives, or, by `seen`, what the helper does."""

    async def ask(gateway, seen=None, **arguments):
        client = connect(gateway.base_url, max_retries=0).client
        given = {"model": "local/tiny", "input": "Привет", **arguments}
        if isinstance(client, openai.AsyncOpenAI):
            if seen is None:
                return await client.responses.create(**given)
            async with client.responses.stream(**given) as told:
                async for event in told:
                    seen.append(event)
                return await told.get_final_response()

        def create():
            if seen is None:
                return client.responses.create(**given)
            with client.responses.stream(**given) as told:
                seen.extend(told)
                return told.get_final_response()

        return await trio.to_thread.run_sync(create)

    return ask


async def test_whole_answer_of_a_server_that_has_chat_only(start, ask):
    upstream, gateway = await start([reply(completion(SAID))])
    answer = await ask(gateway, instructions="Кратко", max_output_tokens=9, temperature=0.5, store=False)
    assert (answer.output_text, answer.status, answer.object) == (SAID, "completed", "response")
    assert (answer.instructions, answer.usage.total_tokens) == ("Кратко", 11)
    asked = (await upstream.request()).json
    assert [turn["role"] for turn in asked["messages"]] == ["system", "user"]
    assert asked["temperature"] == 0.5
    assert 9 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))


async def test_stream_of_a_server_that_has_chat_only(start, ask):
    _, gateway = await start(stream(*TOLD))
    seen = []
    answer = await ask(gateway, seen)
    assert (answer.output_text, answer.usage.output_tokens) == (SAID, 8)
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == SAID
    assert [event.sequence_number for event in seen] == list(range(len(seen)))


async def test_reasoning_and_tools_and_their_results(start, ask):
    told = [role(), reasoning("Хм"), *CALLED, finish("tool_calls"), usage(), DONE]
    upstream, gateway = await start(stream(*told), stream(*TOLD))
    answer = await ask(gateway, [], tools=TOOLS)
    thought, *calls = answer.output
    assert thought.type == "reasoning"
    assert [(call.call_id, call.name, json.loads(call.arguments)) for call in calls] == [
        ("call_a", "погода", {"где": "Київ 🌧"}),
        ("b", "now", {}),
    ]
    asked = (await upstream.request()).json["tools"]
    assert [entry["function"]["name"] for entry in asked] == ["погода", "now"]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "+5"} for call in calls]
    items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in calls]
    await ask(gateway, [], input=[{"role": "user", "content": "Привет"}, *items, *results], tools=TOOLS)
    turns = (await upstream.request(1)).json["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in turns[1]["tool_calls"]] == ["call_a", "b"]


async def test_a_server_that_has_it(start, ask):
    told = [STREAM, chunked(responses_stream(*FULL)) + LAST]
    upstream, gateway = await start(told, lines=HAS_RESPONSES)
    seen = []
    answer = await ask(gateway, seen, include=["reasoning.encrypted_content"], store=False)
    assert answer.output_text == "Héllo"
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
    assert (answer.output[0].encrypted_content, answer.output[2].arguments) == ("gAAA", '{"x":1}')
    asked = await upstream.request()
    assert asked.target == "/v1/responses"
    assert asked.json["include"] == ["reasoning.encrypted_content"]


async def test_errors_have_their_classes(start, ask):
    upstream, gateway = await start(always=[reply(error("нет", code="some_code"), 429)])
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(gateway)
    assert (caught.value.code, caught.value.body["message"]) == ("some_code", "нет")
    with pytest.raises(openai.RateLimitError):
        await ask(gateway, [])
    with pytest.raises(openai.NotFoundError):
        await ask(gateway, model="nobody-has-this")
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("then", "code"),
    [([chunked(sse(error("сломалось", code="model_crashed")))], "model_crashed"), ([scripted.RESET], "upstream_error")],
    ids=["error event", "reset"],
)
async def test_an_error_in_the_middle_is_an_api_error_after_the_text(start, ask, then, code):
    _, gateway = await start([STREAM, chunked(sse(role(), text("Пол"))), *then])
    seen = []
    with pytest.raises(openai.APIError) as caught:
        await ask(gateway, seen)
    assert (type(caught.value), caught.value.code) == (openai.APIError, code)
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == "Пол"


@pytest.mark.node
async def test_node(start, node):
    _, gateway = await start([reply(completion(SAID))], stream(*TOLD), [reply(error("no", code="c"), 400)])
    [line] = await nodes.drive(node, gateway.base_url, "response")
    assert (line["result"]["output_text"], line["result"]["status"]) == (SAID, "completed")
    *_, end = await nodes.drive(node, gateway.base_url, "responseHelper")
    assert (end["result"]["output_text"], end["result"]["usage"]["output_tokens"]) == (SAID, 8)
    *_, end = await nodes.drive(node, gateway.base_url, "responseEvents")
    assert (end["error"]["name"], end["error"]["code"]) == ("BadRequestError", "c")
