"""Streams of the Responses API as servers send them, and how tests read what comes out.

`stream` writes upstream bytes and numbers the events; `read` gives a stream back as a list of events, after
checking the rules that hold for every stream that clients can read.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["FULL", "USAGE", "added", "delta", "done", "ended", "message", "read", "response", "shown", "stream"]

Json = dict[str, Any]

USAGE: Json = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 16,
}
ENDS = ("response.completed", "response.incomplete", "response.failed")


def response(status: str = "in_progress", output: list[Json] | None = None, **more: Any) -> Json:
    """A response object with what any has."""
    identity = {"id": "resp_1", "object": "response", "created_at": 1760000000, "model": "org/model-a"}
    return {**identity, "status": status, "error": None, "incomplete_details": None, "output": output or [], **more}


def stream(*events: Json | bytes, named: bool = True) -> bytes:
    """Events (or raw bytes) as an SSE stream; without `named`, of data alone."""
    out = []
    for number, event in enumerate(events):
        if isinstance(event, bytes):
            out.append(event)
            continue
        said = {"type": event["type"], "sequence_number": number, **event}
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        out.append((b"event: %b\n" % event["type"].encode() if named else b"") + b"data: %b\n\n" % text)
    return b"".join(out)


def added(index: int, item: Json) -> Json:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: Json) -> Json:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(kind: str, index: int, text: Any, part: int = 0, item: str = "") -> Json:
    """A delta of `output_text`, `refusal`, `reasoning_text`, `reasoning_summary_text`, `function_call_arguments`."""
    key = "summary_index" if "summary" in kind else "content_index"
    place = {"item_id": item or f"item_{index}", "output_index": index, key: part}
    return {"type": f"response.{kind}.delta", **place, "delta": text}


def message(text: str, index: int = 0, status: str = "completed") -> Json:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    parts = [part] if status == "completed" else []
    return {"id": f"item_{index}", "type": "message", "status": status, "role": "assistant", "content": parts}


def ended(status: str = "completed", output: list[Json] | None = None, **more: Any) -> Json:
    return {"type": f"response.{status}", "response": response(status, output, usage=USAGE, **more)}


def text_done(index: int, text: str) -> list[Json]:
    place = {"item_id": f"item_{index}", "output_index": index, "content_index": 0}
    return [
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": message(text)["content"][0]},
        done(index, message(text, index)),
    ]


_REASONING = {"id": "item_0", "type": "reasoning", "summary": []}
_THOUGHT = {**_REASONING, "summary": [{"type": "summary_text", "text": "hm, yes"}], "encrypted_content": "gAAA"}
_CALL = {"id": "item_2", "type": "function_call", "status": "in_progress", "call_id": "call_1", "name": "f"}
_CALLED = {**_CALL, "status": "completed", "arguments": '{"x":1}'}
_PLACE_0 = {"item_id": "item_0", "output_index": 0, "summary_index": 0}
_PLACE_2 = {"item_id": "item_2", "output_index": 2}

FULL: list[Json] = [
    {"type": "response.created", "response": response()},
    {"type": "response.in_progress", "response": response()},
    added(0, _REASONING),
    {"type": "response.reasoning_summary_part.added", **_PLACE_0, "part": {"type": "summary_text", "text": ""}},
    delta("reasoning_summary_text", 0, "hm, "),
    delta("reasoning_summary_text", 0, "yes"),
    {"type": "response.reasoning_summary_text.done", **_PLACE_0, "text": "hm, yes"},
    {"type": "response.reasoning_summary_part.done", **_PLACE_0, "part": _THOUGHT["summary"][0]},
    done(0, _THOUGHT),
    added(1, message("", 1, "in_progress")),
    {
        "type": "response.content_part.added",
        "item_id": "item_1",
        "output_index": 1,
        "content_index": 0,
        "part": message("")["content"][0],
    },
    delta("output_text", 1, "Hé"),
    delta("output_text", 1, "llo"),
    *text_done(1, "Héllo"),
    added(2, {**_CALL, "arguments": ""}),
    delta("function_call_arguments", 2, '{"x":'),
    delta("function_call_arguments", 2, "1}"),
    {"type": "response.function_call_arguments.done", **_PLACE_2, "name": "f", "arguments": '{"x":1}'},
    done(2, _CALLED),
    ended(output=[_THOUGHT, message("Héllo", 1), _CALLED]),
]
"""Reasoning, text and a tool call, as OpenAI's own server tells them."""


def read(raw: bytes) -> list[Json]:
    """The events of a stream that is as clients insist: framing, numbers, order, and texts told twice alike."""
    *blocks, rest = raw.decode().split("\n\n")
    assert rest == ""
    events = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert list(event)[:2] == ["type", "sequence_number"]
        assert event["sequence_number"] == number
        events.append(event)
    _check_order(events)
    return events


def _check_order(events: list[Json]) -> None:
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    failed = kinds[-1] == "error"
    assert [kind for kind in kinds if kind in ENDS] == [kinds[-2] if failed else kinds[-1]], "exactly one end"
    last = events[-2] if failed else events[-1]
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    items: list[Json] = []
    whole: dict[int, Json] = {}
    texts: dict[tuple[Any, ...], str] = {}
    for event in events:
        kind, at = event["type"], event.get("output_index")
        if kind == "response.output_item.added":
            assert at == len(items)
            items.append(event["item"])
        elif kind == "response.output_item.done":
            assert at not in whole
            assert event["item"]["id"] == items[at]["id"]
            whole[at] = event["item"]
        elif at is not None:
            assert event["item_id"] == items[at]["id"]
            assert at not in whole
            place = (at, event.get("content_index"), event.get("summary_index"))
            if kind.endswith("part.added"):
                texts[place] = ""
            elif kind.endswith(".delta"):
                if items[at]["type"] in ("message", "reasoning"):
                    assert place in texts
                texts[place] = texts.get(place, "") + event["delta"]
            elif kind.endswith(("text.done", "arguments.done", "input.done", "refusal.done")):
                said = next(event[key] for key in ("text", "arguments", "input", "refusal") if key in event)
                assert said == texts.get(place, "")
            else:
                said = event["part"].get("text", event["part"].get("refusal"))
                assert said == texts[place]
    if failed:
        assert [item["id"] for item in last["response"]["output"]] in ([], [item["id"] for item in items])
    else:
        assert last["response"]["output"] == [whole[at] for at in range(len(items))], "every item is done"


def shown(events: list[Json]) -> list[str]:
    """Types of events, short."""
    return [event["type"].removeprefix("response.") for event in events]
