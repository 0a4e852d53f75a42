"""What a body is: from its bytes, with the header as a hint, at the same place for every cut."""

from __future__ import annotations

import pytest

import feeding
from penstock.protocol.detect import Detector, Kind

SSE, NDJSON, JSON = "text/event-stream; charset=utf-8", "application/x-ndjson", "Application/JSON"

# The body, the header, the verdict, and after how many bytes it falls (None: at the end).
BODIES: dict[str, tuple[bytes, str | None, Kind | None, int | None]] = {
    "data": (b"data: x\n\n", None, "sse", 5),
    "data without colon": (b"data\n\n", None, "sse", 5),
    "event": (b"event: x\n", None, "sse", 6),
    "id": (b"id:1\n", None, "sse", 3),
    "retry": (b"retry: 1\r", None, "sse", 6),
    "comment": (b": ping\n", None, "sse", 1),
    "SSE beats the header": (b"data: {}\n\n", JSON, "sse", 5),
    "empty lines before SSE": (b"\n\r\n : x", NDJSON, "sse", 5),
    "byte order mark before SSE": (b"\xef\xbb\xbfdata: x\n", None, "sse", 8),
    "half a name": (b"dat", SSE, "sse", None),
    "half a name without header": (b"dat", None, "json", None),
    "half a name, then not": (b"date\n", None, "json", 5),
    "other fields": (b"foo: bar\ndata: x\n", SSE, "sse", 9),
    "NDJSON": (b'{"a":1}\n{"a":2}\n', None, "ndjson", 8),
    "NDJSON with CRLF": (b'{"a":1}\r\n', NDJSON, "ndjson", 9),
    "NDJSON of scalars": (b"1\n2\n", None, "ndjson", 2),
    "NDJSON as SSE": (b'{"a":1}\n', SSE, "ndjson", 8),
    "NDJSON as JSON": (b'{"a":1}\n \n{"a":2}\n', JSON, "ndjson", 11),
    "NDJSON after empty lines": (b'\n\n{"a":1}\n', None, "ndjson", 10),
    "one line of NDJSON": (b'{"a":1}', NDJSON, "ndjson", None),
    "one line of JSON lines": (b'{"a":1}', "application/jsonl", "ndjson", None),
    "JSON": (b'{"a":1}', None, "json", None),
    "JSON as SSE": (b'{"a":1}', SSE, "json", None),
    "JSON with LF": (b'{"a":1}\n', JSON, "json", None),
    "JSON with LF and a suffix": (b'{"a":1}\n', "application/problem+json", "json", None),
    "JSON, then junk": (b'{"a":1}\n)', JSON, "json", 9),
    "JSON over lines": (b'{\n "a": 1}\n', None, "json", 2),
    "JSON over lines as NDJSON": (b"[1,\n2]", NDJSON, "json", 4),
    "JSON after empty lines": (b'\n\n  {"a":1}', JSON, "json", None),
    "HTML": (b"<html>\n<p>no", None, "json", 7),
    "HTML as SSE": (b"<html>\n<p>no", SSE, "sse", 7),
    "text": (b"no healthy upstream", None, "json", None),
    "text as NDJSON": (b"oops\n", NDJSON, "ndjson", 5),
    "text as text": (b"oops", "text/plain", "json", None),
    "nothing": (b"", SSE, None, None),
    "white space": (b" \r\n\t", JSON, None, None),
    "part of a byte order mark": (b"\xef\xbb", None, "json", None),
    "only a byte order mark": (b"\xef\xbb\xbf", None, None, None),
    "half a byte order mark": (b"\xef\xbbx\n", None, "json", 4),
}


def verdict(detector: Detector, chunks: list[bytes]) -> tuple[Kind | None, bytes]:
    """What a driver learns, and what was buffered by then."""
    for chunk in chunks:
        if kind := detector.feed(chunk):
            return kind, detector.buffered
    return detector.close(), detector.buffered


@pytest.mark.parametrize(("data", "header", "kind", "place"), BODIES.values(), ids=BODIES)
def test_c48_what_a_body_is_in_any_cut(data: bytes, header: str | None, kind: Kind | None, place: int | None) -> None:
    for chunks in feeding.cuts(data):
        found, buffered = verdict(Detector(header), chunks)
        assert found == kind
        assert data.startswith(buffered)
        assert len(buffered) >= (len(data) if place is None else place)


@pytest.mark.parametrize(("data", "header", "kind", "place"), BODIES.values(), ids=BODIES)
def test_the_verdict_falls_with_the_byte_that_decides(
    data: bytes, header: str | None, kind: Kind | None, place: int | None
) -> None:
    detector = Detector(header)
    told = [at for at, byte in enumerate(feeding.bytewise(data), 1) if detector.feed(byte)]
    assert told[:1] == ([] if place is None else [place])
    assert detector.close() == detector.verdict == kind


def test_a_verdict_stays_and_later_bytes_are_not_kept() -> None:
    detector = Detector()
    assert detector.feed(b": x") == "sse"
    assert detector.feed(b'{"a":1}\n') == "sse"
    assert detector.buffered == b": x"
    assert detector.close() == "sse"
    assert detector.close() is None


LIMIT = 8
LIMITED: dict[str, tuple[bytes, str | None, Kind]] = {
    "a line that ends within": (b'{"a":1}\n', None, "ndjson"),
    "a line that ends beyond": (b'{"ab":1}\n', None, "json"),
    "the header decides": (b'{"ab":1}\n', NDJSON, "ndjson"),
    "white space": (b" " * 8 + b"data:", None, "json"),
    "white space, then JSON": (b" " * 8 + b"{", SSE, "json"),
    "name that ends within": (b"   data:", JSON, "sse"),
    "name that ends beyond": (b"    data:", JSON, "json"),
    "a second value beyond": (b'{"a":1}\n{}', JSON, "json"),
    "junk": (b"xxxxxxxxx", SSE, "sse"),
}


@pytest.mark.parametrize(("data", "header", "kind"), LIMITED.values(), ids=LIMITED)
def test_no_more_is_looked_at_than_the_limit(data: bytes, header: str | None, kind: Kind) -> None:
    for chunks in feeding.cuts(data):
        assert verdict(Detector(header, max_bytes=LIMIT), chunks)[0] == kind


@pytest.mark.parametrize("begin", [b'{"a":"', b" ", b'{"a":1}\n'])
def test_c45_work_is_linear_in_the_bytes(begin: bytes) -> None:
    detector = Detector(JSON)
    detector.feed(begin)
    assert feeding.work(detector, begin + b" " * 5000, 1) <= 20 * 5000
