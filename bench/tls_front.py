"""TLS in front of the fake upstream: one process, asyncio (uvloop if there), bytes in and bytes out.

    tls_front.py PORT CERTIFICATE KEY         prints the port on which it serves

It shares the generator's core. Its own time is never counted as the gateway's, but is part of the added latency and of
what that core can carry; the table says when that is the limit.
"""

import asyncio
import socket
import ssl
import sys

UPSTREAM, CERTIFICATE, KEY = int(sys.argv[1]), sys.argv[2], sys.argv[3]


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(64 * 1024):
        writer.write(data)
        await writer.drain()


async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
    upstream, to_upstream = await asyncio.open_connection("127.0.0.1", UPSTREAM)
    to_upstream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    halves = [asyncio.ensure_future(carry(client, to_upstream)), asyncio.ensure_future(carry(upstream, to_client))]
    try:
        await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for half in halves:
            half.cancel()
        await asyncio.gather(*halves, return_exceptions=True)
        for writer in (to_client, to_upstream):
            writer.transport.abort()


async def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
