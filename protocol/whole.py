"""An answer that the client wants in one piece, whatever the upstream sends.

A JSON document of the client's own dialect is passed on byte for byte unless something in it must be mended;
of another dialect it is decoded and encoded. A stream is put together from its events. Until the last byte
nothing has started, so that every failure can still be an HTTP status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .chat import Accumulator, Answer, Ending, Event, Failed, Lifecycle, Usage
from .dialects import DIALECTS
from .dialects.source import Source, malformed, truncated
from .errors import LimitExceeded
from .machine import Chunk
from .pipeline import Pipe, Pipeline
from .tags import split_answer

__all__ = ["Whole"]

Encode = Callable[[Answer], bytes]
Read = Callable[[bytes], tuple[bytes, Usage | None] | Failed]


class _Document:
    """A JSON body. `read` makes what goes out of it, and the usage, or says why there is nothing."""

    feed_one = None

    def __init__(self, read: Read, limit: int, clean: Callable[[Failed], Failed] | None) -> None:
        self._read = read
        self._clean = clean
        self._limit = limit
        self._body = bytearray()
        self.life = Lifecycle()
        self.failed: Failed | None = None
        self.usage: Usage | None = None

    def feed(self, data: Chunk) -> list[bytes]:
        if not self.life.ended:
            self._body += data
            if len(self._body) > self._limit:
                self._body.clear()
                self.fail(malformed(f"more than {self._limit} bytes"))
        return []

    def close(self) -> list[bytes]:
        if self.life.ended:
            return []
        found = self._read(bytes(self._body))
        if isinstance(found, Failed):
            self._broken(found)
            return []
        self.usage = found[1]
        self.life.content()
        self.life.marker()
        return [found[0]]

    def _broken(self, failed: Failed) -> None:
        """A document that breaks off is truncated, as a stream would be; all else the upstream said."""
        if failed == truncated():
            self.life.content()
            self.life.eof()
            self.failed = failed
        else:
            self.life.fail()
            self.failed = failed if self._clean is None else self._clean(failed)

    def fail(self, failed: Failed) -> list[bytes]:
        if not self.life.ended:
            self.life.fail()
            self.failed = failed
        return []


class _Gathering:
    """A stream, put together from its events."""

    feed_one = None

    def __init__(self, decoder: Source[Event], encode: Encode, limit: int) -> None:
        self._decoder = decoder
        self._encode = encode
        self._whole = Accumulator(limit)
        self.life = decoder.life
        self.failed: Failed | None = None

    @property
    def usage(self) -> Usage | None:
        return self._decoder.usage

    def feed(self, data: Chunk) -> list[bytes]:
        self._gather(self._decoder.feed(data))
        return []

    def close(self) -> list[bytes]:
        self._gather(self._decoder.close())
        return [self._encode(self._whole.answer())] if self.failed is None else []

    def fail(self, failed: Failed) -> list[bytes]:
        self._gather(self._decoder.fail(failed))
        return []

    def _gather(self, events: list[Event]) -> None:
        try:
            if self.failed is None:
                self._whole.feed(events)
                self.failed = self._decoder.failed
        except LimitExceeded as exc:
            self.failed = malformed(str(exc))
            if not self.life.ended:
                self.life.fail()


class Whole(Pipeline):
    """An answer in one piece: `feed` always returns b"", `close` the body, or b"" where `failed` is set.

    `ending` comes with `close`, or with a failure; `ended` says that no more input is needed. More than
    `max_message_bytes` is a failure. Other arguments as for `Relay`; a whole answer always tells its usage.
    """

    content_type = "application/json"

    __slots__ = ("_encoding", "_limit", "_sink", "_source")

    def __init__(
        self,
        source: str,
        sink: str,
        *,
        include_usage: bool = True,
        max_message_bytes: int = 64 * 1024 * 1024,
        encoding: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._source, self._sink = DIALECTS[source], DIALECTS[sink]
        self._limit = max_message_bytes
        self._encoding = encoding or {}

    @property
    def started(self) -> bool:
        """Whether the whole answer is there."""
        return self.ending is not None and self.failed is None

    @property
    def ending(self) -> Ending | None:
        """How it ended, once that is decided."""
        return super().ending if self._closed or self.failed is not None else None

    def _make(self, framing: str) -> Pipe:
        # Where streams are SSE, one line of JSON is a document that ends in a line end, and no stream of one line.
        if framing == "json" or (framing == "ndjson" and self._source.framing == "sse"):
            return _Document(self._read, self._limit, self._limits["clean"])
        decoder = self._source.decoder(framing, **self._identity, **self._limits)
        decoder.stats = self.stats
        return _Gathering(decoder, self._encode, self._limit)

    def _read(self, body: bytes) -> tuple[bytes, Usage | None] | Failed:
        options = {**self._identity, "json_depth": self._limits["json_depth"]}
        if self._source is self._sink and self._source.mend_response is not None and self._structures is None:
            own = {"own": self._encoding["own"]} if "own" in self._encoding else {}
            return self._source.mend_response(body, **own, **options)
        answer = self._source.decode_response(body, **options)
        return answer if isinstance(answer, Failed) else (self._encode(answer), answer.usage)

    def _encode(self, answer: Answer) -> bytes:
        if self._structures is not None:
            answer = split_answer(answer, self._structures)
        return self._sink.encode_response(answer, **self._encoding)
