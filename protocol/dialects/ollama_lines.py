"""One line of Ollama's: what stands where, for `/api/chat` and for `/api/generate`.

Both are whole objects with `model`, `created_at` (RFC 3339) and `done`; the last has `done_reason`, counts, and
durations in integer nanoseconds. What the model said stands in `message`, or, for a prompt, at the top of the line with
`response` in the place of `content`; `Shape` says which. `done_reason` never says `tool_calls`; the arguments of tool
calls are objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from .. import jsontext
from ..chat import Failed, ToolCall, Usage, counted

__all__ = [
    "CHAT",
    "GENERATE",
    "Json",
    "Shape",
    "Times",
    "canonical",
    "encode_call",
    "encode_error",
    "is_done",
    "last_line",
    "rfc3339",
    "said_in",
    "usage_of",
]

Json = dict[str, Any]

_COUNTS = ("prompt_eval_count", "eval_count")
_DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def _in_message(text: str, more: Json) -> Json:
    return {"message": {"role": "assistant", "content": text, **more}}


def _in_response(text: str, more: Json) -> Json:
    return {"response": text, **more}


class Shape(NamedTuple):
    """Where a line has what the model said: `key` is the member that holds it or its text, `before` and `after` are
    written around the text and all that follows it, `said` makes the members for a text and more."""

    key: str
    before: bytes
    after: bytes
    said: Callable[[str, Json], Json]


CHAT = Shape("message", b',"message":{"role":"assistant","content":', b"}", _in_message)
GENERATE = Shape("response", b',"response":', b"", _in_response)


# -- read -------------------------------------------------------------------------------------------------


def is_done(line: Json) -> bool:
    """Whether this is the last line; some servers leave `done` out where `done_reason` says as much."""
    return line.get("done") is True or (bool(line.get("done_reason")) and line.get("done") is None)


def said_in(line: Json) -> Json | None:
    """What the model said, as a message, wherever it stands; None in a line about progress, with nothing said."""
    message = line.get("message")
    if isinstance(message, dict):
        return message
    if "response" in line:
        return {**line, "content": line["response"]}
    return {} if is_done(line) else None


def usage_of(line: Json) -> Usage | None:
    """The counts of a last line."""
    counts = [line.get(key) for key in _COUNTS]
    if not any(isinstance(count, int) for count in counts):
        return None
    prompt, completion = map(counted, counts)
    return Usage(prompt, completion, prompt + completion, raw={k: line[k] for k in _COUNTS + _DURATIONS if k in line})


def canonical(line: Json, shape: Shape, created_at: str) -> Json:
    """A line as every client reads it; the very same object if it was so already."""
    mended: Json = {}
    if not isinstance(line.get("created_at"), str):
        mended["created_at"] = created_at
    if shape.key not in line:  # nothing, or the other endpoint's shape
        said = said_in(line) or {}
        text = said.get("content")
        more: Json = {key: said[key] for key in ("thinking", "tool_calls") if key in said}
        mended |= shape.said(text if isinstance(text, str) else "", more)
    if is_done(line):
        mended |= {} if line.get("done") is True else {"done": True}
    if "error" in line:  # a null one: Ollama's clients look for the name only
        return {key: item for key, item in (line | mended).items() if key != "error"}
    return line | mended if mended else line


# -- written ----------------------------------------------------------------------------------------------

_YEAR_9999 = 253_402_300_799  # the last second that has a date


@lru_cache(maxsize=16)  # many lines are written within a second
def rfc3339(seconds: int) -> str:
    """The time that a line tells, of seconds since the epoch."""
    return datetime.fromtimestamp(min(max(seconds, 0), _YEAR_9999), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Times:
    """When an answer was asked for, when it began and when it was last added to, by a clock of the driver's: one that
    gives nanoseconds and never goes back. `asked` is the time of the making, in nanoseconds since the epoch."""

    __slots__ = ("_asked", "_clock", "_first", "_last", "_zero")

    def __init__(self, clock: Callable[[], int], asked: int) -> None:
        self._clock = clock
        self._asked = asked
        self._zero = clock()
        self._first: int | None = None
        self._last = 0

    def token(self) -> None:
        """Something of the answer came."""
        self._last = self._clock() - self._zero
        if self._first is None:
            self._first = self._last

    def stamp(self) -> str:
        """`created_at`, now."""
        seconds, rest = divmod(self._asked + self._clock() - self._zero, 1_000_000_000)
        return f"{rfc3339(seconds)[:-1]}.{rest // 1000:06d}Z"

    def durations(self) -> dict[str, int]:
        """The durations, now. Of an answer in one piece nobody knows when it began: all its time counts as the model's,
        so that tokens by time is a true lower bound."""
        total = max(1, self._clock() - self._zero)
        if self._first is None:
            return {"total_duration": total, "eval_duration": total}
        spoken = max(1, self._last - self._first)  # clients divide by it
        return {"total_duration": total, "prompt_eval_duration": self._first, "eval_duration": spoken}


def last_line(
    model: str, created_at: str, said: Json, reason: str, usage: Usage | None, durations: Mapping[str, int]
) -> Json:
    """The line that ends a stream, or is a whole answer."""
    counts = dict(zip(_COUNTS, (usage.prompt, usage.completion), strict=True)) if usage else {}
    line = {"model": model, "created_at": created_at, **said, "done_reason": reason, "done": True}
    return {**line, **{key: durations.get(key, 0) for key in _DURATIONS}, **counts}


def encode_call(call: ToolCall) -> Json:
    """Arguments as an object. What is no JSON object stays readable under one key, and is not lost."""
    try:
        arguments, _ = jsontext.loads(call.arguments.encode("utf-8", "surrogatepass") or b"{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        arguments = {"arguments": call.arguments}
    return {"id": call.id, "function": {"index": call.index, "name": call.name, "arguments": arguments}}


def encode_error(failed: Failed) -> tuple[int, bytes]:
    """HTTP status and body: the error is a string here, unlike OpenAI's."""
    return failed.status, jsontext.dumps({"error": failed.message})
