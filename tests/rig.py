"""A whole gateway in one process on memory streams: what serves, under the clock of the test.

    rig = Rig(nursery, upstream)                 # provider "up" is `scripted.Upstream`
    client = rig.connect()
    await client.chat("Hi", stream=True)         # send a request
    answer = await client.answer()               # read the response, strictly, by h11

Nothing of the gateway is replaced but the two ends of its connections: `Connection` is given a memory
stream where the listener would give it a socket, and the providers' transports connect to `Upstream`s.
`client.raw` is for what h11 would not send. In the place of an `Upstream` there may be an async function that
makes the connection, or fails to.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import h11
import trio
import trio.testing

from penstock.protocol import sse
from penstock.providers.direct import DirectTransport
from penstock.providers.memory import MemoryStream, memory_pair
from penstock.providers.settings import ProviderSettings
from penstock.providers.stream import ByteStream
from penstock.providers.transport import Transport
from penstock.server.app import build, open_store
from penstock.server.config import load
from penstock.server.connection import Connection
from penstock.server.store.store import Store
from scripted import Upstream

__all__ = ["Answer", "Client", "Rig", "settled"]

Connect = Callable[[], Awaitable[ByteStream]]


async def settled() -> None:
    """Wait until nothing goes on by itself any more: clock apart, every task waits for somebody else.

    The scripts of upstreams wait for idleness too, after each piece; a longer cushion comes after them.
    """
    await trio.testing.wait_all_tasks_blocked(cushion=0.0001)


class Answer:
    """One response, read to its end. `pieces` has the body as its transfer chunks came, with their times."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, pieces: list[tuple[float, bytes]]) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.pieces = pieces

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a refused request."""
        error = self.json["error"]
        assert isinstance(error["message"], str)
        assert error["message"]
        return error

    @property
    def events(self) -> list[Any]:
        """The stream's events: their JSON, or the text of those that are none (`[DONE]`)."""
        decoder = sse.Decoder()
        found = decoder.feed(self.body) + decoder.close()
        return [json.loads(e.data) if e.data.startswith("{") else e.data for e in found]

    @property
    def text(self) -> str:
        """The text of choice 0 of a stream."""
        chunks = [event for event in self.events if isinstance(event, dict)]
        return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices", []))


class Client:
    """One client connection. Bytes that came and were not asked for yet are kept."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)

    async def raw(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] = {},
        body: bytes = b"",
        version: str = "1.1",
    ) -> None:
        """Send a request; `host` and `content-length` are added where they are missing."""
        sent = {"host": "127.0.0.1:8777", **headers}
        if body:
            sent.setdefault("content-length", str(len(body)))
        lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in sent.items())]
        self.expect(method)
        await self.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def chat(self, text: str = "Hi", headers: Mapping[str, str] = {}, **body: Any) -> None:
        """Send a chat request."""
        content = {"model": "up/tiny", "messages": [{"role": "user", "content": text}], **body}
        await self.request(
            "POST",
            "/v1/chat/completions",
            {"content-type": "application/json", **headers},
            json.dumps(content, ensure_ascii=False).encode(),
        )

    def expect(self, method: str = "POST") -> None:
        """Tell the reader that a request was sent, for requests that were sent raw."""
        if self._http.our_state is not h11.IDLE:
            self._http.start_next_cycle()
        self._http.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        self._http.send(h11.EndOfMessage())

    async def answer(self) -> Answer:
        """Read one response to its end. A body that is cut short is a h11.RemoteProtocolError."""
        head = await self.head()
        pieces = []
        while type(event := await self._event()) is not h11.EndOfMessage:
            pieces.append((trio.current_time(), bytes(event.data)))
        body = b"".join(piece for _, piece in pieces)
        return Answer(head.status_code, {k.decode(): v.decode() for k, v in head.headers}, body, pieces)

    async def head(self) -> h11.Response:
        """Read up to the end of the response's head."""
        while type(event := await self._event()) is h11.InformationalResponse:
            pass
        assert type(event) is h11.Response, event
        return event

    async def piece(self) -> bytes:
        """Read one more piece of the body; b"" at its end."""
        event = await self._event()
        return bytes(event.data) if type(event) is h11.Data else b""

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self.stream.receive())
        return event

    def leave(self) -> None:
        self.stream.close()


class Rig:
    """A gateway with `upstreams` by provider name; `toml` is its configuration, without their addresses."""

    def __init__(
        self,
        nursery: trio.Nursery,
        up: Upstream | Connect | None = None,
        toml: str = "",
        environ: Mapping[str, str] = {},
        *,
        store: Store | None = None,
        **upstreams: Upstream | Connect,
    ) -> None:
        self.nursery = nursery
        self.upstreams = {"up": up, **upstreams} if up is not None else upstreams
        missing = [name for name in self.upstreams if f"[providers.{name}]" not in toml]
        text = toml + "".join(f'\n[providers.{name}]\npreset = "openai"\n' for name in missing)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            self.config = load(Path(file.name), environ)
        self.gateway = build(self.config, nursery, environ, transports=self._transport, store=store)

    @classmethod
    async def stored(
        cls, nursery: trio.Nursery, file: Path, up: Upstream | Connect | None = None, toml: str = "", **more: Any
    ) -> Rig:
        """A gateway with a store in `file`; to be used under the real clock, for the store works in threads."""
        text = f"{toml}\n[store]\nurl = 'sqlite:///{file}'\n"
        config = cls(nursery, up, text, **more).config
        rig = cls(nursery, up, text, store=await open_store(config, nursery), **more)
        await rig.gateway.gate.open(rig.config)
        return rig

    def _transport(self, origin: str, settings: ProviderSettings) -> Transport | None:
        for name, known in self.config.providers.items():
            if known is settings and name in self.upstreams:
                return DirectTransport("http://127.0.0.1:9", connect=self._connector(self.upstreams[name]))
        return None

    def _connector(self, upstream: Upstream | Connect) -> Connect:
        async def connect() -> ByteStream:
            assert isinstance(upstream, Upstream)
            return upstream.connect()

        return connect if isinstance(upstream, Upstream) else upstream

    def connect(self, *, capacity: int = 65536, peer: str = "127.0.0.1") -> Client:
        """A client's connection to the gateway."""
        ours, theirs = memory_pair(capacity)
        self.nursery.start_soon(Connection(self.gateway, ours, peer).serve)
        return Client(theirs)

    async def ask(self, text: str = "Hi", headers: Mapping[str, str] = {}, **body: Any) -> Answer:
        """One chat on a connection of its own, to the end of its answer."""
        client = self.connect()
        await client.chat(text, headers, **body)
        answer = await client.answer()
        client.leave()
        return answer
