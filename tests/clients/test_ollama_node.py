"""The `ollama` package from npm, in Node, with penstock as its Ollama."""

import pytest

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
from gateway import Gateway

pytestmark = pytest.mark.node

CHAT = {"model": "local/tiny", "messages": [{"role": "user", "content": "Привет"}]}
GENERATE = {"model": "local/tiny", "prompt": "Привет"}
ASKED = {"chat": CHAT, "generate": GENERATE}
both = pytest.mark.parametrize("call", ASKED)


@pytest.fixture(scope="session")
def node():
    return nodes.require(nodes.OLLAMA_JS)


@pytest.fixture
def ask(node):
    """A function from a gateway and a call to the lines that the package gave."""

    async def ask(gateway, call, seen=lambda line: None, leave_after=0, **arguments):
        host = gateway.base_url.removesuffix("/v1")
        return await nodes.ollama_lines(node, host, call, seen, arguments=arguments, leaveAfter=leave_after)

    return ask


def said(lines):
    """The text of the parts of a stream, or of a whole answer."""
    parts = [line.get("part") or line.get("result") for line in lines]
    return "".join(part["message"]["content"] if "message" in part else part["response"] for part in parts if part)


async def test_with_the_echo_in_a_process_of_its_own(ask):
    async with Gateway() as gateway:
        [listed] = await ask(gateway, "list")
        (model,) = [model["model"] for model in listed["result"]["models"] if model["model"].startswith("echo/")]
        [shown] = await ask(gateway, "show", model=model)
        assert "tools" in shown["result"]["capabilities"]
        [running] = await ask(gateway, "ps")
        assert running["result"]["models"] == []
        *parts, end = await ask(gateway, "chat", stream=True, **CHAT | {"model": model})
        assert (said(parts), end) == ("Привет", {"result": None})
        *parts, _ = await ask(gateway, "generate", stream=True, model=model, prompt="a\u2028b 👩‍👩‍👧")
        assert said(parts) == "a\u2028b 👩‍👩‍👧"
        [embedded] = await ask(gateway, "embed", model=model, input=["a", "b"])
        assert len(embedded["result"]["embeddings"]) == 2
        [version] = await ask(gateway, "version")
        assert version["result"]["version"]
    assert gateway.exit_code == 0, gateway.output


@both
async def test_a_stream(start, ask, call):
    _, gateway = await start(stream(*TOLD, usage()))
    *parts, _ = await ask(gateway, call, stream=True, **ASKED[call])
    assert said(parts) == SAID
    last = parts[-1]["part"]
    assert (last["done"], last["done_reason"]) == (True, "stop")


async def test_thinking_tools_and_images(start, ask):
    calls = [tool(0, id="call_a", name="погода"), tool(0, '{"где":'), tool(0, '"Київ 🌧"}')]
    upstream, gateway = await start(stream(reasoning("хм"), *calls, finish("tool_calls"), DONE))
    message = {"role": "user", "content": "What?", "images": ["iVBORw0KGgo="]}
    tools = [{"type": "function", "function": {"name": "погода", "parameters": {"type": "object"}}}]
    *parts, _ = await ask(gateway, "chat", stream=True, **CHAT | {"messages": [message], "tools": tools, "think": True})
    thought, called, last = (part["part"] for part in parts)
    assert thought["message"]["thinking"] == "хм"
    assert called["message"]["tool_calls"][0]["function"] == {
        "index": 0,
        "name": "погода",
        "arguments": {"где": "Київ 🌧"},
    }
    assert last["done_reason"] == "stop"
    sent = (await upstream.request()).json
    assert sent["messages"][0]["content"][1]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="


@both
async def test_an_answer_in_one_piece(start, ask, call):
    _, gateway = await start([reply(completion(SAID, "length"))])
    [line] = await ask(gateway, call, **ASKED[call])
    assert (said([line]), line["result"]["done_reason"]) == (SAID, "length")


@both
async def test_c24_an_error_on_the_way_is_thrown_after_the_text(start, ask, call):
    _, gateway = await start(stream(role(), text("Пол"), error("сломалось")))
    *parts, end = await ask(gateway, call, stream=True, **ASKED[call])
    assert (said(parts), end["error"]["message"]) == ("Пол", "сломалось")


@both
async def test_c25_an_error_before_the_answer_is_a_status(start, ask, call):
    _, gateway = await start([reply(error("нет"), 429)])
    [line] = await ask(gateway, call, stream=True, **ASKED[call])
    assert line["error"] == {"name": "ResponseError", "message": "нет", "status": 429}


async def test_a_model_that_is_not_there_and_what_is_not_done(start, ask):
    _, gateway = await start()
    [line] = await ask(gateway, "chat", **CHAT | {"model": "nope"})
    assert line["error"] == {"name": "ResponseError", "message": "model 'nope' not found", "status": 404}
    [line] = await ask(gateway, "pull", model="x")
    assert line["error"] == {"name": "ResponseError", "message": "not supported by this gateway", "status": 403}


async def test_loading(start, ask):
    _, gateway = await start()
    [line] = await ask(gateway, "generate", model="local/tiny", keep_alive=0)
    assert line["result"]["done_reason"] == "unload"


@both
async def test_c04_leaving_a_stream_closes_the_upstream(start, ask, call):
    upstream, gateway = await start([STREAM, chunked(sse(role(), text("x"))), scripted.EXPECT_CLOSE])
    *_, end = await ask(gateway, call, leave_after=1, stream=True, **ASKED[call])
    assert end["error"]["name"] == "AbortError"
    await (await upstream.request()).closed.wait()


async def test_c19_an_answer_that_is_cut_off_is_thrown(start, ask):
    _, gateway = await start([STREAM, chunked(sse(role(), text("Пол"))), LAST])
    *parts, end = await ask(gateway, "chat", stream=True, **CHAT)
    assert said(parts) == "Пол"
    assert "before its answer was complete" in end["error"]["message"]
