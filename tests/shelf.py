"""An upstream that has nothing but a list of models, and gives it slowly, wrongly or not at all if told so."""

from __future__ import annotations

import json

import trio

from penstock.providers.direct import DirectTransport
from penstock.providers.memory import MemoryStream, memory_pair
from penstock.providers.provider import Provider
from penstock.providers.settings import ProviderSettings
from penstock.providers.stream import ByteStream, StreamBroken
from penstock.providers.transport import UpstreamError


class Shelf:
    """Its connections are memory streams; each is served by a task in `nursery`, and for one request."""

    def __init__(self, nursery: trio.Nursery, *models: str) -> None:
        self._nursery = nursery
        self.models = list(models)
        self.body: bytes | None = None
        """What to say instead of the list."""
        self.status = 200
        self.delay = 0.0
        self.refuses = False
        self.requests: list[bytes] = []
        self.streams: list[MemoryStream] = []

    async def connect(self) -> ByteStream:
        await trio.lowlevel.checkpoint()
        if self.refuses:
            raise UpstreamError("refused", "the upstream refuses connections", sent=False)
        near, far = memory_pair()
        self.streams.append(far)
        self._nursery.start_soon(self._serve, far)
        return near

    async def _serve(self, stream: MemoryStream) -> None:
        try:
            self.requests.append(await stream.receive())
            await trio.sleep(self.delay)
            body = self.body
            if body is None:
                body = json.dumps({"object": "list", "data": [{"id": model} for model in self.models]}).encode()
            head = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            await stream.send_all(head.encode() + body)
        except StreamBroken:
            pass  # nobody waits for it any more
        finally:
            stream.close()

    def provider(self, name: str, settings: ProviderSettings | None = None, *, key: str = "") -> Provider:
        """A provider that has this upstream behind it."""
        return Provider(
            name,
            settings or ProviderSettings(),
            make_transport=lambda origin, _: DirectTransport(origin, connect=self.connect),
            key=key,
        )
