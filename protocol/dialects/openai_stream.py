"""Streams in OpenAI's dialect: chunks to events, events to chunks, and chunks straight through.

`Passage` is the hot path of a gateway, OpenAI-compatible server to OpenAI client: most bytes are looked at
(`look`) and passed on as they came, the rest is parsed, made canonical (`openai_normal`) and written again
only where something had to be mended. Unknown fields and exact numbers survive.

`StreamDecoder` and `StreamEncoder` are the two halves of every other way.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .. import jsontext, sse
from ..chat import (
    End,
    Event,
    Failed,
    Finish,
    Reasoning,
    Refusal,
    Start,
    Text,
    ToolCall,
    Usage,
    counted,
)
from ..errors import LimitExceeded
from ..look import Look
from . import failures
from .openai_mend import Chunk
from .openai_normal import Normaliser
from .source import Source, malformed

__all__ = ["DONE", "Passage", "StreamDecoder", "StreamEncoder", "encode_failure", "encode_usage", "usage_of"]

DONE = b"data: [DONE]\n\n"
_FRAMING = len(b"data: \n\n")

T = TypeVar("T")


def usage_of(raw: dict[str, Any]) -> Usage:
    """OpenAI's usage object as an event."""

    said = raw.get
    prompt, completion = counted(said("prompt_tokens")), counted(said("completion_tokens"))
    before, after = said("prompt_tokens_details"), said("completion_tokens_details")
    cached = counted(before.get("cached_tokens")) if isinstance(before, dict) else 0
    return Usage(
        prompt,
        completion,
        counted(said("total_tokens")) or prompt + completion,
        cached=cached or counted(said("prompt_cache_hit_tokens")),
        reasoning=counted(after.get("reasoning_tokens")) if isinstance(after, dict) else 0,
        raw=raw,
    )


def encode_usage(usage: Usage) -> dict[str, Any]:
    """A usage event as OpenAI's object: the upstream's own where that has the same form."""
    if usage.raw is not None and "prompt_tokens" in usage.raw:
        return usage.raw
    out: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
    }
    if usage.cached:
        out["prompt_tokens_details"] = {"cached_tokens": usage.cached}
    if usage.reasoning:
        out["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return out


def encode_failure(failed: Failed) -> bytes:
    """An error in the middle of a stream: the one form that all clients raise on."""
    return b"data: " + failures.encode_error(failed)[1] + b"\n\n"


class _Chunks(Source[T]):
    """A source whose JSON objects are chunks."""

    __slots__ = ("_include_usage", "_normaliser")

    def __init__(
        self,
        framing: str = "sse",
        *,
        include_usage: bool = True,
        id: str = "",
        created: int = 0,
        model: str = "",
        **options: Any,
    ) -> None:
        super().__init__(framing, **options)
        self._include_usage = include_usage
        self._normaliser = Normaliser(self.life, id=id, created=created, model=model)

    @abstractmethod
    def _made(self, chunk: Chunk, raw: bytes) -> list[T]:
        """Results of one canonical chunk; `raw` is its text where it may be sent as it is."""

    def _read(self, value: dict[str, Any], raw: bytes) -> list[T]:
        normaliser = self._normaliser
        before = normaliser.usage
        try:
            chunks = normaliser.take(value)
        except LimitExceeded as exc:
            self._fail(malformed(str(exc)))
            return []
        if normaliser.usage is not before and normaliser.usage is not None:
            self.usage = usage_of(normaliser.usage)
        if len(chunks) == 1:
            return self._made(chunks[0], raw if chunks[0] is value else b"")
        results: list[T] = []
        for chunk in chunks:
            results += self._made(chunk, b"")
        return results

    def _before_eof(self) -> None:
        self._normaliser.eof()

    def _finish(self) -> list[T]:
        results: list[T] = []
        for chunk in self._normaliser.finish(include_usage=self._include_usage):
            results += self._made(chunk, b"")
        return results


class Passage(_Chunks[bytes]):
    """Chunks in, canonical chunks out, as bytes. At the end `[DONE]`, or the error if something had started."""

    __slots__ = ("_between", "_look")

    def __init__(self, framing: str = "sse", **options: Any) -> None:
        super().__init__(framing, **options)
        self._look = Look(self._mend)
        self._between = False  # whether nothing of an unfinished event is held

    def feed(self, data: Any) -> list[bytes]:
        """Take one chunk."""
        results = super().feed(data)
        self._between = isinstance(self._runs, sse.Blocks) and not self._runs.pending
        return results

    def feed_one(self, data: bytes) -> bytes | None:
        """`feed` for tokens that come one by one: what goes out for exactly one ordinary frame that passes as it
        came. None if `data` is anything else, and then nothing has been done with it."""
        size = len(data)
        if not self._between or size > self._max_frame_bytes or self.life.ended or not self._look.passes(data):
            return None
        stats = self.stats
        stats.frames += 1
        if size - _FRAMING > stats.largest_frame:
            stats.largest_frame = size - _FRAMING
        self._runs.skip(size)  # type: ignore[union-attr]  # `_between` says that these are SSE's
        stats.last_event = self._runs.offset
        return data

    def _take(self, run: bytes) -> list[bytes]:
        stats, end_of = self.stats, self._runs.end_of
        out = self._glance(run)
        if out is not None:
            stats.ended_at(end_of(len(run)))
            return [out]
        results: list[bytes] = []
        place = 0
        for block in run.split(b"\n\n"):
            place += len(block) + 2
            block = block.lstrip(b"\n")
            if block:
                frames = stats.frames
                out = self._glance(block + b"\n\n")
                results += [out] if out is not None else self._parse(block)
                if stats.frames != frames:
                    stats.ended_at(end_of(place))
                if self.life.ended:
                    break
        return results

    def _glance(self, run: bytes) -> bytes | None:
        look = self._look
        out = look.glance(run)
        if out is not None:
            stats = self.stats
            stats.frames += look.frames
            if look.largest > stats.largest_frame:
                stats.largest_frame = look.largest
        return out

    def _parse(self, block: bytes) -> list[bytes]:
        before = self._normaliser.version
        results = self._block(block)
        if self._normaliser.version != before:
            self._look.forget()
        elif results and not self.life.ended and not self._normaliser.waits:
            same = len(results) == 1 and len(results[0]) == len(block) + 2 and results[0].startswith(block)
            self._look.learn(block, passed=same)
        return results

    def _mend(self, block: bytes) -> tuple[bytes, int] | None:
        """What a block comes out as, for `Look`: None where it is no chunk, or leaves something remembered."""
        found = sse.fields(block)
        data = found.data.strip() if found is not None and found.event != b"error" else b""
        try:
            value, clean = jsontext.loads(data, self._depth)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict) or failures.find(value) is not None:
            return None
        before = self._normaliser.version
        results = self._read(value, data if clean else b"")
        return (b"".join(results), len(data)) if self._normaliser.version == before else None

    def _made(self, chunk: Chunk, raw: bytes) -> list[bytes]:
        return [b"data: %b\n\n" % (raw or jsontext.dumps(chunk))]

    def _finish(self) -> list[bytes]:
        return [*super()._finish(), DONE]

    def _tell(self, failed: Failed) -> list[bytes]:
        return [encode_failure(failed)] if self.life.started else []


_KINDS: dict[str, Callable[[str, int], Event]] = {
    "content": Text,
    "reasoning_content": Reasoning,
    "refusal": Refusal,
}


def _tool_call(choice: int, call: Chunk) -> ToolCall:
    function = call.get("function") or call["custom"]
    arguments = function.get("arguments") or function.get("input") or ""
    return ToolCall(choice, call["index"], call.get("id", ""), function.get("name") or "", arguments)


class StreamDecoder(_Chunks[Event]):
    """Bytes to events. The last event is `End`, or `Failed` for whatever went wrong; nothing is raised for it.

    Held back: an unfinished frame, a finish reason until the end, a high surrogate at the end of a delta.
    """

    __slots__ = ("_started",)

    def __init__(self, framing: str = "sse", **options: Any) -> None:
        super().__init__(framing, **options)
        self._started = False

    def _made(self, chunk: Chunk, raw: bytes) -> list[Event]:
        events: list[Event] = []
        if not self._started:
            self._started = True
            events.append(Start(self._normaliser.id, self._normaliser.model, self._normaliser.created))
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice["delta"]
            for field, said in delta.items():  # reasoning and text never stand in one delta, so any order is theirs
                kind = _KINDS.get(field)
                if kind is not None and said and isinstance(said, str):
                    events.append(kind(said, index))
            if "tool_calls" in delta:
                events += [_tool_call(index, call) for call in delta["tool_calls"]]
            if choice.get("finish_reason"):
                events.append(Finish(index, choice["finish_reason"]))
        if isinstance(chunk.get("usage"), dict):
            events.append(usage_of(chunk["usage"]))
        return events

    def _finish(self) -> list[Event]:
        return [*super()._finish(), End()]

    def _tell(self, failed: Failed) -> list[Event]:
        return [failed]


class StreamEncoder:
    """Events to bytes. `id`, `created` and `model` stand in where `Start` names none.

    After `End` or `Failed` nothing more is encoded.
    """

    content_type = "text/event-stream; charset=utf-8"
    failed: Failed | None = None
    _object = "chat.completion.chunk"

    __slots__ = ("_created", "_ended", "_head", "_id", "_include_usage", "_model", "_roles", "_usage")

    def __init__(self, *, include_usage: bool = False, id: str = "", created: int = 0, model: str = "") -> None:
        self._id, self._created, self._model = id, created, model
        self._include_usage = include_usage
        self._head = b""
        self._roles: set[int] = set()
        self._usage: Usage | None = None
        self._ended = False

    def encode(self, events: Iterable[Event]) -> bytes:
        """The chunks for these events."""
        return b"".join([self._encode(event) for event in events if not self._ended])

    def _encode(self, event: Event) -> bytes:
        match event:
            case Text(text, choice):
                return self._delta(choice, b'"content":%b' % jsontext.quote(text))
            case Reasoning(text, choice):  # without text it is a signature, for which there is no field
                return self._delta(choice, b'"reasoning_content":%b' % jsontext.quote(text)) if text else b""
            case ToolCall():
                return self._tool_call(event)
            case Start(id, model, created):
                self._id, self._model, self._created = id or self._id, model or self._model, created or self._created
                return b""
            case Refusal(text, choice):
                return self._delta(choice, b'"refusal":%b' % jsontext.quote(text))
            case Finish(choice, reason):
                return self._delta(choice, b"", jsontext.quote(reason))
            case Usage():
                self._usage = event
                return b""
            case Failed():
                self._ended = True
                return encode_failure(event)
        self._ended = True  # it is `End`
        return self._last_usage() + DONE

    def _delta(self, choice: int, delta: bytes, reason: bytes = b"null") -> bytes:
        head = self._head or self._make_head()
        role = b""
        if choice not in self._roles:
            self._roles.add(choice)
            role = self._delta(choice, b'"role":"assistant","content":""')
        return b'%b%b,"choices":[{"index":%d,"delta":{%b},"logprobs":null,"finish_reason":%b}]}\n\n' % (
            role,
            head,
            choice,
            delta,
            reason,
        )

    def _tool_call(self, call: ToolCall) -> bytes:
        entry: dict[str, Any] = {"index": call.index}
        function = {"name": call.name, "arguments": call.arguments} if call.name else {"arguments": call.arguments}
        if call.id:
            entry |= {"id": call.id, "type": "function"}
        return self._delta(call.choice, b'"tool_calls":[%b]' % jsontext.dumps({**entry, "function": function}))

    def _last_usage(self) -> bytes:
        if not (self._include_usage and self._usage):
            return b""
        head = self._head or self._make_head()
        return b'%b,"choices":[],"usage":%b}\n\n' % (head, jsontext.dumps(encode_usage(self._usage)))

    def _make_head(self) -> bytes:
        head = {"id": self._id, "object": self._object, "created": self._created, "model": self._model}
        self._head = b"data: %b" % jsontext.dumps(head)[:-1]
        return self._head
