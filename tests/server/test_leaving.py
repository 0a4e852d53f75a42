"""The client goes away: its upstream is closed in the same instant, nobody else is asked, nobody is blamed.

The upstream's scripts end in EXPECT_CLOSE; `closed_at` and the moment of leaving are on the virtual clock, so
that "at once" is "at the same time" and not "within a bound".
"""

import gc
import logging
import socket
import struct

import pytest
import trio

import answers
import scripted
from answers import DONE, LAST, STREAM, chunked, finish, role, sse, text, usage
from penstock.protocol.members import Members
from penstock.providers.connect import Connector
from penstock.providers.stream import SocketStream
from penstock.providers.transport import Origin, UpstreamError
from penstock.server.listen import accept_loop, open_sockets
from rig import Client, Rig, settled
from scripted import CLOSE, EXPECT_CLOSE, RESET, Upstream, forever

BEGUN = chunked(sse(role(), text("Hel")))
DRAIN = '[providers.up]\npreset = "openai"\non_client_gone = "drain"\n[timeouts]\ndrain = 4\n'
ROUTE = '[routes.safe]\nproviders = ["up", "other"]\n'
WHOLE = answers.head(200, ("Content-Type", "application/json"), ("Content-Length", "1000"))

STREAMED = {
    "nothing was sent": [],
    "half a head was sent": [STREAM[:30]],
    "the head was sent": [STREAM],
    "only a comment was sent": [STREAM, chunked(b": queued\n\n")],
    "between two tokens": [STREAM, BEGUN],
    "within an event": [STREAM, BEGUN, chunked(b'data: {"id":"chatcmpl-1","cho')],
    "all has been said but the end": [STREAM, BEGUN, chunked(sse(finish()))],
}
IN_ONE_PIECE = {
    "nothing was sent": [],
    "the head was sent": [WHOLE],
    "within the body": [WHOLE, b'{"id": "chatcmpl-1",'],
    "an upstream that streams": [STREAM, BEGUN],
}


async def gone(client, leave):
    """Read what has come, so that closing is no reset unless it is meant to be one; then leave."""
    client.stream.receive_now()
    getattr(client.stream, leave)()


async def left_at_once(nursery, script, leave, **body):
    """The client asks, waits until the script stands still, and leaves."""
    upstream, other = Upstream(nursery, [*script, EXPECT_CLOSE]), Upstream(nursery)
    rig = Rig(nursery, upstream, ROUTE, other=other)
    client = rig.connect()
    await client.chat(model="safe/tiny", **body)
    asked = await upstream.request()
    await settled()
    assert upstream.open == rig.gateway.ledger.in_flight == 1
    left = trio.current_time()
    await gone(client, leave)
    await asked.closed.wait()
    assert asked.closed_at == left
    await settled()
    assert trio.current_time() == left
    assert other.connections == 0  # C05: nobody is left who would want its answer
    booked_as_gone(rig)


def booked_as_gone(rig):
    """C06: one ending, and no provider is blamed for it."""
    gateway = rig.gateway
    assert gateway.ledger.endings == {"client_gone": 1}
    assert not gateway.ledger.failures
    assert (gateway.ledger.in_flight, gateway.exchanges, gateway.connections) == (0, set(), 0)
    assert [provider.slots.in_use for provider in gateway.catalog.providers.values()] == [0] * 3


@pytest.mark.parametrize("leave", ["close", "end_sending", "reset"])
@pytest.mark.parametrize("script", STREAMED.values(), ids=STREAMED)
async def test_c01_c02_c05_c06_leaving_a_stream_closes_the_upstream_at_once(nursery, autojump_clock, script, leave):
    await left_at_once(nursery, script, leave, stream=True)


@pytest.mark.parametrize("leave", ["close", "end_sending", "reset"])
@pytest.mark.parametrize("script", IN_ONE_PIECE.values(), ids=IN_ONE_PIECE)
async def test_c03_c05_c06_leaving_a_whole_answer_closes_the_upstream_at_once(nursery, autojump_clock, script, leave):
    await left_at_once(nursery, script, leave)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_c02_c05_leaving_while_the_upstream_is_connected_to(nursery, autojump_clock, policy, stream):
    dialling = trio.Event()
    given_up_at = None

    async def connect():
        nonlocal given_up_at
        dialling.set()
        try:
            await trio.sleep_forever()
        finally:
            given_up_at = trio.current_time()

    other = Upstream(nursery)
    toml = f'[providers.up]\npreset = "openai"\non_client_gone = "{policy}"\n'
    rig = Rig(nursery, connect, ROUTE + toml, other=other)
    client = rig.connect()
    await client.chat(model="safe/tiny", stream=stream)
    await dialling.wait()
    left = trio.current_time()
    client.leave()
    await settled()
    assert given_up_at == left  # with "drain" too: nothing was asked, so nothing was spent
    assert other.connections == 0
    booked_as_gone(rig)


@pytest.mark.parametrize("leave", ["close", "end_sending", "reset"])
async def test_c01_leaving_while_the_gateway_waits_to_write(nursery, autojump_clock, leave):
    upstream = Upstream(nursery, [STREAM, BEGUN, forever(chunked(sse(text("x" * 1000))))])
    rig = Rig(nursery, upstream)
    client = rig.connect(capacity=1000)
    await client.chat(stream=True)
    asked = await upstream.request()
    await settled()
    before, left = asked.sent, trio.current_time()
    getattr(client.stream, leave)()
    await upstream.all_closed()
    assert trio.current_time() == left
    assert asked.sent == before  # C01: no byte is read after that
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert not rig.gateway.ledger.failures


async def test_c01_a_hundred_leave_in_the_same_instant(nursery, autojump_clock):
    upstream = Upstream(nursery, always=[STREAM, BEGUN, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    clients = [rig.connect() for _ in range(100)]
    for client in clients:
        await client.chat(stream=True)
    for client in clients:
        await client.head()
    left = trio.current_time()
    for client in clients:
        client.leave()
    await upstream.all_closed()
    assert {asked.closed_at for asked in upstream.requests} == {left}
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 100}


@pytest.mark.parametrize("leave", ["FIN", "RST"])
@pytest.mark.parametrize("script", [[], [STREAM, BEGUN]], ids=["before the first byte", "between tokens"])
async def test_c01_c02_the_same_over_sockets(nursery, script, leave):
    upstream = await scripted.listen(nursery, [*script, EXPECT_CLOSE])
    rig = Rig(nursery, Connector(Origin.parse(upstream.url)))
    (listener,) = open_sockets("127.0.0.1", 0)
    with listener:
        nursery.start_soon(accept_loop, rig.gateway, listener, None, nursery)
        with socket.create_connection(listener.getsockname()) as sock:
            client = Client(SocketStream(sock))
            await client.chat(stream=True)
            await upstream.request()
            if script:
                await client.head()
                await client.piece()
            if leave == "RST":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with trio.fail_after(1):  # the field's bound; `make bench` measures how much less it is
            await upstream.all_closed()
        while rig.gateway.connections:
            await trio.lowlevel.checkpoint()
        assert rig.gateway.ledger.endings == {"client_gone": 1}
        nursery.cancel_scope.cancel()


async def test_c05_a_client_that_leaves_during_the_second_attempt_gets_no_third(nursery, autojump_clock):
    upstream, second = Upstream(nursery, [CLOSE]), Upstream(nursery, [EXPECT_CLOSE])
    third = Upstream(nursery)
    toml = '[routes.safe]\nproviders = ["up", "second", "third"]\n'
    rig = Rig(nursery, upstream, toml, second=second, third=third)
    client = rig.connect()
    await client.chat(model="safe/tiny", stream=True)
    asked = await second.request()
    left = trio.current_time()
    client.leave()
    await asked.closed.wait()
    await settled()
    assert asked.closed_at == left
    assert third.connections == 0
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert rig.gateway.ledger.failures == {("up", "failed"): 1}  # the first one is blamed for what it did


@pytest.mark.parametrize("fate", [[RESET], [answers.reply(answers.error(), 503)], [STREAM, LAST]])
async def test_c05_nobody_else_is_asked_when_an_upstream_fails_while_it_is_drained(nursery, autojump_clock, fate):
    now = trio.Event()
    upstream, other = Upstream(nursery, [now, *fate]), Upstream(nursery)
    rig = Rig(nursery, upstream, ROUTE + DRAIN, other=other)
    client = rig.connect()
    await client.chat(model="safe/tiny", stream=True)
    await upstream.request()
    client.leave()
    await settled()
    now.set()
    await settled()
    assert other.connections == 0
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert not rig.gateway.ledger.failures


# -- half-closed and silent clients ----------------------------------------------------------------------

TOLERANT = '[server]\nhalf_closed = "serve"\n'


@pytest.mark.parametrize("when", ["with the request", "before the first byte", "between tokens"])
async def test_c07_a_half_closed_client_is_served_where_that_is_wanted(nursery, autojump_clock, when):
    go, on = trio.Event(), trio.Event()
    upstream = Upstream(nursery, [go, STREAM, BEGUN, on, chunked(sse(text("lo"), finish(), DONE)), LAST])
    rig = Rig(nursery, upstream, TOLERANT)
    client = rig.connect()
    await client.chat(stream=True)
    if when == "with the request":
        client.stream.end_sending()
    await upstream.request()
    if when == "before the first byte":
        client.stream.end_sending()
        await settled()
    go.set()
    if when == "between tokens":
        await settled()
        client.stream.end_sending()
        await settled()
    on.set()
    answer = await client.answer()
    assert (answer.text, answer.events[-1]) == ("Hello", DONE)
    await settled()
    assert rig.gateway.ledger.endings == {"completed": 1}
    assert rig.gateway.connections == 0


async def test_c07_a_half_closed_client_that_vanishes_is_noticed_by_the_next_write(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, 12.0, chunked(sse(text("lo"))), EXPECT_CLOSE])
    rig = Rig(nursery, upstream, TOLERANT)
    client = rig.connect()
    await client.chat(stream=True)
    asked = await upstream.request()
    client.stream.end_sending()
    await settled()
    began = trio.current_time()
    client.stream.reset()
    await upstream.all_closed()
    assert asked.closed_at - began == 12
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}


async def test_c07_a_half_closed_client_that_vanishes_is_noticed_by_the_keep_alive(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE])
    rig = Rig(nursery, upstream, TOLERANT + "[timeouts]\nkeepalive = 5\n")
    client = rig.connect()
    await client.chat(stream=True)
    asked = await upstream.request()
    client.stream.end_sending()
    await settled()
    began = trio.current_time()
    client.stream.reset()
    await upstream.all_closed()
    assert asked.closed_at - began == 5
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}


async def test_c07_bytes_that_come_early_are_no_leaving(nursery, autojump_clock):
    on = trio.Event()
    upstream = Upstream(nursery, [STREAM, BEGUN, on, chunked(sse(finish(), DONE)), LAST])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.chat(stream=True)
    await upstream.request()
    await client.raw(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1:8777\r\n\r\n")
    await settled()
    on.set()
    assert (await client.answer()).events[-1] == DONE
    client.expect("GET")
    assert (await client.answer()).json["status"] == "ok"


# -- policy "drain" --------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["close", "end_sending", "reset"])
@pytest.mark.parametrize("begun", [True, False])
async def test_c14_drain_reads_on_to_learn_the_usage(nursery, autojump_clock, caplog, leave, begun):
    caplog.set_level(logging.INFO, "penstock.requests")
    on = trio.Event()
    rest = chunked(sse(role(), text("lo"), finish(), usage(9, 2), DONE)) + LAST
    upstream = Upstream(nursery, [STREAM, *([BEGUN] if begun else []), on, rest])
    rig = Rig(nursery, upstream, DRAIN)
    client = rig.connect()
    await client.chat(stream=True)
    await upstream.request()
    await settled()
    await gone(client, leave)
    await settled()
    assert rig.gateway.ledger.in_flight == upstream.open == 1
    on.set()
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert "tokens=9+2" in caplog.text
    if leave == "end_sending":
        assert await client.stream.receive() == b""  # it said that it had left, and is told nothing more


@pytest.mark.parametrize("stream", [True, False])
async def test_c14_drain_is_bounded(nursery, autojump_clock, stream):
    pings = [chunked(b": still at it\n\n"), 1.0] * 20
    upstream = Upstream(nursery, [STREAM, BEGUN, *pings, EXPECT_CLOSE])
    rig = Rig(nursery, upstream, DRAIN)
    client = rig.connect()
    await client.chat(stream=stream)
    asked = await upstream.request()
    await settled()
    left = trio.current_time()
    client.leave()
    await upstream.all_closed()
    assert asked.closed_at - left == 4
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert not rig.gateway.ledger.failures  # it was our patience that ended


async def test_c06_an_attempt_that_failed_by_itself_is_counted(nursery, autojump_clock):
    """The other side of C06: without it, counting nothing at all would pass."""

    async def refuse():
        raise UpstreamError("refused", "the upstream refuses connections", sent=False)

    rig = Rig(nursery, refuse)
    client = rig.connect()
    await client.chat(stream=True)
    assert (await client.answer()).status == 502
    assert rig.gateway.ledger.failures == {("up", "failed"): 1}


# -- what an open stream holds ----------------------------------------------------------------------------


async def test_an_open_stream_does_not_hold_its_prompt(nursery, autojump_clock):
    """Thousands of streams may be open, and a prompt may have a megabyte."""
    prompt = "a prompt that nobody else has " * 1000
    rig = Rig(nursery, Upstream(nursery, [STREAM, chunked(sse(role(), text("a"))), EXPECT_CLOSE]))
    client = rig.connect()
    await client.chat(prompt, stream=True)
    await client.piece()
    await settled()
    gc.collect()
    holding = [thing for thing in gc.get_objects() if type(thing) is Members and len(thing.body) > 1000]
    assert not holding
    assert len(rig.gateway.exchanges) == 1
    client.leave()
