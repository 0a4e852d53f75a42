"""The transport on httpx, over real sockets: straight, through proxies, and left at any moment."""

import base64
import socket
import ssl

import pytest
import trio
import trio.testing
import trustme

from penstock.protocol import chunked
from penstock.providers.httpx_transport import HttpxTransport
from penstock.providers.stream import SocketStream, StreamBroken
from penstock.providers.tls import start_tls
from penstock.providers.transport import LongBody, UpstreamError
from wires import CHAT, GET, deadline, read_all, read_request

CA = trustme.CA()
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 11\r\n\r\n" + b'{"ok":true}'
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [b"data: one\n\n", "data: два 🙂\n\n".encode(), b"data: [DONE]\n\n"]
STREAM = HEAD + b"".join(map(chunked.encode, EVENTS)) + chunked.LAST


class Upstream:
    """A server on a real socket. Each request gets the next answer (the last again and again); then comes
    `after(stream)`, if there is one. `requests` is what came, `open` how many connections have not ended."""

    def __init__(self, nursery, *answers, after=None, tls=None):
        self.requests = []
        self.connections = self.open = 0
        self.url = ""
        self.ended = trio.Event()
        self._answers = list(answers)
        self._after = after
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._nursery = nursery
        nursery.start_soon(self._accept)

    async def _accept(self):
        with self._listener:
            while True:
                await trio.lowlevel.wait_readable(self._listener)
                self.connections += 1
                self._nursery.start_soon(self._serve, SocketStream(self._listener.accept()[0]))

    async def _serve(self, stream):
        self.open += 1
        try:
            if self._tls is not None:
                stream = await start_tls(stream, self._tls, server_side=True)
            while request := await read_request(stream):
                self.requests.append(request)
                await stream.send_all(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])
                if self._after is not None:
                    await self._after(stream)
        except (StreamBroken, ssl.SSLError):
            pass
        finally:
            self.open -= 1
            stream.close()
            self.ended.set()


class Proxy(Upstream):
    """An HTTP proxy. It answers plain requests itself, and leads CONNECT to the port that was asked for."""

    def __init__(self, nursery, *answers, refuse=b"", **options):
        super().__init__(nursery, *(answers or (b"",)), **options)
        self.url = f"http://user:hunter2@127.0.0.1:{self.port}"
        self._refuse = refuse

    async def _serve(self, stream):
        self.open += 1
        try:
            request = await read_request(stream)
            self.requests.append(request)
            if self._refuse or not request.startswith(b"CONNECT "):
                await stream.send_all(self._refuse or self._answers[0])
                return
            far = SocketStream(socket.create_connection(("127.0.0.1", int(request.split()[1].split(b":")[1]))))
            await stream.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with trio.open_nursery() as nursery:
                for one, other in [(stream, far), (far, stream)]:
                    nursery.start_soon(self._pass_on, one, other)
        finally:
            self.open -= 1
            stream.close()

    async def _pass_on(self, one, other):
        try:
            while data := await one.receive():
                await other.send_all(data)
        except StreamBroken:
            pass
        finally:
            one.close()
            other.close()


@pytest.fixture(autouse=True)
async def watchdog(nursery):
    async def bark():
        await trio.sleep(20)
        raise AssertionError("the test hangs")

    nursery.start_soon(bark)


@pytest.fixture
async def make(nursery):
    """Makes transports; what httpx leaves behind is cleared away when the test is over."""
    made = []

    def make(upstream, scheme="http", **options):
        made.append(HttpxTransport(f"{scheme}://localhost:{upstream.port}", **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()
        await transport.reap()


@pytest.fixture
def ca_file(tmp_path):
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(name="localhost"):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert(name).configure_cert(context)
    return context


async def forever(stream):
    assert await stream.receive() == b""
    raise StreamBroken


async def end(stream):
    await trio.lowlevel.checkpoint()
    raise StreamBroken


async def answer(way, request=CHAT):
    """The body of an answer that is read to its end."""
    response = await way.send(request, deadline())
    body = await read_all(response)
    response.finish()
    return body


async def test_a_request_and_its_answer(nursery, make):
    upstream = Upstream(nursery, JSON)
    response = await make(upstream).send(CHAT, deadline())
    assert response.status == 200
    assert response.header("content-type") == "application/json"
    assert await read_all(response) == b'{"ok":true}'
    assert await response.receive() == b""
    response.finish()
    head, _, body = upstream.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/chat/completions HTTP/1.1"
    assert sorted(line.lower() for line in lines[1:]) == [
        b"accept-encoding: identity",
        b"content-length: 16",
        b"content-type: application/json",
        f"host: localhost:{upstream.port}".encode(),
    ]
    assert body == CHAT.body


async def test_a_get_and_a_target_with_everything(nursery, make):
    upstream = Upstream(nursery, JSON)
    await answer(make(upstream), GET._replace(target="/v1/models/a%2Fb?x=%20y"))
    assert upstream.requests[0].startswith(b"GET /v1/models/a%2Fb?x=%20y HTTP/1.1\r\n")
    assert b"content-length" not in upstream.requests[0].lower()


async def test_a_stream_and_reuse(nursery, make):
    upstream = Upstream(nursery, STREAM)
    way = make(upstream)
    for _ in range(10):
        response = await way.send(CHAT, deadline())
        assert await read_all(response) == b"".join(EVENTS)
        response.finish()
        response.close()
    assert upstream.connections == 1
    assert way.idle == 1


async def test_c18_no_connection_leak_on_idle_reuse(nursery, make):
    upstream = Upstream(nursery, JSON)
    way = make(upstream)

    async def client():
        for _ in range(50):
            await answer(way)

    async with trio.open_nursery() as clients:
        for _ in range(4):
            clients.start_soon(client)
    assert upstream.connections <= 4
    assert way.idle <= 4


async def test_a_stream_that_settles_is_used_again(nursery, make):
    upstream = Upstream(nursery, STREAM)
    way = make(upstream)
    for _ in range(5):
        response = await way.send(CHAT, deadline())
        while not (await response.receive()).endswith(EVENTS[-1]):
            pass
        response.finish(settle=True)
    assert upstream.connections == 1


async def test_a_stream_that_does_not_settle_is_closed(nursery, make):
    upstream = Upstream(nursery, HEAD + chunked.encode(EVENTS[-1]), after=forever)
    way = make(upstream)
    for _ in range(2):
        response = await way.send(CHAT, deadline())
        await response.receive()
        response.finish(settle=True)
    with trio.fail_after(5):
        await upstream.ended.wait()
    assert upstream.connections == 2


@pytest.mark.parametrize("leave", ["close", "finish"])
async def test_c01_leaving_a_stream_closes_its_connection_at_once(nursery, make, leave):
    upstream = Upstream(nursery, HEAD + chunked.encode(EVENTS[0]), after=forever)
    way = make(upstream)
    response = await way.send(CHAT, deadline())
    assert await response.receive() == EVENTS[0]
    getattr(response, leave)()
    with trio.fail_after(10):  # only so that a hang ends
        await upstream.ended.wait()
    assert way.idle == 0
    with pytest.raises(RuntimeError):
        await response.receive()


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + chunked.encode(EVENTS[0])], ids=["nothing", "head", "event"])
async def test_c02_a_cancellation_closes_the_upstream(nursery, make, sent):
    upstream = Upstream(nursery, sent, after=forever)
    response = None
    with trio.move_on_after(0.2):
        response = await make(upstream).send(CHAT, deadline())
        while True:
            await response.receive()
    if response is not None:
        response.close()
    with trio.fail_after(10):  # only so that a hang ends
        await upstream.ended.wait()


async def test_the_phases_of_the_deadline(nursery, make):
    upstream = Upstream(nursery, b"", after=forever)
    limit = deadline(first_event=0.1)
    with limit.scope:
        await make(upstream).send(CHAT, limit)
    assert limit.fired == "first_event"


async def fails(way, request=CHAT):
    with pytest.raises(UpstreamError) as caught:
        await answer(way, request)
    assert "hunter2" not in str(caught.value)
    return caught.value.kind, caught.value.sent


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


async def test_c69_failures_to_connect():
    refused = HttpxTransport(f"http://127.0.0.1:{free_port()}")
    assert await fails(refused) == ("refused", False)
    assert await fails(HttpxTransport("http://nonexistent.invalid")) == ("dns", False)
    behind = HttpxTransport("http://upstream.test", proxy=f"http://user:hunter2@127.0.0.1:{free_port()}")
    assert await fails(behind) == ("proxy", False)


async def test_c69_failures_of_tls(nursery, make, ca_file):
    assert await fails(make(Upstream(nursery, JSON, tls=server_context()), "https")) == ("tls", False)
    other = Upstream(nursery, JSON, tls=server_context("other.test"))
    assert await fails(make(other, "https", ca_file=ca_file)) == ("tls", False)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"", ("closed", True)),
        (JSON[:-1], ("closed", True)),
        (STREAM[:-1], ("closed", True)),
        (HEAD + b"zz\r\n", ("protocol", True)),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ("protocol", True)),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx", ("protocol", True)),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n", ("too_large", True)),
    ],
)
async def test_c69_answers_that_break_off_or_are_none(nursery, make, answer, failure):
    upstream = Upstream(nursery, answer, after=end)
    assert await fails(make(upstream)) == failure
    assert upstream.connections == 1


async def test_c69_a_reset_within_the_answer(nursery, make):
    async def reset(stream):
        await trio.lowlevel.checkpoint()
        stream._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raise StreamBroken

    assert await fails(make(Upstream(nursery, HEAD, after=reset))) == ("reset", True)


async def test_a_header_that_cannot_be_written(nursery, make):
    upstream = Upstream(nursery, JSON)
    request = CHAT._replace(headers=[("x", "a\r\nb: c")])
    assert await fails(make(upstream), request) == ("protocol", False)


async def test_a_kept_connection_that_dies_under_the_request_is_replaced_once(nursery, make):
    served = 0

    async def die_in_the_second(stream):
        nonlocal served
        served += 1
        if served == 1:
            await stream.receive(1)
            raise StreamBroken

    upstream = Upstream(nursery, JSON, after=die_in_the_second)
    way = make(upstream)
    for _ in range(2):
        assert await answer(way) == b'{"ok":true}'
    assert upstream.connections == 2


async def test_a_kept_connection_that_was_closed_is_not_used(nursery, make):
    upstream = Upstream(nursery, JSON, after=end)
    way = make(upstream)
    for _ in range(2):
        await answer(way)
        await upstream.ended.wait()
    assert len(upstream.requests) == 2


async def test_through_a_proxy_in_the_clear(nursery, make):
    proxy = Proxy(nursery, JSON)
    way = HttpxTransport("http://upstream.test:8000", proxy=proxy.url)
    assert await answer(way) == b'{"ok":true}'
    way.close()
    head = proxy.requests[0]
    assert head.startswith(b"POST http://upstream.test:8000/v1/chat/completions HTTP/1.1\r\n")
    assert base64.b64encode(b"user:hunter2") in head


async def test_through_a_proxy_by_connect(nursery, make, ca_file):
    upstream = Upstream(nursery, STREAM, tls=server_context())
    proxy = Proxy(nursery)
    way = make(upstream, "https", proxy=proxy.url, ca_file=ca_file)
    for _ in range(3):
        assert await answer(way) == b"".join(EVENTS)
    assert len(proxy.requests) == 1
    assert proxy.requests[0].startswith(f"CONNECT localhost:{upstream.port} HTTP/1.1\r\n".encode())
    assert len(upstream.requests) == 3


async def test_c01_leaving_closes_through_a_proxy(nursery, make, ca_file):
    upstream = Upstream(nursery, HEAD + chunked.encode(EVENTS[0]), after=forever, tls=server_context())
    way = make(upstream, "https", proxy=Proxy(nursery).url, ca_file=ca_file)
    response = await way.send(CHAT, deadline())
    assert await response.receive() == EVENTS[0]
    response.close()
    with trio.fail_after(10):  # only so that a hang ends
        await upstream.ended.wait()


async def test_a_proxy_that_refuses(nursery, make):
    upstream = Upstream(nursery, JSON)
    proxy = Proxy(nursery, refuse=b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
    assert await fails(make(upstream, "https", proxy=proxy.url)) == ("proxy", False)


async def test_through_a_socks_proxy(nursery, make):
    upstream = Upstream(nursery, JSON)

    class Socks(Proxy):
        async def _serve(self, stream):
            assert await stream.receive() == b"\5\1\0"
            await stream.send_all(b"\5\0")
            asked = await stream.receive()
            assert asked[:5] == b"\5\1\0\3\x09"
            far = SocketStream(socket.create_connection(("127.0.0.1", int.from_bytes(asked[-2:], "big"))))
            await stream.send_all(b"\5\0\0\1\0\0\0\0\0\0")
            async with trio.open_nursery() as passing:
                for one, other in [(stream, far), (far, stream)]:
                    passing.start_soon(self._pass_on, one, other)

    way = make(upstream, proxy=f"socks5://127.0.0.1:{Socks(nursery).port}")
    assert await answer(way) == b'{"ok":true}'


async def test_c17_expiring_idle_connections_leaves_streams_under_way_alone(nursery, make):
    upstream = Upstream(nursery, HEAD + chunked.encode(EVENTS[0]), JSON, after=None)
    way = make(upstream, max_idle=1)
    stream = await way.send(CHAT, deadline())
    assert await stream.receive() == EVENTS[0]
    others = [await way.send(CHAT, deadline()) for _ in range(3)]
    for other in others:
        await read_all(other)
        other.finish()
    way.close()
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert upstream.open == 1
    stream.close()


async def test_http2_where_its_package_is_installed(nursery, make, ca_file):
    """A closed response closes its connection: httpcore would let an abandoned stream go on unnoticed."""
    h2_connection = pytest.importorskip("h2.connection")
    h2_config = pytest.importorskip("h2.config")
    h2_events = pytest.importorskip("h2.events")
    ended = trio.Event()

    async def serve(stream, context):
        stream = await start_tls(stream, context, server_side=True)
        connection = h2_connection.H2Connection(h2_config.H2Configuration(client_side=False))
        connection.initiate_connection()
        try:
            while data := await stream.receive():
                for event in connection.receive_data(data):
                    if isinstance(event, h2_events.StreamEnded):
                        connection.send_headers(event.stream_id, [(":status", "200"), ("x-a", "b")])
                        connection.send_data(event.stream_id, EVENTS[0], end_stream=event.stream_id == 1)
                await stream.send_all(connection.data_to_send())
        except StreamBroken:
            ended.set()  # closed without ceremony
        stream.close()

    context = server_context()
    context.set_alpn_protocols(["h2"])
    upstream = Upstream(nursery, b"")
    upstream._serve = lambda stream: serve(stream, context)
    way = make(upstream, "https", ca_file=ca_file)
    assert await answer(way) == EVENTS[0]
    response = await way.send(CHAT, deadline())
    assert response.header("x-a") == "b"
    assert await response.receive() == EVENTS[0]
    response.close()
    assert upstream.connections == 1
    with trio.fail_after(10):  # only so that a hang ends
        await ended.wait()


class Zeros(LongBody):
    """So many zeros. `reads` counts the pieces that were taken."""

    def __init__(self, size):
        self._size = size
        self.reads = 0

    def __len__(self):
        return self._size

    async def read(self, start):
        self.reads += 1
        return bytes(min(65536, self._size - start))


async def test_a_long_body_over_http2_is_read_as_the_windows_open(nursery, make, ca_file):
    h2_connection = pytest.importorskip("h2.connection")
    h2_config = pytest.importorskip("h2.config")
    h2_events = pytest.importorskip("h2.events")
    came, go = 0, trio.Event()

    async def serve(stream, context):
        nonlocal came
        stream = await start_tls(stream, context, server_side=True)
        connection = h2_connection.H2Connection(h2_config.H2Configuration(client_side=False))
        connection.initiate_connection()
        try:
            while data := await stream.receive():
                for event in connection.receive_data(data):
                    if isinstance(event, h2_events.DataReceived):
                        came += len(event.data)
                        if came >= 65535:  # the first window: nothing more can come until it is opened again
                            await go.wait()
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2_events.StreamEnded):
                        connection.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
                await stream.send_all(connection.data_to_send())
        except StreamBroken:
            pass  # closed without ceremony
        finally:
            stream.close()

    context = server_context()
    context.set_alpn_protocols(["h2"])
    upstream = Upstream(nursery, b"")
    upstream._serve = lambda stream: serve(stream, context)
    body = Zeros(1 << 20)
    way = make(upstream, "https", ca_file=ca_file)

    async def let_go():
        while came < 65535:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert body.reads <= 3
        go.set()

    nursery.start_soon(let_go)
    response = await way.send(CHAT._replace(body=body), deadline())
    assert (response.status, came) == (200, 1 << 20)
    response.close()
