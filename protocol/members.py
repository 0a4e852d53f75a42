"""The top-level members of a JSON object, and where each of them stands in the bytes.

A gateway that only wants to know `model` and `stream` must not rewrite the rest: numbers, spellings and
unknown fields go upstream as they came. So a request body is split into its members, judged by some, and
changed by splicing. What was judged must be what is sent: a repeated key is refused, because the next
reader might take the other one, and so is everything that readers disagree on: bad UTF-8, NaN, nesting
without end, numbers without end.

Two ways to the same verdict. `split` uses CPython's C scanner, member by member: some fifteen microseconds
for an ordinary request, but all in one go. `Splitter` (in `splitter.py`) takes the body in slices, so that
megabytes can be read between two turns of an event loop. Whatever `split` does not like it leaves to
`Splitter` to judge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from . import jsontext
from .splitter import MAX_DEPTH, MAX_NUMBER, Member, Splitter

__all__ = ["MAX_DEPTH", "MAX_NUMBER", "Member", "Members", "Splitter", "split"]


_decode = json.JSONDecoder().decode


class Members:
    """A body and its members. Nothing of it changes; `replace` makes a new body."""

    __slots__ = ("_members", "body")

    def __init__(self, body: bytes, members: Iterable[Member]) -> None:
        self.body = body
        self._members = {member.name: member for member in members}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> list[str]:
        """The members' names, in their order."""
        return list(self._members)

    def raw(self, name: str) -> bytes:
        """The value's own bytes, b"" where there is no such member."""
        member = self._members.get(name)
        return self.body[member.start : member.end] if member else b""

    def looks(self, name: str, like: re.Pattern[bytes]) -> bool:
        """Whether there is such a member and its value begins like this; nothing is copied or parsed."""
        member = self._members.get(name)
        return member is not None and like.match(self.body, member.start) is not None

    def value(self, name: str, default: Any = None) -> Any:
        """The value, parsed when asked for; `default` where there is no such member."""
        raw = self.raw(name)
        return _decode(raw.decode()) if raw else default

    def replace(self, changes: Mapping[str, bytes | None]) -> bytes:
        """A body in which members have new values (given as JSON bytes; None drops one, a new name adds one).

        All other bytes stay as they came; only a drop also takes the white space between members.
        """
        members = self._members.values()
        added = [json.dumps(k).encode() + b":" + v for k, v in changes.items() if v is not None and k not in self]
        if any(value is None and name in self for name, value in changes.items()):
            kept = [self._changed(member, changes) for member in members if changes.get(member.name, b"") is not None]
            return b"{" + b",".join([*kept, *added]) + b"}"
        parts, at = [], 0
        for member in members:
            new = changes.get(member.name)
            if new is not None:
                parts += [self.body[at : member.start], new]
                at = member.end
        if added:
            close = self.body.rindex(b"}")
            parts += [self.body[at:close], b"," if members else b"", b",".join(added)]
            at = close
        return b"".join([*parts, self.body[at:]])

    def _changed(self, member: Member, changes: Mapping[str, bytes | None]) -> bytes:
        new = changes.get(member.name)
        return self.body[member.key : member.end] if new is None else self.body[member.key : member.start] + new


# -- the quick way ----------------------------------------------------------------------------------------


def _int(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise ValueError(text)
    return int(text)


def _float(text: str) -> float:
    if len(text) > MAX_NUMBER:
        raise ValueError(text)
    return float(text)


def _no_constant(name: str) -> None:
    raise ValueError(name)  # RFC 8259 section 6: "Infinity and NaN" are not permitted


_scan = json.JSONDecoder(parse_int=_int, parse_float=_float, parse_constant=_no_constant).scan_once  # type: ignore[attr-defined]  # typeshed leaves it out
_plain_key = re.compile(r'"([ !#-\[\]-~]*+)"[ \t\n\r]*:[ \t\n\r]*').match
_blank = re.compile(r"[ \t\n\r]*").match
_colon = re.compile(r"[ \t\n\r]*:[ \t\n\r]*").match
_comma = re.compile(r"[ \t\n\r]*(?:(,)[ \t\n\r]*|(?=\}))").match


def split(body: bytes, *, max_depth: int = MAX_DEPTH) -> Members:
    """The members of `body`. Raises RemoteProtocolError with status 400 and one of the kinds `invalid_json`,
    `invalid_utf8`, `not_an_object`, `duplicate_key`, `too_deep`, and the offset where it became wrong.
    """
    try:
        return Members(body, _scan_members(body, max_depth))
    except (ValueError, AttributeError, IndexError, RecursionError, StopIteration):
        pass
    splitter = Splitter(max_depth=max_depth)
    splitter.feed(body)
    splitter.close()
    raise AssertionError("two verdicts on one body")


def _scan_members(body: bytes, max_depth: int) -> list[Member]:
    """What `split` does with a good body; anything else raises some error or other.

    JSON's own characters are ASCII. So once the bytes are known to be UTF-8, they are scanned as if they were
    Latin-1, a character for each: places in the text are then places in the body.
    """
    if not body.isascii():
        body.decode()
    text = body.decode("latin-1")
    members: list[Member] = []
    names: set[str] = set()
    if (body.count(b"{") + body.count(b"[") > max_depth) and jsontext.depth(body) > max_depth:
        raise RecursionError
    at = _blank(text).end()  # type: ignore[union-attr]  # AttributeError is the verdict, here and below
    if text[at] != "{":
        raise ValueError
    at = _blank(text, at + 1).end()  # type: ignore[union-attr]
    more: object = text[at] != "}"
    while more:
        key = at
        if plain := _plain_key(text, key):
            name, start = plain[1], plain.end()
        else:
            name, start = _odd_key(body, text, key)
        _, end = _scan(text, start)
        comma = _comma(text, end)
        at, more = comma.end(), comma[1]  # type: ignore[union-attr,index]
        names.add(name)
        members.append(Member(name, key, start, end))
    if len(names) != len(members) or _blank(text, at + 1).end() != len(text):  # type: ignore[union-attr]
        raise ValueError
    return members


def _odd_key(body: bytes, text: str, key: int) -> tuple[str, int]:
    """A name with escapes or beyond ASCII, and where its value begins."""
    if text[key] != '"':
        raise ValueError
    _, end = _scan(text, key)
    return json.loads(body[key:end]), _colon(text, end).end()  # type: ignore[union-attr]
