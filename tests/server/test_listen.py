"""The listener over real sockets: TLS, its options, its limits, and what it says when it cannot begin."""

import contextlib
import errno
import logging
import os
import resource
import socket
import ssl
import subprocess
import sys

import pytest
import trio
import trustme

import scripted
from answers import DONE, finish, role, stream, text
from door import ANSWER, CHAT, PATH, request
from penstock.server import listen
from penstock.server.config import StartError
from penstock.server.listen import accept_loop, open_sockets, tls_context
from rig import Rig

STREAM = stream(role(), text("Привет"), finish(), DONE)
READY = request("GET", "/ready")
LAST_READY = request("GET", "/ready", "Connection: close")
CA = trustme.CA()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of a certificate for 127.0.0.1, its key, and somebody else's key."""
    folder = tmp_path_factory.mktemp("tls")
    mine, other = CA.issue_cert("127.0.0.1", "localhost"), CA.issue_cert("other.test")
    for name, blob in [
        ("cert", mine.cert_chain_pems[0]),
        ("key", mine.private_key_pem),
        ("other", other.private_key_pem),
    ]:
        blob.write_to_path(str(folder / name))
    (folder / "junk").write_bytes(b"\x00junk")
    return folder


@pytest.fixture
def sockets():
    opened = open_sockets("127.0.0.1", 0)
    yield opened
    for sock in opened:
        sock.close()


@contextlib.asynccontextmanager
async def served(sockets, *scripts, toml="", tls=None, **more):
    """A gateway on these sockets: its rig, whose `port` is the port."""
    async with trio.open_nursery() as nursery:
        rig = Rig(nursery, scripted.Upstream(nursery, *scripts, **more), toml)
        rig.port = sockets[0].getsockname()[1]
        for sock in sockets:
            nursery.start_soon(accept_loop, rig.gateway, sock, tls, nursery)
        yield rig
        nursery.cancel_scope.cancel()


async def connect(rig):
    return await trio.open_tcp_stream("127.0.0.1", rig.port)


async def read_all(stream):
    data = b""
    async for piece in stream:
        data += piece
    return data


# -- serving ----------------------------------------------------------------------------------------------


async def test_a_request_over_a_socket(sockets):
    async with served(sockets, always=ANSWER) as rig:
        client = await connect(rig)
        await client.send_all(request("POST", PATH, "Connection: close", body=CHAT))
        assert (await read_all(client)).startswith(b"HTTP/1.1 200 OK\r\n")
        await client.aclose()


async def test_every_address_of_a_name_is_listened_on_with_one_port():
    opened = open_sockets("localhost", 0)
    try:
        assert len({sock.getsockname()[1] for sock in opened}) == 1
        async with served(opened) as rig:
            for sock in opened:
                client = await trio.open_tcp_stream(sock.getsockname()[0], rig.port)
                await client.send_all(LAST_READY)
                assert b"200 OK" in await read_all(client)
                await client.aclose()
    finally:
        for sock in opened:
            sock.close()


async def test_c78_nagle_is_off_on_accepted_sockets(sockets, monkeypatch):
    seen = []

    class Watched(listen.SocketStream):
        def __init__(self, sock):
            super().__init__(sock)
            seen.append(sock)

    monkeypatch.setattr(listen, "SocketStream", Watched)
    async with served(sockets) as rig:
        client = await connect(rig)
        await client.send_all(READY)
        await client.receive_some()
        (sock,) = seen
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        await client.aclose()


async def test_the_answer_to_a_body_that_is_too_large_can_be_read_by_who_reads_last(sockets):
    async with served(sockets, toml="[limits]\nbody_bytes = 1000\n") as rig:
        client = await connect(rig)
        await client.send_all(request("POST", PATH, "Content-Length: 20000000"))
        for _ in range(20):
            await client.send_all(bytes(1_000_000))
        answer = await read_all(client)  # a reset would be an error here
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"request_too_large"' in answer
        await client.aclose()


async def test_a_connection_that_is_reset_before_it_is_served_harms_nobody(sockets):
    async with served(sockets) as rig:
        for _ in range(20):
            sock = socket.create_connection(("127.0.0.1", rig.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        client = await connect(rig)
        await client.send_all(LAST_READY)
        assert b"200 OK" in await read_all(client)
        await client.aclose()


async def test_c31_a_bug_in_one_connection_ends_that_connection_only(sockets, monkeypatch, caplog):
    class Buggy(listen.Connection):
        async def serve(self):
            raise ZeroDivisionError

    async with served(sockets) as rig:
        with monkeypatch.context() as patched:
            patched.setattr(listen, "Connection", Buggy)
            client = await connect(rig)
            assert await read_all(client) == b""
            await client.aclose()
        assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
        client = await connect(rig)
        await client.send_all(LAST_READY)
        assert b"200 OK" in await read_all(client)
        await client.aclose()


# -- limits -----------------------------------------------------------------------------------------------


async def test_connections_over_the_limit_are_told_so(sockets):
    async with served(sockets, toml="[limits]\nconnections = 2\n") as rig:
        inside = [await connect(rig) for _ in range(2)]
        for client in inside:
            await client.send_all(READY)
            assert b"200 OK" in await client.receive_some()
        over = await connect(rig)
        await over.send_all(request(body=CHAT.replace(b"Hi", b"x" * 1_000_000)))
        answer = await read_all(over)
        await over.aclose()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b'"server_is_overloaded"' in body
        for field in (
            b"connection: close",
            b"retry-after: 1",
            b"x-request-id: req_",
            b"content-length: %d" % len(body),
        ):
            assert field in head
        await inside.pop().aclose()
        while rig.gateway.connections == 2:
            await trio.lowlevel.checkpoint()
        again = await connect(rig)
        await again.send_all(LAST_READY)
        assert b"200 OK" in await read_all(again)
        for client in (*inside, again):
            await client.aclose()


async def test_in_a_flood_connections_over_the_limit_are_just_closed(sockets, monkeypatch):
    monkeypatch.setattr(listen, "FAREWELLS", 3)
    async with served(sockets, toml="[limits]\nconnections = 1\n") as rig:
        inside = await connect(rig)
        await inside.send_all(READY)
        await inside.receive_some()
        over = [await connect(rig) for _ in range(10)]
        told = 0
        for client in over:
            with contextlib.suppress(trio.BrokenResourceError):
                told += (await client.receive_some(12)).startswith(b"HTTP/1.1 503")
        assert told == 3
        for client in (inside, *over):
            await client.aclose()


async def test_a_handshake_that_is_never_done_counts_as_a_connection_and_has_its_time(sockets, files):
    context = tls_context(str(files / "cert"), str(files / "key"))
    toml = "[limits]\nconnections = 1\n[timeouts]\nheader = 0.2\n"
    async with served(sockets, toml=toml, tls=context) as rig:
        silent = await connect(rig)
        over = await connect(rig)
        assert await read_all(over) == b""  # closed at once: no handshake for whom there is no place
        assert rig.gateway.connections == 1
        assert await read_all(silent) == b""
        while rig.gateway.connections:
            await trio.lowlevel.checkpoint()
        for client in (silent, over):
            await client.aclose()


async def test_a_full_table_of_descriptors_is_not_the_end(sockets):
    warned = trio.Event()

    class Handler(logging.Handler):
        def emit(self, record):
            if "out of descriptors" in record.getMessage():
                warned.set()

    handler = Handler()
    logging.getLogger("penstock").addHandler(handler)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        async with served(sockets) as rig:
            client = await connect(rig)
            await client.send_all(LAST_READY)
            await read_all(client)
            await client.aclose()
            with socket.socket() as sock:
                free = os.dup(0)
                os.close(free)
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))  # no number is left below this
                sock.connect(("127.0.0.1", rig.port))
                await warned.wait()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                sock.sendall(LAST_READY)
                await trio.lowlevel.wait_readable(sock)
                assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        logging.getLogger("penstock").removeHandler(handler)


@pytest.mark.parametrize("passing", [errno.ECONNABORTED, errno.EPROTO])
async def test_an_error_of_a_connection_is_none_of_the_listener(passing):  # accept(2) has them pending
    plain = open_sockets("127.0.0.1", 0)[0]
    failing = FailingSocket(fileno=plain.detach())
    failing.errors = [OSError(passing, "passing")]
    with failing:
        async with served([failing]) as rig:
            client = await connect(rig)
            await client.send_all(LAST_READY)
            assert b"200 OK" in await read_all(client)
            await client.aclose()
    assert not failing.errors


class FailingSocket(socket.socket):
    """Its `accept` fails first, as the system's may."""

    errors = []

    def accept(self):
        if self.errors:
            raise self.errors.pop()
        return super().accept()


# -- TLS --------------------------------------------------------------------------------------------------


def trusting(version=ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context()
    CA.configure_trust(context)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_stream_and_a_kept_connection_over_tls(sockets, files, version):
    context = tls_context(str(files / "cert"), str(files / "key"))
    async with served(sockets, STREAM, tls=context) as rig:
        tcp = await connect(rig)
        client = trio.SSLStream(tcp, trusting(version), server_hostname="127.0.0.1", https_compatible=True)
        await client.do_handshake()
        assert client.selected_alpn_protocol() == "http/1.1"
        await client.send_all(READY)
        assert b"200 OK" in await client.receive_some()
        await client.send_all(
            request("POST", PATH, "Connection: close", body=CHAT.replace(b"{", b'{"stream":true,', 1))
        )
        answer = await read_all(client)
        assert "Привет".encode() in answer
        assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        await client.aclose()


async def test_who_does_not_speak_tls_is_let_go(sockets, files):
    context = tls_context(str(files / "cert"), str(files / "key"))
    async with served(sockets, tls=context) as rig:
        client = await connect(rig)
        await client.send_all(READY)
        assert b"200 OK" not in await read_all(client)
        await client.aclose()
        while rig.gateway.connections:
            await trio.lowlevel.checkpoint()


# -- what cannot begin ------------------------------------------------------------------------------------


def one_plain_sentence(text):
    assert text.endswith(".")
    assert "\n" not in text
    assert not any(word in text for word in ("Traceback", "Errno", "Error:", "[", "ssl."))
    return text


def sentence(call, *args):
    with pytest.raises(StartError) as caught:
        call(*args)
    return one_plain_sentence(str(caught.value))


def test_a_port_in_use(sockets):
    port = sockets[0].getsockname()[1]
    said = sentence(open_sockets, "127.0.0.1", port)
    assert said == f"Port {port} on 127.0.0.1 is in use: stop the other program, or choose another with --port."


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b", "x" * 70])
def test_an_address_that_is_not_ours_or_none_at_all(host):
    assert host[:60] in sentence(open_sockets, host, 0)


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("cert", "other", "does not belong to the certificate"),
        ("junk", "key", "are not a certificate and its unencrypted key"),
        ("cert", "junk", "are not a certificate and its unencrypted key"),
        ("key", "cert", "are not a certificate and its unencrypted key"),
        ("none", "key", "Cannot read"),
        ("cert", "none", "Cannot read"),
        (".", "key", "Cannot read"),
    ],
)
def test_a_certificate_that_does_not_do(files, cert, key, words):
    assert words in sentence(tls_context, str(files / cert), str(files / key))


def test_a_key_with_a_password_is_not_asked_for_on_the_terminal(files, tmp_path):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((files / "key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (tmp_path / "locked").write_bytes(locked)
    assert "unencrypted key" in sentence(tls_context, str(files / "cert"), str(tmp_path / "locked"))


def command(*args):
    code = "from penstock.server.entry import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "serve", *args],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": os.environ["PATH"]},
    )


def test_the_command_says_it_in_one_sentence_and_exits_with_1(sockets, files, tmp_path):
    port = sockets[0].getsockname()[1]
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(f'[server]\nport = 0\ntls_cert = "{files}/cert"\ntls_key = "{files}/other"\n')
    for args, words in [(["--port", str(port)], "is in use"), (["--config", str(wrong)], "does not belong")]:
        done = command(*args)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        assert words in one_plain_sentence(done.stderr.removeprefix("penstock: ").rstrip("\n"))
