"""Legacy completions as the `openai` packages of PyPI and npm ask for them, from servers that have them and from one
that has chat only."""

import openai
import pytest
import trio

import scripted
from answers import DONE, LAST, STREAM, chunked, completion, error, finish, reply, role, sse, stream, text
from clients import nodes
from clients.told import SAID, WORDS

# The package leaves its own async generators unfinished at `[DONE]`, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx|httpcore):ResourceWarning")

HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1760000000, "model": "tiny"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 8, "total_tokens": 11}
CHATS_ONLY = ['speaks = ["openai"]']


def piece(words, reason=None, index=0):
    choice = {"text": words, "index": index, "logprobs": None, "finish_reason": reason}
    return {**HEAD, "choices": [choice]}


def whole(words, reason="stop"):
    return piece(words, reason) | {"usage": USAGE}


TOLD = [*map(piece, WORDS), piece("", "stop"), {**HEAD, "choices": [], "usage": USAGE}, DONE]


@pytest.fixture
def ask(connect):
    """A function from a gateway and arguments to what `completions.create` gives: an object, or a list of chunks."""

    async def ask(gateway, **arguments):
        client = connect(gateway.base_url, max_retries=0).client
        given = {"model": "local/tiny", "prompt": "Привет", **arguments}
        if isinstance(client, openai.AsyncOpenAI):
            answer = await client.completions.create(**given)
            return [chunk async for chunk in answer] if given.get("stream") else answer

        def create():
            answer = client.completions.create(**given)
            return list(answer) if given.get("stream") else answer

        return await trio.to_thread.run_sync(create)

    return ask


async def test_whole_answer(start, ask):
    upstream, gateway = await start([reply(whole(SAID, "length") | {"x_vendor": 1.5})])
    answer = await ask(gateway, prompt=["а", "б"], max_tokens=8, echo=False, logprobs=2, suffix="!", seed=2**63)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (SAID, "length")
    assert (answer.object, answer.usage.total_tokens, answer.model_extra) == ("text_completion", 11, {"x_vendor": 1.5})
    asked = await upstream.request()
    assert asked.target == "/v1/completions"
    expected = {"model": "tiny", "prompt": ["а", "б"], "max_tokens": 8, "echo": False, "logprobs": 2, "suffix": "!"}
    assert asked.json == expected | {"seed": 2**63}


async def test_token_ids_for_a_prompt(start, ask):
    upstream, gateway = await start([reply(whole("x"))])
    await ask(gateway, prompt=[[1, 2], [3]])
    assert (await upstream.request()).json["prompt"] == [[1, 2], [3]]


async def test_stream(start, ask):
    _, gateway = await start(always=stream(*TOLD))
    chunks = await ask(gateway, stream=True)
    assert [chunk.choices[0].text for chunk in chunks] == [*WORDS, ""]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [*[None] * len(WORDS), "stop"]
    assert {(chunk.id, chunk.object, chunk.created) for chunk in chunks} == {("cmpl-1", "text_completion", 1760000000)}
    *_, last = await ask(gateway, stream=True, stream_options={"include_usage": True})
    assert (last.choices, last.usage.completion_tokens) == ([], 8)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
async def test_a_server_that_has_chat_only(start, ask, streamed):
    script = [reply(completion(SAID, "length"))]
    if streamed:
        script = stream(role(), *map(text, WORDS), finish("length"), DONE)
    upstream, gateway = await start(script, lines=CHATS_ONLY)
    answer = await ask(gateway, stream=streamed, max_tokens=8, stop=["\n"])
    pieces = answer if streamed else [answer]
    assert "".join(chunk.choices[0].text for chunk in pieces) == SAID
    assert (pieces[-1].choices[0].finish_reason, pieces[-1].object) == ("length", "text_completion")
    asked = await upstream.request()
    assert asked.target == "/v1/chat/completions"
    assert asked.json["messages"] == [{"role": "user", "content": "Привет"}]
    assert (asked.json["max_tokens"], asked.json["stop"]) == (8, ["\n"])


async def test_what_chat_cannot_carry_is_refused_by_name(start, ask):
    upstream, gateway = await start(lines=CHATS_ONLY)
    for given in ({"prompt": [[1, 2]]}, {"suffix": "}"}, {"prompt": ["a", "b"]}):
        with pytest.raises(openai.BadRequestError, match=next(iter(given))):
            await ask(gateway, **given)
    assert upstream.requests == []


@pytest.mark.parametrize("lines", [[], CHATS_ONLY], ids=["completions", "chat"])
async def test_an_error_in_the_middle_is_an_api_error(start, ask, lines):
    begun = text("Пол") if lines else piece("Пол")
    _, gateway = await start([STREAM, chunked(sse(begun, error("сломалось", code="crashed"))) + LAST], lines=lines)
    with pytest.raises(openai.APIError, match="сломалось") as caught:
        await ask(gateway, stream=True)
    assert (type(caught.value), caught.value.code) == (openai.APIError, "crashed")


async def test_errors_before_it_have_their_classes(start, ask):
    _, gateway = await start([reply(error("no", code="some_code"), 400)])
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(gateway, stream=True)
    assert caught.value.code == "some_code"
    with pytest.raises(openai.NotFoundError) as caught:
        await ask(gateway, model="nobody-has-this")
    assert caught.value.code == "model_not_found"


# -- the package from npm


@pytest.fixture(scope="session")
def node():
    return nodes.require(nodes.FOLDER)


@pytest.mark.node
async def test_whole_answer_and_stream_in_node(start, node):
    _, gateway = await start([reply(whole(SAID))], stream(*TOLD))
    [line] = await nodes.drive(node, gateway.base_url, "completion")
    assert line["result"]["choices"][0]["text"] == SAID
    *lines, end = await nodes.drive(node, gateway.base_url, "completionChunks")
    assert "".join(line["chunk"]["choices"][0]["text"] for line in lines) == SAID
    assert end == {"result": {"aborted": False}}


@pytest.mark.node
async def test_an_upstream_that_breaks_in_node(start, node):
    _, gateway = await start([STREAM, chunked(sse(piece("Пол"))), scripted.RESET])
    first, end = await nodes.drive(node, gateway.base_url, "completionChunks")
    assert first["chunk"]["choices"][0]["text"] == "Пол"
    assert (end["error"]["apiError"], end["error"]["code"]) == (True, "upstream_error")
