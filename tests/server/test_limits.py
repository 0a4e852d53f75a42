"""Every limit of the door: just within it, just over it, and what whoever is over it is told; docs/limits.md."""

import gzip
import json
import re
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import penstock
from answers import DONE, LAST, chunked, finish, role, sse, text
from answers import STREAM as HEAD
from door import ANSWER, CHAT, PATH, ended, refused, request
from penstock.providers.settings import TimeoutSettings
from penstock.server.config import Limits, TimeoutTable
from rig import Rig
from scripted import EXPECT_CLOSE, Upstream

READY = request("GET", "/ready")
SMALL = "[limits]\nheader_bytes = 500\ntarget_bytes = 100\nbody_bytes = 200\npipeline_bytes = 100\njson_depth = 8\n"


@pytest.fixture
def rig(nursery):
    return Rig(nursery, Upstream(nursery, always=ANSWER), SMALL)


async def told(rig, *pieces, method="POST"):
    """The answer to what is sent in these pieces; the connection is left."""
    client = rig.connect()
    for piece in pieces:
        await client.raw(piece)
        await wait_all_tasks_blocked()
    client.expect(method)
    answer = await client.answer()
    client.leave()
    return answer


def cut_in_four(data):
    step = len(data) // 4
    return data[:step], data[step : 2 * step], data[2 * step : 3 * step], data[3 * step :]


# -- sizes ------------------------------------------------------------------------------------------------


async def test_header_bytes(rig, autojump_clock):
    free = 500 - len(request("GET", "/ready", "X: "))
    fits, over = (request("GET", "/ready", "X: " + "a" * (free + more)) for more in (0, 1))
    assert (len(fits), len(over)) == (500, 501)
    for pieces in ([fits], cut_in_four(fits), [fits[:499], fits[499:]]):
        assert (await told(rig, *pieces)).status == 200
    for pieces in ([over], cut_in_four(over), [over[:500], over[500:]], [over + READY]):
        answer = await told(rig, *pieces)
        refused(answer, 431, "headers_too_large")
        assert answer.headers["connection"] == "close"


async def test_header_bytes_bound_a_head_that_never_ends(rig, autojump_clock):
    client = rig.connect()
    await client.raw(READY[:-2])
    sent = 0
    while client.stream.idle_and_open():
        await client.raw(b"a: b\r\n")
        sent += 6
        await wait_all_tasks_blocked()
    client.expect()
    refused(await client.answer(), 431, "headers_too_large")
    assert sent < 500


async def test_target_bytes(rig, autojump_clock):
    fits, over = (request("GET", "/ready?" + "a" * (93 + more)) for more in (0, 1))
    assert (await told(rig, fits)).status == 200
    answer = await told(rig, over)
    assert "100" in refused(answer, 414, "uri_too_long")["message"]
    assert answer.headers["connection"] == "close"


async def test_a_target_that_fills_the_head_is_414_and_not_431(rig, autojump_clock):
    for pieces in ([request("GET", "/" + "a" * 600)], [b"GET /" + b"a" * 400, b"a" * 200]):
        refused(await told(rig, *pieces), 414, "uri_too_long")


def body_of(size, **members):
    text = json.dumps({"model": "up/tiny", "messages": [{"role": "user", "content": ""}], **members})
    return text.replace('"content": ""', f'"content": "{"x" * (size - len(text))}"').encode()


def in_chunks(body, size):
    framed = b"".join(chunked(body[at : at + size]) for at in range(0, len(body), size))
    return request("POST", PATH, "Transfer-Encoding: chunked") + framed + LAST


async def test_body_bytes(rig, autojump_clock):
    fits, over = body_of(200), body_of(201)
    assert (await told(rig, request(body=fits))).status == 200
    answer = await told(rig, request(body=over))
    assert "200" in refused(answer, 413, "request_too_large")["message"]
    # It was here already, so that the connection is as good as before.
    assert "connection" not in answer.headers
    answer = await told(rig, request("POST", PATH, "Content-Length: 201"))
    refused(answer, 413, "request_too_large")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("size", [1, 7, 150, 1000])
async def test_body_bytes_in_chunks(rig, autojump_clock, size):
    for pieces in ([in_chunks(body_of(200), size)], cut_in_four(in_chunks(body_of(200), size))):
        assert (await told(rig, *pieces)).status == 200
    for pieces in ([in_chunks(body_of(201), size)], cut_in_four(in_chunks(body_of(201), size))):
        answer = await told(rig, *pieces)
        refused(answer, 413, "request_too_large")
        assert answer.headers["connection"] == "close"


async def test_body_bytes_bound_a_chunk_that_is_only_announced_and_one_that_never_ends(rig, autojump_clock):
    client = rig.connect()
    await client.raw(request("POST", PATH, "Transfer-Encoding: chunked") + b"ffffffff\r\n")
    sent = 0
    while client.stream.idle_and_open():
        await client.raw(b"x" * 10)
        sent += 10
        await wait_all_tasks_blocked()
    client.expect()
    refused(await client.answer(), 413, "request_too_large")
    assert sent == 210


@pytest.mark.parametrize("junk", [b"5;" + b"x" * 5000, b"0\r\nX: " + b"y" * 20_000])
async def test_extensions_and_trailers_of_chunks_are_bounded(rig, autojump_clock, junk):
    answer = await told(rig, request("POST", PATH, "Transfer-Encoding: chunked") + junk)
    refused(answer, 413, "request_too_large")
    assert answer.headers["connection"] == "close"


async def test_body_bytes_count_after_unpacking(rig, autojump_clock):
    fits, over = (request("POST", PATH, "Content-Encoding: gzip", body=gzip.compress(body_of(n))) for n in (200, 201))
    assert (await told(rig, fits)).status == 200
    refused(await told(rig, over), 413, "request_too_large")


async def test_json_depth(rig, autojump_clock):
    # The body itself, `messages` and a message are no deeper than three.
    def nested(levels):
        return CHAT[:-1] + b', "x": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert (await told(rig, request(body=nested(8)))).status == 200
    error = refused(await told(rig, request(body=nested(9))), 400, "too_deep")
    assert "8" in error["message"]


async def test_json_depth_without_end_is_no_recursion(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery))
    for deep in (b'{"a":' * 50_000, b'{"model":' + b"[" * 200_000):
        refused(await told(rig, request(body=deep)), 400, "too_deep")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (CHAT.replace(b"{", b'{"model": "up/other", ', 1), "duplicate_key"),
        (CHAT.replace(b"{", b'{"mod\\u0065l": "up/other", ', 1), "duplicate_key"),
        (CHAT.replace(b"{", b'{"x": NaN, ', 1), "invalid_json"),
        (CHAT.replace(b"{", b'{"x": [-Infinity], ', 1), "invalid_json"),
        (CHAT.replace(b"{", b'{"x": 1' + b"0" * 2000 + b", ", 1), "invalid_json"),
        (CHAT.replace(b"Hi", b"\xc3\x28"), "invalid_utf8"),
        (CHAT.replace(b"Hi", b"\xed\xa0\x80"), "invalid_utf8"),
        (b"\xef\xbb\xbf" + CHAT, "invalid_json"),
        (CHAT.decode().encode("utf-16"), "invalid_json"),
        (CHAT.replace(b"Hi", b"a\nb"), "invalid_json"),
        (b"[" + CHAT + b"]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (CHAT + b"x", "invalid_json"),
        (CHAT[:-1], "invalid_json"),
    ],
)
async def test_a_body_that_readers_disagree_about_is_400(nursery, autojump_clock, body, code):
    upstream = Upstream(nursery)
    rig = Rig(nursery, upstream)
    refused(await told(rig, request(body=body)), 400, code)
    padded = b" " * 70_000 + body  # large bodies are judged by another machine, in slices
    if not body.startswith(b"\xef"):
        refused(await told(rig, *cut_in_four(request(body=padded))), 400, code)
    assert not upstream.requests


# -- what is sent early -----------------------------------------------------------------------------------


async def overrun(nursery, sent):
    """A stream under way, and `sent` bytes come early; the client, whether it is served on, what was taken."""
    go = trio.Event()
    upstream = Upstream(nursery, [HEAD, chunked(sse(role(), text("Hel"))), go, chunked(sse(finish(), DONE)), LAST])
    rig = Rig(nursery, upstream, SMALL)
    client = rig.connect(capacity=50)
    await client.chat(stream=True)
    await client.head()
    taken = client.stream.send_now(sent[:50])
    while taken < len(sent):
        await wait_all_tasks_blocked()
        more = client.stream.send_now(sent[taken : taken + 50])
        if not more:
            break
        taken += more
    await trio.sleep(20)  # the clock of the connection rings meanwhile, and must not read on
    assert client.stream.send_now(b"x" if taken == 200 else b"") == 0
    go.set()
    pieces = []
    while piece := await client.piece():
        pieces.append(piece)
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
    return client, taken


async def test_pipeline_bytes_within(nursery, autojump_clock):
    early = request("GET", "/ready?" + "a" * (100 - len(request("GET", "/ready?"))))
    assert len(early) == 100
    client, taken = await overrun(nursery, early)
    assert taken == 100
    client.expect("GET")
    assert (await client.answer()).status == 200


async def test_pipeline_bytes_over_is_read_no_further_and_the_end_after_the_answer(nursery, autojump_clock):
    client, taken = await overrun(nursery, READY * 20)
    assert taken == 200  # 150 that the gateway has, since it learns of the last read only by reading, and 50 on the way
    await ended(client)


async def test_pipeline_bytes_do_not_bound_requests_that_are_answered_as_they_come(rig, autojump_clock):
    client = rig.connect()
    await client.raw(READY * 100)
    for _ in range(100):
        client.expect("GET")
        assert (await client.answer()).status == 200


# -- numbers ----------------------------------------------------------------------------------------------


async def test_requests(nursery, autojump_clock):
    upstream = Upstream(nursery, [HEAD, EXPECT_CLOSE], [HEAD, EXPECT_CLOSE], always=ANSWER)
    rig = Rig(nursery, upstream, "[limits]\nrequests = 2\n")
    one, other = rig.connect(), rig.connect()
    await one.chat(stream=True)
    await other.chat(stream=True)
    await wait_all_tasks_blocked()
    answer = await rig.ask()
    refused(answer, 503, "server_is_overloaded", "service_unavailable_error")
    assert answer.headers["retry-after"] == "1"
    assert "x-should-retry" not in answer.headers  # SDKs try again by themselves
    assert (await told(rig, READY)).status == 200
    one.leave()
    await wait_all_tasks_blocked()
    assert (await rig.ask()).status == 200


async def test_requests_count_from_the_body_on(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, always=ANSWER), "[limits]\nrequests = 1\n")
    slow = rig.connect()
    await slow.raw(request(body=CHAT)[:-1])
    await wait_all_tasks_blocked()
    refused(await rig.ask(), 503, "server_is_overloaded", "service_unavailable_error")
    await slow.raw(b"}")
    slow.expect()
    assert (await slow.answer()).status == 200
    for raw in (request(body=b"{"), request("POST", PATH, "Content-Type: text/html", body=CHAT)):
        assert (await told(rig, raw)).status in (400, 415)  # and each gives its place back
    slow.leave()
    assert (await rig.ask()).status == 200


# -- the page ---------------------------------------------------------------------------------------------


def test_the_page_names_every_limit_and_every_timeout_of_the_listener_with_its_default():
    page = (Path(penstock.__file__).resolve().parents[2] / "docs" / "limits.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) ?[^|]* \|", page, re.M))
    shared = {field.name for field in msgspec.structs.fields(TimeoutSettings)} - {"write"}
    expected = {field.name: field.default for field in msgspec.structs.fields(Limits)}
    expected |= {f.name: f.default for f in msgspec.structs.fields(TimeoutTable) if f.name not in shared}
    expected["write"] = 30
    assert {name: float(value) for name, value in rows.items()} == expected
