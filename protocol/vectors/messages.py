"""How what lies above the framing answers a vector: SSE encoding, JSON-RPC, and the streams of the dialects.

As in `framing`, each function drives the library as any caller would and says what came in the words of the vectors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from .. import chat, jsonrpc, sse
from ..dialects import DIALECTS
from ..errors import LocalProtocolError
from .files import Vector
from .framing import Chunks

__all__ = ["MACHINES"]

Answer = dict[str, Any]


def _sse_encode(vector: Vector, chunks: Chunks) -> Answer:
    event = dict(vector["event"])
    retry = event.pop("retry", None)
    try:
        return {"output": sse.encode(sse.Event(**event), retry).decode()}
    except LocalProtocolError:
        return {"output": None}


# --- JSON-RPC ---


def _message(message: jsonrpc.Message) -> Answer:
    if isinstance(message, jsonrpc.Batch):
        return {"batch": [_message(item) for item in message.items]}
    fields = message._asdict()
    if isinstance(message, jsonrpc.Invalid):
        fields = {name: fields[name] for name in ("code", "id", "response")}
    return {type(message).__name__.lower(): fields}


def _jsonrpc(vector: Vector, chunks: Chunks) -> Answer:
    return {"message": _message(jsonrpc.decode(b"".join(chunks), **vector.get("options", {})))}


def _dialogue(vector: Vector, chunks: Chunks) -> Answer:
    connection = jsonrpc.Connection(**vector.get("options", {}))
    for number, step in enumerate(vector["steps"], 1):
        found = {name: step[name] for name in step if name in _SAYINGS or name == "receive"}
        try:
            found |= _step(connection, step)
        except LocalProtocolError:
            found["refused"] = True
        found["sent"] = [json.loads(message) for message in connection.data_to_send()]
        if _text(found) != _text(step):
            return {"step": number, "found": found}
    return {"waiting": connection.waiting, "unanswered": connection.unanswered}


def _step(connection: jsonrpc.Connection, step: Vector) -> Answer:
    if "receive" in step:
        return {"found": [_message(item) for item in connection.receive(step["receive"])]}
    name = next(name for name in step if name in _SAYINGS)
    result = getattr(connection, name)(**step[name])
    key = _SAYINGS[name]
    return {key: result} if key else {}


# What a step may tell the connection to say, and under which name the step has what that returns.
_SAYINGS = {"request": "id", "notify": "", "reply": "", "fail": "", "cancel": "done", "abandon": "done"}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# --- streams ---

_TEXTS: dict[type, str] = {chat.Text: "text", chat.Reasoning: "reasoning", chat.Refusal: "refusal"}


def _streams(vector: Vector, chunks: Chunks) -> Answer:
    options = dict(vector["options"])
    dialect = DIALECTS[options.pop("dialect")]
    decoder = dialect.decoder(options.pop("framing", dialect.framing), **options)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    events += decoder.close()
    ending, last = str(decoder.life.ending), events[-1] if events else None
    if not isinstance(last, chat.End if ending == "completed" else chat.Failed):
        ending = f"{ending}, and yet the last event is {last}"
    start = next((event._asdict() for event in events if isinstance(event, chat.Start)), None)
    expected = vector["expect"]
    return {
        "start": start and {name: start[name] for name in expected.get("start") or start},
        "events": _joined(events, expected["events"]),
        "usage": _usage(decoder.usage),
        "ending": ending,
        "error": _error(last, expected.get("error") or {}),
    }


def _joined(events: Iterable[chat.Event], expected: list[Any]) -> list[Answer]:
    """Texts joined with their neighbours, arguments with their call."""
    found: list[Answer] = []
    calls: dict[tuple[int, int], Answer] = {}
    for event in events:
        if isinstance(event, chat.ToolCall):
            place = event.choice, event.index
            if place in calls:
                calls[place]["arguments"] += event.arguments
                continue
            calls[place] = {"type": "tool_call", **event._asdict()}
            found.append(calls[place])
        elif isinstance(event, chat.Finish):
            found.append({"type": "finish", **event._asdict()})
        elif isinstance(event, (chat.Text, chat.Reasoning, chat.Refusal)):
            _add_text(found, {"type": _TEXTS[type(event)], **event._asdict()})
    for one, wanted in zip(found, expected, strict=False):
        one |= {name: "*" for name, value in wanted.items() if value == "*" and one.get(name)}  # made up here
    return found


def _add_text(found: list[Answer], text: Answer) -> None:
    if not text.get("signature"):
        text.pop("signature", None)
    last = found[-1] if found else {}
    if last.get("type") == text["type"] and last["choice"] == text["choice"] and "signature" not in last:
        last["text"] += text["text"]
        if "signature" in text:
            last["signature"] = text["signature"]
    else:
        found.append(text)


def _usage(usage: chat.Usage | None) -> Answer | None:
    if usage is None:
        return None
    return {name: count for name, count in usage._asdict().items() if name != "raw"}


def _error(last: chat.Event | None, named: Answer) -> Answer | None:
    """What the vector names of the failure: the rest of it is in this library's own words."""
    if not isinstance(last, chat.Failed):
        return None
    return {name: value for name, value in last._asdict().items() if name in named}


MACHINES: dict[str, Callable[[Vector, Chunks], Answer]] = {
    "sse-encode": _sse_encode,
    "jsonrpc": _jsonrpc,
    "jsonrpc-dialogue": _dialogue,
    "streams": _streams,
}
"""By the name of the file."""
