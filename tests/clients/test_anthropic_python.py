"""The `anthropic` package from PyPI, through a gateway to a scripted upstream, for real."""

import anthropic
import openai
import pytest

import scripted
from answers import (
    DONE,
    LAST,
    NDJSON,
    STREAM,
    chunked,
    completion,
    error,
    finish,
    line,
    ndjson,
    reasoning,
    reply,
    role,
    sse,
    stream,
    text,
    tool,
    usage,
)
from anthropic_streams import USAGE, block, event
from anthropic_streams import start as begin
from anthropic_streams import stream as messages
from clients import sdk
from clients.listening import listen
from clients.told import SAID, TOLD
from gateway import provider

# The packages leave their own async generators unfinished, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|anthropic|httpx|httpcore):ResourceWarning")

HELLO = [{"role": "user", "content": "Привет"}]
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
TOOLS = [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}]


@pytest.fixture
async def connect():
    """A function from a gateway to a client that is closed when the test is over."""
    clients = []

    def connect(gateway):
        origin = gateway.base_url.removesuffix("/v1")
        clients.append(anthropic.AsyncAnthropic(base_url=origin, api_key="sk-x", max_retries=0, timeout=10))
        return clients[-1].messages

    yield connect
    for client in clients:
        await client.close()


def asking(**more):
    return {"model": "local/tiny", "max_tokens": 99, "messages": HELLO, **more}


@pytest.fixture
def before(nursery):
    """A function from the preset of an upstream, and its scripts, to that and a gateway before it."""

    async def before(preset, *scripts):
        upstream = await scripted.listen(nursery, *scripts)
        toml = provider(upstream.base_url).replace('"openai"', f'"{preset}"')
        return upstream, await listen(nursery, toml, {})

    return before


async def final(api, seen=lambda event: None, **more):
    """The message that the helper puts together; `seen` is called with each of its events."""
    async with api.stream(**asking(**more)) as told:
        async for event in told:
            seen(event)
        return await told.get_final_message()


async def test_a_whole_answer_of_an_openai_server(start, connect):
    upstream, gateway = await start([reply(completion(SAID))])
    answer = await connect(gateway).create(**asking(system="S", stop_sequences=["x"]))
    assert [(part.type, part.text) for part in answer.content] == [("text", SAID)]
    assert (answer.stop_reason, answer.role, answer.type) == ("end_turn", "assistant", "message")
    assert answer.usage.input_tokens + answer.usage.output_tokens == 11
    asked = (await upstream.request()).json
    assert asked["messages"] == [{"role": "system", "content": "S"}, *HELLO]
    assert (asked["max_tokens"], asked["stop"], asked["model"]) == (99, ["x"], "tiny")


async def test_a_stream_of_an_openai_server(start, connect):
    _, gateway = await start(stream(*TOLD))
    answer = await final(connect(gateway))
    assert (answer.content[0].text, answer.stop_reason) == (SAID, "end_turn")
    assert answer.usage.output_tokens == 8


async def test_reasoning_and_tools_and_their_results(start, connect):
    calls = [tool(0, id="call_a", name="f"), tool(1, id="call_b", name="f"), tool(0, '{"где":'), tool(0, '"Київ"}')]
    told = [role(), reasoning("Хм"), text("Да"), *calls, finish("tool_calls"), usage(), DONE]
    upstream, gateway = await start(stream(*told), stream(*TOLD))
    api = connect(gateway)
    answer = await final(api, tools=TOOLS, tool_choice={"type": "any"})
    thought, said, one, other = answer.content
    assert (thought.thinking, said.text, answer.stop_reason) == ("Хм", "Да", "tool_use")
    assert [(call.id, call.name, call.input) for call in (one, other)] == [
        ("call_a", "f", {"где": "Київ"}),
        ("call_b", "f", {}),
    ]
    assert (await upstream.request()).json["tool_choice"] == "required"
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "+5"} for call in (one, other)]
    turns = [*HELLO, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    await final(api, messages=turns, tools=TOOLS)
    sent = (await upstream.request(1)).json["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert sent[1]["reasoning_content"] == "Хм"
    assert [call["id"] for call in sent[1]["tool_calls"]] == ["call_a", "call_b"]


async def test_an_ollama_server(before, connect):
    call = {"function": {"name": "f", "arguments": {"где": "Київ"}}}
    told = [line(thinking="Хм"), line(SAID), line(tool_calls=[call]), line(done="stop")]
    script = [NDJSON, *(chunked(ndjson(one)) for one in told), LAST]
    upstream, gateway = await before("ollama", script, [reply(line(SAID, done="length", thinking="Хм"))])
    api = connect(gateway)
    thought, said, used = (answer := await final(api, tools=TOOLS)).content
    assert (thought.thinking, said.text, used.name, used.input) == ("Хм", SAID, "f", {"где": "Київ"})
    assert (answer.stop_reason, answer.usage.input_tokens, answer.usage.output_tokens) == ("tool_use", 9, 2)
    result = {"type": "tool_result", "tool_use_id": used.id, "content": "+5"}
    turns = [*HELLO, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    answer = await api.create(**asking(messages=turns, tools=TOOLS, system="S"))
    assert ([part.type for part in answer.content], answer.stop_reason) == (["thinking", "text"], "max_tokens")
    asked = await upstream.request(1)
    assert asked.target == "/api/chat"
    assert [turn["role"] for turn in asked.json["messages"]] == ["system", "user", "assistant", "tool"]
    assert asked.json["options"]["num_predict"] == 99


async def test_a_whole_answer_of_an_anthropic_server_passes(before, connect):
    content = [{"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "text", "text": SAID}]
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-a", "content": content}
    body |= {"stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE, "x_vendor": 1}
    upstream, gateway = await before("anthropic", [reply(body)])
    answer = await connect(gateway).create(**asking(thinking={"type": "adaptive"}, extra_body={"x_unknown": [1.5]}))
    assert answer.to_dict()["content"] == content
    assert (answer.model_extra["x_vendor"], answer.usage.cache_read_input_tokens) == (1, 3)
    asked = (await upstream.request()).json
    assert (asked["thinking"], asked["x_unknown"]) == ({"type": "adaptive"}, [1.5])


async def test_frames_of_an_anthropic_server_pass(before, connect):
    blocks = [block(0, "thinking", "hm", signature="sig"), block(1, "redacted_thinking", data="d")]
    blocks += [block(2, "text", *SAID), block(3, "tool_use", '{"x":', "1}", id="toolu_1", name="f")]
    script = [STREAM, chunked(messages(*blocks, reason="tool_use")) + LAST]
    upstream, gateway = await before("anthropic", script)
    answer = await final(connect(gateway), thinking={"type": "enabled", "budget_tokens": 1024})
    assert [part.type for part in answer.content] == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert (answer.content[0].signature, answer.content[2].text, answer.content[3].input) == ("sig", SAID, {"x": 1})
    assert answer.usage.cache_creation_input_tokens == USAGE["cache_creation_input_tokens"]
    asked = await upstream.request()
    assert asked.target == "/v1/messages"
    assert asked.json["thinking"] == {"type": "enabled", "budget_tokens": 1024}


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (503, "overloaded_error", anthropic.InternalServerError),
    ],
)
async def test_an_error_at_once_is_a_status_in_anthropics_form(start, connect, status, kind, raised):
    _, gateway = await start(always=[reply({"error": {"message": "because", "type": "x"}}, status)])
    for ask in (connect(gateway).create, lambda **given: final(connect(gateway), **given)):
        with pytest.raises(raised, match="because") as caught:
            await ask(**asking())
        assert caught.value.type == kind


BEGUN = sse(role(), text("Пол"))
BEGUN_BLOCK = begin() + block(0, "text", "Пол").partition(b"event: content_block_stop")[0]


@pytest.mark.parametrize(
    ("preset", "script", "kind"),
    [
        ("openai", [STREAM, chunked(BEGUN + sse(error("boom"))) + LAST], "api_error"),
        ("openai", [STREAM, chunked(BEGUN), scripted.RESET], "api_error"),
        ("ollama", [NDJSON, chunked(ndjson(line("Пол"), {"error": "boom"})) + LAST], "api_error"),
        ("anthropic", [STREAM, chunked(BEGUN_BLOCK + OVERLOADED) + LAST], "overloaded_error"),
        ("anthropic", [STREAM, chunked(BEGUN_BLOCK) + LAST], "api_error"),
    ],
    ids=["openai", "openai breaks", "ollama", "anthropic", "anthropic ends without a stop"],
)
async def test_an_error_in_mid_stream_is_raised_after_the_text(before, connect, preset, script, kind):
    _, gateway = await before(preset, script)
    seen = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        await final(connect(gateway), seen.append)
    assert caught.value.type == kind
    assert caught.value.body["error"]["message"]
    assert "".join(event.text for event in seen if event.type == "text") == "Пол"


async def test_tokens_are_counted_by_an_anthropic_server(before, connect):
    refused = {"type": "error", "error": {"type": "rate_limit_error", "message": "slowly"}}
    upstream, gateway = await before("anthropic", [reply({"input_tokens": 2095})], [reply(refused, 429)])
    api = connect(gateway)
    counted = {"model": "local/tiny", "messages": HELLO, "system": "S", "tools": TOOLS}
    assert (await api.count_tokens(**counted)).input_tokens == 2095
    asked = await upstream.request()
    assert (asked.target, asked.json) == ("/v1/messages/count_tokens", counted | {"model": "tiny"})
    with pytest.raises(anthropic.RateLimitError, match="slowly") as caught:
        await api.count_tokens(**counted)
    assert caught.value.type == "rate_limit_error"


async def test_tokens_are_estimated_where_nobody_counts(start, connect):
    upstream, gateway = await start()
    api = connect(gateway)
    short = await api.count_tokens(model="local/tiny", messages=HELLO)
    long = await api.with_raw_response.count_tokens(model="local/tiny", messages=HELLO * 100)
    assert 0 < short.input_tokens < (await long.parse()).input_tokens
    assert long.headers["x-penstock-estimated"] == "true"
    with pytest.raises(anthropic.NotFoundError) as caught:
        await api.count_tokens(model="nobody-has-this", messages=HELLO)
    assert caught.value.type == "not_found_error"
    assert upstream.requests == []


async def test_how_often_the_sdk_tries(start):
    busy = reply(error("busy"), 429, ("retry-after-ms", "1"))
    never = reply(error("no", code="insufficient_quota"), 429, ("retry-after-ms", "1"))
    upstream, gateway = await start([busy], [reply(completion(SAID))], [never])
    origin = gateway.base_url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=origin, api_key="sk-x", timeout=10) as client:
        assert (await client.messages.create(**asking())).content[0].text == SAID
        with pytest.raises(anthropic.RateLimitError):
            await client.messages.create(**asking())
    assert len(upstream.requests) == 3


async def test_the_key_is_shown_as_the_sdk_shows_it(start):
    """Its two ways: `api_key` as `x-api-key`, `auth_token` as `Authorization: Bearer`."""
    toml = '[[keys]]\nname = "ci"\nkey = { env = "CI_KEY" }\n'
    _, gateway = await start(always=[reply(completion(SAID))], toml=toml, env={"CI_KEY": "sk-right"})
    origin = gateway.base_url.removesuffix("/v1")
    for shown in ({"api_key": "sk-right"}, {"auth_token": "sk-right", "api_key": None}):
        async with anthropic.AsyncAnthropic(base_url=origin, max_retries=0, **shown) as client:
            assert (await client.messages.create(**asking())).content[0].text == SAID
    async with anthropic.AsyncAnthropic(base_url=origin, max_retries=0, api_key="sk-wrong") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.messages.create(**asking())
    assert caught.value.type == "authentication_error"


async def test_what_cannot_be_carried_is_refused_by_name(start, connect):
    _, gateway = await start()
    image = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
    with pytest.raises(anthropic.BadRequestError, match="image") as caught:
        await connect(gateway).create(**asking(messages=[{"role": "user", "content": [image]}]))
    assert caught.value.type == "invalid_request_error"


async def test_the_openai_package_reads_an_anthropic_server(before):
    blocks = [block(0, "thinking", "hm", signature="sig"), block(1, "text", *SAID)]
    blocks += [
        block(2, "tool_use", '{"x":', "1}", id="toolu_1", name="f"),
        block(3, "tool_use", id="toolu_2", name="f"),
    ]
    script = [STREAM, chunked(messages(*blocks, reason="tool_use")) + LAST]
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    upstream, gateway = await before("anthropic", script, [reply(overloaded, 529)])
    client = sdk.AsyncSdk(gateway.base_url, max_retries=0)
    _, answer = await client.helper(stream_options={"include_usage": True}, seed=5)
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == (SAID, "tool_calls")
    assert choice.message.model_extra["reasoning_content"] == "hm"
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert calls == [("toolu_1", "f", '{"x":1}'), ("toolu_2", "f", "{}")]
    assert (answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (30, 3)
    asked = await upstream.request()
    assert list(asked.json) == ["model", "max_tokens", "messages", "stream"]
    with pytest.raises(openai.InternalServerError, match="Overloaded") as caught:
        await client.chunks()
    assert (caught.value.status_code, caught.value.type) == (503, "overloaded_error")
    await client.close()
