"""Reading requests: framing at every cut, what comes early, what is expected, and what is not believed."""

import tracemalloc

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from answers import DONE, bytewise, chunked, cut, finish, role, sse, stream, text
from answers import STREAM as HEAD
from door import ANSWER, CHAT, PATH, ended, refused, request
from penstock.protocol.chunked import LAST
from penstock.providers.memory import memory_pair
from penstock.server.intake import Intake
from rig import Rig
from scripted import EXPECT_CLOSE, Upstream

STREAM = stream(role(), text("Hello"), finish(), DONE)
CHUNKED = request("POST", PATH, "Transfer-Encoding: chunked")
READY = request("GET", "/ready")


@pytest.fixture
def upstream(nursery):
    return Upstream(nursery, always=ANSWER)


@pytest.fixture
def rig(nursery, upstream):
    return Rig(nursery, upstream)


async def say(client, *pieces):
    """Send the pieces so that each is read by itself."""
    for piece in pieces:
        await client.raw(piece)
        await wait_all_tasks_blocked()
    client.expect()


# -- framing ----------------------------------------------------------------------------------------------

SIZED = request(body=CHAT)
IN_CHUNKS = CHUNKED + chunked(CHAT[:20]) + chunked(CHAT[20:]) + LAST
EXTENDED = CHUNKED + b"%X;a=b\r\n%b\r\n000;x\r\nTrailer: yes\r\n\r\n" % (len(CHAT), CHAT)


@pytest.mark.parametrize("raw", [SIZED, IN_CHUNKS, EXTENDED], ids=["sized", "chunked", "extended"])
async def test_a_request_means_the_same_at_every_cut(rig, upstream, autojump_clock, raw):
    client = rig.connect()
    for at in range(1, len(raw)):
        await say(client, *cut(raw, at))
        assert (await client.answer()).status == 200
    await say(client, *bytewise(raw))
    assert (await client.answer()).status == 200
    assert len(upstream.requests) == len(raw)
    assert all(exchange.json == upstream.requests[0].json for exchange in upstream.requests)
    assert upstream.requests[0].json["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("raw", [SIZED, IN_CHUNKS, EXTENDED], ids=["sized", "chunked", "extended"])
async def test_the_next_request_begins_where_a_body_ends_at_every_cut(rig, autojump_clock, raw):
    client = rig.connect()
    twice = raw + READY
    for at in range(len(raw) - 10, len(twice)):
        await say(client, *cut(twice, at))
        assert (await client.answer()).status == 200
        client.expect("GET")
        assert (await client.answer()).json == {"status": "ready"}


async def test_a_large_chunked_body_of_tiny_chunks_is_read_whole(rig, upstream, autojump_clock):
    body = CHAT.replace(b"Hi", b"x" * 20_000)
    client = rig.connect()
    await client.raw(CHUNKED + b"".join(chunked(bytes([byte])) for byte in body) + LAST)
    client.expect()
    assert (await client.answer()).status == 200
    assert upstream.requests[0].json["messages"][0]["content"] == "x" * 20_000


async def test_empty_lines_before_a_request_are_skipped_and_are_no_request(rig, autojump_clock):
    client = rig.connect()
    await say(client, b"\r\n", READY)
    assert (await client.answer()).status == 200
    await say(client, b"\r\n")
    await trio.sleep(74)  # some clients end a body so; the connection is idle all the same
    await client.raw(READY)
    assert (await client.answer()).status == 200


@pytest.mark.parametrize("raw", [READY[:10], SIZED[:-1], CHUNKED, IN_CHUNKS[:-2]])
@pytest.mark.parametrize("leave", ["close", "reset", "end_sending"])
async def test_a_client_that_leaves_in_the_middle_of_a_request_is_let_go(rig, upstream, autojump_clock, raw, leave):
    client = rig.connect()
    await say(client, raw)
    assert rig.gateway.connections == 1
    getattr(client.stream, leave)()
    await wait_all_tasks_blocked()
    assert (rig.gateway.connections, upstream.requests, trio.current_time()) == (0, [], 0)


HALF_CLOSED = '[server]\nhalf_closed = "serve"\n'


@pytest.mark.parametrize("raw", [SIZED, IN_CHUNKS], ids=["sized", "chunked"])
async def test_c07_a_client_that_ends_its_side_with_its_request_may_be_served(nursery, autojump_clock, raw):
    rig = Rig(nursery, Upstream(nursery, always=ANSWER), HALF_CLOSED)
    for pieces in ([raw], bytewise(raw)):
        client = rig.connect()
        for piece in pieces:
            await client.raw(piece)
        client.stream.end_sending()
        client.expect()
        assert (await client.answer()).status == 200
        await ended(client)


async def test_c07_and_the_clock_of_such_a_connection_goes_on(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [HEAD, EXPECT_CLOSE]), HALF_CLOSED + "[timeouts]\nanswer = 7\n")
    client = rig.connect()
    await say(client, SIZED)
    client.stream.end_sending()
    refused(await client.answer(), 504, "upstream_timeout", "server_error")
    assert trio.current_time() == 7


async def test_a_body_in_tiny_chunks_takes_no_more_memory_than_its_limit_says(rig, autojump_clock):
    raw = CHUNKED + chunked(b"ab") * 100_000 + LAST
    ours, theirs = memory_pair(len(raw))
    theirs.send_now(raw)
    intake = Intake(rig.gateway, ours, "")
    async with trio.open_nursery() as reading:
        reading.start_soon(intake.pump)
        await intake.next_request()
        tracemalloc.start()
        try:
            assert await intake.read_body() == b"ab" * 100_000
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        reading.cancel_scope.cancel()
    assert peak < 3_000_000  # a list of the pieces would take 4.5 MB, and 64 KiB of them are looked at together


# -- a body that is not asked for, or not wanted ----------------------------------------------------------


async def test_a_body_that_nobody_reads_is_no_request(rig, autojump_clock):
    client = rig.connect()
    await say(client, request("GET", "/ready", body=READY) + READY)
    for _ in range(2):
        assert (await client.answer()).json == {"status": "ready"}
        client.expect("GET")
    await wait_all_tasks_blocked()
    assert client.stream.receive_now() is None  # two answers, not three


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_where_such_a_body_is_still_to_come_the_connection_ends_and_says_so(rig, autojump_clock, framing, method):
    client = rig.connect()
    await client.raw(request(method, "/ready", framing))
    client.expect(method)
    assert (await client.answer()).headers["connection"] == "close"
    await client.raw(READY)
    await ended(client)


async def test_a_post_without_length_and_coding_is_411(rig, upstream, autojump_clock):
    client = rig.connect()
    await say(client, request("POST", PATH) + READY)  # what follows may be meant as the body
    answer = await client.answer()
    refused(answer, 411, "length_required")
    assert answer.headers["connection"] == "close"
    await ended(client)


async def test_an_empty_body_is_no_json(rig, autojump_clock):
    for raw in (request("POST", PATH, "Content-Length: 0"), CHUNKED + LAST):
        client = rig.connect()
        await say(client, raw)
        refused(await client.answer(), 400, "invalid_json")


# -- expectations -----------------------------------------------------------------------------------------

EXPECTING = request("POST", PATH, "Expect: 100-Continue", f"Content-Length: {len(CHAT)}")
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("framing", "body"),
    [(f"Content-Length: {len(CHAT)}", CHAT), ("Transfer-Encoding: chunked", chunked(CHAT) + LAST)],
    ids=["sized", "chunked"],
)
async def test_a_client_that_expects_100_is_told_to_go_on_once(rig, autojump_clock, framing, body):
    client = rig.connect()
    await client.raw(request("POST", PATH, "Expect: 100-continue", framing))
    assert await client.stream.receive() == GO_ON
    await say(client, *bytewise(body))
    assert (await client.stream.receive()).startswith(b"HTTP/1.1 200 ")  # and no other 100


async def test_a_client_that_does_not_wait_is_not_told_to_go_on(rig, autojump_clock):
    client = rig.connect()
    await client.raw(EXPECTING + CHAT)
    assert (await client.stream.receive()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (EXPECTING.replace(b"127.0.0.1", b"evil.test"), 403),
        (EXPECTING.replace(b"/chat/", b"/tea/"), 404),
        (EXPECTING.replace(b"POST", b"PUT"), 405),
        (request("POST", PATH, "Expect: 100-continue", "Content-Length: 99999999999"), 413),
        (EXPECTING.replace(b"Expect:", b"Content-Type: text/html\r\nExpect:"), 415),
        (request("GET", "/ready", "Expect: 100-continue", "Content-Length: 5"), 200),
    ],
)
async def test_where_the_body_is_not_wanted_there_is_no_100(rig, autojump_clock, raw, status):
    client = rig.connect()
    await client.raw(raw)
    data = b""
    while piece := await client.stream.receive():
        data += piece
    assert data.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close\r\n" in data  # RFC 9110, section 10.1.1: or read the body and throw it away


async def test_http_1_0_expects_nothing(rig, autojump_clock):
    client = rig.connect()
    await client.raw(EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0"))
    await wait_all_tasks_blocked()
    assert client.stream.receive_now() is None
    await say(client, CHAT)
    assert (await client.answer()).status == 200


async def test_any_other_expectation_is_417(rig, upstream, autojump_clock):
    client = rig.connect()
    await say(client, request("POST", PATH, "Expect: 200-ok", body=CHAT))
    refused(await client.answer(), 417, "expectation_failed")
    assert not upstream.requests


# -- pipelining -------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(rig, upstream, autojump_clock):
    client = rig.connect()
    await client.raw(SIZED + READY + IN_CHUNKS + request("GET", "/nothing") + SIZED)
    statuses = []
    for method in ("POST", "GET", "POST", "GET", "POST"):
        client.expect(method)
        statuses.append((await client.answer()).status)
    assert statuses == [200, 200, 200, 404, 200]
    assert len(upstream.requests) == 3


async def test_pipelined_requests_are_answered_in_order_at_every_cut(rig, autojump_clock):
    raw = READY + IN_CHUNKS + request("GET", "/nothing")
    for at in range(1, len(raw)):
        client = rig.connect()
        await say(client, *cut(raw, at))
        assert (await client.answer()).status == 200
        client.expect()
        assert (await client.answer()).status == 200
        client.expect()
        assert (await client.answer()).status == 404
        client.leave()


async def test_a_request_that_comes_while_another_streams_is_neither_a_leaving_nor_lost(nursery, autojump_clock):
    go = trio.Event()
    upstream = Upstream(nursery, [HEAD, chunked(sse(role(), text("Hel"))), go, *STREAM[3:]], ANSWER)
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.chat(stream=True)
    await client.head()
    for piece in bytewise(SIZED):
        await client.raw(piece)
        await wait_all_tasks_blocked()
    assert len(upstream.requests) == 1  # not begun before the first is done
    go.set()
    pieces = []
    while piece := await client.piece():
        pieces.append(piece)
    assert pieces[-1].endswith(b"data: [DONE]\n\n")
    client.expect()
    assert (await client.answer()).status == 200
    await wait_all_tasks_blocked()
    assert rig.gateway.ledger.endings == {"completed": 2}


async def test_the_client_that_leaves_after_pipelining_is_noticed(nursery, autojump_clock):
    upstream = Upstream(nursery, [HEAD, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.chat(stream=True)
    await client.raw(SIZED)
    asked = await upstream.request()
    client.leave()
    await asked.closed.wait()
    await wait_all_tasks_blocked()
    assert (asked.closed_at, len(upstream.requests)) == (0, 1)
    assert rig.gateway.ledger.endings == {"client_gone": 1}


async def test_a_thousand_pipelined_requests_do_not_keep_others_waiting(rig, autojump_clock):
    many = 1000
    client = rig.connect(capacity=1 << 20)
    await client.raw(request("GET", "/ready") * many)
    turns = 0

    async def count(task_status):
        nonlocal turns
        task_status.started()
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        await nursery.start(count)
        for _ in range(many):
            client.expect("GET")
            assert (await client.answer()).status == 200
        nursery.cancel_scope.cancel()
    assert turns > many / 2


# -- closing so that the answer can be read ---------------------------------------------------------------


async def test_the_answer_to_a_body_that_is_too_large_can_be_read_after_all_was_sent(nursery, autojump_clock):
    """As http clients do it: first everything is sent, and only then is anything read."""
    rig = Rig(nursery, Upstream(nursery), "[limits]\nbody_bytes = 1000\n")
    for framing in ("Content-Length: 3000000", "Transfer-Encoding: chunked"):
        client = rig.connect(capacity=1000)
        await client.raw(request("POST", PATH, framing))
        for _ in range(300):
            await client.raw(chunked(b"x" * 9994))
        client.expect()
        refused(await client.answer(), 413, "request_too_large")
        client.leave()
    await wait_all_tasks_blocked()
    assert rig.gateway.connections == 0


async def test_a_client_that_sends_on_for_ever_is_not_read_for_ever(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery), "[limits]\nbody_bytes = 1000\n")
    client = rig.connect()
    await client.raw(request("POST", PATH, "Content-Length: 99999999"))
    client.expect()
    refused(await client.answer(), 413, "request_too_large")
    while rig.gateway.connections:
        client.stream.send_now(b"x")
        await trio.sleep(0.1)
    assert 1 < trio.current_time() < 3


async def test_a_client_that_pours_is_read_up_to_a_bound(nursery, autojump_clock, monkeypatch):
    monkeypatch.setattr("penstock.server.connection.LINGER_BYTES", 500_000)
    rig = Rig(nursery, Upstream(nursery), "[limits]\nbody_bytes = 1000\n")
    client = rig.connect(capacity=10_000)
    await client.raw(request("POST", PATH, "Content-Length: 99999999"))
    await wait_all_tasks_blocked()
    sent = 0
    while rig.gateway.connections:
        sent += client.stream.send_now(b"x" * 10_000)
        await wait_all_tasks_blocked()
    assert 500_000 <= sent < 600_000
    assert trio.current_time() == 0


async def test_a_clock_that_rang_in_the_moment_in_which_all_was_there_is_forgotten(rig, autojump_clock):
    ours, theirs = memory_pair()
    intake = Intake(rig.gateway, ours, "")
    async with trio.open_nursery() as reading:
        reading.start_soon(intake.pump)
        await theirs.send_all(SIZED)
        await intake.next_request()
        intake.stop_waiting()
        assert await intake.read_body() == CHAT
        reading.start_soon(theirs.send_all, READY)
        asked = await intake.next_request()
        reading.cancel_scope.cancel()
    assert asked is not None
    assert asked.path == "/ready"
