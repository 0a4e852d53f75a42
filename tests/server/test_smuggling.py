"""Request smuggling: what two readers could read in two ways is a 400 and the end; nothing after it is a request."""

import pytest
from trio.testing import wait_all_tasks_blocked

from answers import bytewise
from door import ANSWER, CHAT, PATH, ended, refused, request
from rig import Rig
from scripted import Upstream

CHUNKED = request("POST", PATH, "Transfer-Encoding: chunked")
SIZED = request(body=CHAT)


@pytest.fixture
def upstream(nursery):
    return Upstream(nursery, always=ANSWER)


@pytest.fixture
def rig(nursery, upstream):
    return Rig(nursery, upstream)


SMUGGLED = request("GET", "/health")


def post(*fields):
    return request("POST", PATH, *fields)


@pytest.mark.parametrize(
    "raw",
    [
        post("Content-Length: 4", "Content-Length: 4"),
        post("Content-Length: 4", "Content-Length: 5"),
        post("Content-Length: 4, 4"),
        post("Content-Length: +4"),
        post("Content-Length: 4_0"),
        post("Content-Length: 0x4"),
        post("Content-Length: -1"),
        post("Content-Length:"),
        post("Content-Length: 4", "Transfer-Encoding: chunked"),
        post("Transfer-Encoding: chunked", "Content-Length: 4"),
        post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        post("Transfer-Encoding: chunked, chunked"),
        post("Transfer-Encoding: chunked, identity"),
        post("Transfer-Encoding: \x0bchunked"),
        post("Transfer-Encoding : chunked"),
        post("Transfer-Encoding\t: chunked"),
        post(" Transfer-Encoding: chunked"),
        post("X: y", " folded: chunked"),
        post("X: y\r\n\tfolded"),
        post("X: a\rb"),
        post("X: a\nTransfer-Encoding: chunked"),
        post("X: a\x00b"),
        post("no colon"),
        post(": no name"),
        post("X(y): z"),
        post().replace(b"\r\n", b"\n"),
        post().replace(b"\r\n\r\n", b"\r\n\n"),
        post().replace(b"POST ", b"POST\t"),
        post().replace(b" /v1", b"  /v1"),
        post().replace(b"HTTP/1.1", b"HTTP/1.1 "),
        post().replace(b"HTTP/1.1", b"HTTP/1.10"),
        post().replace(b"/v1/", b"/v1/\x80"),
        post("Host: 127.0.0.1:8777"),
        b"POST /v1/chat/completions HTTP/1.1\r\n\r\n",
        post().replace(b"Host: 127.0.0.1", b"Host: a b"),
        post("Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
        post().replace(b" /v1", b" v1"),
    ],
)
async def test_a_head_that_two_readers_could_read_differently_is_400_and_the_end(rig, upstream, autojump_clock, raw):
    client = rig.connect()
    await client.raw(raw + b"0\r\n\r\n" + SMUGGLED + SIZED)
    client.expect()
    answer = await client.answer()
    refused(answer, 400, "invalid_request")
    assert answer.headers["connection"] == "close"
    await ended(client)  # no second answer: nothing that followed was taken for a request
    assert not upstream.requests


@pytest.mark.parametrize(
    "body",
    [
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\t\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nhello",
        b"0\r\nContent-Length : 5\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nX: a\nY: b\r\n\r\n",
    ],
)
async def test_a_chunked_body_that_is_not_exactly_one_is_400_and_the_end(rig, upstream, autojump_clock, body):
    for pieces in ([CHUNKED + body + SMUGGLED], [CHUNKED, *bytewise(body), SMUGGLED]):
        client = rig.connect()
        for piece in pieces:
            if not client.stream.idle_and_open():
                break  # refused already, before it was all said
            await client.raw(piece)
            await wait_all_tasks_blocked()
        client.expect()
        answer = await client.answer()
        refused(answer, 400, "invalid_request")
        assert answer.headers["connection"] == "close"
        await ended(client)
    assert not upstream.requests
