"""Long bodies over both transports: read as they are taken, sent again, and stopped when they are refused."""

import random
import socket
import ssl

import pytest
import trio
import trio.testing
import trustme

from penstock.providers.direct import DirectTransport
from penstock.providers.httpx_transport import HttpxTransport
from penstock.providers.stream import SocketStream, StreamBroken
from penstock.providers.tls import start_tls
from penstock.providers.transport import LongBody, UpstreamError, UpstreamRequest
from wires import Network, answering, deadline, read_all, read_request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"
PIECE = 65536


class Body(LongBody):
    """So many bytes; `reads` is where each piece was taken."""

    def __init__(self, size):
        self.data = random.Random(1).randbytes(size)
        self.reads = []

    def __len__(self):
        return len(self.data)

    async def read(self, start):
        await trio.lowlevel.checkpoint()
        self.reads.append(start)
        return self.data[start : start + PIECE]


def upload(body):
    return UpstreamRequest("POST", "/v1/audio/transcriptions", [("content-type", "multipart/form-data")], body)


class Server:
    """`serve(stream)` for each connection to a real socket."""

    def __init__(self, nursery, serve):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._serve, self._nursery = serve, nursery
        self.origin = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        nursery.start_soon(self._accept)

    async def _accept(self):
        with self._listener:
            while True:
                await trio.lowlevel.wait_readable(self._listener)
                self._nursery.start_soon(self._run, SocketStream(self._listener.accept()[0]))

    async def _run(self, stream):
        try:
            await self._serve(stream)
        except StreamBroken:
            pass
        finally:
            stream.close()


@pytest.fixture(params=[DirectTransport, HttpxTransport])
async def transport_to(request, nursery):
    made = []

    def transport_to(serve):
        made.append(request.param(Server(nursery, serve).origin))
        return made[-1]

    yield transport_to
    for transport in made:
        transport.close()
        if isinstance(transport, HttpxTransport):
            await transport.reap()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [1, PIECE, 3 * PIECE + 5, 25 << 20])
async def test_a_long_body_arrives_whole_and_its_connection_serves_again(transport_to, size):
    requests = []
    transport = transport_to(answering(OK, requests=requests))
    body = Body(size)
    for _ in range(2):
        response = await transport.send(upload(body), deadline())
        assert await read_all(response) == b"ok"
        response.finish()
    assert transport.idle == 1
    for request in requests:
        head, _, came = request.partition(b"\r\n\r\n")
        assert b"content-length: %d" % size in head.lower()
        assert came == body.data


async def test_it_is_read_no_faster_than_it_is_taken(transport_to):
    body = Body(64 << 20)

    async def serve(stream):
        await trio.sleep_forever()

    transport = transport_to(serve)
    with trio.move_on_after(0.5):
        await transport.send(upload(body), deadline())
    assert len(body.reads) * PIECE < 32 << 20


async def test_an_upstream_that_refuses_on_the_way_is_heard(transport_to):
    async def serve(stream):
        await stream.receive()
        await stream.send_all(REFUSED)
        while await stream.receive():
            await trio.sleep(0.001)  # reads on, slowly

    body = Body(64 << 20)
    response = await transport_to(serve).send(upload(body), deadline())
    assert response.status == 413
    assert await read_all(response) == b"no"
    response.finish()
    assert len(body.reads) * PIECE < len(body)


async def test_an_upstream_that_refuses_and_closes_is_heard(transport_to):
    async def serve(stream):
        await stream.receive()
        await stream.send_all(REFUSED)
        stream.end_sending()
        while await stream.receive():
            pass

    response = await transport_to(serve).send(upload(Body(16 << 20)), deadline())
    assert response.status == 413
    response.close()


@pytest.mark.parametrize("early", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n", OK, OK[:9]])
async def test_what_is_no_refusal_does_not_cut_the_body_short(transport_to, early):
    body, came = Body(4 << 20), bytearray()

    async def serve(stream):
        while b"\r\n\r\n" not in came:
            came.extend(await stream.receive())
        await stream.send_all(early)
        while not came.endswith(body.data[-100:]):
            came.extend(await stream.receive())
        await stream.send_all(OK[9:] if early == OK[:9] else b"" if early == OK else OK)
        await trio.sleep_forever()

    response = await transport_to(serve).send(upload(body), deadline())
    assert (response.status, await read_all(response)) == (200, b"ok")
    assert bytes(came).endswith(b"\r\n\r\n" + body.data)
    response.finish()


async def test_a_kept_connection_that_dies_has_the_body_sent_again(transport_to):
    requests = []

    async def serve(stream):
        requests.append(await read_request(stream))
        await stream.send_all(OK)
        if len(requests) == 1:
            await stream.receive()  # the second request begins, and the connection is closed on it
            return
        await trio.sleep_forever()

    transport = transport_to(serve)
    body = Body(3 * PIECE)
    for _ in range(2):
        response = await transport.send(upload(body), deadline())
        assert await read_all(response) == b"ok"
        response.finish()
    assert [len(request.partition(b"\r\n\r\n")[2]) for request in requests] == [len(body)] * 2


async def test_leaving_closes_it_at_once(transport_to):
    ended = trio.Event()

    async def serve(stream):
        await stream.receive()
        await trio.sleep(0.2)
        try:
            while await stream.receive():
                pass
        except StreamBroken:
            pass
        ended.set()

    transport, body = transport_to(serve), Body(32 << 20)
    with trio.move_on_after(0.02) as scope:
        await transport.send(upload(body), deadline())
    assert scope.cancelled_caught
    with trio.fail_after(5):
        await ended.wait()


# -- the direct one, in memory


async def sent(nursery, serve, body, **seconds):
    """What comes of it, under the test's clock."""
    net = Network(nursery, serve)
    transport = DirectTransport("http://upstream:8000", connect=net.connect)
    due = deadline(**seconds)
    with due.scope:
        response = await transport.send(upload(body), due)
        return response, net
    return due.fired, net


async def test_an_upstream_that_refuses_and_reads_no_more_is_heard(nursery):
    async def serve(stream):
        await stream.receive()
        await stream.send_all(REFUSED)
        await trio.sleep_forever()

    response, net = await sent(nursery, serve, Body(4 << 20))
    assert (response.status, await read_all(response)) == (413, b"no")
    response.finish()
    assert net.open == 0  # in the middle of a request, it cannot serve another
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("early", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n", OK])
@pytest.mark.parametrize("cut", [1, 5, 12, 25])
async def test_interim_answers_and_early_good_ones_stop_nothing(nursery, early, cut):
    came = bytearray()

    async def serve(stream):
        while len(came) < len(body):
            came.extend(await stream.receive())
            if early and stream.idle_and_open:
                for piece in (early[:cut], early[cut:]) if not serve.said else ():
                    serve.said = True
                    if piece:
                        await stream.send_all(piece)
                        await trio.testing.wait_all_tasks_blocked()
        if early != OK:
            await stream.send_all(OK)
        await trio.sleep_forever()

    serve.said = False
    body = Body(1 << 20)
    response, _ = await sent(nursery, serve, body)
    assert (response.status, await read_all(response)) == (200, b"ok")
    assert bytes(came).endswith(body.data[-1000:])
    nursery.cancel_scope.cancel()


async def test_what_comes_early_without_end_is_bounded(nursery):
    hints = b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" * 1000
    sent_early = 0

    async def serve(stream):
        nonlocal sent_early
        while True:
            sent_early += stream.send_now(hints)
            await stream.receive()

    with pytest.raises(UpstreamError) as caught:
        await sent(nursery, serve, Body(16 << 20))
    assert caught.value.kind in ("too_large", "protocol")
    assert sent_early < 1 << 20
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("end", ["close", "reset", "end_sending"])
async def test_an_upstream_that_goes_while_it_is_sent_to(nursery, end):
    async def serve(stream):
        await stream.receive()
        getattr(stream, end)()
        await trio.sleep_forever()

    with pytest.raises(UpstreamError) as caught:
        await sent(nursery, serve, Body(1 << 20))
    assert caught.value.sent
    nursery.cancel_scope.cancel()


async def test_progress_renews_the_deadline_and_none_ends_it(nursery, autojump_clock):
    async def serve(stream):
        for _ in range(8):
            await trio.sleep(3)
            await stream.receive()
        await trio.sleep_forever()

    begun = trio.current_time()
    fired, net = await sent(nursery, serve, Body(1 << 20), first_event=5)
    assert fired == "first_event"
    assert 24 <= trio.current_time() - begun <= 30
    assert net.open == 0
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("refuses", [False, True])
async def test_over_tls_too(nursery, refuses):
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)

    async def serve(plain):
        stream = await start_tls(plain, ours, server_side=True)
        if refuses:
            await stream.receive()
            await stream.send_all(REFUSED)
            while await stream.receive():
                pass
        else:
            requests.append(await read_request(stream))
            await stream.send_all(OK)
            await stream.receive()

    requests = []
    origin = Server(nursery, serve).origin.replace("http:", "https:")
    transport = DirectTransport(origin, tls=theirs)
    body = Body(16 << 20 if refuses else 3 << 20)
    response = await transport.send(upload(body), deadline())
    assert response.status == (413 if refuses else 200)
    assert [request.endswith(body.data) for request in requests] == [True] * (not refuses)
    response.close()
    nursery.cancel_scope.cancel()
