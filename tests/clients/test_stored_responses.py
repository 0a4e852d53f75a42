"""Stored responses and sessions as SDKs use them, at a gateway in a process of its own: also after a restart."""

from __future__ import annotations

import json

import openai
import pytest

import scripted
from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, text, usage
from clients import nodes
from gateway import Gateway, provider

# The package leaves its own async generators unfinished where it raises, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx|httpcore):ResourceWarning")

REMEMBER, ASK = "Remember: my favourite colour is blue", "What is my favourite colour?"
KEYS = '[[keys]]\nname = "ann"\nkey = { env = "ANN" }\n[[keys]]\nname = "bob"\nkey = { env = "BOB" }\n'
ANN, BOB = "sk-client", "sk-bob-0123456789"
ENV = {"ANN": ANN, "BOB": BOB}


async def remembers(exchange):
    """An upstream that knows a colour only if it is told of it."""
    messages = exchange.json["messages"]
    told = any("blue" in json.dumps(message["content"]) for message in messages[:-1])
    words = "It is blue." if told else "Noted."
    if exchange.json.get("stream"):
        said = [role(), *(text(letter) for letter in words), finish(), usage(), DONE]
        await exchange.send(STREAM + chunked(sse(*said)) + LAST)
    else:
        await exchange.send(reply(completion(words)))


@pytest.fixture
async def upstream(nursery):
    return await scripted.listen(nursery, always=[remembers])


@pytest.fixture
def gateway(tmp_path):
    """A function from an upstream to a gateway with a store, each time the same store."""

    def gateway(upstream, more=KEYS, env=ENV):
        store = f"[store]\nurl = 'sqlite:///{tmp_path}/store.db'\n"
        return Gateway(provider(upstream.base_url, 'speaks = ["openai"]') + store + more, env=env)

    return gateway


def connect(gateway, key=ANN):
    return openai.AsyncOpenAI(base_url=gateway.base_url, api_key=key, timeout=10.0, max_retries=0)


async def test_create_retrieve_chain_and_delete(upstream, gateway):
    async with gateway(upstream) as served, connect(served) as client, connect(served, BOB) as other:
        first = await client.responses.create(model="local/tiny", input=REMEMBER)
        found = await client.responses.retrieve(first.id)
        assert found.to_dict() == first.to_dict()
        second = await client.responses.create(model="local/tiny", input=ASK, previous_response_id=first.id)
        assert (second.output_text, second.previous_response_id) == ("It is blue.", first.id)
        items = [item async for item in client.responses.input_items.list(second.id)]
        assert [item.content[0].text for item in items] == [ASK]
        assert (await client.responses.cancel(second.id)).to_dict() == second.to_dict()
        for forbidden in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
            with pytest.raises(openai.NotFoundError):
                await forbidden(first.id)
        with pytest.raises(openai.BadRequestError) as caught:
            await other.responses.create(model="local/tiny", input=ASK, previous_response_id=first.id)
        assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
        await client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(first.id)


async def test_a_stream_is_found_by_the_id_that_it_told(upstream, gateway):
    async with gateway(upstream) as served, connect(served) as client:
        async with client.responses.stream(model="local/tiny", input=REMEMBER) as stream:
            ids = {event.response.id async for event in stream if hasattr(event, "response")}
            final = await stream.get_final_response()
        assert ids == {final.id}
        found = await client.responses.retrieve(final.id)
        assert (found.output_text, found.store, found.status) == ("Noted.", True, "completed")
        async with client.responses.stream(model="local/tiny", input=ASK, previous_response_id=final.id) as stream:
            assert (await stream.get_final_response()).output_text == "It is blue."


async def test_one_under_way_is_cancelled(nursery, gateway):
    upstream = await scripted.listen(nursery, [STREAM, chunked(sse(role(), text("No"))), scripted.EXPECT_CLOSE])
    async with gateway(upstream) as served, connect(served) as client, connect(served, BOB) as other:
        stream = await client.responses.create(model="local/tiny", input="Hi", stream=True)
        async with stream:
            created = await anext(aiter(stream))
            with pytest.raises(openai.NotFoundError):
                await other.responses.cancel(created.response.id)
            assert (await client.responses.retrieve(created.response.id)).status == "in_progress"
            assert (await client.responses.cancel(created.response.id)).status == "cancelled"
            with pytest.raises(openai.APIError, match="cancelled"):
                async for _ in stream:
                    pass
        assert (await client.responses.retrieve(created.response.id)).status == "cancelled"
        await upstream.all_closed()


async def test_after_a_restart(upstream, gateway):
    async with gateway(upstream) as served, connect(served) as client:
        first = await client.responses.create(model="local/tiny", input=REMEMBER)
        await _chat(client, REMEMBER)
    async with gateway(upstream) as served, connect(served) as client:
        assert (await client.responses.retrieve(first.id)).to_dict() == first.to_dict()
        second = await client.responses.create(model="local/tiny", input=ASK, previous_response_id=first.id)
        assert second.output_text == "It is blue."
        assert await _chat(client, ASK) == "It is blue."


async def _chat(client, words):
    answer = await client.chat.completions.create(
        model="local/tiny",
        messages=[{"role": "user", "content": words}],
        extra_headers={"X-Session-ID": "colours"},
    )
    return answer.choices[0].message.content


async def test_what_a_killed_gateway_acknowledged_is_there(upstream, gateway):
    """Killed as soon as the client has the last byte: all that it was told has been kept."""
    async with gateway(upstream) as served, connect(served) as client:
        first = await client.responses.create(model="local/tiny", input=REMEMBER)
        stream = await client.chat.completions.create(
            model="local/tiny",
            messages=[{"role": "user", "content": REMEMBER}],
            stream=True,
            extra_headers={"X-Session-ID": "colours"},
        )
        assert [chunk async for chunk in stream]
        served._process.kill()
    async with gateway(upstream) as served, connect(served) as client:
        assert (await client.responses.retrieve(first.id)).output_text == "Noted."
        assert await _chat(client, ASK) == "It is blue."


@pytest.mark.node
async def test_openai_for_node(upstream, gateway):
    node = nodes.require(nodes.FOLDER)
    async with gateway(upstream, more="", env={}) as served:
        lines = await nodes.drive(node, served.base_url, "storedResponses", ask=ASK, arguments={"input": REMEMBER})
    found = {name: value for line in lines for name, value in line.items()}
    first, second = found["first"], found["second"]
    assert found["retrieved"] == first
    assert (second["output_text"], second["previous_response_id"]) == ("It is blue.", first["id"])
    assert (found["streamed"]["id"], found["streamed"]["status"]) == (found["refound"]["id"], "completed")
    assert found["items"][0]["content"][0]["text"] == ASK
    assert found["cancelled"]["id"] == second["id"]
    assert (found["error"]["name"], found["error"]["status"]) == ("NotFoundError", 404)


@pytest.mark.node
async def test_the_ai_sdk_refers_to_what_it_was_answered(upstream, gateway):
    """With `store` unset it sends the ids of earlier items in the place of the items."""
    node = nodes.require(nodes.AI_SDK)
    async with gateway(upstream, more="", env={}) as served:
        first = await nodes.ai_parts(node, served.base_url, settings={"prompt": REMEMBER})
        [item] = [part["providerMetadata"]["openai"]["itemId"] for part in first if part["type"] == "text-end"]
        assistant = {"type": "text", "text": "Noted.", "providerOptions": {"openai": {"itemId": item}}}
        messages = [
            {"role": "user", "content": REMEMBER},
            {"role": "assistant", "content": [assistant]},
            {"role": "user", "content": ASK},
        ]
        second = await nodes.ai_parts(node, served.base_url, settings={"prompt": messages})
        assistant["providerOptions"]["openai"]["itemId"] = "msg_nobody_0"
        unknown = await nodes.ai_parts(node, served.base_url, settings={"prompt": messages})
    assert "".join(part["text"] for part in second if part["type"] == "text-delta") == "It is blue."
    said = [message["content"] for message in upstream.requests[1].json["messages"]]
    assert "Noted." in json.dumps(said)
    [error] = [part["error"] for part in unknown if part["type"] == "error"]
    assert (error["statusCode"], "item_reference" in error["message"]) == (400, True)


async def test_with_echo_and_no_configuration():
    """Nothing but `penstock serve`: sessions are kept in memory."""
    async with Gateway() as served, connect(served) as client:
        for words in (REMEMBER, ASK):
            said = [{"role": "user", "content": words}]
            await client.chat.completions.create(model="echo/echo", messages=said, extra_body={"session_id": "s"})
        kept = await client.get("/sessions/s/messages", cast_to=object)
    assert [message["content"] for message in kept["data"]] == [REMEMBER, REMEMBER, ASK, ASK]
