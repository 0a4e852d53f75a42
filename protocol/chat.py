"""What happens in a chat stream, in words that hold for every dialect.

A decoder of a dialect turns bytes into these events, an encoder turns them back; between the two lies
nothing but this vocabulary. `choice` is the index of the answer where a request asked for several.

`Lifecycle` (in `lifecycle.py`) holds the rules of how a stream ends. `Accumulator` puts the events of a
whole stream together; it costs one list append an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .errors import LimitExceeded
from .lifecycle import TRANSITIONS, Ending, Lifecycle, Phase, Sign

__all__ = [
    "MOST_TOKENS",
    "NEW_ENTRY",
    "TRANSITIONS",
    "Accumulator",
    "Answer",
    "Choice",
    "End",
    "Ending",
    "Event",
    "Failed",
    "Finish",
    "Lifecycle",
    "Phase",
    "Reasoning",
    "Refusal",
    "Request",
    "Sign",
    "Start",
    "Text",
    "ToolCall",
    "Usage",
    "counted",
    "size",
]


class Start(NamedTuple):
    """The answer begins. `created` is in whole seconds since the epoch."""

    id: str
    model: str
    created: int


class Text(NamedTuple):
    """More of the answer's text."""

    text: str
    choice: int = 0


class Reasoning(NamedTuple):
    """More of the model's reasoning, where it shows any.

    `signature`: what a vendor wants back together with a block of reasoning (a signature, or the reasoning
    itself encrypted). It is opaque, and the block ends with it; it may come alone, with no text.
    """

    text: str
    choice: int = 0
    signature: str = ""


class Refusal(NamedTuple):
    """More of the text with which the model refuses."""

    text: str
    choice: int = 0


class ToolCall(NamedTuple):
    """A tool call begins (`id` and `name` set) or goes on (both empty, `arguments` the next fragment).

    `index` is dense per choice, in order of first appearance: 0, 1, 2 ...
    """

    choice: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    id: str
    name: str
    arguments: str


class Finish(NamedTuple):
    """A choice is complete: `stop`, `length`, `tool_calls`, `function_call` or `content_filter`."""

    choice: int
    reason: str


MOST_TOKENS = 2**53
"""No count of tokens is larger here: every reader of JSON, a float and a database can still hold it."""


def counted(value: Any) -> int:
    """A count of tokens as a peer says it: 0 for what is none, and never more than `MOST_TOKENS`."""
    return min(value, MOST_TOKENS) if type(value) is int and value > 0 else 0


class Usage(NamedTuple):
    """Tokens that the upstream counted, for the whole answer. `raw` is the upstream's own object."""

    prompt: int
    completion: int
    total: int
    cached: int = 0
    reasoning: int = 0
    raw: dict[str, Any] | None = None


class Failed(NamedTuple):
    """The answer cannot be had, or breaks off. Says it for every dialect and for HTTP.

    `status` is the HTTP status if nothing was sent yet; `type`, `code` and `param` are OpenAI's words;
    `retry` is False where a retry would pay twice, True where it is safe, None to let the status speak.
    `retry_after` is in seconds. `native` holds the upstream's own error object where it had one.
    """

    message: str
    status: int = 502
    type: str = "server_error"
    code: str | None = "upstream_error"
    param: str | None = None
    retry: bool | None = None
    retry_after: float | None = None
    native: dict[str, Any] | None = None


class End(NamedTuple):
    """The upstream declared the end of the whole stream."""


Event = Start | Text | Reasoning | Refusal | ToolCall | Finish | Usage | Failed | End


class Request(NamedTuple):
    """What a client asks for, neutral between dialects.

    Messages, tools, `tool_choice` and `response_format` are OpenAI's objects, the richest form there is;
    `options` holds sampling fields by OpenAI's names (`temperature`, `seed`, `stop` ...), and `extra` every
    field that has no neutral meaning, by its own name. None and absent are the same.
    """

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    response_format: dict[str, Any] | None = None
    reasoning: str | bool | None = None
    options: Mapping[str, Any] = {}
    extra: Mapping[str, Any] = {}


# -- the whole answer -------------------------------------------------------------------------------------


class Choice(NamedTuple):
    """One complete choice. `reason` is None where the upstream ended without giving one."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    text: str
    reasoning: str
    refusal: str
    tool_calls: list[ToolCall]
    reason: str | None
    thoughts: tuple[Reasoning, ...] = ()
    """`reasoning` in the blocks that it came in; empty where none of them was signed, and nothing hangs on them."""


class Answer(NamedTuple):
    """A whole answer, as the events of its stream said it."""

    id: str
    model: str
    created: int
    choices: list[Choice]
    usage: Usage | None


NEW_ENTRY = 512
"""What a choice, a tool call or a signature counts for in limits of memory, besides its texts."""


def size(*texts: str) -> int:
    """Bytes of these texts in UTF-8."""
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)


class _Parts:
    """The pieces of one choice."""

    __slots__ = ("calls", "reason", "reasoning", "refusal", "signed", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []  # of the block that has not been signed
        self.signed: list[Reasoning] = []
        self.refusal: list[str] = []
        self.calls: dict[int, tuple[str, str, list[str]]] = {}
        self.reason: str | None = None

    def choice(self, index: int) -> Choice:
        """The choice that these make."""
        calls = [ToolCall(index, at, *call[:2], "".join(call[2])) for at, call in sorted(self.calls.items())]
        thoughts = [*self.signed, Reasoning("".join(self.reasoning), index)]
        reasoning = "".join([thought.text for thought in thoughts])
        blocks = tuple(thought for thought in thoughts if thought.text or thought.signature) if self.signed else ()
        return Choice(index, "".join(self.text), reasoning, "".join(self.refusal), calls, self.reason, blocks)


class Accumulator:
    """Events in, the whole answer out. More than `max_message_bytes` is LimitExceeded, before it is kept: texts, ids
    and names count, and each choice, tool call and signature `NEW_ENTRY` more."""

    __slots__ = ("_choices", "_left", "_limit", "_start", "usage")

    def __init__(self, max_message_bytes: int = 64 * 1024 * 1024) -> None:
        self._limit = self._left = max_message_bytes
        self._start = Start("", "", 0)
        self._choices: dict[int, _Parts] = {}
        self.usage: Usage | None = None
        """What the upstream counted, once it has said so."""

    def feed(self, events: Iterable[Event]) -> None:
        """Take events in their order. `End` and `Failed` say nothing about the message and are passed over."""
        for event in events:
            match event:
                case Text(text, choice):
                    self._parts(choice, text).text.append(text)
                case Reasoning(text, choice, signature):
                    parts = self._parts(choice, text, signature)
                    parts.reasoning.append(text)
                    if signature:
                        self._count(NEW_ENTRY)
                        parts.signed.append(Reasoning("".join(parts.reasoning), choice, signature))
                        parts.reasoning.clear()
                case Refusal(text, choice):
                    self._parts(choice, text).refusal.append(text)
                case ToolCall(choice, index, id, name, arguments):
                    calls = self._parts(choice, id, name, arguments).calls
                    known = calls.get(index)
                    if known is None:
                        self._count(NEW_ENTRY)
                        known = ("", "", [])
                    known[2].append(arguments)
                    calls[index] = (known[0] or id, known[1] or name, known[2])
                case Finish(choice, reason):
                    self._parts(choice).reason = reason
                case Start():
                    self._start = event
                case Usage():
                    self.usage = event

    def _count(self, more: int) -> None:
        self._left -= more
        if self._left < 0:
            message = f"the answer is larger than {self._limit} bytes"
            raise LimitExceeded(message, kind="message_too_large", limit=self._limit)

    def _parts(self, choice: int, *texts: str) -> _Parts:
        self._count(size(*texts))
        parts = self._choices.get(choice)
        if parts is None:
            self._count(NEW_ENTRY)
            parts = self._choices[choice] = _Parts()
        return parts

    def answer(self) -> Answer:
        """What has come so far, the choices by index."""
        choices = [parts.choice(index) for index, parts in sorted(self._choices.items())]
        return Answer(*self._start, choices, self.usage)
