"""JSON-RPC on a socket: its rules, the methods, and the code of every error."""

import json

import pytest

import answers
from answers import DONE, error, finish, reply, role, stream, text, usage
from penstock.server.socket import faults
from rig import Rig, settled
from scripted import EXPECT_CLOSE, Upstream
from sockets import opened

ANSWER = [reply(answers.completion())]


def rig_with(nursery, *scripts, toml="", **more):
    return Rig(nursery, Upstream(nursery, *scripts, **more), toml)


async def told(nursery, *messages, rig=None):
    """What one socket is told after each of these messages."""
    async with opened(rig or Rig(nursery)) as ws:
        found = []
        for message in messages:
            await ws.send(message)
            found.append(await ws.get())
        return found


def call(method, params=None, id=1):
    return {"jsonrpc": "2.0", "id": id, "method": method} | ({} if params is None else {"params": params})


# -- what a message is ---------------------------------------------------------------------------------------


async def test_an_editors_message_is_an_unknown_method_and_no_missing_prompt(nursery):
    message = {"jsonrpc": "2.0", "id": 15, "method": "prettier/format", "params": {"text": "x"}}
    (answer,) = await told(nursery, message)
    assert (answer["id"], answer["error"]["code"], answer["error"]["message"]) == (15, -32601, "Method not found")
    assert answer["error"]["data"]["http_status"] == 404
    assert answer["error"]["data"]["error"]["message"] == "Unknown method: prettier/format"
    assert answer["error"]["data"]["request_id"].startswith("req_")


async def test_an_unknown_method_is_unknown_before_initialize_too(nursery):
    rig = Rig(nursery, toml='[[keys]]\nname = "one"\nkey = { env = "ONE" }\n', environ={"ONE": "sk-one"})
    unknown, known = await told(nursery, call("prettier/format"), call("ping"), rig=rig)
    assert (unknown["error"]["code"], known["error"]["code"]) == (-32601, -32002)
    assert known["error"]["data"]["http_status"] == 401


INVALID = {
    "no JSON": ("{", -32700, None),
    "no JSON at all": ("hello", -32700, None),
    "nothing": ("", -32700, None),
    "NaN": ('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', -32700, None),
    "too deep": ("[" * 200 + "]" * 200, -32700, None),
    "too deep in its params": ('{"jsonrpc":"2.0","method":"x","params":' + "[" * 200 + "]" * 200 + "}", -32700, None),
    "a string": ('"hi"', -32600, None),
    "a number": ("1", -32600, None),
    "null": ("null", -32600, None),
    "neither form": ('{"hello":1}', -32600, None),
    "neither form, with an id": ('{"hello":1,"id":5}', -32600, 5),
    "JSON-RPC 1.0": ('{"method":"ping","params":[],"id":5}', -32600, 5),
    "another version": ('{"jsonrpc":"2.1","id":5,"method":"ping"}', -32600, 5),
    "both forms": ('{"jsonrpc":"1","type":"ping","id":5}', -32600, 5),
    "the same member twice": ('{"jsonrpc":"2.0","id":5,"method":"ping","id":6}', -32600, None),
    "no method": ('{"jsonrpc":"2.0","id":5}', -32600, 5),
    "a method that is none": ('{"jsonrpc":"2.0","id":5,"method":1}', -32600, 5),
    "params of null": ('{"jsonrpc":"2.0","id":5,"method":"ping","params":null}', -32600, 5),
    "params of text": ('{"jsonrpc":"2.0","id":5,"method":"ping","params":"x"}', -32600, 5),
    "an id of true": ('{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, None),
    "a fractional id": ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, 1.5),
    "an empty batch": ("[]", -32600, None),
}


@pytest.mark.parametrize(("message", "code", "id"), INVALID.values(), ids=INVALID)
async def test_what_is_no_valid_request(nursery, message, code, id):
    answer, after = await told(nursery, message, call("ping", id=9))
    assert (answer["error"]["code"], answer["id"]) == (code, id)
    assert answer["error"]["message"] == {-32700: "Parse error", -32600: "Invalid Request"}[code]
    assert after["result"] == {}  # and the socket goes on


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "initialized"},
        {"jsonrpc": "2.0", "method": "unknown"},
        {"jsonrpc": "2.0", "method": "chat.completions.create", "params": {"model": "up/tiny"}},
        {"jsonrpc": "2.0", "method": "cancel", "params": {"requestId": 7}},
        {"jsonrpc": "2.0", "method": "$/cancelRequest"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": [7]},
        {"jsonrpc": "2.0", "id": 3, "result": {}},
        {"jsonrpc": "2.0", "id": 3, "error": {"code": 1, "message": "x"}},
        {"jsonrpc": "2.0", "id": 3, "error": "broken"},
        [{"jsonrpc": "2.0", "method": "a"}, {"jsonrpc": "2.0", "method": "b"}],
    ],
)
async def test_notifications_and_responses_are_never_answered(nursery, message):
    upstream = Upstream(nursery)
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.send(message)
        await ws.call(9, "ping")
        assert (await ws.get())["id"] == 9
    assert upstream.connections == 0  # nor do they make work


@pytest.mark.parametrize("id", [0, -5, "", "a\u2028é🎉", 1.0, 2**53, None])
async def test_an_id_comes_back_with_its_type(nursery, id):
    (answer,) = await told(nursery, call("ping", id=id))
    assert (answer["id"], type(answer["id"])) == (id, type(id))


# -- batches -------------------------------------------------------------------------------------------------


async def test_a_batch_is_answered_in_one_array_when_its_last_request_is(nursery):
    rig = rig_with(nursery, ANSWER)
    body = {"model": "up/tiny", "messages": [{"role": "user", "content": "Hi"}]}
    batch = [
        call("chat.completions.create", body, "a"),
        call("ping", id=2),
        {"jsonrpc": "2.0", "method": "initialized"},
        call("unknown", id=3),
        5,
        call("chat.completions.create", {**body, "stream": True}, "b"),
        call("ping", id=2),
    ]
    (answer,) = await told(nursery, batch, rig=rig)
    found = [(one["id"], one["error"]["code"] if "error" in one else "result") for one in answer]
    first = [("a", "result"), (2, "result"), (3, -32601), (None, -32600), ("b", -32600)]
    assert found == [*first, (2, -32600)]  # one after the other, and an id in flight only once


async def test_a_batch_of_too_many(nursery):
    rig = Rig(nursery, toml="[limits]\nwebsocket_requests = 3\n")
    (answer,) = await told(nursery, [call("ping", id=i) for i in range(4)], rig=rig)
    assert answer["error"]["code"] == -32600


async def test_a_batch_that_is_too_large(nursery):
    (answer,) = await told(nursery, [call("ping", {"pad": "x" * (1 << 20)})])
    assert (answer["id"], answer["error"]["code"], answer["error"]["data"]["http_status"]) == (None, -32009, 413)


async def test_a_large_message_that_is_no_batch(nursery):
    (answer,) = await told(nursery, call("ping", {"pad": "x" * (2 << 20)}))
    assert answer["result"] == {}


# -- methods -------------------------------------------------------------------------------------------------


async def test_initialize_says_what_there_is(nursery):
    rig = Rig(nursery, toml="[limits]\nwebsocket_message_bytes = 5000\nwebsocket_requests = 7\n")
    params = {"protocolVersion": "9", "clientInfo": {"name": "test", "version": "1"}, "capabilities": {}}
    (answer,) = await told(nursery, call("initialize", params), rig=rig)
    result = answer["result"]
    assert (result["protocolVersion"], result["serverInfo"]["name"]) == ("1", "penstock")
    said = result["capabilities"]
    assert (said["streaming"], said["batch"], said["maxMessageBytes"], said["maxConcurrentRequests"]) == (
        *(True, True),
        *(5000, 7),
    )
    assert {"chat.completions.create", "models.get", "cancel", "ping"} <= set(said["methods"])
    assert said["sessions"] == ("sessions.create" in said["methods"])


async def test_every_method_that_is_named_is_there(nursery):
    async with opened(rig_with(nursery, always=ANSWER)) as ws:
        await ws.call(0, "initialize", {})
        for number, name in enumerate((await ws.get())["result"]["capabilities"]["methods"], 1):
            await ws.call(number, name, {})
            answer = await ws.answer(number)
            assert "result" in answer or answer["error"]["code"] != -32601


async def test_params_that_are_no_object(nursery):
    for method in ("initialize", "cancel", "models.get", "chat.completions.create"):
        (answer,) = await told(nursery, call(method, [1]))
        assert (answer["error"]["code"], answer["error"]["message"]) == (-32602, "Invalid params")


async def test_params_that_python_can_read_and_nobody_else(nursery):
    (answer,) = await told(nursery, '{"jsonrpc":"2.0","id":1,"method":"models.get","params":{"id":"\\ud800"}}')
    assert answer["error"]["code"] == -32602


async def test_an_endpoint_that_breaks_off_is_an_internal_error(nursery, monkeypatch):
    from penstock.server.socket.methods import METHODS, Method

    async def says_nothing(asked):
        return None

    monkeypatch.setitem(METHODS, "ping", Method(says_nothing))
    (answer,) = await told(nursery, call("ping"))
    assert answer["error"]["code"] == -32603


async def test_models(nursery):
    listed, one, none, bad = await told(
        nursery,
        call("models.list"),
        call("models.get", {"id": "up/tiny"}),
        call("models.get", {"id": "up/no such/model?"}),
        call("models.get", {}),
        rig=rig_with(nursery),
    )
    assert "up/tiny" in [model["id"] for model in listed["result"]["data"]]
    assert (one["result"]["id"], one["result"]["object"]) == ("up/tiny", "model")
    assert (bad["error"]["code"], none.get("error", {}).get("code", -32004)) == (-32602, -32004)


async def test_a_model_that_nobody_has(nursery):
    get, chat = await told(
        nursery,
        call("models.get", {"id": "nope/tiny"}),
        call("chat.completions.create", {"model": "nope/tiny", "messages": [{"role": "user", "content": "Hi"}]}),
    )
    for answer in (get, chat):
        assert (answer["error"]["code"], answer["error"]["data"]["error"]["code"]) == (-32004, "model_not_found")


async def test_a_key_that_may_not_use_the_model(nursery):
    toml = '[[keys]]\nname = "one"\nkey = { env = "ONE" }\nmodels = ["other/*"]\n'
    rig = Rig(nursery, Upstream(nursery), toml, environ={"ONE": "sk-one"})
    async with opened(rig, headers={"x-api-key": "sk-one"}) as ws:
        await ws.chat(1)
        assert (await ws.get())["error"]["code"] == -32003


async def test_a_whole_answer_is_the_upstreams_own(nursery):
    whole = answers.completion("Hello") | {"system_fingerprint": "fp_1", "large": 12345678901234567890}
    upstream = Upstream(nursery, [reply(whole)])
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.chat("x", "Hi", temperature=0.5, unknown={"kept": [1.10]}, _meta={"progressToken": 1}, sessionId=None)
        assert (await ws.get()) == {"jsonrpc": "2.0", "id": "x", "result": whole}
    sent = upstream.requests[0].json
    assert (sent["temperature"], sent["unknown"], sent["model"]) == (0.5, {"kept": [1.10]}, "tiny")
    assert not {"_meta", "sessionId"} & sent.keys()


@pytest.mark.parametrize("session", [5, True, "a b", "д", "x\r\ny: z", {"a": 1}])
async def test_a_session_that_is_none_is_refused_in_both_forms(nursery, session):
    upstream = Upstream(nursery)
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.chat(1, sessionId=session)
        assert (await ws.get())["error"]["code"] == -32602
        await ws.send({"type": "chat", "prompt": "Hi", "model": "up/tiny", "session_id": session})
        assert (await ws.get())["status"] == 400
    assert upstream.connections == 0


async def test_numbers_reach_the_upstream_as_they_were_written(nursery):
    upstream = Upstream(nursery, [reply(answers.completion())])
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.send(
            '{"jsonrpc":"2.0","id":1,"method":"chat.completions.create","params":'
            '{"model":"up/tiny","messages":[{"role":"user","content":"Hi"}],"seed":12345678901234567890,"x":1.10e2}}'
        )
        await ws.get()
    assert b'"seed":12345678901234567890,"x":1.10e2' in upstream.requests[0].body


async def test_completions(nursery):
    upstream = Upstream(nursery, stream(text("Hel"), text("lo"), finish(), usage(), DONE), always=ANSWER)
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.call("c", "completions.create", {"model": "up/tiny", "prompt": "Hi", "stream": True})
        answer = await ws.answer()
    assert (answer["result"]["object"], answer["result"]["choices"][0]["text"]) == ("text_completion", "Hello")
    assert answer["result"]["usage"]["total_tokens"] == 11
    chunks = [message["params"] for message in ws.got[:-1]]
    assert {message["method"] for message in ws.got[:-1]} == {"completions.chunk"}
    assert "".join(chunk["chunk"]["choices"][0]["text"] for chunk in chunks) == "Hello"


async def test_embeddings(nursery):
    vectors = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
        "model": "tiny",
    }
    upstream = Upstream(nursery, [reply(vectors)])
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.call(1, "embeddings.create", {"model": "up/tiny", "input": ["Hi"]})
        assert (await ws.get())["result"]["data"][0]["embedding"] == [0.5, -1.0]


ONLY_CHAT = '[providers.up]\npreset = "openai"\nspeaks = ["openai"]\n'


async def test_responses(nursery):
    upstream = Upstream(nursery, stream(role(), text("Hel"), text("lo"), finish(), usage(), DONE))
    async with opened(Rig(nursery, upstream, ONLY_CHAT)) as ws:
        await ws.call("r", "responses.create", {"model": "up/tiny", "input": "Hi", "stream": True, "store": False})
        answer = await ws.answer()
    result = answer["result"]
    assert (result["object"], result["status"]) == ("response", "completed")
    events = [message["params"]["event"] for message in ws.got[:-1]]
    assert {message["method"] for message in ws.got[:-1]} == {"responses.event"}
    assert [events[0]["type"], events[-1]["type"]] == ["response.created", "response.completed"]
    assert events[-1]["response"] == result
    assert "".join(event["delta"] for event in events if event["type"].endswith("text.delta")) == "Hello"


async def test_responses_that_fail(nursery):
    upstream = Upstream(nursery, stream(role(), text("Hel"), error("overloaded", code="server_is_overloaded"), DONE))
    async with opened(Rig(nursery, upstream, ONLY_CHAT)) as ws:
        await ws.call("r", "responses.create", {"model": "up/tiny", "input": "Hi", "stream": True, "store": False})
        answer = await ws.answer()
    assert (answer["error"]["data"]["error"]["message"], answer["id"]) == ("overloaded", "r")


async def test_responses_that_fail_in_the_upstreams_own_words(nursery):
    failed = {"type": "error", "code": "server_is_overloaded", "message": "overloaded", "param": None}
    created = {"type": "response.created", "response": {"id": "resp_1", "object": "response", "status": "in_progress"}}
    said = [{**created, "sequence_number": 0}, {**failed, "sequence_number": 1}]
    script = [answers.STREAM, answers.chunked(answers.sse(*said)) + answers.LAST]
    async with opened(Rig(nursery, Upstream(nursery, script))) as ws:
        await ws.call("r", "responses.create", {"model": "up/tiny", "input": "Hi", "stream": True, "store": False})
        failure = (await ws.answer("r"))["error"]
    assert failure["data"]["error"]["message"] == "overloaded"


async def test_a_stream_of_responses_that_is_cancelled(nursery):
    script = [answers.STREAM, answers.chunked(answers.sse(role(), text("Hel"))), EXPECT_CLOSE]
    async with opened(Rig(nursery, Upstream(nursery, script), ONLY_CHAT)) as ws:
        await ws.call("r", "responses.create", {"model": "up/tiny", "input": "Hi", "stream": True, "store": False})
        await settled()
        await ws.notify("$/cancelRequest", {"id": "r"})
        assert (await ws.answer("r"))["error"]["code"] == -32800


# -- errors --------------------------------------------------------------------------------------------------

ERRORS = [
    (400, error("bad", type="invalid_request_error"), -32602),
    (400, error("too long", type="invalid_request_error", code="context_length_exceeded"), -32009),
    (400, error("filtered", type="invalid_request_error", code="content_filter"), -32010),
    (402, error("pay"), -32006),
    (404, error("no such model", code="model_not_found"), -32004),
    (409, error("conflict"), -32803),
    (413, error("too large"), -32009),
    (422, error("unprocessable"), -32602),
    (429, error("slow down", type="rate_limit_error"), -32005),
    (429, error("no more", code="insufficient_quota"), -32006),
    (500, error("broken"), -32000),
    (502, error("bad gateway"), -32000),
    (503, error("busy"), -32008),
    (504, error("slow"), -32007),
]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("status", "body", "code"), ERRORS)
async def test_the_code_of_an_upstreams_error(nursery, status, body, code, streamed):
    rig = rig_with(nursery, [reply(body, status)])
    async with opened(rig) as ws:
        await ws.chat(1, stream=streamed)
        failure = (await ws.get())["error"]
    assert (failure["code"], failure["data"]["http_status"]) == (code, status)
    assert failure["data"]["error"]["message"] == body["error"]["message"]
    standard = {-32602: "Invalid params"}
    assert failure["message"] == standard.get(code, body["error"]["message"])
    assert failure["data"]["request_id"].startswith("req_")


@pytest.mark.parametrize("value", ["Fri, 31 Dec 1999 23:59:59 GMT", "1e400", "", "nan"])
def test_a_retry_after_that_is_no_number_of_seconds(value):
    assert faults.from_answer(429, [("retry-after", value)], b'{"error":{}}').retry_after_ms is None


@pytest.mark.parametrize(("header", "ms"), [(("retry-after", "2"), 2000), (("retry-after-ms", "1500"), 1500)])
async def test_when_to_try_again(nursery, header, ms):
    rig = rig_with(nursery, [reply(error("slow down"), 429, header)])
    async with opened(rig) as ws:
        await ws.chat(1)
        found = (await ws.get())["error"]["data"]["retry_after_ms"]
    assert ms <= found <= 2000  # what HTTP would say, in whole seconds where it says no more


async def test_a_bug_is_an_internal_error_and_the_socket_goes_on(nursery, monkeypatch, caplog):
    rig = rig_with(nursery)

    async def broken():
        raise ZeroDivisionError("sk-secret")

    monkeypatch.setattr(rig.gateway.catalog, "models", broken)
    failed, after = await told(nursery, call("models.list"), call("ping", id=2), rig=rig)
    assert (failed["error"]["code"], failed["error"]["message"]) == (-32603, "Internal error")
    assert "secret" not in json.dumps(failed)
    assert "ZeroDivisionError" in caplog.text
    assert after["result"] == {}


async def test_a_bug_outside_of_a_request_closes_with_1011(nursery, monkeypatch, caplog):
    from penstock.server.socket.rpc import Rpc

    async def broken(self, message):
        raise ZeroDivisionError

    monkeypatch.setattr(Rpc, "take", broken)
    async with opened(Rig(nursery)) as ws:
        await ws.call(1, "ping")
        assert (await ws.closed())[0] == 1011
    assert "bug on a WebSocket" in caplog.text


async def test_what_opened_the_socket_counts_for_each_request(nursery, autojump_clock):
    upstream = Upstream(nursery, [120.0])
    headers = {"x-penstock-timeouts": "first_event=3", "traceparent": "00-1-2-3", "x-client-request-id": "mine"}
    async with opened(Rig(nursery, upstream), headers=headers) as ws:
        await ws.chat(1, stream=True)
        failure = (await ws.get())["error"]
    assert (failure["code"], failure["data"]["error"]["code"]) == (-32007, "upstream_timeout")
    assert upstream.requests[0].headers["traceparent"] == "00-1-2-3"
    await settled()
