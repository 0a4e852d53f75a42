"""The floor: what a trio program pays to carry bytes from one socket to another, with no HTTP at all.

    trio_relay.py PORT http://127.0.0.1:4001

For an https upstream the bytes go through trio's SSLStream; SSL_CERT_FILE names whom to trust.
"""

import socket
import ssl
import sys
from urllib.parse import urlsplit

import trio

PORT, UPSTREAM = int(sys.argv[1]), urlsplit(sys.argv[2])
PIECE = 64 * 1024


class Plain:
    """trio.socket and nothing above it: cheaper than a SocketStream."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.receive_some, self.close = sock.recv, sock.close
        self.sock = sock

    async def send_all(self, data: bytes) -> None:
        sent = await self.sock.send(data)
        while sent < len(data):
            sent += await self.sock.send(memoryview(data)[sent:])


async def dial() -> tuple:
    """The upstream, and how to let go of it."""
    if UPSTREAM.scheme == "https":
        tcp = await trio.open_tcp_stream(UPSTREAM.hostname, UPSTREAM.port)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = trio.SSLStream(tcp, CONTEXT, server_hostname=UPSTREAM.hostname, https_compatible=True)
        return tls, tcp.socket.close
    sock = trio.socket.socket()
    await sock.connect((UPSTREAM.hostname, UPSTREAM.port))
    plain = Plain(sock)
    return plain, plain.close


async def carry(source, sink, done: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(PIECE):
            await sink.send_all(data)
    except (OSError, trio.BrokenResourceError):
        pass
    done.cancel()


async def relay(sock: trio.socket.SocketType) -> None:
    client = Plain(sock)
    upstream, close = await dial()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry, client, upstream, nursery.cancel_scope)
            await carry(upstream, client, nursery.cancel_scope)
    finally:
        client.close()
        close()


async def main() -> None:
    listener = trio.socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    await listener.bind(("127.0.0.1", PORT))
    listener.listen(4096)
    async with trio.open_nursery() as nursery:
        while True:
            sock, _ = await listener.accept()
            nursery.start_soon(relay, sock)


CONTEXT = ssl.create_default_context() if UPSTREAM.scheme == "https" else None
trio.run(main)
