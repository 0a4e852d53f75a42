"""TLS over any stream: what it adds to bytes, and what it must not lose of the stream beneath."""

import ssl

import pytest
import trio
import trio.testing
import trustme

from penstock.providers.memory import memory_pair
from penstock.providers.stream import StreamBroken
from penstock.providers.tls import client_context, start_tls

CA = trustme.CA()


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    CA.cert_pem.write_to_path(str(ca_file))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert("upstream.test").configure_cert(server)
    return client_context(str(ca_file)), server


async def pair(contexts, capacity=65536, server_name="upstream.test"):
    """Two ends of one TLS connection over memory; and the two streams beneath."""
    client_side, server_side = memory_pair(capacity)
    ends = {}

    async def serve():
        ends["server"] = await start_tls(server_side, contexts[1], server_side=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        ends["client"] = await start_tls(client_side, contexts[0], server_name=server_name)
    return ends["client"], ends["server"], client_side, server_side


async def test_bytes_both_ways(contexts):
    client, server, _, _ = await pair(contexts)
    await client.send_all(b"ping")
    assert await server.receive() == b"ping"
    await server.send_all(memoryview(b"pong"))
    assert await client.receive(2) == b"po"
    assert await client.receive() == b"ng"


@pytest.mark.parametrize("capacity", [1, 100, 65536])
async def test_large_data_through_a_narrow_pipe(contexts, capacity):
    client, server, _, _ = await pair(contexts, capacity)
    data = bytes(range(256)) * (4 if capacity == 1 else 1000)

    async def send():
        await client.send_all(data)
        client.close()

    got = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while len(got) < len(data):
            got += await server.receive()
    assert got == data


async def test_one_receive_takes_all_records_that_are_there(contexts):
    client, server, _, _ = await pair(contexts)
    for _ in range(5):
        client.send_now(b"x" * 100)
    assert await server.receive() == b"x" * 500


async def test_send_now_takes_what_the_stream_beneath_takes(contexts):
    """Back-pressure: not more than one record is held back, and none is lost when sending goes on."""
    client, server, _, _ = await pair(contexts, capacity=40_000)
    data = bytes(range(250)) * 1000
    taken = client.send_now(data)
    assert 16384 <= taken <= 40_000
    assert client.send_now(data[taken:]) == 0

    async def rest():
        await client.send_all(data[taken:])

    got = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rest)
        while len(got) < len(data):
            got += await server.receive()
    assert got == data


async def test_sending_that_was_cancelled_can_go_on(contexts, autojump_clock):
    client, server, _, _ = await pair(contexts, capacity=1000)
    data = b"0123456789" * 1000
    sent = client.send_now(data)
    with trio.move_on_after(1):
        await client.send_some(data[sent:])
    got = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, data[sent:])
        while len(got) < len(data):
            got += await server.receive()
    assert got == data


async def test_an_end_with_an_alert_is_an_end(contexts):
    client, server, _, _ = await pair(contexts)
    server.send_now(b"last")
    server.close()
    assert await client.receive() == b"last"
    assert await client.receive() == b""
    assert client.receive_now() == b""


async def test_an_end_without_an_alert_is_a_break(contexts):
    client, server, _, beneath = await pair(contexts)
    server.send_now(b"last")
    beneath.end_sending()
    assert await client.receive() == b"last"
    with pytest.raises(StreamBroken):
        await client.receive()
    with pytest.raises(StreamBroken):
        client.receive_now()


async def test_a_reset_is_a_break(contexts):
    client, _, _, beneath = await pair(contexts)
    beneath.reset()
    with pytest.raises(StreamBroken):
        await client.receive()
    with pytest.raises(StreamBroken):
        client.send_now(b"x")
    client.close()


async def test_bytes_that_are_not_tls_are_a_break(contexts):
    client, _, _, beneath = await pair(contexts)
    beneath.send_now(b"plain text, all of a sudden")
    with pytest.raises(StreamBroken):
        await client.receive()


async def test_closing_is_seen_at_once(contexts):
    client, server, client_side, _ = await pair(contexts)
    client.receive_now()  # the tickets, as any client that has read an answer
    client.close()
    client.close()
    assert client_side.closed
    assert server.receive_now() == b""
    with pytest.raises(StreamBroken):
        client.send_now(b"x")
    with pytest.raises(StreamBroken):
        await client.receive()


async def test_session_tickets_do_not_make_an_idle_stream_look_used(contexts):
    client, _, client_side, _ = await pair(contexts)
    assert not client_side.idle_and_open()  # they have come, and nobody has read them
    assert client.idle_and_open()
    assert client.receive_now() is None


async def test_an_idle_stream_that_got_data_or_an_end_is_not_idle(contexts):
    client, server, _, _ = await pair(contexts)
    server.send_now(b"unasked")
    assert not client.idle_and_open()
    client, server, _, _ = await pair(contexts)
    server.close()
    assert not client.idle_and_open()
    client, _, _, beneath = await pair(contexts)
    beneath.reset()
    assert not client.idle_and_open()


async def test_one_task_receives_while_another_sends(contexts):
    client, server, _, _ = await pair(contexts, capacity=500)
    data = b"0123456789" * 2000
    got = {client: bytearray(), server: bytearray()}

    async def receive(end):
        while len(got[end]) < len(data):
            got[end] += await end.receive()

    async with trio.open_nursery() as nursery:
        for end in (client, server):
            nursery.start_soon(receive, end)
            nursery.start_soon(end.send_all, data)
    assert got[client] == got[server] == data


@pytest.mark.parametrize("break_off", ["end_sending", "reset", "close"])
async def test_a_handshake_that_breaks_off_leaves_nothing_open(contexts, break_off):
    client_side, server_side = memory_pair()
    getattr(server_side, break_off)()
    with pytest.raises((ssl.SSLError, StreamBroken)):
        await start_tls(client_side, contexts[0], server_name="upstream.test")
    assert client_side.closed


async def test_a_cancelled_handshake_leaves_nothing_open(contexts, autojump_clock):
    client_side, _ = memory_pair()
    with trio.move_on_after(1):
        await start_tls(client_side, contexts[0], server_name="upstream.test")
    assert client_side.closed


async def test_a_certificate_for_another_name_is_refused_and_the_peer_is_told(contexts):
    client_side, server_side = memory_pair()

    async def serve():
        with pytest.raises(ssl.SSLError, match="ALERT_BAD_CERTIFICATE"):
            await start_tls(server_side, contexts[1], server_side=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(ssl.SSLCertVerificationError):
            await start_tls(client_side, contexts[0], server_name="other.test")
        assert client_side.closed


def test_the_default_context_checks_names_and_trusts_somebody():
    context = client_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert client_context() is context


def test_a_private_authority_is_the_only_one_trusted(contexts):
    assert contexts[0].cert_store_stats()["x509_ca"] == 1


def test_a_system_without_authorities_of_its_own_gets_certifis(monkeypatch):
    nothing = ssl.DefaultVerifyPaths(None, None, "SSL_CERT_FILE", "", "SSL_CERT_DIR", "")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    assert client_context(None, ("test",)).cert_store_stats()["x509_ca"] > 50
