"""Ollama's streams, `/api/chat` and `/api/generate`: lines to events, events to lines.

Facts that shape it: each line is a whole object (`ollama_lines`); tool calls come whole. `done` is the end marker, but
some servers leave it out where `done_reason` says as much. The core has no clock: `created_at` and the durations are
given by the caller.

Held back by the encoder: tool calls until the choice is finished, for Ollama's clients take whole ones only,
and nothing before the finish says that one is whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from .. import jsontext
from ..chat import (
    NEW_ENTRY,
    End,
    Event,
    Failed,
    Finish,
    Reasoning,
    Refusal,
    Start,
    Text,
    ToolCall,
    Usage,
    size,
)
from .ollama_lines import (
    CHAT,
    GENERATE,
    Times,
    encode_call,
    encode_error,
    is_done,
    last_line,
    rfc3339,
    said_in,
    usage_of,
)
from .source import MAX_TOOL_CALLS, Source, malformed

__all__ = ["GenerateEncoder", "StreamDecoder", "StreamEncoder"]

_REASONS = {"length": "length", "max_tokens": "length", "content_filter": "content_filter"}


class StreamDecoder(Source[Event]):
    """Bytes to events. The last event is `End`, or `Failed` for whatever went wrong; nothing is raised for it.

    Held back: an unfinished line, and the finish until `done`.
    """

    __slots__ = ("_calls", "_created", "_halves", "_id", "_model", "_started")

    def __init__(
        self, framing: str = "ndjson", *, id: str = "", created: int = 0, model: str = "", **options: Any
    ) -> None:
        super().__init__(framing, **options)
        self._id, self._created, self._model = id, created, model
        self._started = False
        self._calls = 0
        self._halves: dict[str, str] = {}  # field -> a high surrogate that waits for its other half

    def _read(self, value: dict[str, Any], raw: bytes) -> list[Event]:
        message = said_in(value)
        if message is None:
            return []
        events: list[Event] = []
        if not self._started:
            self._started = True
            model = value.get("model")
            self._model = model if isinstance(model, str) and model else self._model
            events.append(Start(self._id, self._model, self._created))
        self.life.content()
        for field, kind in (("thinking", Reasoning), ("content", Text)):
            text = message.get(field)
            if text and isinstance(text, str):
                if self._halves or jsontext.has_surrogate(text):
                    text = self._rejoin(field, text)
                if text:
                    events.append(kind(text))
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            if self._calls + len(calls) > MAX_TOOL_CALLS:
                self._fail(malformed(f"more than {MAX_TOOL_CALLS} tool calls"))
                return events
            events += [self._call(entry) for entry in calls if isinstance(entry, dict)]
        if is_done(value):
            self._complete(value, value.get("done_reason"), events)
        return events

    def _rejoin(self, field: str, text: str) -> str:
        text = self._halves.pop(field, "") + text
        if "\ud800" <= text[-1] <= "\udbff":
            self._halves[field] = text[-1]
            text = text[:-1]
        return jsontext.scrub(text)

    def _call(self, entry: dict[str, Any]) -> ToolCall:
        function = entry.get("function")
        function = function if isinstance(function, dict) else {}
        index, self._calls = self._calls, self._calls + 1
        given, arguments = entry.get("id"), function.get("arguments")
        if not isinstance(arguments, str):
            arguments = jsontext.dumps(arguments or {}).decode()
        made = "call_" + hashlib.sha256(f"{self._id}/{index}".encode()).hexdigest()[:24]
        return ToolCall(0, index, str(given or made), str(function.get("name") or ""), arguments)

    def _complete(self, value: dict[str, Any], reason: Any, events: list[Event]) -> None:
        events += [Text("\ufffd") if field == "content" else Reasoning("\ufffd") for field in self._halves]
        self._halves.clear()
        canonical = _REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"
        events.append(Finish(0, "tool_calls" if self._calls and canonical == "stop" else canonical))
        self.life.finish()
        self.usage = usage_of(value)
        if self.usage is not None:
            events.append(self.usage)
        self.life.marker()

    def _finish(self) -> list[Event]:
        return [End()]

    def _tell(self, failed: Failed) -> list[Event]:
        return [failed]


class StreamEncoder:
    """Events to NDJSON lines. Choices other than 0 cannot be carried and are left out.

    Tool calls that grow beyond `max_held_bytes` before they are whole end the stream with an error, `failed`.

    `created_at` (RFC 3339; else made of the time in `Start`, or of `created` where that has none) goes into every
    line, `durations` (nanoseconds, by Ollama's names) into the last; a driver may set both at any time, or give
    `times`, which makes them of a clock. Ollama's streams always tell the usage and have no id, so `include_usage`
    and `id` mean nothing here. After `End` or `Failed` nothing more is encoded.
    """

    content_type = "application/x-ndjson"
    _shape = CHAT

    __slots__ = (
        *("_calls", "_ended", "_head", "_limit", "_made", "_model", "_reason", "_room", "_stamp", "_times", "_usage"),
        *("created_at", "durations", "failed"),
    )

    def __init__(
        self,
        *,
        include_usage: bool = True,
        id: str = "",
        created: int = 0,
        model: str = "",
        created_at: str = "",
        durations: dict[str, int] | None = None,
        times: Times | None = None,
        max_held_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self.failed: Failed | None = None
        self._limit = self._room = max_held_bytes
        self._made = rfc3339(created)  # of no time that a driver gave
        self.created_at = created_at or self._made
        self.durations = durations or {}
        self._times = times
        self._model = model
        self._stamp: str | None = None  # the `created_at` that `_head` was made with
        self._head = b""
        self._calls: dict[int, tuple[ToolCall, list[str]]] = {}
        self._reason = "stop"
        self._usage: Usage | None = None
        self._ended = False

    def encode(self, events: Iterable[Event]) -> bytes:
        """The lines for these events."""
        return b"".join([self._encode(event) for event in events if not self._ended])

    def _encode(self, event: Event) -> bytes:
        match event:
            case Text(text, 0) | Refusal(text, 0):
                self._note(text)
                return self._line(jsontext.quote(text))
            case Reasoning(text, 0) if text:
                self._note(text)
                return self._line(b'"","thinking":%b' % jsontext.quote(text))
            case ToolCall(0):
                return self._tool_call(event)
            case Start(_, model, created):
                self._model = model or self._model
                self._stamp = None
                if created and self.created_at is self._made:
                    self.created_at = rfc3339(created)
            case Finish(0, reason):
                self._reason = "length" if reason == "length" else "stop"
                return self._release()
            case Usage():
                self._usage = event
            case Failed():
                self._ended = True
                return encode_error(event)[1] + b"\n"
            case End():
                self._ended = True
                return self._release() + jsontext.dumps(self._last()) + b"\n"
        return b""

    def _note(self, said: str) -> None:
        if said and self._times is not None:
            self._times.token()

    def _line(self, text: bytes) -> bytes:
        """A line with this text, as JSON, and whatever is written behind it."""
        shape = self._shape
        if self._times is not None:
            self.created_at = self._times.stamp()
        if self._stamp is not self.created_at:
            self._stamp = self.created_at
            self._head = jsontext.dumps({"model": self._model, "created_at": self._stamp})[:-1] + shape.before
        return b'%b%b%b,"done":false}\n' % (self._head, text, shape.after)

    def _tool_call(self, call: ToolCall) -> bytes:
        self._note(call.name or call.arguments)
        new = call.index not in self._calls
        self._room -= size(call.id, call.name, call.arguments) + (NEW_ENTRY if new else 0)
        if self._room < 0:
            self._calls.clear()
            self.failed = malformed(f"tool calls of more than {self._limit} bytes")
            return self._encode(self.failed)
        _, fragments = self._calls.setdefault(call.index, (call, []))
        if call.arguments:
            fragments.append(call.arguments)
        return b""

    def _release(self) -> bytes:
        """The tool calls, as one line, now that they are whole."""
        if not self._calls:
            return b""
        calls = [call._replace(arguments="".join(fragments)) for call, fragments in self._calls.values()]
        self._calls.clear()
        self._room = self._limit
        return self._line(b'"","tool_calls":%b' % jsontext.dumps([encode_call(call) for call in calls]))

    def _last(self) -> dict[str, Any]:
        if self._times is not None:
            self.created_at, self.durations = self._times.stamp(), self._times.durations()
        return last_line(
            self._model, self.created_at, self._shape.said("", {}), self._reason, self._usage, self.durations
        )


class GenerateEncoder(StreamEncoder):
    """The same for `/api/generate`."""

    _shape = GENERATE

    __slots__ = ()
