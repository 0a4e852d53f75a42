"""Takes the content coding off an upstream's answer, as it comes.

We ask for none, and some servers compress all the same. What was flushed is given at once, so that a stream stays a
stream. What comes out comes in pieces of a bounded size, wherever a few bytes could become many, and all of an answer
may be at most so many times as large as it came: what lies behind has its own limits, but time is spent here.

The headers then say nothing of the coding, nor of the length that it had.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import trio

from .transport import UpstreamError, UpstreamResponse

__all__ = ["unpacked"]

PIECE = 65536
"""Bytes that are given at once."""

MAX_RATIO = 200
MAX_UNJUDGED = 16 * 1024 * 1024
"""So much may come out of anything; above it, at most `MAX_RATIO` times what came in. Repetitive JSON that is flushed
for each event comes to 20 or so, in one piece to 100; zeros to 1000, and to far more with zstd."""

MAX_CODINGS = 2
"""Some proxies compress what was compressed already; more than that is an attack."""

ZSTD_WINDOW = 1 << 23  # RFC 8878, 3.1.1.1.2 recommends 8 MiB
ZSTD_STEP = 256
"""Bytes of zstd that are unpacked at once, since nothing else bounds what comes out: four of them can mean 128 KiB."""


def unpacked(response: UpstreamResponse) -> UpstreamResponse:
    """The response without its content codings. Raises UpstreamError, and closes it, for one that is not known."""
    said = [value for name, value in response.headers if name == "content-encoding"]
    if not said:
        return response
    codings = [coding for coding in (word.strip().lower() for word in ",".join(said).split(",")) if coding]
    codings = [coding for coding in codings if coding != "identity"]
    response.headers = [field for field in response.headers if field[0] != "content-encoding"]
    for coding in reversed(codings):
        make = _UNPACKERS.get(coding)
        if make is None or len(codings) > MAX_CODINGS:
            response.close()
            raise UpstreamError("protocol", "the upstream compressed its answer in a way that is not known", sent=True)
        response = _Unpacked(response, make())
    return response


class _Unpacker(Protocol):
    """A coding. `give` takes bytes (none only if it is not `hungry` for them), and gives what is ready."""

    hungry: bool

    def give(self, data: bytes) -> bytes: ...
    def is_whole(self) -> bool: ...


class _Zlib:
    """gzip (of any number of members) and deflate."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._machine = None if wbits == -zlib.MAX_WBITS else zlib.decompressobj(wbits)
        self._rest = b""
        self.hungry = True

    def give(self, data: bytes) -> bytes:
        data = self._rest + data
        if self._machine is None:
            # RFC 9110 section 8.4.1.2: "deflate" is the zlib format; some send the raw one all the same.
            self._machine = zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else self._wbits)
        if self._machine.eof and data and self._wbits > zlib.MAX_WBITS:
            self._machine = zlib.decompressobj(self._wbits)
        out = self._machine.decompress(data, PIECE)
        self._rest = self._machine.unconsumed_tail or self._machine.unused_data
        if self._machine.eof and self._rest and self._wbits <= zlib.MAX_WBITS:
            raise zlib.error("more behind its end")
        self.hungry = not self._rest and len(out) < PIECE
        return out

    def is_whole(self) -> bool:
        return self._machine is None or self._machine.eof


class _Zstd:
    """zstd, of any number of frames."""

    def __init__(self) -> None:
        import zstandard  # only some servers use it, and it takes its time to load

        self._error = zstandard.ZstdError
        self._make = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj
        self._machine = self._make()
        self._rest = b""
        self.hungry = True

    def give(self, data: bytes) -> bytes:
        data = self._rest + data
        data, self._rest = data[:ZSTD_STEP], data[ZSTD_STEP:]
        if self._machine.eof and data:
            self._machine = self._make()
        try:
            out: bytes = self._machine.decompress(data) if data else b""
        except self._error as exc:
            raise zlib.error(str(exc)) from exc
        self._rest = self._machine.unused_data + self._rest
        self.hungry = not self._rest
        return out

    def is_whole(self) -> bool:
        return bool(self._machine.eof)


_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "deflate": lambda: _Zlib(-zlib.MAX_WBITS),
    "zstd": _Zstd,
}


class _Unpacked(UpstreamResponse):
    """A response whose body comes out of an unpacker."""

    __slots__ = ("_came", "_gave", "_response", "_unpacker")

    def __init__(self, response: UpstreamResponse, unpacker: _Unpacker) -> None:
        self.status = response.status
        self.headers = [field for field in response.headers if field[0] != "content-length"]
        self._response = response
        self._unpacker = unpacker
        self._came = self._gave = 0

    async def receive(self) -> bytes:
        try:
            return await self._next()
        except zlib.error as exc:
            self.close()
            raise UpstreamError("protocol", "the upstream's answer does not unpack", sent=True) from exc

    async def _next(self) -> bytes:
        while True:
            data = b""
            if self._unpacker.hungry:
                data = await self._response.receive()
                if not data:
                    return self._end()
                self._came += len(data)
            else:
                await trio.lowlevel.checkpoint()  # what is here already is not to keep the others waiting
            out = self._unpacker.give(data)
            self._gave += len(out)
            if self._gave > max(MAX_UNJUDGED, MAX_RATIO * self._came):
                self.close()
                message = f"the upstream's answer unpacks to more than {MAX_RATIO} times its size"
                raise UpstreamError("too_large", message, sent=True)
            if out:
                return out

    def _end(self) -> bytes:
        if self._came and not self._unpacker.is_whole():
            self.close()
            raise UpstreamError("closed", "the upstream's compressed answer is cut short", sent=True)
        return b""

    def finish(self, *, settle: bool = False) -> None:
        self._response.finish(settle=settle)

    def close(self) -> None:
        self._response.close()
