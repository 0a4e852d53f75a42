"""`dialects.responses`: whole answers, and events that pass as they came."""

import json

import pytest

from chat_streams import relayed, sse, whole
from penstock.protocol.chat import Answer, Choice, Failed, Reasoning, ToolCall, Usage
from penstock.protocol.dialects import responses
from penstock.protocol.relay import Relay
from responses_streams import FULL, USAGE, added, delta, ended, message, read, response, stream

BODY = FULL[-1]["response"]
GIVEN = {"id": "resp_own", "created": 5, "model": "own"}


def raw(value):
    return json.dumps(value, ensure_ascii=False).encode()


# -- whole answers ----------------------------------------------------------------------------------------


def test_a_whole_response_is_decoded():
    answer = responses.decode_response(raw(BODY))
    assert answer[:3] == ("resp_1", "org/model-a", 1760000000)
    [choice] = answer.choices
    assert (choice.text, choice.reasoning, choice.reason) == ("Héllo", "hm, yes", "tool_calls")
    assert choice.tool_calls == [ToolCall(0, 0, "call_1", "f", '{"x":1}')]
    assert choice.thoughts == (Reasoning("hm, yes", 0, "gAAA"),)
    assert answer.usage == Usage(9, 7, 16, 4, 3, USAGE)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (raw(response("failed", error={"code": "server_error", "message": "boom"})), "boom"),
        (raw({"error": {"message": "boom"}}), "boom"),
        (raw(response("in_progress")), "the upstream sent an invalid answer: a response that is not complete"),
        (b"", "the upstream sent an empty answer"),
        (raw(BODY)[:-5], "the upstream closed the connection before its answer was complete"),
        (b"<html>", "the upstream sent an invalid answer: a frame that is no JSON"),
    ],
)
def test_why_there_is_no_answer(body, said):
    for read_body in (responses.decode_response, responses.mend_response):
        failed = read_body(body, **GIVEN)
        assert isinstance(failed, Failed)
        assert failed.message == said


def answer(**choice):
    said = {"text": "", "reasoning": "", "refusal": "", "tool_calls": [], "reason": "stop"} | choice
    return Answer("chatcmpl-7", "m", 5, [Choice(1, "other", "", "", [], None), Choice(0, **said)], Usage(1, 2, 3))


def test_a_whole_answer_is_encoded():
    calls = [ToolCall(0, 0, "call_a", "f", " "), ToolCall(0, 1, "call_b", "patch", "")]
    value = json.loads(
        responses.encode_response(
            answer(text="Hi", reasoning="hm", refusal="no", tool_calls=calls),
            request={"tools": [{"type": "custom", "name": "patch"}], "temperature": 0.5},
        )
    )
    assert value["output"] == [
        {"id": "rs_7_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "id": "msg_7_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {
            "id": "fc_7_2",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_a",
            "name": "f",
            "arguments": "{}",
        },
        {
            "id": "ctc_7_3",
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": "call_b",
            "name": "patch",
            "input": "",
        },
    ]
    assert (value["id"], value["status"], value["temperature"], value["created_at"]) == ("resp_7", "completed", 0.5, 5)
    assert value["usage"]["total_tokens"] == 3


def test_a_whole_answer_that_breaks_off_or_is_empty():
    value = json.loads(responses.encode_response(answer(text="Hi", reason="length")))
    assert (value["status"], value["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [item["status"] for item in value["output"]] == ["incomplete"]
    thought = json.loads(responses.encode_response(answer(reasoning="hm", reason="length")))
    assert "status" not in thought["output"][0]
    nothing = json.loads(responses.encode_response(Answer("", "", 0, [], None)))
    assert (nothing["output"], nothing["status"], nothing["usage"]) == ([], "completed", None)


def test_blocks_of_reasoning_keep_what_their_vendor_wants_back():
    thoughts = (Reasoning("hm", 0, "sig"), Reasoning("", 0, "redacted"))
    value = json.loads(responses.encode_response(answer(reasoning="hm", thoughts=thoughts)))
    assert [(item["summary"], item["encrypted_content"]) for item in value["output"]] == [
        ([{"type": "summary_text", "text": "hm"}], "sig"),
        ([], "redacted"),
    ]


@pytest.mark.parametrize(
    "body", [raw(BODY), b"\xef\xbb\xbf\r\n" + raw(BODY) + b"\n", json.dumps(BODY, indent=1).encode()]
)
def test_what_needs_no_mending_passes_as_it_came(body):
    assert responses.mend_response(body, **GIVEN) == (
        body.removeprefix(b"\xef\xbb\xbf").strip(),
        Usage(9, 7, 16, 4, 3, USAGE),
    )


def test_what_clients_need_is_put_in():
    mended, usage = responses.mend_response(raw([{"output": [message("Hi")], "x": 1.50}]), **GIVEN)
    identity = {"id": "resp_own", "object": "response", "created_at": 5, "model": "own", "status": "completed"}
    assert json.loads(mended) == {"output": [message("Hi")], "x": 1.5} | identity
    assert usage is None
    assert json.loads(responses.mend_response(json.dumps({**BODY, "x": "\ud83d"}).encode())[0])["id"] == "resp_1"


def test_whole_answers_of_both_apis():
    found = whole(stream(*FULL), "responses", "openai")
    assert json.loads(found.out)["choices"][0]["message"]["content"] == "Héllo"
    found = whole(stream(*FULL), "responses", "responses", encoding={"request": {"user": "u"}})
    value = json.loads(found.out)
    assert (value["output"][0]["encrypted_content"], value["user"], found.kind) == ("gAAA", "u", "completed")
    assert whole(raw(BODY), "responses", "responses").out == raw(BODY)
    chat = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}]}  # fmt: skip
    assert json.loads(whole(raw(chat), "openai", "responses").out)["status"] == "incomplete"


def test_errors_are_openais():
    assert responses.encode_error(Failed("boom", status=429, code="c")) == (
        429,
        b'{"error":{"message":"boom","type":"server_error","param":null,"code":"c"}}',
    )


# -- the same dialect on both sides -----------------------------------------------------------------------


def test_events_pass_byte_for_byte():
    odd = {"type": "response.web_search_call.searching", "item_id": "ws", "n": 12345678901234567890123, "f": 1.50}
    data = stream(*FULL[:-1], odd, FULL[-1])
    found = relayed(data, "responses", "responses", splits=0)
    assert found.out == data
    assert (found.usage, found.kind, found.counts[0]) == (Usage(9, 7, 16, 4, 3, USAGE), "completed", len(FULL) + 1)


def test_framing_is_our_own():
    data = stream(*FULL[:2], b": ping\r\n\r\n", *FULL[2:], named=False).replace(b"data: ", b"data:")
    strange = b'data: {"type":"odd\\nname"}\n\n'
    found = relayed(data.replace(b"\n\n", b"\r\n\r\n") + b"data: [DONE]\n\n", "responses", "responses", splits=0)
    assert len(read_loosely(found.out)) == len(FULL)
    assert b": ping" not in found.out
    assert found.out.startswith(b"event: response.created\ndata: {")
    passed = relayed(strange + data, "responses", "responses", splits=0).out
    assert passed.startswith(strange + b"event: response.created\n")


def read_loosely(out):
    return [json.loads(block.partition(b"data: ")[2]) for block in out.split(b"\n\n") if block]


def test_c49_what_no_client_could_read_is_written_anew():
    data = stream(
        FULL[0],
        delta("output_text", 0, "a\ud83d"),
        delta("output_text", 0, "\ude00"),
        delta("output_text", 0, "b\ud83d"),
        {"type": "response.odd", "x": "\x85"},
        b'data: {"type":"response.nan","x":NaN}\n\n',
        ended(),
    )
    found = read_loosely(relayed(data, "responses", "responses").out)
    deltas = [event["delta"] for event in found if event["type"].endswith("delta")]
    assert "".join(deltas) == "a😀b\ufffd"
    assert {"type": "response.nan", "x": None} in found
    assert found[-1]["type"] == "response.completed"


def test_a_failure_before_the_answer_begins_has_not_started():
    failed = {"type": "response.failed", "response": response("failed", error={"code": "x", "message": "boom"})}
    found = relayed(stream(*FULL[:2], failed), "responses", "responses")
    assert (found.out, found.started, found.failed.message) == (b"", False, "boom")
    assert relayed(stream(*FULL[:2]), "responses", "responses").out == b""


SLOW = response("failed", error={"code": "rate_limit_exceeded", "message": "slow"}, usage=USAGE, user="u")


@pytest.mark.parametrize(
    ("tail", "code", "usage"),
    [
        ([{"type": "response.failed", "response": SLOW}], "rate_limit_exceeded", USAGE),
        ([{"type": "error", "code": "boom", "message": "oops"}], "boom", None),
        ([], "upstream_error", None),
        ([b"data: [DONE]\n\n"], "upstream_error", None),
    ],
)
def test_c24_a_failure_is_told_as_clients_read_it(tail, code, usage):
    begun = [*FULL[:2], added(0, message("", status="in_progress")), delta("output_text", 0, "a")]
    found = relayed(stream(*begun, *tail), "responses", "responses")
    assert found.out.startswith(stream(*begun))
    failed, error = read_loosely(found.out)[-2:]
    assert (failed["type"], failed["response"]["id"], failed["response"]["status"]) == (
        "response.failed",
        "resp_1",
        "failed",
    )
    assert failed["response"]["error"]["code"] == error["error"]["code"] == code
    assert failed["response"].get("usage") == usage
    assert error["sequence_number"] == failed["sequence_number"] + 1
    assert failed["sequence_number"] >= len(begun)
    assert (found.usage.raw if found.usage else None) == usage


def test_events_without_numbers_are_counted():
    event = {"type": "response.output_text.delta", "output_index": 0, "delta": "a"}
    relay = Relay("responses", "responses")
    out = relay.feed(b"".join(b"data: %b\n\n" % raw(event) for _ in range(3))) + relay.close()
    assert [event["sequence_number"] for event in read_loosely(out)[-2:]] == [3, 4]
    assert read_loosely(out)[-2]["response"]["output"] == []


def test_what_comes_before_the_answer_is_bounded():
    relay = Relay("responses", "responses", max_frame_bytes=1000)
    waiting = stream({"type": "response.in_progress", "response": response(x="y" * 100)})
    for _ in range(2):
        assert relay.feed(waiting) == b""
    assert relay.failed is None
    assert relay.feed(waiting) == b""
    assert "before it begins" in relay.failed.message


def test_a_whole_response_becomes_a_stream():
    found = relayed(raw({**BODY, "user": "u"}), "responses", "responses", splits=0)
    events = read(found.out)
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message", "function_call"]
    assert (events[-1]["response"]["user"], found.usage.total) == ("u", 16)
    found = relayed(raw(response("queued")), "responses", "responses")
    assert (found.out, found.kind) == (b"", "failed")
    assert relayed(sse({"x": 1}, done=False), "responses", "responses").out == b""
