"""Nothing is held back on its way, and nothing piles up where nobody reads."""

import functools

import pytest
import trio

import answers
from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, stream, text
from rig import Rig, settled
from scripted import EXPECT_CLOSE, Upstream, forever

BEGUN = chunked(sse(role(), text("Hel")))
ENDED = chunked(sse(finish(), DONE)) + LAST
CAPACITY = 65536  # of each direction of a memory stream, as of a socket

FLOOD = chunked(sse(*[text("a drop of water ")] * 100))


async def test_c75_each_event_leaves_in_the_wake_up_in_which_it_came(nursery, autojump_clock):
    """No time is added to any event, and what came as one piece goes as one piece."""
    words = [f"word {number} " for number in range(50)]
    script = [step for word in words for step in (0.02, chunked(sse(text(word))))]
    upstream = Upstream(nursery, [STREAM, chunked(sse(role())), *script, ENDED])
    client = Rig(nursery, upstream).connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    pieces = [(round(at - began, 6), piece) for at, piece in answer.pieces]
    assert pieces[0] == (0, sse(role()))
    assert pieces[1:-1] == [(round(0.02 * (n + 1), 6), sse(text(word))) for n, word in enumerate(words)]
    assert pieces[-1][1] == sse(finish(), DONE)


async def test_c75_events_that_come_together_leave_together(nursery, autojump_clock):
    script = [STREAM, chunked(sse(role(), *[text("x")] * 40)), 1.0, ENDED]
    client = Rig(nursery, Upstream(nursery, script)).connect()
    await client.chat(stream=True)
    answer = await client.answer()
    assert [piece for _, piece in answer.pieces] == [sse(role(), *[text("x")] * 40), sse(finish(), DONE)]


async def test_c75_an_event_leaves_with_the_byte_that_completes_it(nursery, autojump_clock):
    event = sse(text("Вода 🌊"))
    script = [STREAM, BEGUN, *[step for at in range(len(event)) for step in (1.0, chunked(event[at : at + 1]))], ENDED]
    client = Rig(nursery, Upstream(nursery, script)).connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert [(at - began, piece) for at, piece in answer.pieces if piece == event] == [(len(event), event)]


@pytest.mark.parametrize("upstream_has_them", [False, True])
async def test_c75_headers_against_buffering_are_set_once(nursery, autojump_clock, upstream_has_them):
    theirs = [("X-Accel-Buffering", "yes"), ("Cache-Control", "public")] if upstream_has_them else []
    head = answers.head(200, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"), *theirs)
    client = Rig(nursery, Upstream(nursery, [head, BEGUN, ENDED])).connect()
    await client.chat(stream=True)
    headers = (await client.head()).headers
    assert [value for name, value in headers if name == b"x-accel-buffering"] == [b"no"]
    assert [value for name, value in headers if name == b"cache-control"] == [b"no-cache"]
    assert not [value for name, value in headers if name in (b"content-length", b"content-encoding")]


async def test_c76_a_reader_that_stops_stops_its_upstream(nursery, autojump_clock):
    """A pipe and a read on the upstream's side, a pipe on the client's: more is never under way."""
    upstream = Upstream(nursery, [STREAM, BEGUN, forever(FLOOD)])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    began = trio.current_time()
    await client.chat(stream=True)
    asked = await upstream.request()
    await settled()
    level = asked.sent
    assert CAPACITY < level < 3 * CAPACITY + 2 * len(FLOOD)
    await trio.sleep(29)
    assert asked.sent == level  # level, and not slowly growing
    await asked.closed.wait()
    assert asked.closed_at - began == 30
    await settled()
    assert rig.gateway.ledger.endings == {"timed_out(write)": 1}
    assert not rig.gateway.ledger.failures
    assert rig.gateway.connections == 0


async def test_c76_a_slow_reader_gets_all_of_it_and_no_more_is_under_way(nursery, autojump_clock):
    """1 kB a second is slow and not stalled; what the upstream could send ahead stays bounded."""
    events = [text("a drop of water ")] * 2000
    upstream = Upstream(
        nursery, [STREAM, BEGUN, *[chunked(sse(*events[at : at + 50])) for at in range(0, 2000, 50)], ENDED]
    )
    rig = Rig(nursery, upstream)
    client = rig.connect(capacity=4096)
    await client.chat(stream=True)
    asked = await upstream.request()
    taken, most = bytearray(), 0
    while not taken.endswith(LAST):
        await trio.sleep(1)
        taken += await client.stream.receive(1000)
        most = max(most, asked.sent - len(taken))
    assert taken.count(b"a drop of water ") == 2000
    assert b"[DONE]" in taken
    assert most < 4 * CAPACITY
    await settled()
    assert rig.gateway.ledger.endings == {"completed": 1}


async def test_c76_a_reader_that_begins_again_loses_nothing(nursery, autojump_clock):
    events = [text(f"{number} ") for number in range(3000)]
    upstream = Upstream(nursery, [STREAM, BEGUN, *[chunked(sse(event)) for event in events], ENDED])
    client = Rig(nursery, upstream).connect(capacity=2000)
    await client.chat(stream=True)
    await trio.sleep(29)
    answer = await client.answer()
    assert answer.text == "Hel" + "".join(f"{number} " for number in range(3000))
    assert answer.events[-1] == DONE


async def test_c76_a_whole_answer_that_nobody_reads_does_not_hold_its_upstream(nursery, autojump_clock):
    upstream = Upstream(nursery, [reply(completion("x" * 300_000))])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.chat()
    await settled()
    assert rig.gateway.ledger.in_flight == 1
    await trio.sleep(31)
    assert rig.gateway.ledger.endings == {"timed_out(write)": 1}


@pytest.mark.parametrize("why", ["total", "shut down"])
async def test_c76_an_error_told_to_a_slow_reader_is_not_said_into_the_middle_of_an_event(nursery, autojump_clock, why):
    """The write that was under way is completed first: a client that reads on gets both, whole."""
    upstream = Upstream(nursery, [STREAM, chunked(sse(role(), text("x" * 3000))), EXPECT_CLOSE])
    rig = Rig(nursery, upstream, "[timeouts]\ntotal = 10\n" if why == "total" else "")
    client = rig.connect(capacity=1000)
    await client.chat(stream=True)
    await settled()
    if why == "shut down":
        (exchange,) = rig.gateway.exchanges
        exchange.shut_down()
        await settled()
    else:
        await trio.sleep(10.5)
    answer = await client.answer()
    assert answer.text == "x" * 3000
    assert "error" in answer.events[-1]
    assert DONE not in answer.events
    await settled()
    assert rig.gateway.ledger.endings == {"timed_out(total)" if why == "total" else "shut_down": 1}


async def test_c76_a_reader_that_does_not_even_take_the_error_is_cut_off(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, chunked(sse(role(), text("x" * 3000))), EXPECT_CLOSE])
    rig = Rig(nursery, upstream, "[timeouts]\ntotal = 10\nkeep_alive = 1000\n")
    client = rig.connect(capacity=1000)
    began = trio.current_time()
    await client.chat(stream=True)
    await settled()
    while rig.gateway.connections:
        await trio.sleep(1)
    assert trio.current_time() - began < 20
    seen = b""
    while piece := await client.stream.receive():
        seen += piece
    assert not seen.endswith(LAST)
    assert rig.gateway.ledger.endings == {"timed_out(total)": 1}


async def reads_in_time(client, began):
    answer = await client.answer()
    assert [at - began for at, _ in answer.pieces] == [0, 1, 2]
    assert answer.text == "Hello"


async def test_c77_a_stalled_client_holds_nobody_else(nursery, autojump_clock):
    upstream = Upstream(
        nursery, [STREAM, BEGUN, forever(FLOOD)], always=[STREAM, BEGUN, 1.0, chunked(sse(text("lo"))), 1.0, ENDED]
    )
    rig = Rig(nursery, upstream)
    stalled = rig.connect()
    await stalled.chat(stream=True)
    await settled()
    began = trio.current_time()
    clients = [rig.connect() for _ in range(100)]
    async with trio.open_nursery() as readers:
        for client in clients:
            await client.chat(stream=True)
            readers.start_soon(reads_in_time, client, began)
    await settled()
    assert rig.gateway.ledger.in_flight == 1


async def test_c77_a_reader_in_pieces_of_one_byte(nursery, autojump_clock):
    """Every write is cut everywhere; what arrives is the same."""
    client = Rig(nursery, Upstream(nursery, stream(role(), text("Вода 🌊"), finish(), DONE))).connect(capacity=1)
    nursery.start_soon(functools.partial(client.chat, stream=True))
    seen = b""
    while not seen.endswith(LAST):
        seen += await client.stream.receive(1)
    assert "Вода 🌊".encode() in seen
