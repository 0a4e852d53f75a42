"""What a body really is: SSE, NDJSON or one JSON document. The bytes decide, the header is only a hint.

Servers send JSON where a stream was asked for, streams where none was, and the wrong type with either.
Leading white space is no evidence (some servers send empty lines while a request waits). What begins like a
line of SSE is SSE. What begins like a JSON value is judged by its first line: a whole value is NDJSON, so that
the first token of an NDJSON stream is not late; a part of one is a JSON document. Where the header says JSON,
a whole value is a document unless another one begins behind it.

Cost: each byte is looked at once, and the first line of what may be NDJSON is parsed once.
"""

from __future__ import annotations

import re
from typing import Literal

from .errors import RemoteProtocolError
from .machine import Machine
from .ndjson import parse

__all__ = ["Detector", "Kind"]

Kind = Literal["sse", "ndjson", "json"]

_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(rb"[ \t\r\n]*")
_SSE_NAMES = (b"data", b"event", b"id", b"retry")
_SSE_LINE = re.compile(rb":|(?:data|event|id|retry)[:\r\n]")
_JSON_BEGINS = b'{["-0123456789'  # and t, f, n, which other things begin with as well


def _hinted(content_type: str | None) -> Kind | None:
    """What the media type says, if it says anything."""
    media = (content_type or "").partition(";")[0].strip().lower()
    if media == "text/event-stream":
        return "sse"
    if media.endswith(("ndjson", "jsonl", "jsonlines", "json-lines", "json-seq", "stream+json")):
        return "ndjson"
    if media.endswith(("/json", "+json")):
        return "json"
    return None


class Detector(Machine["Kind | None"]):
    """Looks at the beginning of a body: `feed` and `close` return what it is, or None while that is open.

    `.buffered` is all that was fed until then; it goes to the decoder that is chosen, and later chunks go
    there directly. At most `max_bytes` are looked at (three at least, which a byte order mark has), then it is a JSON
    document, or what the header says. An empty body is nothing: None.
    """

    __slots__ = ("_first", "_held", "_hint", "_limit", "_second", "verdict")

    _empty = type(None)

    def __init__(self, content_type: str | None = None, *, max_bytes: int = 16 * 1024 * 1024) -> None:
        super().__init__()
        self.verdict: Kind | None = None
        """What `feed` and `close` returned last."""
        self._hint = _hinted(content_type)
        self._limit = max(max_bytes, len(_BOM))
        self._held = bytearray()
        self._first = 0  # where the first byte that counts is, or is to be looked for
        self._second = 0  # the same for what follows a whole first value; 0 while there is none

    @property
    def buffered(self) -> bytes:
        """What was fed until the verdict fell, its chunk included."""
        return bytes(self._held)

    def _take(self, chunk: bytes) -> Kind | None:
        if self.verdict is None:
            before = len(self._held)
            self._held += chunk
            self.verdict = self._judge(before)
            if self.verdict is None and len(self._held) > self._limit:
                self.verdict = self._last_word()
        return self.verdict

    def _end(self) -> Kind | None:
        if self.verdict is None and self._first < len(self._held):
            self.verdict = self._last_word()
        return self.verdict

    def _judge(self, before: int) -> Kind | None:
        """What the held bytes show; those up to `before` were looked at already."""
        held, limit = self._held, self._limit
        if not self._first:
            if _BOM.startswith(held[:3]) and len(held) < len(_BOM):
                return None
            self._first = len(_BOM) * held.startswith(_BOM)
        first = self._first = self._skip_space(self._first)
        begin = held[first : min(first + len("event") + 1, limit)]
        if _SSE_LINE.match(begin):
            return "sse"
        if any(name.startswith(begin) for name in _SSE_NAMES):
            return None
        if not self._second:
            end = held.find(b"\n", max(first, before), limit)
            if end < 0:
                return None
            if not _is_value(bytes(held[first:end])):
                return "json" if begin[0] in _JSON_BEGINS else self._last_word()
            if self._hint != "json":
                return "ndjson"
            self._second = end + 1
        second = self._second = self._skip_space(self._second)
        if second >= min(len(held), limit):
            return None
        return "ndjson" if held[second] in _JSON_BEGINS else "json"

    def _skip_space(self, start: int) -> int:
        found = _SPACE.match(self._held, start, self._limit)
        return found.end() if found else start

    def _last_word(self) -> Kind:
        """The bytes leave it open: the header decides, but what begins like JSON is no SSE."""
        if self._hint is None or (self._hint == "sse" and self._held[self._first] in _JSON_BEGINS):
            return "json"
        return self._hint


def _is_value(line: bytes) -> bool:
    try:
        parse(line)
    except RemoteProtocolError:
        return False
    return True
