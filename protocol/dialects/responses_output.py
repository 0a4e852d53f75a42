"""What a response of the Responses API says, read as it is told: items, their parts, their deltas.

Everything is told more than once: a text in its deltas, in its `done`, in the part's and the item's `done`, and
in the last response. Servers leave out one or the other, so each telling is looked at, and taken where nothing
of that text was told before. Remembered: which items came, and of which of their texts something was told; not
the texts. `MAX_ITEMS` bounds that.

An item is known by its place in the output and by its id; either may be missing, and some proxies make new ids
for each event. Raw reasoning and a summary of it in one item say the same, so the first that comes is taken.
"""

from __future__ import annotations

import hashlib
from typing import Any

from .. import jsontext
from ..chat import Event, Reasoning, Refusal, Text, ToolCall
from ..errors import LimitExceeded
from .source import MAX_TOOL_CALLS

__all__ = ["MAX_ITEMS", "Item", "Output"]

Json = dict[str, Any]

MAX_ITEMS = 4 * MAX_TOOL_CALLS
"""How many names of items and texts in them are remembered."""

_MAX_NAME = 256  # longer ids are not remembered; OpenAI's have some sixty characters

# Type of a part -> what it says, and where it has its text.
_PARTS = {
    "output_text": ("text", "text"),
    "text": ("text", "text"),
    "refusal": ("refusal", "refusal"),
    "reasoning_text": ("thought", "text"),
    "summary_text": ("summary", "text"),
}
_EVENTS: dict[str, type[Text | Refusal | Reasoning]] = {
    "text": Text,
    "refusal": Refusal,
    "thought": Reasoning,
    "summary": Reasoning,
}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
# What is said, or the type of an item -> the types of items that say such things.
_TYPES = {
    **dict.fromkeys(("text", "refusal", "message"), ("message",)),
    **dict.fromkeys(("thought", "summary", "reasoning"), ("reasoning",)),
    **dict.fromkeys(("arguments", *_CALLS), tuple(_CALLS)),
}
_PARAGRAPH = "\n\n"


class Item:
    """What is remembered of an output item."""

    __slots__ = ("call", "halves", "reasoning", "signed", "told")

    def __init__(self) -> None:
        self.call: ToolCall | None = None  # as far as it is known, without arguments
        self.told: set[tuple[str, int]] = set()  # texts of which something came
        self.reasoning = ""  # `thought` or `summary`
        self.signed = False
        self.halves: dict[str, str] = {}  # high surrogates that wait for their other half


class Output:
    """The output of one response. `events` collects what it says; whoever reads takes it from there.

    Raises LimitExceeded for more than `MAX_ITEMS` or MAX_TOOL_CALLS. `seed` makes ids for calls without one.
    """

    __slots__ = ("_items", "_known", "_part", "_seed", "_types", "calls", "events")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self.events: list[Event] = []
        self.calls = 0
        self._items: dict[str | int, Item] = {}
        self._types: set[str] = set()  # of the items that came
        self._known = 0
        self._part: tuple[Item, int] | None = None  # of the block of reasoning that goes on

    def item(self, *names: Any) -> Item:
        """The item of these names, new if none of them was heard."""
        given = [name for name in names if type(name) is int or (isinstance(name, str) and 0 < len(name) <= _MAX_NAME)]
        given = given or [""]
        item = next((self._items[name] for name in given if name in self._items), None) or Item()
        for name in given:
            if name not in self._items:
                self._count()
                self._items[name] = item
        return item

    def take(self, item: Item, value: Json, *, done: bool) -> None:
        """An item is announced, or told as a whole."""
        kind = str(value.get("type", "message"))
        self._types.update(_TYPES.get(kind, ()))
        if kind in _CALLS:
            self.begin_call(item, value)
        if not done:
            return
        if kind in _CALLS:
            self.say(item, "arguments", 0, value.get(_CALLS[kind]), whole=True)
        elif kind == "message":
            self._take_parts(item, value.get("content"))
        elif kind == "reasoning":
            self._take_parts(item, value.get("content"))
            self._take_parts(item, value.get("summary"))
        self._flush(item)
        signature = value.get("encrypted_content")
        if kind == "reasoning" and isinstance(signature, str) and signature and not item.signed:
            item.signed, self._part = True, None
            self.events.append(Reasoning("", 0, signature))

    def take_all(self, output: Any) -> None:
        """The whole output, told at the end. Its places need not be those of the events: an item is the one of its
        id, or a new one where none of its kind came."""
        came = frozenset(self._types)
        for value in output if isinstance(output, list) else ():
            if isinstance(value, dict):
                names = [name for name in (value.get("id"), value.get("call_id")) if isinstance(name, str) and name]
                known = [name for name in names if name in self._items]
                if known:
                    self.take(self._items[known[0]], value, done=True)
                elif str(value.get("type", "message")) not in came:
                    self.take(Item(), value, done=True)
        for item in self._items.values():
            self._flush(item)

    def begin_call(self, item: Item, value: Json) -> None:
        """A call begins, or its name comes late."""
        name = value.get("name")
        name = name if isinstance(name, str) else ""
        if item.call is not None:
            if name and not item.call.name:
                item.call = item.call._replace(name=name)
                self.events.append(item.call._replace(id=""))
            return
        if self.calls == MAX_TOOL_CALLS:
            message = f"more than {MAX_TOOL_CALLS} tool calls"
            raise LimitExceeded(message, kind="too_many_tool_calls", limit=MAX_TOOL_CALLS)
        given = value.get("call_id") or value.get("id")
        made = "call_" + hashlib.sha256(f"{self._seed}/{self.calls}".encode("utf-8", "replace")).hexdigest()[:24]
        item.call = ToolCall(0, self.calls, given if isinstance(given, str) else made, name, "")
        self.calls += 1
        self.events.append(item.call)

    def take_part(self, item: Item, index: int, part: Any) -> None:
        """A part of an item is told as a whole."""
        kind, key = _PARTS.get(str(part.get("type")), ("", "")) if isinstance(part, dict) else ("", "")
        if kind:
            self.say(item, kind, index, part.get(key), whole=True)

    def _take_parts(self, item: Item, parts: Any) -> None:
        if isinstance(parts, str):
            self.say(item, "text", 0, parts, whole=True)
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            self.take_part(item, index, part)

    def say(self, item: Item, kind: str, index: int, text: Any, *, whole: bool) -> None:
        """More of a text of an item, or the `whole` of it. `kind` is what `_PARTS` gives, or `arguments`."""
        if not isinstance(text, str) or not text:
            return
        if (kind, index) not in item.told:
            if kind in ("thought", "summary"):
                item.reasoning = item.reasoning or kind
            self._count()
            item.told.add((kind, index))
            self._types.update(_TYPES[kind])
        elif whole:
            return
        if item.halves or jsontext.has_surrogate(text):
            text = self._rejoin(item, kind, text, whole)
        if not text:
            return
        if kind == "arguments":
            self.begin_call(item, {})
            assert item.call is not None
            self.events.append(ToolCall(0, item.call.index, "", "", text))
        elif kind in ("text", "refusal"):
            self.events.append(_EVENTS[kind](text))
        elif kind == item.reasoning:
            apart = _PARAGRAPH if self._part not in (None, (item, index)) else ""
            self._part = item, index
            self.events.append(Reasoning(apart + text))

    def _rejoin(self, item: Item, kind: str, text: str, whole: bool) -> str:
        text = item.halves.pop(kind, "") + text
        if not whole and "\ud800" <= text[-1] <= "\udbff":
            item.halves[kind] = text[-1]
            text = text[:-1]
        return jsontext.scrub(text)

    def _flush(self, item: Item) -> None:
        """Halves of which the other never came."""
        waiting, item.halves = item.halves, {}
        for kind in waiting:
            self.say(item, kind, max(index for said, index in item.told if said == kind), "\ufffd", whole=False)

    def _count(self) -> None:
        self._known += 1
        if self._known > MAX_ITEMS:
            raise LimitExceeded(f"more than {MAX_ITEMS} items", kind="too_many_items", limit=MAX_ITEMS)
