"""The Responses API on both sides: its events pass as they came.

Hosted tools, annotations, logprobs and whatever else this API has more than any other go out untouched. Each event
gets its `event:` line, which some servers leave out. A whole response in the place of a stream becomes one.

Events before the answer begins are held until it does, for a stream that fails before has not started; `_read`
bounds them by the size of one frame. A failure goes out as this API's clients read it, with what was known of the
response, and numbered on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..chat import End, Failed
from .responses_decoder import StreamDecoder
from .responses_encoder import StreamEncoder, write_failure
from .responses_items import Frames
from .responses_object import error_of
from .source import malformed
from .through import Place, Through

__all__ = ["Passage"]

Json = dict[str, Any]

_NAME = re.compile(r"[\w.]+", re.ASCII)
_PART = ("type", "item_id", "output_index", "content_index", "summary_index")


class Passage(Through):
    """Events in, the same events out, as bytes. `own` has members of the response that are not the upstream's to
    say: the few events that have it are written anew."""

    __slots__ = ("_early", "_early_bytes", "_number", "_own", "_response")

    decoder = StreamDecoder

    def __init__(self, framing: str = "sse", *, own: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(framing, **options)
        self._own = own or {}
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._number = 0  # of the next event
        self._response: Json = {}  # as it was told last

    def _read(self, value: Json, raw: bytes) -> list[bytes]:
        response, number = value.get("response"), value.get("sequence_number")
        if isinstance(response, dict):
            if self._own:
                response = {**response, **self._own}
                value, raw = {**value, "response": response}, b""
            self._response = response
        self._number = number if type(number) is int else self._number
        frames = super()._read(value, raw) if isinstance(value.get("type"), str) else self._whole(value)
        self._number += self.failed is None  # what failed goes out as an error frame, with its number
        if self.life.ended or self.life.started:
            early, self._early = self._early, []
            return early + frames
        self._early += frames
        self._early_bytes += sum(map(len, frames))
        if self._early_bytes > self._max_frame_bytes:
            self._early.clear()
            self._fail(malformed(f"more than {self._max_frame_bytes} bytes before it begins"))
        return []

    def _whole(self, value: Json) -> list[bytes]:
        """A whole response, as a stream that says the same. It repeats the request itself."""
        events = self._watch._read(value, b"")
        self.usage, self.failed = self._watch.usage, self._watch.failed
        if not self.life.ended or self.failed is not None:
            return []
        return [StreamEncoder(request=value, own=self._own).encode([*events, End()])]

    def _frame(self, value: Json, text: bytes) -> bytes:
        kind = value["type"]
        name = b"event: %b\n" % kind.encode() if _NAME.fullmatch(kind) else b""
        return b"%bdata: %b\n\n" % (name, text)

    def _place(self, value: Json) -> Place | None:
        if not isinstance(value.get("delta"), str):
            return None
        return Place(value, "delta", tuple(map(str, map(value.get, _PART))))

    def _done(self) -> None:
        """`[DONE]` is no marker of this API: some proxies put it behind whatever they were sent."""

    def _end_marker(self) -> list[bytes]:
        return []  # the last event is the marker, and has passed

    def _error_frame(self, failed: Failed) -> bytes:
        frames = Frames()
        frames.number = self._number
        response = {"object": "response", "output": [], **self._response}
        return write_failure(frames, {**response, "status": "failed", "error": error_of(failed)}, failed)
