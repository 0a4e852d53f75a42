"""Anthropic on both sides: frames pass as they came, and `StreamDecoder` looks on.

What clients need beyond the JSON is made here: an `event:` line with each frame, as Anthropic's own client passes
over what has none, and a stream where the upstream answered with a whole message instead.

Held back: `message_start`, until something meaningful came, so that an error after it is still an HTTP status.
"""

from __future__ import annotations

import re
from typing import Any

from ..chat import Failed
from .anthropic_encoder import MESSAGE_STOP, StreamEncoder, encode_failure
from .anthropic_stream import StreamDecoder
from .through import Place, Through

__all__ = ["Passage"]

Json = dict[str, Any]

_event_name = re.compile(r"[A-Za-z0-9_.-]+").fullmatch


class Passage(Through):
    """Frames as they came. At the end the upstream's own, or the error if something had started."""

    __slots__ = ("_head",)

    decoder = StreamDecoder

    def __init__(self, framing: str = "sse", **options: Any) -> None:
        super().__init__(framing, **options)
        self._head: list[bytes] = []

    def _read(self, value: Json, raw: bytes) -> list[bytes]:
        if value.get("type") == "message":  # in the place of a stream
            return self._cut(value)
        frames = super()._read(value, raw)
        if self.life.started:
            frames, self._head = self._head + frames, []
            return frames
        if value.get("type") == "message_start":
            self._head = frames
        return []

    def _cut(self, message: Json) -> list[bytes]:
        events = self._watch._read(message, b"")
        self.usage, self.failed = self._watch.usage, self._watch.failed
        if self.failed is not None:
            return []
        self._marked = True
        return [StreamEncoder().encode([*events, *self._watch._finish()])]

    def _frame(self, value: Json, text: bytes) -> bytes:
        kind = value.get("type")
        if isinstance(kind, str) and _event_name(kind):
            return b"event: %b\ndata: %b\n\n" % (kind.encode(), text)
        return b"data: %b\n\n" % text

    def _place(self, value: Json) -> Place | None:
        delta = value.get("delta")
        if value.get("type") == "content_block_delta" and isinstance(delta, dict):
            for key in ("text", "thinking", "partial_json"):
                if isinstance(delta.get(key), str):
                    return Place(delta, key, (repr(value.get("index")), key))
        return None

    def _end_marker(self) -> list[bytes]:
        return [MESSAGE_STOP]

    def _error_frame(self, failed: Failed) -> bytes:
        return encode_failure(failed)
