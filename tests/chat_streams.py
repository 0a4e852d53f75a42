"""Chat streams as servers send them, and how tests of the dialects read what comes out.

`chunk` and `sse` write upstream bytes; `told` gives an OpenAI stream back as short tuples, after checking the
rules that hold for every byte of it; `relayed` drives a relay with every cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import feeding
from penstock.protocol.relay import Relay, Whole

__all__ = ["DONE", "MULTILINGUAL", "ROLE", "chunk", "drive", "ndjson", "relayed", "sse", "told", "whole"]

DONE = b"data: [DONE]\n\n"
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": "org/model-a"}
ROLE = {"role": "assistant", "content": ""}
MULTILINGUAL = [
    "Hel",
    "lo ",
    "Привет, ",
    "বাংলা ",
    "日本語",
    "한국",
    " é",
    "e\u0301 ",
    "👩‍👩‍👧 ",
    "\ufffd",
    "𝒳",
    "\n",
    '"q" \\',
]


def chunk(delta: Any = None, finish: Any = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """One chunk of OpenAI's own form; `more` are further top-level fields."""
    return {
        **HEAD,
        "choices": [{"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish}],
        **more,
    }


def sse(*objects: Any, done: bool = True) -> bytes:
    """Objects (or raw bytes) as an SSE stream."""
    frames = [item if isinstance(item, bytes) else b"data: " + _json(item) + b"\n\n" for item in objects]
    return b"".join(frames) + (DONE if done else b"")


def ndjson(*objects: Any) -> bytes:
    return b"".join(item if isinstance(item, bytes) else _json(item) + b"\n" for item in objects)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def told(stream: bytes) -> list[Any]:
    """What a client reads: `(index, delta, finish_reason)`, `("usage", ...)`, `("error", code)`, "[DONE]"."""
    out: list[Any] = []
    *events, last = stream.split(b"\n\n")
    assert last == b"", "the stream ends with a blank line"
    heads = set()
    for event in events:
        assert event.startswith(b"data: ")
        text = event[6:].decode()
        assert not set(text) & set("\n\r\u2028\u2029\x85")
        if text == "[DONE]":
            out.append(text)
            continue
        value = json.loads(text, parse_constant=_refuse)
        assert value == json.loads(json.dumps(value).encode()), "no lone surrogates"
        if "error" in value:
            assert list(value) == ["error"]
            assert list(value["error"]) == ["message", "type", "param", "code"]
            out.append(("error", value["error"]["code"]))
            continue
        heads.add((value["id"], value["object"], value["created"], value["model"]))
        assert not {"error", "type", "event", "selected_model_id"} & set(value)
        if not value["choices"]:
            out.append(("usage", value["usage"]))
        out += [(choice["index"], choice["delta"], choice.get("finish_reason")) for choice in value["choices"]]
    assert len(heads) <= 1, "one id, created and model for the whole stream"
    return out


def _refuse(name: str) -> None:
    raise AssertionError(name)


def drive(relay: Relay | Whole, chunks: Iterable[bytes]) -> tuple[Any, ...]:
    """Everything that may not depend on the cut, the bytes joined."""
    out = b"".join([*map(relay.feed, chunks), relay.close()])
    stats = relay.stats
    assert stats.bytes_out == len(out)
    assert relay.ended or relay.failed
    counts = (stats.frames, stats.largest_frame, stats.bytes_in)
    return out, relay.ending, relay.failed, relay.usage, relay.started, counts


def relayed(data: bytes, source: str = "openai", sink: str = "openai", *, splits: int = 400, **options: Any) -> Any:
    """A relay that has eaten `data`, after checking that no cut changes anything; `.out` has its bytes."""
    options = {"id": "chatcmpl-own", "created": 1750000000, "model": "own", **options}
    expected = drive(Relay(source, sink, **options), [data])
    for chunks in feeding.cuts(data, splits=splits):
        found = drive(Relay(source, sink, **options), chunks)
        assert found == expected, f"cut as {chunks!r}"
    return _Eaten(expected, sink)


def whole(data: bytes, source: str = "openai", sink: str = "openai", **options: Any) -> Any:
    """The same for an answer in one piece."""
    options = {"id": "chatcmpl-own", "created": 1750000000, "model": "own", **options}
    expected = drive(Whole(source, sink, **options), [data])
    for chunks in feeding.cuts(data, splits=400):
        assert drive(Whole(source, sink, **options), chunks) == expected, f"cut as {chunks!r}"
    return _Eaten(expected, sink)


class _Eaten:
    """What came of a stream."""

    def __init__(self, found: tuple[Any, ...], sink: str) -> None:
        self.out, self.ending, self.failed, self.usage, self.started, self.counts = found
        self.told = told(self.out) if sink == "openai" and self.out[:1] == b"d" else None
        self.kind = self.ending and str(self.ending)
