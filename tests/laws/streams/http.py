"""HTTP/1.1: chunked bodies and heads, right ones and those that two parsers read in two ways."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .trouble import BYTES, bits, mutated, one, some

__all__ = ["CHUNKED", "HEADS", "RESPONSES", "chunked", "head", "response"]

_SIZES = (b"%x", b"%X", b"0%x", b"%x;a=b", b'%x;"\xff"', b"%x;", b"%x \t;a", b"00000000000%x")
_WRONG_SIZES = (b"+%x", b"0x%x", b" %x", b"%x ", b"%xg", b"-%x", b"%x_", b"00000000000000000%x", b"", b"%x;\0", b"\n%x")
_TRAILERS = (
    b"a: b\r\n",
    b"A:\tb \r\n",
    b"x:\r\n",
    b"bad\r\n",
    b": v\r\n",
    b"a : b\r\n",
    b"a: \0\r\n",
    b" a: b\r\n",
    b"a: b\n",
)

CHUNKED: Sequence[bytes] = (
    *(
        b"5\r\nhello\r\n",
        b"1;a=b\r\nx\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"\r\n",
        b"a\r\n0123456789\r\n",
        b"ffffffffffffffff\r\n",
    ),
    *(*_TRAILERS, b"5", b"\r", b"\n", b";", b"0", b"x"),
)


def chunked(choose: Random) -> bytes:
    """A chunked body, and what may follow it."""
    parts = []
    for _ in range(int(choose.random() * 10)):
        data = bits(choose, 60) or b"x"
        size = one(choose, _SIZES) % len(data) if choose.random() < 0.97 else one(choose, _WRONG_SIZES)
        parts.append((size % len(data) if b"%x" in size else size) + b"\r\n" + data + b"\r\n")
    if choose.random() < 0.8:
        trailers = [
            one(choose, _TRAILERS[: 3 if choose.random() < 0.7 else None]) for _ in range(int(choose.random() * 3))
        ]
        parts += [b"0\r\n", *trailers, b"\r\n", bits(choose, 8)]
    data = b"".join(parts)
    return mutated(choose, data, CHUNKED) if choose.random() < 0.4 else data


_LINES = (
    *(b"GET / HTTP/1.1", b"POST /v1/chat/completions HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET http://h/x HTTP/1.1"),
    *(
        b"CONNECT h:443 HTTP/1.1",
        b"GET / HTTP/1.0",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 204",
        b"HTTP/1.1 404 ",
        b"GET x HTTP/1.1",
    ),
    *(b"GET / HTTP/1.2", b"HTTP/1.9 200 OK"),
)
_WRONG_LINES = (
    *(
        b"GET /",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/2.0",
        b"GET / HTTP/1.1 ",
        b"G@T / HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"",
    ),
    *(b"HTTP/1.1 99 x", b"HTTP/1.1 2000", b"HTTP/1.1 020", b"HTTP/2.0 200 OK", b"HTTP/1.1  200", b"get / http/1.1"),
)
_FIELDS = (
    *(
        b"Host: a",
        b"host:a:80",
        b"Host: [::1]:8",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
    ),
    *(b"Accept: */*", b"X:", b"X: \xff", b"Connection: Keep-Alive, x", b"Expect: 100-Continue", b"content-type: a;b=c"),
)
_WRONG_FIELDS = (
    *(
        b"Host: a b",
        b"Host: [::1",
        b"Content-Length: +5",
        b"Content-Length: 5, 5",
        b"Content-Length: 1234567890123456789",
    ),
    *(
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, x",
        b"Transfer-Encoding:",
        b"X : y",
        b" folded",
    ),
    *(b"no colon", b": v", b"X: a\0b", b"X: a\rb", b"X: a\nb", b"X: \x7f", b"", b"Content-Length: 0x5", b"Host: a,b/"),
)

HEADS: Sequence[bytes] = (
    *[line + b"\r\n" for line in (*_LINES, *_FIELDS, *_WRONG_FIELDS)],
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
)


def head(choose: Random) -> bytes:
    """A head, and what may follow it."""
    wrong = choose.random() < 0.4
    first = one(choose, _WRONG_LINES if choose.random() < 0.1 else _LINES)
    # About one Host, and one of the others at times: else hardly any head would be right.
    fields = [b"Host: a"] if choose.random() < 0.7 else []
    fields += [one(choose, _FIELDS[3:]) for _ in range(int(choose.random() * 5))]
    if wrong and choose.random() < 0.7:
        fields.insert(int(choose.random() * (len(fields) + 1)), one(choose, (*_WRONG_FIELDS, *_FIELDS)))
    before = b"\r\n" if choose.random() < 0.1 else b""
    data = before + b"\r\n".join([first, *fields, b"", b""]) + bits(choose, 20)
    if choose.random() < 0.1:
        return before + some(choose, (*HEADS, *BYTES), 12)
    return mutated(choose, data) if wrong else data


_INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    b"\r\n",
    b"HTTP/1.1 199 \r\n\r\n",
)
_STATUSES = (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.0 200 OK", b"HTTP/1.1 304 x")
_BODIES = (b"Transfer-Encoding: chunked", b"Content-Length: %d", b"Content-Length: 7", b"X: y")

RESPONSES: Sequence[bytes] = (*_INTERIM, *HEADS, *CHUNKED, *[status + b"\r\n" for status in _STATUSES], b"\r\n\r\n")


def response(choose: Random) -> bytes:
    """A whole response, interim ones before it, and what may follow it."""
    before = some(choose, _INTERIM, 3) if choose.random() < 0.3 else b""
    framing = one(choose, _BODIES)
    body = chunked(choose) if framing == _BODIES[0] else bits(choose, 120)
    fields = [framing.replace(b"%d", b"%d" % len(body))]
    if choose.random() < 0.2:
        fields.insert(0, one(choose, _FIELDS[6:]))
    data = before + b"\r\n".join([one(choose, _STATUSES), *fields, b"", body])
    return mutated(choose, data, RESPONSES) if choose.random() < 0.3 else data
