"""A scripted upstream: it says exactly these bytes, cut exactly here, and then does exactly that.

A script answers one request. It is a list of steps, done in order:

    b"..."           send these bytes, then go on when every task of this process is waiting again: a peer in
                     this process has read them by then, so that what one step sends is what one read returns
    0.5              wait so many seconds (of the clock in force: with `autojump_clock` no time passes)
    trio.Event       wait until the test sets it
    HALF_CLOSE       end of output; input goes on
    CLOSE            close the connection as any server does
    RESET            break the connection (RST over TCP)
    EXPECT_CLOSE     wait until the peer has closed; bytes from the peer instead are an AssertionError
    async function   called with the `Exchange`, for all else (`forever` is one)

After the last step the connection stays open for the next request. A peer that closes ends the script where
it stands, and `closed_at` has the time at once, whatever the script was waiting for. Scripts are used up in
the order of the requests; a request for which there is none fails the test. `GET …/models` is answered apart.

    upstream = await scripted.listen(nursery, [STREAM, chunked(sse(role(), text("Hel"))), scripted.RESET])
    ...                                     # a gateway with base_url = upstream.base_url
    request = await upstream.request()      # the first one that came
    assert request.json["model"] == "tiny"

What is worth saying stands in `answers`. `listen` is for real sockets; for streams in memory it is
`Upstream(nursery, ...)` and its `connect()`. A `penstock serve` in a process of its own may see pieces joined
that were sent apart; a peer in this process never does.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import trio
import trio.testing

from answers import reply
from penstock.providers.memory import MemoryStream, memory_pair
from penstock.providers.stream import StreamBroken

__all__ = [
    "CLOSE",
    "EXPECT_CLOSE",
    "HALF_CLOSE",
    "RESET",
    "Exchange",
    "Script",
    "Upstream",
    "forever",
    "listen",
]


class _Act(str):
    """A step that is not bytes, by its name."""

    __slots__ = ()


HALF_CLOSE: Final = _Act("half close")
CLOSE: Final = _Act("close")
RESET: Final = _Act("reset")
EXPECT_CLOSE: Final = _Act("expect close")

Step = bytes | float | trio.Event | _Act | Callable[["Exchange"], Awaitable[None]]
Script = Sequence[Step]


class Upstream:
    """Answers each request by the next of `scripts`, or by `always` when they are used up.

    `requests` has what came, in order; `connections` counts all that were made and `open` those that are open
    now. `models` are the ids that `GET …/models` answers with; None leaves that request to the scripts.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *scripts: Script,
        always: Script | None = None,
        models: Sequence[str] | None = ("tiny",),
    ) -> None:
        self.requests: list[Exchange] = []
        self.connections = 0
        self.open = 0
        self.port = 0
        self.scheme = "http"
        self._nursery = nursery
        self._scripts = list(scripts)
        self._always = always
        self._models = models
        self._changed = trio.Event()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return self.url + "/v1"

    async def listen(self, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a free port of 127.0.0.1, until the nursery is cancelled."""
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        self.port = listener.socket.getsockname()[1]

        async def accepted(plain: trio.SocketStream) -> None:
            stream = trio.SSLStream(plain, tls, server_side=True) if tls else plain
            await self._serve(_Connection(stream, lambda: _reset(plain)))

        if tls:
            self.scheme = "https"
        await self._nursery.start(trio.serve_listeners, accepted, [listener])

    def connect(self) -> MemoryStream:
        """A connection in memory: the peer's end of it."""
        ours, theirs = memory_pair()
        self._nursery.start_soon(self._serve, _Connection(MemoryEnd(ours), ours.reset))
        return theirs

    async def request(self, number: int = 0) -> Exchange:
        """Wait for the request of that number, counted from 0, and return it."""
        while len(self.requests) <= number:
            await self._changed.wait()
        return self.requests[number]

    async def all_closed(self) -> None:
        """Wait until at least one connection was made and none is open."""
        while self.open or not self.connections:
            await self._changed.wait()

    async def _serve(self, connection: _Connection) -> None:
        self.connections += 1
        self.open += 1
        self._change()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.watch, nursery.cancel_scope)
                while (exchange := await connection.next_request(self.connections)) is not None:
                    await exchange.play(self._script_for(exchange))
                nursery.cancel_scope.cancel()
        finally:
            self.open -= 1
            self._change()
            await trio.aclose_forcefully(connection.stream)

    def _script_for(self, exchange: Exchange) -> Script:
        if self._models is not None and exchange.method == "GET" and exchange.target.endswith("/models"):
            entries = [{"id": name, "object": "model", "created": 1, "owned_by": "test"} for name in self._models]
            return [reply({"object": "list", "data": entries})]
        self.requests.append(exchange)
        self._change()
        if self._scripts:
            return self._scripts.pop(0)
        assert self._always is not None, f"a request without a script: {exchange.method} {exchange.target}"
        return self._always

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def listen(nursery: trio.Nursery, *scripts: Script, tls: ssl.SSLContext | None = None, **more: Any) -> Upstream:
    """An `Upstream` that listens on a free port already."""
    upstream = Upstream(nursery, *scripts, **more)
    await upstream.listen(tls)
    return upstream


def forever(data: bytes) -> Callable[[Exchange], Awaitable[None]]:
    """A step that sends `data` again and again, as fast as the peer takes it, until the peer closes."""

    async def flood(exchange: Exchange) -> None:
        while True:
            await exchange.send(data)

    return flood


class Exchange:
    """One request as it came, and the connection that its script speaks on.

    `head` is the raw head; `headers` has lower-case names, repeated ones joined by ", ". `connection` is the
    number of the connection, from 1. `sent` counts the bytes sent, and `done` is set when the script came to
    its end. `closed` is set when the peer's close was seen, at `closed_at` on trio's clock; `ending` is then
    "end" or "reset".
    """

    def __init__(self, head: bytes, body: bytes, connection: _Connection, number: int) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.head = head
        self.method, self.target, _ = lines[0].split(" ")
        self.headers: dict[str, str] = {}
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            earlier = self.headers.get(name.lower())
            self.headers[name.lower()] = value.strip() if earlier is None else f"{earlier}, {value.strip()}"
        self.body = body
        self.connection = number
        self.sent = 0
        self.done = trio.Event()
        self._wire = connection

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def closed(self) -> trio.Event:
        return self._wire.closed

    @property
    def closed_at(self) -> float:
        assert self.closed.is_set(), "the peer has not closed"
        return self._wire.closed_at

    @property
    def ending(self) -> str:
        return self._wire.ending

    async def send(self, data: bytes) -> None:
        """Send without waiting for the peer to read; several may reach it as one."""
        try:
            await self._wire.stream.send_all(data)
        except trio.BrokenResourceError:
            await trio.sleep_forever()  # whoever watches the connection sees it too, and ends the script
        self.sent += len(data)

    async def play(self, script: Script) -> None:
        for step in script:
            await self._do(step)
        self.done.set()

    async def _do(self, step: Step) -> None:
        if isinstance(step, bytes):
            await self.send(step)
            await trio.testing.wait_all_tasks_blocked()
        elif isinstance(step, trio.Event):
            await step.wait()
        elif isinstance(step, _Act):
            await self._wire.act(step)
        elif isinstance(step, (int, float)):
            await trio.sleep(step)
        else:
            await step(self)


class _Connection:
    """The upstream's end of a connection. One task reads it all the time, so that a close is seen at once."""

    def __init__(self, stream: trio.abc.Stream, reset: Callable[[], None]) -> None:
        self.stream = stream
        self.closed = trio.Event()
        self.closed_at = 0.0
        self.ending = ""
        self._reset = reset
        self._unread = bytearray()
        self._arrived = trio.Event()
        self._over = False  # ended by the script

    async def watch(self, script: trio.CancelScope) -> None:
        """Read until the peer closes, and end the script then."""
        self.ending = "end"
        try:
            while data := await self.stream.receive_some():
                self._unread += data
                self._arrived.set()
                self._arrived = trio.Event()
        except trio.BrokenResourceError:
            self.ending = "reset"
        except trio.ClosedResourceError:
            self._over = True
        if self._over:
            return
        self.closed_at = trio.current_time()
        self.closed.set()
        script.cancel()

    async def next_request(self, number: int) -> Exchange | None:
        """The next request, whole; None when the script has closed the connection."""
        if self._over:
            return None
        while b"\r\n\r\n" not in self._unread:
            await self._arrived.wait()
        raw, _, _ = bytes(self._unread).partition(b"\r\n\r\n")
        exchange = Exchange(raw, b"", self, number)
        assert "transfer-encoding" not in exchange.headers, "upstream requests have a length"
        start, length = len(raw) + 4, int(exchange.headers.get("content-length", "0"))
        while len(self._unread) < start + length:
            await self._arrived.wait()
        exchange.body = bytes(self._unread[start : start + length])
        del self._unread[: start + length]
        return exchange

    async def act(self, step: _Act) -> None:
        if step is EXPECT_CLOSE:
            if not self._unread:
                await self._arrived.wait()  # a close ends the script, and this with it
            raise AssertionError(f"expected a close, and bytes came: {bytes(self._unread)!r}")
        if step is HALF_CLOSE:
            assert isinstance(self.stream, trio.abc.HalfCloseableStream)
            await self.stream.send_eof()
            return
        self._over = True
        if step is RESET:
            self._reset()
            await trio.aclose_forcefully(self.stream)
        else:
            await self.stream.aclose()


class MemoryEnd(trio.abc.HalfCloseableStream):
    """An end of a connection in memory, as a trio stream."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        with _broken():
            return await self._stream.receive()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with _broken():
            await self._stream.send_all(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def send_eof(self) -> None:
        self._stream.end_sending()

    async def aclose(self) -> None:
        self._stream.close()


@contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except StreamBroken as exc:
        raise trio.BrokenResourceError(str(exc)) from exc


def _reset(stream: trio.SocketStream) -> None:
    # Lingering for no time makes close() send RST and throw away what was not sent: socket(7), SO_LINGER.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
