"""Frames, as a client library would not always send them: fragments, limits, broken rules, and the codes for each."""

import json
import struct
import zlib

import pytest
import trio

from answers import completion, reply
from rig import Rig, settled
from scripted import Upstream
from sockets import frame, raw_opened

PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
PONG = {"jsonrpc": "2.0", "result": {}, "id": 1}
SMALL = "[limits]\nwebsocket_message_bytes = 1000\n"
DEFLATE = {"sec_websocket_extensions": "permessage-deflate"}


def compressed(text):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(text.encode()) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


WHOLE = {
    "in one frame": frame(PING),
    "in two frames": frame(PING[:9], fin=False) + frame(PING[9:], 0),
    "a byte a frame": frame(PING[0], fin=False) + b"".join(frame(c, 0, fin=False) for c in PING[1:]) + frame(b"", 0),
    "with empty frames": frame(b"", fin=False) + frame(b"", 0, fin=False) + frame(PING, 0),
    "with pings in between": frame(PING[:5], fin=False) + frame(b"hey", 9) + frame(b"", 10) + frame(PING[5:], 0),
}


@pytest.mark.parametrize("sent", WHOLE.values(), ids=WHOLE)
async def test_a_message_is_whole_however_it_was_framed(nursery, sent):
    assert await (await raw_opened(Rig(nursery))).said(sent) == PONG


async def test_a_message_is_whole_however_it_was_cut(nursery):
    raw = await raw_opened(Rig(nursery))
    for byte in frame('{"jsonrpc":"2.0","id":"é🎉","method":"ping"}'):
        await raw.send(bytes([byte]))
        await settled()
    assert await raw.said() == {**PONG, "id": "é🎉"}


async def test_bytes_that_came_with_the_request(nursery):
    client = Rig(nursery).connect()
    head = (
        "GET /ws HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await client.raw(head.encode() + frame(PING))
    answer = b""
    while b"}" not in answer:
        answer += await client.stream.receive()
    assert json.loads(answer.partition(b"\r\n\r\n")[2][2:]) == PONG


async def test_a_ping_is_answered_with_its_payload(nursery):
    raw = await raw_opened(Rig(nursery))
    await raw.send(frame(b"payload", 9))
    assert await raw.next() == (10, b"payload")


ANSWERS = [0, 125, 126, 65535, 65536, 200_000]


@pytest.mark.parametrize("size", ANSWERS)
async def test_answers_of_every_length_of_header(nursery, size):
    message = {"jsonrpc": "2.0", "id": 1, "method": "chat.completions.create"}
    message["params"] = {"model": "up/tiny", "messages": [{"role": "user", "content": "Hi"}]}
    raw = await raw_opened(Rig(nursery, Upstream(nursery, [reply(completion("x" * size))])))
    answer = await raw.said(frame(json.dumps(message)))
    assert answer["result"]["choices"][0]["message"]["content"] == "x" * size


# -- what ends a connection ----------------------------------------------------------------------------------

BROKEN = {
    "binary": (frame(b"\x00\x01", 2), 1003),
    "binary, its first fragment": (frame(b"\x00", 2, fin=False), 1003),
    "no UTF-8": (frame(b"\xff\xfe"), 1007),
    "a character cut off": (frame("é".encode()[:1]), 1007),
    "a surrogate": (frame(b"\xed\xa0\x80"), 1007),
    "no UTF-8 in a later fragment": (frame("ab", fin=False) + frame(b"\xc0", 0), 1007),
    "too long": (frame("x" * 1001), 1009),
    "too long in fragments": (frame("x" * 900, fin=False) + frame("x" * 101, 0, fin=False), 1009),
    "too long in bytes": (frame("é" * 501), 1009),
    "too long, by what it announces": (frame("x" * 70000)[:-60000], 1009),
    "not masked": (frame(PING, masked=False), 1002),
    "a reserved bit": (frame(PING, rsv=2), 1002),
    "compressed, which was not agreed on": (frame(PING, rsv=4), 1002),
    "an unknown opcode": (frame(PING, 3), 1002),
    "a continuation of nothing": (frame(PING, 0), 1002),
    "a new message within one": (frame("a", fin=False) + frame("b"), 1002),
    "a fragmented ping": (frame(b"", 9, fin=False), 1002),
    "a ping of 126 bytes": (frame(b"x" * 126, 9), 1002),
    "a length in more bytes than it needs": (b"\x81\xfe\x00\x01\0\0\0\0a", 1002),
    "a code that nobody may send": (frame(struct.pack("!H", 1006), 8), 1002),
}


@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_rule_ends_the_connection_with_its_code(nursery, sent, code):
    rig = Rig(nursery, toml=SMALL)
    raw = await raw_opened(rig)
    await raw.send(sent)
    assert (await raw.closed())[0] == code
    raw.stream.close()
    await settled()
    assert (rig.gateway.connections, rig.gateway.sockets) == (0, set())


async def test_a_message_of_just_the_limit_is_served(nursery):
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"pad": ""}}
    message["params"]["pad"] = "x" * (1000 - len(json.dumps(message)))
    assert await (await raw_opened(Rig(nursery, toml=SMALL))).said(frame(json.dumps(message))) == PONG


@pytest.mark.parametrize(
    ("sent", "code"),
    [(struct.pack("!H", 1000) + b"bye", 1000), (struct.pack("!H", 4999), 4999), (b"", None)],
)
async def test_the_clients_close_is_answered(nursery, sent, code):
    raw = await raw_opened(Rig(nursery))
    await raw.send(frame(sent, 8))
    opcode, payload = await raw.next()
    assert (opcode, payload[:2]) == (8, b"" if code is None else struct.pack("!H", code))
    assert await raw.next() is None


async def test_nothing_is_read_after_the_clients_close(nursery):
    raw = await raw_opened(Rig(nursery))
    await raw.send(frame(struct.pack("!H", 1000), 8) + frame(PING))
    assert (await raw.closed())[0] == 1000


async def test_a_limit_is_named_in_the_reason(nursery):
    raw = await raw_opened(Rig(nursery, toml=SMALL))
    await raw.send(frame("x" * 1001))
    assert "1000 bytes" in (await raw.closed())[1]


# -- permessage-deflate --------------------------------------------------------------------------------------

PACKED = {
    "in one frame": [frame(compressed(PING), rsv=4)],
    "twice, as no context is kept": [frame(compressed(PING), rsv=4), frame(compressed(PING), rsv=4)],
    "in fragments": [frame(compressed(PING)[:7], rsv=4, fin=False) + frame(compressed(PING)[7:], 0)],
    "with a ping in between": [
        frame(compressed(PING)[:7], rsv=4, fin=False) + frame(b"x", 9) + frame(compressed(PING)[7:], 0)
    ],
    "not at all": [frame(PING)],
    "one packed, one not": [frame(compressed(PING), rsv=4), frame(PING)],
}


@pytest.mark.parametrize("messages", PACKED.values(), ids=PACKED)
async def test_what_is_compressed_is_unpacked(nursery, messages):
    raw = await raw_opened(Rig(nursery), **DEFLATE)
    for message in messages:
        assert await raw.said(message) == PONG


async def test_a_final_block_and_its_padding(nursery):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    final = packer.compress(PING.encode()) + packer.flush(zlib.Z_FINISH)
    raw = await raw_opened(Rig(nursery), **DEFLATE)
    message = frame(final, rsv=4, fin=False) + frame(b"\0", 0)  # RFC 7692, section 7.2.3.4
    assert await raw.said(message) == PONG


PACKED_BADLY = {
    "a bomb": (frame(compressed("x" * 1_000_000), rsv=4), 1009),
    "a bomb in fragments": (
        frame(compressed("x" * 900) + b"\0\0\xff\xff", rsv=4, fin=False) + frame(compressed("x" * 101), 0),
        1009,
    ),
    "nothing that unpacks": (frame(b"\xff\xff\xff\xff", rsv=4), 1007),
    "no UTF-8 in it": (frame(b"\x01\x01\x00\xfe\xff\xff", rsv=4), 1007),
    "a compressed ping": (frame(b"", 9, rsv=4), 1002),
    "the bit on a continuation": (frame("a", fin=False) + frame("b", 0, rsv=4), 1002),
}


@pytest.mark.parametrize(("sent", "code"), PACKED_BADLY.values(), ids=PACKED_BADLY)
async def test_what_unpacks_badly_ends_the_connection(nursery, sent, code):
    raw = await raw_opened(Rig(nursery, toml=SMALL), **DEFLATE)
    await raw.send(sent)
    assert (await raw.closed())[0] == code


async def test_just_the_limit_unpacked_is_served(nursery):
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"pad": ""}}
    message["params"]["pad"] = "x" * (1000 - len(json.dumps(message)))
    raw = await raw_opened(Rig(nursery, toml=SMALL), **DEFLATE)
    assert await raw.said(frame(compressed(json.dumps(message)), rsv=4)) == PONG


async def test_answers_are_not_compressed(nursery):
    raw = await raw_opened(Rig(nursery), **DEFLATE)
    await raw.send(frame(PING))
    assert (await raw.stream.receive())[0] == 0x81


async def test_many_messages_in_one_piece_do_not_keep_others_waiting(nursery):
    raw = await raw_opened(Rig(nursery), capacity=1 << 20)
    turns = 0

    async def other():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    nursery.start_soon(other)
    await raw.send(frame(PING) * 500)
    for _ in range(500):
        assert await raw.said() == PONG
    assert turns >= 500
    nursery.cancel_scope.cancel()
