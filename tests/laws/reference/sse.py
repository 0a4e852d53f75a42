"""An event stream, byte by byte as the WHATWG HTML text reads it (sections 9.2.5 and 9.2.6), and no faster.

To the standard's text comes one limit: an event may have so many raw bytes, from its first byte through its blank
line. A comment between two events is no part of either, and may be as long. A LF after a CR that ended an event
(or a comment or blank line between events) is no part of what follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .told import Fault, Telling, Told

__all__ = ["Line", "blocks", "events", "fields", "lines"]

_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line without its end, and how many bytes had come when it was complete."""

    raw: bytes
    place: int


def lines(data: bytes, limit: int) -> Iterator[Line | Fault]:
    """All lines; an unterminated last one (place: one byte more than there are) too; or a fault as the last."""
    size = len(data)
    if len(data) < len(_BOM) and _BOM.startswith(data):
        decided, begin = size + 1, 0  # only the end shows that this is no byte order mark
    else:
        begin = len(_BOM) if data.startswith(_BOM) else 0
        decided = next((at + 1 for at in range(min(3, size)) if data[at] != _BOM[at]), 3)
    line, opened, start, after_cr = bytearray(), False, begin, False
    for at in range(begin, size):
        byte, place = data[at], max(at + 1, decided)
        if after_cr and byte == 0x0A and not opened:
            start = at + 1
        elif at - start >= limit:
            yield Fault("event_too_large", start + limit, place)
            return
        elif byte in b"\r\n":
            if not (after_cr and byte == 0x0A):
                yield Line(bytes(line), place)
                opened = bool(line) and (opened or line[0] != 0x3A)
                line.clear()
                if not opened:
                    start = at + 1
        else:
            line.append(byte)
        after_cr = byte == 0x0D
    if line:
        yield Line(bytes(line), size + 1)


def _field(line: bytes) -> tuple[bytes, bytes]:
    """Name and value of a line that is no comment."""
    at = line.find(b":")
    if at < 0:
        return line, b""
    value = line[at + 1 :]
    return line[:at], value[1:] if value[:1] == b" " else value


def events(data: bytes, limit: int, incomplete: str = "discard") -> Told:
    """Tuples ("event", data, type, id) and ("comment", text); state: last event id, retry, whether dropped."""
    telling = Telling([])
    buffer, kind, id_buffer, last_id, retry = b"", b"", "", "", None
    opened, fault, place = False, None, 0

    def dispatch(at: int) -> None:
        nonlocal buffer, kind, last_id
        last_id = id_buffer
        if buffer:
            event = ("event", _text(buffer[:-1]), _text(kind) or "message", last_id)
            telling.add(at, [event])
        buffer = kind = b""

    for line in lines(data, limit):
        if isinstance(line, Fault):
            fault = line
            break
        raw, place = line
        if place > len(data) and incomplete == "discard":
            opened = opened or raw[:1] != b":"
        elif raw == b"":
            dispatch(place)
            opened = False
        elif raw[:1] == b":":
            telling.add(place, [("comment", _text(raw[2:] if raw[1:2] == b" " else raw[1:]))])
        else:
            opened = True
            name, value = _field(raw)
            if name == b"event":
                kind = value
            elif name == b"data":
                buffer += value + b"\n"
            elif name == b"id" and 0 not in value:
                id_buffer = _text(value)
            elif name == b"retry" and value and all(byte in b"0123456789" for byte in value):
                significant = value.lstrip(b"0")
                retry = int(b"0" + significant) if len(significant) <= 15 else retry
    if fault is None and incomplete == "dispatch":
        dispatch(len(data) + 1)
    dropped = opened and fault is None and incomplete == "discard"
    return telling.told(len(data), fault, (last_id, retry, dropped))


def blocks(data: bytes, limit: int) -> Told:
    """Each event as a tuple of its lines, comments within it included; each comment between events as a line.

    An unterminated last event is a result too, with the end; an unterminated comment between events is none.
    """
    telling = Telling([])
    block: list[bytes] = []
    fault = None
    for line in lines(data, limit):
        if isinstance(line, Fault):
            fault = line
            break
        raw, place = line
        if raw == b"":
            if block:
                telling.add(place, [tuple(block)])
            block = []
        elif block or raw[:1] != b":":
            block.append(raw)
        elif place <= len(data):
            telling.add(place, [raw])
    if block and fault is None:
        telling.add(len(data) + 1, [tuple(block)])
    return telling.told(len(data), fault)


def fields(block: tuple[bytes, ...]) -> tuple[Any, ...]:
    """What an event's lines say: data, event, id, retry, and the field `error` that some servers have."""
    said: dict[bytes, bytes] = {}
    data = []
    for line in block:
        if line[:1] != b":":
            name, value = _field(line)
            said[name] = value
            if name == b"data":
                data.append(value)
    return b"\n".join(data), said.get(b"event", b""), said.get(b"id"), said.get(b"retry"), said.get(b"error")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")  # `utf8` holds the standard's own machine against this
