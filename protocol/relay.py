"""A streamed answer on its way from an upstream's dialect to a client's, as one machine.

    bytes -> what is it? -> frames -> JSON -> events -> JSON -> frames -> bytes      any dialect to any other
    bytes -> what is it? -> frames -> look, or parse and mend -> bytes               the same dialect twice

`dialects.DIALECTS` says which there are; nothing here knows any of them. JSON in the place of a stream is cut
into chunks.

`feed` gives nothing until something meaningful came (`started`): until then a failure can still become an
HTTP status, or another upstream be tried. After it, the bytes that tell the client of a failure are in what
`feed`, `close` or `fail` return. A relay has exactly one `ending`, and gives nothing after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .chat import Event, Failed, Usage
from .dialects import DIALECTS, Encoder
from .dialects.source import Source
from .machine import Chunk
from .pipeline import Pipe, Pipeline
from .tags import Events
from .whole import Whole

__all__ = ["Relay", "Translation", "Whole"]


class Translation:
    """A decoder of one dialect and an encoder of another, with events between them: a `pipeline.Pipe`."""

    __slots__ = ("_decoder", "_encoder", "_tags", "life")

    feed_one = None

    def __init__(self, decoder: Source[Event], encoder: Encoder, tags: Events | None = None) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._tags = tags
        self.life = decoder.life

    @property
    def failed(self) -> Failed | None:
        return self._decoder.failed or self._encoder.failed

    @property
    def usage(self) -> Usage | None:
        return self._decoder.usage

    def feed(self, data: Chunk) -> list[bytes]:
        return self._encoded(self._decoder.feed(data))

    def close(self) -> list[bytes]:
        return self._encoded(self._decoder.close())

    def fail(self, failed: Failed) -> list[bytes]:
        return self._encoded(self._decoder.fail(failed))

    def _encoded(self, events: list[Event]) -> list[bytes]:
        if self._tags is not None:
            events = self._tags.feed(events)
        out = [self._encoder.encode(events)]
        if self._encoder.failed is not None:
            self._decoder.fail(self._encoder.failed)  # the encoder has said so to the client
        return out


class Relay(Pipeline):
    """A streamed answer: bytes of `source` in, bytes of `sink` out, whole frames only.

    `include_usage` is whether the client asked for usage; `encoding` goes to the sink's encoder, and `own` of it to a
    passage that has the word. Further options:
    `content_type`, the upstream's header; `id`, `created` and `model`, which stand in where the upstream says
    none; the limits `max_frame_bytes` and `json_depth`; `structures`, what to look for in the text (`tags`): with it,
    the answer is read and written anew also where both dialects are the same.
    """

    __slots__ = ("_encoding", "_include_usage", "_sink", "_source", "content_type")

    def __init__(
        self,
        source: str,
        sink: str,
        *,
        include_usage: bool = False,
        encoding: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._source, self._sink = DIALECTS[source], DIALECTS[sink]
        self._include_usage = include_usage
        self._encoding = encoding or {}
        self.content_type = self._sink.encoder.content_type

    def _make(self, framing: str) -> Pipe:
        passage = self._source.passage
        structures = self._structures
        if self._source is self._sink and passage is not None and structures is None:
            own = {"own": self._encoding["own"]} if "own" in self._encoding else {}
            through = passage(framing, include_usage=self._include_usage, **own, **self._identity, **self._limits)
            through.stats = self.stats
            return through
        decoder = self._source.decoder(framing, **self._identity, **self._limits)
        decoder.stats = self.stats
        identity = {"include_usage": self._include_usage, **self._identity}
        tags = Events(structures, id=self._identity["id"]) if structures is not None else None
        return Translation(decoder, self._sink.encoder(**identity, **self._encoding), tags)
