"""Heads of HTTP/1.1: where one ends, and whether RFC 9112 (and what is narrower here) lets it pass.

Narrower than the RFC, as its security considerations advise: bare CR and LF and NUL nowhere, no folded lines, no
white space before a colon, one Content-Length and none beside a Transfer-Encoding, which is `chunked` or nothing.
`judge` says whether a head passes and what it says; which of several offences is named is not for it to say.
"""

from __future__ import annotations

from typing import Any

from .told import Fault, Telling, Told

__all__ = ["judge", "scan"]

_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_VERSIONS = [b"HTTP/1.%d" % minor for minor in range(10)]  # all above 1.1 are read as 1.1
_TOKEN = frozenset((_DIGITS + _LETTERS + "!#$%&'*+-.^_`|~").encode())
_HOST = frozenset((_DIGITS + _LETTERS + "-._~%!$&'()*+;=").encode())
_LITERAL = frozenset((_DIGITS + _LETTERS + ":.%-_~").encode())


def scan(data: bytes, limit: int) -> Told:
    """The first head; state: whether it is whole, and what follows it."""
    telling = Telling(b"")
    skip = 2 if data.startswith(b"\r\n") else 0
    before = 0
    for at, byte in enumerate(data):
        fault = None
        if before == 0x0D and byte != 0x0A:
            fault = Fault("bare_cr", at - 1, at + 1)
        elif at >= limit:
            kind = "head_too_large" if b"\r\n" in data[skip:limit] else "target_too_long"
            fault = Fault(kind, limit, at + 1)
        elif byte == 0:
            fault = Fault("nul", at, at + 1)
        elif byte == 0x0A and before != 0x0D:
            fault = Fault("bare_lf", at, at + 1)
        if fault is not None:
            return telling.told(len(data), fault, (False, b""))
        if data[skip : at + 1].endswith(b"\r\n\r\n"):
            telling.add(at + 1, data[skip : at + 1])
            return telling.told(len(data), None, (True, data[at + 1 :]))
        before = byte
    incomplete = None if data in (b"", b"\r", b"\r\n") else Fault("incomplete_head", len(data), len(data) + 1)
    return telling.told(len(data), incomplete, (False, b""))


def judge(head: bytes, kind: str) -> tuple[Any, ...] | None:
    """None if the head is refused, else what it says, in the order of the fields of RequestHead or ResponseHead."""
    if not head.endswith(b"\r\n\r\n"):
        return None
    first, *rest = head[:-4].split(b"\r\n")
    headers = [_field(line) for line in rest]
    line = _request_line(first) if kind == "request" else _status_line(first)
    if line is None or None in headers:
        return None
    fields = [field for field in headers if field is not None]
    version = line[2]
    named: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        named.setdefault(name, []).append(value)
    framing = _framing(named, version)
    if framing is None:
        return None
    if kind == "response":
        return (*line, fields, *framing)
    host = named.get(b"host", [])
    if len(host) > 1 or (not host and version != "1.0") or (host and not _is_host(host[0])):
        return None
    expects = version != "1.0" and named.get(b"expect", [b""])[-1].lower() == b"100-continue"
    return (*line, fields, (host or [b""])[0].decode(), *framing, expects)


def _is_token(raw: bytes) -> bool:
    return bool(raw) and all(byte in _TOKEN for byte in raw)


def _is_text(raw: bytes) -> bool:
    return all(byte == 0x09 or (byte >= 0x20 and byte != 0x7F) for byte in raw)


def _field(line: bytes) -> tuple[bytes, bytes] | None:
    name, colon, value = line.partition(b":")
    if not colon or not _is_token(name) or not _is_text(value):
        return None
    return name.lower(), value.strip(b" \t")


def _request_line(line: bytes) -> tuple[str, str, str] | None:
    words = line.split(b" ")
    if len(words) != 3 or words[2] not in _VERSIONS:
        return None
    method, target, version = words
    if not _is_token(method) or not target or not all(0x21 <= byte <= 0x7E for byte in target):
        return None
    lower = target.lower()
    absolute = any(
        lower.startswith(s) and lower[len(s) :][:1] not in (b"", b"/", b"?") for s in (b"http://", b"https://")
    )
    if not (target.startswith(b"/") or absolute or target == b"*" or method == b"CONNECT"):
        return None
    return method.decode(), target.decode(), version[5:].decode()


def _status_line(line: bytes) -> tuple[int, bytes, str] | None:
    version, space, rest = line.partition(b" ")
    status, reason = rest[:3], rest[3:]
    if version not in _VERSIONS or not space:
        return None
    if len(status) != 3 or not all(byte in b"0123456789" for byte in status) or status[:1] == b"0":
        return None
    if reason and (reason[:1] != b" " or not _is_text(reason)):
        return None
    return int(status), reason[1:], version[5:].decode()


def _framing(named: dict[bytes, list[bytes]], version: str) -> tuple[int | None, bool, bool] | None:
    """Content-Length, whether chunked, whether the connection stays."""
    lengths, codings = named.get(b"content-length", []), named.get(b"transfer-encoding", [])
    if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
        return None
    if lengths and not (1 <= len(lengths[0]) <= 18 and all(byte in b"0123456789" for byte in lengths[0])):
        return None
    if codings and (codings[0].lower() != b"chunked" or version == "1.0"):
        return None
    options = [option.strip(b" \t") for value in named.get(b"connection", []) for option in value.lower().split(b",")]
    keep = b"close" not in options and (version != "1.0" or b"keep-alive" in options)
    return int(lengths[0]) if lengths else None, bool(codings), keep


def _is_host(host: bytes) -> bool:
    if host.startswith(b"["):
        name, bracket, port = host[1:].partition(b"]")
        if not bracket or not name or not all(byte in _LITERAL for byte in name):
            return False
    else:
        name, colon, port = host.partition(b":")
        port = colon + port
        if not all(byte in _HOST for byte in name):
            return False
    return port == b"" or (port[:1] == b":" and all(byte in b"0123456789" for byte in port[1:]))
