"""Anthropic streams as its servers send them, and how tests read what comes out.

`event`, `block` and `stream` write upstream bytes; `told` gives a stream back as short tuples, after checking the
rules that hold for every byte of it.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["USAGE", "about", "block", "event", "start", "stream", "told"]

USAGE = {
    "input_tokens": 25,
    "cache_creation_input_tokens": 2,
    "cache_read_input_tokens": 3,
    "output_tokens": 1,
    "service_tier": "standard",
}
_DELTAS = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}
_KEYS = {"text": "text", "thinking": "thinking", "tool_use": "partial_json"}


def event(kind: str, **members: Any) -> bytes:
    """One event; lone surrogates are escaped, as servers send them."""
    data = json.dumps({"type": kind, **members}, ensure_ascii=False, separators=(",", ":"))
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data.encode("utf-8", "backslashreplace"))


def start(**members: Any) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-a", "content": []}
    more = {"stop_reason": None, "stop_sequence": None, "usage": USAGE}
    return event("message_start", message={**message, **more, **members})


def block(index: int, kind: str, *deltas: str, signature: str = "", **members: Any) -> bytes:
    """A whole block: its start, a delta for each string, its stop."""
    empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}
    out = event("content_block_start", index=index, content_block={"type": kind, **empty.get(kind, {}), **members})
    for text in deltas:
        out += event("content_block_delta", index=index, delta={"type": _DELTAS[kind], _KEYS[kind]: text})
    if signature:
        out += event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": signature})
    return out + event("content_block_stop", index=index)


def about(reason: str | None = "end_turn", **usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)


def stream(*parts: bytes, reason: str = "end_turn") -> bytes:
    """A whole stream of these blocks, with the usual usage."""
    return start() + event("ping") + b"".join(parts) + about(reason, output_tokens=89) + event("message_stop")


def told(data: bytes) -> list[Any]:
    """What a client reads: `("start", id, model)`, `(kind, text)` for each delta, `("stop_reason", ...)`, "stop"."""
    out: list[Any] = []
    *frames, last = data.split(b"\n\n")
    assert last == b""
    expected = {"message_start"}
    kind, opened = "", -1
    for frame in frames:
        name, text = frame.split(b"\n")
        value = json.loads(text.removeprefix(b"data: "))
        assert name == b"event: " + value["type"].encode()
        assert not set(text.decode()) & set("\r\u2028\u2029\x85")
        assert value == json.loads(json.dumps(value).encode()), "no lone surrogates"
        if value["type"] == "error":
            assert frame is frames[-1]
            out.append(("error", value["error"]["type"]))
            return out
        assert value["type"] in expected, f"{value['type']} in the place of {expected}"
        match value["type"]:
            case "message_start":
                message = value["message"]
                assert (message["type"], message["role"], message["content"]) == ("message", "assistant", [])
                out.append(("start", message["id"], message["model"]))
                expected = {"content_block_start", "message_delta"}
            case "content_block_start":
                opened += 1
                assert value["index"] == opened
                kind = value["content_block"]["type"]
                out.append({key: item for key, item in value["content_block"].items() if item})
                expected = {"content_block_delta", "content_block_stop"}
            case "content_block_delta":
                assert value["index"] == opened
                form, said = value["delta"].values()
                assert form in (_DELTAS[kind], "signature_delta")
                out.append((form, said))
            case "content_block_stop":
                assert value["index"] == opened
                expected = {"content_block_start", "message_delta", "message_stop"}
            case "message_delta":
                assert list(value["delta"]) == ["stop_reason", "stop_sequence"]
                out.append((value["delta"]["stop_reason"], value["usage"]))
                expected = {"message_stop"}
            case "message_stop":
                out.append("stop")
                expected = set()
    return out
