"""LangChain's `ChatOpenAI` and `OpenAIEmbeddings`, which check what they read with pydantic, through the gateway."""

import json

import openai
import pytest
import trio

import scripted
from answers import DONE, LAST, STREAM, chunked, completion, error, finish, reply, role, sse, stream, text, tool, usage
from clients.told import SAID, TOLD, WORDS

pytestmark = pytest.mark.frameworks

WEATHER = {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}
CALLS = [tool(0, id="call_a", name="weather"), tool(0, '{"где":'), tool(0, '"Київ 🌧"}')]
CALLS += [tool(1, "{}", id="call_b", name="weather")]
MADE = [("call_a", "weather", {"где": "Київ 🌧"}), ("call_b", "weather", {})]


@pytest.fixture(scope="session")
def langchain():
    return pytest.importorskip("langchain_openai", reason="make test-frameworks")


@pytest.fixture
def model(langchain):
    """A function from a gateway to a ChatOpenAI at it."""

    def model(gateway, **more):
        place = {"base_url": gateway.base_url, "api_key": "sk-client", "max_retries": 0, "timeout": 10}
        return langchain.ChatOpenAI(model="local/tiny", **place, **more)

    return model


async def thread(function, *given, **more):
    return await trio.to_thread.run_sync(lambda: function(*given, **more))


async def test_invoke(start, model):
    upstream, gateway = await start([reply(completion(SAID, "length"))])
    answer = await thread(model(gateway, temperature=0.5, max_tokens=9).invoke, [("system", "S"), ("user", "Привет")])
    assert (answer.content, answer.response_metadata["finish_reason"]) == (SAID, "length")
    assert answer.usage_metadata["total_tokens"] == 11
    asked = (await upstream.request()).json
    assert [turn["role"] for turn in asked["messages"]] == ["system", "user"]
    assert (asked["temperature"], asked["max_completion_tokens"]) == (0.5, 9)


async def test_stream_and_usage(start, model):
    _, gateway = await start(always=stream(*TOLD))
    chunks = await thread(lambda: list(model(gateway, stream_usage=True).stream("Привет")))
    assert [chunk.content for chunk in chunks if chunk.content] == WORDS
    assert [chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata] == [8]
    chunks = await thread(lambda: list(model(gateway, stream_usage=False).stream("Привет")))
    assert not any(chunk.usage_metadata for chunk in chunks)


async def test_tools_and_their_results(start, model):
    upstream, gateway = await start(stream(role(), *CALLS, finish("tool_calls"), usage(), DONE), stream(*TOLD))
    bound = model(gateway).bind_tools([WEATHER], tool_choice="any", strict=True)

    def talk():
        first, *rest = bound.stream("Привет")
        answer = sum(rest, first)
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "+5"} for call in answer.tool_calls]
        list(bound.stream([("user", "Привет"), answer, *results]))
        return answer

    answer = await thread(talk)
    assert [(call["id"], call["name"], call["args"]) for call in answer.tool_calls] == MADE
    asked = (await upstream.request()).json
    assert (asked["tool_choice"], asked["tools"][0]["function"]["name"]) == ("required", "weather")
    turns = (await upstream.request(1)).json["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "tool"]


async def test_structured_output(start, model):
    upstream, gateway = await start([reply(completion('{"где": "Київ"}'))])
    schema = {"title": "Place", "type": "object", "properties": {"где": {"type": "string"}}, "required": ["где"]}
    structured = model(gateway).with_structured_output(schema, method="json_schema")
    assert await thread(structured.invoke, "Привет") == {"где": "Київ"}
    assert (await upstream.request()).json["response_format"]["json_schema"]["name"] == "Place"


async def test_the_responses_api(start, model):
    _, gateway = await start([reply(completion(SAID))], stream(role(), *CALLS, finish("tool_calls"), DONE))
    with_responses = model(gateway, use_responses_api=True)
    answer = await thread(with_responses.invoke, "Привет")
    assert answer.text == SAID
    first, *rest = await thread(lambda: list(with_responses.bind_tools([WEATHER]).stream("Привет")))
    assert [(call["id"], call["name"], call["args"]) for call in sum(rest, first).tool_calls] == MADE


@pytest.mark.parametrize(
    ("then", "code"),
    [([chunked(sse(error("сломалось", code="crashed"))) + LAST], "crashed"), ([scripted.RESET], "upstream_error")],
    ids=["error event", "reset"],
)
async def test_an_error_in_the_middle_is_an_api_error_after_the_text(start, model, then, code):
    _, gateway = await start([STREAM, chunked(sse(role(), text("Пол"))), *then])
    seen = []
    with pytest.raises(openai.APIError) as caught:
        await thread(lambda: seen.extend(chunk.content for chunk in model(gateway).stream("Привет")))
    assert (caught.value.code, "".join(seen)) == (code, "Пол")


async def test_an_error_before_it_has_its_class(start, model):
    _, gateway = await start([reply(error("no"), 400)])
    with pytest.raises(openai.BadRequestError, match="no"):
        await thread(model(gateway).invoke, "Привет")


@pytest.mark.parametrize("ids", [True, False], ids=["token ids", "texts"])
async def test_embeddings(start, langchain, monkeypatch, ids):
    """Token ids are what it sends by default; here a token is a byte, as its own table would be downloaded."""
    registry = pytest.importorskip("tiktoken.registry")
    table = registry.Encoding(
        "cl100k_base", pat_str=".", mergeable_ranks={bytes([n]): n for n in range(256)}, special_tokens={}
    )
    monkeypatch.setitem(registry.ENCODINGS, "cl100k_base", table)
    vectors = [{"object": "embedding", "index": n, "embedding": [0.25, -0.5, n]} for n in range(2)]
    told = {"object": "list", "data": vectors, "model": "tiny", "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    upstream, gateway = await start([reply(told)])
    place = {"base_url": gateway.base_url, "api_key": "sk-client", "max_retries": 0}
    embeddings = langchain.OpenAIEmbeddings(model="local/tiny", check_embedding_ctx_length=ids, **place)
    assert await thread(embeddings.embed_documents, ["ab", "c"]) == [[0.25, -0.5, 0.0], [0.25, -0.5, 1.0]]
    asked = await upstream.request()
    assert asked.target == "/v1/embeddings"
    assert json.loads(asked.body)["input"] == ([[97, 98], [99]] if ids else ["ab", "c"])
