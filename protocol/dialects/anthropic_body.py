"""Whole answers in Anthropic's dialect: read, written, and passed on as they are.

A message is passed on byte for byte, for it has one form only; what is no message, or has an error in it, is a
failure whatever its status was.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Accumulator, Answer, Choice, Failed, Usage
from .anthropic_stream import StreamDecoder
from .anthropic_terms import arguments_object, encode_usage, stop_reason, thoughts_of

__all__ = ["decode_response", "encode_response", "mend_response"]

Json = dict[str, Any]

_NO_LIMIT = 1 << 62  # what is put together is no more than the body, which is bounded


def decode_response(
    body: bytes, *, id: str = "", created: int = 0, model: str = "", json_depth: int = 128
) -> Answer | Failed:
    """A whole answer, or why there is none. It is read as a stream of one frame."""
    limits = {"json_depth": json_depth, "max_frame_bytes": len(body)}
    decoder = StreamDecoder("json", id=id, created=created, model=model, **limits)
    whole = Accumulator(_NO_LIMIT)
    whole.feed([*decoder.feed(body), *decoder.close()])
    return decoder.failed or whole.answer()


def encode_response(answer: Answer) -> bytes:
    """A whole answer as Anthropic writes it. Only choice 0 can be carried."""
    choice = next((choice for choice in answer.choices if choice.index == 0), Choice(0, "", "", "", [], None))
    texts = [text for text in (choice.text, choice.refusal) if text]
    content = thoughts_of(choice) + [{"type": "text", "text": text} for text in texts]
    for call in choice.tool_calls:
        given = arguments_object(call.arguments)
        content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": given})
    message = {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": stop_reason(choice.reason, refused=bool(choice.refusal)),
        "stop_sequence": None,
        "usage": encode_usage(answer.usage),
    }
    return jsontext.dumps(message)


def mend_response(body: bytes, *, json_depth: int = 128, **given: Any) -> tuple[bytes, Usage | None] | Failed:
    """The body to send, and its usage; or why there is none. Nothing to mend: the very same body."""
    decoder = StreamDecoder("json", json_depth=json_depth, max_frame_bytes=len(body), **given)
    decoder.feed(body)
    decoder.close()
    if decoder.failed is not None:
        return decoder.failed
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    value, clean = jsontext.loads_body(text, json_depth)
    if isinstance(value, list):  # of one, or it would have failed
        value, clean = value[0], False
    return text if clean else jsontext.dumps(value), decoder.usage
