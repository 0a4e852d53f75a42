"""How long a socket lives and what it may cost: heartbeats, slow readers, going down."""

import json
import ssl

import pytest
import trio
import trustme
from trio_websocket import ConnectionClosed, open_websocket_url

from answers import DONE, LAST, STREAM, chunked, finish, role, sse, stream, text, usage
from penstock.server.access import Key
from penstock.server.app import drain
from penstock.server.listen import accept_loop, open_sockets, tls_context
from rig import Rig, settled
from scripted import EXPECT_CLOSE, Upstream, forever
from sockets import frame, head_of, opened, raw_opened, upgrade

HELLO = stream(role(), text("Hel"), text("lo"), finish(), usage(), DONE)
BEGUN = chunked(sse(role(), text("Hel")))
REST = chunked(sse(text("lo"), finish(), usage(), DONE)) + LAST
FLOOD = [STREAM, BEGUN, forever(chunked(sse(text("x" * 1000))))]


def chat(id):
    messages = [{"role": "user", "content": "Hi"}]
    params = {"model": "up/tiny", "messages": messages, "stream": True}
    return frame(json.dumps({"jsonrpc": "2.0", "id": id, "method": "chat.completions.create", "params": params}))


async def test_a_batch_is_served_whole_while_the_gateway_goes_down(nursery):
    rig = Rig(nursery)
    raw = await raw_opened(rig)
    (socket,) = rig.gateway.sockets
    socket._draining = True  # and nothing is under way
    batch = [{"jsonrpc": "2.0", "id": method, "method": method} for method in ("ping", "initialized", "models.list")]
    assert all("result" in answer for answer in await raw.said(frame(json.dumps(batch))))
    assert (await raw.closed())[0] == 1001


# -- heartbeats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("toml", "interval"), [("", 25), ("[timeouts]\nwebsocket_ping = 7\n", 7)])
async def test_silence_is_asked_about_and_ends_the_socket_after_two_missed_pongs(
    nursery, autojump_clock, toml, interval
):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE])
    rig = Rig(nursery, upstream, toml + "[providers.up]\ntimeouts = { idle = 0 }\n")
    raw = await raw_opened(rig)
    await raw.send(chat(1))
    await upstream.request()
    began = trio.current_time()
    pings = []
    while (found := await raw.next())[0] != 8:
        if found[0] == 9:
            pings.append(trio.current_time() - began)
    # What it sent itself was a sign of life, at the end of the first interval.
    assert pings == [interval, 2 * interval]
    assert trio.current_time() - began == 3 * interval
    assert int.from_bytes(found[1][:2], "big") == 1011
    await upstream.all_closed()
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}


@pytest.mark.parametrize("sign", [frame(b"", 10), frame(b"x", 9), frame('{"type":"ping"}'), frame("{", fin=False)])
async def test_any_frame_is_a_sign_of_life(nursery, autojump_clock, sign):
    raw = await raw_opened(Rig(nursery))
    for _ in range(5):
        await trio.sleep(40)
        await raw.send(sign)
        if sign == frame("{", fin=False):
            sign = frame("{", 0, fin=False)
    await raw.send(frame(b"", 8))
    while (found := await raw.next())[0] != 8:
        pass
    assert found[1] == b""


async def test_a_client_library_that_answers_pings_stays(nursery, autojump_clock):
    async with opened(Rig(nursery)) as ws:
        await trio.sleep(3600)
        await ws.call(1, "ping")
        assert (await ws.get())["result"] == {}


async def test_no_pings_where_none_are_wanted(nursery, autojump_clock):
    raw = await raw_opened(Rig(nursery, toml="[timeouts]\nwebsocket_ping = 0\n"))
    await trio.sleep(3600)
    assert raw.stream.receive_now() is None


async def test_who_reads_slowly_is_alive_though_a_ping_may_be_far_behind(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, FLOOD), "[timeouts]\nwebsocket_ping = 1\n")
    raw = await raw_opened(rig, capacity=500)
    await raw.send(chat(1))
    for _ in range(30):
        await trio.sleep(1)
        assert raw.stream.receive_now(100)
    await settled()
    assert rig.gateway.connections == 1
    raw.stream.close()


# -- slow readers --------------------------------------------------------------------------------------------


async def test_a_slow_reader_slows_its_own_streams_only(nursery, autojump_clock):
    upstream = Upstream(nursery, FLOOD, FLOOD, [STREAM, BEGUN, REST])
    rig = Rig(nursery, upstream)
    slow = await raw_opened(rig, capacity=3000)
    await slow.send(chat(1) + chat(2))
    await upstream.request(1)
    await settled()
    stuck = [asked.sent for asked in upstream.requests]
    async with opened(rig) as quick:
        await quick.chat(1, stream=True)
        assert "result" in await quick.answer()
    await settled()
    assert [asked.sent for asked in upstream.requests[:2]] == stuck  # neither is read any further
    assert all(sent < 300_000 for sent in stuck)  # what the buffers between us hold, and no more
    slow.stream.close()
    for asked in upstream.requests[:2]:
        await asked.closed.wait()


async def test_a_slow_reader_gets_every_delta_in_order(nursery, autojump_clock):
    words = [text(f"{number} ") for number in range(300)]
    rig = Rig(nursery, Upstream(nursery, always=stream(role(), *words, finish(), DONE)))
    raw = await raw_opened(rig, capacity=700)
    await raw.send(chat(1) + chat(2))
    seq, answered = {1: 0, 2: 0}, set()
    while len(answered) < 2:
        await trio.sleep(0.1)
        message = await raw.said()
        if "method" in message:
            id = message["params"]["requestId"]
            assert message["params"]["seq"] == seq[id]
            assert id not in answered
            seq[id] += 1
        else:
            answered.add(message["id"])
            content = message["result"]["choices"][0]["message"]["content"]
            assert content == "".join(f"{number} " for number in range(300))
    assert seq == {1: 302, 2: 302}


async def test_answers_to_one_who_asks_without_reading_do_not_pile_up(nursery, autojump_clock):
    raw = await raw_opened(Rig(nursery, toml="[limits]\npipeline_bytes = 4096\n"), capacity=300)
    sent, all_of_them = 0, 3000

    async def ask():
        nonlocal sent
        for id in range(all_of_them):
            await raw.send(frame(json.dumps({"jsonrpc": "2.0", "id": id, "method": "ping"})) + frame(b"x", 9))
            sent = id

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await settled()
        assert sent < 500  # it is read no further than the bound on what may be sent ahead
        for id in range(all_of_them):
            assert (await raw.said())["id"] == id


async def test_a_client_that_takes_nothing_is_let_go(nursery, autojump_clock):
    upstream = Upstream(nursery, always=FLOOD)
    rig = Rig(nursery, upstream, "[timeouts]\nwrite = 4\nwebsocket_ping = 1\n")
    raw = await raw_opened(rig, capacity=3000)
    await raw.send(chat(1) + chat(2))
    await upstream.request(1)
    await settled()
    began = trio.current_time()
    await upstream.all_closed()
    assert trio.current_time() - began == pytest.approx(4, abs=0.5)
    raw.stream.close()
    await settled()
    assert sum(rig.gateway.ledger.endings.values()) == 2
    assert rig.gateway.connections == rig.gateway.ledger.in_flight == 0


async def test_a_cancellation_behind_a_full_socket(nursery, autojump_clock):
    """The frame that it interrupts is completed, and the answer is the next one."""
    upstream = Upstream(nursery, FLOOD)
    raw = await raw_opened(Rig(nursery, upstream), capacity=1500)
    await raw.send(chat(1))
    asked = await upstream.request()
    await settled()
    began = trio.current_time()
    await raw.send(frame('{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}'))
    await asked.closed.wait()
    assert trio.current_time() == began  # not when the client has read on
    deltas = 0
    while "method" in (message := await raw.said()):
        deltas += 1
    assert message["error"]["code"] == -32800
    assert deltas >= 1
    await raw.send(frame('{"type":"ping"}'))
    assert await raw.said() == {"type": "pong"}


async def test_deadlines_do_not_run_while_the_client_is_slow(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, chunked(sse(role(), text("x" * 5000))), REST])
    rig = Rig(nursery, upstream, "[timeouts]\nidle = 2\n")
    raw = await raw_opened(rig, capacity=500)
    await raw.send(chat(1))
    await upstream.request()
    await trio.sleep(20)
    while "method" in (message := await raw.said()):
        pass
    assert "result" in message


async def test_an_answer_that_a_deadline_cut_short_on_its_way_is_completed(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, chunked(sse(role(), text("x" * 5000), finish(), DONE)) + LAST])
    rig = Rig(nursery, upstream, "[timeouts]\ntotal = 5\n")
    raw = await raw_opened(rig, capacity=500)
    await raw.send(chat(1))
    await upstream.request()
    await trio.sleep(6)
    while "method" in (message := await raw.said()):
        pass
    assert message["result"]["choices"][0]["message"]["content"] == "x" * 5000


# -- TLS -----------------------------------------------------------------------------------------------------


async def test_a_slow_reader_over_tls_gets_every_delta_in_order(nursery, tmp_path):
    """Records of TLS are not cut where frames are: what was begun has to be completed byte for byte."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    words = [chunked(sse(*[text("x" * 1000)] * 50)) for _ in range(60)]
    upstream = Upstream(nursery, always=[STREAM, *words, chunked(sse(finish(), DONE)) + LAST])
    rig = Rig(nursery, upstream)
    (listener,) = open_sockets("127.0.0.1", 0)
    with listener:
        tls = tls_context(str(tmp_path / "cert"), str(tmp_path / "key"))
        nursery.start_soon(accept_loop, rig.gateway, listener, tls, nursery)
        url = f"wss://localhost:{listener.getsockname()[1]}/ws"
        async with open_websocket_url(url, ssl_context=trusting, max_message_size=1 << 24) as connection:
            for id in range(3):
                message = {"model": "up/tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
                method = "chat.completions.create"
                await connection.send_message(
                    json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": message})
                )
            await upstream.request(2)
            await connection.send_message('{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}')
            answers = {}
            while len(answers) < 3:
                message = json.loads(await connection.get_message())
                if "method" not in message:
                    answers[message["id"]] = message
        assert answers[1]["error"]["code"] == -32800
        for id in (0, 2):
            assert answers[id]["result"]["choices"][0]["message"]["content"] == "x" * 3_000_000
        nursery.cancel_scope.cancel()


# -- going down ----------------------------------------------------------------------------------------------

STATUS = {"jsonrpc": "2.0", "method": "server.status", "params": {"state": "draining", "closeInMs": 30000}}


async def test_an_idle_socket_is_told_and_closed(nursery, autojump_clock):
    rig = Rig(nursery)
    async with opened(rig) as ws:
        await settled()
        rig.gateway.begin_drain()
        assert await ws.get() == STATUS
        assert (await ws.closed())[0] == 1001
    await rig.gateway.until_nobody_is_connected()


async def test_a_socket_that_is_opened_in_the_same_moment(nursery, autojump_clock, monkeypatch):
    rig = Rig(nursery)
    gate = type(rig.gateway.gate)

    async def meanwhile(self, shown):
        rig.gateway.begin_drain()
        return Key("one", b"")

    monkeypatch.setattr(gate, "demands_keys", True)
    monkeypatch.setattr(gate, "identify", meanwhile)
    async with opened(rig, headers={"x-api-key": "sk-one"}) as ws:
        assert await ws.get() == STATUS
        assert (await ws.closed())[0] == 1001


async def test_who_speaks_plainly_is_told_plainly(nursery, autojump_clock):
    rig = Rig(nursery)
    async with opened(rig) as ws:
        await ws.send({"type": "ping"})
        await ws.get()
        rig.gateway.begin_drain()
        assert await ws.get() == {"type": "status", "state": "draining", "closeInMs": 30000}
        assert (await ws.closed())[0] == 1001


async def test_requests_under_way_are_finished_and_new_ones_refused(nursery, autojump_clock):
    on = trio.Event()
    rig = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, on, REST]))
    async with opened(rig) as ws:
        await ws.chat(1, stream=True)
        await settled()
        nursery.start_soon(drain, rig.gateway, 30.0)
        await settled()
        await ws.chat(2, stream=True)
        answer = await ws.answer()
        assert STATUS in ws.got
        assert (answer["id"], answer["error"]["code"]) == (2, -32008)
        on.set()
        assert (await ws.answer(1))["result"]["choices"][0]["message"]["content"] == "Hello"
        assert (await ws.closed())[0] == 1001
    await rig.gateway.until_nobody_is_connected()


async def test_when_the_time_is_over_streams_end_in_an_error(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE], [EXPECT_CLOSE])
    rig = Rig(nursery, upstream, "[providers.up]\ntimeouts = { idle = 0 }\n")
    async with opened(rig) as ws:
        await ws.chat("begun", stream=True)
        await upstream.request(0)
        await ws.chat("asked", stream=True)
        await upstream.request(1)
        await settled()
        nursery.start_soon(drain, rig.gateway, 5.0)
        found = {(answer := await ws.answer())["id"]: answer["error"] for _ in range(2)}
        assert (found["begun"]["code"], found["asked"]["code"]) == (-32802, -32008)
        assert found["begun"]["data"]["partial"]["choices"][0]["message"]["content"] == "Hel"
        assert (await ws.closed())[0] == 1001
    assert rig.gateway.ledger.endings == {"shut_down": 2}


async def test_what_goes_on_after_the_end_of_a_socket_says_nothing_on_it(nursery, autojump_clock):
    toml = '[providers.up]\npreset = "openai"\non_client_gone = "drain"\n'
    upstream = Upstream(nursery, [STREAM, BEGUN, 5.0, REST])
    rig = Rig(nursery, upstream, toml)
    raw = await raw_opened(rig)
    await raw.send(chat(1))
    await upstream.request()
    await settled()
    await raw.send(frame(b"binary", 2))
    began = trio.current_time()
    assert (await raw.closed())[0] == 1003  # and it was the last frame
    assert trio.current_time() == began
    rig.gateway.begin_drain()
    await rig.gateway.until_nobody_is_connected()
    assert rig.gateway.ledger.endings == {"client_gone": 1}


async def test_a_cancellation_while_going_down_is_answered_before_the_end(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    async with opened(rig) as ws:
        await ws.chat(1, stream=True)
        await upstream.request()
        await settled()
        rig.gateway.begin_drain()
        await settled()
        await ws.notify("$/cancelRequest", {"id": 1})
        assert (await ws.answer(1))["error"]["code"] == -32800
        assert (await ws.closed())[0] == 1001


async def test_a_client_that_has_gone_when_it_is_to_be_told(nursery, autojump_clock):
    rig = Rig(nursery)
    raw = await raw_opened(rig, capacity=10)
    await settled()
    rig.gateway.begin_drain()
    raw.stream.reset()
    await rig.gateway.until_nobody_is_connected()
    assert rig.gateway.sockets == set()


async def test_no_word_can_be_said_to_a_client_that_reads_nothing(nursery, autojump_clock):
    """It goes down all the same, after the time for a last word."""
    rig = Rig(nursery, Upstream(nursery, FLOOD))
    raw = await raw_opened(rig, capacity=400)
    await raw.send(chat(1))
    await settled()
    began = trio.current_time()
    await raw.send(frame(b"binary", 2))
    await trio.sleep(0)
    while rig.gateway.sockets:
        await trio.sleep(0.1)
    assert 2 <= trio.current_time() - began < 2.5
    assert rig.gateway.ledger.endings == {"client_gone": 1}


async def test_who_closes_one_half_has_left(nursery, autojump_clock):
    rig = Rig(nursery)
    client = await upgrade(rig)
    client.stream.end_sending()
    await settled()
    assert (rig.gateway.connections, rig.gateway.sockets) == (0, set())
    assert (await head_of(client))[0] == 101


@pytest.mark.parametrize("when", ["as it is opened", "while it waits for its cancelled request"])
async def test_leaving_at_an_odd_moment(nursery, autojump_clock, when):
    rig = Rig(nursery, Upstream(nursery, FLOOD))
    raw = await raw_opened(rig, capacity=400)
    if when == "as it is opened":
        raw.stream.reset()
    else:
        await raw.send(chat(1))
        await settled()
        await raw.send(frame('{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}'))
        await settled()
        raw.stream.reset()
    await settled()
    assert (rig.gateway.connections, rig.gateway.sockets, rig.gateway.admitted) == (0, set(), 0)


async def test_a_connection_that_is_cancelled_leaves_nothing_behind(autojump_clock):
    async with trio.open_nursery() as inner:
        rig = Rig(inner, Upstream(inner, [STREAM, BEGUN, EXPECT_CLOSE]))
        raw = await raw_opened(rig)
        await raw.send(chat(1))
        await settled()
        inner.cancel_scope.cancel()
    assert (rig.gateway.sockets, rig.gateway.ledger.in_flight, rig.gateway.admitted) == (set(), 0, 0)


async def test_a_thousand_small_messages_in_a_row(nursery):
    async with opened(Rig(nursery)) as ws:
        for _ in range(20):
            for id in range(50):
                await ws.call(id, "ping")
            assert [(await ws.get())["id"] for _ in range(50)] == list(range(50))
        await ws.connection.aclose()
        with pytest.raises(ConnectionClosed):
            await ws.get()
