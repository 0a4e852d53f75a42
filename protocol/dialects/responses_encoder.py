"""Events to a stream of the Responses API.

The order is the one that clients insist on: `response.created` and `response.in_progress`, then for each item
what `responses_items` writes, at the end the whole response: `completed`, `incomplete` where the length or a
filter broke it off, or `failed`, and after that an `error` event, for Codex reads the one and the SDKs raise on
the other. Nothing follows.

Reasoning goes out as a summary: that is what clients show. A message ends where something else begins; tool
calls end with the choice, since fragments of several may alternate and nothing before tells that one is whole.

Held: all that was said, for the last events repeat it. `max_held_bytes` bounds that; beyond it the stream ends
with an error, `failed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..chat import NEW_ENTRY, End, Event, Failed, Finish, Reasoning, Refusal, Start, Text, ToolCall, Usage, size
from .responses_items import CallItem, Frames, TextItem
from .responses_object import custom_tools, is_incomplete, item_id, response_object
from .source import malformed

__all__ = ["StreamEncoder", "write_failure"]

Json = dict[str, Any]

_PART_OF = {"output_text": "msg", "refusal": "msg", "summary": "rs"}


def write_failure(frames: Frames, response: Json, failed: Failed) -> bytes:
    """How a stream fails: the response that says so, and the error in the form on which SDKs raise."""
    error = {"type": failed.type, "code": failed.code, "message": failed.message, "param": failed.param}
    return frames.write("response.failed", {"response": response}) + frames.write("error", {"error": error})


class StreamEncoder:
    """Events to bytes. `id`, `created` and `model` stand in where `Start` names none; choices other than 0 cannot
    be carried and are left out.

    `request` has the fields of the request that the response repeats, as the client sent them; its tools say
    which calls are of tools that take free text. Streams of this API always tell the usage, so `include_usage`
    means nothing here. `own` has members of the response that are not the answer's to say (its `id`, for whoever
    keeps it). After `End` or `Failed` nothing more is encoded.
    """

    content_type = "text/event-stream; charset=utf-8"

    __slots__ = (
        *(
            "_calls",
            "_custom",
            "_ended",
            "_frames",
            "_items",
            "_limit",
            "_open",
            "_own",
            "_reason",
            "_request",
            "_room",
        ),
        *("_start", "_usage", "failed"),
    )

    def __init__(
        self,
        *,
        include_usage: bool = True,
        id: str = "",
        created: int = 0,
        model: str = "",
        request: Mapping[str, Any] | None = None,
        own: Mapping[str, Any] | None = None,
        max_held_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self.failed: Failed | None = None
        self._own = own or {}
        self._start = Start(str(self._own.get("id") or id), model, created)
        self._request = request or {}
        self._custom = custom_tools(self._request)
        self._limit = self._room = max_held_bytes
        self._frames = Frames()
        self._items: list[TextItem | CallItem] = []
        self._open: TextItem | None = None
        self._calls: dict[int, CallItem] = {}  # those that are not ended
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._ended = False

    def encode(self, events: Iterable[Event]) -> bytes:
        """The events of this API for these events."""
        return b"".join([self._encode(event) for event in events if not self._ended])

    def _encode(self, event: Event) -> bytes:
        match event:
            case Text(text, 0):
                return self._say("output_text", text)
            case Reasoning(text, 0, signature):
                return self._reason_on(text, signature)
            case Refusal(text, 0):
                return self._say("refusal", text)
            case ToolCall(0):
                return self._call(event)
            case Start(id, model, created) if not self._frames.number:
                known = self._start
                self._start = Start(
                    str(self._own.get("id") or id or known.id), model or known.model, created or known.created
                )
            case Finish(0, reason):
                self._reason = reason
                return self._begin() + self._end_items()
            case Usage():
                self._usage = event
            case Failed():
                return self._fail(event)
            case End():
                self._ended = True
                status = "incomplete" if is_incomplete(self._reason) else "completed"
                return self._begin() + self._end_items() + self._last(status)
        return b""

    def _begin(self) -> bytes:
        """The beginning, unless it was written. Every stream has it, even one that only fails."""
        if self._frames.number:
            return b""
        response = {"response": self._response("in_progress")}
        return self._frames.write("response.created", response) + self._frames.write("response.in_progress", response)

    def _say(self, kind: str, text: str) -> bytes:
        if not text:
            return b""
        if not self._holds(text):
            return self._too_much()
        begun = self._item(_PART_OF[kind])
        assert self._open is not None
        if self._open.going != kind:
            self._room -= NEW_ENTRY
        return begun + self._open.say(kind, text)

    def _reason_on(self, text: str, signature: str) -> bytes:
        said = self._say("summary", text)
        if not signature or self._ended:
            return said
        if not self._holds(signature):
            return said + self._too_much()
        said += self._item("rs")
        assert self._open is not None
        self._open.signature = signature
        return said + self._end_open()

    def _item(self, kind: str) -> bytes:
        """Make sure that an item of this kind is open."""
        if self._open is not None and self._open.kind == kind:
            return b""
        begun = self._begin() + self._end_open()
        self._open = TextItem(self._frames, self._next_id(kind), len(self._items), kind)
        self._items.append(self._open)
        self._room -= NEW_ENTRY
        return begun + self._open.begin()

    def _call(self, call: ToolCall) -> bytes:
        if not self._holds(call.id, call.name, call.arguments):
            return self._too_much()
        item, begun = self._calls.get(call.index), b""
        if item is None:
            custom = call.name in self._custom
            begun = self._begin() + self._end_open()
            name = self._next_id("ctc" if custom else "fc")
            item = CallItem(self._frames, name, len(self._items), call, custom=custom)
            self._calls[call.index] = item
            self._items.append(item)
            self._room -= NEW_ENTRY
            begun += item.begin()
        return begun + item.say(call)

    def _next_id(self, kind: str) -> str:
        return item_id(kind, self._start.id, len(self._items))

    def _end_open(self, status: str = "completed") -> bytes:
        ended = self._open.end(status) if self._open is not None else b""
        self._open = None
        return ended

    def _end_items(self) -> bytes:
        """End all that is open. What an incomplete answer said last is incomplete."""
        cut = self._items[-1] if self._items and is_incomplete(self._reason) else None
        ended = [call.end("incomplete" if call is cut else "completed") for call in self._calls.values()]
        self._calls.clear()
        return b"".join(ended) + self._end_open("incomplete" if self._open is cut else "completed")

    def _holds(self, *texts: str) -> bool:
        self._room -= size(*texts)
        return self._room >= 0

    def _too_much(self) -> bytes:
        self._items.clear()
        self.failed = malformed(f"more than {self._limit} bytes")
        return self._fail(self.failed)

    def _fail(self, failed: Failed) -> bytes:
        """What was open stays so: an end of it would tell clients that they may use it."""
        self._ended = True
        for item in (*self._calls.values(), *filter(None, [self._open])):
            item.status = "incomplete"
        return self._begin() + write_failure(self._frames, self._response("failed", failed), failed)

    def _last(self, status: str) -> bytes:
        return self._frames.write(f"response.{status}", {"response": self._response(status)})

    def _response(self, status: str, failed: Failed | None = None) -> Json:
        output = [item.value() for item in self._items]
        more: Json = {"usage": self._usage, "reason": self._reason, "failed": failed}
        return {**response_object(self._start, self._request, status, output=output, **more), **self._own}
