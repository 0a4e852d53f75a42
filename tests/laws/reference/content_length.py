"""Content-Length framing, as the base protocol of LSP describes it: header lines, an empty line, so many bytes.

A bad line is a fault with the LF that ends it. Limits: a header through its empty line, and a body.
"""

from __future__ import annotations

from .told import Fault, Telling, Told

__all__ = ["decode"]

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def decode(data: bytes, max_header: int, max_body: int) -> Told:
    """The bodies, in order."""
    telling, at = Telling([]), 0
    try:
        while at < len(data):
            at, length = _header(data, at, max_header, max_body)
            if at + length > len(data):
                raise Fault("incomplete", len(data), len(data) + 1)
            telling.add(at + length, [data[at : at + length]])
            at += length
    except Fault as fault:
        return telling.told(len(data), fault)
    return telling.told(len(data))


def _header(data: bytes, start: int, max_header: int, max_body: int) -> tuple[int, int]:
    """Where the body begins, and its length."""
    length, line = None, start
    for at in range(start, len(data)):
        if at - start >= max_header:
            raise Fault("header_too_large", start + max_header, at + 1)
        if data[at] != 0x0A:
            continue
        place = at + 1
        if data[line:place] == b"\r\n":
            if length is None:
                raise Fault("missing_content_length", line, place)
            return place, length
        name, value, begin = _field(data[line:place], line, place)
        if name == b"content-length":
            if length is not None:
                raise Fault("bad_content_length", line, place)
            length = _length(value, begin, place, max_body)
        elif name == b"content-type" and not _is_utf8(value):
            raise Fault("bad_content_type", begin, place)
        line = place
    raise Fault("incomplete", len(data), len(data) + 1)


def _field(line: bytes, start: int, place: int) -> tuple[bytes, bytes, int]:
    """Name, value, and where the value begins."""
    colon = 0
    while line[colon] in _TOKEN:
        colon += 1
    if colon == 0 or line[colon] != 0x3A:
        raise Fault("bad_header", start + colon, place)
    end = colon + 1
    while line[end] == 0x09 or (line[end] >= 0x20 and line[end] != 0x7F):
        end += 1
    if line[end:] != b"\r\n":
        raise Fault("bad_header", start + end, place)
    return line[:colon].lower(), line[colon + 1 : end].strip(b" \t"), start + colon + 1


def _length(value: bytes, begin: int, place: int, max_body: int) -> int:
    if not value or not all(byte in b"0123456789" for byte in value):
        raise Fault("bad_content_length", begin, place)
    significant = value.lstrip(b"0")
    if len(significant) > 18 or int(significant or b"0") > max_body:
        raise Fault("body_too_large", begin, place)
    return int(significant or b"0")


def _is_utf8(value: bytes) -> bool:
    """Whether the first charset that is named, if one is, is UTF-8."""
    for parameter in value.split(b";")[1:]:
        name, equals, said = parameter.strip(b" \t").partition(b"=")
        if equals and name.rstrip(b" \t").lower() == b"charset":
            said = said.strip(b" \t").removeprefix(b'"').split(b'"')[0]
            word = said.replace(b"\t", b" ").split(b" ")[0]
            return word.lower() in (b"utf-8", b"utf8")
    return True
