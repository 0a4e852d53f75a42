"""JSON as upstreams send it and as clients need it: lenient in, strict out.

`loads` takes what a real server sends (bad UTF-8, NaN, lone surrogates) and says whether the same bytes may
go on to a client. `dumps` and `quote` write what every client reads: one line, UTF-8, no NaN, no lone
surrogate, and U+2028, U+2029 and U+0085 escaped, because readers that split lines the Unicode way would
cut a document there.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from typing import Any

__all__ = ["depth", "dumps", "has_surrogate", "loads", "loads_body", "quote", "replaced", "scrub"]

_writer = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False)
_plain_encode = _writer.encode
_breaks = re.compile("[\u2028\u2029\x85]")
_surrogate = re.compile("[\ud800-\udfff]")
# A string, or what there is of it: it cannot fail after its first quote, so no text is looked at twice.
_string = re.compile(rb'"[^"\\]*+(?:\\.?[^"\\]*+)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class _Constant(Exception):
    """NaN or Infinity was met."""


def _no_constant(name: str) -> None:
    raise _Constant


_strict = json.JSONDecoder(parse_constant=_no_constant).decode
_lenient = json.JSONDecoder(parse_constant=lambda name: None).decode


def loads(raw: bytes, max_depth: int = 128, *, one_line: bool = True) -> tuple[Any, bool]:
    """The value, and whether `raw` can be passed on as it is. Raises ValueError where there is no JSON.

    Invalid UTF-8 is replaced, NaN and Infinity are read as null; then it cannot, nor where there are lone
    surrogates, or, if `one_line` is asked for, anything that some reader takes for a line break.
    """
    clean = True
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "replace")
        clean = False
    if raw.count(b"[") + raw.count(b"{") > max_depth and depth(raw) > max_depth:
        raise ValueError(f"the JSON is nested deeper than {max_depth}")
    try:
        value = _strict(text)
    except _Constant:
        value, clean = _lenient(text), False
    if clean and one_line and (b"\n" in raw or (not raw.isascii() and _breaks.search(text))):
        clean = False
    if clean and b"\\u" in raw and has_surrogate(_plain(value)):
        clean = False
    return value, clean


def replaced(raw: bytes) -> int:
    """How many U+FFFD `loads` puts in for bytes that are no UTF-8."""
    return raw.decode("utf-8", "replace").count("\ufffd") - raw.count(b"\xef\xbf\xbd")


def loads_body(raw: bytes, max_depth: int = 128) -> tuple[Any, bool]:
    """`loads` for a whole body, which may have many lines. A line break inside of a string, which is no JSON, is read
    as the space that `runs` puts in its place, so that a body is judged alike wherever it is read."""
    try:
        return loads(raw, max_depth, one_line=False)
    except ValueError:
        return loads(raw.replace(b"\r", b" ").replace(b"\n", b" "), max_depth)[0], False


def depth(raw: bytes) -> int:
    """How deep the brackets of a JSON text are nested, without recursion and in one pass."""
    level = deepest = 0
    for bracket in _string.sub(b"", raw).translate(None, _NOT_BRACKETS):
        if bracket in b"[{":
            level += 1
            deepest = max(deepest, level)
        else:
            level -= 1
    return deepest


def dumps(value: Any) -> bytes:
    """The value as JSON on one line. Numbers beyond a float's range become null."""
    return _safe(_plain(value))


def quote(text: str) -> bytes:
    """A string as JSON."""
    return _safe(encode_basestring(text))


def has_surrogate(text: str) -> bool:
    """Whether there is half of a surrogate pair in `text`."""
    return not text.isascii() and _surrogate.search(text) is not None


def scrub(text: str) -> str:
    """`text` with halves that stand side by side joined, and lone ones replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _plain(value: Any) -> str:
    try:
        return _plain_encode(value)
    except ValueError:
        return _plain_encode(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _safe(text: str) -> bytes:
    if text.isascii():
        return text.encode()
    if _breaks.search(text):
        text = _breaks.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return scrub(text).encode()
