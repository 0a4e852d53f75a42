"""Bodies of megabytes are read, translated and written in threads, so that other streams go on; small ones are not."""

from __future__ import annotations

import json
import threading
from types import MappingProxyType

import pytest
import trio

from answers import completion, reply
from penstock.server import aside
from rig import Rig, settled
from scripted import Upstream

LONG = 10_000_000
CHATS = '[providers.up]\npreset = "openai"\nspeaks = ["openai", "embeddings"]\n'
SESSION = {"x-session-id": "s"}


def body(size, kind):
    """A request of about so many bytes, in many pieces as they are slow to read."""
    said = [{"role": "user", "content": "x" * 1000}] * max(size // 1040, 1)
    return json.dumps({"model": "up/tiny", "max_tokens": 5, **_OF[kind](said)}).encode()


_OF = {
    "messages": lambda said: {"messages": said},
    "input": lambda said: {"input": said},
    "embeddings": lambda said: {"input": [one["content"] for one in said]},
    "prompt": lambda said: {"prompt": said[0]["content"], "context": said},
}
DOORS = {
    "a session": ("/v1/chat/completions", "messages", SESSION, ["take_turn", "request"]),
    "another dialect": ("/v1/messages", "messages", {}, ["request"]),
    "another form": ("/v1/chat/completions", "input", {}, ["_with_messages", "request"]),
    "what is stored": ("/v1/responses", "input", {}, ["value", "request"]),
    "the simple form": ("/v1/chat", "prompt", {}, ["decode", "dumps", "request"]),
    "embeddings": ("/api/embed", "embeddings", {}, ["request"]),
}


@pytest.fixture
async def rig(nursery, tmp_path):
    upstream = Upstream(nursery, always=[reply({**completion("ok"), "data": [{"index": 0, "embedding": [1]}]})])
    return await Rig.stored(nursery, tmp_path / "store.db", upstream, CHATS)


@pytest.fixture
def aside_jobs(monkeypatch):
    """The names of what was done in threads, and that it was."""
    done = []
    real = aside.in_thread

    async def watched(job, *args):
        def noted(*args):
            assert threading.current_thread() is not threading.main_thread()
            done.append(job.__name__)
            return job(*args)

        return await real(noted, *args)

    monkeypatch.setattr(aside, "in_thread", watched)
    return done


async def post(rig, path, raw, headers=MappingProxyType({})):
    client = rig.connect(capacity=1 << 26)
    await client.request("POST", path, {"content-type": "application/json", **headers}, raw)
    answer = await client.answer()
    client.leave()
    return answer


@pytest.mark.parametrize("door", DOORS)
async def test_ten_megabytes_are_read_beside_the_loop(rig, aside_jobs, door):
    path, kind, headers, jobs = DOORS[door]
    answer = await post(rig, path, body(LONG, kind), headers)
    assert answer.status == 200, answer.body
    assert aside_jobs == jobs


@pytest.mark.parametrize("door", DOORS)
async def test_small_bodies_go_to_no_thread(rig, aside_jobs, door):
    path, kind, headers, _ = DOORS[door]
    assert (await post(rig, path, body(1000, kind), headers)).status == 200
    assert aside_jobs == []


async def test_a_short_word_in_a_long_conversation(rig, aside_jobs):
    assert (await post(rig, "/v1/chat/completions", body(2_000_000, "messages"), SESSION)).status == 200
    aside_jobs.clear()
    assert (await post(rig, "/v1/chat/completions", body(100, "messages"), SESSION)).status == 200
    assert aside_jobs[0] == "take_turn"


async def test_a_client_that_leaves_meanwhile_is_asked_for_nobody(rig, monkeypatch):
    begun, go_on = trio.Event(), trio.Event()

    async def slow(job, *args):
        begun.set()
        await go_on.wait()
        return job(*args)

    monkeypatch.setattr(aside, "in_thread", slow)
    client = rig.connect(capacity=1 << 26)
    await client.request("POST", "/v1/messages", {"content-type": "application/json"}, body(100_000, "messages"))
    await begun.wait()
    client.leave()
    await settled()
    go_on.set()
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert rig.upstreams["up"].requests == []


async def test_the_loop_goes_on_meanwhile(nursery):
    """Without a stopwatch: a job that waits for the loop comes to its end."""
    heard = threading.Event()

    def job():
        assert heard.wait(30)
        return "done"

    async def speak():
        heard.set()

    nursery.start_soon(speak)
    assert await aside.run(aside.SMALL + 1, job) == "done"
