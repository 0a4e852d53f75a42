"""C46, C47: answers that were compressed although nobody asked, over both transports' kind of response."""

import gzip
import zlib

import pytest
import trio
import zstandard

from penstock.providers import unpack
from penstock.providers.transport import UpstreamError, UpstreamResponse
from penstock.providers.unpack import unpacked

EVENTS = [f'data: {{"n":{n},"text":"Привет"}}\n\n'.encode() for n in range(5)]
TEXT = b"".join(EVENTS)


class Raw(UpstreamResponse):
    """A response whose body comes in these pieces."""

    def __init__(self, coding, *pieces):
        self.status = 200
        self.headers = [("content-type", "text/event-stream"), ("content-length", "999"), ("content-encoding", coding)]
        self.pieces = list(pieces)
        self.closed = self.finished = False

    async def receive(self):
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""

    def finish(self, *, settle=False):
        self.finished = settle or "without settling"

    def close(self):
        self.closed = True


def flushed(coding, events=EVENTS):
    """Each event flushed, and the end of it all."""
    if coding == "zstd":
        packer = zstandard.ZstdCompressor().compressobj()
        flush = lambda: packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)  # noqa: E731
        return [*[packer.compress(event) + flush() for event in events], packer.flush()]
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "raw deflate": -15}[coding])
    return [*[packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) for event in events], packer.flush()]


def named(coding):
    return "deflate" if coding == "raw deflate" else coding


CODINGS = ["gzip", "deflate", "raw deflate", "zstd"]


async def read(response):
    pieces = []
    while piece := await response.receive():
        pieces.append(piece)
    assert await response.receive() == b""
    return pieces


@pytest.mark.parametrize("coding", CODINGS)
async def test_c46_what_is_flushed_for_each_event_is_given_for_each_event(coding):
    response = unpacked(Raw(named(coding), *flushed(coding)))
    assert response.headers == [("content-type", "text/event-stream")]
    assert await read(response) == EVENTS


@pytest.mark.parametrize("coding", CODINGS)
async def test_c46_byte_by_byte(coding):
    raw = b"".join(flushed(coding))
    response = unpacked(Raw(named(coding), *[raw[at : at + 1] for at in range(len(raw))]))
    assert b"".join(await read(response)) == TEXT


@pytest.mark.parametrize("said", ["", "identity", "Identity, "])
async def test_what_is_not_compressed_keeps_its_bytes(said):
    assert await read(unpacked(Raw(said, TEXT))) == [TEXT]


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,zstd", "X-GZIP"])
async def test_what_was_compressed_twice_is_unpacked_twice(coding):
    raw = TEXT
    for name in coding.lower().split(","):
        raw = zstandard.compress(raw) if name.strip() == "zstd" else gzip.compress(raw)
    assert b"".join(await read(unpacked(Raw(coding, raw)))) == TEXT


@pytest.mark.parametrize("coding", ["br", "gzip, gzip, gzip", "compress"])
async def test_what_is_not_known_is_an_error_and_closed(coding):
    raw = Raw(coding, b"x")
    with pytest.raises(UpstreamError) as caught:
        unpacked(raw)
    assert caught.value.kind == "protocol"
    assert raw.closed


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
async def test_members_and_frames_one_after_the_other(pack):
    coding = "gzip" if pack is gzip.compress else "zstd"
    assert b"".join(await read(unpacked(Raw(coding, pack(b"a" * 99) + pack(b"b"), pack(b"c"))))) == b"a" * 99 + b"bc"


async def test_an_empty_body_is_empty_whatever_is_said_of_it():
    assert await read(unpacked(Raw("gzip"))) == []


@pytest.mark.parametrize(
    ("coding", "raw"), [("gzip", b"nonsense"), ("zstd", b"nonsense"), ("deflate", b"\x07\xff\xff")]
)
async def test_what_does_not_unpack(coding, raw):
    inner = Raw(coding, raw)
    with pytest.raises(UpstreamError) as caught:
        await read(unpacked(inner))
    assert caught.value.kind == "protocol"
    assert inner.closed


async def test_something_behind_the_end_of_deflate():
    with pytest.raises(UpstreamError):
        await read(unpacked(Raw("deflate", zlib.compress(TEXT) + b"x")))


@pytest.mark.parametrize("coding", CODINGS)
async def test_what_is_cut_short_is_told_from_what_is_whole(coding):
    inner = Raw(named(coding), *flushed(coding)[:-1])
    response = unpacked(inner)
    for event in EVENTS:
        assert await response.receive() == event
    with pytest.raises(UpstreamError) as caught:
        await response.receive()
    assert caught.value.kind == "closed"
    assert inner.closed


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_c46_a_bomb_is_given_in_pieces_and_stopped(coding, monkeypatch):
    monkeypatch.setattr(unpack, "MAX_UNJUDGED", 1 << 20)
    zeros = bytes(200 << 20)
    raw = zstandard.compress(zeros) if coding == "zstd" else gzip.compress(zeros, 1)
    del zeros
    inner = Raw(coding, *[raw[at : at + 65536] for at in range(0, len(raw), 65536)])
    sizes = []
    with pytest.raises(UpstreamError) as caught:
        await take_all(unpacked(inner), sizes)
    assert caught.value.kind == "too_large"
    assert inner.closed
    assert sum(sizes) < 32 << 20
    assert max(sizes, default=0) <= (unpack.PIECE if coding == "gzip" else unpack.ZSTD_STEP // 4 * (128 << 10))


async def take_all(response, sizes):
    while piece := await response.receive():
        sizes.append(len(piece))


async def test_one_call_gives_others_a_turn_while_it_unpacks():
    response = unpacked(Raw("gzip", gzip.compress(bytes(4 << 20))))
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await read(response)
        nursery.cancel_scope.cancel()
    assert turns > 50


def test_how_it_is_parted_with_is_passed_on():
    inner = Raw("gzip")
    response = unpacked(inner)
    response.finish(settle=True)
    response.close()
    assert (inner.finished, inner.closed) == (True, True)
