"""Tool calls written into text: JSON between `<tool_call>` tags, and XML in which each parameter is a tag.

A reader takes the text behind an opening tag piece by piece and comes to a verdict: a call, or none. It says "none" at
the first character that no call could have there, so that text which only looks like a call is held no longer than it
must be. All that it took is in `raw`, byte for byte, to come out as text again.

Each character is looked at once, by regular expressions for the most part; a piece ends before what may be the
beginning of a tag, and that much is looked at again.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .. import jsontext
from ..errors import RemoteProtocolError
from ..members import MAX_DEPTH, Members, split

__all__ = ["JsonCall", "Reader", "XmlCall", "XmlTool", "beginnings", "held_from"]

_blank = re.compile(r"[ \t\r\n]*+").match
# Outside of strings: what a JSON text has there, but for quotes and brackets.
_outside = re.compile(r"[ \t\r\n0-9+\-.:,aeflnrstuE]*+").match
_inside = re.compile(r'[^"\\\x00-\x1f]*+').match


def beginnings(tags: Iterable[str]) -> frozenset[str]:
    """All that these tags may begin with, the empty text included, the whole tags not."""
    return frozenset(tag[:end] for tag in tags for end in range(len(tag)))


def held_from(text: str, at: int, tags: frozenset[str], longest: int) -> int:
    """Where the beginning of a tag begins with which `text` ends; the end if there is none."""
    start = text.rfind("<", max(at, len(text) - longest))
    return start if start >= 0 and text[start:] in tags else len(text)


Step = tuple[int, Callable[[str, int], "Step"] | None]  # where it stopped, and what reads on there


class Reader(ABC):
    """One call. `verdict` is None as long as more is needed, then whether it is a call: `name` and `arguments`."""

    __slots__ = ("_read", "arguments", "name", "raw", "verdict")

    def __init__(self, opening: str) -> None:
        self.raw = bytearray(opening.encode())
        self.verdict: bool | None = None
        self.name = ""
        self.arguments = ""
        self._read: Callable[[str, int], Step] = self._begin

    @abstractmethod
    def _begin(self, text: str, at: int) -> Step:
        """Reads what comes right behind the opening tag."""

    def take(self, text: str, at: int) -> int:
        """Read on at `at`; returns where it stopped. What is behind that must be there again at the next call."""
        while True:
            end, following = self._read(text, at)
            self.raw += text[at:end].encode("utf-8", "surrogatepass")
            at = end
            if following is None:
                return at
            self._read = following

    def text(self) -> str:
        """All that was taken, the opening tag included."""
        return self.raw.decode("utf-8", "surrogatepass")

    def close(self) -> bool:
        """Whether it is a call if nothing more comes."""
        return False

    def _none(self, at: int) -> Step:
        self.verdict = False
        return at, None


# -- JSON -------------------------------------------------------------------------------------------------


class JsonCall(Reader):
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, as Qwen's and Hermes' models write it.

    `arguments` are the model's own spelling: numbers stay exact. `parameters` is taken for `arguments`; no arguments
    are `{}`, and arguments in a string are what it says. The closing tag may be missing at the end of the text.
    """

    OPENING, CLOSING = "<tool_call>", "</tool_call>"

    __slots__ = ("_depth", "_escaped", "_quoted", "_start", "_whole")

    def __init__(self) -> None:
        super().__init__(self.OPENING)
        self._start = 0  # of the JSON, in `raw`
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._whole = False

    def _begin(self, text: str, at: int) -> Step:
        end = _blank(text, at).end()  # type: ignore[union-attr]  # it matches everywhere, as the others do
        if end == len(text):
            return end, None
        self._start = len(self.raw) + end - at
        return (end, self._json) if text[end] == "{" else self._none(end)

    def _json(self, text: str, at: int) -> Step:
        while at < len(text):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                at = _inside(text, at).end()  # type: ignore[union-attr]
                if at == len(text):
                    break
                self._escaped = text[at] == "\\"
                self._quoted = text[at] != '"'
                if text[at] < " ":
                    return self._none(at)
            else:
                at = _outside(text, at).end()  # type: ignore[union-attr]
                if at == len(text):
                    break
                if not self._bracket(text[at]):
                    return self._none(at)
                if self._depth == 0:
                    return at + 1, self._check
            at += 1
        return at, None

    def _bracket(self, char: str) -> bool:
        """A quote or a bracket outside of strings; False if it is neither, or one too deep."""
        if char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
        else:
            self._quoted = char == '"'
            return self._quoted
        return self._depth <= MAX_DEPTH

    def _check(self, text: str, at: int) -> Step:
        try:
            members = split(bytes(self.raw[self._start :]))
        except RemoteProtocolError:
            return self._none(at)
        name, arguments = members.value("name"), _arguments(members)
        if not isinstance(name, str) or not name or arguments is None:
            return self._none(at)
        self.name, self.arguments, self._whole = jsontext.scrub(name), arguments, True
        return at, self._close

    def _close(self, text: str, at: int) -> Step:
        at = _blank(text, at).end()  # type: ignore[union-attr]
        found = text[at : at + len(self.CLOSING)]
        if found == self.CLOSING:
            self.verdict = True
            return at + len(found), None
        return (at, None) if self.CLOSING.startswith(found) else self._none(at)

    def close(self) -> bool:
        return self._whole


def _arguments(members: Members) -> str | None:
    """The arguments as JSON text; None where they are neither an object nor a text."""
    key = "arguments" if "arguments" in members else "parameters"
    arguments = members.value(key)
    if isinstance(arguments, str):
        return jsontext.scrub(arguments) or "{}"
    if arguments is None:
        return "{}"
    return members.raw(key).decode() if isinstance(arguments, dict) else None


# -- XML --------------------------------------------------------------------------------------------------


class XmlTool(NamedTuple):
    """A tool and the tags that may stand between its own: those that open a parameter, and the one that closes it."""

    name: str
    parameters: dict[str, str]  # opening tag -> name
    tag: re.Pattern[str]
    beginnings: frozenset[str]

    @classmethod
    def make(cls, name: str, parameters: Iterable[str]) -> XmlTool:
        tags = {f"<{parameter}>": parameter for parameter in parameters}
        every = [*tags, f"</{name}>"]
        return cls(name, tags, re.compile("|".join(map(re.escape, every))), beginnings(every))


class XmlCall(Reader):
    """`<read_file><path>a.py</path></read_file>`, as Cline and Roo Code ask for it.

    Between the tags of the tool stand parameters and white space only. A value is text, in which nothing is escaped;
    it ends with a closing tag behind which the next parameter, or the end, follows: so a file's content may hold its
    own closing tag. One line break at each end of a value is dropped.
    """

    __slots__ = ("_close", "_close_beginnings", "_parameter", "_start", "_tool", "_values")

    def __init__(self, tool: XmlTool) -> None:
        super().__init__(f"<{tool.name}>")
        self._tool = tool
        self._parameter = ""
        self._close = ""
        self._close_beginnings: frozenset[str] = frozenset()
        self._start = 0
        self._values: dict[str, tuple[int, int]] = {}  # parameter -> where its value stands in `raw`

    def _begin(self, text: str, at: int) -> Step:
        """Between parameters."""
        at = _blank(text, at).end()  # type: ignore[union-attr]
        found = self._tool.tag.match(text, at)
        if found is None:
            if text[at:] in self._tool.beginnings:
                return at, None
            # Behind a value: what looked like its end is a part of it.
            return (at, self._value) if self._parameter else self._none(at)
        parameter = self._tool.parameters.get(found[0])
        if parameter is None:
            return found.end(), self._finish
        self._parameter, self._close = parameter, f"</{parameter}>"
        self._close_beginnings = beginnings([self._close])
        return found.end(), self._open

    def _open(self, text: str, at: int) -> Step:
        self._start = len(self.raw)
        return at, self._value

    def _value(self, text: str, at: int) -> Step:
        end = text.find(self._close, at)
        if end < 0:
            return held_from(text, at, self._close_beginnings, len(self._close)), None
        return end, self._end_of_value

    def _end_of_value(self, text: str, at: int) -> Step:
        self._values[self._parameter] = self._start, len(self.raw)
        return at + len(self._close), self._begin

    def _finish(self, text: str, at: int) -> Step:
        values = {name: self.raw[start:end] for name, (start, end) in self._values.items()}
        said = {name: value.decode("utf-8", "surrogatepass") for name, value in values.items()}
        trimmed = {name: value.removeprefix("\n").removesuffix("\n") for name, value in said.items()}
        self.name, self.arguments = self._tool.name, jsontext.dumps(trimmed).decode()
        self.verdict = True
        return at, None
