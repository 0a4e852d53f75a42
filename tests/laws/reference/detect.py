"""What a body is, rule by rule over the whole of it, and with which byte that is decided.

1. A byte order mark and white space say nothing.
2. What begins with a colon, or with one of SSE's field names and then a colon or a line end, is SSE.
3. Else the first line decides, with its LF. If it is one JSON value, it is NDJSON, unless the header says JSON:
   then it is NDJSON if another value begins behind it, else a document. If it is no value, it is a document if
   it begins like one, else whatever the header says.
4. At the end, or past the limit, what begins like a value is a document where the header says SSE or nothing; else
   the header is right. Without one it is a document. Of nothing but white space nothing is said, up to the limit.
"""

from __future__ import annotations

from .json import Bad, parse

__all__ = ["decide"]

_BOM = b"\xef\xbb\xbf"
_BEGINS = b'{["-0123456789'
_NAMES = (b"data", b"event", b"id", b"retry")


def decide(data: bytes, hint: str | None, limit: int) -> tuple[str | None, int]:
    """The verdict, and after how many bytes it falls; one more than there are: with the end."""
    limit = max(limit, len(_BOM))
    seen = data[:limit]
    first = 3 if data.startswith(_BOM) else 0
    while first < len(seen) and seen[first] in b" \t\r\n":
        first += 1
    rest = seen[first:]
    for name in (b"", *_NAMES):
        end = rest[len(name) : len(name) + 1]
        if rest.startswith(name) and end and end in (b":" if name == b"" else b":\r\n"):
            return "sse", first + len(name) + 1
    begins = bool(data[first : first + 1]) and data[first] in _BEGINS
    last = "json" if hint is None or (hint == "sse" and begins) else hint
    over = limit + 1 if len(data) > limit else len(data) + 1
    line, found, after = rest.partition(b"\n")
    if not found:
        silent = len(data) <= limit and first >= len(data)  # nothing but white space, and no more comes
        return None if silent else last, over
    place = first + len(line) + 1
    if not _is_value(line):
        return "json" if begins else last, place
    if hint != "json":
        return "ndjson", place
    blank = len(after) - len(after.lstrip(b" \t\r\n"))
    if blank == len(after):
        return last, over
    return "ndjson" if after[blank] in _BEGINS else "json", place + blank + 1


def _is_value(line: bytes) -> bool:
    try:
        parse(line)
    except Bad:
        return False
    return True
