"""`whole`: one answer in one piece, whatever the upstream sends, in the client's own dialect."""

import json

import pytest

from chat_streams import DONE, ROLE, chunk, ndjson, sse, whole
from penstock.protocol.chat import Failed
from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.relay import Whole

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CALLS = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]
MESSAGE = {"role": "assistant", "content": "Привет", "refusal": None, "reasoning_content": "hm", "tool_calls": CALLS}
CHOICE = {"index": 0, "message": MESSAGE, "logprobs": None, "finish_reason": "tool_calls"}
BODY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "org/model-a",
    "choices": [CHOICE],
}
BODY["usage"] = USAGE

STREAM = sse(
    chunk(ROLE),
    chunk({"reasoning": "hm"}),
    chunk({"content": "При"}),
    chunk({"content": "вет"}),
    chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
    chunk({}, "stop"),
    {"choices": [], "usage": USAGE},
)
LINES = ndjson(
    {"model": "org/model-a", "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
    {"message": {"content": "Привет", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]}},
    {"message": {"content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2},
)


def test_c61_json_for_json_is_passed_on_byte_for_byte():
    text = json.dumps({**BODY, "x": [1.50, 1e3]}, indent=1).encode()
    found = whole(text)
    assert (found.out, found.kind, found.usage[:3]) == (text, "completed", (3, 2, 5))


def test_c40_empty_lines_before_the_json_are_dropped():
    text = json.dumps(BODY).encode()
    assert whole(b"\n\r\n \n" + text + b"\n").out == text


def test_c48_a_stream_in_the_place_of_json_is_put_together():
    found = whole(STREAM, content_type="application/json")
    assert json.loads(found.out) == BODY
    assert (found.kind, found.usage[:3], found.started) == ("completed", (3, 2, 5), True)


@pytest.mark.parametrize("data", [LINES, LINES.replace(b'"done": False', b'"done": false')])
def test_an_ollama_stream_is_put_together_for_an_openai_client(data):
    found = json.loads(whole(data, "ollama").out)
    assert found == {**BODY, "id": "chatcmpl-own", "created": 1750000000}


def test_an_ollama_object_is_translated():
    body = {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": True, "done_reason": "length"}
    found = whole(json.dumps(body, indent=1).encode(), "ollama")
    choice = json.loads(found.out)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hi", "length")


def test_an_openai_answer_is_translated_for_an_ollama_client():
    for data in (STREAM, json.dumps(BODY).encode()):
        found = json.loads(whole(data, sink="ollama", encoding={"created_at": "2026-01-02T03:04:05Z"}).out)
        assert found["message"]["content"] == "Привет"
        assert found["message"]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
        assert (found["created_at"], found["done"], found["eval_count"]) == ("2026-01-02T03:04:05Z", True, 2)


FAILURES = {
    "c19 nothing": (b"", "failed", "empty"),
    "c19 white space": (b"\n \n", "failed", "empty"),
    "c22 an error with 200": (b'{"error":{"message":"No credits","code":402}}', "failed", "No credits"),
    "choices empty": (b'{"choices":[]}', "failed", "without choices"),
    "json cut off": (json.dumps(BODY).encode()[:-9], "truncated", "closed the connection"),
    "html": (b"<html>", "failed", "no JSON"),
    "c20 c21 stream cut off": (
        sse(chunk(ROLE), chunk({"content": "a"}), done=False),
        "truncated",
        "closed the connection",
    ),
    "c22 error in the stream": (sse(chunk(ROLE), {"error": {"message": "boom"}}), "failed", "boom"),
    "only the marker": (DONE, "failed", "empty"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_whatever_fails_is_an_http_status_still(name):
    data, kind, words = FAILURES[name]
    found = whole(data)
    assert (found.out, found.kind, found.started) == (b"", kind, False)
    assert words in found.failed.message


@pytest.mark.parametrize("data", [json.dumps(BODY).encode(), json.dumps(BODY, indent=1).encode(), STREAM])
def test_c44_an_answer_beyond_the_limit_fails(data):
    found = Whole("openai", "openai", max_message_bytes=9)
    for at in range(0, len(data), 50):
        assert found.feed(data[at : at + 50]) == b""
    assert found.close() == b""
    assert (found.started, str(found.ending)) == (False, "failed")
    assert "9 bytes" in found.failed.message


def test_the_marker_ends_it_without_waiting_for_the_upstream_to_close():
    found = Whole("openai", "openai")
    found.feed(STREAM)
    assert (found.ended, found.ending, found.started, found.finished) == (True, None, False, False)
    assert json.loads(found.close()) == BODY
    assert (str(found.ending), found.started, found.failed) == ("completed", True, None)
    assert found.close() == b""
    with pytest.raises(LocalProtocolError):
        found.feed(b"")


@pytest.mark.parametrize("begun", [b"", b'{\n"id"', STREAM[:300]])
def test_a_failure_from_outside_stands(begun):
    found = Whole("openai", "openai")
    found.feed(begun)
    failed = Failed("timeout", 504)
    assert found.fail(failed) == b""
    assert (found.failed, str(found.ending), found.started) == (failed, "failed", False)
    assert found.fail(Failed("again")) == found.close() == b""
    assert found.failed == failed


def test_a_stream_that_answers_nothing_but_usage_is_no_answer():
    assert whole(sse({"choices": [], "usage": USAGE})).failed.message


def test_too_much_text_is_a_failure_though_the_upstream_has_said_all():
    found = Whole("openai", "openai", max_message_bytes=1)
    found.feed(STREAM)
    assert (found.ended, found.started, str(found.ending)) == (True, False, "failed")
    assert found.close() == b""
    assert found.failed is not None


@pytest.mark.parametrize("source", ["openai", "ollama"])
@pytest.mark.parametrize("sink", ["openai", "ollama"])
def test_what_a_document_says_of_its_failure_can_be_cleaned(source, sink):
    def clean(failed):
        return failed._replace(message=failed.message.replace("secret", "***"))

    found = whole(
        b'{"error":{"message":"the secret is out"}}', source, sink, clean=clean, content_type="application/json"
    )
    assert (found.failed.message, found.kind) == ("the *** is out", "failed")
    cut = whole(b'{"model":"secret",', source, sink, clean=clean, content_type="application/json")
    assert (cut.kind, cut.started) == ("truncated", False)
