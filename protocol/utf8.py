"""Bytes to text, whatever the cuts: UTF-8 as the Encoding Standard (WHATWG) and CPython decode it.

A chunk may end inside a character. The bytes of a character that may still become whole are held back (at
most three), everything before them is decoded by one C call. An ill-formed sequence becomes one U+FFFD per
"maximal subpart" (Unicode 15, section 3.9, best practice), so the text does not depend on the cut. A byte
order mark is text like any other here: it is kept.
"""

from __future__ import annotations

import re
from typing import Literal

from .errors import RemoteProtocolError
from .machine import Chunk, Machine

__all__ = ["Decoder", "boundary"]

# Unicode 15, table 3-7, "Well-Formed UTF-8 Byte Sequences", cut short: what may still become a character.
_UNFINISHED = re.compile(
    rb"(?:[\xc2-\xdf]"
    rb"|\xe0[\xa0-\xbf]?|[\xe1-\xec\xee\xef][\x80-\xbf]?|\xed[\x80-\x9f]?"
    rb"|\xf0(?:[\x90-\xbf][\x80-\xbf]?)?|[\xf1-\xf3][\x80-\xbf]{0,2}|\xf4(?:[\x80-\x8f][\x80-\xbf]?)?"
    rb")\Z"
)
_REPLACEMENT = "\ufffd"


def boundary(data: Chunk) -> int:
    """Length of the longest prefix of `data` that ends on a character boundary.

    What follows it are the bytes of a character that is not finished; bytes that can never become a
    character are not waited for.
    """
    unfinished = _UNFINISHED.search(data[-3:])
    return len(data) - (len(unfinished[0]) if unfinished else 0)


class Decoder(Machine[str]):
    """UTF-8 in any cut to `str`.

    `errors="replace"` puts U+FFFD in the place of what is ill-formed and counts it in `.replaced`;
    `errors="strict"` makes it a fault (kind `invalid_utf8`) whose `offset` is where the ill-formed sequence
    begins. Held back: the bytes of an unfinished character.
    """

    __slots__ = ("_held", "_offset", "_strict", "replaced")

    _empty = str

    def __init__(self, errors: Literal["replace", "strict"] = "replace") -> None:
        super().__init__()
        if errors not in ("replace", "strict"):
            raise ValueError(f"errors must be 'replace' or 'strict', not {errors!r}")
        self.replaced = 0
        """How many U+FFFD stand for ill-formed bytes; those that the peer wrote itself are not counted."""
        self._strict = errors == "strict"
        self._held = b""
        self._offset = 0

    def _take(self, chunk: bytes) -> str:
        data = self._held + chunk if self._held else chunk
        whole = boundary(data)
        self._held = data[whole:]
        return self._decode(data[:whole])

    def _end(self) -> str:
        held, self._held = self._held, b""
        return self._decode(held)

    def _decode(self, data: bytes) -> str:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as bad:
            if self._strict:
                self._held = b""
                self.fault = RemoteProtocolError(
                    f"invalid UTF-8: {bad.reason}", kind="invalid_utf8", offset=self._offset + bad.start
                )
                return data[: bad.start].decode("utf-8")
            text = data.decode("utf-8", "replace")
            # EF is never a continuation byte, so EF BF BD always is a U+FFFD that the peer wrote.
            self.replaced += text.count(_REPLACEMENT) - data.count(b"\xef\xbf\xbd")
        self._offset += len(data)
        return text
