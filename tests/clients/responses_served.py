"""Streams of the Responses API that our encoder made, as scripts of a server that the SDKs talk to."""

from __future__ import annotations

from answers import LAST, STREAM, chunked
from penstock.protocol.chat import End, Event, Failed, Finish, Reasoning, Refusal, Start, Text, ToolCall, Usage
from penstock.protocol.dialects import responses

__all__ = ["ASKED", "SAID", "TOLD", "script"]

SAID = "Привет, 日本語 \u2028 👩‍👩‍👧"
ASKED = {"model": "tiny", "instructions": "Be brief", "temperature": 0.5}
_START = Start("chatcmpl-1", "tiny", 1760000000)
_TEXT = [Text(SAID[at : at + 5]) for at in range(0, len(SAID), 5)]
_TAIL = [Usage(9, 7, 16, 4, 3), End()]
TOLD: dict[str, list[Event]] = {
    "text": [_START, *_TEXT, Finish(0, "stop"), *_TAIL],
    "tools": [
        _START,
        ToolCall(0, 0, "call_a", "f", '{"x":'),
        ToolCall(0, 1, "call_b", "g", ""),
        ToolCall(0, 0, "", "", "1}"),
        Finish(0, "tool_calls"),
        *_TAIL,
    ],
    "reasoning": [
        _START,
        Reasoning("hm, "),
        Reasoning("yes"),
        Reasoning("", 0, "gAAA"),
        *_TEXT,
        Finish(0, "stop"),
        *_TAIL,
    ],
    "refusal": [_START, Refusal("I "), Refusal("won't"), Finish(0, "stop"), *_TAIL],
    "incomplete": [_START, *_TEXT, Finish(0, "length"), *_TAIL],
    "failed": [_START, *_TEXT, Failed("boom", code="rate_limit_exceeded", type="rate_limit_error")],
    "failed at once": [Failed("boom", code="rate_limit_exceeded", type="rate_limit_error")],
}


def script(name: str) -> list[bytes]:
    """The whole answer of that name: each event in a transfer chunk of its own."""
    encoder = responses.StreamEncoder(request=ASKED)
    parts = [encoder.encode([event]) for event in TOLD[name]]
    return [STREAM, *(chunked(part) for part in parts if part), LAST]
