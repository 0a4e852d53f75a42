"""Whole answers of Ollama's, `/api/chat` and `/api/generate`: a stream of one line, and read as such.

`Body` has the functions for one of the two shapes.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Accumulator, Answer, Choice, Event, Failed, Request, Usage
from .ollama_lines import Shape, Times, canonical, encode_call, last_line, rfc3339
from .ollama_stream import StreamDecoder

__all__ = ["Body", "decode_response"]


def _read(body: bytes, **given: Any) -> tuple[StreamDecoder, list[Event]]:
    decoder = StreamDecoder("json", **given)
    return decoder, [*decoder.feed(body), *decoder.close()]


def decode_response(body: bytes, **given: Any) -> Answer | Failed:
    """A whole answer (`stream: false`), or why there is none.

    `given`: `id`, `created` and `model` where the upstream says none, and `json_depth`.
    """
    decoder, events = _read(body, **given)
    whole = Accumulator()
    whole.feed(events)
    return decoder.failed or whole.answer()


class Body:
    """Whole answers of one shape, written."""

    __slots__ = ("_shape",)

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def mend_response(
        self, body: bytes, *, created: int = 0, json_depth: int = 128, **given: Any
    ) -> tuple[bytes, Usage | None] | Failed:
        """The body to send, and its usage; or why there is none. Nothing to mend: the very same body."""
        decoder, _ = _read(body, created=created, json_depth=json_depth, **given)
        if decoder.failed is not None:
            return decoder.failed
        text = body.removeprefix(b"\xef\xbb\xbf").strip()
        value, clean = jsontext.loads_body(text, json_depth)
        if isinstance(value, list):  # of one, or it would have failed
            value, clean = value[0], False
        mended = canonical(value, self._shape, rfc3339(created))
        return text if clean and mended is value else jsontext.dumps(mended), decoder.usage

    def encode_response(
        self,
        answer: Answer,
        *,
        created_at: str = "",
        durations: dict[str, int] | None = None,
        times: Times | None = None,
    ) -> bytes:
        """A whole answer as one object of the same shape as the last line of a stream. Only choice 0 can be carried.
        `created_at` and `durations` as for the stream encoder; `times` has both."""
        if times is not None:
            created_at, durations = times.stamp(), times.durations()
        choice = next((choice for choice in answer.choices if choice.index == 0), Choice(0, "", "", "", [], None))
        more: dict[str, Any] = {"thinking": choice.reasoning} if choice.reasoning else {}
        if choice.tool_calls:
            more["tool_calls"] = [encode_call(call) for call in choice.tool_calls]
        said = self._shape.said(choice.text or choice.refusal, more)
        reason = "length" if choice.reason == "length" else "stop"
        stamp = created_at or rfc3339(answer.created)
        return jsontext.dumps(last_line(answer.model, stamp, said, reason, answer.usage, durations or {}))

    def encode_load(self, request: Request, reason: str, *, created: int = 0, created_at: str = "") -> bytes:
        """The answer to a request that only loads or unloads a model (`load_reason`): one object, streamed or not."""
        line = {"model": request.model, "created_at": created_at or rfc3339(created), **self._shape.said("", {})}
        return jsontext.dumps({**line, "done_reason": reason, "done": True})
