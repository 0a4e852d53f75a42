"""The tag splitter under the laws: text with structure in it, cut anywhere, even inside of characters."""

from __future__ import annotations

from random import Random
from typing import Any

from laws.law import Broken
from laws.reference.told import Told
from laws.streams import trouble
from laws.subjects import Case, Subject
from penstock.protocol import utf8
from penstock.protocol.chat import Reasoning, Text, ToolCall
from penstock.protocol.tags import Splitter, Structures

__all__ = ["SUBJECTS"]

ORDER = "Text comes out in the order it came in, nothing is added to it, and all of it where nothing is looked for."

_TOOLS = {"read_file": ["path", "line"], "ask": ["question"]}
_PIECES = [
    *(
        b"<think>",
        b"</think>",
        b"<thinking>",
        b"</thinking>",
        b"\n",
        b"\n\n",
        b" ",
        b"a",
        b"Hello",
        "Привет 😀".encode(),
        b"<",
    ),
    *(
        b"<tool_call>",
        b"</tool_call>",
        b'{"name":"f","arguments":{"a":[1,"}"]}}',
        b'{"name":"f","parameters":"{}"}',
        b"</",
    ),
    *(
        b'<tool_call>\n{"name":"g"}\n</tool_call>',
        b"<read_file>",
        b"</read_file>",
        b"<path>",
        b"</path>",
        b"a.py",
        b"<thin",
    ),
    *(
        b"<read_file><path>a</path>\n<line>1</line></read_file>",
        b"<ask><question>\nx</question></ask>",
        b">",
        b"{",
        b'"',
    ),
    *(
        b"<tool_call>{",
        b'{"name":',
        b'"x\\"',
        b"}",
        b"<div>",
        b"</tool",
        b"\xff",
        b'{"name":"h","arguments":{"n":1e400}}',
    ),
]
_OPTIONS: list[dict[str, Any]] = [
    {},
    {"think": ["think"]},
    {"think": ["think", "thinking"], "think_anywhere": True},
    {"think": ["think"], "think_open": True, "tool_call": True},
    {"tool_call": True, "xml_tools": _TOOLS},
    {"think": ["think"], "tool_call": True, "xml_tools": _TOOLS, "max_held": 40},
]


class _Characters:
    """A splitter behind a decoder. Each character is a result of its own, so that deltas may be cut anywhere."""

    def __init__(self, **options: Any) -> None:
        self._decoder = utf8.Decoder()
        self._splitter = Splitter(Structures(**options))

    def feed(self, chunk: bytes) -> list[Any]:
        return _split(self._splitter.feed(self._decoder.feed(chunk)))

    def close(self) -> list[Any]:
        rest = self._decoder.close()
        return _split((self._splitter.feed(rest) if rest else []) + self._splitter.close())

    def _nothing(self) -> list[Any]:
        return []


def _split(events: list[Any]) -> list[Any]:
    found: list[Any] = []
    for event in events:
        if isinstance(event, ToolCall):
            found.append(event)
        else:
            found += [(type(event), char) for char in event.text]
    return found


def _case(choose: Random) -> Case:
    data = trouble.some(choose, _PIECES, 30)
    return Case(trouble.mutated(choose, data, _PIECES) if choose.random() < 0.3 else data, choose.choice(_OPTIONS))


def _in_order(case: Case, told: Told) -> None:
    came = iter(case.data.decode("utf-8", "replace"))
    said = [char for kind, char in (item for item in told.results if type(item) is tuple) if kind in (Text, Reasoning)]
    if not all(char in came for char in said) or (not case.options and len(said) != len(told.results)):
        raise Broken(ORDER, case.data, "".join(said))
    if not case.options and "".join(said) != case.data.decode("utf-8", "replace"):
        raise Broken(ORDER, case.data, "".join(said))


SUBJECTS = [Subject("tags", _case, _Characters, also=_in_order)]
