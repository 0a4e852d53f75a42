"""`dialects.anthropic`: whole answers."""

import json

import pytest

from anthropic_streams import USAGE
from chat_streams import whole
from penstock.protocol.chat import Answer, Choice, Failed, Reasoning, ToolCall, Usage
from penstock.protocol.dialects import anthropic

CONTENT = [
    {"type": "thinking", "thinking": "hm", "signature": "sig"},
    {"type": "redacted_thinking", "data": "opaque"},
    {"type": "text", "text": "Hi"},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": "é"}},
]
THOUGHTS = (Reasoning("hm", signature="sig"), Reasoning("", signature="redacted_thinking:opaque"))
CALL = ToolCall(0, 0, "toolu_1", "f", '{"x":"é"}')


def message(content=CONTENT, reason="tool_use", **more):
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-a", "content": content}
    return {**head, "stop_reason": reason, "stop_sequence": None, "usage": USAGE, **more}


def raw(value, **options):
    return json.dumps(value, ensure_ascii=False, **options).encode()


def test_a_message_is_read():
    found = anthropic.decode_response(raw(message(), indent=1), id="own", created=7, model="own")
    usage = Usage(30, 1, 31, cached=3, raw=USAGE)
    choice = Choice(0, "Hi", "hm", "", [CALL], "tool_calls", THOUGHTS)
    assert found == Answer("msg_1", "claude-a", 7, [choice], usage)


def test_a_message_is_written_as_it_was_read():
    answer = anthropic.decode_response(raw(message()))
    assert json.loads(anthropic.encode_response(answer)) == message()


@pytest.mark.parametrize(
    ("choice", "content", "reason"),
    [
        (Choice(0, "", "hm", "", [], "stop"), [{"type": "thinking", "thinking": "hm", "signature": ""}], "end_turn"),
        (Choice(0, "", "", "No.", [], "stop"), [{"type": "text", "text": "No."}], "refusal"),
        (Choice(0, "Hi", "", "", [], None), [{"type": "text", "text": "Hi"}], None),
        (Choice(0, "Hi", "", "", [], "length"), [{"type": "text", "text": "Hi"}], "max_tokens"),
        (Choice(1, "Hi", "", "", [], "stop"), [], None),
        (
            Choice(0, "", "", "", [ToolCall(0, 0, "a", "f", " "), ToolCall(0, 1, "b", "g", "bad")], "tool_calls"),
            [
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {"arguments": "bad"}},
            ],
            "tool_use",
        ),
    ],
)
def test_answers_of_others_are_written(choice, content, reason):
    found = json.loads(anthropic.encode_response(Answer("x", "m", 5, [choice], None)))
    assert (found["content"], found["stop_reason"]) == (content, reason)
    assert found["usage"] == dict.fromkeys(found["usage"], 0)


def test_to_openai_and_back():
    there = whole(raw(message()), "anthropic", "openai")
    said = json.loads(there.out)["choices"][0]["message"]
    assert (said["content"], said["reasoning_content"]) == ("Hi", "hm")
    assert said["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":"é"}'}
    back = json.loads(whole(there.out, "openai", "anthropic").out)
    assert back["content"][1:] == CONTENT[2:]
    assert (back["content"][0]["thinking"], back["stop_reason"]) == ("hm", "tool_use")
    assert back["usage"]["input_tokens"] + back["usage"]["cache_read_input_tokens"] == 30


@pytest.mark.parametrize(
    "text",
    [
        raw(message(vendor=[1.10, 2e3])),
        raw(message(), indent=2),
        b'{"id":"x","type":"message","content":[],"n":1.00E+2,"s":"\\u0416 \xd0\x96"}',
    ],
)
def test_c61_a_message_passes_byte_for_byte(text):
    found = anthropic.mend_response(b"\xef\xbb\xbf\n" + text + b"\n", id="own", created=5, model="own")
    assert found[0] == text
    assert (found[1] is None) == (b"usage" not in text)
    assert whole(text, "anthropic", "anthropic").out == text


def test_a_message_in_an_array_of_its_own_is_taken_out_of_it():
    for found in (whole(raw([message()]), "anthropic", "anthropic").out, anthropic.mend_response(raw([message()]))[0]):
        assert json.loads(found) == message()


def test_what_no_client_could_read_is_written_anew():
    found = anthropic.mend_response(raw(message([{"type": "text", "text": "BAD"}])).replace(b"BAD", b"\xff\\ud83d"))
    assert json.loads(found[0])["content"][0]["text"] == "\ufffd\ufffd"


FAILURES = {
    "c22 an error": raw({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}),
    "nothing": b" \n",
    "cut": raw(message())[:-9],
    "no JSON": b"<html>",
    "no object": b"[1]",
    "no message": b'{"id":"x"}',
    "a message of other content": raw(message("Hi")),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_is_no_message_is_a_failure(name):
    for sink in ("openai", "anthropic"):
        found = whole(FAILURES[name], "anthropic", sink)
        assert found.out == b""
        assert found.failed.status == (429 if "error" in name else 502)
    for read in (anthropic.decode_response, anthropic.mend_response):
        assert isinstance(read(FAILURES[name]), Failed)
