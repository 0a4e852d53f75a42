"""A strict look at the head of a request or response (RFC 9112), before anything believes it.

Smuggling lives on heads that two parsers read in two ways. So whatever the grammar does not allow is
refused, also where the RFC lets a recipient be kind: bare CR or LF as line end, NUL and other control
characters, folded lines, white space before the colon, more than one Content-Length (also if they agree), a
Content-Length beside a Transfer-Encoding, a Transfer-Encoding that is not exactly `chunked`. A minor version above
1.1 is read as 1.1, which no two parsers read in two ways (RFC 9110, section 2.5).

`Scanner` finds where the head ends, within a limit that does not depend on the cuts; `check` judges a whole
head and returns what it read. It is on the path of every request: one match for the first line, one `findall`
for all the fields, in which whatever is no field is caught by the last alternative. `encode_request` and
`encode_response` write heads by the same grammar, and cannot be made to write a field that was not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple, NoReturn, overload

from .errors import LimitExceeded, LocalProtocolError, RemoteProtocolError
from .machine import Machine

__all__ = ["RequestHead", "ResponseHead", "Scanner", "check", "encode_request", "encode_response"]

Fields = list[tuple[bytes, bytes]]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"  # field-content: obs-text is let through, it delimits nothing
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/(1\.[0-9])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/(1\.[0-9]) ([1-9][0-9]{2})(?: (" + _TEXT + rb"))?\r\n")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):(" + _TEXT + rb")\r\n|([\s\S]+)")
_END = (b"", b"", b"\r\n")
_HTTP_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
# origin-form, absolute-form, asterisk-form, authority-form (which is CONNECT's): RFC 9112, section 3.2
_TARGET = re.compile(rb"/|https?://[^/?]|\*\Z", re.IGNORECASE)
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+;=]*|\[[0-9A-Fa-f:.%A-Za-z\-_~]+\])(?::[0-9]*)?")
_BAD_BYTE = re.compile(rb"\0|(?<!\r)\n|\r(?=[^\n])")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class RequestHead(NamedTuple):
    """What a request's head says. Names of headers in lower case, values without white space around them.

    `content_length` is None if none is given, `chunked` if the body comes in chunked coding; `keep_alive` is
    what the client wants of the connection, `expect_continue` whether it waits for a 100.
    """

    method: str
    target: str
    version: str
    headers: Fields
    host: str
    content_length: int | None
    chunked: bool
    keep_alive: bool
    expect_continue: bool


class ResponseHead(NamedTuple):
    """What a response's head says; as RequestHead."""

    status: int
    reason: bytes
    version: str
    headers: Fields
    content_length: int | None
    chunked: bool
    keep_alive: bool


@overload
def check(head: bytes, kind: Literal["request"] = "request") -> RequestHead: ...
@overload
def check(head: bytes, kind: Literal["response"]) -> ResponseHead: ...
def check(head: bytes, kind: Literal["request", "response"] = "request") -> RequestHead | ResponseHead:
    """Judge a whole head, from its first line through its blank line, and return what it says.

    Raises RemoteProtocolError: `offset` is where in the head the offence begins, `status` what answers it
    (400, 501 for a transfer coding that is not ours, 505 for another major version than 1).
    """
    return _request(head) if kind == "request" else _response(head)


def _request(head: bytes) -> RequestHead:
    line = _REQUEST_LINE.match(head)
    if line is None:
        _refuse_request_line(head)
    method, target, version = line.groups()
    if target[0] != 0x2F and not _TARGET.match(target) and method != b"CONNECT":
        _refuse("the request target has none of the four forms", "bad_target", line.start(2))
    headers, names = _fields(head, line.end())
    if len(names) != len(headers):
        _refuse_repeated(head, headers, b"host")
    host = names.get(b"host", b"")
    if b"host" not in names and version != b"1.0":
        _refuse("a request of HTTP/1.1 must have a Host", "missing_host", len(head) - 2)
    if not _HOST.fullmatch(host):
        _refuse("the Host is malformed", "bad_host", _place(head, b"host"))
    length, chunked, keep_alive = _framing(head, version, headers, names)
    return RequestHead(
        method.decode("ascii"),
        target.decode("ascii"),
        version.decode("ascii"),
        headers,
        host.decode("ascii"),
        length,
        chunked,
        keep_alive,
        b"expect" in names and version != b"1.0" and names[b"expect"].lower() == b"100-continue",
    )


def _response(head: bytes) -> ResponseHead:
    line = _STATUS_LINE.match(head)
    if line is None:
        _refuse_byte(head, head.find(b"\r\n") + 2)
        known = head[:5] == b"HTTP/" and not re.match(rb"1\.[0-9]", head[5:8])
        _refuse("not a status line", "bad_version" if known else "bad_status_line", 0)
    version, status, reason = line.groups()
    headers, names = _fields(head, line.end())
    return ResponseHead(
        int(status), reason or b"", version.decode("ascii"), headers, *_framing(head, version, headers, names)
    )


def _fields(head: bytes, start: int) -> tuple[Fields, dict[bytes, bytes]]:
    """All fields in order, and by name (of repeated ones the last)."""
    found = _FIELD.findall(head, start)
    if not found or found.pop() != _END:
        _refuse_field(head, start)
    headers = [(name.lower(), value.strip(b" \t")) for name, value, _ in found]
    return headers, dict(headers)


def _framing(head: bytes, version: bytes, headers: Fields, names: dict[bytes, bytes]) -> tuple[int | None, bool, bool]:
    """Content-Length, whether chunked, whether the connection stays: RFC 9112, sections 6 and 9.3."""
    if len(names) != len(headers):
        _refuse_repeated(head, headers, b"content-length")
        _refuse_repeated(head, headers, b"transfer-encoding")
    length = None
    if (digits := names.get(b"content-length")) is not None:
        if not _LENGTH.fullmatch(digits):
            _refuse("the Content-Length is not one number", "bad_content_length", _place(head, b"content-length"))
        length = int(digits)
    if coding := b"transfer-encoding" in names:
        if length is not None:
            _refuse(
                "Content-Length beside Transfer-Encoding",
                "length_with_coding",
                _place(head, b"content-length"),
            )
        _check_coding(head, version, names[b"transfer-encoding"])
    keep_alive = version != b"1.0"
    if b"connection" in names:
        said = b",".join(value for name, value in headers if name == b"connection").lower()
        options = {option.strip(b" \t") for option in said.split(b",")}
        keep_alive = b"close" not in options and (keep_alive or b"keep-alive" in options)
    return length, coding, keep_alive


def _check_coding(head: bytes, version: bytes, value: bytes) -> None:
    codings = [coding.strip(b" \t").lower() for coding in value.split(b",")]
    if codings == [b"chunked"] and version != b"1.0":
        return
    place = _place(head, b"transfer-encoding")
    if version == b"1.0":
        _refuse("HTTP/1.0 has no Transfer-Encoding", "bad_transfer_encoding", place)
    # RFC 9112, section 6.1: "A sender MUST NOT apply the chunked transfer coding more than once", and it
    # must be the final one. A chunked that is not the last is an attack and no coding.
    if b"chunked" in codings[:-1] or not all(re.fullmatch(_TOKEN, coding) for coding in codings):
        _refuse("the Transfer-Encoding is malformed", "bad_transfer_encoding", place)
    _refuse("the Transfer-Encoding is not supported", "unknown_transfer_encoding", place, 501)


# --- what exactly is wrong ---


def _refuse(message: str, kind: str, offset: int, status: int = 400) -> NoReturn:
    raise RemoteProtocolError(message, kind=kind, offset=offset, status=status)


def _refuse_byte(head: bytes, end: int) -> None:
    """Refuse the first byte before `end` that may stand nowhere in a head."""
    if bad := _bad_byte(head, 0, end):
        raise bad


def _bad_byte(data: bytes | bytearray, start: int, end: int) -> RemoteProtocolError | None:
    found = _BAD_BYTE.search(data, start, end)
    if found is None:
        return None
    name, kind = {b"\0": ("a NUL", "nul"), b"\n": ("a bare LF", "bare_lf"), b"\r": ("a bare CR", "bare_cr")}[found[0]]
    return RemoteProtocolError(f"{name} in the head", kind=kind, offset=found.start())


def _refuse_request_line(head: bytes) -> NoReturn:
    end = head.find(b"\r\n")
    _refuse_byte(head, len(head) if end < 0 else end + 2)
    line = head[: max(end, 0)]
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if not re.fullmatch(_TOKEN, method):
        _refuse("the method is no token", "bad_method", 0)
    if not re.fullmatch(rb"[\x21-\x7e]+", target):
        _refuse("the request line is malformed", "bad_request_line", len(method) + 1)
    if not _HTTP_VERSION.fullmatch(version):
        _refuse("the request line ends in no HTTP version", "bad_request_line", len(line) - len(version))
    _refuse("only HTTP/1 is spoken here", "bad_version", len(line) - len(version), 505)


_GOOD_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":" + _TEXT + rb"\r\n)*")
_GOOD_START = re.compile(rb"(?:" + _TOKEN + rb"(:" + _TEXT + rb")?)?")


def _refuse_field(head: bytes, start: int) -> NoReturn:
    """Something after `start` is no field, or the blank line is missing."""
    _refuse_byte(head, len(head))
    good = _GOOD_FIELDS.match(head, start)
    assert good is not None
    at = good.end()
    line = head[at:]
    if line[:1] in (b" ", b"\t"):
        _refuse("a folded line", "obs_fold", at)
    if line in (b"", b"\r") or line.startswith(b"\r\n"):
        _refuse("the head does not end in one blank line", "bad_end", min(at + 2, len(head)))
    begin = _GOOD_START.match(line)
    assert begin is not None
    at += begin.end()
    if begin[1]:
        _refuse("a control character in a header's value", "bad_header_value", at)
    if head[at : at + 1] in (b" ", b"\t"):
        _refuse("white space before the colon", "space_before_colon", at)
    _refuse("a header's name is no token, or has no colon", "bad_header_name", at)


def _refuse_repeated(head: bytes, headers: Fields, name: bytes) -> None:
    if sum(header == name for header, _ in headers) > 1:
        kind = "repeated_" + name.decode().replace("-", "_")
        _refuse(f"more than one {name.decode().title()}", kind, head.lower().rindex(b"\r\n" + name + b":") + 2)


def _place(head: bytes, name: bytes) -> int:
    """Where the field begins; only asked for names that are there."""
    return head.lower().index(b"\r\n" + name + b":") + 2


# --- writing ---

_REASONS = {
    100: "Continue", 200: "OK", 204: "No Content", 304: "Not Modified", 400: "Bad Request", 401: "Unauthorized",
    402: "Payment Required", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
    409: "Conflict", 411: "Length Required", 413: "Content Too Large", 414: "URI Too Long",
    415: "Unsupported Media Type", 417: "Expectation Failed", 422: "Unprocessable Content", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}  # fmt: skip
_GOOD_REQUEST = re.compile(
    rb"(?:" + _TOKEN + rb") [\x21-\x7e]+ HTTP/1\.1\r\n(?:" + _TOKEN + rb": " + _TEXT + rb"\r\n)*"
)
_GOOD_RESPONSE = re.compile(rb"HTTP/1\.1 [1-9][0-9]{2} [A-Za-z ]*\r\n(?:" + _TOKEN + rb": " + _TEXT + rb"\r\n)*")


def encode_request(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of an HTTP/1.1 request. Raises LocalProtocolError for what a head cannot carry."""
    return _encode(f"{method} {target} HTTP/1.1", headers, _GOOD_REQUEST)


def encode_response(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of an HTTP/1.1 response. Raises LocalProtocolError for what a head cannot carry."""
    return _encode(f"HTTP/1.1 {status} {_REASONS.get(status, '')}", headers, _GOOD_RESPONSE)


def _encode(first: str, headers: Iterable[tuple[str, str]], good: re.Pattern[bytes]) -> bytes:
    lines = [first, *[f"{name}: {value}" for name, value in headers], ""]
    text = "\r\n".join(lines)
    try:
        head = text.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise LocalProtocolError("a head can carry no characters beyond Latin-1") from exc
    # A value with a line end in it would read as a field of its own: hence the count beside the grammar.
    if good.fullmatch(head) is None or text.count("\r\n") != len(lines) - 1:
        raise LocalProtocolError("a name or value that no head can carry")
    return head + b"\r\n"


def _has_odd_bytes(region: bytes | bytearray) -> bool:
    """Whether there is a NUL, or a CR or LF without the other."""
    ends = region.count(b"\r\n")
    return region.count(b"\n") != ends or region.count(b"\r") != ends or b"\0" in region


class Scanner(Machine[bytes]):
    """Bytes to one whole head, from the first line through the blank line; `.unused` is what follows.

    `feed` returns b"" until the head is whole. At most `max_bytes`: past them the fault is a LimitExceeded of
    status 414 if not even the first line has ended, else 431. Bare CR, bare LF and NUL are faults at once, since
    the end may never come. One empty line before the head is skipped (RFC 9112, section 2.2). Held back: an
    unfinished head.
    """

    __slots__ = ("_held", "_limit", "done", "unused")

    _empty = bytes

    def __init__(self, max_bytes: int = 64 * 1024) -> None:
        super().__init__()
        self.done = False
        """Whether the head is whole."""
        self.unused = b""
        """What follows the head."""
        self._limit = max_bytes
        self._held = bytearray()

    @property
    def pending(self) -> bool:
        """Whether a head has begun and not ended."""
        return bytes(self._held[:3]) not in (b"", b"\r", b"\r\n")

    def _take(self, chunk: bytes) -> bytes:
        if self.done:
            self.unused += chunk
            return b""
        end = chunk.find(b"\r\n\r\n") + 4 if not self._held and chunk[:2] != b"\r\n" else 0
        if 4 <= end <= self._limit and not _has_odd_bytes(chunk[:end]):  # the whole of it, as nearly always
            self.done = True
            self.unused = chunk[end:]
            return chunk[:end]
        held, before = self._held, len(self._held)
        held += chunk
        skip = 2 if held.startswith(b"\r\n") else 0
        end = held.find(b"\r\n\r\n", max(before - 3, skip)) + 4
        stop = end if end >= 4 else len(held)
        self.fault = self._bad_byte(max(before - 1, 0), min(stop, self._limit + 1))
        if self.fault is None and stop > self._limit:
            self.fault = self._excess(skip)
        if self.fault is None:
            if end < 4:
                return b""
            self.done = True
            self.unused = bytes(held[end:])
        head = bytes(held[skip:end]) if self.done else b""
        held.clear()
        return head

    def _bad_byte(self, start: int, stop: int) -> RemoteProtocolError | None:
        """The fault of the first bad byte within the limit; a CR that ends the region may yet be good."""
        if not _has_odd_bytes(self._held[start:stop]):
            return None
        fault = _bad_byte(self._held, start, stop)
        return fault if fault is not None and fault.offset < self._limit else None

    def _excess(self, skip: int) -> LimitExceeded:
        limit = self._limit
        if self._held.find(b"\r\n", skip, limit) < 0:
            return LimitExceeded(
                "the first line is too long", kind="target_too_long", limit=limit, offset=limit, status=414
            )
        return LimitExceeded("the head is too large", kind="head_too_large", limit=limit, offset=limit, status=431)

    def _end(self) -> bytes:
        if self.pending:
            self.fault = RemoteProtocolError("the head ended too early", kind="incomplete_head", offset=len(self._held))
            self._held.clear()
        return b""
