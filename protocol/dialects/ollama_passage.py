"""Ollama to Ollama: lines pass as they came, logprobs, context and unknown fields included, and are watched.

Mended: a last line that does not say `done`, or is not there where the framing says the end; a line without
`created_at`, or without what the model said, for Ollama's clients want these in each. Lines about progress, which say
nothing of an answer, are left out.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Failed
from .ollama_lines import CHAT, GENERATE, Shape, canonical, encode_error, last_line, rfc3339, said_in
from .ollama_stream import StreamDecoder
from .through import Place, Through

__all__ = ["GeneratePassage", "Passage"]


class Passage(Through):
    """Lines in, lines out, as bytes."""

    decoder = StreamDecoder
    _shape: Shape = CHAT

    __slots__ = ("_created_at", "_model")

    def __init__(self, framing: str = "ndjson", *, created: int = 0, model: str = "", **options: Any) -> None:
        super().__init__(framing, created=created, model=model, **options)
        self._created_at, self._model = rfc3339(created), model

    def _frame(self, value: dict[str, Any], text: bytes) -> bytes:
        if said_in(value) is None:
            return b""
        self._model = value.get("model", self._model)
        mended = canonical(value, self._shape, self._created_at)
        return (text if mended is value else jsontext.dumps(mended)) + b"\n"

    def _place(self, value: dict[str, Any]) -> Place | None:
        holder = value.get("message", value)
        if isinstance(holder, dict):
            for key in ("content", "response", "thinking"):
                if isinstance(holder.get(key), str) and holder[key]:
                    return Place(holder, key, key)
        return None

    def _end_marker(self) -> list[bytes]:
        line = last_line(self._model, self._created_at, self._shape.said("", {}), "stop", None, {})
        return [jsontext.dumps(line) + b"\n"]

    def _error_frame(self, failed: Failed) -> bytes:
        return encode_error(failed)[1] + b"\n"


class GeneratePassage(Passage):
    """The same for `/api/generate`."""

    _shape = GENERATE

    __slots__ = ()
