"""Event streams: of lines that mean something, of any lines, and of anything."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .trouble import mutated, one, some

__all__ = ["PIECES", "stream"]

_ENDS = (b"\n", b"\n", b"\n", b"\r\n", b"\r")
_LINES = (
    *(b"data: a", b"data:b", b"data", b"data:", b"data:  c ", b'data: {"a":1}', b"data: [DONE]", b"data: \xd0\xb6\xff"),
    *(b"data: d\0", b"event: x", b"event:", b"event", b"id: 1", b"id", b"id: 2\0", b"id:\xd0\x96\xff", b"retry: 10"),
    *(
        b"retry: x",
        b"retry:999999999999999",
        b"retry: 01234567890123456",
        b"retry",
        b": c",
        b":",
        b":d: e",
        b"error: f",
    ),
    *(b"foo: 1", b"data : x", b" data: y", b"DATA: z", b"dat", b"i", b"\xef\xbb\xbfdata: m", b"", b"", b"", b"", b""),
)
_PLAIN = (b'data: {"id":"c1","choices":[{"delta":{"content":"x"}}]}\n\n', b'data: {"a":"\xd0\xb6"}\n\n', b"data: t\n\n")

PIECES: Sequence[bytes] = (*_LINES, *_PLAIN, *_ENDS, b"\n\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xe2\x82", b"x" * 30)
"""What `strategies` makes streams of."""


def stream(choose: Random) -> bytes:
    """One stream."""
    kind = choose.random()
    mark = b"\xef\xbb\xbf" if choose.random() < 0.1 else b""
    if kind < 0.2:  # what servers send, with something in it that they do not
        return mark + mutated(choose, some(choose, _PLAIN, 8))
    if kind < 0.8:
        end = one(choose, _ENDS) if kind < 0.5 else b""
        lines = choose.choices(_LINES, k=4 + int(choose.random() * 60))
        data = b"".join([line + (end or one(choose, _ENDS)) for line in lines])
        return mark + (mutated(choose, data) if kind > 0.35 else data)
    return mark + some(choose, PIECES, 40)
