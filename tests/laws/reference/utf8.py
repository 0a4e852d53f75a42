"""The Encoding Standard's UTF-8 decoder (section 8.1.1), state by state, on the whole input."""

from __future__ import annotations

from .told import Fault, Telling, Told

__all__ = ["decode", "pending"]


def decode(data: bytes, errors: str = "replace") -> Told:
    """Text; state: how many U+FFFD stand for ill-formed bytes. `errors="strict"`: the first is a fault."""
    telling = Telling("")
    point = needed = seen = begin = replaced = 0
    lower, upper = 0x80, 0xBF

    def ill_formed(place: int) -> None:
        nonlocal needed, seen, lower, upper, replaced
        if errors == "strict":
            raise Fault("invalid_utf8", begin, place)
        telling.add(place, "\ufffd")
        replaced += 1
        needed = seen = 0
        lower, upper = 0x80, 0xBF

    try:
        for at, byte in enumerate(data):
            if needed and not lower <= byte <= upper:
                ill_formed(at + 1)  # "Prepend byte to stream": it is looked at again, as the first of the next
            if needed:
                lower, upper = 0x80, 0xBF
                point = (point << 6) | (byte & 0x3F)
                seen += 1
                if seen == needed:
                    telling.add(at + 1, chr(point))
                    needed = seen = 0
                continue
            begin = at
            if byte <= 0x7F:
                telling.add(at + 1, chr(byte))
            elif 0xC2 <= byte <= 0xDF:
                needed, point = 1, byte & 0x1F
            elif 0xE0 <= byte <= 0xEF:
                lower = 0xA0 if byte == 0xE0 else 0x80
                upper = 0x9F if byte == 0xED else 0xBF
                needed, point = 2, byte & 0xF
            elif 0xF0 <= byte <= 0xF4:
                lower = 0x90 if byte == 0xF0 else 0x80
                upper = 0x8F if byte == 0xF4 else 0xBF
                needed, point = 3, byte & 0x7
            else:
                ill_formed(at + 1)
        if needed:
            ill_formed(len(data) + 1)
    except Fault as fault:
        return telling.told(len(data), fault, (0,))
    return telling.told(len(data), None, (replaced,))


def pending(data: bytes) -> int:
    """How many bytes at the end of `data` may still become a character."""
    for count in (3, 2, 1):
        tail = data[-count:]
        if len(tail) == count and tail[0] >= 0xC2:
            told = decode(tail)
            if told.due[-1] == 0:
                return count
    return 0
