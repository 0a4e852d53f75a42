"""What a relay counts: frames, bytes, the largest frame, replaced characters, and where frames ended."""

from __future__ import annotations

import pytest

from chat_streams import chunk, sse
from feeding import cuts
from penstock.protocol.relay import Relay

LINE = '{"model":"m","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":"%s"},"done":false}\n'
LAST = b'{"model":"m","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":""},"done":true}\n'


def counted(source: str, sink: str, chunks: list[bytes]) -> dict[str, int]:
    relay = Relay(source, sink)
    out = b"".join([relay.feed(piece) for piece in chunks]) + relay.close()
    stats = {name: getattr(relay.stats, name) for name in relay.stats.__slots__}
    assert stats.pop("bytes_out") == len(out)
    return stats


@pytest.mark.parametrize("sink", ["openai", "ollama"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_where_frames_ended_whatever_the_cuts_and_line_ends(sink: str, end: str) -> None:
    """The byte that completes a frame ends it; comments and the end marker are no frames."""
    head, end_bytes = ": hello\n\n", end.encode()
    frames = [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": text}) for text in "abcdefgh"),
        chunk({}, "stop"),
    ]
    body = head.encode() + sse(*frames) + b": bye\n\n"
    first = body.index(b"\n\n", len(head)) + 2
    last = body.index(b"data: [DONE]")
    ends = [body[:place].replace(b"\n", end_bytes) for place in (first, last)]
    body = body.replace(b"\n", end_bytes)
    for chunks in cuts(body, splits=2000):
        stats = counted("openai", sink, chunks)
        # a blank line is complete with its first byte: of CRLF, the CR
        assert [stats["first_event"], stats["last_event"]] == [len(text) - (end == "\r\n") for text in ends]
        assert stats["frames"] == len(frames)
        assert stats["bytes_in"] <= len(body)


def test_lines_of_ndjson_end_behind_their_line_feed() -> None:
    body = b"\xef\xbb\xbf\n" + (LINE % "a").encode() + b"\r\n" + (LINE % "b").encode() + LAST
    for chunks in cuts(body, splits=2000):
        stats = counted("ollama", "openai", chunks)
        assert stats["frames"] == 3
        assert stats["first_event"] == body.index(b"\n", 4) + 1
        assert stats["last_event"] == len(body)


def test_the_last_frame_may_be_cut_off() -> None:
    whole = sse(chunk({"content": "a"}), chunk({"content": "b"}), done=False)
    for chunks in cuts(whole + b'data: {"id"', splits=2000):
        assert counted("openai", "openai", chunks)["last_event"] == len(whole)


def test_a_json_document_is_one_frame() -> None:
    body = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
    stats = counted("openai", "openai", [body])
    assert (stats["frames"], stats["first_event"], stats["last_event"]) == (1, len(body), len(body))


@pytest.mark.parametrize(("sink", "frames"), [("openai", 2), ("ollama", 2)])
def test_replaced_characters_are_counted(sink: str, frames: int) -> None:
    """One U+FFFD for each maximal subpart; those that the upstream wrote itself are its own."""
    body = sse(chunk({"content": "\ufffd"}), chunk({}, "stop")).replace(b"\xef\xbf\xbd", b"\xef\xbf\xbd \xff\xe2\x82 x")
    for chunks in cuts(body, splits=2000):
        stats = counted("openai", sink, chunks)
        assert (stats["replaced"], stats["frames"]) == (2, frames)
