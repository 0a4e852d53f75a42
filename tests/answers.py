"""What upstreams say, as bytes: heads, framing, and the JSON of the OpenAI and Ollama dialects.

The builders compose from the inside out, and every one returns exactly what stands on the wire:

    chunked(sse(role(), text("Hel")))       one transfer chunk with two events
    stream(role(), text("Hel"), finish(), usage(), DONE)      a whole script, one transfer chunk an event
    cut(data, 3, 10)                        the same bytes in three pieces
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

__all__ = [
    "DONE",
    "LAST",
    "NDJSON",
    "STREAM",
    "bytewise",
    "chunked",
    "completion",
    "content",
    "cut",
    "delta",
    "error",
    "finish",
    "head",
    "line",
    "ndjson",
    "payloads",
    "reasoning",
    "reply",
    "role",
    "sse",
    "stream",
    "text",
    "tool",
    "usage",
]

Json = dict[str, Any]

ID, CREATED, MODEL = "chatcmpl-1", 1760000000, "tiny"
DONE: Final = "[DONE]"
LAST: Final = b"0\r\n\r\n"


def head(status: int = 200, *headers: tuple[str, str]) -> bytes:
    """A response head, with these headers and no other."""
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


STREAM: Final = head(200, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"))
NDJSON: Final = head(200, ("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked"))


def reply(body: Any, status: int = 200, *headers: tuple[str, str], content_type: str = "application/json") -> bytes:
    """A whole response with a length; `body` is sent as JSON unless it is str or bytes."""
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else _compact(body)).encode()
    return head(status, ("Content-Type", content_type), ("Content-Length", str(len(raw))), *headers) + raw


def sse(*payloads: Json | str) -> bytes:
    """One event for each payload; a str (as `DONE`) goes out as it is."""
    return "".join(f"data: {p if isinstance(p, str) else _compact(p)}\n\n" for p in payloads).encode()


def ndjson(*values: Json) -> bytes:
    """One line for each value."""
    return "".join(_compact(value) + "\n" for value in values).encode()


def chunked(data: bytes) -> bytes:
    """`data` as one chunk of the transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*payloads: Json | str) -> list[bytes]:
    """A whole streamed answer as a script: the head, one chunk for each event, the last chunk with the last event."""
    *early, last = (chunked(sse(payload)) for payload in payloads)
    return [STREAM, *early, last + LAST]


def cut(data: bytes, *offsets: int) -> list[bytes]:
    """`data` in pieces, cut at these offsets."""
    edges = [0, *offsets, len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


def bytewise(data: bytes) -> list[bytes]:
    """`data` byte by byte."""
    return cut(data, *range(1, len(data)))


def delta(_finish: str | None = None, /, index: int = 0, **members: Any) -> Json:
    """A chunk of the stream whose delta has these members."""
    choice = {"index": index, "delta": members, "logprobs": None, "finish_reason": _finish}
    return _chunk([choice])


def role(index: int = 0) -> Json:
    return delta(index=index, role="assistant", content="")


def text(content: str, index: int = 0) -> Json:
    return delta(index=index, content=content)


def reasoning(content: str, index: int = 0) -> Json:
    return delta(index=index, reasoning_content=content)


def tool(number: int, arguments: str = "", *, id: str = "", name: str = "") -> Json:
    """A piece of the tool call of that number; the first piece of a call has `id` and `name`."""
    call: Json = {"index": number, "function": {"arguments": arguments}}
    if id:
        call = {
            "index": number,
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
    return delta(tool_calls=[call])


def finish(reason: str = "stop", index: int = 0) -> Json:
    return delta(reason, index=index)


def usage(prompt: int = 9, completion: int = 2) -> Json:
    """The chunk that has the usage and no choice."""
    return _chunk([]) | {"usage": _usage(prompt, completion)}


def error(message: str = "upstream trouble", *, type: str = "server_error", code: str | None = None) -> Json:
    """OpenAI's error object, for a body or in-band."""
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def completion(content: str | None = "Hello", reason: str = "stop", **message: Any) -> Json:
    """An answer in one piece."""
    said = {"role": "assistant", "content": content, "refusal": None} | message
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": reason}
    return _chunk([choice]) | {"object": "chat.completion", "usage": _usage(9, 2)}


def line(content: str = "", *, done: str | None = None, **message: Any) -> Json:
    """A line of Ollama's `/api/chat`; `done` is the reason, on the last one."""
    value: Json = {"model": MODEL, "created_at": "2025-10-09T08:53:20Z"}
    value |= {"message": {"role": "assistant", "content": content} | message, "done": done is not None}
    if done is not None:
        value |= {"done_reason": done, "prompt_eval_count": 9, "eval_count": 2, "total_duration": 1_000_000}
    return value


def payloads(body: bytes) -> list[Any]:
    """The other way: what the events of a strictly framed SSE body hold, JSON decoded, `DONE` as it is.

    Strictly: every event is `data: `, one line, and a blank line; an AssertionError says what is not.
    """
    *events, rest = body.decode().split("\n\n")
    assert rest == "", f"no blank line after the last event: {rest!r}"
    assert all(event.startswith("data: ") and "\n" not in event for event in events), f"not strict: {events!r}"
    return [event[6:] if event[6:] == DONE else json.loads(event[6:]) for event in events]


def content(chunks: Iterable[Any], index: int = 0) -> str:
    """The text that these chunks have for one choice, joined."""
    choices = (choice for chunk in chunks if chunk != DONE for choice in chunk.get("choices", ()))
    return "".join(c["delta"].get("content") or "" for c in choices if c["index"] == index)


def _chunk(choices: list[Json]) -> Json:
    kind = "chat.completion.chunk"
    return {"id": ID, "object": kind, "created": CREATED, "model": MODEL, "choices": choices}


def _usage(prompt: int, completion: int) -> Json:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
