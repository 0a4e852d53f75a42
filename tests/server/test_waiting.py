"""How long the door waits: for a head, for a body, for the next request, and when the gateway goes down."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from answers import DONE, LAST, chunked, finish, role, sse, text
from answers import STREAM as HEAD
from door import ANSWER, CHAT, PATH, ended, refused, request
from rig import Rig
from scripted import Upstream

READY = request("GET", "/ready")
IN_CHUNKS = request("POST", PATH, "Transfer-Encoding: chunked") + chunked(CHAT[:30]) + chunked(CHAT[30:]) + LAST
TIMES = "[timeouts]\nheader = 3\nbody = 4\nkeep_alive = 50\n"


async def test_header_time_runs_from_the_first_byte_and_progress_does_not_help(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery), TIMES)
    client = rig.connect()
    await trio.sleep(2)
    for byte in READY:
        if not client.stream.idle_and_open():
            break
        await client.raw(bytes([byte]))
        await trio.sleep(0.5)
    assert 5 <= trio.current_time() <= 5.5
    client.expect()
    answer = await client.answer()
    refused(answer, 408, "request_timeout", "timeout_error")
    assert answer.headers["connection"] == "close"
    await ended(client)


async def test_header_time_ends_a_connection_that_never_says_anything(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery), TIMES)
    client = rig.connect()
    await ended(client)
    assert trio.current_time() == 3


async def test_header_time_of_a_later_request(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery), TIMES)
    client = rig.connect()
    await client.raw(READY + READY[:5])
    client.expect("GET")
    assert (await client.answer()).status == 200
    client.expect("GET")
    refused(await client.answer(), 408, "request_timeout", "timeout_error")
    assert trio.current_time() == 3


@pytest.mark.parametrize("raw", [request(body=CHAT), IN_CHUNKS], ids=["sized", "chunked"])
async def test_body_time_is_without_progress(nursery, autojump_clock, raw):
    upstream = Upstream(nursery, always=ANSWER)
    rig = Rig(nursery, upstream, TIMES)
    client = rig.connect()
    head = raw.index(b"\r\n\r\n") + 4
    await client.raw(raw[:head])
    for byte in raw[head:]:
        await trio.sleep(3.9)
        await client.raw(bytes([byte]))
    client.expect()
    assert (await client.answer()).status == 200
    await client.raw(raw[:-2])
    began = trio.current_time()
    client.expect()
    answer = await client.answer()
    refused(answer, 408, "request_timeout", "timeout_error")
    assert answer.headers["connection"] == "close"
    assert trio.current_time() - began == 4
    assert len(upstream.requests) == 1


async def test_body_time_of_a_client_that_waits_for_a_100_and_of_one_that_does_not_read_it(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery), TIMES)
    expecting = request("POST", PATH, "Expect: 100-continue", "Content-Length: 10")
    client = rig.connect()
    await client.raw(expecting)
    client.expect()
    refused(await client.answer(), 408, "request_timeout", "timeout_error")
    assert trio.current_time() == 4
    client.leave()
    deaf = rig.connect(capacity=10)
    await deaf.raw(expecting)
    await trio.sleep(4)
    await wait_all_tasks_blocked()
    assert rig.gateway.connections == 0


async def test_idle_time(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery), TIMES)
    client = rig.connect()
    await client.raw(READY)
    client.expect("GET")
    await client.answer()
    await trio.sleep(49)
    await client.raw(READY)
    client.expect("GET")
    await client.answer()
    await ended(client)  # without a word: it would be taken for the answer to the next request
    assert trio.current_time() == 49 + 50


async def test_a_byte_at_the_last_moment_is_in_time(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, always=ANSWER), TIMES)
    for wait in (49.999, 50):
        client = rig.connect()
        await client.raw(READY)
        client.expect("GET")
        await client.answer()
        await trio.sleep(wait)
        await client.raw(request("POST", PATH, f"Content-Length: {len(CHAT)}"))
        await wait_all_tasks_blocked()
        if wait == 50 and not rig.gateway.connections:
            continue  # the clock was first, which is as good
        await client.raw(CHAT)
        client.expect()
        assert (await client.answer()).status == 200
        client.leave()
        await wait_all_tasks_blocked()


async def test_0_is_no_limit(nursery, autojump_clock):
    toml = "[timeouts]\nheader = 0\nbody = 0\nbody_total = 0\nkeep_alive = 0\n"
    rig = Rig(nursery, Upstream(nursery, always=ANSWER), toml)
    client = rig.connect()
    for piece in (READY[:5], READY[5:]):
        await trio.sleep(1e6)
        await client.raw(piece)
    client.expect("GET")
    assert (await client.answer()).status == 200
    raw = request(body=CHAT)
    for piece in (raw[:5], raw[5:-5], raw[-5:]):
        await trio.sleep(1e6)
        await client.raw(piece)
    client.expect()
    assert (await client.answer()).status == 200


# -- draining ---------------------------------------------------------------------------------------------


async def test_c86_an_idle_connection_is_closed_when_the_gateway_goes_down(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, always=ANSWER))
    idle, busy, fresh = rig.connect(), rig.connect(), rig.connect()
    for client in (idle, busy):
        await client.raw(READY)
        client.expect("GET")
        await client.answer()
    await busy.raw(request(body=CHAT)[:-1])
    await wait_all_tasks_blocked()
    rig.gateway.begin_drain()
    await ended(idle)
    await ended(fresh)
    await busy.raw(b"}")  # what was being read is new work
    busy.expect()
    refused(await busy.answer(), 503, "server_is_overloaded", "service_unavailable_error")
    await wait_all_tasks_blocked()
    assert rig.gateway.connections == 0
    late = rig.connect()  # but whoever comes now is told
    await late.raw(READY)
    late.expect("GET")
    answer = await late.answer()
    assert (answer.status, answer.json, answer.headers["connection"]) == (503, {"status": "draining"}, "close")
    assert trio.current_time() == 0


async def test_c86_a_connection_whose_answer_ends_while_draining_ends_too(nursery, autojump_clock):
    go = trio.Event()
    upstream = Upstream(nursery, [HEAD, chunked(sse(role(), text("Hel"))), go, chunked(sse(finish(), DONE)), LAST])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.chat(stream=True)
    await client.head()
    rig.gateway.begin_drain()
    go.set()
    while await client.piece():
        pass
    await ended(client)
    assert trio.current_time() == 0
