"""Programs that cannot be run here, by what they send and by how they read a stream: each line by itself, some of them
naively. The rules are those of their sources: Open WebUI, VS Code's Copilot Chat, Continue, Roo Code, Cursor."""

import json

import httpx
import pytest
import trio

from answers import DONE, completion, finish, reply, role, stream, text, tool, usage
from clients.told import SAID, TOLD

HELLO = [{"role": "user", "content": "Привет"}]
TOOLS = [{"type": "function", "function": {"name": "read_file", "strict": True, "parameters": {"type": "object"}}}]
MARKED = [{"type": "text", "text": "Привет", "cache_control": {"type": "ephemeral"}}]


def open_webui(lines):
    """Skips what it cannot parse, reads the first choice only, and shows an error only where there is none."""
    for line in lines:
        if line.startswith("data:") and (value := line[5:].strip()) != DONE:
            chunk = json.loads(value)
            assert not chunk.keys() & {"error", "type", "event", "selected_model_id"}
            if chunk["choices"]:
                yield chunk["choices"][0]["delta"].get("content") or ""


def copilot_chat(lines):
    """Cuts five characters off every line that is no comment, and stops at the marker."""
    for line in filter(None, lines):
        if line.startswith(":"):
            continue
        if (value := line[5:].strip()) == DONE:
            return
        chunk = json.loads(value)
        yield "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
    raise AssertionError("no marker")


def continue_dev(lines):
    """Takes `: ping` for the end, and throws for an object that has an `error`, whatever it is."""
    for line in lines:
        if line.startswith((": ping", "data: [DONE]")):
            return
        if line.startswith("data:"):
            chunk = json.loads(line.removeprefix("data:"))
            assert "error" not in chunk
            yield "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
    raise AssertionError("no marker")


STREAMED = {
    "open webui": (
        "/v1/chat/completions",
        {"X-OpenWebUI-User-Name": "ada", "X-OpenWebUI-Chat-Id": "7"},
        {"messages": HELLO, "max_tokens": 9, "stream_options": {"include_usage": True}, "tools": []},
        open_webui,
    ),
    "open webui with a slash at the end of its address": (
        "/v1//chat/completions",
        {"Authorization": "Bearer"},
        {"messages": HELLO},
        open_webui,
    ),
    "copilot chat": (
        "/v1/chat/completions",
        {"Authorization": "Bearer none"},
        {"messages": HELLO, "stream_options": {"include_usage": True}, "n": 1, "top_p": 1},
        copilot_chat,
    ),
    "continue": ("/v1/chat/completions", {"api-key": "none"}, {"messages": HELLO, "max_tokens": 4096}, continue_dev),
    "roo code": (
        "/v1/chat/completions",
        {"HTTP-Referer": "https://editor.example", "X-Title": "Roo Code"},
        {
            "messages": [{"role": "system", "content": MARKED}, {"role": "user", "content": MARKED}],
            "tools": TOOLS,
            "parallel_tool_calls": True,
            "stream_options": {"include_usage": True},
        },
        open_webui,
    ),
    "cursor, in the form of the responses": (
        "/v1/chat/completions",
        {},
        {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "Привет"}]}],
            "instructions": "S",
            "tools": [{"type": "function", "name": "read_file", "parameters": {"type": "object"}}],
        },
        open_webui,
    ),
}
ALIAS = '[aliases]\n"gpt-4o" = "local/tiny"\n'


@pytest.fixture
async def http():
    async with httpx.AsyncClient() as http:
        yield http


@pytest.mark.parametrize("name", STREAMED)
async def test_a_stream_as_they_read_it(start, http, name):
    path, headers, body, read = STREAMED[name]
    upstream, gateway = await start(stream(*TOLD), toml=ALIAS)
    url = gateway.base_url.removesuffix("/v1") + path
    answer = await http.post(url, headers=headers, json={"model": "gpt-4o", "stream": True, **body})
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert "".join(read(answer.content.decode().split("\n"))) == SAID
    asked = (await upstream.request()).json
    assert asked["model"] == "tiny"
    assert asked["messages"][-1]["role"] == "user"
    assert [entry["function"]["name"] for entry in asked.get("tools", [])] == ["read_file"] * bool(body.get("tools"))


async def test_keep_alives_as_they_read_them(start, http):
    silence = trio.Event()
    _, gateway = await start([silence, *stream(*TOLD)], toml="[timeouts]\nkeepalive = 0.02\n")
    body = {"model": "local/tiny", "stream": True, "messages": HELLO}
    async with http.stream("POST", gateway.base_url + "/chat/completions", json=body) as answer:
        pieces = []
        async for piece in answer.aiter_text():
            pieces.append(piece)
            silence.set()
    assert pieces[0].startswith(": keep-alive\n\n")
    for read in (open_webui, copilot_chat, continue_dev):
        assert "".join(read("".join(pieces).split("\n"))) == SAID


async def test_tool_calls_have_an_index_and_xml_in_a_text_stays(start, http):
    xml = "<thinking>\n</thinking><read_file>\n<path>a &amp; b</path></read_file>"
    told = [role(), text(xml), tool(0, "{}", id="call_a", name="read_file"), finish("tool_calls"), usage(), DONE]
    _, gateway = await start(stream(*told))
    body = {"model": "local/tiny", "stream": True, "messages": HELLO, "tools": TOOLS}
    answer = await http.post(gateway.base_url + "/chat/completions", json=body)
    chunks = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == xml
    assert [call["index"] for delta in deltas for call in delta.get("tool_calls", [])] == [0]


async def test_what_they_ask_besides(start, http):
    """The list of models as it is verified with, as Codex asks for it, and a title in one piece."""
    _, gateway = await start([reply(completion(SAID))])
    for path in ("/models", "//models", "/models?client_version=0.169.0", "/models/"):
        listed = (await http.get(gateway.base_url + path)).json()
        assert "local/tiny" in [model["id"] for model in listed["data"]]
    body = {"model": "local/tiny", "stream": False, "messages": HELLO, "max_tokens": 1000}
    answer = await http.post(gateway.base_url + "/chat/completions/", json=body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["choices"][0]["message"]["content"] == SAID
