"""Anthropic's streams, read: events of blocks to chat events.

A message is a row of blocks (text, thinking, tool_use ...), each started, filled by deltas and stopped; around
them `message_start` with the identity and the usage so far, `message_delta` with the stop reason and the usage
in full, `message_stop` as the end marker. A whole message in one JSON object is read as the same blocks.

Blocks that no other dialect knows (tools that the vendor runs, and their results), citations and unknown events
are passed over. `message_start` alone is no answer: an error right after it is still an HTTP status.

Held back: an unfinished frame, `message_start` until the first block, a signature until its block stops, the
finish until the end, a high surrogate at the end of a delta.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import End, Event, Failed, Finish, Reasoning, Start, Text, ToolCall
from .anthropic_terms import REDACTED, USAGE, usage_of
from .openai_mend import finish_reason
from .source import MAX_TOOL_CALLS, Source, malformed

__all__ = ["StreamDecoder"]

Json = dict[str, Any]

_DELTAS = {"text_delta": ("text", "text"), "thinking_delta": ("thinking", "thinking")}  # -> kind of block, key


class _Block:
    """A block that was started and not stopped. `call` is the index of a tool call, among the tool calls."""

    __slots__ = ("call", "half", "input", "kind", "said", "signature")

    def __init__(self, kind: str, call: int = 0, given: Any = None) -> None:
        self.kind = kind
        self.call = call
        self.input = given  # the arguments, where the start has them already
        self.said = False
        self.signature = ""
        self.half = ""  # a high surrogate that waits for its other half

    def event(self, text: str) -> Event:
        if self.kind == "tool_use":
            return ToolCall(0, self.call, "", "", text)
        return Reasoning(text) if self.kind == "thinking" else Text(text)


class StreamDecoder(Source[Event]):
    """Bytes to events. The last event is `End`, or `Failed` for whatever went wrong; nothing is raised for it."""

    __slots__ = ("_blocks", "_calls", "_counts", "_reason", "_start", "_started")

    def __init__(
        self, framing: str = "sse", *, id: str = "", created: int = 0, model: str = "", **options: Any
    ) -> None:
        super().__init__(framing, **options)
        self._start = Start(id, model, created)
        self._started = False
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._counts: Json = {}
        self._reason = ""

    def _read(self, value: Json, raw: bytes) -> list[Event]:
        match value.get("type"):
            case "content_block_delta":
                return self._delta(_index(value), _object(value.get("delta")))
            case "content_block_start":
                return self._open(_index(value), _object(value.get("content_block")))
            case "content_block_stop":
                return self._close(_index(value))
            case "message_start":
                self._identify(_object(value.get("message")))
            case "message_delta":
                return self._about(_object(value.get("delta")), value)
            case "message_stop":
                self.life.marker()
            case "message":
                return self._whole(value)
        return []

    def _whole(self, message: Json) -> list[Event]:
        """A message in one piece: an answer, though it may say nothing."""
        content = message.get("content")
        if not isinstance(content, list):
            self._fail(malformed("a message without content"))
            return []
        self._identify(message)
        events = self._begun()
        for index, block in enumerate(content):
            events += [*self._open(index, _object(block)), *self._close(index)]
            if self.life.ended:
                return events
        events += self._about(message, message)
        self.life.marker()
        return events

    def _identify(self, message: Json) -> None:
        id, model = message.get("id"), message.get("model")
        start = self._start
        self._start = Start(
            id if isinstance(id, str) and id else start.id,
            model if isinstance(model, str) and model else start.model,
            start.created,
        )
        self._count(message)

    def _count(self, said: Json) -> None:
        """Counts are totals so far: a later one replaces the earlier, and one left out or null changes nothing."""
        usage = _object(said.get("usage"))
        counts = {key: usage[key] for key in USAGE if usage.get(key) is not None}
        if counts:
            self._counts = {**self._counts, **counts}
            self.usage = usage_of(self._counts)

    def _begun(self) -> list[Event]:
        self.life.content()
        if self._started:
            return []
        self._started = True
        return [self._start]

    def _about(self, delta: Json, said: Json) -> list[Event]:
        """`message_delta`: it may come more than once, and only the last with a reason has the last word."""
        self._count(said)
        reason = delta.get("stop_reason")
        if not reason:
            return []
        events = self._begun()
        self._reason = finish_reason(reason)
        self.life.finish()
        return events

    # -- blocks -------------------------------------------------------------------------------------------

    def _open(self, index: int, said: Json) -> list[Event]:
        kind = said.get("type")
        events = [*self._close(index), *self._begun()]
        if kind == "tool_use":
            if self._calls == MAX_TOOL_CALLS:
                self._fail(malformed(f"more than {MAX_TOOL_CALLS} tool calls"))
                return events
            self._keep(index, _Block(kind, self._calls, said.get("input")))
            events.append(ToolCall(0, self._calls, _string(said.get("id")), _string(said.get("name")), ""))
            self._calls += 1
        elif kind == "redacted_thinking":
            if data := _string(said.get("data")):
                events.append(Reasoning("", signature=REDACTED + data))
        elif kind in ("text", "thinking"):
            block = self._keep(index, _Block(str(kind)))
            block.signature = _string(said.get("signature"))
            events += self._more(block, _string(said.get(str(kind))))
        else:
            self._keep(index, _Block(""))
        return events

    def _keep(self, index: int, block: _Block) -> _Block:
        if len(self._blocks) > MAX_TOOL_CALLS:
            self._fail(malformed("blocks that are never stopped"))
        self._blocks[index] = block
        return block

    def _delta(self, index: int, delta: Json) -> list[Event]:
        kind = _string(delta.get("type"))
        if kind in _DELTAS:
            wanted, key = _DELTAS[kind]
            events: list[Event] = []
            block = self._blocks.get(index)
            if block is None or block.kind != wanted:  # some servers leave the start out
                events = [*self._close(index), *self._begun()]
                block = self._keep(index, _Block(wanted))
            events += self._more(block, _string(delta.get(key)))
            return events
        block = self._blocks.get(index)
        if block is not None and kind == "signature_delta" and block.kind == "thinking":
            block.signature = _string(delta.get("signature"))
        elif block is not None and kind == "input_json_delta" and block.kind == "tool_use":
            return self._more(block, _string(delta.get("partial_json")))
        return []

    def _more(self, block: _Block, text: str) -> list[Event]:
        if block.half or jsontext.has_surrogate(text):
            text = block.half + text
            block.half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
            text = jsontext.scrub(text[:-1] if block.half else text)
        if not text:
            return []
        block.said = True
        return [block.event(text)]

    def _close(self, index: int) -> list[Event]:
        block = self._blocks.pop(index, None)
        if block is None:
            return []
        events = [block.event("\ufffd")] if block.half else []
        if block.signature:
            events.append(Reasoning("", signature=block.signature))
        if block.kind == "tool_use" and not block.said and not block.half:
            given = block.input if isinstance(block.input, dict) else {}
            events.append(block.event(jsontext.dumps(given).decode()))
        return events

    # -- the end ------------------------------------------------------------------------------------------

    def _finish(self) -> list[Event]:
        events = [event for index in list(self._blocks) for event in self._close(index)]
        if self._reason:
            told = "tool_calls" if self._calls and self._reason == "stop" else self._reason
            events.append(Finish(0, told))
        if self.usage is not None:
            events.append(self.usage)
        return [*events, End()]

    def _tell(self, failed: Failed) -> list[Event]:
        return [failed]


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _index(value: Json) -> int:
    index = value.get("index")
    return index if isinstance(index, int) else 0
