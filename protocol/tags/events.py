"""The splitter between a decoder and an encoder: events of a stream in, the same events out, and what their texts held.

Each choice has a splitter of its own. Text is all that is touched; reasoning and tool calls that a dialect has told
as such pass, but for the index of a call where the text had calls too. Held text waits for more text, whatever else
comes between, and at the latest for the choice's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..chat import Answer, Choice, End, Event, Failed, Finish, Reasoning, Start, Text, ToolCall
from .splitter import Splitter, Structures

__all__ = ["Events", "parameters_of", "split_answer"]


class _Seen:
    """One choice of a stream."""

    __slots__ = ("indices", "over", "splitter")

    def __init__(self, splitter: Splitter) -> None:
        self.splitter = splitter
        self.indices: dict[int, int] = {}  # of calls that came as such -> the index that they go out under
        self.over = False


class Events:
    """Events of a stream in, the same events out, with what is in the texts as events of its own.

    Stands between a dialect's decoder and an encoder. A choice in whose text a tool call was found finishes with
    `tool_calls` where it said `stop`; tool calls that come as such keep their order behind or before those.
    """

    __slots__ = ("_choices", "_id", "_structures")

    def __init__(self, structures: Structures, *, id: str = "") -> None:
        self._structures = structures
        self._id = id
        self._choices: dict[int, _Seen] = {}

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Take events in their order. `Finish`, `End` and `Failed` bring out what was held before they come."""
        out: list[Event] = []
        for event in events:
            match event:
                case Text(text, choice):
                    seen = self._seen(choice)
                    out += [event] if seen.over else seen.splitter.feed(text)
                    continue
                case ToolCall():
                    event = self._numbered(event)
                case Finish(choice, reason):
                    out += self._over(choice)
                    if reason == "stop" and self._seen(choice).splitter.found:
                        event = Finish(choice, "tool_calls")
                case End() | Failed():
                    for choice in self._choices:
                        out += self._over(choice)
                case Start(id):
                    self._id = id or self._id
            out.append(event)
        return out

    def _seen(self, choice: int) -> _Seen:
        seen = self._choices.get(choice)
        if seen is None:
            seen = self._choices[choice] = _Seen(Splitter(self._structures, choice=choice, id=self._id))
        return seen

    def _over(self, choice: int) -> list[Event]:
        seen = self._seen(choice)
        seen.over = True
        return seen.splitter.close()

    def _numbered(self, call: ToolCall) -> ToolCall:
        seen = self._seen(call.choice)
        index = seen.indices.get(call.index)
        if index is None:
            index = seen.indices[call.index] = seen.splitter.calls
            seen.splitter.calls += 1
        return call if index == call.index else call._replace(index=index)


def split_answer(answer: Answer, structures: Structures) -> Answer:
    """The same for a whole answer."""
    return answer._replace(choices=[_split(choice, structures, answer.id) for choice in answer.choices])


def _split(choice: Choice, structures: Structures, id: str) -> Choice:
    said: list[Event] = [*choice.tool_calls, Text(choice.text, choice.index)]
    said += [Finish(choice.index, choice.reason)] if choice.reason is not None else [End()]
    events = Events(structures, id=id).feed(said)
    text = "".join(event.text for event in events if isinstance(event, Text))
    found = "".join(event.text for event in events if isinstance(event, Reasoning))
    thoughts = (*choice.thoughts, Reasoning(found, choice.index)) if choice.thoughts and found else choice.thoughts
    return choice._replace(
        text=text,
        reasoning=choice.reasoning + found,
        tool_calls=[event for event in events if isinstance(event, ToolCall)],
        reason=next((event.reason for event in events if isinstance(event, Finish)), None),
        thoughts=thoughts,
    )


def parameters_of(tools: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The tools of a request (`Request.tools`) as `xml_tools` wants them."""
    functions = [tool["function"] for tool in tools if isinstance(tool.get("function"), dict)]
    return {
        str(function["name"]): list((function.get("parameters") or {}).get("properties") or {})
        for function in functions
        if function.get("name")
    }
