"""multipart/form-data (RFC 7578) told by where it stands, so that a body can be passed on and one field changed.

An upload may be large, and what matters of it is small: the model it is for. So nothing of a body is kept or copied
here but the fields that were asked for; the rest are offsets, and whoever has the bytes splices.

Whoever reads the body next must see the same parts, or a field could be smuggled past what was judged here. So
whatever two readers may take in two ways is refused: text before the first or after the last delimiter, the
delimiter's text anywhere but on a line of its own, padding behind it, bare line ends, folded or broken headers,
parameters that are repeated or extended (RFC 2231: some readers take `name*0` for the name), backslashes by which
readers find different ends of a quoted string, encodings of a part, a file where a value is wanted. No client that is
known sends any of these.

Held back: as many bytes as a delimiter has, an unfinished header block, and the wanted values. Cost: one search.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from .errors import RemoteProtocolError
from .machine import Machine

__all__ = ["Part", "Parts", "boundary_of", "content_type"]


class Part(NamedTuple):
    """One part: its value is `body[start:end]`; `value` is that if it was wanted, else None."""

    name: str
    filename: str | None
    start: int
    end: int
    value: bytes | None = None


_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf';[ \t]*({_TOKEN})=(?:"((?:[^"\\\r\n]|\\.)*+)"|({_TOKEN}))[ \t]*')
# RFC 2046, section 5.1.1: up to 70 characters of these, the last one no space.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_IS_TOKEN = re.compile(_TOKEN).fullmatch
_HEADER = re.compile(rf"({_TOKEN}):[ \t]*([\t\x20-\x7e\x80-\U0010ffff]*+)")
_PLAIN_ENCODINGS = ("binary", "8bit", "7bit")

_FIRST, _AFTER, _HEADERS, _VALUE, _OVER = range(5)


def boundary_of(content_type: str) -> bytes:
    """The boundary that the header names. Raises RemoteProtocolError, kind `bad_boundary`.

    Beside it there may be a `charset`, of UTF-8 only: it would say how names are to be read. Whoever passes the body
    on writes the header anew, by `content_type`.
    """
    media, separator, rest = content_type.partition(";")
    found = _parameters(separator + rest) if media.strip().lower() == "multipart/form-data" else None
    said = found or {}
    boundary, charset = said.pop("boundary", ""), said.pop("charset", "utf-8")
    if said or charset.lower() != "utf-8" or not _BOUNDARY.fullmatch(boundary):
        raise RemoteProtocolError("the content type names no boundary as it should", kind="bad_boundary")
    return boundary.encode("ascii")


def content_type(boundary: bytes) -> str:
    """The header that names this boundary, and says nothing else."""
    text = boundary.decode("ascii")
    return f"multipart/form-data; boundary={text}" if _IS_TOKEN(text) else f'multipart/form-data; boundary="{text}"'


def _parameters(text: str) -> dict[str, str] | None:
    """Parameters by their names in lower case; None where they are not well-formed, or leave a doubt."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None:
            return None
        name, value = match[1].lower(), match[3] if match[2] is None else match[2]
        if name in found or ("*" in name and name != "filename*") or _in_doubt(value):
            return None
        found[name] = value
        at = match.end()
    return found


def _in_doubt(value: str) -> bool:
    """Whether readers find different ends of this string: Python's `email` takes the quote behind a last escaped
    backslash for an escaped one, and others know no escapes at all."""
    return "\\" in value and (";" in value or value.endswith("\\"))


class Parts(Machine[list[Part]]):
    """Bytes of a body to its parts, each when its end has come. Of the `wanted` ones the values are kept, and none of
    them may come twice.

    Faults: `bad_delimiter`, `bad_part` (its headers), `repeated_field`, `truncated_body`, and over the limits
    `too_many_parts`, `part_header_too_large`, `field_too_large`.
    """

    def __init__(
        self,
        boundary: bytes,
        wanted: Collection[str] = (),
        *,
        max_parts: int = 256,
        max_header_bytes: int = 8192,
        max_value_bytes: int = 65536,
    ) -> None:
        super().__init__()
        self._delimiter = b"--" + boundary
        self._wanted = wanted
        self._max_parts, self._max_header_bytes, self._max_value_bytes = max_parts, max_header_bytes, max_value_bytes
        self._state = _FIRST
        self._held = bytearray()
        self._searched = 0  # of what is held, for the end of headers
        self._offset = 0  # of what is held
        self._names: list[str] = []
        self._part = Part("", None, 0, 0)
        self._kept: bytearray | None = None

    def _take(self, chunk: bytes) -> list[Part]:
        parts: list[Part] = []
        self._held += chunk
        while self.fault is None and self._step(parts):
            pass
        return parts

    def _end(self) -> list[Part]:
        if self._state != _OVER or bytes(self._held[:3]) not in (b"", b"\r\n"):
            self._refuse("truncated_body", "the body ends before its last delimiter", len(self._held))
        return []

    def _refuse(self, kind: str, message: str, ahead: int = 0) -> bool:
        """What is wrong, so many bytes ahead in what is held."""
        self.fault = RemoteProtocolError(f"multipart: {message}", kind=kind, offset=self._offset + ahead)
        return False

    def _drop(self, size: int) -> bool:
        del self._held[:size]
        self._searched = 0
        self._offset += size
        return True

    def _step(self, parts: list[Part]) -> bool:
        """Take what the state allows; whether another step may follow."""
        if self._state == _VALUE:
            return self._in_value(parts)
        if self._state == _HEADERS:
            return self._in_headers()
        if self._state == _AFTER:
            return self._after_delimiter()
        if self._state == _FIRST:
            return self._before_all()
        if not b"\r\n".startswith(bytes(self._held[:3])):
            self._refuse("bad_delimiter", "there is something behind the last delimiter")
        return False

    def _before_all(self) -> bool:
        skip = 2 if self._held.startswith(b"\r\n") else 0
        begun = bytes(self._held[skip : skip + len(self._delimiter)])
        if begun == self._delimiter:
            self._state = _AFTER
            return self._drop(skip + len(begun))
        if not self._delimiter.startswith(begun) and self._held != b"\r":
            self._refuse("bad_delimiter", "the body does not begin with its delimiter")
        return False

    def _after_delimiter(self) -> bool:
        if len(self._held) < 2:
            return False
        if bytes(self._held[:2]) not in (b"\r\n", b"--"):
            return self._refuse("bad_delimiter", "there is something on the line of a delimiter")
        self._state = _HEADERS if self._held[:2] == b"\r\n" else _OVER
        return self._drop(2)

    def _in_headers(self) -> bool:
        end = self._held.find(b"\r\n\r\n", max(self._searched - 3, 0), self._max_header_bytes + 4)
        if end < 0:
            self._searched = len(self._held)
            if len(self._held) >= self._max_header_bytes + 4:
                self._refuse("part_header_too_large", f"a part's headers have over {self._max_header_bytes} bytes")
            return False
        named = _named(self._held[:end].decode("utf-8", "replace"))
        if named is None:
            return self._refuse("bad_part", "a part's headers do not name it as they should")
        name, filename = named
        if len(self._names) >= self._max_parts:
            return self._refuse("too_many_parts", f"there are more than {self._max_parts} parts")
        if name in self._wanted and filename is not None:
            return self._refuse("bad_part", f"the field {name!r} is a file")
        if name in self._wanted and name in self._names:
            return self._refuse("repeated_field", f"the field {name!r} occurs twice")
        self._names.append(name)
        self._drop(end + 4)
        self._part = Part(name, filename, self._offset, self._offset)
        self._kept = bytearray() if name in self._wanted else None
        self._state = _VALUE
        return True

    def _in_value(self, parts: list[Part]) -> bool:
        end = self._held.find(self._delimiter)
        safe = len(self._held) - len(self._delimiter) - 1 if end < 0 else end - 2
        if self._kept is not None:
            excess = self._offset + safe - self._part.start - self._max_value_bytes
            if excess > 0:
                message = f"the field {self._part.name!r} has more than {self._max_value_bytes} bytes"
                return self._refuse("field_too_large", message, safe - excess)
            self._kept += self._held[: max(safe, 0)]
        if end >= 0 and (safe < 0 or self._held[safe:end] != b"\r\n"):
            return self._refuse("bad_delimiter", "the delimiter's text occurs within a part", end)
        if safe > 0:
            self._drop(safe)
        if end < 0:
            return False
        value = bytes(self._kept) if self._kept is not None else None
        parts.append(self._part._replace(end=self._offset, value=value))
        self._state = _AFTER
        return self._drop(2 + len(self._delimiter))


def _named(block: str) -> tuple[str, str | None] | None:
    """Name and filename of a part, from its headers; None where they leave a doubt."""
    found: dict[str, str] = {}
    for line in block.split("\r\n"):
        match = _HEADER.fullmatch(line)
        if match is None or match[1].lower() in found:
            return None
        found[match[1].lower()] = match[2].strip()
    kind, separator, rest = found.get("content-disposition", "").partition(";")
    parameters = _parameters(separator + rest)
    if kind.strip().lower() != "form-data" or parameters is None:
        return None
    name = parameters.get("name", "")
    if not name or "\\" in name or found.get("content-transfer-encoding", "binary").lower() not in _PLAIN_ENCODINGS:
        return None
    return name, parameters.get("filename", parameters.get("filename*"))
