"""LlamaIndex's `OpenAILike` through the gateway: legacy completions, which it uses unless told otherwise, and chat."""

import openai
import pytest
import trio

import scripted
from answers import DONE, STREAM, chunked, completion, error, finish, reply, role, sse, stream, text, tool, usage
from clients.told import SAID, TOLD, WORDS

pytestmark = pytest.mark.frameworks

HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1760000000, "model": "tiny"}
HELLO = "Привет"


def piece(words, reason=None):
    return {**HEAD, "choices": [{"text": words, "index": 0, "logprobs": None, "finish_reason": reason}]}


@pytest.fixture(scope="session")
def core():
    return pytest.importorskip("llama_index.core.llms", reason="make test-frameworks")


@pytest.fixture
def model():
    """A function from a gateway to an OpenAILike at it."""
    like = pytest.importorskip("llama_index.llms.openai_like", reason="make test-frameworks")

    def model(gateway, **more):
        place = {"api_base": gateway.base_url, "api_key": "sk-client", "max_retries": 0, "timeout": 10}
        return like.OpenAILike(model="local/tiny", **place, **more)

    return model


async def thread(function, *given, **more):
    return await trio.to_thread.run_sync(lambda: function(*given, **more))


async def test_completions_as_it_asks_by_default(start, model):
    whole = piece(SAID, "stop") | {"usage": {"prompt_tokens": 3, "completion_tokens": 8, "total_tokens": 11}}
    upstream, gateway = await start([reply(whole)], stream(*map(piece, WORDS), piece("", "stop"), DONE))
    assert (await thread(model(gateway).complete, HELLO)).text == SAID
    chunks = await thread(lambda: list(model(gateway).stream_complete(HELLO)))
    assert chunks[-1].text == SAID
    assert [chunk.delta for chunk in chunks if chunk.delta] == WORDS
    assert [(await upstream.request(n)).target for n in range(2)] == ["/v1/completions"] * 2


async def test_completions_of_a_server_that_has_chat_only(start, model):
    _, gateway = await start([reply(completion(SAID))], stream(*TOLD), lines=['speaks = ["openai"]'])
    assert (await thread(model(gateway).complete, HELLO)).text == SAID
    assert (await thread(lambda: list(model(gateway).stream_complete(HELLO))))[-1].text == SAID


async def test_chat(start, model, core):
    _, gateway = await start([reply(completion(SAID))], stream(*TOLD))
    chats = model(gateway, is_chat_model=True)
    turns = [core.ChatMessage(role="system", content="S"), core.ChatMessage(role="user", content=HELLO)]
    assert (await thread(chats.chat, turns)).message.content == SAID
    chunks = await thread(lambda: list(chats.stream_chat(turns)))
    assert chunks[-1].message.content == SAID
    assert [chunk.delta for chunk in chunks if chunk.delta] == WORDS


async def test_tools(start, model, core):
    tools = pytest.importorskip("llama_index.core.tools")
    calls = [tool(0, id="call_a", name="weather"), tool(0, '{"place":'), tool(0, '"Київ 🌧"}')]
    told = [role(), *calls, tool(1, '{"place":"x"}', id="call_b", name="weather"), finish("tool_calls"), usage(), DONE]
    upstream, gateway = await start(stream(*told))
    chats = model(gateway, is_chat_model=True, is_function_calling_model=True)

    def weather(place: str) -> str:
        """The weather."""
        return place

    def talk():
        *_, last = chats.stream_chat_with_tools([tools.FunctionTool.from_defaults(weather)], user_msg=HELLO)
        return chats.get_tool_calls_from_response(last)

    made = await thread(talk)
    assert [(call.tool_id, call.tool_kwargs) for call in made] == [
        ("call_a", {"place": "Київ 🌧"}),
        ("call_b", {"place": "x"}),
    ]
    assert (await upstream.request()).json["tools"][0]["function"]["name"] == "weather"


async def test_errors(start, model):
    broken = [STREAM, chunked(sse(role(), text("Пол"))), scripted.RESET]
    _, gateway = await start(broken, [reply(error("no"), 400)])
    chats = model(gateway, is_chat_model=True)
    with pytest.raises(openai.APIError) as caught:
        await thread(lambda: list(chats.stream_complete(HELLO)))
    assert caught.value.code == "upstream_error"
    with pytest.raises(openai.BadRequestError, match="no"):
        await thread(chats.complete, HELLO)
