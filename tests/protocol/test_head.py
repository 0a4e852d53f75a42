"""The strict check of heads: what is let through, what is refused and with which status, in every cut."""

from __future__ import annotations

from typing import Any

import h11
import pytest

import feeding
from penstock.protocol import head
from penstock.protocol.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError

POST = (
    b"POST /v1/chat/completions?a=%20 HTTP/1.1\r\n"
    b"Host: 127.0.0.1:8777\r\n"
    b"Accept: application/json\r\n"
    b"User-Agent:OpenAI/Python 2.54.0 \t\r\n"
    b"X-Empty:\r\n"
    b"X-Obs: \xff\r\n"
    b"Content-Length: 183\r\n"
    b"\r\n"
)


def test_what_a_request_says() -> None:
    found = head.check(POST)
    assert found.method == "POST"
    assert found.target == "/v1/chat/completions?a=%20"
    assert found.version == "1.1"
    assert found.host == "127.0.0.1:8777"
    assert found.headers == [
        (b"host", b"127.0.0.1:8777"),
        (b"accept", b"application/json"),
        (b"user-agent", b"OpenAI/Python 2.54.0"),
        (b"x-empty", b""),
        (b"x-obs", b"\xff"),
        (b"content-length", b"183"),
    ]
    assert (found.content_length, found.chunked) == (183, False)
    assert (found.keep_alive, found.expect_continue) == (True, False)


def test_what_a_response_says() -> None:
    found = head.check(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: Chunked\r\n\r\n", "response"
    )
    assert (found.status, found.reason, found.version) == (200, b"OK", "1.1")
    assert found.headers == [(b"content-type", b"text/event-stream"), (b"transfer-encoding", b"Chunked")]
    assert (found.content_length, found.chunked, found.keep_alive) == (None, True, True)


def request(*fields: bytes, line: bytes = b"POST / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


def response(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


GOOD_REQUESTS = {
    "1.0 without Host": request(line=b"GET / HTTP/1.0", host=b""),
    "asterisk": request(line=b"OPTIONS * HTTP/1.1"),
    "absolute": request(line=b"GET http://a/b HTTP/1.1"),
    "authority": request(line=b"CONNECT a:443 HTTP/1.1"),
    "a method of our own": request(line=b"M-SEARCH!#$%&'*+.^_`|~9 / HTTP/1.1"),
    "two slashes": request(line=b"GET //v1//models HTTP/1.1"),
    "odd target": request(line=b'GET /a|{}"<>\\^`[] HTTP/1.1'),
    "empty Host": request(host=b"Host:"),
    "IPv6": request(host=b"Host: [::1]:8777"),
    "repeated others": request(b"Accept: a", b"Accept: b", b"Set-Cookie: c"),
    "tab in a value": request(b"A: b\tc"),
    "zero length": request(b"Content-Length: 0"),
    "length in 1.0": request(b"Content-Length: 5", line=b"POST / HTTP/1.0"),
    "chunked": request(b"transfer-encoding:chunked"),
}


@pytest.mark.parametrize("data", GOOD_REQUESTS.values(), ids=GOOD_REQUESTS)
def test_what_is_let_through(data: bytes) -> None:
    assert head.check(data).version in ("1.0", "1.1")
    assert feeding.same_for_every_cut(head.Scanner, data) == (data, None)


# The head, its fault's kind, status, and where the offence begins (None: not said here).
BAD_REQUESTS: dict[str, tuple[bytes, str, int, int | None]] = {
    # The first line.
    "no version": (b"GET /\r\n\r\n", "bad_request_line", 400, 4),
    "no target": (b"GET HTTP/1.1\r\n\r\n", "bad_request_line", 400, 4),
    "nothing": (b"\r\n\r\n", "bad_method", 400, 0),
    "no line end": (b"GET / HTTP/1.1", "bad_method", 400, 0),
    "two spaces": (request(line=b"GET  / HTTP/1.1"), "bad_request_line", 400, 4),
    "space after the version": (request(line=b"GET / HTTP/1.1 "), "bad_request_line", 400, None),
    "space in the target": (request(line=b"GET /a b HTTP/1.1"), "bad_request_line", 400, 4),
    "tab": (request(line=b"GET\t/ HTTP/1.1"), "bad_method", 400, 0),
    "leading space": (request(line=b" GET / HTTP/1.1"), "bad_method", 400, 0),
    "method is no token": (request(line=b"G(T / HTTP/1.1"), "bad_method", 400, 0),
    "control character in the target": (request(line=b"GET /\x01 HTTP/1.1"), "bad_request_line", 400, 4),
    "raw non-ASCII in the target": (request(line="GET /é HTTP/1.1".encode()), "bad_request_line", 400, 4),
    "target without slash": (request(line=b"GET v1 HTTP/1.1"), "bad_target", 400, 4),
    "other scheme": (request(line=b"GET ftp://a/ HTTP/1.1"), "bad_target", 400, 4),
    "asterisk and more": (request(line=b"OPTIONS *a HTTP/1.1"), "bad_target", 400, 8),
    "HTTP/2.0": (b"PRI * HTTP/2.0\r\n\r\n", "bad_version", 505, 6),
    "HTTP/3.1": (request(line=b"GET / HTTP/3.1"), "bad_version", 505, 6),
    "HTTP/0.9": (request(line=b"GET / HTTP/0.9"), "bad_version", 505, 6),
    "HTTP/1.10": (request(line=b"GET / HTTP/1.10"), "bad_request_line", 400, 6),
    "HTTP/11": (request(line=b"GET / HTTP/11"), "bad_request_line", 400, 6),
    "http/1.1": (request(line=b"GET / http/1.1"), "bad_request_line", 400, 6),
    "ICY": (request(line=b"GET / ICY"), "bad_request_line", 400, 6),
    # Fields.
    "obs-fold": (request(b"A: b", b" c"), "obs_fold", 400, 32),
    "obs-fold with a tab": (request(b"A: b", b"\tc"), "obs_fold", 400, 32),
    "obs-fold first": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "obs_fold", 400, 16),
    "space before the colon": (request(b"A : b"), "space_before_colon", 400, 27),
    "tab before the colon": (request(b"A\t: b"), "space_before_colon", 400, 27),
    "no colon": (request(b"Abc"), "bad_header_name", 400, 29),
    "no name": (request(b": b"), "bad_header_name", 400, 26),
    "name is no token": (request(b"A(: b"), "bad_header_name", 400, 27),
    "non-ASCII name": (request("é: b".encode()), "bad_header_name", 400, 26),
    "control character in a value": (request(b"A: b\x01"), "bad_header_value", 400, 30),
    "DEL in a value": (request(b"A: \x7fb"), "bad_header_value", 400, 29),
    "vertical tab": (request(b"Transfer-Encoding: \x0bchunked"), "bad_header_value", 400, 45),
    "more after the end": (request() + b"x: y\r\n\r\n", "bad_end", 400, 28),
    "no blank line": (request()[:-2], "bad_end", 400, 26),
    # Host.
    "no Host": (request(host=b""), "missing_host", 400, None),
    "two Hosts": (request(b"host: b"), "repeated_host", 400, 26),
    "two equal Hosts": (request(b"Host: a"), "repeated_host", 400, 26),
    "two Hosts in 1.0": (request(b"host: b", line=b"GET / HTTP/1.0"), "repeated_host", 400, None),
    "Host with a path": (request(host=b"Host: a/b"), "bad_host", 400, 17),
    "Host with a user": (request(host=b"Host: u@a"), "bad_host", 400, 17),
    "Host as a list": (request(host=b"Host: a, b"), "bad_host", 400, 17),
    "Host with a space": (request(host=b"Host: a b"), "bad_host", 400, 17),
    "Host with a wrong port": (request(host=b"Host: a:b"), "bad_host", 400, 17),
    # Lengths.
    "two lengths": (request(b"Content-Length: 5", b"content-length: 6"), "repeated_content_length", 400, 45),
    "two equal lengths": (request(b"Content-Length: 5", b"Content-Length: 5"), "repeated_content_length", 400, 45),
    "listed lengths": (request(b"Content-Length: 5, 5"), "bad_content_length", 400, 26),
    "no length": (request(b"Content-Length:"), "bad_content_length", 400, 26),
    "plus": (request(b"Content-Length: +5"), "bad_content_length", 400, 26),
    "minus": (request(b"Content-Length: -5"), "bad_content_length", 400, 26),
    "underscore": (request(b"Content-Length: 1_0"), "bad_content_length", 400, 26),
    "hexadecimal": (request(b"Content-Length: 0x5"), "bad_content_length", 400, 26),
    "space within": (request(b"Content-Length: 1 0"), "bad_content_length", 400, 26),
    "other digits": (request("Content-Length: ٥".encode()), "bad_content_length", 400, 26),
    "endless": (request(b"Content-Length: " + b"9" * 5000), "bad_content_length", 400, 26),
    "length and chunked": (
        request(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        "length_with_coding",
        400,
        26,
    ),
    "length and another coding": (
        request(b"Transfer-Encoding: gzip", b"Content-Length: 5"),
        "length_with_coding",
        400,
        None,
    ),
    # Codings.
    "two codings": (
        request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        "repeated_transfer_encoding",
        400,
        54,
    ),
    "twice chunked": (request(b"Transfer-Encoding: chunked, chunked"), "bad_transfer_encoding", 400, 26),
    "chunked is not last": (request(b"Transfer-Encoding: chunked, gzip"), "bad_transfer_encoding", 400, 26),
    "empty coding": (request(b"Transfer-Encoding:"), "bad_transfer_encoding", 400, 26),
    "empty element": (request(b"Transfer-Encoding: ,chunked"), "bad_transfer_encoding", 400, 26),
    "quoted": (request(b'Transfer-Encoding: "chunked"'), "bad_transfer_encoding", 400, 26),
    "with a parameter": (request(b"Transfer-Encoding: chunked;q=1"), "bad_transfer_encoding", 400, 26),
    "chunked in 1.0": (
        request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"),
        "bad_transfer_encoding",
        400,
        26,
    ),
    "gzip": (request(b"Transfer-Encoding: gzip"), "unknown_transfer_encoding", 501, 26),
    "gzip, chunked": (request(b"Transfer-Encoding: gzip, chunked"), "unknown_transfer_encoding", 501, 26),
    "identity": (request(b"Transfer-Encoding: identity"), "unknown_transfer_encoding", 501, 26),
    "xchunked": (request(b"Transfer-Encoding: xchunked"), "unknown_transfer_encoding", 501, 26),
}


@pytest.mark.parametrize(("data", "kind", "status", "offset"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_what_is_refused(data: bytes, kind: str, status: int, offset: int | None) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        head.check(data)
    assert (raised.value.kind, raised.value.status) == (kind, status)
    assert offset in (None, raised.value.offset)


# Bytes that may stand nowhere in a head: found by the scanner already, and by `check` alone as well.
BAD_BYTES = {
    "bare LF in the first line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "bare_lf", 14),
    "bare LF after a field": (b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", "bare_lf", 23),
    "bare LF for the end": (b"GET / HTTP/1.1\r\nHost: a\r\n\nx\r\n\r\n", "bare_lf", 25),
    "only bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", "bare_lf", 14),
    "bare CR in the first line": (b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", "bare_cr", 5),
    "bare CR in a value": (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", "bare_cr", 20),
    "two CR": (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "bare_cr", 14),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "nul", 5),
    "NUL in a name": (b"GET / HTTP/1.1\r\nA\0: b\r\n\r\n", "nul", 17),
    "NUL in a value": (b"GET / HTTP/1.1\r\nA: \0b\r\n\r\n", "nul", 19),
}


@pytest.mark.parametrize(("data", "kind", "offset"), BAD_BYTES.values(), ids=BAD_BYTES)
def test_bad_bytes_are_refused_at_once(data: bytes, kind: str, offset: int) -> None:
    assert feeding.same_for_every_cut(head.Scanner, data) == (None, (kind, offset))
    with pytest.raises(RemoteProtocolError) as raised:
        head.check(data)
    assert (raised.value.kind, raised.value.offset, raised.value.status) == (kind, offset, 400)


CONNECTIONS = {
    "1.1": (b"1.1", [], True),
    "1.0": (b"1.0", [], False),
    "close": (b"1.1", [b"Connection: close"], False),
    "Close in a list": (b"1.1", [b"Connection: keep-alive,  Close"], False),
    "close in another line": (b"1.1", [b"Connection: x", b"connection: close"], False),
    "1.0 that stays": (b"1.0", [b"Connection: Keep-Alive"], True),
    "1.0 that goes": (b"1.0", [b"Connection: keep-alive, close"], False),
    "another word": (b"1.1", [b"Connection: closed"], True),
}


@pytest.mark.parametrize(("version", "fields", "stays"), CONNECTIONS.values(), ids=CONNECTIONS)
def test_whether_the_connection_stays(version: bytes, fields: list[bytes], stays: bool) -> None:
    assert head.check(request(*fields, line=b"GET / HTTP/" + version)).keep_alive is stays
    assert head.check(response(*fields, line=b"HTTP/" + version + b" 200 OK"), "response").keep_alive is stays


def test_whether_the_client_waits_for_a_100() -> None:
    assert head.check(request(b"Expect: 100-Continue")).expect_continue
    assert not head.check(request(b"Expect: other")).expect_continue
    assert not head.check(request(b"Expect: 100-continue", line=b"POST / HTTP/1.0")).expect_continue


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK"),
        (b"HTTP/1.0 404 Not Found", 404, b"Not Found"),
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200", 200, b""),
        (b"HTTP/1.1 599 \xc3\xa9", 599, b"\xc3\xa9"),
    ],
)
def test_status_lines(line: bytes, status: int, reason: bytes) -> None:
    found = head.check(response(line=line), "response")
    assert (found.status, found.reason) == (status, reason)


def test_a_higher_minor_version_is_read_as_1_1() -> None:
    """RFC 9110, section 2.5."""
    asked = head.check(request(b"Transfer-Encoding: chunked", b"Expect: 100-continue", line=b"POST / HTTP/1.2"))
    assert (asked.version, asked.chunked, asked.keep_alive, asked.expect_continue) == ("1.2", True, True, True)
    with pytest.raises(RemoteProtocolError, match="must have a Host"):
        head.check(b"GET / HTTP/1.9\r\n\r\n")
    answered = head.check(response(b"Transfer-Encoding: chunked", line=b"HTTP/1.2 200 OK"), "response")
    assert (answered.version, answered.chunked, answered.keep_alive) == ("1.2", True, True)


BAD_RESPONSES = {
    "HTTP/2": (response(line=b"HTTP/2 200 OK"), "bad_version"),
    "HTTP/3.1": (response(line=b"HTTP/3.1 200 OK"), "bad_version"),
    "ICY": (response(line=b"ICY 200 OK"), "bad_status_line"),
    "two digits": (response(line=b"HTTP/1.1 20 OK"), "bad_status_line"),
    "four digits": (response(line=b"HTTP/1.1 2000 OK"), "bad_status_line"),
    "status zero": (response(line=b"HTTP/1.1 000 OK"), "bad_status_line"),
    "control character": (response(line=b"HTTP/1.1 200 \x01"), "bad_status_line"),
    "bare LF": (b"HTTP/1.1 200 OK\nA: b\r\n\r\n", "bare_lf"),
    "a request": (request(), "bad_status_line"),
    "length and chunked": (response(b"Content-Length: 5", b"Transfer-Encoding: chunked"), "length_with_coding"),
    "two lengths": (response(b"Content-Length: 5", b"Content-Length: 5"), "repeated_content_length"),
    "obs-fold": (response(b"A: b", b" c"), "obs_fold"),
    "gzip": (response(b"Transfer-Encoding: gzip"), "unknown_transfer_encoding"),
}


@pytest.mark.parametrize(("data", "kind"), BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_responses_that_are_refused(data: bytes, kind: str) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        head.check(data, "response")
    assert raised.value.kind == kind


# --- where a head ends ---


def test_a_head_in_any_cut_and_what_follows_it() -> None:
    for chunks in feeding.cuts(POST + b"\r\nbody\n\0"):
        scanner = head.Scanner()
        assert feeding.outcome(scanner, chunks) == (POST, None)
        assert scanner.done
        assert scanner.unused == b"\r\nbody\n\0"


def test_the_head_comes_with_its_last_byte() -> None:
    scanner = head.Scanner()
    for byte in feeding.bytewise(POST[:-1]):
        assert scanner.feed(byte) == b""
    assert scanner.pending
    assert scanner.feed(b"\n") == POST
    assert not scanner.pending


def test_one_empty_line_before_the_head_is_skipped() -> None:
    assert feeding.same_for_every_cut(head.Scanner, b"\r\n" + POST) == (POST, None)
    with pytest.raises(RemoteProtocolError):
        head.check(feeding.same_for_every_cut(head.Scanner, b"\r\n\r\n" + POST).results)


@pytest.mark.parametrize("data", [b"", b"\r", b"\r\n"])
def test_a_connection_may_end_before_a_head(data: bytes) -> None:
    assert feeding.same_for_every_cut(head.Scanner, data) == (None, None)


def test_a_connection_may_not_end_within_a_head() -> None:
    for end in range(1, len(POST)):
        scanner = head.Scanner()
        scanner.feed(POST[:end])
        assert scanner.pending
        with pytest.raises(RemoteProtocolError) as raised:
            scanner.close()
        assert (raised.value.kind, raised.value.offset) == ("incomplete_head", end)


LIMIT = 40
LIMITED: dict[str, tuple[bytes, tuple[str, int] | None, int]] = {
    "just fits": (b"GET / HTTP/1.1\r\nHost: 34567890123456\r\n\r\n", None, 0),
    "one too many": (b"GET / HTTP/1.1\r\nHost: 345678901234567\r\n\r\n", ("head_too_large", LIMIT), 431),
    "no end": (b"GET / HTTP/1.1\r\nHost: " + b"a" * 50, ("head_too_large", LIMIT), 431),
    "long target": (b"GET /" + b"a" * 50 + b" HTTP/1.1\r\nHost: a\r\n\r\n", ("target_too_long", LIMIT), 414),
    "line end is not within": (b"GET /" + b"a" * 25 + b" HTTP/1.1\r\nHost: a\r\n\r\n", ("target_too_long", LIMIT), 414),
    "line end is just within": (b"GET /" + b"a" * 24 + b" HTTP/1.1\r\nHost: a\r\n\r\n", ("head_too_large", LIMIT), 431),
    "empty line counts": (b"\r\n" + b"a" * 40, ("target_too_long", LIMIT), 414),
    "NUL within": (b"a" * 39 + b"\0", ("nul", 39), 400),
    "NUL beyond": (b"a" * 40 + b"\0", ("target_too_long", LIMIT), 414),
    "bare CR at the edge": (b"a" * 39 + b"\rb", ("bare_cr", 39), 400),
    "CRLF over the edge": (b"a" * 39 + b"\r\n", ("target_too_long", LIMIT), 414),
}


@pytest.mark.parametrize(("data", "fault", "status"), LIMITED.values(), ids=LIMITED)
def test_the_limit_does_not_depend_on_the_cut(data: bytes, fault: tuple[str, int] | None, status: int) -> None:
    def limited() -> head.Scanner:
        return head.Scanner(LIMIT)

    found = feeding.same_for_every_cut(limited, data)
    assert found == (data if fault is None else None, fault)
    if fault is not None:
        with pytest.raises(RemoteProtocolError) as raised:
            limited().feed(data)
        assert raised.value.status == status
        assert isinstance(raised.value, LimitExceeded) == (status != 400)


def test_a_fault_keeps_nothing() -> None:
    scanner = head.Scanner(1000)
    held = 0
    while scanner.fault is None:
        try:
            scanner.feed(b"a" * 64)
        except LimitExceeded:
            break
        held += 64
        assert len(scanner._held) == held <= 1000
    assert len(scanner._held) == 0


@pytest.mark.parametrize("piece", [1, 64])
def test_c45_work_is_linear_in_the_bytes(piece: int) -> None:
    scanner: Any = head.Scanner()
    data = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 2000
    assert feeding.work(scanner, data, piece) <= 12 * len(data)


WRITTEN = [("host", "127.0.0.1:9"), ("content-type", "application/json"), ("x-odd_name!", "a\tb \xe9"), ("x-empty", "")]


def test_a_request_that_was_written_reads_back_here_and_in_h11() -> None:
    raw = head.encode_request("POST", "/v1/chat/completions?a=%20", WRITTEN)
    fields = [(name.encode(), value.encode("latin-1")) for name, value in WRITTEN]
    found = head.check(raw)
    assert (found.method, found.target, found.headers) == ("POST", "/v1/chat/completions?a=%20", fields)
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(raw)
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target, list(event.headers)) == (b"POST", b"/v1/chat/completions?a=%20", fields)


@pytest.mark.parametrize("status", [200, 404, 418, 599])
def test_a_response_that_was_written_reads_back_here_and_in_h11(status: int) -> None:
    raw = head.encode_response(status, WRITTEN)
    found = head.check(raw, kind="response")
    assert (found.status, len(found.headers)) == (status, len(WRITTEN))
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    reader.receive_data(raw)
    event = reader.next_event()
    assert isinstance(event, h11.Response)
    assert (event.status_code, list(event.headers)) == (status, found.headers)


def test_whatever_request_is_let_through_h11_reads_the_same() -> None:
    found = head.check(POST)
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(POST)
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method.decode(), event.target.decode()) == (found.method, found.target)
    assert list(event.headers) == found.headers


@pytest.mark.parametrize(
    "header",
    [
        ("x", "a\r\nset-cookie: b"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x y", "a"),
        ("x\r\ny", "a"),
        ("", "a"),
        ("x", "ж"),
    ],
)
def test_no_head_carries_what_it_cannot(header: tuple[str, str]) -> None:
    for write in (
        lambda: head.encode_response(200, [header]),
        lambda: head.encode_request("GET", "/", [("a", "b"), header]),
    ):
        with pytest.raises(LocalProtocolError):
            write()


@pytest.mark.parametrize(("method", "target"), [("GET", "/a b"), ("GET", "/\r\nx"), ("G T", "/"), ("GET", "")])
def test_no_first_line_carries_what_it_cannot(method: str, target: str) -> None:
    with pytest.raises(LocalProtocolError):
        head.encode_request(method, target, [])
