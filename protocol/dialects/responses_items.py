"""Output items of the Responses API as they are written: each as a value, and as the events that build it up.

An item is announced (`output_item.added`), filled by deltas, and told once more as a whole (`output_item.done`);
texts within it are parts, which are announced and told once more themselves. Clients hold to the order: the SDKs
look up each delta's item and part and raise where it is missing, Codex takes items from `output_item.done` alone.
So every item here remembers what it said.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from .. import jsontext
from ..chat import ToolCall

__all__ = ["CallItem", "Frames", "Item", "TextItem", "call_value", "message_value", "reasoning_value", "text_part"]

Json = dict[str, Any]


class _Form(NamedTuple):
    """How a kind of text is written: as a part of an item, and in events."""

    type: str
    text: str
    part_event: str
    text_event: str
    index: str  # type: ignore[assignment]  # hides tuple.index
    in_part: Json
    in_event: Json


_FORMS = {
    "output_text": _Form(
        *("output_text", "text", "content_part", "output_text", "content_index"),
        {"annotations": [], "logprobs": []},
        {"logprobs": []},
    ),
    "refusal": _Form("refusal", "refusal", "content_part", "refusal", "content_index", {}, {}),
    "summary": _Form(
        *("summary_text", "text", "reasoning_summary_part", "reasoning_summary_text", "summary_index"), {}, {}
    ),
}


def text_part(kind: str, text: str) -> Json:
    """A part of an item: `output_text`, `refusal` or `summary`."""
    form = _FORMS[kind]
    return {"type": form.type, form.text: text, **form.in_part}


def message_value(id: str, status: str, parts: list[Json]) -> Json:
    """A message of the assistant's."""
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": parts}


def reasoning_value(id: str, summary: list[Json], signature: str) -> Json:
    """A block of reasoning, with what its vendor wants back if there is any."""
    encrypted = {"encrypted_content": signature} if signature else {}
    return {"id": id, "type": "reasoning", "summary": summary, **encrypted}


def call_value(id: str, status: str, call: ToolCall, *, custom: bool) -> Json:
    """A call of a function, or of a tool that takes free text."""
    if custom:
        kind, said = "custom_tool_call", {"input": call.arguments}
    else:
        kind, said = "function_call", {"arguments": call.arguments}
    return {"id": id, "type": kind, "status": status, "call_id": call.id or id, "name": call.name, **said}


class Frames:
    """Writes the events of one stream and counts them."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0
        """The `sequence_number` of the next event."""

    def write(self, kind: str, members: Json) -> bytes:
        """One event."""
        return self.write_members(kind.encode(), jsontext.dumps(members)[1:-1])

    def write_members(self, kind: bytes, members: bytes) -> bytes:
        """One event whose members are JSON already."""
        number, self.number = self.number, self.number + 1
        head = b'event: %b\ndata: {"type":"%b","sequence_number":%d,' % (kind, kind, number)
        return b"%b%b}\n\n" % (head, members)


class Item(ABC):
    """Base: an item under way, at its place in the output."""

    __slots__ = ("_frames", "id", "place", "status")

    def __init__(self, frames: Frames, id: str, place: int) -> None:
        self._frames = frames
        self.id = id
        self.place = place
        self.status = "in_progress"

    @abstractmethod
    def value(self) -> Json:
        """The item as it stands."""

    def begin(self) -> bytes:
        """Announce the item."""
        return self._item("added")

    def _item(self, what: str) -> bytes:
        members = {"output_index": self.place, "item": self.value()}
        return self._frames.write(f"response.output_item.{what}", members)


class _Part:
    """A text under way, at its place in an item."""

    __slots__ = ("_delta", "_frames", "_head", "_place", "_said", "_tail", "kind")

    def __init__(self, frames: Frames, item: Item, kind: str, index: int) -> None:
        self._frames = frames
        self.kind = kind
        self._said: list[str] = []
        form = _FORMS[kind]
        self._place = {"item_id": item.id, "output_index": item.place, form.index: index}
        # A delta is a token: all of it but the text is made once.
        self._delta = f"response.{form.text_event}.delta".encode()
        self._head = jsontext.dumps(self._place)[1:-1]
        self._tail = b"," + jsontext.dumps(form.in_event)[1:-1] if form.in_event else b""

    def value(self) -> Json:
        return text_part(self.kind, "".join(self._said))

    def begin(self) -> bytes:
        return self._part("added")

    def say(self, text: str) -> bytes:
        self._said.append(text)
        members = b'%b,"delta":%b%b' % (self._head, jsontext.quote(text), self._tail)
        return self._frames.write_members(self._delta, members)

    def end(self) -> bytes:
        form = _FORMS[self.kind]
        self._said = ["".join(self._said)]
        done = {**self._place, form.text: self._said[0], **form.in_event}
        return self._frames.write(f"response.{form.text_event}.done", done) + self._part("done")

    def _part(self, what: str) -> bytes:
        members = {**self._place, "part": self.value()}
        return self._frames.write(f"response.{_FORMS[self.kind].part_event}.{what}", members)


class TextItem(Item):
    """A message, or a block of reasoning (`kind` is `msg` or `rs`)."""

    __slots__ = ("_parts", "kind", "signature")

    def __init__(self, frames: Frames, id: str, place: int, kind: str) -> None:
        super().__init__(frames, id, place)
        self.kind = kind
        self.signature = ""
        self._parts: list[_Part] = []

    def value(self) -> Json:
        parts = [part.value() for part in self._parts]
        if self.kind == "rs":
            return reasoning_value(self.id, parts, self.signature)
        return message_value(self.id, self.status, parts)

    @property
    def going(self) -> str:
        """The kind of the part that is under way."""
        return self._parts[-1].kind if self._parts else ""

    def say(self, kind: str, text: str) -> bytes:
        """More of a text, in the part of that kind that is under way or in a new one."""
        begun = b""
        if self.going != kind:
            begun = self._parts[-1].end() if self._parts else b""
            self._parts.append(_Part(self._frames, self, kind, len(self._parts)))
            begun += self._parts[-1].begin()
        return begun + self._parts[-1].say(text)

    def end(self, status: str) -> bytes:
        """The item is whole, or breaks off."""
        ended = self._parts[-1].end() if self._parts else b""
        self.status = status
        return ended + self._item("done")


class CallItem(Item):
    """A tool call."""

    __slots__ = ("_call", "_custom", "_said")

    def __init__(self, frames: Frames, id: str, place: int, call: ToolCall, *, custom: bool) -> None:
        super().__init__(frames, id, place)
        self._call = call
        self._custom = custom
        self._said: list[str] = []

    def value(self) -> Json:
        call = self._call._replace(arguments="".join(self._said))
        return call_value(self.id, self.status, call, custom=self._custom)

    def say(self, call: ToolCall) -> bytes:
        """More of the call: fragments of its arguments, or a name that comes late."""
        if not self._call.name:
            self._call = self._call._replace(name=call.name)
        if not call.arguments:
            return b""
        self._said.append(call.arguments)
        return self._frames.write(f"{self._kind}.delta", {**self._where, "delta": call.arguments})

    def end(self, status: str) -> bytes:
        """The call is whole, or breaks off. Whole arguments of nothing are an empty object."""
        rest = b""
        if not self._custom and status == "completed" and not "".join(self._said).strip():
            rest = self.say(self._call._replace(arguments="{}"))
        self.status = status
        self._said = ["".join(self._said)]
        said = {"input": self._said[0]} if self._custom else {"name": self._call.name, "arguments": self._said[0]}
        return rest + self._frames.write(f"{self._kind}.done", {**self._where, **said}) + self._item("done")

    @property
    def _kind(self) -> str:
        return "response.custom_tool_call_input" if self._custom else "response.function_call_arguments"

    @property
    def _where(self) -> Json:
        return {"item_id": self.id, "output_index": self.place}
