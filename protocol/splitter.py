"""Judges a JSON object in slices, and says where its top-level members stand.

A pushdown automaton over bytes, driven by regular expressions: white space, the plain part of a string and
runs of scalars are each one call of the regex engine. It keeps names, positions and one byte per open
bracket, never values, so its memory does not grow with the body; a slice of 64 KiB costs some
milliseconds at worst. It is stricter than `json.loads`: duplicate top-level keys, bad UTF-8, NaN, nesting
and numbers beyond their limits are faults, each with the first offending byte.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from typing import NamedTuple

from .errors import RemoteProtocolError
from .machine import Machine

__all__ = ["MAX_DEPTH", "MAX_NUMBER", "Member", "Splitter"]

MAX_DEPTH = 128
MAX_NUMBER = 1024
"""Characters of one number: above any that means something, below what takes quadratic time to read."""


class Member(NamedTuple):
    """One member: its name, where its key begins, and where its value begins and ends."""

    name: str
    key: int
    start: int
    end: int


# What may come next. The names are of the grammar in RFC 8259 sections 4 and 5.
_START, _KEY_OR_CLOSE, _KEY, _COLON, _VALUE, _VALUE_OR_CLOSE, _COMMA_OR_CLOSE, _STRING, _END = range(9)

_space = re.compile(rb"[ \t\n\r]*+").match
_plain = re.compile(rb'[^"\\\x00-\x1f]*+').match
_escape = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})').match
_escape_begun = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?").fullmatch
_word = re.compile(rb"[-+.0-9A-Za-z]*+").match
_number = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
# A run of scalars in an array, all of it ASCII: token lists and embeddings, at the regex engine's speed.
_run = re.compile(
    rb"(?:(?:-?(?:0|[1-9][0-9]{0,299})(?:\.[0-9]{1,299})?(?:[eE][+-]?[0-9]{1,299})?"
    rb'|true|false|null|"[ !#-\[\]-\x7f]*+")'
    rb"[ \t\n\r]*+,[ \t\n\r]*+)*+"
).match
_SCALARS = frozenset(b'"-0123456789tfn')


class Splitter(Machine[list[Member]]):
    """`members.split` as a machine: `feed` and `close` return the members that became complete."""

    def __init__(self, *, max_depth: int = MAX_DEPTH) -> None:
        super().__init__()
        self._max_depth = max_depth
        self._state = _START
        self._after_string = _COLON
        self._stack = bytearray()
        self._tail = b""  # an unfinished escape, number or word
        self._base = 0  # where in the body the data of this call begins
        self._name = bytearray()  # of a top-level key, raw
        self._names: set[str] = set()
        self._last_name = ""
        self._key = self._start = 0
        self._utf8 = getincrementaldecoder("utf-8")("strict")
        self._found: list[Member] = []

    def _take(self, chunk: bytes) -> list[Member]:
        data = self._tail + chunk
        at = self._scan(data)
        self._tail = data[at:]
        self._base += at
        found, self._found = self._found, []
        return found

    def _end(self) -> list[Member]:
        if self._state != _END:
            self._fail("invalid_json", "the JSON ends too early", self._base + len(self._tail))
        return []

    def _fail(self, kind: str, message: str, offset: int) -> None:
        self.fault = RemoteProtocolError(f"{message} (at byte {offset})", kind=kind, offset=offset)

    def _scan(self, data: bytes) -> int:
        """Read tokens until the data is used up or faulty; return where the unfinished token begins."""
        at, size = 0, len(data)
        while at < size and self.fault is None:
            if self._state == _STRING:
                end = self._in_string(data, at)
            else:
                at = _space(data, at).end()  # type: ignore[union-attr]  # it matches everywhere
                if at == size:
                    break
                end = self._token(data, at)
            if end == at:
                break
            at = end
        return at

    def _token(self, data: bytes, at: int) -> int:
        """Take the token at `at`; return its end, or `at` where it is not complete or faulty."""
        byte, state = data[at], self._state
        if state in (_VALUE, _VALUE_OR_CLOSE) and byte in _SCALARS and self._stack[-1:] == b"[":
            end = _run(data, at).end()  # type: ignore[union-attr]
            if end > at:
                self._state = _VALUE
                return end
        if byte in b"{[" and state in (_START, _VALUE, _VALUE_OR_CLOSE):
            return self._open(byte, at)
        if byte in b"}]" and state in (_KEY_OR_CLOSE, _VALUE_OR_CLOSE, _COMMA_OR_CLOSE):
            return self._shut(byte, at)
        if byte == 0x2C and state == _COMMA_OR_CLOSE:
            self._state = _KEY if self._stack[-1:] == b"{" else _VALUE
            return at + 1
        if byte == 0x3A and state == _COLON:
            self._state = _VALUE
            return at + 1
        if byte == 0x22 and state in (_KEY, _KEY_OR_CLOSE, _VALUE, _VALUE_OR_CLOSE):
            return self._open_string(at)
        if state in (_VALUE, _VALUE_OR_CLOSE):
            return self._scalar(data, at)
        if state == _START and byte in _SCALARS:
            self._fail("not_an_object", "the body must be a JSON object", self._base + at)
        else:
            self._fail("invalid_json", "the body is not valid JSON", self._base + at)
        return at

    def _open(self, byte: int, at: int) -> int:
        if self._state == _START and byte == 0x5B:
            self._fail("not_an_object", "the body must be a JSON object, not an array", self._base + at)
            return at
        if len(self._stack) >= self._max_depth:
            self._fail("too_deep", f"the JSON is nested deeper than {self._max_depth}", self._base + at)
            return at
        self._begin_value(at)
        self._stack.append(byte)
        self._state = _KEY_OR_CLOSE if byte == 0x7B else _VALUE_OR_CLOSE
        return at + 1

    def _shut(self, byte: int, at: int) -> int:
        if self._stack.pop() != byte - 2:  # in ASCII, "}" is "{" + 2 and "]" is "[" + 2
            self._fail("invalid_json", "the body is not valid JSON: brackets do not match", self._base + at)
            return at
        self._end_value(at + 1)
        return at + 1

    def _open_string(self, at: int) -> int:
        if self._state in (_KEY, _KEY_OR_CLOSE):
            self._after_string = _COLON
            if len(self._stack) == 1:
                self._key = self._base + at
                self._name += b'"'
        else:
            self._after_string = _COMMA_OR_CLOSE
            self._begin_value(at)
        self._state = _STRING
        return at + 1

    def _in_string(self, data: bytes, at: int) -> int:
        """Take the string's text up to the end of data, or one escape, or the closing quote."""
        end = _plain(data, at).end()  # type: ignore[union-attr]
        piece = data[at : end + 1]  # with the byte that ends it, so that no character is cut there
        pending = len(self._utf8.getstate()[0])
        if pending or not piece.isascii():
            try:
                self._utf8.decode(piece)
            except UnicodeDecodeError as exc:
                self._fail("invalid_utf8", "the body is not valid UTF-8", self._base + at - pending + exc.start)
                return at
        if end < len(data):
            if data[end] == 0x22:
                end += 1
                self._keep_name(data[at:end])
                return self._shut_string(end)
            match = _escape(data, end)
            if match is not None:
                self._keep_name(data[at : match.end()])
                return match.end()
            if not _escape_begun(data, end):
                self._fail(
                    "invalid_json",
                    "the body is not valid JSON: a character must be escaped",
                    self._base + end,
                )
                return at
        self._keep_name(data[at:end])
        return end

    def _keep_name(self, raw: bytes) -> None:
        if self._name:
            self._name += raw

    def _shut_string(self, end: int) -> int:
        self._state = self._after_string
        if self._state == _COMMA_OR_CLOSE:
            self._end_value(end)
        elif self._name:
            name = json.loads(self._name)
            if name in self._names:
                self._fail("duplicate_key", f"the member {name!r} occurs twice", self._key)
            self._names.add(name)
            self._name.clear()
            self._last_name = name
        return end

    def _scalar(self, data: bytes, at: int) -> int:
        end = _word(data, at).end()  # type: ignore[union-attr]
        if end - at > MAX_NUMBER:
            self._fail("invalid_json", f"a number has more than {MAX_NUMBER} characters", self._base + at)
            return at
        if end == len(data):
            return at
        word = data[at:end]
        if word not in (b"true", b"false", b"null") and not _number(word):
            self._fail("invalid_json", "the body is not valid JSON", self._base + at)
            return at
        self._begin_value(at)
        self._end_value(end)
        return end

    def _begin_value(self, at: int) -> None:
        if len(self._stack) == 1:
            self._start = self._base + at

    def _end_value(self, end: int) -> None:
        depth = len(self._stack)
        if depth == 1:
            self._found.append(Member(self._last_name, self._key, self._start, self._base + end))
        self._state = _COMMA_OR_CLOSE if depth else _END
