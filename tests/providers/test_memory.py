"""Streams in memory behave as sockets do: each rule is held against a pair of real ones, too."""

import socket

import pytest
import trio
import trio.testing

from penstock.providers.memory import MemoryStream, memory_pair
from penstock.providers.stream import ByteStream, SocketStream, StreamBroken


def socket_pair() -> tuple[ByteStream, ByteStream]:
    one, other = socket.socketpair()
    return SocketStream(one), SocketStream(other)


@pytest.fixture(params=["memory", "sockets"])
def pair(request):
    return memory_pair() if request.param == "memory" else socket_pair()


def close(*ends):
    for end in ends:
        end.close()


async def test_what_is_sent_is_received(pair):
    one, other = pair
    assert one.send_now(b"hello ") == 6
    await one.send_all(memoryview(b"world"))
    assert await other.receive() == b"hello world"
    close(*pair)


async def test_receive_takes_no_more_than_asked_for(pair):
    one, other = pair
    one.send_now(b"abc")
    assert await other.receive(2) == b"ab"
    assert other.receive_now(2) == b"c"
    close(*pair)


async def test_nothing_there_is_none_and_an_end_is_empty(pair):
    one, other = pair
    assert other.receive_now() is None
    one.close()
    assert other.receive_now() == b""
    assert await other.receive() == b""
    assert await other.receive() == b""
    other.close()


async def test_a_receiver_waits_for_bytes(pair, autojump_clock):
    one, other = pair
    got = []

    async def receive():
        got.append(await other.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert got == []
        one.send_now(b"late")
    assert got == [b"late"]
    close(*pair)


async def test_back_pressure(pair):
    one, other = pair
    sent = 0
    while taken := one.send_now(b"x" * 65536):
        sent += taken
    assert one.send_now(b"y") == 0
    received = 0

    async def drain():
        nonlocal received
        while data := await other.receive():
            received += len(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await one.send_all(b"z" * 100_000)
        one.close()
    assert received == sent + 100_000
    other.close()


async def test_idle_and_open_until_a_byte_or_an_end_comes(pair):
    one, other = pair
    assert other.idle_and_open()
    one.send_now(b"x")
    assert not other.idle_and_open()
    assert await other.receive() == b"x"  # the look has taken nothing
    assert other.idle_and_open()
    one.close()
    assert not other.idle_and_open()
    other.close()
    assert not other.idle_and_open()


async def test_bytes_on_their_way_arrive_before_the_end(pair):
    one, other = pair
    one.send_now(b"last words")
    one.close()
    assert await other.receive() == b"last words"
    assert await other.receive() == b""
    other.close()


async def test_sending_to_a_closed_peer_breaks(pair):
    one, other = pair
    other.close()
    with pytest.raises(StreamBroken):
        one.send_now(b"x")
    one.close()


async def test_a_closed_stream_neither_sends_nor_receives(pair):
    one, other = pair
    one.close()
    one.close()
    with pytest.raises(StreamBroken):
        one.send_now(b"x")
    with pytest.raises(StreamBroken):
        one.receive_now()
    with pytest.raises(StreamBroken):
        await one.receive()
    with pytest.raises(StreamBroken):
        await one.send_some(b"x")
    other.close()


async def test_closing_wakes_who_waits(pair):
    one, other = pair
    while one.send_now(b"x" * 65536):
        pass

    async def wait(function, *args):
        with pytest.raises(StreamBroken):
            await function(*args)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, one.receive)
        nursery.start_soon(wait, one.send_some, b"x")
        await trio.testing.wait_all_tasks_blocked(0.01)
        one.close()
    other.close()


async def test_half_close():
    one, other = memory_pair()
    one.end_sending()
    assert await other.receive() == b""
    other.send_now(b"still here")
    assert await one.receive() == b"still here"
    with pytest.raises(StreamBroken):
        one.send_now(b"x")


async def test_reset_comes_after_the_bytes_before_it():
    one, other = memory_pair()
    one.send_now(b"half")
    one.reset()
    assert await other.receive() == b"half"
    with pytest.raises(StreamBroken):
        await other.receive()
    with pytest.raises(StreamBroken):
        other.send_now(b"x")


async def test_closing_with_unread_bytes_is_a_reset():
    one, other = memory_pair()
    other.send_now(b"never read")
    one.close()
    with pytest.raises(StreamBroken):
        await other.receive()


async def test_the_capacity_counts_bytes_in_one_direction():
    one, other = memory_pair(capacity=4)
    assert one.send_now(b"123456") == 4
    assert other.send_now(b"1234") == 4
    assert await other.receive(1) == b"1"
    assert one.send_now(b"56") == 1
    assert isinstance(one, MemoryStream)
