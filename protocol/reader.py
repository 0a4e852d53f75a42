"""An answer read into events, for whoever wants those and no bytes: whatever the upstream really sends.

    bytes -> what is it? -> frames -> JSON -> events

The first bytes say whether it is SSE, NDJSON or a JSON document (`detect`); the dialect's decoder does the rest. It
is the reading half of a `relay.Relay`, and knows the same about how the answer ended.
"""

from __future__ import annotations

from typing import Any

from .chat import Ending, Event, Failed, Lifecycle, Usage
from .detect import Detector
from .dialects import DIALECTS
from .dialects.source import Source, Stats, empty
from .errors import LocalProtocolError
from .machine import Chunk

__all__ = ["Reader"]


class Reader:
    """Bytes of an answer in the dialect `source` to events. The last event is `End`, or `Failed` for whatever went
    wrong; nothing is raised for it.

    `content_type` is the answer's header, a hint; `id`, `created` and `model` stand in where the upstream says none;
    limits are `max_frame_bytes` and `json_depth`. Held back: what the detector and the dialect's decoder hold.
    """

    __slots__ = ("_closed", "_decoder", "_detector", "_options", "_source", "stats")

    def __init__(
        self,
        source: str,
        *,
        content_type: str | None = None,
        max_frame_bytes: int = 16 * 1024 * 1024,
        **options: Any,
    ) -> None:
        self._source = DIALECTS[source]
        self._options = {"max_frame_bytes": max_frame_bytes, **options}
        self._detector = Detector(content_type, max_bytes=max_frame_bytes)
        self._decoder: Source[Event] | None = None
        self._closed = False
        self.stats = Stats()

    @property
    def life(self) -> Lifecycle:
        """Where the answer stands."""
        return Lifecycle() if self._decoder is None else self._decoder.life

    @property
    def ended(self) -> bool:
        """Whether nothing more can come: there is no need to wait for the upstream to close."""
        return self.life.ended

    @property
    def ending(self) -> Ending | None:
        """How it ended, once it has."""
        return self.life.ending

    @property
    def failed(self) -> Failed | None:
        """What went wrong, if something did."""
        return None if self._decoder is None else self._decoder.failed

    @property
    def usage(self) -> Usage | None:
        """What the upstream counted, as far as it has said."""
        return None if self._decoder is None else self._decoder.usage

    def feed(self, data: Chunk) -> list[Event]:
        """Take one chunk; return the events that it completed. Raises LocalProtocolError after `close`."""
        if self._closed:
            raise LocalProtocolError("feed after close")
        if self._decoder is not None:
            self.stats.bytes_in += len(data)
            return self._decoder.feed(data)
        framing = self._detector.feed(data)
        return [] if framing is None else self._begin(framing).feed(self._held())

    def close(self) -> list[Event]:
        """The answer is over: decides the ending, if the upstream has not. A second call returns nothing."""
        if self._closed:
            return []
        self._closed = True
        if self._decoder is not None:
            return self._decoder.close()
        framing = self._detector.close()
        if framing is None:
            return self._begin("sse").fail(empty())
        decoder = self._begin(framing)
        return decoder.feed(self._held()) + decoder.close()

    def _held(self) -> bytes:
        held = self._detector.buffered
        self.stats.bytes_in += len(held)
        return held

    def _begin(self, framing: str) -> Source[Event]:
        self._decoder = self._source.decoder(framing, **self._options)
        self._decoder.stats = self.stats
        return self._decoder
