"""`dialects.openai` whole answers: untouched where any client reads them, mended where not."""

import json

import pytest

from penstock.protocol.chat import Answer, Choice, Failed, ToolCall, Usage
from penstock.protocol.dialects import openai

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def body(message, finish="stop", **more):
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [choice],
        "usage": USAGE,
        **more,
    }


HI = {"role": "assistant", "content": "Hi"}
TOOL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(body(HI, extra=[1.10, 2e3])),
        json.dumps(body({**HI, "content": None, "tool_calls": [TOOL]}, "tool_calls"), indent=2),
        '{"id":"x","object":"chat.completion","created":5,"model":"m","n":1.00E+2,"choices":[{"index":0,'
        '"message":{"role":"assistant","content":"\\u0416 日本"},"finish_reason":"length"}]}',
    ],
)
def test_c61_an_answer_that_any_client_reads_is_passed_on_byte_for_byte(text):
    raw = text.encode()
    found = openai.mend_response(b"\n\n" + raw + b"\n")
    assert found[0] == raw
    assert (found[1] is None) == ("usage" not in text)


MENDED = {
    "role missing": (body({"content": "Hi"}), HI, "stop"),
    "c57 a foreign reason": (body(HI, "eos_token"), HI, "stop"),
    "no reason": (body(HI, ""), HI, None),
    "stop with tools": (body({**HI, "tool_calls": [TOOL]}), {**HI, "tool_calls": [TOOL]}, "tool_calls"),
    "c57 length beats tools": (
        body({**HI, "tool_calls": [TOOL]}, "max_tokens"),
        {**HI, "tool_calls": [TOOL]},
        "length",
    ),
    "no tools at all": (body({**HI, "tool_calls": []}), HI, "stop"),
    "content in parts": (body({"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}), HI, "stop"),
    "content absent": (body({"role": "assistant"}), {"role": "assistant", "content": None}, "stop"),
    "reasoning by its other name": (body({**HI, "reasoning": "hm"}), {**HI, "reasoning_content": "hm"}, "stop"),
    "arguments an object": (
        body(
            {**HI, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}, "odd"]}, "tool_calls"
        ),
        {**HI, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]},
        "tool_calls",
    ),
    "arguments empty, index given": (
        body({**HI, "tool_calls": [{**TOOL, "index": 0, "function": {"name": "f", "arguments": " "}}]}),
        {**HI, "tool_calls": [{**TOOL, "index": 0}]},
        "tool_calls",
    ),
    "a custom tool": (
        body({**HI, "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]}),
        {**HI, "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
        "tool_calls",
    ),
    "delta in the place of message": (body(None, choices=[{"delta": HI, "finish_reason": "stop"}]), HI, "stop"),
    "text in the place of message": (body(None, choices=[{"text": "Hi", "finish_reason": "stop"}]), HI, "stop"),
    "an array around it": ([body(HI)], HI, "stop"),
    "an index that is no number": (
        body(None, choices=[{"index": False, "message": HI, "finish_reason": "stop"}]),
        HI,
        "stop",
    ),
    "lone surrogate": (body({**HI, "content": "a\ud83d"}), {**HI, "content": "a\ufffd"}, "stop"),
}


@pytest.mark.parametrize("name", MENDED)
def test_c58_any_other_answer_is_mended(name):
    sent, message, finish = MENDED[name]
    out, usage = openai.mend_response(json.dumps(sent).encode())
    value = json.loads(out)
    assert value["choices"][0]["message"] == message
    assert value["choices"][0]["finish_reason"] == finish
    assert repr(value["choices"][0]["index"]) == "0"
    assert usage[:3] == (3, 2, 5)


def test_the_head_is_made_whole_and_forbidden_keys_go():
    out, usage = openai.mend_response(
        b'{"error":null,"type":"x","choices":[{"message":{"content":"Hi"}},5],"usage":{"prompt_tokens":1}}',
        id="own",
        created=7,
        model="m",
    )
    value = json.loads(out)
    assert {key: value[key] for key in ("id", "object", "created", "model")} == {
        "id": "own",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
    }
    assert not {"error", "type"} & set(value)
    assert value["usage"] == {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
    assert len(value["choices"]) == 1
    assert usage[:3] == (1, 0, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"id":"x","choices":[{"mess', "closed the connection"),
        (b"<html>", "no JSON"),
        (b"17", "no JSON object"),
        (b'{"id":"x"}', "without choices"),
        (b'{"choices":[]}', "without choices"),
        (b'{"choices":null}', "without choices"),
        (b'{"choices":["x"]}', "without choices"),
        (b'{"error":{"message":"No credits","code":402}}', "No credits"),
        (b'{"error":"Unexpected endpoint or method. (POST /x)"}', "Unexpected endpoint"),
        (b'{"choices":[{"error":{"message":"boom"},"message":{}}]}', "boom"),
        (b'{"object":"error","message":"no such model"}', "no such model"),
        (b"[" * 300 + b"]" * 300, "closed the connection"),
    ],
)
def test_c22_a_200_without_an_answer_is_a_failure(text, words):
    for read in (openai.mend_response, openai.decode_response):
        failed = read(text)
        assert isinstance(failed, Failed)
        assert words in failed.message


ANSWER = Answer(
    "x",
    "m",
    5,
    [
        Choice(0, "Hi", "hm", "", [], "stop"),
        Choice(1, "", "", "", [ToolCall(1, 0, "a", "f", "{}")], "tool_calls"),
        Choice(2, "", "", "no", [], None),
    ],
    Usage(3, 2, 5, raw=USAGE),
)


def test_a_whole_answer_encodes_and_decodes_to_itself():
    text = openai.encode_response(ANSWER)
    assert openai.decode_response(text) == ANSWER
    assert openai.mend_response(text)[0] == text
    messages = [choice["message"] for choice in json.loads(text)["choices"]]
    assert [message["content"] for message in messages] == ["Hi", None, None]
    assert [message["refusal"] for message in messages] == [None, None, "no"]


def test_custom_tools_and_no_usage_decode_too():
    sent = body(
        {**HI, "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]}, usage=None
    )
    answer = openai.decode_response(json.dumps(sent).encode())
    assert answer.choices[0].tool_calls == [ToolCall(0, 0, "a", "f", "x")]
    assert answer.usage is None
    assert "usage" not in json.loads(openai.encode_response(answer))
