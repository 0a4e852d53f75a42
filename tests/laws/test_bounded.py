"""Memory is bounded: by the limits of an open frame, and not by how many frames there were."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from laws.effort import pieces
from laws.law import retained
from laws.streams import chat
from penstock.protocol import chunked, head, members, ndjson, sse
from penstock.protocol.blocks import Blocks
from penstock.protocol.detect import Detector
from penstock.protocol.dialects import DIALECTS
from penstock.protocol.errors import LimitExceeded
from penstock.protocol.jsonrpc import Connection, ContentLengthDecoder
from penstock.protocol.relay import Relay, Whole

LIMIT = 1000
ENDLESS: dict[str, tuple[Callable[[], Any], bytes, bytes]] = {
    "sse, a line": (lambda: sse.Decoder(LIMIT), b"data: ", b"x"),
    "sse, lines": (lambda: sse.Decoder(LIMIT), b"", b"data: x\n"),
    "sse, a type": (lambda: sse.Decoder(LIMIT), b"event: ", b"x"),
    "sse, a comment": (lambda: sse.Decoder(LIMIT), b":", b"x"),
    "blocks": (lambda: Blocks(LIMIT), b"", b"data: x\n"),
    "ndjson": (lambda: ndjson.Decoder(LIMIT), b"", b"["),
    "lines": (lambda: ndjson.Lines(LIMIT), b"", b"x"),
    "chunked, a size line": (lambda: chunked.Decoder(LIMIT), b"1;", b"x"),
    "chunked, trailers": (lambda: chunked.Decoder(9, LIMIT), b"0\r\n", b"a: b\r\n"),
    "head": (lambda: head.Scanner(LIMIT), b"GET / HTTP/1.1\r\n", b"a: b\r\n"),
    "content-length, a header": (lambda: ContentLengthDecoder(LIMIT), b"", b"a: b\r\n"),
    "content-length, a body": (lambda: ContentLengthDecoder(99, LIMIT), b"Content-Length: 9999\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize(("make", "begin", "more"), ENDLESS.values(), ids=ENDLESS)
def test_c43_c44_what_never_ends_is_not_kept(make: Callable[[], Any], begin: bytes, more: bytes, size: int) -> None:
    machine, most = make(), 0
    for chunk in pieces(begin + more * (2 * LIMIT // len(more)), size):
        try:
            machine.feed(chunk)
        except LimitExceeded:
            break
        most = max(most, retained(machine) - len(chunk))
    assert machine.fault is not None
    assert most <= LIMIT
    assert retained(machine) <= LIMIT


STREAMS: dict[str, tuple[Callable[[], Any], bytes]] = {
    "sse": (sse.Decoder, b"event: a\ndata: x\n\n"),
    "blocks": (Blocks, b"event: a\ndata: x\n\n"),
    "ndjson": (ndjson.Decoder, b'{"a":1}\n'),
    "chunked": (chunked.Decoder, b"3\r\nabc\r\n"),
    "content-length": (ContentLengthDecoder, b"Content-Length: 3\r\n\r\nabc"),
    "members": (lambda: begun(members.Splitter(), b'{"a":['), b'1,["x"],'),
}
for _source in DIALECTS:
    _frames = chat.WRITERS[_source](chat.Script([("text", "x")]), chat.raw)
    _begin = b"".join(frame.raw for frame in _frames[: next(n for n, frame in enumerate(_frames) if frame.text)])
    _text = next(frame.raw for frame in _frames if frame.text)
    for _sink in DIALECTS:
        STREAMS[f"{_source} to {_sink}"] = (
            lambda source=_source, sink=_sink, begin=_begin: begun(Relay(source, sink), begin),
            _text,
        )


def begun(machine: Any, begin: bytes) -> Any:
    machine.feed(begin)
    return machine


# Responses' clients want the whole text once more at the end: what a sink must repeat is kept, within its own limit.
REPEATS = ("responses",)


@pytest.mark.parametrize(("make", "frame"), STREAMS.values(), ids=STREAMS)
def test_c43_a_long_stream_takes_no_more_memory_than_a_short_one(
    make: Callable[[], Any], frame: bytes, request: pytest.FixtureRequest
) -> None:
    machine = make()
    sizes = []
    for _ in range(30):
        for _ in range(5):
            machine.feed(frame)
        sizes.append(retained(machine))
    texts = 5 * 25 if request.node.callspec.id.endswith(REPEATS) else 0  # one byte of text in each frame
    assert max(sizes[5:]) <= max(sizes[:5]) + texts


def test_c43_a_detector_keeps_no_more_than_its_limit_and_one_chunk() -> None:
    detector = Detector(max_bytes=LIMIT)
    while detector.verdict is None:
        detector.feed(b"[" * 70)
    assert LIMIT < len(detector.buffered) <= LIMIT + 70
    assert retained(detector) <= LIMIT + 70


def test_c43_a_connection_keeps_only_what_is_in_flight() -> None:
    connection = Connection(max_in_flight=4)
    sizes = []
    for number in range(400):
        connection.receive(b'{"jsonrpc":"2.0","method":"m","params":["%b"],"id":%d}' % (b"x" * 100, number))
        connection.data_to_send()
        sizes.append(retained(connection))
    assert len(connection.unanswered) == 4
    assert max(sizes) == max(sizes[:8])


@pytest.mark.parametrize("source", DIALECTS)
def test_c43_a_whole_answer_is_kept_within_its_limit(source: str) -> None:
    frames = chat.WRITERS[source](chat.Script([("text", "x" * 50)]), chat.raw)
    whole = Whole(source, "openai", max_message_bytes=2000)
    for frame in frames:
        for _ in range(100 if frame.text else 1):
            whole.feed(frame.raw)
            assert retained(whole) < 6000
    assert whole.failed is not None


@pytest.mark.parametrize(("name", "unit"), [("sse", b"data:\xff\n"), ("ndjson", b"[1],"), ("blocks", b"data: x\n")])
def test_c43_what_python_allocates_is_in_proportion(name: str, unit: bytes) -> None:
    machine, _ = STREAMS[name]
    held = machine()
    piece = unit * 200
    tracemalloc.start()
    for _ in range(100):
        held.feed(piece)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 1.3 * 100 * len(piece) + 4096
