"""What the laws have found, as small as it could be made; each stays here."""

from __future__ import annotations

import json

import pytest

from penstock.protocol.chat import Answer, End, Failed
from penstock.protocol.detect import Detector
from penstock.protocol.dialects import DIALECTS
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.jsontext import loads_body
from penstock.protocol.relay import Relay, Whole
from penstock.protocol.response import Response


@pytest.mark.parametrize("chunks", [[b"\xef\xbb\xbf0"], [b"\xef\xbb", b"\xbf0"], [b"\xef", b"\xbb", b"\xbf", b"0"]])
def test_a_limit_shorter_than_a_byte_order_mark(chunks: list[bytes]) -> None:
    detector = Detector("text/event-stream", max_bytes=1)
    assert [detector.feed(chunk) for chunk in chunks][-1] == "json"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_end_marker_of_sse_in_any_dialect(dialect: str) -> None:
    decoder = DIALECTS[dialect].decoder("sse")
    *_, last = [*decoder.feed(b"data: [DONE]\n\n"), *decoder.close()]
    assert isinstance(last, Failed | End)


def test_a_line_of_the_other_endpoint_keeps_its_text() -> None:
    relay = Relay("ollama", "ollama")
    (line,) = relay.feed(b'{"response":"a","thinking":"b","done":true}\n').splitlines()
    assert json.loads(line)["message"] == {"role": "assistant", "content": "a", "thinking": "b"}


@pytest.mark.parametrize("dialect", ["openai", "completions"])
def test_usage_that_is_no_object(dialect: str) -> None:
    row = DIALECTS[dialect]
    body = json.dumps({"choices": [{"index": 0, "message": {"content": "a"}, "text": "a"}], "usage": 7}).encode()
    found = row.decode_response(body)
    assert isinstance(found, Answer)
    assert found.usage is None
    assert b'"a"' in row.encode_response(found)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_line_break_inside_of_a_string_is_judged_alike(dialect: str) -> None:
    row = DIALECTS[dialect]
    bodies = {
        "anthropic": b'{"type":"message","content":[{"type":"text","text":"a\nb"}],"stop_reason":"end_turn"}',
        "responses": b'{"object":"response","status":"completed","output":[{"type":"message","content":'
        b'[{"type":"output_text","text":"a\nb"}]}]}',
        "ollama": b'{"message":{"content":"a\nb"},"done":true}',
        "ollama_generate": b'{"response":"a\nb","done":true}',
    }
    body = bodies.get(dialect, b'{"choices":[{"index":0,"message":{"content":"a\nb"},"text":"a\nb"}]}')
    mended = row.mend_response(body) if row.mend_response is not None else row.decode_response(body)
    assert isinstance(mended, Failed) == isinstance(row.decode_response(body), Failed)


def test_a_whole_body_may_have_lines() -> None:
    assert loads_body(b'{\n"a":1}') == ({"a": 1}, True)
    assert loads_body(b'{"a":"b\r\nc"}') == ({"a": "b  c"}, False)
    with pytest.raises(ValueError, match="Expecting"):
        loads_body(b"\n{")


def test_an_empty_message_is_an_answer_and_none_is_not() -> None:
    row = DIALECTS["anthropic"]
    assert isinstance(row.decode_response(b'{"type":"message","content":[]}'), Answer)
    assert isinstance(row.decode_response(b'{"type":"message","content":"text"}'), Failed)


@pytest.mark.parametrize("sink", DIALECTS)
def test_a_stream_that_says_nothing_is_an_answer_that_says_nothing(sink: str) -> None:
    whole = Whole("openai", sink)
    whole.feed(b'data: {"choices":[{"delta":{}}]}\n\ndata: [DONE]\n\n')
    assert isinstance(DIALECTS[sink].decode_response(whole.close()), Answer)


def test_an_empty_line_before_a_head_counts_in_offsets() -> None:
    response = Response()
    with pytest.raises(RemoteProtocolError, match="chunked") as fault:
        response.feed(b"\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\nx")
    assert fault.value.offset == 46
    response = Response()
    with pytest.raises(RemoteProtocolError, match="status line") as fault:
        response.feed(b"\r\nHTTP/1.1 100\r\n\r\n\r\nFTP\r\n\r\n")
    assert fault.value.offset == 20
