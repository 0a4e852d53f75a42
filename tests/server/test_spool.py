"""Where uploads wait: in memory up to a size, past it in a file, and the same from anywhere."""

import os
import random
from pathlib import Path

import pytest

from penstock.server.spool import PIECE, Spliced, Spool


def data(size):
    return random.Random(size).randbytes(size)


async def all_of(spool, start, end):
    found = b""
    while start + len(found) < end:
        piece = await spool.read(start + len(found), end)
        assert 0 < len(piece) <= PIECE
        found += piece
    return found


@pytest.mark.parametrize("size", [0, 1, 1000, 1001, 70000, PIECE + 1000, 4 * PIECE + 7])
@pytest.mark.parametrize("step", [999, 65536])
async def test_what_was_written_is_read_from_anywhere(size, step):
    wanted = data(size)
    with Spool(1000) as spool:
        for at in range(0, size, step):
            await spool.write(wanted[at : at + step])
        assert len(spool) == size
        for start in (0, size // 3, max(size - 1, 0)):
            assert await all_of(spool, start, size) == wanted[start:]
        assert await spool.read(size, size) == b""
        assert await spool.read(0, min(size, 5)) == wanted[:5]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_the_file_has_no_name_and_goes_with_the_spool():
    with Spool(10) as spool:
        await spool.write(b"x" * 10)
        assert spool._file is None
        await spool.write(b"x")
        descriptor = spool._file.fileno()
        assert os.fstat(descriptor).st_nlink == 0
    with pytest.raises(OSError):
        os.fstat(descriptor)
    assert spool.closed


@pytest.mark.parametrize("written", [[3], [1, 2, 3], [100000]])
async def test_all_is_written_however_little_the_system_takes_at_once(monkeypatch, written):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, rest, at: real(fd, rest[: written[at % len(written)]], at))
    with Spool(0) as spool:
        await spool.write(b"abcdefgh")
        assert await spool.read(0, 8) == b"abcdefgh"


async def test_ranges_and_bytes_make_a_body_that_can_be_read_twice():
    wanted = data(3 * PIECE)
    with Spool(1000) as spool:
        await spool.write(wanted)
        body = Spliced(spool, [range(0), b"", range(10, 2 * PIECE), b"model", range(2 * PIECE + 3, 3 * PIECE)])
        whole = wanted[10 : 2 * PIECE] + b"model" + wanted[2 * PIECE + 3 :]
        assert len(body) == len(whole)
        for _ in range(2):
            found = b""
            while piece := await body.read(len(found)):
                found += piece
            assert found == whole
        assert await body.read(2 * PIECE - 10 + 2) == b"del"
