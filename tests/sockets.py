"""A WebSocket client for the tests: trio-websocket on a rig's memory stream, with a word for each kind of message.

    async with opened(rig) as ws:
        await ws.call(1, "ping")
        assert await ws.get() == {"jsonrpc": "2.0", "result": {}, "id": 1}

`raw_opened` and `frame` are for what a client library would not send: frames are bytes there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from penstock.providers.memory import MemoryStream
from rig import Client, Rig
from scripted import MemoryEnd

__all__ = ["HANDSHAKE", "Raw", "Ws", "frame", "head_of", "opened", "raw_opened", "upgrade"]

HANDSHAKE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Ws:
    """One open socket. `got` has every message in the order of its coming."""

    def __init__(self, connection: WebSocketConnection, stream: MemoryStream) -> None:
        self.connection = connection
        self.stream = stream
        self.got: list[Any] = []

    async def send(self, message: Any) -> None:
        """Send a message: text as it is, anything else as JSON."""
        await self.connection.send_message(message if isinstance(message, str) else json.dumps(message))

    async def call(self, id: Any, method: str, params: Any = None) -> None:
        """Send a JSON-RPC request."""
        message = {"jsonrpc": "2.0", "id": id, "method": method}
        await self.send(message if params is None else {**message, "params": params})

    async def chat(self, id: Any, text: str = "Hi", **params: Any) -> None:
        """Ask a model, by JSON-RPC."""
        messages = [{"role": "user", "content": text}]
        await self.call(id, "chat.completions.create", {"model": "up/tiny", "messages": messages, **params})

    async def notify(self, method: str, params: Any) -> None:
        """Send a JSON-RPC notification."""
        await self.send({"jsonrpc": "2.0", "method": method, "params": params})

    async def get(self) -> Any:
        """The next message."""
        message = json.loads(await self.connection.get_message())
        self.got.append(message)
        return message

    async def answer(self, id: Any = None) -> Any:
        """The next response, to `id` if that is given; what comes before it is only kept in `got`."""
        while True:
            message = await self.get()
            if "method" not in message and (id is None or message["id"] == id):
                return message

    async def closed(self) -> tuple[int, str]:
        """Wait for the server to close; messages on the way are kept."""
        try:
            while True:
                await self.get()
        except ConnectionClosed as exc:
            return exc.reason.code, exc.reason.reason or ""

    def leave(self) -> None:
        """Go without a word."""
        self.stream.receive_now()
        self.stream.close()


@asynccontextmanager
async def opened(
    rig: Rig,
    path: str = "/v1/chat/ws",
    *,
    headers: Mapping[str, str] = {},
    protocols: Sequence[str] = (),
    capacity: int = 65536,
) -> AsyncIterator[Ws]:
    """A socket to the gateway of a rig, opened."""
    client = rig.connect(capacity=capacity)
    extra = [(name.encode(), value.encode()) for name, value in headers.items()]
    async with trio.open_nursery() as nursery:
        connection = await wrap_client_stream(
            nursery,
            MemoryEnd(client.stream),
            "127.0.0.1:8777",
            path,
            subprotocols=list(protocols) or None,
            extra_headers=extra,
        )
        yield Ws(connection, client.stream)
        nursery.cancel_scope.cancel()


# -- raw frames ------------------------------------------------------------------------------------------------


async def upgrade(rig: Rig, path: str = "/ws", *, capacity: int = 65536, **headers: str) -> Client:
    """Send a request to upgrade; headers by their names with `_` for `-`, "" for one that is left out."""
    client = rig.connect(capacity=capacity)
    sent = HANDSHAKE | {name.replace("_", "-"): value for name, value in headers.items()}
    await client.request("GET", path, {name: value for name, value in sent.items() if value})
    return client


async def head_of(client: Client) -> tuple[int, dict[str, str]]:
    """The status and the headers of the answer; what follows them is left in the stream."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await client.stream.receive(1)
    first, *lines = head.decode().split("\r\n")[:-2]
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines)


class Raw:
    """A socket whose frames are bytes."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self._data = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def next(self) -> tuple[int, bytes] | None:
        """The next frame, as opcode and payload; None at the end."""
        while True:
            data, size = self._data, _size(self._data)
            if size and len(data) >= sum(size):
                self._data = data[sum(size) :]
                return data[0] & 15, data[size[0] : sum(size)]
            if not (more := await self.stream.receive()):
                assert data == b"", "the stream ended within a frame"
                return None
            self._data += more

    async def said(self, sent: bytes = b"") -> Any:
        """The first message that comes after `sent`."""
        await self.send(sent)
        while found := await self.next():
            if found[0] == 1:
                return json.loads(found[1])
        raise AssertionError("the connection ended")

    async def closed(self) -> tuple[int, str]:
        """The code and reason of the server's Close frame, which is to be the last one."""
        while found := await self.next():
            if found[0] == 8:
                assert await self.next() is None
                return struct.unpack("!H", found[1][:2])[0], found[1][2:].decode()
        raise AssertionError("the connection ended without a Close frame")


async def raw_opened(rig: Rig, *, capacity: int = 65536, **headers: str) -> Raw:
    """A socket that was opened, its head read."""
    client = await upgrade(rig, capacity=capacity, **headers)
    assert (await head_of(client))[0] == 101
    return Raw(client.stream)


def frame(payload: bytes | str = b"", opcode: int = 1, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """One frame as a client sends it (RFC 6455, section 5.2), masked with zeros."""
    data = payload.encode() if isinstance(payload, str) else payload
    first = bytes([fin << 7 | rsv << 4 | opcode])
    if len(data) < 126:
        size = bytes([masked << 7 | len(data)])
    elif len(data) < 65536:
        size = struct.pack("!BH", masked << 7 | 126, len(data))
    else:
        size = struct.pack("!BQ", masked << 7 | 127, len(data))
    return first + size + (b"\0\0\0\0" if masked else b"") + data


def _size(data: bytes) -> tuple[int, int] | None:
    """Of the first frame: the header's length, and the payload's."""
    if len(data) < 10 and (len(data) < 2 or (data[1] > 125 and len(data) < 4)):
        return None
    if data[1] < 126:
        return 2, data[1]
    if data[1] == 126:
        return 4, struct.unpack("!H", data[2:4])[0]
    return (10, struct.unpack("!Q", data[2:10])[0]) if len(data) >= 10 else None
