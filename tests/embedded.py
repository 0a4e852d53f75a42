"""A gateway in the test's own process, on streams in memory on both sides: no socket, and any clock.

    upstream = Upstream(nursery, [STREAM, chunked(sse(role(), text("Hel"))), scripted.RESET])
    gateway = Embedded(nursery, local=upstream)
    answer = await gateway.client().chat(stream=True)
    assert answer.status == 200
    assert payloads(await answer.body())[-1]["error"]["code"] == "upstream_error"

What is put together is what `penstock serve` puts together; only the listener and the connections to the
upstreams differ. With `autojump_clock` every wait is over as soon as nothing else is to be done, and takes
exactly as long as it should on trio's clock.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from gateway import provider
from penstock.providers.direct import DirectTransport
from penstock.providers.memory import MemoryStream, memory_pair
from penstock.providers.stream import ByteStream
from penstock.server import app, config
from penstock.server.connection import Connection
from scripted import Upstream

__all__ = ["Answer", "Client", "Embedded"]

PEER = "127.0.0.1"


class Embedded:
    """The gateway: `upstreams` are providers by name, with `tiny` as their model; `toml` is all else.

    A provider that `toml` describes itself, in a `[providers.NAME]` table, is left as it says. `gateway` is the
    server's own object, to look at.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        toml: str = "",
        /,
        *,
        env: Mapping[str, str] | None = None,
        **upstreams: Upstream,
    ) -> None:
        addresses = {name: f"http://{name}.test/v1" for name in upstreams}
        tables = [
            provider(address, name=name) for name, address in addresses.items() if f"[providers.{name}]" not in toml
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write("".join(tables) + toml)
            file.flush()
            loaded = config.load(Path(file.name), env or {})
        self.gateway = app.build(loaded, nursery, env or {})
        self._nursery = nursery
        for name, upstream in upstreams.items():
            known = self.gateway.catalog.providers[name]
            known.transport = DirectTransport(addresses[name], connect=_connector(upstream))

    def client(self, capacity: int = 65536) -> Client:
        """A new connection, which holds at most `capacity` bytes each way."""
        ours, theirs = memory_pair(capacity)
        self._nursery.start_soon(Connection(self.gateway, theirs, PEER).serve)
        return Client(ours)


class Client:
    """The client's end of a connection; `stream` is there for whoever wants to do it byte by byte."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self.unread = bytearray()

    async def chat(self, *headers: tuple[str, str], **members: Any) -> Answer:
        """POST /v1/chat/completions; returns when the head of the answer is there."""
        asked = {"model": "local/tiny", "messages": [{"role": "user", "content": "Привет"}]} | members
        return await self.ask("POST", "/v1/chat/completions", json.dumps(asked).encode(), *headers)

    async def ask(self, method: str, target: str, body: bytes = b"", *headers: tuple[str, str]) -> Answer:
        """One request; returns when the head of the answer is there."""
        fields = [("Host", "127.0.0.1:8777"), *headers]
        if body or method == "POST":
            fields.append(("Content-Length", str(len(body))))
        head = "".join([f"{method} {target} HTTP/1.1\r\n", *(f"{n}: {v}\r\n" for n, v in fields), "\r\n"])
        await self.stream.send_all(head.encode() + body)
        return await self.answer(bodiless=method == "HEAD")

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """Wait for the head of the next answer on the connection."""
        while b"\r\n\r\n" not in self.unread:
            await self.more()
        head, _, _ = bytes(self.unread).partition(b"\r\n\r\n")
        del self.unread[: len(head) + 4]
        return Answer(self, head, bodiless=bodiless)

    async def more(self) -> None:
        """Wait for bytes; the end of input here is an AssertionError."""
        data = await self.stream.receive()
        assert data, f"the gateway ended the connection after {bytes(self.unread)!r}"
        self.unread += data

    async def ended(self) -> None:
        """Wait for the gateway to end the connection; bytes before that are an AssertionError."""
        rest = bytes(self.unread) + await self.stream.receive()
        assert rest == b"", f"expected the end of the connection, and got {rest!r}"


class Answer:
    """One answer: `status`, `headers` (lower-case names, repeated ones joined by ", "), and the body to read."""

    def __init__(self, client: Client, head: bytes, *, bodiless: bool) -> None:
        status, *lines = head.decode("latin-1").split("\r\n")
        self.head = head
        self.status = int(status.split(" ")[1])
        self.headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name == name.lower(), f"header names are lower-case: {line!r}"
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.chunked = self.headers.get("transfer-encoding") == "chunked"
        self.ended = bodiless or self.status in (204, 304)
        self._left = int(self.headers.get("content-length", "0"))
        self._client = client

    async def piece(self) -> bytes:
        """The next piece of the body, b"" at its end: one transfer chunk, or what one read had."""
        if self.ended:
            return b""
        if self.chunked:
            data = await self._chunk()
            self.ended = not data
            return data
        while self._left and not self._client.unread:
            await self._client.more()
        data = bytes(self._client.unread[: self._left])
        del self._client.unread[: self._left]
        self._left -= len(data)
        self.ended = not self._left
        return data

    async def body(self) -> bytes:
        """The body to its end; a body that is cut short is an AssertionError."""
        pieces = []
        while piece := await self.piece():
            pieces.append(piece)
        return b"".join(pieces)

    async def json(self) -> Any:
        return json.loads(await self.body())

    async def _chunk(self) -> bytes:
        unread = self._client.unread
        while (line := unread.find(b"\r\n")) < 0:
            await self._client.more()
        end = line + 2 + int(unread[:line], 16) + 2
        while len(unread) < end:
            await self._client.more()
        data = bytes(unread[line + 2 : end - 2])
        assert unread[end - 2 : end] == b"\r\n", "a chunk ends where it said"
        del unread[:end]
        return data


def _connector(upstream: Upstream) -> Any:
    async def connect() -> ByteStream:
        return upstream.connect()

    return connect
