"""The direct transport over streams in memory: heads, bodies, reuse, and all that can go wrong."""

import pytest
import trio
import trio.testing

from penstock.protocol import chunked
from penstock.providers.direct import DirectTransport
from penstock.providers.memory import MemoryStream
from penstock.providers.transport import UpstreamError, UpstreamRequest
from wires import CHAT, GET, Network, answering, deadline, in_pieces, read_all, read_request

JSON = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nX-Request-Id: a\r\n\r\n"
    + b'{"ok":true}'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [b"data: one\n\n", "data: два 🙂\n\n".encode(), b"data: [DONE]\n\n"]
STREAM = HEAD + b"".join(map(chunked.encode, EVENTS)) + chunked.LAST
UNTIL_END = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + b"".join(EVENTS)


def transport(network, **options):
    return DirectTransport("http://upstream:8000", connect=network.connect, **options)


@pytest.fixture
async def network(nursery):
    """Makes a network; whatever its servers still wait for at the end of the test is cancelled."""

    def make(*servers, capacity=65536):
        return Network(nursery, *servers, capacity=capacity)

    return make


# -- what is sent


async def test_the_request_as_it_goes_out(network):
    requests = []
    net = network(answering(JSON, requests=requests))
    response = await transport(net).send(CHAT, deadline())
    assert await read_all(response) == b'{"ok":true}'
    head, _, body = requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/chat/completions HTTP/1.1"
    assert sorted(line.lower() for line in lines[1:]) == [
        b"accept-encoding: identity",
        b"content-length: 16",
        b"content-type: application/json",
        b"host: upstream:8000",
    ]
    assert body == CHAT.body


async def test_a_get_has_no_length_and_a_callers_accept_encoding_stands(network):
    requests = []
    net = network(answering(JSON, requests=requests))
    await transport(net).send(GET._replace(headers=[("accept-encoding", "identity;q=1")]), deadline())
    assert b"content-length" not in requests[0].lower()
    assert requests[0].lower().count(b"accept-encoding") == 1


async def test_head_and_body_are_one_write(network):
    writes = []

    class Recording(MemoryStream):
        __slots__ = ()

        def send_now(self, data):
            writes.append(bytes(data))
            return super().send_now(data)

    net = network(answering(JSON))

    async def connect():
        stream = await net.connect()
        return Recording(stream._in, stream._out)

    await DirectTransport("http://upstream", connect=connect).send(CHAT, deadline())
    assert len(writes) == 1
    assert writes[0].endswith(CHAT.body)


async def test_a_large_body_goes_out_as_the_upstream_takes_it(network):
    requests = []
    net = network(answering(JSON, requests=requests), capacity=1000)
    body = bytes(range(256)) * 1000
    response = await transport(net).send(CHAT._replace(body=body), deadline())
    assert await read_all(response) == b'{"ok":true}'
    assert requests[0].endswith(body)


async def test_progress_of_a_large_body_renews_the_deadline(network, autojump_clock):
    async def slow_reader(stream):
        for _ in range(30):
            await trio.sleep(5)
            await stream.receive(10_000)
        await stream.send_all(JSON)

    net = network(slow_reader, capacity=10_000)
    limit = deadline(connect=1, first_event=10)
    with limit.scope:
        await transport(net).send(CHAT._replace(body=b"x" * 290_000), limit)
    assert not limit.scope.cancelled_caught
    assert trio.current_time() > 100


async def test_header_injection_is_refused_before_anything_is_sent(network):
    net = network(answering(JSON))
    with pytest.raises(UpstreamError, match="cannot be written") as caught:
        await transport(net).send(CHAT._replace(headers=[("x", "a\r\nb: c")]), deadline())
    assert (caught.value.kind, caught.value.sent) == ("protocol", False)
    assert net.clients == []


# -- heads and bodies


async def test_status_and_headers(network):
    response = await transport(network(answering(JSON))).send(CHAT, deadline())
    assert response.status == 200
    assert response.header("x-request-id") == "a"
    assert response.header("x-missing") is None


@pytest.mark.parametrize("raw", [JSON, STREAM], ids=["counted", "chunked"])
async def test_every_cut_of_an_answer_means_the_same(network, raw):
    for cut in range(1, len(raw)):
        net = network(in_pieces(raw[:cut], raw[cut:]))
        way = transport(net)
        response = await way.send(CHAT, deadline())
        assert await read_all(response) == (b"".join(EVENTS) if raw is STREAM else b'{"ok":true}')
        assert await response.receive() == b""
        response.finish()
        assert way.idle == 1


@pytest.mark.parametrize("raw", [JSON, STREAM, UNTIL_END], ids=["counted", "chunked", "until the end"])
async def test_byte_by_byte(network, raw):
    pieces = [bytes([byte]) for byte in raw]
    net = network(in_pieces(*pieces, then=MemoryStream.close))
    response = await transport(net).send(CHAT, deadline())
    assert await read_all(response) == (b'{"ok":true}' if raw is JSON else b"".join(EVENTS))


async def test_each_piece_is_handed_on_when_it_comes(network):
    """One read is one piece, with all the chunks that were in it."""
    two = chunked.encode(EVENTS[0]) + chunked.encode(EVENTS[1])
    net = network(in_pieces(HEAD, two, chunked.encode(EVENTS[2]) + chunked.LAST))
    response = await transport(net).send(CHAT, deadline())
    assert await response.receive() == EVENTS[0] + EVENTS[1]
    assert await response.receive() == EVENTS[2]
    assert await response.receive() == b""


async def test_a_body_until_the_end_of_the_connection(network):
    way = transport(network(in_pieces(UNTIL_END, then=MemoryStream.close)))
    response = await way.send(CHAT, deadline())
    assert await read_all(response) == b"".join(EVENTS)
    response.finish()
    assert way.idle == 0


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_these_statuses_have_no_body(network, status):
    raw = f"HTTP/1.1 {status}\r\ncontent-length: 10\r\n\r\n".encode()
    way = transport(network(answering(raw)))
    response = await way.send(GET, deadline())
    assert await response.receive() == b""
    response.finish()
    assert way.idle == 1


async def test_the_answer_to_a_head_request_has_no_body(network):
    way = transport(network(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")))
    response = await way.send(GET._replace(method="HEAD"), deadline())
    assert await response.receive() == b""
    response.finish()
    assert way.idle == 1


async def test_interim_responses_are_skipped(network):
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + JSON
    for cut in range(1, len(raw)):
        response = await transport(network(in_pieces(raw[:cut], raw[cut:]))).send(CHAT, deadline())
        assert response.status == 200
        assert await read_all(response) == b'{"ok":true}'


async def test_c47_a_length_beside_chunks_is_refused(network):
    raw = HEAD[:-2] + b"content-length: 20\r\n\r\n" + STREAM[len(HEAD) :]
    with pytest.raises(UpstreamError) as caught:
        await transport(network(answering(raw))).send(CHAT, deadline())
    assert caught.value.kind == "protocol"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname : value\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx",
    ],
)
async def test_what_is_not_http_as_we_take_it(network, raw):
    net = network(in_pieces(raw, then=MemoryStream.close))
    with pytest.raises(UpstreamError) as caught:
        await transport(net).send(CHAT, deadline())
    assert (caught.value.kind, caught.value.sent) == ("protocol", True)
    assert net.open == 0


@pytest.mark.parametrize("piece_size", [1000, 70_000])
async def test_the_head_is_bounded_wherever_it_is_cut(network, piece_size):
    async def endless(stream):
        await read_request(stream)
        raw = b"HTTP/1.1 200 OK\r\n" + b"x-filler: y\r\n" * 6000
        for at in range(0, len(raw), piece_size):
            await stream.send_all(raw[at : at + piece_size])

    net = network(endless, capacity=100_000)
    with pytest.raises(UpstreamError) as caught:
        await transport(net).send(CHAT, deadline())
    assert caught.value.kind == "too_large"
    assert net.open == 0


async def test_the_number_of_headers_is_bounded(network):
    net = network(answering(b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 300 + b"\r\n"))
    with pytest.raises(UpstreamError) as caught:
        await transport(net).send(CHAT, deadline())
    assert caught.value.kind == "too_large"


async def test_interim_responses_without_end_are_bounded(network):
    async def endless(stream):
        await read_request(stream)
        for _ in range(10_000):
            await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")

    with pytest.raises(UpstreamError) as caught:
        await transport(network(endless)).send(CHAT, deadline())
    assert caught.value.kind == "too_large"


# -- answers that break off


@pytest.mark.parametrize(("then", "kind"), [(MemoryStream.close, "closed"), (MemoryStream.reset, "reset")])
@pytest.mark.parametrize("raw", [JSON, STREAM], ids=["counted", "chunked"])
async def test_an_answer_cut_at_any_byte_is_told_from_a_whole_one(network, raw, then, kind):
    for cut in range(1, len(raw)):
        net = network(in_pieces(raw[:cut], then=then))
        with pytest.raises(UpstreamError) as caught:
            await read_all(await transport(net).send(CHAT, deadline()))
        assert (caught.value.kind, caught.value.sent) == (kind, True)
        assert net.open == 0


async def test_pieces_before_a_cut_are_handed_on_first(network):
    net = network(in_pieces(HEAD + chunked.encode(EVENTS[0]) + b"5\r\nda", then=MemoryStream.close))
    response = await transport(net).send(CHAT, deadline())
    assert await response.receive() == EVENTS[0] + b"da"
    with pytest.raises(UpstreamError):
        await response.receive()


async def test_pieces_before_bad_chunked_coding_are_handed_on_and_the_fault_does_not_wait(network):
    """The upstream stays silent after the fault: it must not take another read to find out."""
    net = network(in_pieces(HEAD + chunked.encode(EVENTS[0]) + b"zz\r\n"))
    response = await transport(net).send(CHAT, deadline())
    assert await response.receive() == EVENTS[0]
    with pytest.raises(UpstreamError) as caught:
        await response.receive()
    assert caught.value.kind == "protocol"
    assert net.open == 0


async def test_c63_connecting_fails_in_send_and_not_at_the_first_read():
    async def refuse():
        await trio.lowlevel.checkpoint()
        raise UpstreamError("refused", "the upstream refuses connections", sent=False)

    with pytest.raises(UpstreamError) as caught:
        await DirectTransport("http://upstream", connect=refuse).send(CHAT, deadline())
    assert not caught.value.sent


async def test_c63_an_error_status_is_there_when_send_returns(network):
    raw = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 2\r\n\r\n{}"
    response = await transport(network(answering(raw))).send(CHAT, deadline())
    assert response.status == 429
    assert response.header("retry-after") == "3"


@pytest.mark.parametrize(("then", "kind"), [(MemoryStream.close, "closed"), (MemoryStream.reset, "reset")])
async def test_c69_a_new_connection_that_dies_without_an_answer(network, then, kind):
    net = network(in_pieces(then=then))
    with pytest.raises(UpstreamError) as caught:
        await transport(net).send(CHAT, deadline())
    assert (caught.value.kind, caught.value.sent) == (kind, True)
    assert len(net.clients) == 1


async def test_an_answer_to_a_body_that_was_not_taken_whole(network):
    """An upstream that refuses a large body may answer and close without reading on."""

    async def refuse(stream):
        await stream.receive(100)
        stream.send_now(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        stream._in.break_off()

    way = transport(network(refuse, capacity=1000))
    response = await way.send(CHAT._replace(body=b"x" * 100_000), deadline())
    assert response.status == 413
    response.finish()
    assert way.idle == 0


# -- reuse


async def test_a_connection_serves_one_request_after_the_other(network):
    net = network(answering(JSON, STREAM))
    way = transport(net)
    for _ in range(20):
        response = await way.send(CHAT, deadline())
        assert await read_all(response)
        response.finish()
        response.close()  # after `finish` it is nobody's any more
        assert way.idle == 1
    assert len(net.clients) == 1


async def test_c18_no_connection_leak_on_idle_reuse(network):
    net = network(answering(JSON))
    way = transport(net)

    async def client(count):
        for _ in range(count):
            response = await way.send(CHAT, deadline())
            assert await read_all(response) == b'{"ok":true}'
            response.finish()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(client, 100)
    assert len(net.clients) <= 10
    assert net.open == way.idle <= 10
    way.close()
    assert net.open == 0


async def test_c17_evicting_idle_connections_leaves_streams_under_way_alone(network, autojump_clock):
    net = network(in_pieces(HEAD, chunked.encode(EVENTS[0])), answering(JSON))
    way = transport(net, max_idle=1, idle_seconds=5)
    stream = await way.send(CHAT, deadline())
    others = [await way.send(CHAT, deadline()) for _ in range(3)]
    for other in others:
        await read_all(other)
        other.finish()
    await trio.sleep(60)
    way.expire()
    way.close()
    assert way.idle == 0
    assert net.open == 1
    assert await stream.receive() == EVENTS[0]
    stream.close()


async def test_a_kept_connection_that_was_closed_is_not_used(network):
    async def once(stream):
        await read_request(stream)
        await stream.send_all(JSON)
        stream.close()

    net = network(once)
    way = transport(net)
    for _ in range(3):
        response = await way.send(CHAT, deadline())
        await read_all(response)
        response.finish()
        await trio.testing.wait_all_tasks_blocked()
    assert len(net.clients) == 3


@pytest.mark.parametrize("end", [MemoryStream.close, MemoryStream.reset])
async def test_a_kept_connection_that_dies_under_the_request_is_replaced_once(network, end):
    async def answer_once(stream):
        await read_request(stream)
        await stream.send_all(JSON)
        await read_request(stream)
        end(stream)

    net = network(answer_once, answering(JSON))
    way = transport(net)
    for _ in range(2):
        response = await way.send(CHAT, deadline())
        assert await read_all(response) == b'{"ok":true}'
        response.finish()
    assert len(net.clients) == 2
    assert net.open == 1


async def test_it_is_replaced_once_and_not_more(network):
    async def answer_once(stream):
        await read_request(stream)
        await stream.send_all(JSON)
        await read_request(stream)
        stream.close()

    net = network(answer_once, in_pieces(then=MemoryStream.close), answering(JSON))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    await read_all(response)
    response.finish()
    with pytest.raises(UpstreamError) as caught:
        await way.send(CHAT, deadline())
    assert caught.value.kind == "closed"
    assert len(net.clients) == 2


async def test_a_kept_connection_that_dies_within_its_answer_is_not_replaced(network):
    async def answer_badly(stream):
        await read_request(stream)
        await stream.send_all(JSON)
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 2")
        stream.close()

    net = network(answer_badly, answering(JSON))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    await read_all(response)
    response.finish()
    with pytest.raises(UpstreamError):
        await way.send(CHAT, deadline())
    assert len(net.clients) == 1


@pytest.mark.parametrize(
    "raw",
    [
        JSON + b"HTTP/1.1 200 OK\r\n",
        STREAM + b"x",
        b"HTTP/1.1 204 No Content\r\n\r\nx",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nconnection: Keep-Alive, Close\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_cannot_serve_again_is_closed(network, raw):
    net = network(answering(raw))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    await read_all(response)
    response.finish()
    assert way.idle == 0
    assert net.open == 0


async def test_what_comes_unasked_while_idle_rules_a_connection_out(network):
    net = network(answering(JSON))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    await read_all(response)
    response.finish()
    net.ends[0].send_now(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    await read_all(await way.send(CHAT, deadline()))
    assert len(net.clients) == 2


# -- finishing before the end was read, and closing


async def test_the_end_of_a_stream_that_came_with_its_last_event_is_enough(network):
    net = network(answering(STREAM))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    assert (await response.receive()).endswith(EVENTS[-1])
    response.finish()
    assert way.idle == 1


async def test_an_end_that_is_here_but_unread_is_enough(network):
    net = network(in_pieces(HEAD + chunked.encode(EVENTS[-1])))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    await response.receive()
    net.ends[0].send_now(chunked.LAST)
    response.finish()
    assert way.idle == 1


async def test_a_body_that_came_with_its_head_need_not_be_read(network):
    way = transport(network(answering(JSON)))
    (await way.send(CHAT, deadline())).finish()
    assert way.idle == 1


async def test_finish_without_an_end_closes_at_once(network):
    net = network(in_pieces(HEAD + chunked.encode(EVENTS[0])))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    await response.receive()
    response.finish()
    assert net.open == 0
    assert net.ends[0].receive_now() == b""


async def test_finish_that_settles_waits_for_the_end_in_the_pool(network):
    """`[DONE]` has come, the last chunk comes a moment later: no reason to lose the connection."""
    net = network(in_pieces(HEAD + chunked.encode(EVENTS[-1])))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    await response.receive()
    response.finish(settle=True)
    assert way.idle == 1
    net.ends[0].send_now(chunked.LAST)
    net.serve(answering(JSON), net.ends[0])
    assert await read_all(await way.send(CHAT, deadline())) == b'{"ok":true}'
    assert len(net.clients) == 1


@pytest.mark.parametrize("late", [b"", chunked.encode(b"more"), b"zz\r\n", chunked.LAST + b"x"])
async def test_what_has_not_settled_when_it_is_needed_is_closed(network, late):
    net = network(in_pieces(HEAD + chunked.encode(EVENTS[-1])), answering(JSON))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    await response.receive()
    response.finish(settle=True)
    net.ends[0].send_now(late)
    assert await read_all(await way.send(CHAT, deadline())) == b'{"ok":true}'
    assert len(net.clients) == 2
    assert net.open == 1


async def test_what_ended_instead_of_settling_is_closed(network):
    net = network(in_pieces(HEAD + chunked.encode(EVENTS[-1])), answering(JSON))
    way = transport(net)
    response = await way.send(CHAT, deadline())
    await response.receive()
    response.finish(settle=True)
    net.ends[0].close()
    assert await read_all(await way.send(CHAT, deadline())) == b'{"ok":true}'
    assert len(net.clients) == 2


async def test_a_flood_is_not_drained(network):
    async def flood(stream):
        await read_request(stream)
        await stream.send_all(HEAD)
        while True:
            await stream.send_all(chunked.encode(b"x" * 1000))

    net = network(flood, answering(JSON), flood, answering(JSON))
    way = transport(net)

    for settle in (False, True):
        response = await way.send(CHAT, deadline())
        await response.receive()
        await trio.testing.wait_all_tasks_blocked()
        response.finish(settle=settle)
        await read_all(await way.send(GET, deadline()))
    assert len(net.clients) == 4


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + chunked.encode(EVENTS[0])], ids=["nothing", "head", "event"])
async def test_c01_c02_leaving_closes_the_upstream_at_once(network, autojump_clock, sent):
    """Before the head, before the first event, between events: at the very moment of the cancellation."""
    net = network(in_pieces(sent) if sent else in_pieces())
    closed_at = []

    async def watch():
        await trio.sleep(0)
        while not net.ends:
            await trio.sleep(0.001)
        while not net.ends[0]._in.ended and not net.ends[0]._in.broken:
            await net.ends[0]._in.waiting.park()
        closed_at.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        with trio.move_on_after(7):
            response = await transport(net).send(CHAT, deadline(first_event=0))
            try:
                while True:
                    await response.receive()
            finally:
                response.close()
    assert net.open == 0
    assert closed_at == [trio.current_time()]


async def test_cancelled_while_it_connects_or_sends_it_leaves_nothing_open(network, autojump_clock):
    async def never_reads(stream):
        await trio.sleep_forever()

    net = network(never_reads, capacity=10)
    with trio.move_on_after(1):
        await transport(net).send(CHAT, deadline())
    assert len(net.clients) == 1
    assert net.open == 0


async def test_the_phases_of_the_deadline(network, autojump_clock):
    async def slow(stream):
        await read_request(stream)
        await trio.sleep(50)
        await stream.send_all(JSON)

    net = network(slow)

    async def connect():
        await trio.sleep(8)
        return await net.connect()

    way = DirectTransport("http://upstream", connect=connect)
    limit = deadline(connect=10, first_event=60)
    with limit.scope:
        await way.send(CHAT, limit)
    assert not limit.scope.cancelled_caught
    for seconds, phase in [({"connect": 7}, "connect"), ({"first_event": 49}, "first_event")]:
        limit = deadline(**seconds)
        with limit.scope:
            await way.send(CHAT, limit)
        assert limit.fired == phase
    assert net.open == 1


async def test_a_response_that_was_given_up_cannot_be_read(network):
    response = await transport(network(answering(JSON))).send(CHAT, deadline())
    response.close()
    response.close()
    response.finish()
    with pytest.raises(RuntimeError):
        await response.receive()


async def test_errors_show_no_secret(network):
    secret = "sk-very-secret"
    request = UpstreamRequest("POST", "/v1?key=" + secret, [("authorization", "Bearer " + secret)], b"{}")
    for server in (
        in_pieces(b"HTTP/1.1 200 " + secret.encode(), then=MemoryStream.close),
        in_pieces(then=MemoryStream.reset),
    ):
        with pytest.raises(UpstreamError) as caught:
            await transport(network(server)).send(request, deadline())
        assert secret not in str(caught.value)
