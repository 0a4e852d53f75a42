"""The simple form of a chat: a prompt in, a text out, without roles, choices or deltas.

    {"prompt": "Hi", "context": ..., "model": "up/tiny", "stream": false}
    {"id": "...", "model": "tiny", "response": "Hello", "done": true, "finish_reason": "stop", "usage": {...}}

A stream is events of the same shape, each with the next piece as its `response` (or as `reasoning`, where the model
thinks aloud), the last with `done`; an error on the way is an event with `error`, the last as well. It is an ordinary
chat with one more encoder: `Simple` is a `Chat` at the door of OpenAI's dialect, and what an upstream says becomes
events, and those this.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import msgspec

from ..protocol import jsontext
from ..protocol.chat import Answer, Choice, End, Event, Failed, Finish, Reasoning, Refusal, Start, Text, Usage
from ..protocol.dialects import DIALECTS, openai
from ..protocol.members import Members
from ..protocol.pipeline import Pipeline
from ..protocol.relay import Translation, Whole
from . import refusal
from .call import Call
from .doors import DOORS
from .work import Chat, Passing

__all__ = ["Simple", "SimpleEncoder", "as_chat"]

Json = dict[str, Any]

DEFAULT_MODEL = "default"
"""What a request is for that names no model: users give an alias this name."""

_NOT_PASSED = frozenset({"messages", "n", "tools", "tool_choice", "functions", "function_call", "stream_options"})
"""Members of a chat that this form has no room for in its answers."""


def as_chat(said: Json, name: str) -> Json:
    """The chat that a request asks for; `name` is the member with the prompt. Raises Refusal."""
    prompt = said.get(name)
    if not isinstance(prompt, str) or not prompt.strip():
        message = f"{name.capitalize()} is required: '{name}' must be a string that is not empty."
        raise refusal.bad_request(message, "missing_required_parameter", name)
    rest = {key: value for key, value in said.items() if key not in (*_NOT_PASSED, name, "context")}
    if rest.get("model") in (None, ""):
        rest["model"] = DEFAULT_MODEL
    return {**rest, "messages": [*_before(said.get("context")), {"role": "user", "content": prompt}]}


def _before(context: object) -> list[Json]:
    """What goes before the prompt: a text or an object as the system's message, messages as they are."""
    if context in (None, "", [], {}):
        return []
    if isinstance(context, list):
        if all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in context):
            return context
        raise refusal.bad_request("'context' is a list of something other than messages.", "invalid_value", "context")
    text = context if isinstance(context, str) else json.dumps(context, ensure_ascii=False)
    return [{"role": "system", "content": text}]


class SimpleEncoder:
    """Events of a model's answer to events of the simple form."""

    content_type: ClassVar[str] = "text/event-stream"

    def __init__(self, *, id: str, model: str) -> None:
        self.failed: Failed | None = None
        self._id, self._model = id, model
        self._reason = "stop"
        self._usage: Usage | None = None

    def encode(self, events: Iterable[Event]) -> bytes:
        """The bytes for these events."""
        return b"".join([b"data: %b\n\n" % jsontext.dumps(said) for said in map(self._said, events) if said])

    def _said(self, event: Event) -> Json | None:
        match event:
            case Text(text, 0) | Refusal(text, 0) if text:
                return {"response": text, "done": False}
            case Reasoning(text, 0) if text:
                return {"response": "", "reasoning": text, "done": False}
            case Start(_, model):
                self._model = model or self._model
            case Finish(0, reason):
                self._reason = reason
            case Usage():
                self._usage = event
            case Failed():
                return {**_error(event), "done": True}
            case End():
                return _last(self._id, self._model, "", self._reason, _counts(self._usage))
        return None


def _last(id: str, model: str, text: str, reason: str, usage: Json | None) -> Json:
    return {"id": id, "model": model, "response": text, "done": True, "finish_reason": reason, "usage": usage}


def _counts(usage: Usage | None) -> Json | None:
    if usage is None:
        return None
    return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": usage.total}


def _error(failed: Failed) -> Json:
    """OpenAI's error object."""
    value: Json = msgspec.json.decode(openai.encode_error(failed)[1])
    return value


class SimpleReader:
    """Answers in this form, as they went out, to the text that they have: the way back, for those who look on."""

    def __init__(self, *, stream: bool) -> None:
        self.failed: Failed | None = None
        self._stream = stream

    def feed(self, data: bytes) -> list[Event]:
        """What these whole events say, or this whole body."""
        said = [
            json.loads(event.removeprefix(b"data: ")) for event in data.split(b"\n\n") if event.startswith(b"data:")
        ]
        return [Text(one.get("response") or "") for one in (said if self._stream else [json.loads(data)])]

    def close(self) -> list[Event]:
        """Nothing is held."""
        return []


class _Stream(Pipeline):
    content_type = SimpleEncoder.content_type

    def __init__(self, source: str, encoder: SimpleEncoder, **options: Any) -> None:
        super().__init__(**options)
        self._decoder = DIALECTS[source].decoder
        self._encoder = encoder

    def _make(self, framing: str) -> Translation:
        decoder = self._decoder(framing, **self._identity, **self._limits)
        decoder.stats = self.stats
        return Translation(decoder, self._encoder)


class _Whole(Whole):
    def close(self) -> bytes:
        """OpenAI's whole answer, told in the simple form."""
        body = super().close()
        if not body:
            return b""
        answer = openai.decode_response(body)
        assert isinstance(answer, Answer), answer  # it is one that we have mended or made
        said = next((choice for choice in answer.choices if choice.index == 0), Choice(0, "", "", "", [], None))
        text, usage = said.text or said.refusal, _counts(answer.usage)
        told = _last(answer.id, answer.model, text, said.reason or "stop", usage)
        return jsontext.dumps({**told, "reasoning": said.reasoning} if said.reasoning else told)


class Simple(Chat):
    """The work for a request in the simple form. `body` is the chat that it asks for."""

    __slots__ = ()

    def __init__(self, body: Members, *, stream: bool) -> None:
        super().__init__(DOORS["openai"], body, stream=stream, include_usage=True, encoding={})

    def passing(self, call: Call, source: str, content_type: str | None, clean: Callable[[Failed], Failed]) -> Passing:
        """What tells an answer in the simple form."""
        reading = self._reading(call, content_type, clean)
        if self.stream:
            return _Stream(source, self._encoder(call), **reading)
        return _Whole(source, "openai", max_message_bytes=call.limits.message_bytes, **reading)

    def error_frame(self, call: Call, failed: Failed) -> bytes:
        """The error as the last event."""
        return self._encoder(call).encode([failed])

    def reader(self, call: Call) -> SimpleReader:
        """See `Chat`."""
        return SimpleReader(stream=self.stream)

    def _encoder(self, call: Call) -> SimpleEncoder:
        identity = self._identity(call)
        return SimpleEncoder(id=identity["id"], model=identity["model"])
