"""The request body's type and coding: what a client may send JSON as.

JSON is accepted under its own name, under none, as text/plain, which browser clients use to spare a preflight (the
check of Host and Origin has been made by then), and as what `curl -d` calls it. Compressed bodies are unpacked up to
the body limit, so that a small body cannot become a large one; the unpacking goes in slices.
"""

from __future__ import annotations

import io
import zlib

import trio

from . import refusal

__all__ = ["check_type", "decode"]

SLICE = 65536

ZSTD_WINDOW = 1 << 23
"""Memory that a few bytes of zstd can ask for. RFC 8878, 3.1.1.1.2 recommends 8 MiB; levels up to 19 fit."""

_TAKEN = frozenset(
    ("application/json", "text/json", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded")
)
"""The last is what `curl -d` says of anything. A page may send the last three without a preflight: see `access`."""

_BROKEN = "The body does not unpack as its Content-Encoding says."


def check_type(content_type: str | None) -> None:
    """Raise Refusal (415) if the body is said to be something other than JSON."""
    if not content_type:
        return
    media = content_type.partition(";")[0].strip().lower()
    if media in _TAKEN or media.endswith("+json"):
        return
    raise refusal.plain(415, f"Content-Type '{media[:80]}' is not served here; send application/json.")


async def decode(body: bytes, coding: str | None, limit: int) -> bytes:
    """The body without its Content-Encoding. Raises Refusal: 415 unknown, 400 broken, 413 larger than `limit`."""
    name = (coding or "").strip().lower()
    if name in ("", "identity"):
        return body
    if name in ("gzip", "x-gzip"):
        return await _inflate(body, 31, limit)
    if name == "deflate":
        # RFC 9110 section 8.4.1.2: "deflate" is the zlib format; some send the raw one all the same.
        return await _inflate(body, 15 if body[:1] and body[0] & 0x0F == 8 else -15, limit)
    if name == "zstd":
        return await _unzstd(body, limit)
    raise refusal.plain(415, f"Content-Encoding '{name[:40]}' is not known; gzip, deflate, zstd and identity are.")


async def _inflate(body: bytes, wbits: int, limit: int) -> bytes:
    unpacker = zlib.decompressobj(wbits)
    out = bytearray()
    try:
        for start in range(0, len(body), SLICE):
            part = body[start : start + SLICE]
            while part and not unpacker.eof:
                out += unpacker.decompress(part, SLICE)
                part = unpacker.unconsumed_tail
                _check_size(len(out), limit)
                await trio.lowlevel.checkpoint()
            if unpacker.unused_data or (unpacker.eof and start + SLICE < len(body)):
                raise refusal.bad_request("The compressed body goes on after its end.")
    except zlib.error as exc:
        raise refusal.bad_request(_BROKEN) from exc
    if not unpacker.eof:
        raise refusal.bad_request("The compressed body is cut short.")
    return bytes(out)


async def _unzstd(body: bytes, limit: int) -> bytes:
    import zstandard  # only some clients use it, and it takes its time to load

    out = bytearray()
    try:
        with zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).stream_reader(
            io.BytesIO(body), read_across_frames=True
        ) as reader:
            while part := reader.read(SLICE):
                out += part
                _check_size(len(out), limit)
                await trio.lowlevel.checkpoint()
    except zstandard.ZstdError as exc:
        raise refusal.bad_request(_BROKEN) from exc
    return bytes(out)


def _check_size(size: int, limit: int) -> None:
    if limit and size > limit:
        raise refusal.plain(413, f"The body unpacks to more than {limit} bytes.")
