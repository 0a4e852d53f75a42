"""RFC 8259 by recursive descent over the bytes of one text, with the places of everything in it.

Refused beside what the grammar refuses: bytes that are not UTF-8, and what is deeper or has longer numbers than
the limits. Where several of these hold, the first of this order is the reason: `invalid_utf8`, `too_deep` (counted
over all brackets outside of strings, whether they match or not), then whichever comes first in the text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Bad", "Member", "depth", "members", "parse"]

_ESCAPES = {0x22: '"', 0x5C: "\\", 0x2F: "/", 0x62: "\b", 0x66: "\f", 0x6E: "\n", 0x72: "\r", 0x74: "\t"}
_WORDS = {b"true": True, b"false": False, b"null": None}
_DIGITS = frozenset(b"0123456789")


class Bad(Exception):
    """No JSON: why."""


class Member(NamedTuple):
    """A member of the outermost object: its name, and where its key begins and its value begins and ends."""

    name: str
    key: int
    start: int
    end: int


def parse(raw: bytes, max_depth: int = 128, max_number: int = 4300) -> Any:
    """The value of the one JSON text in `raw`. Raises Bad."""
    return _whole(raw, max_depth, max_number)[0]


def members(raw: bytes, max_depth: int = 128, max_number: int = 1024) -> list[Member]:
    """The members of the object in `raw`. Raises Bad, also for what is no object, and for a name that comes twice."""
    value, found = _whole(raw, max_depth, max_number)
    if not isinstance(value, dict):
        raise Bad("not_an_object")
    if len({member.name for member in found}) < len(found):
        raise Bad("duplicate_key")
    return found


def _whole(raw: bytes, max_depth: int, max_number: int) -> tuple[Any, list[Member]]:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Bad("invalid_utf8") from None
    if depth(raw) > max_depth:
        raise Bad("too_deep")
    reader = _Reader(raw, max_number)
    value = reader.value(0)
    if reader.at != len(raw):
        raise Bad("invalid_json")
    return value, reader.members


def depth(raw: bytes) -> int:
    """How deep the brackets outside of strings go."""
    level = deepest = 0
    inside = escaped = False
    for byte in raw:
        if inside:
            inside = escaped or byte != 0x22
            escaped = not escaped and byte == 0x5C
        elif byte == 0x22:
            inside = True
        elif byte in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"]}":
            level -= 1
    return deepest


class _Reader:
    """Reads one text from its beginning; `at` is the next byte."""

    def __init__(self, raw: bytes, max_number: int) -> None:
        self.raw = raw
        self.max_number = max_number
        self.at = 0
        self.members: list[Member] = []

    def next(self) -> int:
        """The next byte, -1 at the end."""
        return self.raw[self.at] if self.at < len(self.raw) else -1

    def space(self) -> None:
        while self.next() in (0x20, 0x09, 0x0A, 0x0D):
            self.at += 1

    def expect(self, literal: bytes) -> None:
        if not self.raw.startswith(literal, self.at):
            raise Bad("invalid_json")
        self.at += len(literal)

    def value(self, level: int) -> Any:
        """A value with the white space around it."""
        self.space()
        byte = self.next()
        if byte == 0x7B:
            value: Any = self.object(level)
        elif byte == 0x5B:
            value = self.array(level)
        elif byte == 0x22:
            value = self.string()
        elif byte == 0x2D or byte in _DIGITS:
            value = self.number()
        else:
            value = self.word()
        self.end = self.at
        self.space()
        return value

    def word(self) -> Any:
        for word, value in _WORDS.items():
            if self.raw.startswith(word, self.at):
                self.at += len(word)
                return value
        raise Bad("invalid_json")

    def object(self, level: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.expect(b"{")
        self.space()
        while self.next() != 0x7D:
            if found:
                self.expect(b",")
                self.space()
            key = self.at
            name = self.string()
            self.space()
            self.expect(b":")
            self.space()
            start = self.at
            found[name] = self.value(level + 1)
            if level == 0:
                self.members.append(Member(name, key, start, self.end))
        self.at += 1
        return found

    def array(self, level: int) -> list[Any]:
        found: list[Any] = []
        self.expect(b"[")
        self.space()
        while self.next() != 0x5D:
            if found:
                self.expect(b",")
            found.append(self.value(level + 1))
        self.at += 1
        return found

    def digits(self) -> None:
        if self.next() not in _DIGITS:
            raise Bad("invalid_json")
        while self.next() in _DIGITS:
            self.at += 1

    def number(self) -> int | float:
        start, whole = self.at, True
        if self.next() == 0x2D:
            self.at += 1
        if self.next() == 0x30:
            self.at += 1
        else:
            self.digits()
        # A fraction or exponent that breaks off is no part of the number; what follows it is the error.
        end = self.at
        try:
            if self.next() == 0x2E:
                self.at += 1
                self.digits()
                end, whole = self.at, False
            if self.next() in (0x45, 0x65):
                self.at += 1
                if self.next() in (0x2B, 0x2D):
                    self.at += 1
                self.digits()
                end, whole = self.at, False
        except Bad:
            self.at = end
        text = self.raw[start:end]
        if len(text) > self.max_number:
            raise Bad("number_too_long")
        return int(text) if whole else float(text)

    def string(self) -> str:
        self.expect(b'"')
        units: list[int] = []  # code points; halves of pairs as they were escaped
        plain = bytearray()

        def flush() -> None:
            units.extend(map(ord, plain.decode("utf-8")))
            plain.clear()

        while (byte := self.next()) != 0x22:
            if byte < 0x20:
                raise Bad("invalid_json")
            self.at += 1
            if byte != 0x5C:
                plain.append(byte)
                continue
            flush()
            low = self.escape()
            if 0xDC00 <= low <= 0xDFFF and units and units[-1] >= 1 << 24:
                low = 0x10000 + ((units.pop() - (1 << 24) - 0xD800) << 10) + low - 0xDC00
            elif 0xD800 <= low <= 0xDBFF:
                low += 1 << 24  # marked as the escaped first half of what may become a pair
            units.append(low)
        flush()
        self.at += 1
        return "".join(chr(unit & 0xFFFFFF) for unit in units)

    def escape(self) -> int:
        """The code unit of an escape, whose backslash was read."""
        byte = self.next()
        self.at += 1
        if byte in _ESCAPES:
            return ord(_ESCAPES[byte])
        digits = self.raw[self.at : self.at + 4]
        if byte != 0x75 or len(digits) < 4 or not all(digit in b"0123456789abcdefABCDEF" for digit in digits):
            raise Bad("invalid_json")
        self.at += 4
        return int(digits, 16)
