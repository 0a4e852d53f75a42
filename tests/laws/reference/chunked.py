"""HTTP/1.1's chunked coding, as the grammar of RFC 9112, section 7.1 is written, one byte after the other.

    chunked-body = *chunk last-chunk trailer-section CRLF
    chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF

Narrower than the RFC: 16 digits at most, extensions are any text after a `;`, the value of a trailer is any text,
and there are limits on a size line and on the trailers, their line ends included.
"""

from __future__ import annotations

from .told import NEVER, Fault, Telling, Told

__all__ = ["decode"]

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_HEX = frozenset(b"0123456789abcdefABCDEF")


def _is_text(byte: int) -> bool:
    return byte == 0x09 or (byte >= 0x20 and byte != 0x7F)


class _Reader:
    """The input, and the byte that must not be reached."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.limited = (NEVER, "")

    def limit(self, size: int, kind: str) -> None:
        self.limited = (self.at + size, kind)

    def next(self) -> int:
        """The next byte. Raises Fault where the input or the limit ends."""
        edge, kind = self.limited
        if self.at >= len(self.data):
            raise Fault("incomplete_body", len(self.data), len(self.data) + 1)
        if self.at >= edge:
            raise Fault(kind, edge, edge + 1)
        return self.data[self.at]

    def expect(self, byte: int, kind: str) -> None:
        if self.next() != byte:
            raise self.wrong(kind)
        self.at += 1

    def wrong(self, kind: str) -> Fault:
        return Fault(kind, self.at, self.at + 1)


def decode(data: bytes, max_line: int, max_trailers: int) -> Told:
    """The body's bytes; state: whether it ended, the trailers, what follows it."""
    telling, reader = Telling(b""), _Reader(data)
    trailers: list[tuple[bytes, bytes]] = []
    try:
        while size := _size_line(reader, max_line):
            reader.limited = (NEVER, "")
            for _ in range(size):
                byte = reader.next()
                reader.at += 1
                telling.add(reader.at, bytes([byte]))
            reader.expect(0x0D, "bad_chunk_end")
            reader.expect(0x0A, "bad_chunk_end")
        reader.limit(max_trailers, "trailers_too_large")
        while trailer := _trailer(reader):
            trailers.append(trailer)
    except Fault as fault:
        return telling.told(len(data), fault, (False, [], b""))
    return telling.told(len(data), None, (True, trailers, data[reader.at :]))


def _size_line(reader: _Reader, max_line: int) -> int:
    reader.limit(max_line, "chunk_line_too_long")
    start = reader.at
    while reader.next() in _HEX:
        if reader.at - start >= 16:
            raise reader.wrong("bad_chunk_size")
        reader.at += 1
    digits = reader.data[start : reader.at]
    if not digits or reader.next() not in b";\r \t":
        raise reader.wrong("bad_chunk_size")
    if reader.next() in b" \t":
        while reader.next() in b" \t":
            reader.at += 1
        if reader.next() != 0x3B:
            raise reader.wrong("bad_chunk_size")
    if reader.next() == 0x3B:
        reader.at += 1
        while _is_text(reader.next()):
            reader.at += 1
    reader.expect(0x0D, "bad_chunk_extension")
    reader.expect(0x0A, "bad_chunk_line")
    return int(digits, 16)


def _trailer(reader: _Reader) -> tuple[bytes, bytes] | None:
    """One trailer; None for the empty line that ends them."""
    start = reader.at
    while reader.next() in _TOKEN:
        reader.at += 1
    name = reader.data[start : reader.at]
    if not name:
        reader.expect(0x0D, "bad_trailer")
        reader.expect(0x0A, "bad_trailer")
        return None
    reader.expect(0x3A, "bad_trailer")
    start = reader.at
    while _is_text(reader.next()):
        reader.at += 1
    value = reader.data[start : reader.at]
    reader.expect(0x0D, "bad_trailer")
    reader.expect(0x0A, "bad_trailer")
    return name, value.strip(b" \t")
