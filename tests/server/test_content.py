"""The body's type and coding: what JSON may be sent as, and what is unpacked how far."""

import gzip
import json
import zlib

import pytest
import trio
import zstandard

from answers import chunked
from door import ANSWER, CHAT, PATH, refused, request
from penstock.protocol.chunked import LAST
from penstock.server.content import ZSTD_WINDOW, check_type, decode
from penstock.server.http import Refusal
from rig import Rig
from scripted import Upstream

LIMIT = 1_000_000


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
}


# -- types ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "Application/JSON; charset=utf-8",
        "text/plain;charset=UTF-8",
        "text/json",
        "application/octet-stream",
        "application/vnd.api+json",
    ],
)
def test_json_may_be_sent_as(content_type):
    check_type(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/json, text/html",
        "json",
        ";",
    ],
)
async def test_other_types_are_415_in_json(nursery, autojump_clock, content_type):
    upstream = Upstream(nursery)
    answer = await Rig(nursery, upstream).ask(headers={"content-type": content_type})
    refused(answer, 415, "unsupported_media_type")
    assert "connection" not in answer.headers  # the body was here
    assert not upstream.requests


async def test_a_type_is_not_asked_for(nursery, autojump_clock):
    upstream = Upstream(nursery, ANSWER)
    client = Rig(nursery, upstream).connect()
    await client.request("POST", PATH, {"accept": "image/png"}, CHAT)
    assert (await client.answer()).status == 200
    assert upstream.requests[0].headers["content-type"] == "application/json"


# -- codings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate", "zstd", "identity", ""])
async def test_a_compressed_request_is_unpacked(nursery, autojump_clock, coding):
    upstream = Upstream(nursery, always=ANSWER)
    rig = Rig(nursery, upstream)
    pack = PACKERS.get(coding.lower().removeprefix("x-"), bytes)
    client = rig.connect()
    await client.request("POST", PATH, {"content-encoding": coding}, pack(CHAT))
    assert (await client.answer()).status == 200
    await client.raw(request("POST", PATH, f"Content-Encoding: {coding}", "Transfer-Encoding: chunked"))
    await client.raw(chunked(pack(CHAT)) + LAST)
    client.expect()
    assert (await client.answer()).status == 200
    for asked in upstream.requests:
        assert asked.json["messages"] == [{"role": "user", "content": "Hi"}]
        assert "content-encoding" not in asked.headers


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, gzip", "gzip;q=1", "\xe9"])
async def test_an_unknown_coding_is_415(nursery, autojump_clock, coding):
    answer = await Rig(nursery, Upstream(nursery)).ask(headers={"content-encoding": coding})
    assert "gzip" in refused(answer, 415, "unsupported_media_type")["message"]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, LIMIT])
@pytest.mark.parametrize("coding", PACKERS)
async def test_every_size_up_to_the_limit_comes_out_whole(coding, size):
    body = bytes(range(251)) * (size // 251) + bytes(size % 251)
    assert await decode(PACKERS[coding](body), coding, LIMIT) == body


async def test_deflate_without_its_wrapper_is_understood():
    assert await decode(raw_deflate(CHAT), "deflate", LIMIT) == CHAT


async def test_the_many_frames_of_one_zstd_body_are_one_body():
    assert await decode(zstandard.compress(CHAT[:9]) + zstandard.compress(CHAT[9:]), "zstd", LIMIT) == CHAT


async def refusal_of(body, coding, limit=LIMIT):
    with pytest.raises(Refusal) as caught:
        await decode(body, coding, limit)
    return caught.value.failed.status


@pytest.mark.parametrize("coding", PACKERS)
async def test_a_bomb_is_413_before_it_is_unpacked(coding, autojump_clock):
    bomb = PACKERS[coding](bytes(100_000_000))
    assert len(bomb) < LIMIT
    assert await refusal_of(bomb, coding) == 413
    assert await refusal_of(PACKERS[coding](bytes(LIMIT + 1)), coding) == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_what_is_cut_short_or_goes_on_is_400(coding):
    whole = PACKERS[coding](CHAT)
    for at in range(len(whole)):
        assert await refusal_of(whole[:at], coding) == 400
    for rest in (b"\0", whole, b"x" * 200_000):
        assert await refusal_of(whole + rest, coding) == 400


async def test_zstd_that_is_cut_short_is_never_a_request(nursery, autojump_clock):
    whole = zstandard.ZstdCompressor(write_content_size=False).compress(CHAT)
    rig = Rig(nursery, Upstream(nursery))
    for at in range(1, len(whole)):
        client = rig.connect()
        await client.request("POST", PATH, {"content-encoding": "zstd"}, whole[:at])
        assert (await client.answer()).status == 400
        client.leave()
    assert await refusal_of(whole + b"junk", "zstd") == 400


@pytest.mark.parametrize("coding", PACKERS)
async def test_what_is_not_packed_so_is_400(nursery, autojump_clock, coding):
    answer = await Rig(nursery, Upstream(nursery)).ask(headers={"content-encoding": coding})
    refused(answer, 400, "invalid_value")


async def test_zstd_may_not_ask_for_more_memory_than_everyone_needs():
    body = bytes(1000)
    for log, fits in ((ZSTD_WINDOW.bit_length() - 1, True), (ZSTD_WINDOW.bit_length(), False)):
        parameters = zstandard.ZstdCompressionParameters(window_log=log)
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        packed = packer.compress(body) + packer.flush()
        assert zstandard.get_frame_parameters(packed).window_size == 1 << log
        if fits:
            assert await decode(packed, "zstd", LIMIT) == body
        else:
            assert await refusal_of(packed, "zstd") == 400


@pytest.mark.parametrize("coding", PACKERS)
async def test_unpacking_lets_others_go_on(coding):
    body = json.dumps(list(range(300_000))).encode()
    packed = PACKERS[coding](body)
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        assert await decode(packed, coding, len(body)) == body
        nursery.cancel_scope.cancel()
    assert turns > len(body) // 65_536 / 2
