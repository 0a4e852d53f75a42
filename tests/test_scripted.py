"""The scripted upstream itself: unless its peers see what the script says, no test on it means much."""

import socket

import pytest
import trio

import scripted
from answers import LAST, STREAM, bytewise, chunked, completion, cut, reply, sse, stream, text

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 13\r\n\r\n"
BODY = b'{"model":"m"}'


@pytest.fixture(params=["sockets", "memory"])
async def dial(request, nursery):
    """A function from scripts to an upstream and a connection to it that has sent a request."""
    opened = []

    async def dial(*scripts, **options):
        if request.param == "memory":
            upstream = scripted.Upstream(nursery, *scripts, **options)
            opened.append(scripted.MemoryEnd(upstream.connect()))
        else:
            upstream = await scripted.listen(nursery, *scripts, **options)
            opened.append(await trio.open_tcp_stream("127.0.0.1", upstream.port))
        await opened[-1].send_all(REQUEST + BODY)
        return upstream, opened[-1]

    yield dial
    for connection in opened:
        await trio.aclose_forcefully(connection)


async def reads(stream):
    pieces = []
    while data := await stream.receive_some():
        pieces.append(bytes(data))
    return pieces


async def test_each_step_is_one_read(dial):
    event = chunked(sse(text("Вода 🌊")))
    script = [STREAM, *cut(event, 3, 40), *bytewise(LAST), scripted.CLOSE]
    _, stream = await dial(script)
    assert await reads(stream) == script[:-1]


async def test_requests_are_recorded_and_answered_in_order_on_one_connection(dial):
    upstream, stream = await dial([reply(completion("one"))], always=[reply(completion("more"))])
    assert b'"one"' in await stream.receive_some()
    for _ in range(2):
        await stream.send_all(REQUEST)
        await stream.send_all(BODY)
        assert b'"more"' in await stream.receive_some()
    request = await upstream.request(2)
    assert (request.method, request.target, request.connection) == ("POST", "/v1/chat/completions", 1)
    assert request.head + b"\r\n\r\n" == REQUEST
    assert request.headers["x-a"] == "1, 2"
    assert request.json == {"model": "m"}
    assert upstream.connections == upstream.open == 1


async def test_reset_breaks_the_connection_and_close_ends_it(dial):
    _, stream = await dial([STREAM, scripted.RESET])
    assert await stream.receive_some() == STREAM
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    upstream, stream = await dial([STREAM, scripted.CLOSE])
    assert await reads(stream) == [STREAM]
    await upstream.all_closed()


async def test_half_close_still_reads(dial):
    upstream, stream = await dial([scripted.HALF_CLOSE, scripted.EXPECT_CLOSE])
    assert await reads(stream) == []
    request = await upstream.request()
    assert not request.closed.is_set()
    await stream.aclose()
    await request.closed.wait()


async def test_the_peers_close_is_seen_at_once_whatever_the_script_does(dial, autojump_clock):
    for step in (trio.Event(), 1000.0, scripted.EXPECT_CLOSE, scripted.forever(b"x" * 65536)):
        upstream, stream = await dial([step])
        request = await upstream.request()
        before = trio.current_time()
        await stream.aclose()
        await upstream.all_closed()
        if not callable(step):  # a flood may see the broken pipe first
            assert request.closed_at == before
        assert not request.done.is_set()


async def test_a_reset_by_the_peer_is_told_from_an_end(nursery):
    upstream = await scripted.listen(nursery, always=[scripted.EXPECT_CLOSE])
    for number, ending in enumerate(("end", "reset")):
        stream = await trio.open_tcp_stream("127.0.0.1", upstream.port)
        await stream.send_all(REQUEST + BODY)
        request = await upstream.request(number)
        if ending == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await stream.aclose()
        await request.closed.wait()
        assert request.ending == ending


@pytest.mark.parametrize("scripts", [(), ([scripted.EXPECT_CLOSE],)], ids=["no script", "no close"])
async def test_what_the_script_does_not_foresee_fails(scripts):
    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            upstream = scripted.Upstream(nursery, *scripts)
            stream = upstream.connect()
            await stream.send_all(REQUEST + BODY + b"more")
            await trio.sleep_forever()


async def test_models_are_answered_apart_from_the_scripts(nursery):
    upstream = scripted.Upstream(nursery, stream(text("x")), models=["a/b"])
    peer = upstream.connect()
    await peer.send_all(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b'"id":"a/b"' in await peer.receive()
    assert upstream.requests == []
