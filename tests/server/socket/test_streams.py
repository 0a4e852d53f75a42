"""Streams on a socket: deltas before their response and none after, many at once, each cancellable, and leaving."""

import json
import socket
import struct

import pytest
import trio

import answers
import scripted
from answers import (
    DONE,
    LAST,
    STREAM,
    chunked,
    cut,
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
from penstock.providers.connect import Connector
from penstock.providers.stream import SocketStream
from penstock.providers.transport import Origin
from penstock.server.listen import accept_loop, open_sockets
from penstock.server.socket.gathered import Gathered
from rig import Client, Rig, settled
from scripted import CLOSE, EXPECT_CLOSE, RESET, Upstream, forever
from sockets import HANDSHAKE, Raw, frame, head_of, opened, raw_opened

HELLO = stream(role(), text("Hel"), text("lo"), finish(), usage(), DONE)
BEGUN = chunked(sse(role(), text("Hel")))
REST = chunked(sse(text("lo"), finish(), usage(), DONE)) + LAST
RESULT = answers.completion("Hello")


def chunks(ws, id):
    """The params of the notifications for one request, which are to be numbered without gaps."""
    found = [
        m["params"] for m in ws.got if m.get("method") == "chat.completions.chunk" and m["params"]["requestId"] == id
    ]
    assert [params["seq"] for params in found] == list(range(len(found)))
    return found


def said(ws, id):
    return answers.content([params["chunk"] for params in chunks(ws, id)])


def raw_chat(id, **params):
    messages = [{"role": "user", "content": "Hi"}]
    params = {"model": "up/tiny", "messages": messages, "stream": True, **params}
    return {"jsonrpc": "2.0", "id": id, "method": "chat.completions.create", "params": params}


# -- one stream ----------------------------------------------------------------------------------------------

PIECES = {
    "an event a read": HELLO,
    "all in one read": [b"".join(HELLO)],
    "cut anywhere": cut(b"".join(HELLO), 3, 200, 301, 302, 777, 778),
}


@pytest.mark.parametrize("script", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}, {"stream_options": None}])
async def test_a_stream_is_notifications_and_then_the_whole(nursery, script, options):
    upstream = Upstream(nursery, script)
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.chat("r1", stream=True, **options)
        answer = await ws.answer()
        await settled()
    assert answer == {"jsonrpc": "2.0", "id": "r1", "result": RESULT}
    assert said(ws, "r1") == "Hello"
    found = [params["chunk"] for params in chunks(ws, "r1")]
    assert {chunk["object"] for chunk in found} == {"chat.completion.chunk"}
    assert all(chunk["choices"] for chunk in found)  # no chunk with nothing but the usage
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
    assert ws.got[-1] is answer
    assert upstream.requests[0].json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("id", ["1", 1, 0, -7, "é🎉\u2028"])
@pytest.mark.parametrize("token", ["t", 7, None])
async def test_the_request_id_and_the_token_come_back_with_their_types(nursery, id, token):
    async with opened(Rig(nursery, Upstream(nursery, HELLO))) as ws:
        await ws.chat(id, stream=True, **({} if token is None else {"_meta": {"progressToken": token}}))
        await ws.answer()
    for params in chunks(ws, id):
        assert type(params["requestId"]) is type(id)
        assert params.get("progressToken") == token


@pytest.mark.parametrize("meta", [5, {"progressToken": None}, {"progressToken": True}, {"progressToken": {}}])
async def test_a_token_that_is_none(nursery, meta):
    async with opened(Rig(nursery, Upstream(nursery, HELLO))) as ws:
        await ws.chat(1, stream=True, _meta=meta)
        await ws.answer()
    assert not any("progressToken" in params for params in chunks(ws, 1))


async def test_a_summary_where_no_usage_was_told(nursery):
    async with opened(Rig(nursery, Upstream(nursery, stream(role(), text("x"), finish("length"), DONE)))) as ws:
        await ws.chat(1, stream=True, _meta={"final": "summary"})
        assert (await ws.answer())["result"] == {"id": "chatcmpl-1", "finish_reasons": ["length"]}


@pytest.mark.parametrize("options", [5, "x", []])
async def test_stream_options_that_are_none_are_refused(nursery, options):
    async with opened(Rig(nursery, Upstream(nursery))) as ws:
        await ws.chat(1, stream=True, stream_options=options)
        failure = (await ws.answer())["error"]
    assert (failure["code"], failure["data"]["error"]["param"]) == (-32602, "stream_options")


async def test_a_summary_in_place_of_the_whole(nursery):
    async with opened(Rig(nursery, Upstream(nursery, HELLO))) as ws:
        await ws.chat(1, stream=True, _meta={"final": "summary"})
        result = (await ws.answer())["result"]
    assert result == {"id": "chatcmpl-1", "finish_reasons": ["stop"], "usage": RESULT["usage"]}
    assert said(ws, 1) == "Hello"


async def test_the_whole_has_reasoning_and_tool_calls(nursery):
    script = stream(
        role(),
        reasoning("hm"),
        tool(0, id="call_1", name="weather"),
        tool(0, '{"city":'),
        tool(0, '"Rome"}'),
        finish("tool_calls"),
        DONE,
    )
    async with opened(Rig(nursery, Upstream(nursery, script))) as ws:
        await ws.chat(1, stream=True)
        (choice,) = (await ws.answer())["result"]["choices"]
    assert choice["message"]["reasoning_content"] == "hm"
    (called,) = choice["message"]["tool_calls"]
    assert called["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert choice["finish_reason"] == "tool_calls"


async def test_a_chunk_passes_as_it_came(nursery):
    odd = text("x") | {"system_fingerprint": "fp", "n": 12345678901234567890}
    async with opened(Rig(nursery, Upstream(nursery, stream(role(), odd, odd, finish(), DONE)))) as ws:
        await ws.chat(1, stream=True)
        await ws.answer()
    assert [params["chunk"] for params in chunks(ws, 1)[1:3]] == [odd, odd]


async def test_a_long_answer_is_summed_up_whole(nursery):
    words = [f"word {number} é🎉 " for number in range(2000)]
    script = [STREAM, *(chunked(sse(*(text(w) for w in words[at : at + 50]))) for at in range(0, 2000, 50))]
    upstream = Upstream(nursery, [*script, chunked(sse(finish(), DONE)) + LAST])
    async with opened(Rig(nursery, upstream), capacity=1 << 20) as ws:
        await ws.chat(1, stream=True)
        answer = await ws.answer()
    assert answer["result"]["choices"][0]["message"]["content"] == "".join(words) == said(ws, 1)


async def test_another_dialect_upstream(nursery):
    script = [
        answers.NDJSON,
        chunked(answers.ndjson(answers.line("Hel"), answers.line("lo"), answers.line(done="stop"))),
    ]
    toml = '[providers.up]\npreset = "ollama"\n'
    async with opened(Rig(nursery, Upstream(nursery, [*script, LAST]), toml)) as ws:
        await ws.chat(1, stream=True)
        result = (await ws.answer())["result"]
    assert result["choices"][0]["message"]["content"] == "Hello" == said(ws, 1)
    assert result["usage"]["total_tokens"] == 11


@pytest.mark.parametrize("message", [raw_chat(None), [raw_chat(1)]])
async def test_without_an_id_or_in_a_batch_nothing_streams(nursery, message):
    upstream = Upstream(nursery)
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.send(message)
        answer = await ws.get()
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer["error"]["code"] == -32600
    assert upstream.connections == 0


# -- how it can fail -----------------------------------------------------------------------------------------

FATES = {
    "an error in the stream": ([chunked(sse(error("gone wrong"), DONE)) + LAST], -32000, "gone wrong"),
    "an error with a status": ([chunked(sse(error("full", code="rate_limit_exceeded"))) + LAST], -32005, "full"),
    "it breaks": ([RESET], -32000, ""),
    "it ends too early": ([LAST, CLOSE], -32000, ""),
    "it falls silent": ([100.0], -32007, "idle"),
}


@pytest.mark.parametrize(("fate", "code", "words"), FATES.values(), ids=FATES)
async def test_c24_an_error_in_mid_stream_is_the_response(nursery, autojump_clock, fate, code, words):
    rig = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, *fate]))
    async with opened(rig) as ws:
        await ws.chat("x", stream=True)
        answer = await ws.answer()
        await ws.call("y", "ping")
        assert (await ws.get())["id"] == "y"  # and nothing comes after it
    failure = answer["error"]
    assert (answer["id"], failure["code"]) == ("x", code)
    assert words in failure["data"]["error"]["message"]
    assert failure["data"]["partial"]["choices"][0] | {"logprobs": None} == {
        "index": 0,
        "message": {"role": "assistant", "content": "Hel", "refusal": None},
        "logprobs": None,
        "finish_reason": None,
    }
    assert said(ws, "x") == "Hel"
    assert not any("error" in params["chunk"] for params in chunks(ws, "x"))


async def test_a_failure_before_the_first_delta_tries_the_next_upstream(nursery):
    other = Upstream(nursery, HELLO)
    toml = '[routes.safe]\nproviders = ["up", "other"]\n'
    rig = Rig(nursery, Upstream(nursery, [reply(error(), 500)]), toml, other=other)
    async with opened(rig) as ws:
        await ws.chat(1, stream=True, model="safe/tiny")
        assert (await ws.answer())["result"]["choices"][0]["message"]["content"] == "Hello"
    assert rig.gateway.ledger.failures == {("up", "failed"): 1}


async def test_a_keep_alive_neither_shows_nor_commits(nursery, autojump_clock):
    other = Upstream(nursery, HELLO)
    toml = '[routes.safe]\nproviders = ["up", "other"]\n[timeouts]\nkeepalive = 1\n'
    rig = Rig(nursery, Upstream(nursery, [10.0, reply(error(), 500)]), toml, other=other)
    async with opened(rig, headers={"x-penstock-timeouts": "first_event=60"}) as ws:
        await ws.chat(1, stream=True, model="safe/tiny")
        assert (await ws.answer())["result"]["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("size", [300, 40_000])
async def test_an_answer_over_the_limit_ends_in_an_error(nursery, size):
    upstream = Upstream(nursery, [STREAM, chunked(sse(role())), forever(chunked(sse(text("x" * size))))])
    rig = Rig(nursery, upstream, "[limits]\nmessage_bytes = 100000\n")
    async with opened(rig, capacity=1 << 22) as ws:
        await ws.chat(1, stream=True)
        failure = (await ws.answer())["error"]
        assert (failure["code"], "100000 bytes" in failure["data"]["error"]["message"]) == (-32000, True)
        await upstream.all_closed()
        await ws.call(2, "ping")
        assert (await ws.answer())["id"] == 2


async def test_an_answer_that_outgrows_the_limit_with_its_last_piece(nursery):
    whole = chunked(sse(role(), text("x" * 3000), text("y" * 3000), finish(), DONE)) + LAST
    rig = Rig(nursery, Upstream(nursery, [STREAM, whole]), "[limits]\nmessage_bytes = 5000\n")
    async with opened(rig) as ws:
        await ws.chat(1, stream=True)
        assert "5000 bytes" in (await ws.answer())["error"]["message"]


# -- many at once --------------------------------------------------------------------------------------------


async def test_many_at_once_answered_in_the_order_of_their_completion(nursery, autojump_clock):
    def slow(seconds):
        return [STREAM, BEGUN, float(seconds), REST]

    rig = Rig(nursery, Upstream(nursery, slow(9), slow(3), slow(6)))
    async with opened(rig) as ws:
        for id in ("nine", "three", "six"):
            await ws.chat(id, stream=True)
            await settled()
        await ws.call("quick", "ping")
        order = [(await ws.answer())["id"] for _ in range(4)]
    assert order == ["quick", "three", "six", "nine"]
    assert {said(ws, id) for id in ("nine", "three", "six")} == {"Hello"}


async def test_no_delta_comes_after_its_response(nursery):
    rig = Rig(nursery, Upstream(nursery, always=HELLO))
    async with opened(rig) as ws:
        for id in range(30):
            await ws.chat(id, stream=True)
        for _ in range(30):
            await ws.answer()
    over = set()
    for message in ws.got:
        if "method" in message:
            assert message["params"]["requestId"] not in over
        else:
            over.add(message["id"])
    assert over == set(range(30))
    assert all(said(ws, id) == "Hello" for id in over)


@pytest.mark.parametrize("form", ["JSON-RPC", "plain"])
@pytest.mark.parametrize("model", ["up/tiny", "tiny"])  # the latter has to be looked up first
async def test_requests_of_one_session_are_served_in_the_order_of_their_coming(nursery, model, form):
    upstream = Upstream(nursery, always=[reply(RESULT)])
    raw = await raw_opened(Rig(nursery, upstream))
    for id in range(8):
        if form == "plain":
            message = {"type": "chat", "id": id, "prompt": str(id), "model": model, "session_id": "s", "stream": False}
        else:
            message = raw_chat(id, stream=False, model=model, sessionId="s")
        await raw.send(frame(json.dumps(message)))
    assert [(await raw.said())["id"] for _ in range(8)] == list(range(8))


async def test_one_that_waits_for_its_turn_can_be_cancelled(nursery):
    on = trio.Event()
    rig = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, on, REST], HELLO))
    async with opened(rig) as ws:
        for id in range(3):
            await ws.chat(id, stream=True, sessionId="s")
        await ws.call(3, "ping")
        assert (await ws.answer())["id"] == 3  # which waits for nobody
        await ws.notify("$/cancelRequest", {"id": 1})
        answer = await ws.answer()
        assert (answer["id"], answer["error"]["code"]) == (1, -32800)
        on.set()
        assert [(await ws.answer())["id"] for _ in range(2)] == [0, 2]


async def test_the_same_id_while_it_is_in_flight_and_after(nursery):
    on = trio.Event()
    rig = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, on, REST], always=HELLO))
    async with opened(rig) as ws:
        await ws.chat(1, stream=True)
        await settled()
        await ws.chat(1, stream=True)
        await ws.chat("1", stream=True)  # another id
        first, second = await ws.answer(), await ws.answer()
        assert (first["id"], first["error"]["code"]) == (1, -32600)
        assert second["id"] == "1"
        on.set()
        assert "result" in await ws.answer(1)
        await ws.chat(1, stream=True)
        assert "result" in await ws.answer(1)


async def test_too_many_at_once(nursery):
    on = trio.Event()
    rig = Rig(nursery, Upstream(nursery, always=[STREAM, BEGUN, on, REST]), "[limits]\nwebsocket_requests = 2\n")
    async with opened(rig) as ws, opened(rig) as another:
        for id in range(3):
            await ws.chat(id, stream=True)
        answer = await ws.answer()
        assert (answer["id"], answer["error"]["code"], answer["error"]["data"]["http_status"]) == (2, -32008, 503)
        assert answer["error"]["data"]["retry_after_ms"] == 1000
        await another.chat(5, stream=True)  # it is a limit of the socket
        on.set()
        assert "result" in await another.answer(5)
        assert {(await ws.answer())["id"] for _ in range(2)} == {0, 1}
        await ws.chat(9, stream=True)
        assert "result" in await ws.answer(9)


async def test_the_gateways_own_limit_of_requests(nursery):
    on = trio.Event()
    rig = Rig(nursery, Upstream(nursery, always=[STREAM, BEGUN, on, REST]), "[limits]\nrequests = 1\n")
    async with opened(rig) as ws:
        await ws.chat(1, stream=True)
        await settled()
        await ws.chat(2, stream=True)
        assert (await ws.answer(2))["error"]["code"] == -32008
        on.set()
        await ws.answer(1)
    await settled()
    assert rig.gateway.admitted == 0


# -- cancelling ----------------------------------------------------------------------------------------------

CANCELS = {
    "cancel": lambda id: {"jsonrpc": "2.0", "id": "c", "method": "cancel", "params": {"requestId": id, "reason": "no"}},
    "cancel, as a notification": lambda id: {"jsonrpc": "2.0", "method": "cancel", "params": {"requestId": id}},
    "LSP": lambda id: {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}},
    "MCP": lambda id: {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}},
    "in a batch": lambda id: [{"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}}],
}


@pytest.mark.parametrize("cancel", CANCELS.values(), ids=CANCELS)
@pytest.mark.parametrize("script", [[], [STREAM], [STREAM, BEGUN]], ids=["asked", "head", "begun"])
async def test_a_cancelled_stream_is_answered_and_its_upstream_closed_at_once(nursery, autojump_clock, script, cancel):
    upstream = Upstream(nursery, [*script, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    async with opened(rig) as ws:
        await ws.chat("x", stream=True)
        asked = await upstream.request()
        await settled()
        began = trio.current_time()
        await ws.send(cancel("x"))
        answer = await ws.answer("x")
        await asked.closed.wait()
        assert asked.closed_at == trio.current_time() == began
        failure = answer["error"]
        assert (failure["code"], failure["message"]) == (-32800, "Request cancelled")
        if len(script) > 1:
            partial = failure["data"]["partial"]
            assert (partial["object"], partial["choices"][0]["finish_reason"]) == ("chat.completion", None)
            assert partial["choices"][0]["message"]["content"] == "Hel" == said(ws, "x")
        else:
            assert "partial" not in failure["data"]
        await ws.send(cancel("x"))  # too late
        await ws.call("after", "ping")
        assert (await ws.answer("after"))["result"] == {}
        assert [m for m in ws.got if m.get("id") == "x"] == [answer]
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert not rig.gateway.ledger.failures


async def test_cancel_says_whether_there_was_something_to_cancel(nursery):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE], HELLO)
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.chat(1, stream=True)
        await upstream.request()
        for id, requested, cancelled in [("a", "1", False), ("b", 1, True), ("c", 1, False), ("d", [1], False)]:
            await ws.call(id, "cancel", {"requestId": requested})
            assert (await ws.answer(id))["result"] == {"cancelled": cancelled}
        await ws.chat(2, stream=True)
        await ws.answer(2)
        await ws.call("e", "cancel", {"requestId": 2})
        assert (await ws.answer("e"))["result"] == {"cancelled": False}
        await ws.call("f", "cancel", {})
        assert (await ws.answer("f"))["error"]["code"] == -32602


async def test_one_is_cancelled_and_the_others_go_on(nursery):
    on = trio.Event()
    upstream = Upstream(nursery, [STREAM, BEGUN, on, REST], [STREAM, BEGUN, EXPECT_CLOSE], [STREAM, BEGUN, on, REST])
    async with opened(Rig(nursery, upstream)) as ws:
        for id in range(3):
            await ws.chat(id, stream=True)
            await settled()
        await ws.notify("$/cancelRequest", {"id": 1})
        assert (await ws.answer())["id"] == 1
        on.set()
        assert {(await ws.answer())["id"] for _ in range(2)} == {0, 2}
        assert said(ws, 0) == said(ws, 2) == "Hello"


async def test_what_does_not_stream_can_be_cancelled_too(nursery, autojump_clock):
    upstream = Upstream(nursery, [EXPECT_CLOSE])
    async with opened(Rig(nursery, upstream)) as ws:
        batch = [{**raw_chat(1, stream=False)}, {"jsonrpc": "2.0", "id": 2, "method": "ping"}]
        await ws.send(batch)
        await upstream.request()
        await ws.notify("$/cancelRequest", {"id": 1})
        first, second = await ws.get()
        assert (first["id"], first["error"]["code"], second["result"]) == (1, -32800, {})
        await upstream.all_closed()


async def test_a_method_that_is_no_exchange_can_be_cancelled(nursery, autojump_clock):
    upstream = Upstream(nursery, [EXPECT_CLOSE], models=None)
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.call(1, "models.list")
        await upstream.request()
        await ws.notify("$/cancelRequest", {"id": 1})
        assert (await ws.answer(1))["error"]["code"] == -32800


async def test_c06_a_refusal_that_crosses_a_cancellation_says_nothing_more(nursery, autojump_clock, monkeypatch):
    upstream = Upstream(nursery, [EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    async with opened(rig) as ws:
        await ws.chat(1, stream=True)
        await upstream.request()
        (asked,) = next(iter(rig.gateway.sockets)).asked
        await ws.notify("$/cancelRequest", {"id": 1})
        assert (await ws.answer(1))["error"]["code"] == -32800
        await asked.reply.send(500, [], b"{}")
        await asked.reply.write(b"data: {}\n\n")
        await asked.reply.end(b"data: {}\n\n")
        await ws.call(2, "ping")
        assert (await ws.get())["id"] == 2


async def test_a_cancelled_request_is_not_read_on_where_one_whose_client_left_would_be(nursery, autojump_clock):
    toml = '[limits]\nwebsocket_requests = 1\n[providers.up]\npreset = "openai"\non_client_gone = "drain"\n'
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE], [reply(answers.completion())])
    rig = Rig(nursery, upstream, toml)
    async with opened(rig) as ws:
        await ws.chat(1, stream=True)
        await upstream.request()
        await settled()
        began = trio.current_time()
        await ws.notify("$/cancelRequest", {"id": 1})
        assert (await ws.answer(1))["error"]["code"] == -32800
        await upstream.all_closed()
        await settled()
        assert trio.current_time() == began
        assert rig.gateway.ledger.endings == {"client_gone": 1}
        await ws.chat(2)  # and its place is free
        assert "result" in await ws.answer(2)


async def test_a_bug_in_the_words_is_an_answer_too(nursery, monkeypatch, caplog):
    def broken(*args, **more):
        raise RuntimeError("a bug")

    upstream = Upstream(nursery, stream(role(), text("Hi"), finish(), DONE), [STREAM, BEGUN, EXPECT_CLOSE])
    async with opened(Rig(nursery, upstream)) as ws:
        monkeypatch.setattr(Gathered, "result", broken)
        await ws.chat(1, stream=True)
        assert (await ws.answer(1))["error"]["code"] == -32603
        monkeypatch.setattr(Gathered, "so_far", broken)
        await ws.chat(2, stream=True)
        await ws.get()
        await ws.notify("$/cancelRequest", {"id": 2})
        assert (await ws.answer(2))["error"]["code"] == -32603
    assert caplog.text.count("RuntimeError: a bug") == 2


# -- leaving -------------------------------------------------------------------------------------------------

SCRIPTS = {
    "nothing was sent": [],
    "the head was sent": [STREAM],
    "between two tokens": [STREAM, BEGUN],
    "within an event": [STREAM, BEGUN, chunked(b'data: {"id":"chatcmpl-1","cho')],
}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("leave", ["close", "reset", "end_sending", "a Close frame"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_c04_leaving_a_websocket_closes_every_upstream_at_once(nursery, autojump_clock, script, leave, streamed):
    upstream, other = Upstream(nursery, always=[*script, EXPECT_CLOSE]), Upstream(nursery)
    rig = Rig(nursery, upstream, '[routes.safe]\nproviders = ["up", "other"]\n', other=other)
    async with opened(rig) as ws:
        for id in range(5):
            await ws.chat(id, stream=streamed, model="safe/tiny")
        await upstream.request(4)
        await settled()
        left = trio.current_time()
        if leave == "a Close frame":
            ws.got.clear()
            nursery.start_soon(ws.connection.aclose)
        else:
            ws.stream.receive_now()
            getattr(ws.stream, leave)()
        await upstream.all_closed()
        await settled()
    assert {asked.closed_at for asked in upstream.requests} == {left} == {trio.current_time()}
    assert other.connections == 0
    ledger = rig.gateway.ledger
    assert (ledger.endings, ledger.failures, ledger.in_flight) == ({"client_gone": 5}, {}, 0)
    assert (rig.gateway.exchanges, rig.gateway.sockets, rig.gateway.admitted) == (set(), set(), 0)


@pytest.mark.parametrize("leave", ["FIN", "RST"])
async def test_c04_the_same_over_sockets(nursery, leave):
    upstream = await scripted.listen(nursery, always=[STREAM, BEGUN, EXPECT_CLOSE])
    rig = Rig(nursery, Connector(Origin.parse(upstream.url)))
    (listener,) = open_sockets("127.0.0.1", 0)
    with listener:
        nursery.start_soon(accept_loop, rig.gateway, listener, None, nursery)
        with socket.create_connection(listener.getsockname()) as sock:
            client = Client(SocketStream(sock))
            await client.request("GET", "/v1/chat/ws", HANDSHAKE)
            assert (await head_of(client))[0] == 101
            raw = Raw(client.stream)
            for id in range(3):
                await raw.send(frame(json.dumps(raw_chat(id))))
            for _ in range(6):  # the role and a text of each
                assert (await raw.said())["method"] == "chat.completions.chunk"
            if leave == "RST":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with trio.fail_after(1):
            await upstream.all_closed()
        while rig.gateway.connections:
            await trio.lowlevel.checkpoint()
        assert rig.gateway.ledger.endings == {"client_gone": 3}
        nursery.cancel_scope.cancel()


async def test_c04_leaving_while_the_gateway_waits_to_write(nursery, autojump_clock):
    upstream = Upstream(nursery, always=[STREAM, BEGUN, forever(chunked(sse(text("x" * 1000))))])
    rig = Rig(nursery, upstream)
    raw = await raw_opened(rig, capacity=2000)
    for id in range(3):
        await raw.send(frame(json.dumps(raw_chat(id))))
    await upstream.request(2)
    await settled()
    before, left = [asked.sent for asked in upstream.requests], trio.current_time()
    raw.stream.close()
    await upstream.all_closed()
    await settled()
    assert trio.current_time() == left
    assert [asked.sent for asked in upstream.requests] == before
    assert rig.gateway.ledger.endings == {"client_gone": 3}
