"""Work is linear in the bytes: four times the bytes cost at most about four times the lines and copies, however cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from laws.effort import effort, pieces
from laws.machines import MACHINES
from laws.streams import chat
from penstock.protocol import chunked, detect, head, members, ndjson, sse, utf8
from penstock.protocol.blocks import Blocks
from penstock.protocol.dialects import DIALECTS
from penstock.protocol.embeddings import Repacker
from penstock.protocol.jsonrpc import ContentLengthDecoder
from penstock.protocol.multipart import Parts
from penstock.protocol.relay import Relay, Whole
from penstock.protocol.response import Response
from penstock.protocol.runs import runs

Grow = Callable[[int], bytes]

_PART = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'

# A machine, and inputs that grow with `n`: much of one thing that never ends, and many things.
GROWING: dict[str, tuple[Callable[[], Any], Grow]] = {
    "sse, one line": (sse.Decoder, lambda n: b"data: " + b"x" * n),
    "sse, one line after another event": (sse.Decoder, lambda n: b"data: a\n\ndata: " + b"x" * n),
    "sse, many lines": (sse.Decoder, lambda n: b"data: a\n" * (n // 8)),
    "sse, many events": (sse.Decoder, lambda n: b"data: a\n\n" * (n // 9)),
    "sse, many events of CRLF": (sse.Decoder, lambda n: b"data: a\r\n\r\n" * (n // 11)),
    "sse, many comments": (lambda: sse.Decoder(comments=True), lambda n: b": a\n" * (n // 4)),
    "sse, many blank lines": (sse.Decoder, lambda n: b"\r" * n),
    "blocks, one line": (Blocks, lambda n: b"data: " + b"x" * n),
    "blocks, many lines": (Blocks, lambda n: b"data: a\n" * (n // 8)),
    "blocks, many events": (Blocks, lambda n: b"data: a\n\n" * (n // 9)),
    "utf8, good": (utf8.Decoder, lambda n: "жж日".encode() * (n // 7)),
    "utf8, bad": (utf8.Decoder, lambda n: b"\xf0\x9f\x98a" * (n // 4)),
    "ndjson, one line": (ndjson.Decoder, lambda n: b'"' + b"x" * n),
    "ndjson, many lines": (ndjson.Decoder, lambda n: b"[1]\n" * (n // 4)),
    "ndjson, many blank lines": (ndjson.Decoder, lambda n: b"\n" * n),
    "ndjson, one line of brackets": (ndjson.Decoder, lambda n: b"[" * n),
    "runs, JSON": (lambda: runs("json", 1 << 24), lambda n: b"{" + b" " * n),
    "runs, NDJSON": (lambda: runs("ndjson", 1 << 24), lambda n: b"{}\n" * (n // 3)),
    "chunked, one chunk": (chunked.Decoder, lambda n: b"fffffff\r\n" + b"x" * n),
    "chunked, many chunks": (chunked.Decoder, lambda n: b"1\r\nx\r\n" * (n // 6)),
    "chunked, one extension": (lambda: chunked.Decoder(1 << 24), lambda n: b"1;" + b"x" * n),
    "chunked, one trailer": (lambda: chunked.Decoder(9, 1 << 24), lambda n: b"0\r\na:" + b"x" * n),
    "head, one line": (lambda: head.Scanner(1 << 24), lambda n: b"GET /" + b"x" * n),
    "head, many fields": (lambda: head.Scanner(1 << 24), lambda n: b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (n // 6)),
    "response, sized": (Response, lambda n: b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * n),
    "response, without end": (Response, lambda n: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * n),
    "response, interim": (lambda: Response(max_head_bytes=1 << 24), lambda n: b"HTTP/1.1 100 \r\n\r\n" * (n // 17)),
    "content-length, one body": (ContentLengthDecoder, lambda n: b"Content-Length: 9999999\r\n\r\n" + b"x" * n),
    "content-length, many": (ContentLengthDecoder, lambda n: b"Content-Length: 1\r\n\r\nx" * (n // 22)),
    "content-length, one line": (lambda: ContentLengthDecoder(1 << 24), lambda n: b"A: " + b"x" * n),
    "content-length, many fields": (lambda: ContentLengthDecoder(1 << 24), lambda n: b"A: b\r\n" * (n // 6)),
    "detect, one value": (detect.Detector, lambda n: b'{"a":"' + b"x" * n),
    "detect, white space": (detect.Detector, lambda n: b"\n" * n),
    "detect, white space after a value": (lambda: detect.Detector("application/json"), lambda n: b"1\n" + b"\n" * n),
    "multipart, one part": (lambda: Parts(b"x"), lambda n: _PART + b"x" * n),
    "multipart, many parts": (lambda: Parts(b"x", max_parts=1 << 24), lambda n: (_PART + b"\r\n") * (n // 60)),
    "multipart, almost delimiters": (lambda: Parts(b"x"), lambda n: _PART + b"\r\n--" * (n // 4)),
    "multipart, one header": (
        lambda: Parts(b"x", max_header_bytes=1 << 24),
        lambda n: b"--x\r\nA: " + b"x" * n,
    ),
    "embeddings, numbers": (lambda: Repacker("base64"), lambda n: b'{"embedding":[' + b"0.25," * (n // 5)),
    "embeddings, base64": (lambda: Repacker("float"), lambda n: b'{"embedding":"' + b"AACA" * (n // 4)),
    "embeddings, something else": (lambda: Repacker("float"), lambda n: b'{"a":"' + b"x" * n),
    "members, one string": (members.Splitter, lambda n: b'{"a":"' + b"x" * n),
    "members, escapes": (members.Splitter, lambda n: b'{"a":"' + b"\\u0041" * (n // 6)),
    "members, many": (members.Splitter, lambda n: b"{" + b"".join(b'"%06d":1,' % k for k in range(n // 11))),
    "members, one key": (members.Splitter, lambda n: b'{"' + b"x" * n),
    "members, an array": (members.Splitter, lambda n: b'{"a":[' + b"1," * (n // 2)),
}


def relayed(source: str, sink: str, kind: type[Relay | Whole]) -> tuple[Callable[[], Any], Grow]:
    """A relay, and a stream of many small texts."""
    frames = chat.WRITERS[source](chat.Script([("text", "x")]), chat.raw)
    at = next(at for at, frame in enumerate(frames) if frame.text)
    begin = b"".join(frame.raw for frame in frames[:at])
    return lambda: kind(source, sink), lambda n: begin + frames[at].raw * (n // 150)


for _name in DIALECTS:
    GROWING[f"relay, {_name} to itself"] = relayed(_name, _name, Relay)
    GROWING[f"relay, {_name} to openai"] = relayed(_name, "openai", Relay)
    GROWING[f"relay, openai to {_name}"] = relayed("openai", _name, Relay)
    GROWING[f"whole, {_name}"] = relayed(_name, _name, Whole)
    GROWING[f"relay, {_name}, one frame"] = (
        lambda name=_name: Relay(name, name),
        lambda n: b'data: {"a":"' + b"x" * n,
    )


@pytest.mark.parametrize("piece", [1, 100])
@pytest.mark.parametrize(("make", "grow"), GROWING.values(), ids=GROWING)
def test_c45_work_is_linear_in_the_bytes(make: Callable[[], Any], grow: Grow, piece: int) -> None:
    small, large = (effort(make(), pieces(grow(size), piece)) for size in (600, 2400))
    assert large <= 4.6 * small + 2400


class Copies(ndjson.Lines):
    """Puts what it holds together anew with each chunk."""

    def feed(self, data: Any) -> Any:
        self._held = bytearray(bytes(self._held) + data)
        return []


class Searches(ndjson.Lines):
    """Looks through all that it holds with each chunk."""

    def feed(self, data: Any) -> Any:
        self._held += data
        return [] if self._held.find(b"\n") < 0 else super().feed(b"")


class Keeps(ndjson.Lines):
    """Keeps bytes, of which each `+=` makes new ones."""

    def __init__(self) -> None:
        super().__init__()
        self.all = b""

    def feed(self, data: Any) -> Any:
        self.all += data
        return super().feed(data)


@pytest.mark.parametrize("piece", [1, 100])
@pytest.mark.parametrize("make", [Copies, Searches, Keeps])
def test_work_that_grows_with_the_square_is_seen(make: Callable[[], Any], piece: int) -> None:
    small, large = (effort(make(), pieces(b"x" * size, piece)) for size in (600, 2400))
    assert large > 4.6 * small + 2400


def test_every_framing_machine_is_held_to_it() -> None:
    framings = {
        name.split("-")[0]
        for name in MACHINES
        if not name.startswith(("relay", "whole", "decoder", "reader", "jsonrpc", "tags"))
    }
    assert {name.split(",")[0].split("-")[0] for name in GROWING} >= framings - {"lines"}
