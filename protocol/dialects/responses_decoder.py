"""A stream of the Responses API to events.

The end is what `response.completed`, `.incomplete` or `.failed` declare; all three carry the usage. `[DONE]`
declares nothing here. Frames need no `event:` line, the type stands in the JSON; types that are not known here
are passed over, for the API has many and gets more. What the items say is read by `responses_output`, so that a
stream of `output_item.done` alone, or of nothing but `response.completed`, is read as well as a full one; and so
is a whole response where a stream was asked for.

Held back: an unfinished frame, a high surrogate at the end of a delta, and the beginning (`Start`) until an item
begins: a stream that fails before that has not started.

A delta of the text that the event before was a delta of, as nearly all are, goes past all that.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import End, Event, Failed, Finish, Reasoning, Refusal, Start, Text
from ..errors import LimitExceeded
from . import failures
from .responses_object import usage_of
from .responses_output import Output
from .source import Source, malformed

__all__ = ["ENDS", "StreamDecoder"]

Json = dict[str, Any]

ENDS = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done")
)
"""Events after which no other comes."""

# Event without `.delta` or `.done` -> what it says, and where a `done` has the whole of it.
_TEXTS = {
    "response.output_text": ("text", "text"),
    "response.refusal": ("refusal", "refusal"),
    "response.reasoning_text": ("thought", "text"),
    "response.reasoning_summary_text": ("summary", "text"),
    "response.function_call_arguments": ("arguments", "arguments"),
    "response.custom_tool_call_input": ("arguments", "input"),
}
_DELTAS: dict[str, type[Text | Refusal | Reasoning]] = {
    "response.output_text.delta": Text,
    "response.refusal.delta": Refusal,
    "response.reasoning_text.delta": Reasoning,
    "response.reasoning_summary_text.delta": Reasoning,
}
_PART_DONE = ("response.content_part.done", "response.reasoning_summary_part.done")
_ITEM = ("response.output_item.added", "response.output_item.done")
_MAX_SECONDS = 1 << 40


class StreamDecoder(Source[Event]):
    """Bytes to events. The last event is `End`, or `Failed` for whatever went wrong; nothing is raised for it."""

    __slots__ = ("_going", "_output", "_start", "_started")

    def __init__(
        self, framing: str = "sse", *, id: str = "", created: int = 0, model: str = "", **options: Any
    ) -> None:
        super().__init__(framing, **options)
        self._start = Start(id, model, created)
        self._started = False
        self._output = Output(id)
        self._going: tuple[Any, ...] = ()  # of the text that goes on: its type, and its place

    def _read(self, value: Json, raw: bytes) -> list[Event]:
        kind, get = value.get("type"), value.get
        place = (kind, get("item_id"), get("output_index"), get("content_index"), get("summary_index"))
        text = get("delta")
        plain = isinstance(text, str) and text != "" and not jsontext.has_surrogate(text)
        if plain and place == self._going:
            return [_DELTAS[kind](text)]  # type: ignore[index,arg-type]
        try:
            self._hear(kind if isinstance(kind, str) else "", value)
        except LimitExceeded as exc:
            self._fail(malformed(str(exc)))
        output = self._output
        events, output.events = output.events, []
        told = _DELTAS.get(kind) if isinstance(kind, str) else None
        self._going = place if plain and told is not None and events and type(events[-1]) is told else ()
        return events

    def _hear(self, kind: str, value: Json) -> None:
        """One event, of this type; or a whole response, which has none."""
        output, response = self._output, value.get("response")
        name, _, what = kind.rpartition(".")
        if name in _TEXTS:
            said, whole = _TEXTS[name]
            item = self._item(value, {})
            text = value.get("delta" if what == "delta" else whole)
            if said == "arguments" and what == "done":
                output.begin_call(item, value)
            output.say(item, said, _index(value), text, whole=what == "done")
        elif kind in _ITEM:
            told = value.get("item")
            if isinstance(told, dict):
                output.take(self._item(value, told), told, done=what == "done")
        elif kind in _PART_DONE:
            output.take_part(self._item(value, {}), _index(value), value.get("part"))
        elif kind in ENDS:
            self._end(response if isinstance(response, dict) else {}, what)
        elif isinstance(response, dict):
            self._identify(response)
        elif not kind and (value.get("object") == "response" or "output" in value):
            self._end(value, str(value.get("status", "completed")))

    def _item(self, value: Json, item: Json) -> Any:
        """The item that an event is about; with the first one, the answer has begun."""
        self._begin()
        return self._output.item(value.get("output_index"), value.get("item_id") or item.get("id"), item.get("call_id"))

    def _begin(self) -> None:
        if not self._started:
            self._started = True
            self._output.events.append(self._start)
        self.life.content()

    def _identify(self, response: Json) -> None:
        """What a response says of itself, for the start."""
        known = self._start
        id, model, created = (response.get(key) for key in ("id", "model", "created_at"))
        dated = isinstance(created, (int, float)) and 0 < created < _MAX_SECONDS
        self._start = Start(
            id if isinstance(id, str) and id else known.id,
            model if isinstance(model, str) and model else known.model,
            int(created) if dated else known.created,  # type: ignore[arg-type]
        )

    def _end(self, response: Json, status: str) -> None:
        """The last response: what was not told before, the usage, and how it ended."""
        self._identify(response)
        self.usage = usage_of(response.get("usage"))
        if status in ("failed", "cancelled"):
            said = failures.find({"error": response.get("error")})
            self._fail(said or Failed(f"the upstream says that its response is {status}, and not why"))
            return
        if status in ("queued", "in_progress"):
            self._fail(malformed("a response that is not complete"))
            return
        self._begin()
        output = self._output
        output.take_all(response.get("output"))
        output.events.append(Finish(0, self._reason(response, status)))
        self.life.finish()
        if self.usage is not None:
            output.events.append(self.usage)
        self.life.marker()

    def _reason(self, response: Json, status: str) -> str:
        details = response.get("incomplete_details")
        if status == "incomplete" or (response.get("status") == "incomplete" and details):
            filtered = isinstance(details, dict) and details.get("reason") == "content_filter"
            return "content_filter" if filtered else "length"
        return "tool_calls" if self._output.calls else "stop"

    def _done(self) -> None:
        """`[DONE]` is no marker of this API: some proxies put it behind whatever they were sent."""

    def _finish(self) -> list[Event]:
        return [End()]

    def _tell(self, failed: Failed) -> list[Event]:
        return [failed]


def _index(value: Json) -> int:
    """Which part of an item an event is about."""
    for key in ("content_index", "summary_index"):
        if type(value.get(key)) is int:
            return int(value[key])
    return 0
