"""A whole response, as RFC 9112 section 6.3 says: heads one after the other until the final one, then its body."""

from __future__ import annotations

from . import chunked, head
from .told import NEVER, Fault, Telling, Told

__all__ = ["decode"]


def decode(data: bytes, method: str, limit: int) -> Told | None:
    """The body's bytes; state: the status, whether the body is whole, what follows it. None where a head is refused:
    `head` does not say for which of its offences."""
    at, status = 0, 0
    while not status:
        found = head.scan(data[at:], limit - at)
        if not found.state[0]:
            kind, offset = found.fault or ("incomplete_head", 0)
            known = NEVER if found.fault is None else found.known
            fault = Fault(kind, at + offset, min(at + known, len(data) + 1))
            return Telling(b"").told(len(data), fault, (None, False, b""))
        said = head.judge(found.results, "response")
        if said is None:
            return None
        at += found.due.index(len(found.results))
        status = said[0] if said[0] >= 200 else 0
    body, length = data[at:], said[4]
    if method == "HEAD" or status in (204, 304):
        return _counted(data, at, 0, status)
    if not said[5]:
        return _counted(data, at, length, status)
    told = chunked.decode(body, 1024, 16 * 1024)
    done, _, unused = told.state
    fault = None if told.fault is None else (told.fault[0], at + told.fault[1])
    return Told(told.results, [0] * at + told.due, fault, at + told.known, (status, done, unused))


def _counted(data: bytes, at: int, length: int | None, status: int) -> Told:
    """So many bytes, or (None) all that come."""
    telling, fault = Telling(b""), None
    end = len(data) if length is None else min(at + length, len(data))
    for place in range(at, end):
        telling.add(place + 1, data[place : place + 1])
    if length is not None and end < at + length:
        fault = Fault("truncated_body", len(data), len(data) + 1)
    return telling.told(len(data), fault, (status, fault is None, data[end:]))
