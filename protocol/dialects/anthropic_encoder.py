"""Anthropic's streams, written: chat events to a row of blocks, of which exactly one is open.

    message_start, (content_block_start, content_block_delta ..., content_block_stop) ..., message_delta, message_stop

A block is opened by the first delta of its kind and stopped before another opens; each frame has its `event:` line.
`message_start` goes out with the first of them. Its usage is zeros where the upstream counts only at the end:
`message_delta` has the counts in full.

Tool calls may come interleaved, blocks may not. So while the arguments of the open call are no complete JSON value,
what belongs to other blocks waits, up to `max_held_bytes`; with the bracket that completes them, or with the finish,
it goes out, block by block. Cost: one pass over the arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .. import jsontext
from ..chat import NEW_ENTRY, End, Event, Failed, Finish, Reasoning, Refusal, Start, Text, ToolCall, Usage, size
from .anthropic_terms import NO_USAGE, REDACTED, encode_error, encode_usage, stop_reason, thinking_block
from .source import malformed

__all__ = ["MESSAGE_STOP", "StreamEncoder", "encode_failure"]

MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b}}\n\n'
_NOTHING, _TEXT, _THINKING = "", "text", "thinking"  # the block that is open; a tool call is known by its index

Kind = int | str
Content = Text | Refusal | Reasoning | ToolCall


def encode_failure(failed: Failed) -> bytes:
    """An error in the middle of a stream."""
    return b"event: error\ndata: %b\n\n" % encode_error(failed)[1]


class _Arguments:
    """The arguments of the open call as JSON, and whether they are complete.

    Anthropic's clients parse what they have after each delta and give up where that is no JSON. Arguments that are
    no object (a custom tool's text) therefore go out as the one member of an object.
    """

    __slots__ = ("_depth", "_string", "_text", "complete")

    # A bracket, or a string as far as it goes: then its end, or the backslash that a fragment may end in.
    _tokens = re.compile(r'[{}\[\]]|"(?:[^"\\]++|\\.)*+(\\?"?)', re.DOTALL).finditer

    def __init__(self) -> None:
        self.complete = False
        self._depth = 0
        self._string = ""  # of a string that goes on in the next fragment, what is needed to read on
        self._text: bool | None = None  # whether it is text and no object, once that is known

    def take(self, fragment: str) -> str:
        """The next fragment, as it can be sent."""
        if self._text is None and fragment.strip():
            self._text = fragment.lstrip()[0] != "{"
            if self._text:
                return '{"arguments":"' + _inside(fragment)
        if self._text:
            return _inside(fragment)
        self._scan(fragment)
        return fragment

    def end(self) -> str:
        """What is left to send."""
        return '"}' if self._text else ""

    def _scan(self, fragment: str) -> None:
        for token in self._tokens(self._string + fragment):
            if token[0][0] == '"':
                self._string = "" if token[1] == '"' else '"' + token[1]
            else:
                self._depth += 1 if token[0] in "{[" else -1
                self.complete = self._depth <= 0


def _inside(text: str) -> str:
    return jsontext.quote(text)[1:-1].decode()


class StreamEncoder:
    """Events to bytes. `id` and `model` stand in where `Start` names none; choices other than 0 are left out.

    Anthropic's streams always tell the usage and have no time, so `include_usage` and `created` mean nothing here.
    After `End` or `Failed` nothing more is encoded.
    """

    content_type = "text/event-stream; charset=utf-8"

    __slots__ = (
        *("_arguments", "_blocks", "_ended", "_held", "_id", "_limit", "_model", "_open", "_reason"),
        *("_refused", "_room", "_started", "_usage", "failed"),
    )

    def __init__(
        self,
        *,
        include_usage: bool = True,
        id: str = "",
        created: int = 0,
        model: str = "",
        max_held_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self.failed: Failed | None = None
        self._id, self._model = id, model
        self._limit = self._room = max_held_bytes
        self._held: dict[Kind, list[Content]] = {}
        self._blocks = 0  # stopped so far, which is the index of the open one
        self._open: Kind = _NOTHING
        self._arguments = _Arguments()
        self._reason: str | None = None
        self._refused = False
        self._usage: Usage | None = None
        self._started = False
        self._ended = False

    def encode(self, events: Iterable[Event]) -> bytes:
        """The frames for these events."""
        return b"".join([self._encode(event) for event in events if not self._ended])

    def _encode(self, event: Event) -> bytes:
        match event:
            case Text(_, 0) | Refusal(_, 0):
                self._refused = self._refused or isinstance(event, Refusal)
                return self._place(event, _TEXT)
            case Reasoning(_, 0):
                return self._place(event, _THINKING)
            case ToolCall(0, index):
                return self._place(event, index)
            case Start(id, model):
                self._id, self._model = id or self._id, model or self._model
            case Finish(0, reason):
                self._reason = reason
                return self._release(finished=True)
            case Usage():
                self._usage = event
            case Failed():
                self._ended = True
                return encode_failure(event)
            case End():
                self._ended = True
                return self._release(finished=True) + self._last()
        return b""

    # -- which block --------------------------------------------------------------------------------------

    def _place(self, event: Content, kind: Kind) -> bytes:
        """Write it if its block is open or may be opened now, else keep it."""
        if kind == self._open or not self._waiting():
            out = self._write(event, kind)
            return out + self._release(finished=False) if self._held else out
        self._room -= _size(event) + NEW_ENTRY
        if self._room < 0:
            self._held.clear()
            self.failed = malformed(f"interleaved tool calls of more than {self._limit} bytes")
            return self._encode(self.failed)
        self._held.setdefault(kind, []).append(event)
        return b""

    def _waiting(self) -> bool:
        """Whether the open block is a call that may go on."""
        return isinstance(self._open, int) and not self._arguments.complete

    def _release(self, *, finished: bool) -> bytes:
        """What was kept, block by block, until one waits for its end in turn; all of it, if that is the answer's."""
        out = []
        while self._held and (finished or not self._waiting()):
            kind = next(iter(self._held))
            for event in self._held.pop(kind):
                self._room += _size(event) + NEW_ENTRY
                out.append(self._write(event, kind))
        return b"".join(out)

    # -- frames -------------------------------------------------------------------------------------------

    def _write(self, event: Any, kind: Kind) -> bytes:
        if kind == _TEXT:
            if not event.text:
                return b""
            return self._opened(kind) + self._delta(b'"text_delta","text":%b' % jsontext.quote(event.text))
        if kind == _THINKING:
            return self._thinking(event)
        begin = b""
        if kind != self._open:
            if not (event.id or event.name):
                return b""  # a fragment for a call that was complete
            block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
            begin = self._opened(kind, jsontext.dumps(block))
            self._arguments = _Arguments()
        fragment = self._arguments.take(event.arguments)
        return begin + (self._json_delta(fragment) if fragment else b"")

    def _thinking(self, event: Reasoning) -> bytes:
        signature = event.signature
        if signature.startswith(REDACTED):
            return self._opened("redacted", jsontext.dumps(thinking_block("", signature))) + self._stopped()
        if not (event.text or signature):
            return b""
        out = self._opened(_THINKING)
        if event.text:
            out += self._delta(b'"thinking_delta","thinking":%b' % jsontext.quote(event.text))
        return out + self._stopped(signature) if signature else out

    def _opened(self, kind: Kind, block: bytes = b"") -> bytes:
        if kind == self._open:
            return b""
        if not block:
            block = b'{"type":"text","text":""}' if kind == _TEXT else jsontext.dumps(thinking_block("", ""))
        out = self._begun() + self._stopped()
        self._open = kind
        return out + _frame("content_block_start", b',"index":%d,"content_block":%b' % (self._blocks, block))

    def _stopped(self, signature: str = "") -> bytes:
        """The end of the open block. Thinking is signed, if only by an empty text: unsigned, some clients drop it from
        the next turn, where a model may want it back."""
        if self._open == _NOTHING:
            return b""
        out = b""
        if self._open == _THINKING:
            out = self._delta(b'"signature_delta","signature":%b' % jsontext.quote(signature))
        elif isinstance(self._open, int) and (rest := self._arguments.end()):
            out = self._json_delta(rest)
        out += _frame("content_block_stop", b',"index":%d' % self._blocks)
        self._open = _NOTHING
        self._blocks += 1
        return out

    def _delta(self, delta: bytes) -> bytes:
        return _DELTA % (self._blocks, delta)

    def _json_delta(self, fragment: str) -> bytes:
        return self._delta(b'"input_json_delta","partial_json":%b' % jsontext.quote(fragment))

    def _begun(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": encode_usage(self._usage) if self._usage else NO_USAGE,
        }
        return _frame("message_start", b',"message":' + jsontext.dumps(message))

    def _last(self) -> bytes:
        delta = {"stop_reason": stop_reason(self._reason, refused=self._refused), "stop_sequence": None}
        said = {"delta": delta, "usage": encode_usage(self._usage)}
        about = _frame("message_delta", b"," + jsontext.dumps(said)[1:-1])
        return self._begun() + self._stopped() + about + MESSAGE_STOP


def _frame(name: str, members: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (name.encode(), name.encode(), members)


def _size(event: Content) -> int:
    return size(*[part for part in event if isinstance(part, str)])
