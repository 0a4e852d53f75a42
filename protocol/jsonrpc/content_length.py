"""Content-Length framing, as the base protocol of LSP has it: a header, an empty line, and so many bytes.

A header is lines that end in CRLF, each a name, a colon and a value: names in any case, fields in any order, white
space around the value as HTTP has it. `Content-Length` comes exactly once and is ASCII digits only; `Content-Type`
may come, and what charset it names must be UTF-8 ("utf8" too, which old clients write); others are ignored.

A header that breaks a rule is a fault, for nobody knows where the next one begins; it is found with the line end
that completes the bad line, so that a peer which speaks another framing learns at once. The limits count raw bytes.

Cost: a byte of a body is copied in and out, one of a header is searched once.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits

from ..errors import LimitExceeded, RemoteProtocolError
from ..machine import Machine

__all__ = ["ContentLengthDecoder", "encode_content_length"]

_NAME = (ascii_letters + digits + "!#$%&'*+-.^_`|~").encode()  # a token of HTTP
_TEXT = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])  # no control characters but the tab
_CHARSET = re.compile(rb";[ \t]*charset[ \t]*=[ \t]*\"?([^\";\t ]*)", re.IGNORECASE)
_MAX_DIGITS = 18


class ContentLengthDecoder(Machine[list[bytes]]):
    """Bytes to message bodies.

    Faults: `bad_header`, `bad_content_length`, `bad_content_type`, `missing_content_length`; at `close` within a
    message `incomplete`; LimitExceeded: `header_too_large` (more than `max_header_bytes` through the empty line) and
    `body_too_large`. The defaults: no header in use has 200 bytes; a body is what a frame may be elsewhere.
    Held back: an unfinished message.
    """

    __slots__ = ("_body", "_held", "_length", "_line", "_max_body", "_max_header", "_offset", "_searched")

    def __init__(self, max_header_bytes: int = 4 * 1024, max_body_bytes: int = 16 * 1024 * 1024) -> None:
        super().__init__()
        self._max_header = max_header_bytes
        self._max_body = max_body_bytes
        self._held = bytearray()  # from where the header or the body begins
        self._offset = 0  # of the first byte held
        self._length: int | None = None  # what the header has said so far
        self._body: int | None = None  # the length of the body that comes now; None within a header
        self._line = 0  # where in `_held` the current line begins
        self._searched = 0  # up to where there is no LF

    def _take(self, chunk: bytes) -> list[bytes]:
        held = self._held
        held += chunk
        bodies: list[bytes] = []
        while (length := self._wanted()) is not None and len(held) >= length:
            bodies.append(bytes(held[:length]))
            self._drop(length)
            self._body = None
        return bodies

    def _end(self) -> list[bytes]:
        if self._held or self._body is not None:
            self._refuse("the input ended within a message", "incomplete", len(self._held))
        return []

    def _drop(self, count: int) -> None:
        del self._held[:count]  # which moves nothing: a bytearray remembers where it begins
        self._offset += count

    def _wanted(self) -> int | None:
        """The length of the body that begins `_held`; None while its header is not whole."""
        if self._body is None and self._header():
            self._drop(self._searched)
            self._line = self._searched = 0
            self._body, self._length = self._length, None
        return self._body

    def _header(self) -> bool:
        """Take the lines that are there, `_searched` being their end; whether the header is whole."""
        held = self._held
        while self.fault is None:
            end = held.find(b"\n", self._searched, self._max_header) + 1
            if not end:
                self._searched = len(held)
                if len(held) > self._max_header:
                    self._exceed("the header", "header_too_large", self._max_header, self._max_header)
                return False
            line = bytes(held[self._line : end])
            if line == b"\r\n":
                self._searched = end
                return self._is_whole()
            self._field(line)
            self._line = self._searched = end
        return False

    def _is_whole(self) -> bool:
        if self._length is None:
            self._refuse("no Content-Length", "missing_content_length", self._line)
        return self.fault is None

    def _field(self, line: bytes) -> None:
        """Judge one line, its line end included, and keep what it says."""
        colon = len(line) - len(line.lstrip(_NAME))
        end = len(line) - len(line[colon + 1 :].lstrip(_TEXT))
        name, value = line[:colon].lower(), line[colon + 1 : end].strip(b" \t")
        place = self._line + colon + 1
        if not name or line[colon] != 0x3A:
            self._refuse("not a header field", "bad_header", self._line + colon)
        elif line[end:] != b"\r\n":
            self._refuse("not a header field", "bad_header", self._line + end)
        elif name == b"content-length":
            self._set_length(value, place)
        elif name == b"content-type":
            self._check_charset(value, place)

    def _set_length(self, value: bytes, place: int) -> None:
        count = value.lstrip(b"0") or b"0"
        if self._length is not None:
            self._refuse("a second Content-Length", "bad_content_length", self._line)
        elif not value.isdigit():  # of bytes: ASCII digits only
            self._refuse("the Content-Length is not one number", "bad_content_length", place)
        elif len(count) > _MAX_DIGITS or int(count) > self._max_body:
            self._exceed("the body", "body_too_large", self._max_body, place)
        else:
            self._length = int(count)

    def _check_charset(self, value: bytes, place: int) -> None:
        charset = _CHARSET.search(value)
        if charset and charset[1].lower() not in (b"utf-8", b"utf8"):
            self._refuse("the charset is not UTF-8", "bad_content_type", place)

    def _refuse(self, message: str, kind: str, place: int) -> None:
        self.fault = RemoteProtocolError(message, kind=kind, offset=self._offset + place)
        self._held.clear()

    def _exceed(self, what: str, kind: str, limit: int, place: int) -> None:
        self.fault = LimitExceeded(
            f"{what} is larger than {limit} bytes", kind=kind, limit=limit, offset=self._offset + place
        )
        self._held.clear()


def encode_content_length(body: bytes) -> bytes:
    """`body` with its header."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
