"""Connecting over real sockets: names, refusals, TLS with a private authority, and what each failure is called."""

import errno
import socket
import ssl

import pytest
import trio
import trustme

from penstock.providers.connect import Connector, _family, connect_error
from penstock.providers.direct import DirectTransport
from penstock.providers.stream import SocketStream, StreamBroken
from penstock.providers.tls import TlsStream, client_context, start_tls
from penstock.providers.transport import Origin, UpstreamError
from wires import CHAT, deadline, read_all, read_request

CA = trustme.CA()
JSON = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture
def ca_file(tmp_path):
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(name="localhost", ca=CA):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name).configure_cert(context)
    return context


async def listen(nursery, handler):
    """Serve each connection with `handler(SocketStream)`; returns the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)

    async def run():
        with listener:
            while True:
                await trio.lowlevel.wait_readable(listener)
                stream = SocketStream(listener.accept()[0])
                nursery.start_soon(handler, stream)

    nursery.start_soon(run)
    return listener.getsockname()[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_plain_connection_to_an_address_and_to_a_name(nursery, host):
    async def echo(stream):
        await stream.send_all(await stream.receive())
        stream.close()

    port = await listen(nursery, echo)
    stream = await Connector(Origin("http", host, port))()
    assert isinstance(stream, SocketStream)
    assert stream._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await stream.send_all(b"hello")
    assert await stream.receive() == b"hello"
    assert await stream.receive() == b""
    stream.close()


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("fe80::1%lo", None),  # its scope has to be looked up
        ("localhost", None),
        ("127.1", None),
    ],
)
def test_what_is_an_address_and_what_is_looked_up(host, family):
    assert _family(host) == family


async def test_cancelled_while_connecting_it_leaves_no_socket_open(nursery, monkeypatch):
    made = []
    monkeypatch.setattr(socket.socket, "connect_ex", lambda self, address: made.append(self) or errno.EINPROGRESS)
    monkeypatch.setattr(trio.lowlevel, "wait_writable", lambda sock: trio.sleep_forever())
    with trio.move_on_after(0.01):
        await Connector(Origin("http", "127.0.0.1", 9))()
    assert [sock.fileno() for sock in made] == [-1]


async def test_c69_a_name_that_no_lookup_takes():
    with pytest.raises(UpstreamError) as caught:
        await Connector(Origin("http", "a" * 70 + ".example", 80))()
    assert (caught.value.kind, caught.value.sent) == ("dns", False)


async def serve_json(stream, context=None):
    try:
        if context is not None:
            stream = await start_tls(stream, context, server_side=True)
        while await read_request(stream):
            await stream.send_all(JSON)
    except (ssl.SSLError, StreamBroken):
        pass  # a client that did not like what it saw
    finally:
        stream.close()


async def test_c18_no_connection_leak_on_idle_reuse_over_tls(nursery, ca_file):
    connections = []

    async def serve(stream):
        connections.append(stream)
        await serve_json(stream, server_context())

    port = await listen(nursery, serve)
    way = DirectTransport(f"https://localhost:{port}", tls=client_context(ca_file))
    for _ in range(500):
        response = await way.send(CHAT, deadline())
        assert await read_all(response) == b"{}"
        response.finish()
    assert len(connections) == 1
    assert way.idle == 1
    way.close()


async def test_c01_closing_is_seen_by_the_upstream_at_once_over_tls(nursery, ca_file):
    closed = trio.Event()

    async def serve(stream):
        stream = await start_tls(stream, server_context(), server_side=True)
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        assert await stream.receive() == b""
        closed.set()
        stream.close()

    port = await listen(nursery, serve)
    response = await DirectTransport(f"https://localhost:{port}", tls=client_context(ca_file)).send(CHAT, deadline())
    assert await response.receive() == b"hi"
    response.close()
    with trio.fail_after(10):  # only so that a hang ends
        await closed.wait()


async def test_an_ip_address_in_the_certificate(nursery, ca_file):
    async def serve(stream):
        await serve_json(stream, server_context("127.0.0.1"))

    port = await listen(nursery, serve)
    stream = await Connector(Origin("https", "127.0.0.1", port), client_context(ca_file))()
    assert isinstance(stream, TlsStream)
    stream.close()


async def fails(origin, tls=None):
    with pytest.raises(UpstreamError) as caught:
        await Connector(origin, tls)()
    assert not caught.value.sent
    assert caught.value.__cause__ is not None
    return caught.value


async def test_c69_a_refused_port():
    assert (await fails(Origin("http", "127.0.0.1", free_port()))).kind == "refused"


async def test_c69_a_name_that_does_not_exist():
    assert (await fails(Origin("http", "nonexistent.invalid", 80))).kind == "dns"


async def test_c69_an_unknown_authority(nursery):
    async def serve(stream):
        await serve_json(stream, server_context())

    port = await listen(nursery, serve)
    error = await fails(Origin("https", "localhost", port), client_context())
    assert error.kind == "tls"
    assert "certificate" in str(error)


async def test_c69_a_certificate_for_another_name(nursery, ca_file):
    async def serve(stream):
        await serve_json(stream, server_context("other.test"))

    port = await listen(nursery, serve)
    error = await fails(Origin("https", "localhost", port), client_context(ca_file))
    assert error.kind == "tls"
    assert "other.test" not in str(error)


async def test_c69_tls_to_a_server_that_speaks_none(nursery):
    async def serve(stream):
        await stream.receive()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        stream.close()

    port = await listen(nursery, serve)
    assert (await fails(Origin("https", "localhost", port))).kind == "tls"


async def test_c69_a_connection_that_breaks_in_the_handshake(nursery):
    async def serve(stream):
        await stream.receive(1)
        stream.close()  # with bytes unread: a reset

    port = await listen(nursery, serve)
    assert (await fails(Origin("https", "localhost", port))).kind == "reset"


def test_c69_of_several_addresses_the_one_that_answered_counts():
    lost = OSError(errno.ENETUNREACH, "Network is unreachable")
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    error = OSError("all attempts failed")
    error.__cause__ = ExceptionGroup("all attempts failed", [lost, refused])
    assert connect_error(error).kind == "refused"
    error.__cause__ = ExceptionGroup("all attempts failed", [lost])
    assert connect_error(error).kind == "unreachable"
    assert connect_error(TimeoutError(errno.ETIMEDOUT, "timed out")).kind == "unreachable"


async def test_cancelled_in_the_handshake_it_leaves_no_socket_open(nursery):
    begun, ended = trio.Event(), trio.Event()

    async def serve(stream):
        while await stream.receive():
            begun.set()
        ended.set()
        stream.close()

    port = await listen(nursery, serve)
    limit = deadline()

    async def connect():
        with limit.scope:
            await DirectTransport(f"https://localhost:{port}").send(CHAT, limit)

    nursery.start_soon(connect)
    with trio.fail_after(20):
        await begun.wait()
        limit.scope.cancel()
        await ended.wait()
    assert limit.which == "connect"
