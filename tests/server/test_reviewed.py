"""Narrow paths that a reading of the code found: each was wrong once."""

from __future__ import annotations

import logging

import trio

import scripted
from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, stream, text
from rig import Rig, settled
from scripted import EXPECT_CLOSE, Upstream

ANSWER = stream(role(), text("Hi"), finish(), DONE)


async def test_a_keepalive_of_next_to_nothing_does_not_spin(nursery):
    """On the real clock: a loop without a checkpoint would never let this test end."""
    gate = trio.Event()
    up = Upstream(nursery, [STREAM, gate, chunked(sse(role(), text("Hi"), finish(), DONE)), LAST])
    client = Rig(nursery, up).connect()
    with trio.fail_after(20):
        await client.chat(stream=True, headers={"x-penstock-timeouts": "keepalive=0.000001"})
        assert (await client.head()).status_code == 200
        assert (await client.piece()).startswith(b":")
        gate.set()
        while await client.piece():
            pass


async def test_an_end_that_is_slow_to_be_taken_is_sent_once(nursery, autojump_clock):
    """The total passes while the last bytes wait for the client: what was said stands, with one terminator."""
    last = chunked(sse(text("x" * 3000), finish(), DONE)) + LAST
    up = Upstream(nursery, [STREAM, chunked(sse(role())), last], ANSWER)
    rig = Rig(nursery, up, toml="[timeouts]\ntotal = 5\nwrite = 60\n")
    client = rig.connect(capacity=1500)
    await client.chat(stream=True)
    await trio.sleep(6)
    assert (await client.answer()).events[-1] == DONE
    await client.chat(stream=True)  # a second terminator would stand before this answer
    assert (await client.answer()).text == "Hi"
    await settled()
    assert rig.gateway.ledger.endings == {"completed": 2}


async def test_nobody_is_asked_for_a_client_that_left_behind_its_request(nursery, autojump_clock):
    up = Upstream(nursery, [EXPECT_CLOSE], always=ANSWER)
    rig = Rig(nursery, up)
    client = rig.connect()
    await client.chat(stream=True)
    client.leave()
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert not rig.gateway.ledger.failures


async def test_what_one_upstream_said_is_not_told_of_the_next(nursery, autojump_clock):
    first = Upstream(nursery, [reply({"error": {"message": "a"}}, 500, ("retry-after", "60"), ("x-ratelimit-a", "1"))])
    rig = Rig(
        nursery, first, toml="[routes.r]\nproviders = ['up', 'other']\n[providers.other]\nparallel = 1\n", other=first
    )
    other = rig.gateway.catalog.providers["other"]
    assert other.slots.try_acquire()
    answer = await rig.ask(model="r/tiny")
    assert answer.status == 500  # the busy one could not be asked, so the first one's word is told
    assert answer.error["message"] == "a"


async def test_a_whole_answer_that_breaks_off_is_not_paid_twice(nursery, autojump_clock):
    head, _, body = reply(completion("Hello")).partition(b"\r\n\r\n")
    up = Upstream(nursery, [head + b"\r\n\r\n" + body[:20], scripted.RESET])
    answer = await Rig(nursery, up).ask()
    assert (answer.status, answer.headers["x-should-retry"]) == (502, "false")


async def test_a_503_says_when_to_come_back(nursery, autojump_clock):
    up = Upstream(nursery, [reply({"error": {"message": "full"}}, 503)])
    answer = await Rig(nursery, up).ask()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_the_log_line_names_the_client_behind_a_trusted_proxy_and_its_key(nursery, autojump_clock, caplog):
    caplog.set_level(logging.INFO, "penstock.requests")
    toml = '[server]\ntrusted_proxies = ["127.0.0.1"]\n[[keys]]\nname = "ci"\nkey = { env = "CI" }\n'
    rig = Rig(nursery, Upstream(nursery, ANSWER), toml=toml, environ={"CI": "sk-ci-secret"})
    headers = {"x-forwarded-for": "10.1.2.3", "authorization": "Bearer sk-ci-secret"}
    assert (await rig.ask(stream=True, headers=headers)).status == 200
    await settled()
    assert "peer=10.1.2.3 key='ci'" in caplog.records[-1].getMessage()
    assert "sk-ci-secret" not in caplog.text
