"""One record for each request that called a model, one ending in each record, and nothing kept after it."""

import random

import pytest
import trio

import answers
from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, stream, text, usage
from penstock.protocol.chat import Ending
from penstock.server.ledger import Attempt, Ledger, Record
from rig import Rig, settled
from scripted import CLOSE, EXPECT_CLOSE, RESET, Upstream

BEGUN = chunked(sse(role(), text("Hel")))
GOOD = stream(role(), text("Hello"), finish(), usage(9, 2), DONE)
ONE = '[providers.up]\npreset = "openai"\nparallel = 1\n'

# what the upstream does, whether it streams, the ending
PATHS = {
    "a stream": (GOOD, True, "completed"),
    "a stream without a marker": ([STREAM, BEGUN, chunked(sse(finish())), LAST], True, "completed"),
    "a stream without a finish reason": ([STREAM, BEGUN, chunked(sse(DONE)), LAST], True, "completed"),
    "a stream that hangs after its end": ([STREAM, BEGUN, chunked(sse(finish())), EXPECT_CLOSE], True, "completed"),
    "a reset after the end": ([STREAM, BEGUN, chunked(sse(finish())), RESET], True, "completed"),
    "a whole answer": ([reply(completion("Hello"))], False, "completed"),
    "a stream in the place of a whole answer": (GOOD, False, "completed"),
    "a whole answer in the place of a stream": ([reply(completion("Hello"))], True, "completed"),
    "an end too early": ([STREAM, BEGUN, LAST], True, "truncated"),
    "a close": ([STREAM, BEGUN, CLOSE], True, "truncated"),
    "a reset": ([STREAM, BEGUN, RESET], True, "truncated"),
    "a whole answer cut short": ([reply(completion("Hello"))[:-20], CLOSE], False, "truncated"),
    "a stream cut short in the place of a whole answer": ([STREAM, BEGUN, RESET], False, "truncated"),
    "no answer": ([CLOSE], True, "failed"),
    "an empty stream": ([STREAM, LAST], True, "failed"),
    "an error in the stream": ([STREAM, BEGUN, chunked(sse(answers.error())), LAST], True, "failed"),
    "an error as first event": ([STREAM, chunked(sse(answers.error())), LAST], True, "failed"),
    "an error status": ([reply(answers.error(), 500)], True, "failed"),
    "a refusal": ([reply(answers.error(), 400)], False, "failed"),
    "silence": ([EXPECT_CLOSE], True, "timed_out(first_event)"),
    "silence in the middle": ([STREAM, BEGUN, EXPECT_CLOSE], True, "timed_out(idle)"),
    "half a whole answer": ([reply(completion("Hello"))[:-20], EXPECT_CLOSE], False, "timed_out(answer)"),
}


def at_rest(rig):
    gateway = rig.gateway
    assert gateway.ledger.in_flight == 0
    assert not gateway.exchanges
    assert not any(provider.slots.in_use for provider in gateway.catalog.providers.values())


@pytest.mark.parametrize("path", PATHS)
async def test_each_path_has_its_one_ending(nursery, autojump_clock, caplog, path):
    script, streams, ending = PATHS[path]
    caplog.set_level("INFO", "penstock.requests")
    rig = Rig(nursery, Upstream(nursery, script, GOOD), ONE)
    client = rig.connect()
    await client.chat(stream=streams)
    await client.answer()
    await settled()
    assert rig.gateway.ledger.endings == {ending: 1}
    assert rig.gateway.ledger.failures == ({} if ending == "completed" else {("up", ending): 1})
    (line,) = [record.getMessage() for record in caplog.records if record.name == "penstock.requests"]
    assert f" {ending} model='up/tiny' stream={streams} tried=up" in line
    at_rest(rig)
    await client.chat(stream=True)  # the one slot is free, and the connection can be used again
    assert (await client.answer()).events[-1] == DONE


@pytest.mark.parametrize("body", [{"messages": []}, {"model": "nowhere/x"}, {"stream": "yes"}])
async def test_a_refusal_of_ours_is_no_record(nursery, body):
    rig = Rig(nursery, Upstream(nursery))
    client = rig.connect()
    await client.chat(**body)
    assert (await client.answer()).status in (400, 404)
    assert not rig.gateway.ledger.endings
    assert not rig.gateway.ledger.failures
    at_rest(rig)


async def test_a_bug_is_booked_and_answered_and_keeps_no_slot(nursery, autojump_clock, caplog):
    """Whatever a transport raises that it must not: one request fails, and the log says why."""
    good = Upstream(nursery, GOOD)
    bugs = [ZeroDivisionError("a bug of ours")]

    async def connect():
        if bugs:
            raise bugs.pop()
        return good.connect()

    rig = Rig(nursery, connect, ONE)
    client = rig.connect()
    await client.chat(stream=True)
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert "a bug of ours" not in answer.error["message"]
    assert "a bug of ours" in caplog.text
    assert rig.gateway.ledger.endings == {"failed": 1}
    at_rest(rig)
    await client.chat(stream=True)
    assert (await client.answer()).events[-1] == DONE


@pytest.mark.parametrize(("draining", "ending"), [(True, "shut_down"), (False, "failed")])
async def test_a_cancellation_from_outside_is_booked_too(nursery, autojump_clock, draining, ending):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE])
    async with trio.open_nursery() as connections:
        rig = Rig(connections, upstream, ONE)
        client = rig.connect()
        await client.chat(stream=True)
        await client.head()
        if draining:
            rig.gateway.begin_drain()
        connections.cancel_scope.cancel()
    assert rig.gateway.ledger.endings == {ending: 1}
    at_rest(rig)
    await upstream.all_closed()


async def test_the_line_says_what_was_spent_and_who_was_tried(nursery, autojump_clock, caplog):
    caplog.set_level("INFO", "penstock.requests")
    toml = '[routes.safe]\nproviders = ["up", "other"]\n'
    rig = Rig(nursery, Upstream(nursery, [reply(answers.error(), 503)]), toml, other=Upstream(nursery, GOOD))
    client = rig.connect()
    await client.chat(model="safe/tiny", stream=True)
    answer = await client.answer()
    await settled()
    line = caplog.records[-1].getMessage()
    assert line.startswith(answer.headers["x-request-id"] + " 200 completed ")
    assert "tried=up:failed,other tokens=9+2 bytes=" in line


@pytest.mark.parametrize("late", [[EXPECT_CLOSE], [RESET]])
async def test_usage_is_booked_however_the_stream_ends(nursery, autojump_clock, caplog, late):
    caplog.set_level("INFO", "penstock.requests")
    script = [STREAM, BEGUN, chunked(sse(finish(), usage(9, 2))), *late]
    client = Rig(nursery, Upstream(nursery, script)).connect()
    await client.chat(stream=True)
    await client.answer()
    await settled()
    assert "tokens=9+2" in caplog.text


async def test_the_numbers_of_health(nursery, autojump_clock):
    upstream = Upstream(nursery, GOOD, [STREAM, BEGUN, RESET], [STREAM, BEGUN, EXPECT_CLOSE], [reply(completion("Hi"))])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    for _ in range(2):
        await client.chat(stream=True)
        await client.answer()
    busy = rig.connect()
    await busy.chat(stream=True)
    await busy.head()
    assert await health(client) == (1, 2, {"completed": 1, "truncated": 1})
    busy.leave()
    await settled()
    assert await health(client) == (0, 1, {"completed": 1, "truncated": 1, "client_gone": 1})


async def health(client):
    await client.request("GET", "/health")
    told = (await client.answer()).json
    return told["in_flight"], told["connections"], told["endings"]


# -- slots -----------------------------------------------------------------------------------------------

HABITS = {
    "nothing": [EXPECT_CLOSE],
    "head": [STREAM, EXPECT_CLOSE],
    "token": [STREAM, BEGUN, EXPECT_CLOSE],
    "much": [STREAM, BEGUN, chunked(sse(*[text("x" * 1000)] * 50)), EXPECT_CLOSE],
    "finished": [STREAM, BEGUN, chunked(sse(finish())), EXPECT_CLOSE],
    "done": GOOD,
    "reset": [STREAM, BEGUN, RESET],
    "error": [reply(answers.error(), 500)],
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_c08_after_two_hundred_aborts_one_is_admitted_at_once(nursery, autojump_clock, seed, policy):
    chance = random.Random(seed)
    habits = [chance.choice(list(HABITS)) for _ in range(200)]
    upstream = Upstream(nursery, *[HABITS[habit] for habit in habits], always=GOOD)
    toml = f'{ONE}on_client_gone = "{policy}"\n[timeouts]\nkeepalive = {chance.choice([0, 2])}\ndrain = 3\n'
    rig = Rig(nursery, upstream, toml)
    for number in range(200):
        client = rig.connect(capacity=chance.choice([64, 1000, 65536]))
        await client.chat(stream=chance.random() < 0.7)
        while len(upstream.requests) <= number:
            await upstream.request(number)
        moment = chance.randrange(4)  # in the same wake-up, later, after some time, or after the answer
        if moment:
            await settled()
        if moment > 1:
            await trio.sleep(chance.uniform(0, 6))
        getattr(client.stream, chance.choice(["close", "end_sending", "reset"]))()
        while rig.gateway.ledger.in_flight:
            await trio.sleep(0.1)
        assert rig.gateway.catalog.providers["up"].slots.in_use == 0
    assert sum(rig.gateway.ledger.endings.values()) == 200
    at_rest(rig)
    client = rig.connect()
    await client.chat(stream=True)
    answer = await client.answer()
    assert (answer.status, answer.text) == (200, "Hello")
    await settled()
    assert sum(rig.gateway.ledger.endings.values()) == 201


def test_a_record_cannot_end_twice():
    async def body():
        ledger, record = Ledger(), Record("req_1", "up/tiny", stream=True, key="")
        record.attempts.append(Attempt("up"))
        ledger.open(record)
        ledger.close(record, Ending("completed"))
        with pytest.raises(RuntimeError, match="req_1 ended twice: completed, then failed"):
            ledger.close(record, Ending("failed"))
        assert (ledger.in_flight, ledger.endings) == (0, {"completed": 1})

    trio.run(body)
