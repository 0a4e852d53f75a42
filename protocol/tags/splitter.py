"""The text of one choice, split into text, reasoning and tool calls as it comes.

A tag may be cut anywhere. What only looks like structure comes out as text, unchanged; what is no good as a call is
text too. Line breaks that belong to the tags go with them: one behind an opening `<think>`, one before its end, two
behind anything that closes.

Held back: the beginning of a tag, and white space before the first; a line break inside of reasoning; a tool call,
until it is whole or cannot be one any more. Cost: each character is searched once, a held tag's beginning again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..chat import Event, Reasoning, Text, ToolCall
from ..dialects.source import MAX_TOOL_CALLS
from ..errors import LocalProtocolError
from .calls import JsonCall, Reader, XmlCall, XmlTool, beginnings, held_from

__all__ = ["MAX_HELD", "MAX_LEADING", "Splitter", "Structures"]

MAX_HELD = 4 * 1024 * 1024
"""Characters of a tool call that are held, its tags included; one that is longer comes out as text."""
MAX_LEADING = 64  # characters of white space before `<think>`
_BEHIND_CLOSING = 2  # line breaks that belong to a tag

_PIECE = 64 * 1024  # characters that are worked on at a time

_blank = re.compile(r"[ \t\r\n]*+").match


class _Think(NamedTuple):
    """The tag that closes reasoning."""

    closing: str
    beginnings: frozenset[str]


class Structures:
    """What to look for; made once, good for any number of streams.

    `think`: names of tags around reasoning, such as `think` and `thinking`. They count at the beginning of a text
    only, where models put them, or with `think_anywhere` all through. `think_open`: the text begins with reasoning, and
    only the closing tag comes (the opening one was in the prompt); an opening one is taken as well.
    `tool_call`: JSON between `<tool_call>` tags. `xml_tools`: names of tools, and of their parameters.
    """

    __slots__ = (
        *("beginnings", "longest", "max_held", "opening"),
        *("think", "think_beginnings", "think_open", "tools"),
    )

    def __init__(
        self,
        *,
        think: Iterable[str] = (),
        think_anywhere: bool = False,
        think_open: bool = False,
        tool_call: bool = False,
        xml_tools: Mapping[str, Iterable[str]] | None = None,
        max_held: int = MAX_HELD,
    ) -> None:
        self.think = {f"<{name}>": _Think(f"</{name}>", beginnings([f"</{name}>"])) for name in think}
        self.think_beginnings = beginnings(self.think)
        self.think_open = think_open
        tools = {f"<{name}>": XmlTool.make(name, names) for name, names in (xml_tools or {}).items()}
        calls = [JsonCall.OPENING] if tool_call else []
        tags = [*calls, *tools, *(self.think if think_anywhere else ())]
        self.tools = tools
        self.opening = re.compile("|".join(map(re.escape, tags))) if tags else None
        self.beginnings = beginnings(tags)
        self.longest = max(map(len, tags), default=0)
        self.max_held = max_held


_NOTHING = Structures()


class Splitter:
    """The text of one choice in, deltas of text and reasoning and whole tool calls out.

    `calls` is how many tool calls the choice has, those from elsewhere too: the next one's index. `id`, that of the
    answer, makes the ids of calls differ. `found` is whether there was a call in the text.
    """

    __slots__ = (
        *("_at", "_behind", "_choice", "_closed", "_id", "_out", "_reader", "_seen"),
        *("_state", "_structures", "_text", "_thinking", "calls", "found"),
    )

    def __init__(self, structures: Structures = _NOTHING, *, choice: int = 0, id: str = "") -> None:
        self._structures = structures
        self._choice = choice
        self._id = id
        self._text = ""  # what is held, or at work
        self._at = 0
        self._out: list[Event] = []
        self._thinking: _Think | None = None
        self._behind = 0  # line breaks that still belong to the last tag
        self._reader: Reader | None = None
        self._seen = 0  # characters that the reader took
        self._state: Callable[[], bool] = self._beginning if structures.think else self._plain
        self._closed = False
        self.calls = 0
        self.found = False

    def feed(self, text: str) -> list[Event]:
        """Take more of the text. Raises LocalProtocolError after `close`."""
        if self._closed:
            raise LocalProtocolError("feed after close")
        for start in range(0, len(text), _PIECE):
            self._text = self._text[self._at :] + text[start : start + _PIECE]
            self._at = 0
            while self._state():
                pass
        out, self._out = self._out, []
        return out

    def close(self) -> list[Event]:
        """The text is over: what was held. A second call returns nothing."""
        self._closed = True
        held, self._text, self._at = self._text[self._at :], "", 0
        reader, self._reader = self._reader, None
        if reader is not None and reader.close():
            self._call(reader)
        elif reader is not None:
            self._say(Text, reader.text() + held)
        elif self._state == self._reasoning or (self._state == self._beginning and self._structures.think_open):
            self._say(Reasoning, held)
        else:
            self._say(Text, held)
        out, self._out = self._out, []
        return out

    def _say(self, kind: Callable[[str, int], Event], text: str) -> None:
        if text:
            self._out.append(kind(text, self._choice))

    # -- states: each works on the text from `_at`, and returns whether another goes on -------------------

    def _beginning(self) -> bool:
        """The text begins, perhaps with reasoning. White space before the tag goes with it."""
        structures = self._structures
        start = _blank(self._text).end()  # type: ignore[union-attr]  # it matches everywhere
        if start <= MAX_LEADING:
            for opening, thinking in structures.think.items():
                if self._text.startswith(opening, start):
                    self._at = start + len(opening)
                    return self._think(thinking)
            if self._text[start:] in structures.think_beginnings:
                return False
        if structures.think_open:
            return self._think(next(iter(structures.think.values())))
        self._state = self._plain
        return True

    def _think(self, thinking: _Think) -> bool:
        self._thinking = thinking
        self._behind = 1
        self._state = self._reasoning
        return True

    def _reasoning(self) -> bool:
        self._drop_breaks()
        assert self._thinking is not None
        text, at, closing = self._text, self._at, self._thinking.closing
        end = text.find(closing, at)
        found = end >= 0
        if not found:
            end = held_from(text, at, self._thinking.beginnings, len(closing))
        last = end - 1 if end > at and text[end - 1] == "\n" else end
        self._say(Reasoning, text[at:last])
        self._at = end + len(closing) if found else last
        if found:
            self._behind = _BEHIND_CLOSING
            self._state = self._plain
        return found

    def _plain(self) -> bool:
        self._drop_breaks()
        structures, text, at = self._structures, self._text, self._at
        found = structures.opening.search(text, at) if structures.opening is not None else None
        if found is None:
            self._at = held_from(text, at, structures.beginnings, structures.longest)
            self._say(Text, text[at : self._at])
            return False
        self._say(Text, text[at : found.start()])
        self._at = found.end()
        opening = found[0]
        if opening in structures.think:
            return self._think(structures.think[opening])
        self._reader = XmlCall(structures.tools[opening]) if opening in structures.tools else JsonCall()
        self._seen = len(opening)
        self._state = self._calling
        return True

    def _calling(self) -> bool:
        reader = self._reader
        assert reader is not None
        most = max(self._at + self._structures.max_held - self._seen, self._at)
        full = len(self._text) >= most
        end = reader.take(self._text[:most] if full else self._text, self._at)
        self._seen += end - self._at
        self._at = end
        if reader.verdict is None and not full:
            return False
        if reader.verdict and self.calls < MAX_TOOL_CALLS:
            self._call(reader)
        else:
            self._say(Text, reader.text())
        self._reader = None
        self._state = self._plain
        return True

    def _call(self, reader: Reader) -> None:
        made = hashlib.sha256(f"{self._id}/{self._choice}/{self.calls}".encode("utf-8", "replace")).hexdigest()
        self._out.append(ToolCall(self._choice, self.calls, f"call_{made[:24]}", reader.name, reader.arguments))
        self.calls += 1
        self.found = True
        self._behind = _BEHIND_CLOSING

    def _drop_breaks(self) -> None:
        """Line breaks that belong to the tag before."""
        while self._behind and self._at < len(self._text):
            if self._text[self._at] != "\n":
                self._behind = 0
                break
            self._at += 1
            self._behind -= 1
