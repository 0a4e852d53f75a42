"""Responses that are kept: found again by the id that their client was told, by that client and by nobody else."""

from __future__ import annotations

import json
from types import MappingProxyType, SimpleNamespace

import pytest
import trio

import scripted
from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, text, tool, usage
from penstock.protocol import jsontext
from penstock.server import stored_responses
from penstock.server.store.errors import StoreError
from rig import Rig
from scripted import Upstream

CHATS = '[providers.up]\npreset = "openai"\nspeaks = ["openai"]\n'
WHOLE = [reply(completion("Noted."))]
STREAMED = [STREAM, chunked(sse(role(), text("No"))), chunked(sse(text("ted."), finish(), usage(), DONE)) + LAST]
ANN, BOB = {"authorization": "Bearer sk-ann-0123456789"}, {"authorization": "Bearer sk-bob-0123456789"}
KEYS = '[[keys]]\nname = "ann"\nkey = { env = "ANN" }\n[[keys]]\nname = "bob"\nkey = { env = "BOB" }\n'
ENVIRON = {"ANN": "sk-ann-0123456789", "BOB": "sk-bob-0123456789"}


@pytest.fixture
def start(nursery, tmp_path):
    """A function from scripts of an upstream to that and a gateway with a store."""

    async def start(*scripts, toml=CHATS, **more):
        upstream = Upstream(nursery, *scripts)
        return upstream, await Rig.stored(nursery, tmp_path / "store.db", upstream, toml, **more)

    return start


async def call(rig, method, path, body=None, headers=MappingProxyType({})):
    client = rig.connect()
    raw = b"" if body is None else json.dumps(body).encode()
    length = {"content-length": "0"} if method == "POST" and not raw else {}
    await client.request(method, path, {"content-type": "application/json", **length, **headers}, raw)
    answer = await client.answer()
    client.leave()
    return answer


async def ask(rig, given="Hi", headers=MappingProxyType({}), **more):
    return await call(rig, "POST", "/v1/responses", {"model": "up/tiny", "input": given, **more}, headers)


def final(answer):
    return answer.events[-1]["response"]


def refused(answer, param, code="unsupported_parameter", status=400):
    assert (answer.status, answer.error["param"], answer.error["code"]) == (status, param, code), answer.body
    return answer.error["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_answered_is_there_under_the_id_that_was_told(start, stream):
    _, rig = await start(STREAMED if stream else WHOLE)
    answer = await ask(rig, stream=stream, metadata={"a": "b"})
    told = final(answer) if stream else answer.json
    assert told["store"] is True
    if stream:
        assert {event["response"]["id"] for event in answer.events if "response" in event} == {told["id"]}
    assert told["id"].startswith("resp_")
    assert "chatcmpl-1" not in told["id"], "some servers name two answers alike"
    found = await call(rig, "GET", f"/v1/responses/{told['id']}")
    assert (found.status, found.json) == (200, told)
    assert (told["status"], told["metadata"], told["usage"]["output_tokens"]) == ("completed", {"a": "b"}, 2)


async def test_it_is_kept_before_the_last_bytes(start):
    _, rig = await start(STREAMED)
    client = rig.connect()
    body = json.dumps({"model": "up/tiny", "input": "Hi", "stream": True}).encode()
    await client.request("POST", "/v1/responses", {"content-type": "application/json"}, body)
    await client.head()
    seen = b""
    while b"event: response.completed" not in seen:
        seen += await client.piece()
    id = json.loads(seen.split(b"data: ")[1].split(b"\n")[0])["response"]["id"]
    assert (await call(rig, "GET", f"/v1/responses/{id}")).json["status"] == "completed"


async def test_without_store_it_is_not_kept(start):
    _, rig = await start(*[WHOLE] * 2)
    answer = await ask(rig, store=False)
    assert answer.json["store"] is False
    refused(await call(rig, "GET", f"/v1/responses/{answer.json['id']}"), "id", "response_not_found", 404)
    refused(await ask(rig, store="yes"), "store", "invalid_value")


async def test_an_incomplete_one_is_kept_and_a_failed_one_is_not(start):
    cut = [STREAM, chunked(sse(role(), text("No"), finish("length"), DONE)) + LAST]
    broken = [STREAM, chunked(sse(role(), text("No"))), scripted.CLOSE]
    _, rig = await start(cut, broken)
    told = final(await ask(rig, stream=True))
    assert (await call(rig, "GET", f"/v1/responses/{told['id']}")).json["status"] == "incomplete"
    failed = (await ask(rig, stream=True)).events[0]["response"]["id"]
    assert (await call(rig, "GET", f"/v1/responses/{failed}")).status == 404


ENDS = {
    "response.completed": [finish(), usage(), DONE],
    "response.incomplete": [finish("length"), usage(), DONE],
    "response.failed": [{"error": {"message": "boom"}}],
}


@pytest.mark.parametrize("end", ENDS)
async def test_c29_one_ending_named_as_its_type_and_usage_in_it(start, end):
    _, rig = await start([STREAM, chunked(sse(role(), text("No"), *ENDS[end])) + LAST])
    answer = await ask(rig, stream=True)
    blocks = [block.split(b"\n") for block in answer.body.split(b"\n\n")[:-1]]
    named = [(name.removeprefix(b"event: ").decode(), json.loads(data[6:])) for name, data in blocks]
    assert all(name == event["type"] for name, event in named)
    endings = [event for name, event in named if name in ENDS]
    assert [event["type"] for event in endings] == [end]
    tokens = (endings[0]["response"]["usage"] or {}).get("output_tokens")
    assert tokens == (None if end == "response.failed" else 2)


@pytest.mark.parametrize(("method", "below"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel")])
async def test_a_store_that_is_away_is_told(start, monkeypatch, method, below):
    _, rig = await start()

    async def away(*args, **more):
        raise StoreError("unavailable", "The store is away.")

    for name in ("get", "delete", "chain"):
        monkeypatch.setattr(rig.gateway.store.responses, name, away)
    assert (await call(rig, method, f"/v1/responses/resp_x{below}")).status == 503
    assert (await ask(rig, previous_response_id="resp_x")).status == 503


# One after the other


async def test_a_chain_is_said_again_in_whole(start):
    upstream, rig = await start(*[WHOLE] * 3)
    first = (await ask(rig, "One", instructions="Be brief")).json
    second = (await ask(rig, "Two", previous_response_id=first["id"])).json
    third = (await ask(rig, [{"role": "user", "content": "Three"}], previous_response_id=second["id"])).json
    assert [one["previous_response_id"] for one in (first, second, third)] == [None, first["id"], second["id"]]
    sent = [(message["role"], _words(message)) for message in upstream.requests[2].json["messages"]]
    assert sent == [
        ("user", "One"),
        ("assistant", "Noted."),
        ("user", "Two"),
        ("assistant", "Noted."),
        ("user", "Three"),
    ], "all but the instructions, which go for their own request only"
    assert not {"previous_response_id", "store"} & upstream.requests[2].json.keys()


def _words(message):
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def test_tool_calls_in_a_chain(start):
    called = [STREAM, chunked(sse(role(), tool(0, "{}", id="call_a", name="f"), finish("tool_calls"), DONE)) + LAST]
    upstream, rig = await start(called, WHOLE)
    told = final(await ask(rig, "Add", stream=True))
    output = {"type": "function_call_output", "call_id": "call_a", "output": "2"}
    await ask(rig, [output], previous_response_id=told["id"])
    user, turn, result = upstream.requests[1].json["messages"]
    assert (_words(user), turn["tool_calls"][0]["id"]) == ("Add", "call_a")
    assert (result["tool_call_id"], result["content"]) == ("call_a", "2")


async def test_a_response_before_it_that_is_not_there(start):
    upstream, rig = await start(*[WHOLE] * 2)
    why = refused(await ask(rig, previous_response_id="resp_x"), "previous_response_id", "previous_response_not_found")
    assert "resp_x" in why
    first = (await ask(rig)).json["id"]
    second = (await ask(rig, previous_response_id=first)).json["id"]
    assert (await call(rig, "DELETE", f"/v1/responses/{first}")).status == 200
    why = refused(await ask(rig, previous_response_id=second), "previous_response_id", "previous_response_not_found")
    assert first in why, "a conversation with a hole in it is not passed off as whole"
    assert len(upstream.requests) == 2
    refused(await ask(rig, previous_response_id=5), "previous_response_id", "invalid_value")
    with_session = await ask(rig, headers={"x-session-id": "s"}, previous_response_id=second)
    refused(with_session, "previous_response_id", "invalid_value")


async def test_a_chain_that_is_too_long_for_a_request(start):
    _, rig = await start(*[WHOLE] * 4, toml=CHATS + "[limits]\nbody_bytes = 4000\n")
    id = (await ask(rig, "x" * 2000)).json["id"]
    answer = await ask(rig, "x" * 2000, previous_response_id=id)
    refused(answer, "previous_response_id", "context_length_exceeded")
    id = None
    for _ in range(3):
        id = (await ask(rig, "x" * 1000, previous_response_id=id)).json["id"]
    refused(await ask(rig, previous_response_id=id), "previous_response_id", "context_length_exceeded")


async def test_items_by_reference(start):
    upstream, rig = await start(WHOLE, WHOLE)
    first = (await ask(rig, "One")).json
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    one, two = ({"role": "user", "content": words} for words in ("One", "Two"))
    await ask(rig, [one, *references, two])
    assert [_words(message) for message in upstream.requests[1].json["messages"]] == ["One", "Noted.", "Two"]
    for unknown in ("msg_other_0", "nothing", first["output"][0]["id"] + "9"):
        answer = await ask(rig, [one, {"type": "item_reference", "id": unknown}])
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
        assert "item_reference" in answer.error["message"]


async def test_no_more_references_than_can_be_looked_up(start):
    _, rig = await start()
    references = [{"type": "item_reference", "id": f"msg_{number}_0"} for number in range(101)]
    refused(await ask(rig, references), "input", "invalid_value")


async def test_a_reference_to_much_is_counted_before_it_is_put_together(start, monkeypatch):
    """320 kB of references to one item of 100 kB were a gigabyte."""
    upstream, rig = await start([reply(completion("x" * 2000))], WHOLE, toml="[limits]\nbody_bytes = 20000\n" + CHATS)
    (item,) = (await ask(rig, "One")).json["output"]
    reference = {"type": "item_reference", "id": item["id"]}
    written = []
    spy = SimpleNamespace(dumps=lambda value: written.append(len(value)) or jsontext.dumps(value))
    monkeypatch.setattr(stored_responses, "jsontext", spy)
    refused(await ask(rig, [reference] * 200), "input", "context_length_exceeded")
    assert written == [], "it was not even put together"
    assert (await ask(rig, [reference] * 5)).status == 200
    assert upstream.requests[1].body.count(b"x" * 2000) == 5


async def test_a_conversation_with_a_reference_in_it_goes_on(start):
    """Also when what was referred to is there no longer: what is kept has the items themselves."""
    upstream, rig = await start(WHOLE, WHOLE, WHOLE)
    first = (await ask(rig, "One")).json
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    second = (await ask(rig, [reference, {"role": "user", "content": "Two"}])).json
    assert (await call(rig, "DELETE", f"/v1/responses/{first['id']}")).status == 200
    third = await ask(rig, "Three", previous_response_id=second["id"])
    assert third.status == 200, third.body
    said = [_words(message) for message in upstream.requests[2].json["messages"]]
    assert said == ["Noted.", "Two", "Noted.", "Three"]
    items = (await call(rig, "GET", f"/v1/responses/{second['id']}/input_items")).json["data"]
    assert [item["type"] for item in items] == ["message", "message"]


async def test_reasoning_goes_back_only_to_who_can_read_it(start):
    own = '[providers.up]\npreset = "openai"\nspeaks = ["openai", "responses"]\n'
    secret = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    plain = {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "hm"}]}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    upstream, rig = await start([reply(response("resp_up", secret, plain, search, message("Yes")))], OWN, toml=own)
    first = (await ask(rig, "One")).json
    assert first["output"] == [secret, plain, search, message("Yes")]
    second = (await ask(rig, "Two", previous_response_id=first["id"])).json
    sent = upstream.requests[1].json
    said = {"type": "message", "role": "assistant", "status": "completed", "content": message("Yes")["content"]}
    assert sent["input"][1:-1] == [secret, search, said]
    assert "previous_response_id" not in sent
    assert (second["previous_response_id"], second["store"]) == (first["id"], True)
    assert (await call(rig, "GET", f"/v1/responses/{second['id']}")).json == second


@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_names_two_answers_alike(start, stream):
    own = '[providers.up]\npreset = "openai"\nspeaks = ["openai", "responses"]\n'
    body = response("resp_2", message("Yes"))
    events = [{"type": "response.created", "response": {**body, "status": "in_progress", "output": []}}]
    events += [{"type": "response.output_item.done", "output_index": 0, "item": message("Yes")}]
    events += [{"type": "response.completed", "response": body}]
    _, rig = await start(*[[STREAM + chunked(sse(*events)) + LAST] if stream else OWN] * 2, toml=own)
    answers = [await ask(rig, words, stream=stream) for words in ("One", "Two")]
    told = [final(answer) if stream else answer.json for answer in answers]
    assert len({"resp_2", *(one["id"] for one in told)}) == 3
    if stream:
        assert [{event["response"]["id"] for event in answer.events if "response" in event} for answer in answers] == [
            {one["id"]} for one in told
        ]
    for one, words in zip(told, ("One", "Two"), strict=True):
        assert (await call(rig, "GET", f"/v1/responses/{one['id']}")).json == one
        (item,) = (await call(rig, "GET", f"/v1/responses/{one['id']}/input_items")).json["data"]
        assert item["content"][0]["text"] == words


def message(words):
    part = {"type": "output_text", "text": words, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def response(id, *output):
    return {
        "id": id,
        "object": "response",
        "created_at": 1760000000,
        "status": "completed",
        "model": "tiny",
        "output": list(output),
        "store": True,
        "previous_response_id": None,
    }


OWN = [reply(response("resp_2", message("Yes")))]


# What is kept, looked at


async def test_input_items(start):
    _, rig = await start(WHOLE)
    given = [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Noted."},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "2"},
    ]
    id = (await ask(rig, given)).json["id"]
    path = f"/v1/responses/{id}/input_items"
    found = (await call(rig, "GET", path + "?order=asc")).json
    assert [item["type"] for item in found["data"]] == ["message", "message", "function_call", "function_call_output"]
    assert found["data"][0]["content"] == [{"type": "input_text", "text": "One"}]
    assert found["data"][1]["content"] == [{"type": "output_text", "text": "Noted.", "annotations": []}]
    ids = [item["id"] for item in found["data"]]
    assert (found["object"], found["first_id"], found["last_id"]) == ("list", ids[0], ids[-1])
    assert len(set(ids)) == 4
    newest = (await call(rig, "GET", path + "?limit=3")).json
    assert ([item["id"] for item in newest["data"]], newest["has_more"]) == (ids[:0:-1], True)
    rest = (await call(rig, "GET", f"{path}?after={newest['last_id']}")).json
    assert ([item["id"] for item in rest["data"]], rest["has_more"]) == (ids[:1], False)
    end = (await call(rig, "GET", f"{path}?after={ids[0]}")).json
    assert (end["data"], end["first_id"], end["last_id"]) == ([], None, None)
    for query in ("order=up", "limit=0", "limit=x", "after=x"):
        refused(await call(rig, "GET", f"{path}?{query}"), query.partition("=")[0], "invalid_value")
    refused(await call(rig, "GET", path + "?limit=1" + "&x=y" * 20), None, "invalid_value")
    assert (await call(rig, "GET", "/v1/responses/resp_x/input_items")).status == 404


async def test_deleted_is_gone(start):
    _, rig = await start(WHOLE)
    id = (await ask(rig)).json["id"]
    deleted = await call(rig, "DELETE", f"/v1/responses/{id}")
    assert deleted.json == {"id": id, "object": "response", "deleted": True}
    for method in ("GET", "DELETE"):
        refused(await call(rig, method, f"/v1/responses/{id}"), "id", "response_not_found", 404)


async def test_a_response_is_its_key_s(start):
    _, rig = await start(WHOLE, toml=CHATS + KEYS, environ=ENVIRON)
    id = (await ask(rig, headers=ANN)).json["id"]
    for method, below in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
        theirs = await call(rig, method, f"/v1/responses/{id}{below}", headers=BOB)
        nobodys = await call(rig, method, f"/v1/responses/resp_x{below}", headers=BOB)
        assert theirs.status == nobodys.status == 404
        assert theirs.error["message"].replace(id, "resp_x") == nobodys.error["message"]
    answer = await ask(rig, headers=BOB, previous_response_id=id)
    refused(answer, "previous_response_id", "previous_response_not_found")
    assert (await call(rig, "GET", f"/v1/responses/{id}", headers=ANN)).status == 200


async def test_wrong_methods_and_what_is_not_served(start):
    _, rig = await start(WHOLE)
    id = (await ask(rig)).json["id"]
    for method, below in (("GET", "/cancel"), ("POST", ""), ("DELETE", "/cancel"), ("PUT", "")):
        assert (await call(rig, method, f"/v1/responses/{id}{below}")).status == 405
    refused(await call(rig, "GET", f"/v1/responses/{id}?stream=true"), "stream")


# Cancelling


async def test_one_under_way_is_cancelled_and_kept_as_such(start):
    upstream, rig = await start([STREAM, chunked(sse(role(), text("No"))), scripted.EXPECT_CLOSE])
    client = rig.connect()
    body = json.dumps({"model": "up/tiny", "input": "Hi", "stream": True}).encode()
    await client.request("POST", "/v1/responses", {"content-type": "application/json"}, body)
    await client.head()
    seen = await client.piece()
    id = json.loads(seen.split(b"data: ")[1].split(b"\n")[0])["response"]["id"]
    under_way = (await call(rig, "GET", f"/v1/responses/{id}")).json
    assert (under_way["id"], under_way["status"]) == (id, "in_progress")
    cancelled = await call(rig, "POST", f"/v1/responses/{id}/cancel")
    assert (cancelled.status, cancelled.json["id"], cancelled.json["status"]) == (200, id, "cancelled")
    while piece := await client.piece():
        seen += piece
    assert b"event: response.failed" in seen
    assert b'"code":"cancelled"' in seen
    await upstream.all_closed()
    assert (await call(rig, "GET", f"/v1/responses/{id}")).json["status"] == "cancelled"
    assert rig.gateway.answering == {}
    assert rig.gateway.ledger.endings == {"client_gone": 1}


async def test_one_that_has_ended_is_told_as_it_is(start):
    _, rig = await start(WHOLE)
    told = (await ask(rig)).json
    for _ in range(2):
        assert (await call(rig, "POST", f"/v1/responses/{told['id']}/cancel")).json == told
    refused(await call(rig, "POST", "/v1/responses/resp_x/cancel"), "id", "response_not_found", 404)


# Where it cannot be


@pytest.mark.parametrize("stored", [False, True])
async def test_what_is_not_served_is_named(nursery, start, stored):
    rig = (await start())[1] if stored else Rig(nursery, Upstream(nursery), CHATS)
    refused(await ask(rig, conversation="conv_1"), "conversation")
    refused(await ask(rig, background=True), "background")
    refused(await ask(rig, prompt={"id": "pmpt_1"}), "prompt")


async def test_without_a_store(nursery):
    rig = Rig(nursery, Upstream(nursery, WHOLE), CHATS)
    assert "store" in refused(await ask(rig, previous_response_id="resp_1"), "previous_response_id")
    answer = await ask(rig, store=True, background=False)
    assert (answer.status, answer.json["store"]) == (200, False)
    for method, below in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
        path = f"/v1/responses/{answer.json['id']}{below}"
        refused(await call(rig, method, path), "id", "response_not_found", 404)


async def test_what_cannot_be_kept_does_not_end_well(start, monkeypatch):
    _, rig = await start(STREAMED, WHOLE)

    async def away(response):
        raise StoreError("unavailable", "The store is away.")

    monkeypatch.setattr(rig.gateway.store.responses, "put", away)
    answer = await ask(rig, stream=True)
    assert [event["type"] for event in answer.events[-2:]] == ["response.failed", "error"]
    assert (await ask(rig)).status == 503


async def test_after_a_restart(nursery, tmp_path):
    upstream = Upstream(nursery, WHOLE, WHOLE)
    async with trio.open_nursery() as first:
        rig = await Rig.stored(first, tmp_path / "store.db", upstream, CHATS)
        told = (await ask(rig, "One")).json
        await rig.gateway.store.aclose()
        first.cancel_scope.cancel()
    rig = await Rig.stored(nursery, tmp_path / "store.db", upstream, CHATS)
    assert (await call(rig, "GET", f"/v1/responses/{told['id']}")).json == told
    await ask(rig, "Two", previous_response_id=told["id"])
    assert [_words(message) for message in upstream.requests[1].json["messages"]] == ["One", "Noted.", "Two"]


async def test_they_expire(start):
    _, rig = await start(WHOLE, WHOLE, toml=CHATS)
    store = rig.gateway.store
    told = (await ask(rig)).json
    kept = await store.responses.get(rig.gateway.gate.owner(None), told["id"])
    assert kept.expires_at == pytest.approx(kept.created_at + 30 * 86400)


async def test_a_response_in_a_session(start):
    upstream, rig = await start(WHOLE, WHOLE)
    for words in ("One", "Two"):
        answer = await ask(rig, words, headers={"x-session-id": "s"})
    assert [_words(message) for message in upstream.requests[1].json["messages"]] == ["One", "Noted.", "Two"]
    kept = (await call(rig, "GET", f"/v1/responses/{answer.json['id']}/input_items")).json["data"]
    assert [item["content"][0]["text"] for item in kept] == ["Two"]


async def test_half_a_surrogate_pair_is_told_as_none(start):
    _, rig = await start(WHOLE, WHOLE)
    first = (await ask(rig, "\ud83d", instructions="\ud83d")).json
    found = await call(rig, "GET", f"/v1/responses/{first['id']}")
    assert (found.status, found.json["output"]) == (200, first["output"])
    items = await call(rig, "GET", f"/v1/responses/{first['id']}/input_items")
    assert (items.status, items.json["data"][0]["content"][0]["text"]) == (200, "\ufffd")
    assert (await ask(rig, "And?", previous_response_id=first["id"])).status == 200
