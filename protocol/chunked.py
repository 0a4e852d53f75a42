"""HTTP/1.1's chunked transfer coding (RFC 9112, section 7.1), strictly.

    chunked-body = *chunk last-chunk trailer-section CRLF
    chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
    chunk-size   = 1*HEXDIG
    chunk-ext    = *( BWS ";" BWS chunk-ext-name [ ... ] )
    last-chunk   = 1*("0") [ chunk-ext ] CRLF

Whatever two parsers may read in two ways is refused: a bare LF or CR, signs, underscores, `0x`, white space
around the size but before an extension, more digits than 16, control characters in extensions. Extensions are
checked, bounded and dropped; trailers are kept apart in `.trailers` and never merged into anything.

The framing is a table: in each state a run of bytes is fine, and one byte more leads on. A chunk whose
size line is plain goes past the table, and costs one match and one slice.
"""

from __future__ import annotations

import re

from .errors import LimitExceeded, RemoteProtocolError
from .machine import Chunk, Machine

__all__ = ["LAST", "Decoder", "encode"]

LAST = b"0\r\n\r\n"
"""The end of a chunked body without trailers."""

_MAX_DIGITS = 16
_NO_EDGE = 1 << 80

# States, each named for what comes next.
_SIZE, _BLANK, _EXT, _SIZE_LF, _DATA, _DATA_CR, _DATA_LF, _NAME, _VALUE, _VALUE_LF, _END_LF, _DONE = range(12)

_TEXT = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_RUNS = {
    _SIZE: re.compile(rb"[0-9A-Fa-f]*"),
    _BLANK: re.compile(rb"[\t ]*"),
    _EXT: _TEXT,
    _NAME: re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*"),
    _VALUE: _TEXT,
}
_NEXT = {
    _SIZE: {b"\r": _SIZE_LF, b";": _EXT, b" ": _BLANK, b"\t": _BLANK},
    _BLANK: {b";": _EXT},
    _EXT: {b"\r": _SIZE_LF},
    _SIZE_LF: {b"\n": _DATA},
    _DATA_CR: {b"\r": _DATA_LF},
    _DATA_LF: {b"\n": _SIZE},
    _NAME: {b":": _VALUE, b"\r": _END_LF},
    _VALUE: {b"\r": _VALUE_LF},
    _VALUE_LF: {b"\n": _NAME},
    _END_LF: {b"\n": _DONE},
}
_KINDS = {
    _SIZE: "bad_chunk_size",
    _BLANK: "bad_chunk_size",
    _EXT: "bad_chunk_extension",
    _SIZE_LF: "bad_chunk_line",
    _DATA_CR: "bad_chunk_end",
    _DATA_LF: "bad_chunk_end",
}  # all others: bad_trailer
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")


class Decoder(Machine[list[bytes]]):
    """A chunked body to its pieces, which come as they come and are not joined.

    `max_chunk_line` bounds a size line and `max_trailer_bytes` the trailer section, line ends included. Faults
    are of kind `bad_chunk_*`, `bad_trailer`, `chunk_line_too_long`, `trailers_too_large`, and
    `incomplete_body` from a `close` before the end. Held back: a size line or trailer that is not finished.
    """

    __slots__ = (
        "_edge",
        "_left",
        "_max_line",
        "_max_trailers",
        "_name",
        "_offset",
        "_state",
        "_text",
        "done",
        "trailers",
        "unused",
    )

    def __init__(self, max_chunk_line: int = 1024, max_trailer_bytes: int = 16 * 1024) -> None:
        super().__init__()
        self.trailers: list[tuple[bytes, bytes]] = []
        """Names as they came, values without white space around them."""
        self.unused = b""
        """What follows the body."""
        self.done = False
        """Whether the body has ended."""
        self._max_line = max_chunk_line
        self._max_trailers = max_trailer_bytes
        self._state = _SIZE
        self._text = bytearray()  # of the size, name or value that is being read
        self._name = b""
        self._left = 0  # of the chunk's data
        self._offset = 0  # of the chunk that is being fed
        self._edge = max_chunk_line  # the offset that the line, or the trailers, must not reach

    def feed(self, data: Chunk) -> list[bytes]:
        # One plain chunk and all of it, as tokens come: it leaves nothing to remember.
        if self._state == _SIZE and not self._text and not self._closed and type(data) is bytes:
            line = _PLAIN_SIZE.match(data)
            if line is not None and line.end() <= self._max_line and data.endswith(b"\r\n") and self.fault is None:
                start, stop = line.end(), len(data) - 2
                if 0 < stop - start == int(line[1], 16):
                    self._offset += len(data)
                    self._edge = self._offset + self._max_line
                    return [data[start:stop]]
        return super().feed(data)

    def _take(self, chunk: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        at = 0
        while at < len(chunk) and self.fault is None and self._state != _DONE:
            if self._state == _DATA:
                at = self._data(chunk, at, pieces)
            elif self._state == _SIZE and not self._text and (after := self._plain(chunk, at, pieces)) > at:
                at = after
            else:
                at = self._step(chunk, at)
        if self._state == _DONE:
            self.unused += chunk[at:]
        self._offset += len(chunk)
        return pieces

    def _plain(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take the chunks from `at` on whose size lines are plain; return where anything else begins."""
        while line := _PLAIN_SIZE.match(data, at):
            start = line.end()
            stop = start + int(line[1], 16)
            if start == stop or start - at > self._max_line:
                break
            if data[stop : stop + 2] != b"\r\n":  # not all of it is there
                self._state, self._left, self._edge = _DATA, stop - start, _NO_EDGE
                return start
            pieces.append(data[start:stop])
            at = stop + 2
        self._edge = self._offset + at + self._max_line
        return at

    def _data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take what is there of a chunk's data, and its end if that is there too."""
        stop = min(at + self._left, len(data))
        pieces.append(data[at:stop])
        self._left -= stop - at
        if self._left:
            return stop
        if data[stop : stop + 2] != b"\r\n":
            self._state = _DATA_CR
            return stop
        self._state = _SIZE
        self._edge = self._offset + stop + 2 + self._max_line
        return stop + 2

    def _step(self, data: bytes, at: int) -> int:
        """One row of the table: a run of bytes and the byte after it. Returns where the next step begins."""
        state, run = self._state, _RUNS.get(self._state)
        found = run.match(data, at) if run else None
        stop = found.end() if found else at
        after = stop + (stop < len(data))
        spare = _MAX_DIGITS - len(self._text) if state == _SIZE else _NO_EDGE
        if stop - at > spare and self._offset + at + spare < self._edge:
            self._refuse("a chunk size has too many digits", "bad_chunk_size", at + spare)
        elif self._offset + after > self._edge:
            self._exceed()
        else:
            if state not in (_BLANK, _EXT):
                self._text += data[at:stop]
            if stop < len(data):
                self._enter(_NEXT[state].get(data[stop:after]), stop)
        return after

    def _enter(self, state: int | None, at: int) -> None:
        """Go on to `state`, led there by the byte at `at`; None: that byte is not allowed."""
        before = self._state
        if state is None or not self._fits(state):
            self._refuse("chunked coding is malformed", _KINDS.get(before, "bad_trailer"), at)
            return
        self._state = state
        self.done = state == _DONE
        if before == _SIZE:
            self._left = int(self._text, 16)
        elif state == _VALUE:
            self._name = bytes(self._text)
        elif state == _VALUE_LF:
            self.trailers.append((self._name, bytes(self._text).strip(b" \t")))
        if state == _DATA:
            self._edge = _NO_EDGE
            if not self._left:
                self._state = _NAME
                self._edge = self._offset + at + 1 + self._max_trailers
        elif state == _SIZE:
            self._edge = self._offset + at + 1 + self._max_line
        self._text.clear()

    def _fits(self, state: int) -> bool:
        """Whether what was read suits its end: a size and a name are not empty, the trailers' end is."""
        if self._state == _SIZE:
            return bool(self._text)
        return self._state != _NAME or bool(self._text) == (state == _VALUE)

    def _refuse(self, message: str, kind: str, at: int) -> None:
        self.fault = RemoteProtocolError(message, kind=kind, offset=self._offset + at)

    def _exceed(self) -> None:
        if self._state in (_SIZE, _BLANK, _EXT, _SIZE_LF):
            kind, limit = "chunk_line_too_long", self._max_line
        else:
            kind, limit = "trailers_too_large", self._max_trailers
        self.fault = LimitExceeded(
            f"{kind.replace('_', ' ')}: over {limit} bytes", kind=kind, limit=limit, offset=self._edge
        )

    def _end(self) -> list[bytes]:
        if self._state != _DONE:
            self.fault = RemoteProtocolError("the body ended too early", kind="incomplete_body", offset=self._offset)
        return []


def encode(data: Chunk) -> bytes:
    """`data` as one chunk; b"" for no data, since an empty chunk would end the body."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n")) if data else b""
