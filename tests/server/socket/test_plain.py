"""The plain form: chat, history, cancel and ping, for clients that want no more than text."""

import json

import pytest
import trio

import answers
from answers import DONE, STREAM, chunked, error, finish, reasoning, reply, role, sse, stream, text, tool, usage
from rig import Rig
from scripted import EXPECT_CLOSE, Upstream
from sockets import opened

HELLO = stream(role(), text("Hel"), text("lo"), finish(), usage(), DONE)
BEGUN = chunked(sse(role(), text("Hel")))
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
FINAL = {"type": "chat", "text": "Hello", "done": True, "finish_reason": "stop", "model": "tiny", "usage": USAGE}


async def told(nursery, message, *scripts, toml="", upstream=None):
    """All that one message is answered, up to the end of it, and the upstream."""
    upstream = upstream or Upstream(nursery, *scripts)
    async with opened(Rig(nursery, upstream, toml)) as ws:
        await ws.send(message)
        while (await ws.get())["type"] == "delta":
            pass
        await ws.send({"type": "ping", "id": "last"})
        assert await ws.get() == {"type": "pong", "id": "last"}  # nothing came after it
    return ws.got[:-1], upstream


@pytest.mark.parametrize("id", [None, 5, "x"])
async def test_a_chat_is_deltas_and_then_the_whole(nursery, id):
    common = {} if id is None else {"id": id}
    found, upstream = await told(nursery, {"type": "chat", "prompt": "Hi", "model": "up/tiny", **common}, HELLO)
    assert found == [
        {"type": "delta", **common, "text": "Hel"},
        {"type": "delta", **common, "text": "lo"},
        {**FINAL, **common},
    ]
    sent = upstream.requests[0].json
    assert sent["messages"] == [{"role": "user", "content": "Hi"}]
    assert not {"type", "id", "prompt", "session_id"} & sent.keys()


async def test_a_chat_in_one_piece(nursery):
    message = {"type": "chat", "message": "Hi", "model": "up/tiny", "stream": False, "temperature": 0}
    found, upstream = await told(nursery, message, [reply(answers.completion())])
    assert found == [FINAL]
    assert upstream.requests[0].json["temperature"] == 0


FORMS = [
    ({"prompt": "Hi"}, [{"role": "user", "content": "Hi"}]),
    ({"message": "Hi"}, [{"role": "user", "content": "Hi"}]),
    ({"prompt": "Hi", "context": "Be kind."}, [("system", "Be kind."), ("user", "Hi")]),
    (
        {"messages": [{"role": "user", "content": "A"}, {"role": "user", "content": "B"}]},
        [("user", "A"), ("user", "B")],
    ),
]


@pytest.mark.parametrize(("form", "messages"), FORMS)
async def test_the_forms_of_a_prompt(nursery, form, messages):
    _, upstream = await told(nursery, {"type": "chat", "model": "up/tiny", **form}, HELLO)
    expected = [m if isinstance(m, dict) else {"role": m[0], "content": m[1]} for m in messages]
    assert upstream.requests[0].json["messages"] == expected


async def test_reasoning_and_tool_calls(nursery):
    call = tool(0, '{"a":1}', id="call_1", name="f")
    script = stream(role(), reasoning("hm"), text("x"), call, finish("tool_calls"), DONE)
    found, _ = await told(nursery, {"type": "chat", "prompt": "Hi", "model": "up/tiny"}, script)
    assert found[:2] == [{"type": "delta", "reasoning": "hm"}, {"type": "delta", "text": "x"}]
    assert (found[2]["reasoning"], found[2]["finish_reason"]) == ("hm", "tool_calls")
    assert found[2]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}


async def test_further_choices_say_which_they_are(nursery):
    script = stream(role(), text("a"), role(1), text("b", 1), finish(), finish(index=1), DONE)
    found, _ = await told(nursery, {"type": "chat", "prompt": "Hi", "model": "up/tiny", "n": 2}, script)
    assert found[:2] == [{"type": "delta", "text": "a"}, {"type": "delta", "text": "b", "index": 1}]
    assert found[2]["text"] == "a"


async def test_without_a_model_it_is_the_one_called_default(nursery):
    toml = '[aliases]\ndefault = "up/tiny"\n'
    found, _ = await told(nursery, {"type": "chat", "prompt": "Hi"}, HELLO, toml=toml)
    assert found[-1] == FINAL


WRONG = {
    "no prompt": ({"type": "chat", "model": "up/tiny"}, 400, "missing_required_parameter"),
    "an empty prompt": ({"type": "chat", "prompt": "", "model": "up/tiny"}, 400, "missing_required_parameter"),
    "no text": ({"type": "chat", "prompt": 5, "model": "up/tiny"}, 400, "missing_required_parameter"),
    "no model": ({"type": "chat", "prompt": "Hi"}, 400, "missing_required_parameter"),
    "an unknown model": ({"type": "chat", "prompt": "Hi", "model": "nope/x"}, 404, "model_not_found"),
    "an unknown type": ({"type": "subscribe"}, 400, "invalid_value"),
    "a type that is none": ({"type": 5}, 400, "invalid_value"),
}


@pytest.mark.parametrize(("message", "status", "code"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_an_error_with_the_id(nursery, message, status, code):
    (found,), _ = await told(nursery, {**message, "id": 3})
    assert (found["type"], found["id"], found["status"], found["error"]["code"]) == ("error", 3, status, code)
    assert found["request_id"].startswith("req_")
    if "prompt" in str(found["error"]["param"]):
        assert "Prompt is required" in found["error"]["message"]


async def test_an_upstreams_refusal(nursery):
    script = [reply(error("slow down"), 429, ("retry-after", "2"))]
    (found,), _ = await told(nursery, {"type": "chat", "prompt": "Hi", "model": "up/tiny"}, script)
    assert (found["status"], found["retry_after_ms"], found["error"]["message"]) == (429, 2000, "slow down")


async def test_c24_an_error_in_mid_stream(nursery):
    script = [STREAM, BEGUN, chunked(sse(error("gone wrong"), DONE)) + answers.LAST]
    found, _ = await told(nursery, {"type": "chat", "id": 1, "prompt": "Hi", "model": "up/tiny"}, script)
    assert found[0] == {"type": "delta", "id": 1, "text": "Hel"}
    assert (found[1]["type"], found[1]["text"], found[1]["error"]["message"]) == ("error", "Hel", "gone wrong")


async def test_ids_that_are_none_are_left_out(nursery):
    async with opened(Rig(nursery)) as ws:
        for id in (None, True, [], {}, 1.5):
            await ws.send({"type": "ping", "id": id})
            assert await ws.get() == {"type": "pong"}


async def test_many_at_once_and_one_is_cancelled(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE], HELLO)
    async with opened(Rig(nursery, upstream)) as ws:
        await ws.send({"type": "chat", "id": "a", "prompt": "Hi", "model": "up/tiny"})
        assert (await ws.get())["text"] == "Hel"
        await ws.send({"type": "chat", "id": "a", "prompt": "Hi", "model": "up/tiny"})
        assert (await ws.get())["error"]["param"] == "id"
        await ws.send({"type": "chat", "id": "b", "prompt": "Hi", "model": "up/tiny"})
        while (await ws.get())["type"] != "chat":
            pass
        began = trio.current_time()
        await ws.send({"type": "cancel", "id": "a"})
        found = await ws.get()
        assert (found["type"], found["id"], found["status"], found["text"]) == ("error", "a", 499, "Hel")
        assert found["error"]["code"] == "cancelled"
        await upstream.requests[0].closed.wait()
        assert upstream.requests[0].closed_at == began
        for id in ("a", "nope", None):  # too late, unknown, none: nothing comes of it
            await ws.send({"type": "cancel", "id": id})
        await ws.send({"type": "ping"})
        assert await ws.get() == {"type": "pong"}


async def test_both_forms_on_one_socket(nursery):
    async with opened(Rig(nursery, Upstream(nursery, HELLO, HELLO))) as ws:
        await ws.chat(1, stream=True)
        await ws.answer(1)
        await ws.send({"type": "chat", "id": 1, "prompt": "Hi", "model": "up/tiny"})
        while (await ws.get()).get("type") != "chat":
            pass
        await ws.call(2, "ping")
        assert (await ws.get())["jsonrpc"] == "2.0"


async def test_history_is_sessions_history(nursery, monkeypatch):
    from penstock.server.socket.methods import METHODS, Method

    async def history(asked):
        return {"messages": [json.loads(asked.params)], "nextCursor": None}

    monkeypatch.setitem(METHODS, "sessions.history", Method(history))
    (found,), _ = await told(nursery, {"type": "history", "id": 1, "session_id": "s", "limit": 5, "else": 1})
    assert found == {"type": "history", "id": 1, "messages": [{"sessionId": "s", "limit": 5}], "nextCursor": None}


async def test_history_where_no_sessions_are_kept(nursery, monkeypatch):
    from penstock.server.socket.methods import METHODS

    monkeypatch.delitem(METHODS, "sessions.history", raising=False)
    (found,), _ = await told(nursery, {"type": "history"})
    assert (found["status"], found["error"]["message"]) == (501, "Sessions are not kept here.")


async def test_an_answer_over_the_limit(nursery):
    script = [STREAM, chunked(sse(text("x" * 3000), text("y" * 3000)))]
    toml = "[limits]\nmessage_bytes = 5000\n"
    found, _ = await told(nursery, {"type": "chat", "prompt": "Hi", "model": "up/tiny"}, script, toml=toml)
    assert (found[-1]["type"], "5000 bytes" in found[-1]["error"]["message"]) == ("error", True)
