"""JSON texts, good ones and such as only look so, and lines of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from .trouble import BYTES, mutated, one, some, text

__all__ = ["PIECES", "document", "lines", "value"]

_NUMBERS = (b"0", b"-0", b"1", b"-12", b"1.5", b"1E5", b"1e-400", b"1e400", b"123456789012345678901234567890", b"0.10")
_WRONG = (
    *(b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"-", b"+1", b"1e", b"0x1", b"tru", b"nulll", b"'a'"),
    *(b'"\\x"', b'"\\u12"', b'"\t"', b'"a', b"[1,]", b"{,}", b'{"a"}', b'{"a":}', b"{1:2}", b"[1 2]", b"1 2", b"\xff"),
)
_STRINGS = (b'""', b'"a"', b'"\\ud83d\\ude00"', b'"\\ud83d"', b'"\\ude00\\ud83d"', b'"\\u0041\\n\\/"', b'"\xd0\xb6"')
_SPACE = (b"", b"", b"", b"", b" ", b"\t", b"\r", b"  ")

PIECES: Sequence[bytes] = (
    *_NUMBERS,
    *_WRONG,
    *_STRINGS,
    *_SPACE,
    *b"{ } [ ] : , true false null".split(),
    b"\n",
    b"\r\n",
)


def value(choose: Random, level: int = 3) -> Any:
    """A value that JSON can carry."""
    what = choose.random()
    if level and what < 0.2:
        return [value(choose, level - 1) for _ in range(int(choose.random() * 4))]
    if level and what < 0.45:
        return {text(choose, 1): value(choose, level - 1) for _ in range(int(choose.random() * 4))}
    if what < 0.7:
        return text(choose)
    return choose.choice([None, True, False, 0, -1, 7, 1.5, 1e300, -0.0, 10**30, int(choose.random() * 1e6)])


def document(choose: Random, level: int = 3) -> bytes:
    """A text, nearly always good."""
    what = choose.random()
    if what < 0.3:
        return json.dumps(value(choose), ensure_ascii=choose.random() < 0.5).encode("utf-8", "surrogatepass")
    if level and what < 0.5:
        items = [document(choose, level - 1) for _ in range(int(choose.random() * 4))]
        return _gap(choose, b"[") + (_gap(choose, b",").join(items)) + b"]"
    if level and what < 0.75:
        items = [
            one(choose, _STRINGS) + _gap(choose, b":") + document(choose, level - 1)
            for _ in range(int(choose.random() * 4))
        ]
        return _gap(choose, b"{") + (_gap(choose, b",").join(items)) + b"}"
    if what < 0.77:
        deep = int(choose.random() * 40)
        return b"[" * deep + b"1" + b"]" * deep
    if what < 0.8:
        return one(choose, _WRONG)
    return one(choose, _NUMBERS if what < 0.9 else _STRINGS)


def _gap(choose: Random, mark: bytes) -> bytes:
    return one(choose, _SPACE) + mark + one(choose, _SPACE)


def lines(choose: Random) -> bytes:
    """NDJSON."""
    what = choose.random()
    if what < 0.15:
        return some(choose, (*PIECES, *BYTES), 60)
    ends = (b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b" \r\n", b"\r")
    data = b"".join([document(choose) + one(choose, ends) for _ in range(1 + int(choose.random() * 12))])
    return mutated(choose, data) if what < 0.7 else data
