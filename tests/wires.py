"""Upstreams in memory for the tests of transports: a server is a function of one stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from penstock.providers.deadline import Deadline
from penstock.providers.memory import MemoryStream, memory_pair
from penstock.providers.settings import Timeouts
from penstock.providers.stream import StreamBroken
from penstock.providers.transport import UpstreamRequest, UpstreamResponse

__all__ = ["CHAT", "GET", "Network", "answering", "deadline", "in_pieces", "read_all", "read_request"]

CHAT = UpstreamRequest("POST", "/v1/chat/completions", [("content-type", "application/json")], b'{"model":"tiny"}')
GET = UpstreamRequest("GET", "/v1/models", [], b"")

Serve = Callable[[MemoryStream], Awaitable[None]]


def deadline(**seconds: float) -> Deadline:
    return Deadline(Timeouts(**seconds))


class Network:
    """`connect` makes a connection, each served by the next of `servers` (the last one serves all later)."""

    def __init__(self, nursery: trio.Nursery, *servers: Serve, capacity: int = 65536) -> None:
        self.servers = list(servers)
        self.ends: list[MemoryStream] = []
        self.clients: list[MemoryStream] = []
        self._nursery = nursery
        self._capacity = capacity

    async def connect(self) -> MemoryStream:
        await trio.lowlevel.checkpoint()
        client, server = memory_pair(self._capacity)
        self.clients.append(client)
        self.ends.append(server)
        serve = self.servers.pop(0) if len(self.servers) > 1 else self.servers[0]
        self.serve(serve, server)
        return client

    def serve(self, serve: Serve, stream: MemoryStream) -> None:
        """Serve a connection, until the server is done or the client breaks it."""

        async def run() -> None:
            try:
                await serve(stream)
            except StreamBroken:
                pass

        self._nursery.start_soon(run)

    @property
    def open(self) -> int:
        """How many connections the client's side holds open."""
        return sum(not client.closed for client in self.clients)


async def read_request(stream: MemoryStream) -> bytes:
    """A whole request with a Content-Length, or b"" if the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive()
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += await stream.receive()
    return head + b"\r\n\r\n" + body


def answering(*answers: bytes, requests: list[bytes] | None = None) -> Serve:
    """A server that gives these answers, the last one again and again, each at once, and never closes."""

    async def serve(stream: MemoryStream) -> None:
        left = list(answers)
        while request := await read_request(stream):
            if requests is not None:
                requests.append(request)
            await stream.send_all(left.pop(0) if len(left) > 1 else left[0])
        stream.close()

    return serve


def in_pieces(*pieces: bytes, then: Callable[[MemoryStream], None] | None = None) -> Serve:
    """A server whose one answer comes in exactly these reads; `then` ends it (else it stays open)."""

    async def serve(stream: MemoryStream) -> None:
        await read_request(stream)
        for piece in pieces:
            await trio.testing.wait_all_tasks_blocked()
            if stream.send_now(piece) != len(piece):
                raise AssertionError("the pipe is too narrow for this test")
        if then is not None:
            await trio.testing.wait_all_tasks_blocked()
            then(stream)

    return serve


async def read_all(response: UpstreamResponse) -> bytes:
    data = bytearray()
    while piece := await response.receive():
        data += piece
    return bytes(data)
