"""What is too long to be looked at in one go, or to be repeated: ids, values that decide something, messages that come
before any key, and floods of frames that complete nothing."""

import json
import zlib

import pytest
import trio

from answers import LAST, STREAM, chunked, role, sse, text
from penstock.protocol import jsonrpc
from penstock.server.socket import small
from penstock.server.socket.deflate import Inflate
from rig import Rig, settled
from scripted import Upstream
from sockets import frame, opened, raw_opened

KEYS = '[[keys]]\nname = "one"\nkey = { env = "ONE" }\n'
CHAT = {"model": "up/tiny", "messages": [{"role": "user", "content": "Hi"}]}
BRACKETS = "[" + "[]," * 50_000 + "[]]"
JUST = "i" * (small.ID_BYTES - 2)


def call(method, params=None, id=1):
    return {"jsonrpc": "2.0", "id": id, "method": method} | ({} if params is None else {"params": params})


async def told(nursery, message, **more):
    """The first answer to a message, on a socket that goes on after it."""
    async with opened(Rig(nursery, **more)) as ws:
        await ws.send(message)
        answer = await ws.get()
        await ws.call(9, "ping")
        assert (await ws.answer(9))["result"] == {}
        return answer


# -- ids -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [JUST + "i", 10**small.ID_BYTES])
async def test_a_long_id_is_refused_and_not_repeated(nursery, id):
    answer = await told(nursery, call("ping", id=id))
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    answer = await told(nursery, {"type": "ping", "id": id})
    assert "id" not in answer
    assert (answer["status"], answer["error"]["param"]) == (400, "id")


async def test_a_long_id_in_a_batch(nursery):
    long, good = await told(nursery, [call("ping", id=JUST + "i"), call("ping", id=JUST)])
    assert (long["error"]["code"], good["result"]) == (-32600, {})


async def test_ids_and_tokens_of_just_the_limit(nursery):
    upstream = Upstream(nursery, [STREAM, chunked(sse(role(), text("Hi"))), LAST])
    async with opened(Rig(nursery, upstream)) as ws:
        params = {**CHAT, "stream": True, "_meta": {"progressToken": JUST}}
        await ws.send(call("chat.completions.create", params, JUST))
        assert (await ws.get())["params"] | {"chunk": 0} == {
            "requestId": JUST,
            "progressToken": JUST,
            "seq": 0,
            "chunk": 0,
        }
        await ws.send({"type": "ping", "id": JUST})
        await ws.answer(JUST)


async def test_a_long_progress_token(nursery):
    params = {**CHAT, "stream": True, "_meta": {"progressToken": JUST + "i"}}
    answer = await told(nursery, call("chat.completions.create", params))
    assert (answer["id"], answer["error"]["code"]) == (1, -32600)


# -- values --------------------------------------------------------------------------------------------------

LONG = "x" * (small.VALUE_BYTES + 1)
VALUES = {
    "method": (call(LONG), -32600),
    "version": ({**call("ping"), "jsonrpc": LONG}, -32600),
    "_meta": (call("chat.completions.create", {**CHAT, "_meta": {"x": LONG}}), -32602),
    "stream": (call("chat.completions.create", {**CHAT, "stream": LONG}), -32602),
    "sessionId": (call("chat.completions.create", {**CHAT, "sessionId": LONG}), -32602),
    "stream_options": (
        call("chat.completions.create", {**CHAT, "stream": True, "stream_options": {"x": LONG}}),
        -32602,
    ),
    "params of initialize": (call("initialize", {"x": "x" * small.PARAMS_BYTES}), -32602),
    "params of cancel": (call("cancel", {"requestId": 5, "x": "x" * small.PARAMS_BYTES}), -32602),
    "params of models.get": (call("models.get", {"id": "up/tiny", "x": "x" * small.PARAMS_BYTES}), -32602),
}


@pytest.mark.parametrize(("message", "code"), VALUES.values(), ids=VALUES)
async def test_a_long_value_is_refused(nursery, message, code):
    answer = await told(nursery, message)
    assert (answer["id"], answer["error"]["code"]) == (1, code)


@pytest.mark.parametrize("name", ["type", "session_id", "stream", "model"])
async def test_a_long_value_in_the_plain_form_is_refused(nursery, name):
    answer = await told(nursery, {"type": "chat", "id": 1, "prompt": "Hi", name: LONG})
    assert (answer["type"], answer["status"], answer["error"]["param"]) == ("error", 400, name)


async def test_a_cancellation_of_many_words_does_nothing(nursery):
    upstream = Upstream(nursery, [STREAM, chunked(sse(role())), trio.Event()])
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.chat(1, stream=True)
        await ws.get()
        await ws.notify("$/cancelRequest", {"id": 1, "x": LONG})
        await ws.call("cancel", "cancel", {"requestId": 1})
        assert (await ws.answer("cancel"))["result"] == {"cancelled": True}


@pytest.mark.parametrize("name", ["junk", "id", "method", "params", "result", "error", "jsonrpc"])
async def test_the_rules_are_shown_a_small_envelope_only(nursery, monkeypatch, name):
    shown = []
    receive = jsonrpc.Connection.receive

    def spy(self, message):
        shown.append(len(message))
        return receive(self, message)

    monkeypatch.setattr(jsonrpc.Connection, "receive", spy)
    members = {"jsonrpc": '"2.0"', "id": "1", "method": '"ping"', name: BRACKETS}
    async with opened(Rig(nursery)) as ws:
        await ws.send("{" + ",".join(f'"{key}":{value}' for key, value in members.items()) + "}")
        answer = await ws.get()
    assert ("result" in answer) == (name in ("junk", "params"))
    assert max(shown) < 100


# -- before a key --------------------------------------------------------------------------------------------


def keyed(nursery, toml=""):
    return Rig(nursery, toml=toml + KEYS, environ={"ONE": "sk-one"})


def padded(message, size):
    return json.dumps(message)[:-1] + " " * (size - len(json.dumps(message))) + "}"


def packed(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return frame((packer.compress(data.encode()) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)


@pytest.mark.parametrize("sent", [frame, packed])
async def test_before_a_key_was_shown_messages_are_small(nursery, sent):
    raw = await raw_opened(keyed(nursery), sec_websocket_extensions="permessage-deflate")
    answer = await raw.said(sent(padded(call("ping"), small.UNSHOWN_BYTES)))
    assert answer["error"]["code"] == -32002
    await raw.send(sent(padded(call("ping"), small.UNSHOWN_BYTES + 1)))
    assert (await raw.closed())[0] == 1009


@pytest.mark.parametrize("how", ["initialize", "upgrade", "no key needed"])
@pytest.mark.parametrize("sent", [frame, packed])
async def test_after_that_they_may_be_large(nursery, sent, how):
    rig = Rig(nursery) if how == "no key needed" else keyed(nursery)
    headers = {"authorization": "Bearer sk-one"} if how == "upgrade" else {}
    raw = await raw_opened(rig, capacity=1 << 20, sec_websocket_extensions="permessage-deflate", **headers)
    first = sent(json.dumps(call("initialize", {"auth": {"token": "sk-one"}}, 0))) if how == "initialize" else b""
    await raw.send(first + sent(padded(call("ping"), 4 * small.UNSHOWN_BYTES)))  # in one piece
    if first:
        assert (await raw.said())["id"] == 0
    assert (await raw.said())["result"] == {}


async def test_a_smaller_limit_stays_the_limit(nursery):
    raw = await raw_opened(keyed(nursery, "[limits]\nwebsocket_message_bytes = 1000\n"))
    await raw.send(frame("x" * 1001))
    assert (await raw.closed())[0] == 1009


async def test_keys_cannot_be_tried_in_a_batch(nursery):
    async with opened(keyed(nursery)) as ws:
        guesses = [call("initialize", {"auth": {"token": token}}, token) for token in ("sk-two", "sk-one")]
        await ws.send([*guesses, call("models.list")])
        answered = await ws.get()
        assert [answer["error"]["code"] for answer in answered] == [-32600, -32600, -32002]


# -- turns of the loop ---------------------------------------------------------------------------------------

FLOODS = {
    "pongs": frame(b"", 10) * 20_000,
    "empty fragments": frame("", fin=False) + frame(b"", 0, fin=False) * 20_000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_frames_does_not_keep_others_waiting(nursery, flood):
    raw = await raw_opened(Rig(nursery), capacity=1 << 20)
    turns = 0

    async def other():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    nursery.start_soon(other)
    ending = frame(json.dumps(call("ping")), 0 if b"\x01" in flood[:1] else 1)
    assert (await raw.said(flood + ending))["result"] == {}
    assert turns >= 20_000 / 64
    nursery.cancel_scope.cancel()


async def test_what_unpacks_to_much_is_unpacked_in_small_pieces(nursery, monkeypatch):
    pieces = []
    unpack = Inflate.frame_inbound_payload_data

    def spy(self, proto, data):
        pieces.append(len(data))
        return unpack(self, proto, data)

    monkeypatch.setattr(Inflate, "frame_inbound_payload_data", spy)
    raw = await raw_opened(Rig(nursery), sec_websocket_extensions="permessage-deflate")
    assert (await raw.said(packed(padded(call("ping"), 8_000_000))))["result"] == {}
    assert max(pieces) <= 2048


# -- what is held --------------------------------------------------------------------------------------------


def held(nursery):
    """The length of the longest bytes that any task of the nursery has in a local variable."""
    found = [0]
    for task in nursery.child_tasks:
        found += map(held, task.child_nurseries)
        coro = task.coro
        while (running := getattr(coro, "cr_frame", None)) is not None:
            found += [len(value) for value in running.f_locals.values() if isinstance(value, bytes | bytearray)]
            coro = coro.cr_await
    return max(found)


async def test_an_idle_socket_does_not_hold_its_last_message(nursery):
    raw = await raw_opened(Rig(nursery), capacity=1 << 20)
    assert "error" in await raw.said(frame(json.dumps(call("unknown", {"x": "u" * 500_000}))))
    await settled()
    assert held(nursery) < 100_000


async def test_an_open_stream_does_not_hold_its_params(nursery):
    rig = Rig(nursery, Upstream(nursery, [STREAM, chunked(sse(role())), trio.Event()]))
    async with opened(rig) as ws:
        await ws.chat(1, "u" * 100_000, stream=True)
        await ws.get()
        (asked,) = next(iter(rig.gateway.sockets)).asked
        assert asked.params == b""
