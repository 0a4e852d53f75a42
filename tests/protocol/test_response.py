"""A whole HTTP response: where its body begins and ends, whatever the cuts."""

from __future__ import annotations

from typing import Any

import pytest

from feeding import cuts, outcome
from penstock.protocol.errors import LimitExceeded, RemoteProtocolError
from penstock.protocol.response import Counted, Response, UntilEnd, body_of

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def read(data: bytes, **options: Any) -> tuple[Any, ...]:
    """The same for every cut: the body, whether it is whole, what is behind it, and the fault."""
    results = set()
    for chunks in cuts(data):
        response = Response(**options)
        found = outcome(response, chunks, joined=True)
        body = found.results
        fault = response.fault and (type(response.fault), response.fault.kind, response.fault.offset)
        results.add((response.head and response.head.status, body, response.done, response.unused, fault))
    (only,) = results
    return only


@pytest.mark.parametrize("before", [b"", INTERIM, b"\r\n"])
@pytest.mark.parametrize("data", [SIZED, CHUNKED, ENDLESS], ids=["sized", "chunked", "until the end"])
def test_the_three_ways_a_body_ends(before: bytes, data: bytes) -> None:
    assert read(before + data) == (200, b"hello", True, b"", None)


@pytest.mark.parametrize("data", [SIZED, CHUNKED])
def test_what_follows_is_kept(data: bytes) -> None:
    assert read(data + b"HTTP/1.1 2") == (200, b"hello", True, b"HTTP/1.1 2", None)


@pytest.mark.parametrize(
    ("method", "head"),
    [("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), ("POST", b"HTTP/1.1 204 No Content\r\n\r\n")],
)
def test_some_responses_have_no_body(method: str, head: bytes) -> None:
    assert read(head + b"next", method=method)[1:] == (b"", True, b"next", None)


def test_a_body_cut_short_is_a_fault_where_it_ended() -> None:
    head = SIZED.index(b"hello")
    assert read(SIZED[:-2]) == (200, b"hel", False, b"", (RemoteProtocolError, "truncated_body", head + 3))
    assert read(CHUNKED[:-2])[4] is not None


def test_offsets_count_from_the_first_byte() -> None:
    broken = CHUNKED.replace(b"2\r\nlo", b"x\r\nlo")
    assert read(INTERIM + broken)[4] == (
        RemoteProtocolError,
        "bad_chunk_size",
        len(INTERIM) + broken.index(b"x\r\nlo"),
    )


@pytest.mark.parametrize("data", [b"", b"\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_no_response_at_all(data: bytes) -> None:
    status, body, done, _, fault = read(data)
    assert (status, body, done) == (None, b"", False)
    assert fault[1] == "incomplete_head"


def test_what_is_no_http() -> None:
    assert read(b"HTTP/1.1 200 OK\nX: y\n\n")[4][0] is RemoteProtocolError
    assert read(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")[4][0] is RemoteProtocolError


def test_all_heads_together_have_one_limit() -> None:
    head = ENDLESS[: -len(b"hello")]
    whole = INTERIM + head
    assert read(whole + b"hello", max_head_bytes=len(whole))[4] is None
    assert read(whole + b"hello", max_head_bytes=len(whole) - 1)[4][0] is LimitExceeded


def test_body_of_says_which_it_is() -> None:
    assert isinstance(body_of("GET", 200, chunked=False, length=None), UntilEnd)
    assert isinstance(body_of("GET", 200, chunked=False, length=3), Counted)
    assert body_of("HEAD", 200, chunked=True, length=None).done


def test_a_counted_body_at_every_cut() -> None:
    data = b"0123456789rest"
    for cut in range(len(data) + 1):
        body = Counted(10)
        pieces = body.feed(data[:cut]) + body.feed(data[cut:])
        assert b"".join(pieces) == b"0123456789"
        assert body.done
        assert body.unused == b"rest"
        assert body.close() == []


def test_a_piece_is_handed_on_without_copying() -> None:
    data = b"x" * 1000
    assert Counted(2000).feed(data)[0] is data
    assert UntilEnd().feed(data)[0] is data


def test_a_short_body_is_a_fault_at_the_end() -> None:
    body = Counted(10)
    body.feed(b"123")
    with pytest.raises(RemoteProtocolError) as caught:
        body.close()
    assert caught.value.kind == "truncated_body"


def test_a_body_of_nothing_is_done() -> None:
    assert Counted(0).done


def test_a_body_until_the_end_is_done_at_the_end() -> None:
    body = UntilEnd()
    assert body.feed(b"all of it") == [b"all of it"]
    assert not body.done
    assert body.close() == []
    assert body.done
