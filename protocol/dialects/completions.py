"""OpenAI's legacy text completions: the text stands in `choices[].text`, in whole answers and in chunks alike.

What comes in is read by OpenAI's own decoders, which take the text wherever a server puts it. What goes out is
written here: `object` is `text_completion`, there are no roles, and no place for reasoning and tool calls. A refusal
is text.

`Passage` and `mend_response` leave everything of an answer as it came, logprobs and unknown fields included, but for
what clients cannot read: foreign finish reasons, a text that is not in `text`, chunks without choices. Usage goes out
once, at the end of a stream, and only if it was asked for.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Answer, Choice, Event, Failed, Finish, Reasoning, Refusal, Text, ToolCall, Usage
from . import openai_stream
from .completions_request import as_chat, decode_request, encode_request
from .failures import decode_error, encode_error
from .openai_body import FORBIDDEN, decode_response, encode_answer, mend, parse, told_usage, written
from .openai_mend import Chunk, canonical_usage, finish_reason, identical, texts_of, usage_in
from .openai_normal import is_annotation
from .openai_stream import DONE, StreamDecoder, encode_failure
from .through import Place, Through

__all__ = [
    "Passage",
    "StreamDecoder",
    "StreamEncoder",
    "as_chat",
    "decode_error",
    "decode_request",
    "decode_response",
    "encode_error",
    "encode_request",
    "encode_response",
    "mend_response",
]

OBJECT = "text_completion"


def _reason(said: str) -> str:
    """Without tool calls, an answer that ended with one is an answer that ended."""
    return "stop" if said in ("tool_calls", "function_call") else said


class StreamEncoder(openai_stream.StreamEncoder):
    """Events to bytes. Reasoning and tool calls cannot be carried and are left out; all else as for chats."""

    _object = OBJECT

    __slots__ = ()

    def _encode(self, event: Event) -> bytes:
        match event:
            case Text(text, choice) | Refusal(text, choice):
                return self._piece(choice, text)
            case Finish(choice, reason):
                return self._piece(choice, "", jsontext.quote(_reason(reason)))
            case Reasoning() | ToolCall():
                return b""
        return super()._encode(event)

    def _piece(self, choice: int, text: str, reason: bytes = b"null") -> bytes:
        return b'%b,"choices":[{"text":%b,"index":%d,"logprobs":null,"finish_reason":%b}]}\n\n' % (
            self._head or self._make_head(),
            jsontext.quote(text),
            choice,
            reason,
        )


class Passage(Through):
    """Chunks in, chunks out, as bytes. At the end usage, if it was asked for, and `[DONE]`; or the error."""

    decoder = StreamDecoder

    __slots__ = ("_include_usage", "_last")

    def __init__(self, framing: str = "sse", *, include_usage: bool = True, **options: Any) -> None:
        super().__init__(framing, include_usage=include_usage, **options)
        self._include_usage = include_usage
        self._last = b""  # the chunk with the usage

    def _frame(self, value: dict[str, Any], text: bytes) -> bytes:
        usage, said = usage_in(value), value.get("choices")
        said = [choice for choice in said if isinstance(choice, dict)] if isinstance(said, list) else []
        choices = [choice for choice in said if not is_annotation(choice)]
        if not choices:
            if usage is not None:
                self._last = text
            return b""
        mended = {key: item for key, item in value.items() if key not in FORBIDDEN}
        mended["object"] = OBJECT
        if value.get("usage") is not None:
            del mended["usage"]
        if usage is not None:
            self._last = jsontext.dumps({**mended, "choices": [], "usage": canonical_usage(usage)})
        mended["choices"] = [_mend_choice(choice, at, "") for at, choice in enumerate(choices)]
        return b"data: %b\n\n" % (text if identical(mended, value) else jsontext.dumps(mended))

    def _place(self, value: dict[str, Any]) -> Place | None:
        choices = value.get("choices")
        choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
            return None
        return Place(choice, "text", str(choice.get("index")))

    def _end_marker(self) -> list[bytes]:
        usage = [b"data: %b\n\n" % self._last] if self._include_usage and self._last else []
        return [*usage, DONE]

    def _error_frame(self, failed: Failed) -> bytes:
        return encode_failure(failed)


def mend_response(body: bytes, *, json_depth: int = 128, **given: Any) -> tuple[bytes, Usage | None] | Failed:
    """The body to send, and its usage; or why there is none. Nothing to mend: the very same body.

    `given`: `id`, `created` and `model` where the upstream says none.
    """
    found = parse(body, json_depth)
    if isinstance(found, Failed):
        return found
    text, value, clean = found
    return told_usage(written(text, value, mend(value, OBJECT, _mend_choice, **given), clean))


def _mend_choice(choice: Chunk, position: int, seed: str) -> Chunk:
    """A choice with its text in `text`. `seed` would make ids, and here nothing has one."""
    mended = {key: item for key, item in choice.items() if key not in ("message", "delta")}
    if type(choice.get("index")) is not int:
        mended["index"] = position
    if not isinstance(choice.get("text"), str):
        said = choice.get("message") or choice.get("delta")
        content = said.get("content") if isinstance(said, dict) else None
        mended["text"] = texts_of(content if isinstance(content, list) else [content])[0]
    reason = choice.get("finish_reason")
    mended["finish_reason"] = _reason(finish_reason(reason)) if reason else None
    return mended


def encode_response(answer: Answer) -> bytes:
    """A whole answer as OpenAI's legacy endpoint writes it."""
    return encode_answer(answer, OBJECT, _encode_choice)


def _encode_choice(choice: Choice) -> Chunk:
    reason = _reason(choice.reason) if choice.reason else None
    return {"text": choice.text or choice.refusal, "index": choice.index, "logprobs": None, "finish_reason": reason}
