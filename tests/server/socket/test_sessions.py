"""Sessions on a socket: the methods, and what was said before, also over HTTP and after a restart."""

from __future__ import annotations

import pytest
import trio

from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, text
from rig import Rig
from scripted import Upstream
from sockets import opened

REMEMBER = "Remember: my favourite colour is blue"
ASK = "What is my favourite colour?"


async def remembers(exchange):
    """An upstream that knows a colour only if it is told of it."""
    messages = exchange.json["messages"]
    words = "It is blue." if any("blue" in str(message["content"]) for message in messages[:-1]) else "Noted."
    if exchange.json.get("stream"):
        await exchange.send(STREAM + chunked(sse(role(), text(words), finish(), DONE)) + LAST)
    else:
        await exchange.send(reply(completion(words)))


@pytest.fixture
def upstream(nursery):
    return Upstream(nursery, always=[remembers])


def said(response):
    return response["result"]["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_said_is_remembered(nursery, upstream, stream):
    rig = Rig(nursery, upstream)
    async with opened(rig) as ws:
        await ws.chat(1, REMEMBER, sessionId="s", stream=stream)
        assert said(await ws.answer(1)) == "Noted."
        await ws.chat(2, ASK, sessionId="s", stream=stream)
        assert said(await ws.answer(2)) == "It is blue."
        await ws.chat(3, ASK, stream=stream)
        assert said(await ws.answer(3)) == "Noted."
    assert "sessionId" not in upstream.requests[0].json
    over_http = await rig.ask(ASK, {"x-session-id": "s"})
    assert over_http.json["choices"][0]["message"]["content"] == "It is blue."


async def test_requests_that_come_at_once_are_answered_in_their_order(nursery, upstream):
    async with opened(Rig(nursery, upstream)) as ws:
        for number, words in enumerate([REMEMBER, ASK, ASK]):
            await ws.chat(number, words, sessionId="s")
        found = [await ws.get() for _ in range(3)]
    assert [(message["id"], said(message)) for message in found] == [
        (0, "Noted."),
        (1, "It is blue."),
        (2, "It is blue."),
    ]


async def test_the_plain_form_remembers_too(nursery, upstream):
    async with opened(Rig(nursery, upstream)) as ws:
        for words in (REMEMBER, ASK):
            message = {"type": "chat", "prompt": words, "session_id": "s", "model": "up/tiny", "stream": False}
            await ws.send(message)
            found = await ws.get()
        assert found["text"] == "It is blue."
        await ws.send({"type": "history", "session_id": "s"})
        history = (await ws.get())["messages"]
    assert [message["content"] for message in history] == [REMEMBER, "Noted.", ASK, "It is blue."]


async def test_after_a_restart(nursery, upstream, tmp_path):
    async with trio.open_nursery() as first:
        rig = await Rig.stored(first, tmp_path / "store.db", upstream)
        async with opened(rig) as ws:
            await ws.chat(1, REMEMBER, sessionId="s")
            await ws.answer(1)
        await rig.gateway.store.aclose()
        first.cancel_scope.cancel()
    async with opened(await Rig.stored(nursery, tmp_path / "store.db", upstream)) as ws:
        await ws.chat(1, ASK, sessionId="s")
        assert said(await ws.answer(1)) == "It is blue."


async def test_made_listed_read_and_deleted(nursery, upstream):
    async with opened(Rig(nursery, upstream)) as ws:

        async def call(method, params):
            await ws.call(method, f"sessions.{method}", params)
            return (await ws.answer(method))["result"]

        made = await call("create", {"title": "Colours", "model": "up/tiny", "metadata": {"a": "b"}})
        assert made.keys() == {"sessionId", "createdAt"}
        session = made["sessionId"]
        await ws.chat(1, REMEMBER, sessionId=session)
        await ws.answer(1)
        (listed,) = (await call("list", {}))["sessions"]
        assert listed == {
            "sessionId": session,
            "title": "Colours",
            "messageCount": 2,
            "createdAt": made["createdAt"],
            "updatedAt": listed["updatedAt"],
            "model": "up/tiny",
            "metadata": {"a": "b"},
        }
        page = await call("history", {"sessionId": session, "limit": 1})
        assert page == {"messages": [{"role": "assistant", "content": "Noted."}], "nextCursor": "1"}
        rest = await call("history", {"sessionId": session, "limit": 1, "cursor": "1"})
        assert rest == {"messages": [{"role": "user", "content": REMEMBER}]}
        assert await call("delete", {"sessionId": session}) == {"deleted": True}
        assert await call("list", {"limit": 5}) == {"sessions": []}
        await ws.call("gone", "sessions.history", {"sessionId": session})
        error = (await ws.answer("gone"))["error"]
        assert error["data"]["error"]["code"] == "session_not_found"
        await ws.call("bad", "sessions.history", {})
        assert (await ws.answer("bad"))["error"]["code"] == -32602
