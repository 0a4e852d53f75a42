"""Where an upload waits until it can be sent: a little of it in memory, the rest in a file without a name.

The model that decides where an upload goes may be in its last field, and the upload may have to be sent twice. So it
is kept until it has been answered. Files are written and read in threads, in large pieces; the loop never waits for a
disk. The file is gone when it is closed, or with the process.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Self

import trio

from ..providers.transport import LongBody

__all__ = ["Spliced", "Spool"]

PIECE = 262144
"""Bytes that are written and read at once: a thread costs about as much as copying them."""


class Spool:
    """Bytes that are written once and read from anywhere. Up to `memory` of them are held, all others are in a file.

    Use with `with`. Raises OSError where the disk is full.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self._stored = 0  # how many bytes are in the file
        self.closed = False

    def __len__(self) -> int:
        return self._stored + len(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closed = True
        self._held.clear()
        if self._file is not None:
            self._file.close()

    async def write(self, data: bytes) -> None:
        """Add to its end."""
        self._held += data
        if len(self._held) > (self._memory if self._file is None else PIECE):
            if self._file is None:
                self._file = await trio.to_thread.run_sync(_new_file)
            held, self._held = bytes(self._held), bytearray()
            await trio.to_thread.run_sync(_write, self._file.fileno(), held, self._stored)
            self._stored += len(held)

    async def read(self, start: int, end: int) -> bytes:
        """Some of the bytes from `start` on, at most to `end`; at least one, if there is one."""
        end = min(end, start + PIECE)
        if start >= self._stored or self._file is None:
            return bytes(self._held[start - self._stored : end - self._stored])
        return await trio.to_thread.run_sync(os.pread, self._file.fileno(), min(end, self._stored) - start, start)


def _new_file() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="penstock-")


def _write(fd: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, at)
        at += written
        rest = rest[written:]


class Spliced(LongBody):
    """A body out of ranges of a spool, and bytes between them."""

    def __init__(self, spool: Spool, parts: Sequence[range | bytes]) -> None:
        self._spool = spool
        self._parts = [part for part in parts if len(part)]
        self._length = sum(map(len, parts))

    def __len__(self) -> int:
        return self._length

    async def read(self, start: int) -> bytes:
        """See `LongBody`."""
        for part in self._parts:
            if start < len(part):
                if isinstance(part, range):
                    return await self._spool.read(part.start + start, part.stop)
                return part[start:]
            start -= len(part)
        return b""
