"""What the embedded echo upstream answers: a chat request read, and an answer written, both as bytes.

The answer is the text of the last user message, in pieces of the size of real tokens, so that whoever tries
a client, a font or a parser sees exactly what was sent come back. The same request gives the same answer.

A request may carry an object `echo` with knobs for demonstrations and tests (docs/providers.md): how long to
wait, what to say, how to fail, and into how many bytes to cut the stream. They are checked strictly, since a
misspelt knob that does nothing is worse than an error.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import unicodedata
import zlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

__all__ = ["Answer", "BadRequest", "Fail", "Knobs", "read_request", "tokens"]

NOTHING_TO_SAY = "There is nothing to echo."
"""The answer to an empty message, since an answer without text would be a failure."""

_Millis = Annotated[int, Meta(ge=0, le=600_000)]
_Count = Annotated[int, Meta(ge=0)]


class BadRequest(Exception):
    """The request cannot be answered; the message says why."""


class Fail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to fail: with a `status` instead of an answer, or `after` so many tokens in the way of `how`."""

    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    after: _Count = 0
    how: Literal["reset", "close", "error", "no_finish", "stall"] | None = None


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool to call instead of saying something."""

    name: str
    arguments: str | dict[str, Any] = "{}"


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `echo` member of a request."""

    ttft_ms: _Millis = 0
    gap_ms: _Millis = 0
    cut: _Count = 0
    text: str | None = None
    reasoning: str = ""
    tool_call: ToolCall | None = None
    fail: Fail = Fail()


class _Part(msgspec.Struct):
    type: str = "text"
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Request(msgspec.Struct):
    """What of a chat request an echo needs; all else is ignored, as servers do."""

    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    echo: Knobs = Knobs()


def read_request(body: bytes) -> _Request:
    """A chat request out of its body. Raises BadRequest."""
    try:
        request = msgspec.convert(json.loads(body), _Request)
    except (ValueError, RecursionError) as exc:
        wrong = str(exc) if isinstance(exc, msgspec.ValidationError) else "the body is not JSON"
        raise BadRequest(wrong) from exc
    fail = request.echo.fail
    if fail.how is None and fail.after:
        raise BadRequest("`how` must be said where `after` is - at `$.echo.fail`")
    if fail.how is not None and fail.status is not None:
        raise BadRequest("`status` and `how` exclude each other - at `$.echo.fail`")
    return request


class Answer:
    """The answer to one request, to be taken once: as `events`, or as a `whole`.

    `number` tells apart the answers to the same request, `created` is in seconds since the epoch. Where a
    failure on the way was asked for, `fails` names it, and the answer goes as far as the failure.
    """

    def __init__(self, request: _Request, number: int, created: int) -> None:
        knobs = request.echo
        said = "\n".join(_text_of(message) for message in request.messages)
        self.knobs = knobs
        self.stream = bool(request.stream)
        self.fails = knobs.fail.how or ""
        self.length = 0
        """How many tokens were taken so far."""
        self._usage_wanted = request.stream_options is not None and bool(request.stream_options.include_usage)
        self._model = request.model
        self._created = created
        self._id = f"chatcmpl-echo-{zlib.crc32(said.encode('utf-8', 'surrogatepass')):08x}-{number}"
        self._prompt = len(said) // 4 + 1  # as a rule of thumb has it; counting would take as long as answering
        self._most = request.max_completion_tokens or request.max_tokens or math.inf
        self._text = _text(request)
        self._finish = "tool_calls" if knobs.tool_call else "stop"

    def _pieces(self) -> Iterator[tuple[str, str]]:
        """The tokens, each with the kind of text that it belongs to, as they are wanted."""
        kind = "arguments" if self.knobs.tool_call else "content"
        reasoning = (("reasoning_content", token) for token in tokens(self.knobs.reasoning))
        for piece in itertools.chain(reasoning, ((kind, token) for token in tokens(self._text))):
            if self.length >= self._most:
                self._finish = "length"
                return
            if self.fails and self.length >= self.knobs.fail.after:
                return
            self.length += 1
            yield piece

    # A stream

    def events(self) -> Iterator[bytes]:
        """The events of a stream, up to its end or to where it is to fail: one for each token."""
        if not (self.fails and self.knobs.fail.after == 0):
            call = self.knobs.tool_call
            yield self._chunk({"role": "assistant", "content": None if call else ""})
            if call:
                first = {"index": 0, "id": self._call_id, "type": "function"}
                yield self._chunk({"tool_calls": [{**first, "function": {"name": call.name, "arguments": ""}}]})
        for kind, token in self._pieces():
            if kind == "arguments":
                yield self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": token}}]})
            else:
                yield self._chunk({kind: token})
        if not self.fails:
            yield self._chunk({}, self._finish)
            if self._usage_wanted:
                yield _event({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage})
            yield b"data: [DONE]\n\n"

    def failure(self) -> bytes:
        """An error in mid-stream, as an event."""
        return _event(error_body("The echo fails, as it was asked to.", "server_error"))

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**self._head("chat.completion.chunk"), "choices": [choice]})

    # In one piece

    def whole(self) -> bytes:
        """The answer as one JSON object."""
        call = self.knobs.tool_call
        said = dict.fromkeys(("content", "reasoning_content", "arguments"), "")
        for kind, token in self._pieces():
            said[kind] += token
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if call else said["content"],
            "refusal": None,
        }
        if said["reasoning_content"]:
            message["reasoning_content"] = said["reasoning_content"]
        if call:
            function = {"name": call.name, "arguments": said["arguments"]}
            message["tool_calls"] = [{"id": self._call_id, "type": "function", "function": function}]
        finish = None if self.fails else self._finish
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return dumps({**self._head("chat.completion"), "choices": [choice], "usage": self._usage})

    # Common to both

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    @property
    def _call_id(self) -> str:
        return "call_" + self._id.removeprefix("chatcmpl-")

    @property
    def _usage(self) -> dict[str, int]:
        total = self._prompt + self.length
        return {"prompt_tokens": self._prompt, "completion_tokens": self.length, "total_tokens": total}


def error_body(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def dumps(value: object) -> bytes:
    """JSON in raw UTF-8, so that there are characters to cut; a lone surrogate becomes U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\ud800-\udfff]", "\ufffd", text).encode()


def _event(value: object) -> bytes:
    return b"data: " + dumps(value) + b"\n\n"


def _text(request: _Request) -> str:
    """What there is to say."""
    knobs = request.echo
    if knobs.tool_call is not None:
        given = knobs.tool_call.arguments
        return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    if knobs.text is not None:
        return knobs.text
    asked = (_text_of(message) for message in reversed(request.messages) if message.role == "user")
    return next(asked, "") or NOTHING_TO_SAY


def _text_of(message: _Message) -> str:
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content if part.type == "text")
    return message.content or ""


# Tokens

_LONGEST = 16
"""Characters of a token at most, however many marks are heaped on one letter."""


def tokens(text: str) -> Iterator[str]:
    """Cut text into pieces of about two to six characters, which joined give exactly the text.

    A piece begins with the space before a word, as the tokens of real models do, and never in the middle of
    what is drawn as one sign: not before a mark, a joiner or a skin tone, nor after a joiner or a virama.
    """
    start = 0
    for at in range(1, len(text)):
        wanted = at - start >= 2 + at % 5 or _begins_word(text, at)
        if at - start >= _LONGEST or (wanted and not _goes_on(text, at)):
            yield text[start:at]
            start = at
    if text:
        yield text[start:]


def _begins_word(text: str, at: int) -> bool:
    return text[at].isspace() and not text[at - 1].isspace()


def _goes_on(text: str, at: int) -> bool:
    """Whether the sign at `at` is drawn together with the one before it."""
    here, before = text[at], text[at - 1]
    if here.isascii() and before.isascii():
        return False
    return (
        unicodedata.category(here).startswith("M")
        or "\N{EMOJI MODIFIER FITZPATRICK TYPE-1-2}" <= here <= "\N{EMOJI MODIFIER FITZPATRICK TYPE-6}"
        or "\N{ZERO WIDTH JOINER}" in (here, before)
        or unicodedata.combining(before) == 9  # a virama joins two consonants
    )
