"""What our encoder makes of the Responses API, read by the `openai` package: events, and its `.stream()` helper."""

import openai
import pytest
import trio

import scripted
from answers import reply
from clients.responses_served import ASKED, SAID, script
from penstock.protocol.chat import Answer, Choice, ToolCall, Usage
from penstock.protocol.dialects import responses

# The package leaves its own async generators unfinished where it raises, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx|httpcore):ResourceWarning")

CALL = {"model": "tiny", "input": "Привет"}


class Sync:
    """`OpenAI`, in a thread."""

    def __init__(self, base_url):
        self._client = openai.OpenAI(base_url=base_url, api_key="sk-client", timeout=10.0, max_retries=0)

    async def whole(self):
        return await trio.to_thread.run_sync(lambda: self._client.responses.create(**CALL))

    async def events(self, seen):
        def read():
            with self._client.responses.create(stream=True, **CALL) as stream:
                for event in stream:
                    seen.append(event)

        await trio.to_thread.run_sync(read)

    async def helper(self, seen):
        def read():
            with self._client.responses.stream(**CALL) as stream:
                for event in stream:
                    seen.append(event)
                return stream.get_final_response()

        return await trio.to_thread.run_sync(read)

    async def close(self):
        self._client.close()


class Async:
    """`AsyncOpenAI`."""

    def __init__(self, base_url):
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key="sk-client", timeout=10.0, max_retries=0)

    async def whole(self):
        return await self._client.responses.create(**CALL)

    async def events(self, seen):
        async with await self._client.responses.create(stream=True, **CALL) as stream:
            async for event in stream:
                seen.append(event)

    async def helper(self, seen):
        async with self._client.responses.stream(**CALL) as stream:
            async for event in stream:
                seen.append(event)
            return await stream.get_final_response()

    async def close(self):
        await self._client.close()


@pytest.fixture(params=[Async, Sync], ids=["async", "sync"])
async def connect(request, nursery):
    """A function from a script to an SDK client at a server that follows it."""
    clients = []

    async def connect(steps):
        server = await scripted.listen(nursery, steps)
        clients.append(request.param(server.base_url))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()


async def final(connect, name):
    """The response that the helper puts together, after checking that the raw events are the same."""
    raw, seen = [], []
    await (await connect(script(name))).events(raw)
    response = await (await connect(script(name))).helper(seen)
    assert [event.type for event in raw] == [event.type for event in seen]
    assert [event.sequence_number for event in raw] == list(range(len(raw)))
    assert raw[-1].response.to_dict() == seen[-1].response.to_dict() | {"output": raw[-1].response.to_dict()["output"]}
    return response, seen


async def test_text(connect):
    response, seen = await final(connect, "text")
    assert response.output_text == SAID
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == SAID
    assert [event.snapshot for event in seen if event.type == "response.output_text.delta"][-1] == SAID
    assert (response.id, response.model, response.status, response.created_at) == (
        "resp_1",
        "tiny",
        "completed",
        1760000000,
    )
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (9, 7, 16)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (4, 3)
    assert (response.instructions, response.temperature) == (ASKED["instructions"], ASKED["temperature"])


async def test_tool_calls(connect):
    response, seen = await final(connect, "tools")
    assert [(item.call_id, item.name, item.arguments) for item in response.output] == [
        ("call_a", "f", '{"x":1}'),
        ("call_b", "g", "{}"),
    ]
    done = [event for event in seen if event.type == "response.output_item.done"]
    assert [event.item.status for event in done] == ["completed", "completed"]


async def test_reasoning_and_text(connect):
    response, seen = await final(connect, "reasoning")
    thought, said = response.output
    assert ([part.text for part in thought.summary], thought.encrypted_content) == (["hm, yes"], "gAAA")
    assert said.content[0].text == SAID
    assert "response.reasoning_summary_text.done" in [event.type for event in seen]


async def test_refusal(connect):
    response, _ = await final(connect, "refusal")
    assert [part.refusal for part in response.output[0].content] == ["I won't"]


async def test_incomplete(connect):
    seen = []
    client = await connect(script("incomplete"))
    with pytest.raises(RuntimeError, match=r"response\.completed"):
        await client.helper(seen)
    assert seen[-1].type == "response.incomplete"
    assert seen[-1].response.incomplete_details.reason == "max_output_tokens"
    assert seen[-1].response.output_text == SAID


@pytest.mark.parametrize("name", ["failed", "failed at once"])
async def test_failed(connect, name):
    for how in ("events", "helper"):
        seen = []
        client = await connect(script(name))
        with pytest.raises(openai.APIError) as caught:
            await getattr(client, how)(seen)
        assert not isinstance(caught.value, openai.APIStatusError)
        assert (caught.value.message, caught.value.code, caught.value.type) == (
            *("boom", "rate_limit_exceeded", "rate_limit_error"),
        )
        assert seen[0].type == "response.created"
        assert seen[-1].type == "response.failed"
        assert (seen[-1].response.status, seen[-1].response.error.message) == ("failed", "boom")


async def test_a_whole_answer(connect):
    choice = Choice(0, SAID, "hm", "", [ToolCall(0, 0, "call_a", "f", "{}")], "tool_calls")
    body = responses.encode_response(Answer("chatcmpl-1", "tiny", 5, [choice], Usage(1, 2, 3)), request=ASKED)
    response = await (await connect([reply(body)])).whole()
    assert response.output_text == SAID
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert (response.usage.total_tokens, response.instructions) == (3, "Be brief")
