"""Sessions: what was said before is there, in order, for whoever said it and for nobody else."""

from __future__ import annotations

import json
import logging
from types import MappingProxyType

import pytest
import trio
import trio.testing

import scripted
from answers import (
    DONE,
    LAST,
    NDJSON,
    STREAM,
    chunked,
    completion,
    finish,
    line,
    ndjson,
    reply,
    role,
    sse,
    text,
    tool,
    usage,
)
from penstock.server import session_turn
from penstock.server.store.errors import StoreError
from rig import Rig, settled
from scripted import Upstream

REMEMBER = "Remember: my favourite colour is blue"
ASK = "What is my favourite colour?"
BLUE = {"role": "user", "content": REMEMBER}, {"role": "assistant", "content": "Noted."}


def said(request):
    """What the upstream was sent, as roles and texts."""
    return [(message["role"], message.get("content")) for message in request.json["messages"]]


async def remembers(exchange):
    """An upstream that knows a colour only if it is told of it."""
    messages = exchange.json["messages"]
    told = any("blue" in str(message["content"]) for message in messages[:-1])
    words = ["Your favourite ", "colour is blue."] if told else ["Noted."] if "blue" in str(messages[-1]) else ["?"]
    if exchange.json.get("stream"):
        await exchange.send(STREAM + chunked(sse(role(), *map(text, words), finish(), DONE)) + LAST)
    else:
        await exchange.send(reply(completion("".join(words))))


@pytest.fixture
def upstream(nursery):
    return Upstream(nursery, always=[remembers])


@pytest.fixture(params=["memory", "store"])
async def rig(request, nursery, upstream, tmp_path):
    """A gateway that keeps sessions in memory, and one that keeps them in a store."""
    if request.param == "memory":
        return Rig(nursery, upstream)
    return await Rig.stored(nursery, tmp_path / "store.db", upstream)


async def call(rig, method, path, body=None, headers=MappingProxyType({})):
    client = rig.connect()
    raw = b"" if body is None else json.dumps(body).encode()
    await client.request(method, path, {"content-type": "application/json", **headers}, raw)
    answer = await client.answer()
    client.leave()
    return answer


async def history(rig, session, headers=MappingProxyType({})):
    answer = await call(rig, "GET", f"/v1/sessions/{session}/messages", headers=headers)
    assert answer.status == 200, answer.body
    return answer.json["data"]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_said_is_remembered(rig, stream):
    session = {"x-session-id": "colours"}
    assert (await rig.ask(REMEMBER, session)).headers["x-session-id"] == "colours"
    answer = await rig.ask(ASK, session, stream=stream)
    heard = answer.text if stream else answer.json["choices"][0]["message"]["content"]
    assert heard == "Your favourite colour is blue."
    assert [message["content"] for message in await history(rig, "colours")] == [REMEMBER, "Noted.", ASK, heard]
    assert (await rig.ask(ASK)).json["choices"][0]["message"]["content"] == "?", "without its name there is no session"


async def test_after_a_restart(nursery, tmp_path):
    upstream = Upstream(nursery, always=[remembers])
    async with trio.open_nursery() as first:
        rig = await Rig.stored(first, tmp_path / "store.db", upstream)
        await rig.ask(REMEMBER, {"x-session-id": "s"})
        await rig.gateway.store.aclose()
        first.cancel_scope.cancel()
    rig = await Rig.stored(nursery, tmp_path / "store.db", upstream)
    answer = await rig.ask(ASK, {"x-session-id": "s"})
    assert answer.json["choices"][0]["message"]["content"] == "Your favourite colour is blue."


@pytest.mark.parametrize("member", ["session_id", "sessionId"])
async def test_the_body_may_name_the_session_and_the_upstream_is_not_told(rig, upstream, member):
    await rig.ask(REMEMBER, **{member: "s"}, unknown=1)
    await rig.ask(ASK, {"x-session-id": "s"})
    assert upstream.requests[0].json.keys() == {"model", "messages", "unknown"}
    assert said(upstream.requests[1]) == [("user", REMEMBER), ("assistant", "Noted."), ("user", ASK)]


@pytest.mark.parametrize("name", ["with space", "x" * 201, "\u00e9", ["s"], 5])
async def test_a_name_has_to_be_one(rig, upstream, name):
    answer = await rig.ask("Hi", session_id=name)
    assert (answer.status, answer.error["param"]) == (400, "session_id")
    assert upstream.requests == []


async def test_two_names_are_one_too_many(rig):
    answer = await rig.ask("Hi", {"x-session-id": "a"}, session_id="b")
    assert (answer.status, answer.error["param"]) == (400, "session_id")


# Whose history it is


async def test_a_client_that_sends_its_own_history_is_not_told_it_twice(rig, upstream):
    session = {"x-session-id": "s"}
    await rig.ask(REMEMBER, session)
    whole = [*BLUE, {"role": "user", "content": ASK}]
    await rig.ask(headers=session, messages=whole)
    assert upstream.requests[1].json["messages"] == whole
    assert [message["content"] for message in await history(rig, "s")][1:3] == ["Noted.", ASK]


async def test_a_history_that_a_session_begins_with_is_kept(rig, upstream):
    await rig.ask(headers={"x-session-id": "s"}, messages=[*BLUE, {"role": "user", "content": "So?"}])
    await rig.ask(ASK, {"x-session-id": "s"})
    assert [content for _, content in said(upstream.requests[1])][:3] == [REMEMBER, "Noted.", "So?"]


async def test_the_beginning_of_an_answer_is_no_history(rig, upstream):
    """A last message of the assistant's is to be continued: the client has no history, but what it wants to hear."""
    question, begun = {"role": "user", "content": "As JSON?"}, {"role": "assistant", "content": "{"}
    await rig.ask(REMEMBER, {"x-session-id": "s"})
    await rig.ask(headers={"x-session-id": "s"}, messages=[question, begun])
    assert said(upstream.requests[1]) == [
        *[tuple(message.values()) for message in BLUE],
        ("user", "As JSON?"),
        ("assistant", "{"),
    ]
    assert [message["content"] for message in await history(rig, "s")][2:4] == ["As JSON?", "{"]
    own = [*BLUE, question, begun]
    await rig.ask(headers={"x-session-id": "s"}, messages=own)
    assert upstream.requests[2].json["messages"] == own, "this client has one"
    assert [message["content"] for message in await history(rig, "s")][5:7] == ["As JSON?", "{"]


def test_a_long_history_is_read_once():
    """It was copied for each of its messages."""

    class Counted(list):
        copied = 0

        def __getitem__(self, place):
            found = super().__getitem__(place)
            self.copied += len(found) if isinstance(place, slice) else 0
            return found

    asked = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    before = Counted(
        [
            {"role": "user", "content": "Add"},
            {"role": "assistant", "content": None, "tool_calls": asked},
            {"role": "tool", "tool_call_id": "a", "content": "2"},
        ]
        * 100
    )
    assert session_turn._answered(before, []) == list(before)
    assert before.copied <= len(before)


async def test_half_a_surrogate_pair_is_no_end_of_a_session(rig):
    half = {"model": "up/tiny", "messages": [{"role": "user", "content": "\ud83d", "n": 10**30}]}
    await call(rig, "POST", "/v1/chat/completions", half, {"x-session-id": "s"})
    assert [message["content"] for message in await history(rig, "s")] == ["\ufffd", "?"]
    assert (await rig.ask("And?", {"x-session-id": "s"})).status == 200


async def test_the_answer_of_a_tool_goes_behind_its_call_and_reasoning_is_not_kept(nursery):
    called = [role(), {**text(""), "choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}]
    called += [tool(0, '{"x": ', id="call_a", name="f"), tool(0, "1}"), finish("tool_calls"), DONE]
    upstream = Upstream(nursery, [STREAM + chunked(sse(*called)) + LAST], [reply(completion("Two."))])
    rig = Rig(nursery, upstream)
    await rig.ask("Add", {"x-session-id": "s"}, stream=True)
    await rig.ask(headers={"x-session-id": "s"}, messages=[{"role": "tool", "tool_call_id": "call_a", "content": "2"}])
    user, call, result = upstream.requests[1].json["messages"]
    assert (user["role"], result["role"]) == ("user", "tool")
    assert call == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
    }


async def test_a_call_that_nobody_answered_is_not_said_again(nursery):
    called = [role(), text("Wait. "), tool(0, "{}", id="call_a", name="f"), finish("tool_calls"), DONE]
    upstream = Upstream(nursery, [STREAM + chunked(sse(*called)) + LAST], always=[remembers])
    rig = Rig(nursery, upstream)
    await rig.ask("Add", {"x-session-id": "s"}, stream=True)
    await rig.ask("Never mind", {"x-session-id": "s"})
    assert upstream.requests[1].json["messages"] == [
        {"role": "user", "content": "Add"},
        {"role": "assistant", "content": "Wait. "},
        {"role": "user", "content": "Never mind"},
    ]


async def test_answers_without_a_call_are_not_said_again(nursery):
    """A window may begin in the middle of things, and clients send what they like."""
    upstream = Upstream(nursery, always=[remembers])
    rig = Rig(nursery, upstream)
    calls = [{"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in ("a", "b")]
    result = {"role": "tool", "content": "2"}
    kept = [
        {"role": "user", "content": "Add"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {**result, "tool_call_id": "a"},
        {**result, "tool_call_id": "b"},
    ]
    half = [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {**result, "tool_call_id": "a"},
        {"role": "user", "content": "So?"},
    ]
    await rig.ask(headers={"x-session-id": "s"}, messages=[*kept, *half])
    await rig.ask("And?", {"x-session-id": "s"})
    answer = {"role": "assistant", "content": "?"}
    assert upstream.requests[1].json["messages"] == [*kept, half[2], answer, {"role": "user", "content": "And?"}]


async def test_instructions_hold_until_others_are_given(rig, upstream):
    def asked(words, *system):
        given = [{"role": "system", "content": told} for told in system]
        return rig.ask(headers={"x-session-id": "s"}, messages=[*given, {"role": "user", "content": words}])

    for words, system in (("1", ["Be brief"]), ("2", []), ("3", ["Be brief"]), ("4", ["Be kind"]), ("5", [])):
        await asked(words, *system)
    sent = [[content for role, content in said(request) if role == "system"] for request in upstream.requests]
    assert sent == [["Be brief"], ["Be brief"], ["Be brief"], ["Be kind"], ["Be kind"]]
    assert [request.json["messages"][0]["role"] for request in upstream.requests] == ["system"] * 5
    kept = [message["content"] for message in await history(rig, "s") if message["role"] == "system"]
    assert kept == ["Be brief", "Be kind"], "what was said again is kept once"


# The window


@pytest.fixture
async def small(nursery, tmp_path):
    """A gateway for models of hardly any memory."""
    upstream = Upstream(nursery, always=[remembers])
    return upstream, await Rig.stored(nursery, tmp_path / "store.db", upstream, "[sessions]\nwindow_tokens = 60\n")


async def test_the_oldest_is_left_out_where_the_window_ends_and_instructions_stay(small):
    upstream, rig = small
    session = {"x-session-id": "s"}
    await rig.ask(headers=session, messages=[{"role": "system", "content": "Be brief"}, BLUE[0]])
    for number in range(5):
        await rig.ask(f"Number {number}", session)
    sent = said(upstream.requests[-1])
    assert sent[0] == ("system", "Be brief")
    assert sent[1][0] == "user"
    assert 3 < len(sent) < 8
    assert sent[-1] == ("user", "Number 4")
    assert REMEMBER not in str(sent)
    assert len(await history(rig, "s")) == 13, "all of it is kept all the same"


@pytest.mark.parametrize("stored", [False, True])
async def test_instructions_are_found_however_far_back(nursery, tmp_path, stored):
    upstream, toml = Upstream(nursery, always=[remembers]), "[limits]\nbody_bytes = 1000\n"
    rig = await Rig.stored(nursery, tmp_path / "store.db", upstream, toml) if stored else Rig(nursery, upstream, toml)
    session = {"x-session-id": "s"}
    await rig.ask(headers=session, messages=[{"role": "system", "content": "Be brief"}, BLUE[0]])
    for number in range(5):
        await rig.ask(f"{number}" * 100, session)
    sent = said(upstream.requests[-1])
    assert sent[0] == ("system", "Be brief")
    assert len(sent) < 9


async def test_the_window_is_the_model_s_where_its_server_says_so(nursery, tmp_path):
    models = {
        "object": "list",
        "data": [{"id": "tiny", "context_length": 1500}, {"id": "huge", "max_model_len": 10**6}],
    }

    async def answer(exchange):
        await (exchange.send(reply(models)) if exchange.method == "GET" else remembers(exchange))

    upstream = Upstream(nursery, always=[answer], models=None)
    rig = Rig(nursery, upstream)
    for number in range(8):
        await rig.ask(f"{number}" + " word" * 200, {"x-session-id": "s"}, model="up/huge")
    await rig.ask("And now?", {"x-session-id": "s"}, model="up/huge")
    assert len(said(upstream.requests[-1])) == 17
    await rig.ask("And now?", {"x-session-id": "s"})
    assert len(said(upstream.requests[-1])) < 12
    assert sum(request.method == "GET" for request in upstream.requests) == 1


# Every door


DOORS = {
    "openai": ("/v1/chat/completions", lambda words: {"messages": [{"role": "user", "content": words}]}),
    "anthropic": (
        "/v1/messages",
        lambda words: {"max_tokens": 9, "system": "Be brief", "messages": [{"role": "user", "content": words}]},
    ),
    "ollama": ("/api/chat", lambda words: {"messages": [{"role": "user", "content": words}]}),
    "responses": ("/v1/responses", lambda words: {"input": words, "instructions": "Be brief"}),
    "simple": ("/v1/chat", lambda words: {"prompt": words}),
}


CHATS = '[providers.up]\npreset = "openai"\nspeaks = ["openai"]\n'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("door", DOORS)
async def test_every_conversation_s_door_remembers(nursery, door, stream):
    upstream = Upstream(nursery, always=[remembers])
    rig = Rig(nursery, upstream, CHATS)
    path, body = DOORS[door]
    for words in (REMEMBER, ASK):
        asked = {"model": "up/tiny", "stream": stream, **body(words)}
        answer = await call(rig, "POST", path, asked, {"x-session-id": "s"})
        assert (answer.status, answer.headers["x-session-id"]) == (200, "s"), answer.body
    assert b"Your favourite" in answer.body
    kept = [message for message in await history(rig, "s") if message["role"] != "system"]
    assert kept == [
        *BLUE,
        {"role": "user", "content": ASK},
        {"role": "assistant", "content": "Your favourite colour is blue."},
    ]


@pytest.mark.parametrize("first", DOORS)
@pytest.mark.parametrize("then", DOORS)
async def test_a_session_goes_on_at_another_door(nursery, first, then):
    upstream = Upstream(nursery, always=[remembers])
    rig = Rig(nursery, upstream, CHATS)
    for door, words in ((first, REMEMBER), (then, ASK)):
        path, body = DOORS[door]
        asked = {"model": "up/tiny", "stream": False, **body(words)}
        answer = await call(rig, "POST", path, asked, {"x-session-id": "s"})
        assert answer.status == 200, answer.body
    assert b"colour is blue" in answer.body


async def test_an_upstream_of_the_client_s_own_dialect_gets_the_rest_as_it_came(nursery):
    upstream = Upstream(nursery, always=[NDJSON + chunked(ndjson(line("Noted."), line(done="stop"))) + LAST])
    toml = '[providers.up]\npreset = "ollama"\nbase_url = "http://127.0.0.1:9"\n'
    rig = Rig(nursery, upstream, toml)
    for words in (REMEMBER, ASK):
        own = {"role": "user", "content": words, "images": ["aGk="]}
        asked = {"model": "up/tiny", "messages": [own], "options": {"mirostat": 1}, "session_id": "s"}
        assert (await call(rig, "POST", "/api/chat", asked)).status == 200
    sent = upstream.requests[1].json
    assert (sent["options"], sent["messages"][-1]["images"]) == ({"mirostat": 1}, ["aGk="])
    assert [message["content"] for message in sent["messages"]] == [REMEMBER, "Noted.", ASK]
    assert sent["messages"][0]["images"] == ["aGk="]


async def test_a_prompt_is_no_conversation(nursery):
    answer = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "tiny"}
    answer["choices"] = [{"index": 0, "text": "x", "logprobs": None, "finish_reason": "stop"}]
    upstream = Upstream(nursery, [reply(answer)])
    rig = Rig(nursery, upstream)
    toml = {"model": "up/tiny", "prompt": "Hi"}
    found = await call(rig, "POST", "/v1/completions", toml, {"x-session-id": "s"})
    assert "x-session-id" not in found.headers
    assert (await call(rig, "GET", "/v1/sessions/s")).status == 404


async def test_an_upstream_of_the_responses_api_gets_items(nursery):
    part = {"type": "output_text", "text": "Noted.", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    response = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "tiny"}
    upstream = Upstream(nursery, always=[reply({**response, "output": [message]})])
    rig = Rig(nursery, upstream, CHATS.replace('"openai"]', '"openai", "responses"]'))
    for words in ({"input": REMEMBER, "instructions": "Be brief"}, {"input": [{"role": "user", "content": ASK}]}):
        asked = {"model": "up/tiny", "truncation": "auto", "session_id": "s", **words}
        assert (await call(rig, "POST", "/v1/responses", asked)).status == 200
    sent = upstream.requests[1].json
    assert sent["input"][-1] == {"role": "user", "content": ASK}
    assert [item["content"] for item in sent["input"]] == [REMEMBER, "Noted.", ASK]
    assert (sent["instructions"], sent["truncation"]) == ("Be brief", "auto")


async def test_an_upstream_of_anthropic_s_gets_the_system_s_words_once(nursery):
    answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "tiny", "stop_reason": "end_turn"}
    answer |= {"content": [{"type": "text", "text": "Noted."}], "usage": {"input_tokens": 1, "output_tokens": 1}}
    upstream = Upstream(nursery, always=[reply(answer)])
    toml = '[providers.up]\npreset = "anthropic"\nbase_url = "http://127.0.0.1:9"\n'
    rig = Rig(nursery, upstream, toml)
    for more in ({"system": "Be brief"}, {}):
        asked = {"model": "up/tiny", "max_tokens": 9, "messages": [{"role": "user", "content": ASK}], **more}
        assert (await call(rig, "POST", "/v1/messages", asked, {"x-session-id": "s"})).status == 200
    sent = upstream.requests[1].json
    assert (sent["system"], [turn["role"] for turn in sent["messages"]]) == ("Be brief", ["user", "assistant", "user"])


@pytest.mark.parametrize("door", ["openai", "anthropic", "responses"])
async def test_instructions_alone_may_be_what_fits(nursery, door):
    upstream = Upstream(nursery, always=[remembers])
    rig = Rig(nursery, upstream, "[sessions]\nwindow_tokens = 1\n" + CHATS)
    first = [{"role": "system", "content": "Be brief"}, BLUE[0]]
    await rig.ask(headers={"x-session-id": "s"}, messages=first)
    path, body = DOORS[door]
    asked = {name: value for name, value in body(ASK).items() if name not in ("system", "instructions")}
    assert (await call(rig, "POST", path, {"model": "up/tiny", **asked}, {"x-session-id": "s"})).status == 200
    assert said(upstream.requests[1]) == [("system", "Be brief"), ("user", ASK)]


# What is not kept


@pytest.mark.parametrize(
    "script",
    [
        [reply({"error": {"message": "no"}}, 500)],
        [STREAM + chunked(sse(role(), text("No"))), scripted.CLOSE],
        [STREAM + chunked(sse(role(), text("No"), {"error": {"message": "boom"}})) + LAST],
    ],
    ids=["refused", "truncated", "failed"],
)
async def test_a_turn_that_failed_leaves_the_session_as_it_was(nursery, script):
    upstream = Upstream(nursery, script, always=[remembers])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.chat("Lost", {"x-session-id": "s"}, stream=True)
    await client.answer()
    await rig.ask(ASK, {"x-session-id": "s"})
    assert said(upstream.requests[1]) == [("user", ASK)]


async def test_who_leaves_leaves_nothing_behind_and_the_next_gets_its_turn(nursery):
    upstream = Upstream(nursery, [STREAM + chunked(sse(role(), text("No"))), scripted.EXPECT_CLOSE], always=[remembers])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.chat("Lost", {"x-session-id": "s"}, stream=True)
    await client.head()
    client.leave()
    answer = await rig.ask(ASK, {"x-session-id": "s"})
    assert answer.status == 200
    assert said(upstream.requests[1]) == [("user", ASK)]


async def test_an_answer_that_is_only_read_for_its_usage_is_not_kept(nursery, caplog):
    go_on = trio.Event()
    caplog.set_level(logging.INFO, "penstock.requests")
    rest = chunked(sse(text("Late"), finish(), usage(9, 2), DONE)) + LAST
    upstream = Upstream(nursery, [STREAM + chunked(sse(role())), go_on, rest])
    toml = '[providers.up]\npreset = "openai"\non_client_gone = "drain"\n'
    rig = Rig(nursery, upstream, toml)
    client = rig.connect()
    await client.chat("Lost", {"x-session-id": "s"}, stream=True)
    await client.head()
    client.leave()
    await settled()
    go_on.set()
    await settled()
    assert "client_gone" in caplog.text
    assert "tokens=9+2" in caplog.text, "it was read to its end"
    assert (await call(rig, "GET", "/v1/sessions/s")).status == 404


@pytest.mark.parametrize("kind", ["unavailable", "rejected"])
async def test_a_turn_that_cannot_be_kept_leaves_no_trace(nursery, tmp_path, monkeypatch, kind):
    toml = '[providers.up]\npreset = "openai"\nspeaks = ["openai"]\n'
    rig = await Rig.stored(nursery, tmp_path / "store.db", Upstream(nursery, always=[remembers]), toml)
    kept = []

    def broken(*args, **more):
        raise StoreError(kind, "The store does not do it.")

    async def put(response):
        kept.append(response.status)

    monkeypatch.setattr("penstock.server.store.sessions._append", broken)
    monkeypatch.setattr(rig.gateway.store.responses, "put", put)
    answer = await call(rig, "POST", "/v1/responses", {"model": "up/tiny", "input": "Hi"}, {"x-session-id": "s"})
    assert answer.status in (503, 400)
    assert kept == [], "the client was told that it failed"
    assert (await call(rig, "GET", "/v1/sessions/s")).status == 404


async def test_what_is_acknowledged_is_kept_before_the_last_bytes(rig):
    client = rig.connect()
    await client.chat(REMEMBER, {"x-session-id": "s"}, stream=True)
    await client.head()
    seen = b""
    while b"[DONE]" not in seen:
        seen += await client.piece()
    assert len(await history(rig, "s")) == 2


async def test_a_session_deleted_while_it_answers_stays_deleted(rig, nursery):
    go_on = trio.Event()
    end = chunked(sse(text("late"), finish(), DONE)) + LAST
    rig.upstreams["up"]._scripts += [[remembers], [STREAM + chunked(sse(role())), go_on, end]]
    await rig.ask(REMEMBER, {"x-session-id": "s"})
    client = rig.connect()
    await client.chat(ASK, {"x-session-id": "s"}, stream=True)
    await client.head()
    assert (await call(rig, "DELETE", "/v1/sessions/s")).json == {"id": "s", "object": "session", "deleted": True}
    go_on.set()
    while await client.piece():
        pass
    assert (await call(rig, "GET", "/v1/sessions/s")).status == 404


async def test_an_answer_too_large_to_be_kept_does_not_end_well(nursery):
    long = [role(), *(text("x" * 100) for _ in range(20)), finish(), DONE]
    upstream = Upstream(nursery, [STREAM + chunked(sse(*long)) + LAST], always=[remembers])
    rig = Rig(nursery, upstream, "[limits]\nmessage_bytes = 1500\n")
    answer = await rig.ask("Hi", {"x-session-id": "s"}, stream=True)
    assert (answer.status, answer.error["code"]) == (503, "server_is_overloaded")
    assert (await call(rig, "GET", "/v1/sessions/s")).status == 404


@pytest.mark.parametrize(("kind", "status"), [("unavailable", 503), ("rejected", 400)])
@pytest.mark.parametrize("method", ["recent", "append"])
async def test_a_store_that_does_not_work_is_no_empty_session(nursery, tmp_path, monkeypatch, method, kind, status):
    rig = await Rig.stored(nursery, tmp_path / "store.db", Upstream(nursery, always=[remembers]))

    async def away(*args, **more):
        raise StoreError(kind, "The store does not do it.")

    monkeypatch.setattr(rig.gateway.sessions, method, away)
    assert (await rig.ask(REMEMBER, {"x-session-id": "s"})).status == status


@pytest.mark.parametrize(
    ("verb", "path", "method"),
    [
        ("GET", "/v1/sessions", "page"),
        ("POST", "/v1/sessions", "create"),
        ("GET", "/v1/sessions/s", "get"),
        ("GET", "/v1/sessions/s/messages", "history"),
        ("DELETE", "/v1/sessions/s", "delete"),
    ],
)
async def test_a_store_that_is_away_is_told(nursery, tmp_path, monkeypatch, verb, path, method):
    rig = await Rig.stored(nursery, tmp_path / "store.db", Upstream(nursery))

    async def away(*args, **more):
        raise StoreError("unavailable", "The store is away.")

    monkeypatch.setattr(rig.gateway.sessions, method, away)
    answer = await call(rig, verb, path, {} if verb == "POST" else None)
    assert (answer.status, answer.error["code"]) == (503, "server_is_overloaded")


async def test_a_session_that_this_dialect_has_no_words_for(nursery):
    toml = '[providers.up]\npreset = "ollama"\nbase_url = "http://127.0.0.1:9"\nspeaks = ["openai", "ollama"]\n'
    rig = Rig(nursery, Upstream(nursery, always=[remembers]), toml)
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    await rig.ask(headers={"x-session-id": "s"}, messages=[{"role": "user", "content": [image]}])
    asked = {"model": "up/tiny", "messages": [{"role": "user", "content": "And?"}]}
    answer = await call(rig, "POST", "/api/chat", asked, {"x-session-id": "s"})
    assert (answer.status, "data URL" in answer.json["error"]) == (400, True)


# C04, C70: a session's requests and a stored response's are requests like any other


WAYS = {
    "session": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "session_id": "s"}),
    "response": ("/v1/responses", {"input": "Hi"}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_c04_leaving_closes_the_upstream_at_once(nursery, tmp_path, way, stream):
    upstream = Upstream(nursery, [STREAM + chunked(sse(role(), text("Hi"))), scripted.EXPECT_CLOSE])
    rig = await Rig.stored(nursery, tmp_path / "store.db", upstream, CHATS)
    path, body = WAYS[way]
    client = rig.connect()
    asked = json.dumps({"model": "up/tiny", "stream": stream, **body}).encode()
    await client.request("POST", path, {"content-type": "application/json"}, asked)
    await (client.head() if stream else upstream.request())
    client.leave()
    await upstream.all_closed()
    while not rig.gateway.ledger.endings:
        await trio.testing.wait_all_tasks_blocked()
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert (await call(rig, "GET", "/v1/sessions/s")).status == 404


@pytest.mark.parametrize("way", WAYS)
async def test_c70_deadlines_hold(nursery, tmp_path, way):
    upstream = Upstream(nursery, [STREAM + chunked(sse(role(), text("Hi"))), scripted.EXPECT_CLOSE])
    rig = await Rig.stored(nursery, tmp_path / "store.db", upstream, CHATS)
    path, body = WAYS[way]
    asked = {"model": "up/tiny", "stream": True, **body}
    answer = await call(rig, "POST", path, asked, {"x-penstock-timeouts": "idle=0.05"})
    assert b"upstream_timeout" in answer.body
    assert rig.gateway.ledger.endings == {"timed_out(idle)": 1}


# Order


async def test_requests_of_one_session_take_turns(rig, nursery):
    go_on = trio.Event()
    rig.upstreams["up"]._scripts.append([go_on, remembers])
    done = []

    async def ask(words):
        await rig.ask(words, {"x-session-id": "s"})
        done.append(words)

    async with trio.open_nursery() as asking:
        for number, words in enumerate([REMEMBER, "Second", "Third"]):
            asking.start_soon(ask, words)
            if not number:
                await rig.upstreams["up"].request()
            else:
                await trio.testing.wait_all_tasks_blocked(0.02)
        assert (await rig.ask("Another", {"x-session-id": "t"})).status == 200, "another session waits for nobody"
        assert len(rig.upstreams["up"].requests) == 2
        go_on.set()
    assert done == [REMEMBER, "Second", "Third"]
    asked = [message["content"] for message in await history(rig, "s") if message["role"] == "user"]
    assert asked == done


async def test_nobody_waits_for_ever(nursery, autojump_clock):
    upstream = Upstream(nursery, [scripted.EXPECT_CLOSE], always=[remembers])
    rig = Rig(nursery, upstream, "[sessions]\nwait = 5\n")
    first = rig.connect()
    await first.chat("Slow", {"x-session-id": "s"})
    await upstream.request()
    begun = trio.current_time()
    answer = await rig.ask(ASK, {"x-session-id": "s"})
    assert (answer.status, answer.error["code"]) == (409, "in_use")
    assert trio.current_time() == pytest.approx(begun + 5)
    first.leave()
    await settled()
    assert (await rig.ask(ASK, {"x-session-id": "s"})).status == 200
    assert not len(rig.gateway.sessions._turns), "nothing is remembered of who waited"


async def test_a_wait_of_0_has_no_end(nursery, autojump_clock):
    upstream = Upstream(nursery, [100.0, remembers], always=[remembers])
    rig = Rig(nursery, upstream, "[sessions]\nwait = 0\n")
    first = rig.connect()
    await first.chat("Slow", {"x-session-id": "s"})
    await upstream.request()
    assert (await rig.ask(ASK, {"x-session-id": "s"})).status == 200


async def test_who_leaves_the_queue_is_booked_and_asks_nobody(nursery, autojump_clock):
    upstream = Upstream(nursery, [1.0, remembers], always=[remembers])
    rig = Rig(nursery, upstream)
    first, second = rig.connect(), rig.connect()
    await first.chat("One", {"x-session-id": "s"})
    await upstream.request()
    await second.chat("Two", {"x-session-id": "s"})
    await settled()
    second.leave()
    assert (await first.answer()).status == 200
    await settled()
    assert rig.gateway.ledger.endings == {"completed": 1, "client_gone": 1}
    assert len(upstream.requests) == 1


# Whose they are


KEYS = """
[[keys]]
name = "ann"
key = { env = "ANN" }
[[keys]]
name = "bob"
key = { env = "BOB" }
"""
ANN, BOB = {"authorization": "Bearer sk-ann-0123456789"}, {"authorization": "Bearer sk-bob-0123456789"}
ENVIRON = {"ANN": "sk-ann-0123456789", "BOB": "sk-bob-0123456789"}


@pytest.mark.parametrize("stored", [False, True])
async def test_a_session_is_its_key_s(nursery, tmp_path, stored):
    upstream = Upstream(nursery, always=[remembers])
    if stored:
        rig = await Rig.stored(nursery, tmp_path / "store.db", upstream, KEYS, environ=ENVIRON)
    else:
        rig = Rig(nursery, upstream, KEYS, environ=ENVIRON)
    await rig.ask(REMEMBER, ANN | {"x-session-id": "s"})
    theirs, nobodys = [
        [await call(rig, method, f"/v1/sessions/{name}{below}", headers=BOB) for method, below in LOOKS]
        for name in ("s", "t")
    ]
    for found, missing in zip(theirs, nobodys, strict=True):
        assert found.status == missing.status == 404
        assert found.json["error"]["message"].replace("'s'", "'t'") == missing.json["error"]["message"]
    assert (await call(rig, "GET", "/v1/sessions", headers=BOB)).json["data"] == []
    answer = await rig.ask(ASK, BOB | {"x-session-id": "s"})
    assert answer.json["choices"][0]["message"]["content"] == "?", "the same name is another session"
    assert len(await history(rig, "s", ANN)) == 2


LOOKS = [("GET", ""), ("GET", "/messages"), ("DELETE", "")]


# The endpoints


async def test_made_listed_read_and_deleted(rig):
    made = await call(rig, "POST", "/v1/sessions", {"title": "Colours", "model": "up/tiny", "metadata": {"a": "b"}})
    session = made.json
    assert session["id"].startswith("sess_")
    assert session == {
        "id": session["id"],
        "object": "session",
        "title": "Colours",
        "model": "up/tiny",
        "metadata": {"a": "b"},
        "message_count": 0,
        "created_at": session["created_at"],
        "updated_at": session["created_at"],
    }
    assert (await call(rig, "GET", f"/v1/sessions/{session['id']}")).json == session
    await rig.ask(REMEMBER, {"x-session-id": session["id"]})
    mine = await call(rig, "POST", "/v1/sessions", {"id": "my/own"})
    assert (mine.status, mine.json["id"]) == (200, "my/own")
    again = await call(rig, "POST", "/v1/sessions", {"id": "my/own", "title": "Other"})
    assert again.json["title"] == "", "one that is there stays as it is"
    found = (await call(rig, "GET", "/v1/sessions")).json
    assert sorted((one["id"], one["message_count"]) for one in found["data"]) == [("my/own", 0), (session["id"], 2)]
    assert (found["object"], found["has_more"], found["next_cursor"]) == ("list", False, None)
    assert (await call(rig, "DELETE", "/v1/sessions/my%2Fown")).json["deleted"] is True
    assert (await call(rig, "GET", "/v1/sessions/my%2Fown")).error["code"] == "session_not_found"


async def test_an_empty_request_makes_a_session(rig):
    client = rig.connect()
    await client.request("POST", "/v1/sessions", {"content-length": "0"})
    assert (await client.answer()).json["id"].startswith("sess_")


async def test_no_body_at_all_makes_one_too_and_what_follows_is_no_request(rig, upstream):
    client = rig.connect()
    await client.request("POST", "/v1/sessions")
    await client.raw(b"GET /v1/sessions HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert answer.json["id"].startswith("sess_")
    assert await client.stream.receive() == b""


async def test_history_and_lists_come_by_pages(rig):
    for number in range(3):
        await rig.ask(f"{number}", {"x-session-id": "s"})
        await call(rig, "POST", "/v1/sessions", {"id": f"other-{number}"})
    pages, cursor = [], ""
    while True:
        page = (await call(rig, "GET", f"/v1/sessions/s/messages?limit=4{cursor}")).json
        pages.append([message["content"] for message in page["data"]])
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert pages == [["1", "?", "2", "?"], ["0", "?"]]
    names, cursor = [], ""
    while cursor is not None:
        page = (await call(rig, "GET", f"/v1/sessions?limit=3{cursor and '&cursor=' + cursor}")).json
        names += [session["id"] for session in page["data"]]
        cursor = page["next_cursor"]
    assert sorted(names) == ["other-0", "other-1", "other-2", "s"]


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("GET", "/v1/sessions?limit=0", None, "limit"),
        ("GET", "/v1/sessions?limit=x", None, "limit"),
        ("GET", "/v1/sessions?limit=1" + "&x=y" * 20, None, None),
        ("GET", "/v1/sessions?cursor=x", None, "cursor"),
        ("GET", "/v1/sessions/s/messages?cursor=x", None, "cursor"),
        ("GET", "/v1/sessions/a%20b", None, "id"),
        ("POST", "/v1/sessions", {"id": "a b"}, "id"),
        ("POST", "/v1/sessions", {"title": 5}, None),
        ("POST", "/v1/sessions", [], None),
    ],
)
async def test_what_cannot_be_is_refused(rig, method, path, body, param):
    answer = await call(rig, method, path, body)
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_wrong_methods(rig):
    for method, path in (("DELETE", "/v1/sessions/s/messages"), ("POST", "/v1/sessions/s"), ("DELETE", "/v1/sessions")):
        assert (await call(rig, method, path)).status == 405
