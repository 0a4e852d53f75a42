"""C86: going down. What is under way finishes, nothing new begins, and the time for it is bounded.

The steps are tested on the virtual clock; the signals and exit codes with a real process.
"""

from contextlib import asynccontextmanager

import h11
import pytest
import trio

import answers
import scripted
from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, text
from gateway import Gateway, provider
from penstock.providers.connect import Connector
from penstock.providers.stream import StreamBroken
from penstock.providers.transport import Origin
from penstock.server.app import drain
from rig import Client, Rig, settled
from scripted import EXPECT_CLOSE, Upstream, forever

BEGUN = chunked(sse(role(), text("Hel")))
ENDED = chunked(sse(text("lo"), finish(), DONE)) + LAST
WHOLE = answers.head(200, ("Content-Type", "application/json"), ("Content-Length", "1000"))


class Draining:
    """Drains the gateway in the background; `ended_at` is when that was over, counted from its beginning."""

    def __init__(self, nursery, rig, seconds=30.0):
        self.began = trio.current_time()
        self.ended_at = None
        self.over = trio.Event()
        nursery.start_soon(self._drain, rig.gateway, seconds)

    async def _drain(self, gateway, seconds):
        await drain(gateway, seconds)
        self.ended_at = trio.current_time() - self.began
        self.over.set()


async def get(client, target):
    await client.request("GET", target)
    return await client.answer()


async def test_c86_ready_says_503_and_health_says_ok(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    assert (await get(rig.connect(), "/ready")).status == 200
    busy = rig.connect()
    await busy.chat(stream=True)
    await busy.head()
    Draining(nursery, rig)
    await settled()
    answer = await get(rig.connect(), "/ready")
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert (await get(rig.connect(), "/health")).status == 200  # it lives: nobody is to kill it now


async def test_c86_new_work_is_refused_and_may_be_tried_elsewhere(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    busy = rig.connect()
    await busy.chat(stream=True)
    await busy.head()
    Draining(nursery, rig)
    await settled()
    client = rig.connect()
    await client.chat(stream=True)
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (503, "server_is_overloaded")
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
    assert "x-should-retry" not in answer.headers
    assert len(upstream.requests) == 1
    assert rig.gateway.ledger.in_flight == 1


async def test_c86_idle_connections_are_closed_at_once(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery))
    used, fresh = rig.connect(), rig.connect()
    await get(used, "/health")
    await settled()
    assert rig.gateway.connections == 2
    draining = Draining(nursery, rig)
    assert await used.stream.receive() == await fresh.stream.receive() == b""
    await draining.over.wait()
    assert draining.ended_at == 0


@pytest.mark.parametrize("streams", [True, False])
async def test_c86_what_is_under_way_finishes(nursery, autojump_clock, streams):
    whole = reply(completion("Hello"))
    script = [STREAM, BEGUN, 20.0, ENDED] if streams else [20.0, whole]
    rig = Rig(nursery, Upstream(nursery, script))
    client = rig.connect()
    await client.chat(stream=streams)
    await settled()
    draining = Draining(nursery, rig)
    answer = await client.answer()
    assert (answer.text if streams else answer.json["choices"][0]["message"]["content"]) == "Hello"
    assert await client.stream.receive() == b""  # and then the connection ends, idle as it is
    client.leave()
    await draining.over.wait()
    assert draining.ended_at == 20  # not a moment later
    assert rig.gateway.ledger.endings == {"completed": 1}


STAGES = {
    "a stream": ([STREAM, BEGUN, EXPECT_CLOSE], True),
    "a stream that has not begun": ([EXPECT_CLOSE], True),
    "a whole answer": ([WHOLE, EXPECT_CLOSE], False),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_c86_when_the_time_is_over_the_rest_is_told(nursery, autojump_clock, stage):
    script, streams = STAGES[stage]
    upstream, other = Upstream(nursery, script), Upstream(nursery)
    rig = Rig(
        nursery,
        upstream,
        '[timeouts]\nanswer = 1000\nidle = 1000\n[routes.safe]\nproviders = ["up", "other"]\n',
        other=other,
    )
    client = rig.connect()
    await client.chat(model="safe/tiny", stream=streams)
    await settled()
    draining = Draining(nursery, rig, 12)
    answer = await client.answer()
    assert trio.current_time() - draining.began == 12
    error = answer.events[-1]["error"] if stage == "a stream" else answer.error
    assert answer.status == (200 if stage == "a stream" else 503)
    assert (error["code"], error["type"]) == ("server_is_overloaded", "service_unavailable_error")
    assert DONE not in answer.body.decode()
    assert await client.stream.receive() == b""
    client.leave()
    await draining.over.wait()
    assert draining.ended_at == 12
    assert upstream.requests[0].closed_at - draining.began == 12
    assert other.connections == 0
    assert rig.gateway.ledger.endings == {"shut_down": 1}
    assert not rig.gateway.ledger.failures


async def test_c86_while_the_upstream_is_connected_to(nursery, autojump_clock):
    rig = Rig(nursery, trio.sleep_forever)
    client = rig.connect()
    await client.chat(stream=True)
    await settled()
    Draining(nursery, rig, 3)
    assert (await client.answer()).status == 503
    assert rig.gateway.ledger.endings == {"shut_down": 1}
    assert not rig.gateway.ledger.failures


async def test_c86_clients_that_do_not_read_cannot_hold_it_up(nursery, autojump_clock):
    upstream = Upstream(nursery, always=[STREAM, BEGUN, forever(chunked(sse(text("x" * 1000))))])
    rig = Rig(nursery, upstream, "[timeouts]\nwrite = 0\n")
    clients = [rig.connect(capacity=1000) for _ in range(20)]
    for client in clients:
        await client.chat(stream=True)
    await settled()
    draining = Draining(nursery, rig, 10)
    await draining.over.wait()
    assert 10 <= draining.ended_at <= 16
    assert rig.gateway.ledger.endings == {"shut_down": 20}
    assert upstream.open == 0


async def test_c86_a_client_that_leaves_meanwhile_shortens_it(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE]))
    client = rig.connect()
    await client.chat(stream=True)
    await client.head()
    draining = Draining(nursery, rig, 1000)
    await trio.sleep(5)
    client.leave()
    await draining.over.wait()
    assert draining.ended_at == 5
    assert rig.gateway.ledger.endings == {"client_gone": 1}


async def test_c86_a_request_whose_body_is_still_to_come_is_new_work(nursery, autojump_clock):
    upstream = Upstream(nursery)
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.request("POST", "/v1/chat/completions", {"content-length": "100"}, b'{"model": "up/tiny",')
    await settled()
    Draining(nursery, rig)
    await settled()
    await client.raw(b'"messages": [{"role": "user", "content": "Hi"}]'.ljust(79) + b"}")
    assert (await client.answer()).status == 503
    assert upstream.connections == 0


# -- signals ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def dialled(gateway):
    client = Client(await Connector(Origin.parse(gateway.url))())
    try:
        yield client
    finally:
        client.leave()


async def begin(client, upstream):
    """Come into the middle of a stream through a real process."""
    await client.chat(model="local/tiny", stream=True)
    await client.head()
    await upstream.request()


async def until_it_drains(gateway):
    status = 0
    while status != 503:
        async with dialled(gateway) as client:
            try:
                status = (await get(client, "/ready")).status
            except (h11.RemoteProtocolError, StreamBroken):
                pass  # an idle connection in the very moment in which those are closed


async def until_it_is_gone(gateway):
    """Leaving the gateway's context sends a signal, which must not find it half-way out."""
    await trio.to_thread.run_sync(gateway.wait)


async def test_c86_the_first_signal_waits_for_streams(nursery):
    on = trio.Event()
    upstream = await scripted.listen(nursery, [STREAM, BEGUN, on, ENDED])
    async with Gateway(provider(upstream.base_url)) as gateway:
        async with dialled(gateway) as client:
            await begin(client, upstream)
            gateway.stop()
            await until_it_drains(gateway)
            on.set()
            seen = b""
            while piece := await client.piece():
                seen += piece
            assert seen.endswith(sse(finish(), DONE))
            assert await client.stream.receive() == b""
        await until_it_is_gone(gateway)
    assert gateway.exit_code == 0
    assert "draining: 1 requests under way" in gateway.output


async def test_c86_a_second_signal_ends_at_once(nursery):
    upstream = await scripted.listen(nursery, [STREAM, BEGUN, EXPECT_CLOSE])
    async with Gateway(provider(upstream.base_url)) as gateway, dialled(gateway) as client:
        await begin(client, upstream)
        gateway.stop()
        await until_it_drains(gateway)
        gateway.stop()
        await upstream.all_closed()
        await until_it_is_gone(gateway)
    assert gateway.exit_code == 1
    assert "Traceback" not in gateway.output


async def test_c86_with_nothing_under_way_it_ends_at_once():
    async with Gateway() as gateway, dialled(gateway) as client:
        await get(client, "/health")
        gateway.stop()
        assert await client.stream.receive() == b""
        client.leave()
        await until_it_is_gone(gateway)
    assert gateway.exit_code == 0
