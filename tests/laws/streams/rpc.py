"""JSON-RPC: messages, good and bad, alone and in batches, and the framings that carry them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from .json import document, value
from .trouble import BYTES, mutated, one, some, text

__all__ = ["FRAMES", "batch", "content_length", "message"]

_IDS: tuple[Any, ...] = (1, 1, 2, "1", "a", None, 1.0, 1.5, -3, "", True, [1], {}, "\ud800", 10**400)
_HEADERS = (
    *(b"Content-Length: %d\r\n", b"content-length:%d\r\n", b"CONTENT-LENGTH: \t%d \r\n", b"Content-Length: 00%d\r\n"),
    *(
        b"Content-Type: x; charset=utf-8\r\nContent-Length: %d\r\n",
        b'Content-Length: %d\r\nContent-Type: ;charset="utf8"\r\n',
    ),
    *(b"X-Other: y\r\nContent-Length: %d\r\n", b"Content-Length: %d\r\nX:\r\n"),
)
_WRONG_HEADERS = (
    *(b"Content-Length: %d\r\nContent-Length: %d\r\n", b"Content-Length %d\r\n", b"Content-Length: %d\n", b"X: y\r\n"),
    *(
        b"Content-Length: -%d\r\n",
        b"Content-Length:\r\n",
        b" Content-Length: %d\r\n",
        b"Content-Length: 99999999999999%d\r\n",
    ),
    *(
        b"Content-Type: a; charset=latin-1\r\nContent-Length: %d\r\n",
        b"Content-Length : %d\r\n",
        b"\0: x\r\n",
        b": x\r\n",
    ),
)

FRAMES: Sequence[bytes] = (
    *[header % ((3,) * header.count(b"%d")) for header in (*_HEADERS, *_WRONG_HEADERS)],
    *(b"\r\n", b"{ }", b"\r\n{ }", b"\r", b"\n", b"Content-Length: 0\r\n\r\n"),
)


def message(choose: Random) -> Any:
    """One message as a value: a request, a notification, a response, or nearly one."""
    what = choose.random()
    said: dict[str, Any] = {"jsonrpc": "2.0"}
    if what < 0.45:
        said["method"] = text(choose, 1)
        if choose.random() < 0.5:
            said["params"] = value(choose, 2) if choose.random() < 0.3 else [value(choose, 1)]
        if choose.random() < 0.7:
            said["id"] = choose.choice(_IDS)
    elif what < 0.6:
        said |= {"result": value(choose, 2), "id": choose.choice(_IDS)}
    elif what < 0.75:
        error = {
            "code": choose.choice([-32700, -32600, 1, 1.0, True]),
            "message": text(choose),
            "data": value(choose, 1),
        }
        said |= {"error": error, "id": choose.choice(_IDS)}
    else:
        return choose.choice(
            [value(choose), [], {}, 1, None, {"jsonrpc": "2.0"}, {"jsonrpc": "1.0", "method": "a", "id": 1}]
        )
    if choose.random() < 0.1:
        said[choose.choice(["jsonrpc", "id", "method", "params", "result", "error", "other"])] = value(choose, 1)
    if choose.random() < 0.05:
        del said[choose.choice(list(said))]
    return said


def batch(choose: Random) -> bytes:
    """One message, or a batch of them, as bytes; good JSON nearly always."""
    what = choose.random()
    said = message(choose) if what < 0.7 else [message(choose) for _ in range(int(choose.random() * 5))]
    data = json.dumps(said, ensure_ascii=choose.random() < 0.5 or _has_half(said)).encode("utf-8")
    return mutated(choose, data) if what > 0.95 else data


def _has_half(said: Any) -> bool:
    return "\\ud800" in json.dumps(said)


def content_length(choose: Random) -> bytes:
    """Messages in Content-Length framing."""
    parts = []
    for _ in range(1 + int(choose.random() * 4)):
        body = batch(choose) if choose.random() < 0.7 else document(choose)
        header = one(choose, _HEADERS if choose.random() < 0.95 else _WRONG_HEADERS)
        parts.append(header % ((len(body),) * header.count(b"%d")) + b"\r\n" + body)
    data = b"".join(parts)
    what = choose.random()
    if what < 0.05:
        return some(choose, (*FRAMES, *BYTES), 20)
    return mutated(choose, data, (*FRAMES, *BYTES)) if what < 0.3 else data
