"""`dialects.ollama`: streams, whole answers and requests, both ways."""

import json

import pytest

import feeding
from chat_streams import MULTILINGUAL, ROLE, chunk, drive, ndjson, relayed, sse, told
from penstock.protocol.chat import (
    NEW_ENTRY,
    Answer,
    Choice,
    End,
    Failed,
    Finish,
    Reasoning,
    Refusal,
    Request,
    Start,
    Text,
    ToolCall,
    Usage,
)
from penstock.protocol.dialects import ollama
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.relay import Relay

STAMP = "2026-01-02T03:04:05.678901Z"
COUNTS = {"prompt_eval_count": 3, "eval_count": 2}
DURATIONS = {"total_duration": 5, "load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 2}


def line(content="", *, done=False, **message):
    message = {"role": "assistant", "content": content, **message}
    return {"model": "llama3:8b", "created_at": STAMP, "message": message, "done": done}


def last(reason="stop", **more):
    return {**line(done=True), "done_reason": reason, **DURATIONS, **COUNTS, **more}


CALL = {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"x": "é"}}}
HI_TOLD = [(0, ROLE, None), (0, {"content": "Hi"}, None), (0, {}, "stop"), "[DONE]"]


# -- streams: Ollama to OpenAI ----------------------------------------------------------------------------


def test_c33_c49_every_character_arrives_whatever_the_cut():
    stream = ndjson(*[line(text) for text in MULTILINGUAL], last())
    found = relayed(stream, "ollama", splits=len(stream))
    assert "".join(delta.get("content", "") for _, delta, _ in found.told[:-1]) == "".join(MULTILINGUAL)
    assert found.usage[:3] == (3, 2, 5)
    assert (found.kind, found.counts[0]) == ("completed", len(MULTILINGUAL) + 1)


def test_c51_usage_and_identity_come_from_the_lines_and_the_gateway():
    found = relayed(ndjson(line("Hi"), last()), "ollama", include_usage=True)
    assert found.told == [
        *HI_TOLD[:-1],
        ("usage", {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
        "[DONE]",
    ]
    head = json.loads(found.out.split(b"\n\n")[0][6:])
    assert (head["id"], head["created"], head["model"]) == ("chatcmpl-own", 1750000000, "llama3:8b")


def test_thinking_and_whole_tool_calls_become_deltas():
    stream = ndjson(
        line(thinking="hm"), line(tool_calls=[CALL, {"function": {"name": "g", "arguments": "{}"}}]), last()
    )
    found = relayed(stream, "ollama").told
    first, second = found[2][1]["tool_calls"][0], found[3][1]["tool_calls"][0]
    assert found[:2] == [(0, ROLE, None), (0, {"reasoning_content": "hm"}, None)]
    assert first == {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"x":"é"}'},
    }
    assert (second["index"], second["function"]) == (1, {"name": "g", "arguments": "{}"})
    assert second["id"].startswith("call_")
    assert found[4:] == [(0, {}, "tool_calls"), "[DONE]"]


ENDINGS = {
    "c49 done missing but done_reason set": (
        ndjson(line("Hi"), {"message": {}, "done_reason": "stop"}),
        "completed",
        HI_TOLD,
    ),
    "c49 CRLF, blank lines, no last LF": (
        ndjson(line("Hi"), b"\r\n\n", last()).replace(b"\n", b"\r\n")[:-2],
        "completed",
        HI_TOLD,
    ),
    "without message at the end": (ndjson(line("Hi"), {"done": True}), "completed", HI_TOLD),
    "length": (ndjson(line("Hi"), last("length")), "completed", [*HI_TOLD[:2], (0, {}, "length"), "[DONE]"]),
    "load": (ndjson(last("load")), "completed", [(0, ROLE, None), (0, {}, "stop"), "[DONE]"]),
    "odd reason": (ndjson(line("Hi"), last(17)), "completed", HI_TOLD),
    "after done": (ndjson(line("Hi"), last(), line("more")), "completed", HI_TOLD),
    "lines that say nothing": (
        ndjson({"status": "loading"}, line("Hi"), line(tool_calls="x"), last()),
        "completed",
        HI_TOLD,
    ),
    "c24 c49 an error line": (
        ndjson(line("Hi"), {"error": "boom"}),
        "failed",
        [*HI_TOLD[:2], ("error", "upstream_error")],
    ),
    "c20 c21 cut": (ndjson(line("Hi")), "truncated", [*HI_TOLD[:2], ("error", "upstream_error")]),
    "cut in a line": (ndjson(line("Hi"), line("x"))[:-9], "truncated", [*HI_TOLD[:2], ("error", "upstream_error")]),
    "c31 no JSON": (ndjson(line("Hi"), b"oops\n"), "failed", [*HI_TOLD[:2], ("error", "upstream_error")]),
    "c48 one JSON object": (json.dumps({**last(), **line("Hi", done=True)}, indent=1).encode(), "completed", HI_TOLD),
    "c48 the same as SSE": (sse(line("Hi"), last(), done=False), "completed", HI_TOLD),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_stream_has_one_ending(name):
    stream, kind, expected = ENDINGS[name]
    found = relayed(stream, "ollama")
    assert (found.kind, found.told) == (kind, expected)


def test_c19_c23_nothing_and_an_error_at_first_are_an_http_status_still():
    for stream, status in ((b"", 502), (ndjson({"error": "model 'x' not found"}), 502), (ndjson({"status": "x"}), 502)):
        found = relayed(stream, "ollama", content_type="application/x-ndjson")
        assert (found.started, found.out, found.kind, found.failed.status) == (False, b"", "failed", status)


def test_c34_halves_of_characters_are_rejoined_and_lone_ones_replaced():
    halves = [
        line("a\ud83d"),
        line(thinking="\ud83d"),
        line("\ude00"),
        line(thinking="b"),
        line("c\ud83d"),
        line(thinking="\ud83d"),
        last(),
    ]
    found = relayed(b"".join(json.dumps(item).encode() + b"\n" for item in halves), "ollama").told
    texts = [text for _, delta, _ in found[1:-1] for text in delta.values()]
    assert texts == ["a", "😀", "\ufffdb", "c", "\ufffd", "\ufffd"]


# -- streams: OpenAI to Ollama ----------------------------------------------------------------------------


def lines(found):
    assert found.out == b"" or found.out.endswith(b"\n")
    text = found.out.decode()
    assert not set(text) & set("\u2028\u2029\x85")
    return [json.loads(item) for item in text.split("\n")[:-1]]


def test_an_openai_stream_becomes_lines_that_ollama_s_clients_read():
    calls = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":'}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    stream = sse(
        chunk(ROLE),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "日本\u2028"}),
        chunk({"content": "other"}, index=1),
        chunk({"tool_calls": calls}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        chunk({"refusal": "no"}),
        chunk({}, "tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    )
    found = relayed(stream, sink="ollama", encoding={"created_at": STAMP, "durations": DURATIONS})
    out = lines(found)
    assert {(item["model"], item["created_at"], item["message"]["role"]) for item in out} == {
        ("org/model-a", STAMP, "assistant")
    }
    messages = [{key: value for key, value in item["message"].items() if key != "role"} for item in out]
    assert messages == [
        {"content": "", "thinking": "hm"},
        {"content": "日本\u2028"},
        {"content": "no"},
        {
            "content": "",
            "tool_calls": [
                {"id": "a", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}},
                {"id": "b", "function": {"index": 1, "name": "g", "arguments": {}}},
            ],
        },
        {"content": ""},
    ]
    assert [item["done"] for item in out] == [False] * 4 + [True]
    assert out[-1] == {**out[-1], "done_reason": "stop", **DURATIONS, **COUNTS}


def test_without_a_clock_the_stamp_is_the_upstreams_time_and_durations_are_nought():
    out = lines(relayed(sse(chunk({"content": "Hi"}), chunk({}, "length")), sink="ollama", created=0))
    assert {line["created_at"] for line in out} == {"2025-10-09T08:53:20Z"}
    undated = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "length"}]}
    assert lines(relayed(sse(undated), sink="ollama"))[0]["created_at"] == "2025-06-15T15:06:40Z"
    assert lines(relayed(sse(undated), sink="ollama", created=0))[0]["created_at"] == "1970-01-01T00:00:00Z"
    encoder = ollama.StreamEncoder()
    encoder.created_at = STAMP  # as a driver with a clock sets it
    assert STAMP.encode() in encoder.encode([Start("i", "m", 5), Text("Hi")])
    assert (out[-1]["done_reason"], out[-1]["total_duration"], "eval_count" in out[-1]) == ("length", 0, False)


def times(*ticks):
    """Times by a clock that shows these seconds one after the other; asked at 2026-01-02T03:04:05Z."""
    shown = iter(ticks)
    return ollama.Times(lambda: next(shown) * 1_000_000_000, 1_767_323_045 * 1_000_000_000)


def test_with_a_clock_the_stamp_moves_and_the_durations_are_true():
    encoder = ollama.StreamEncoder(times=times(100, 102, 102, 103, 103, 104, 107, 108, 109))
    events = [Start("", "m", 0), Reasoning("hm"), Text("Hi"), ToolCall(0, 0, "a", "f", "{}")]
    out = [json.loads(text) for text in encoder.encode([*events, Finish(0, "stop"), End()]).splitlines()]
    assert [item["created_at"] for item in out] == [f"2026-01-02T03:04:{s}.000000Z" for s in ("07", "08", "12", "13")]
    assert {key: out[-1][key] // 1_000_000_000 for key in DURATIONS} == {
        "total_duration": 9,
        "load_duration": 0,
        "prompt_eval_duration": 2,
        "eval_duration": 2,
    }


def test_what_fills_a_silence_is_no_token_and_one_token_takes_some_time():
    shared = times(*range(100))
    assert ollama.StreamEncoder(times=shared).encode([Text("")])
    out = ollama.StreamEncoder(times=shared).encode([Text("Hi"), End()]).splitlines()
    ended = json.loads(out[-1])
    assert (ended["prompt_eval_duration"], ended["eval_duration"]) == (2_000_000_000, 1)
    assert json.loads(out[0])["created_at"] == "2026-01-02T03:04:08.000000Z"


def test_a_whole_answer_counts_all_its_time_as_the_model_s():
    answer = Answer("i", "m", 0, [Choice(0, "Hi", "", "", [], "stop")], None)
    sent = json.loads(ollama.encode_response(answer, times=times(1, 3, 4)))
    assert sent["created_at"] == "2026-01-02T03:04:07.000000Z"
    assert (sent["total_duration"], sent["eval_duration"], sent["prompt_eval_duration"]) == (3 * 10**9, 3 * 10**9, 0)


def test_c24_an_error_is_a_line_of_its_own_and_the_last():
    found = relayed(sse(chunk({"content": "Hi"}), {"error": {"message": "boom"}}), sink="ollama")
    assert lines(found)[1:] == [{"error": "boom"}]
    found = relayed(sse({"error": {"message": "boom"}}), sink="ollama")
    assert (found.out, found.failed.message) == (b"", "boom")


def test_arguments_that_are_no_object_stay_readable():
    encoder = ollama.StreamEncoder()
    out = encoder.encode(
        [ToolCall(0, 0, "a", "f", "oops {"), ToolCall(0, 1, "b", "g", "[1]"), Finish(0, "stop"), End(), Text("x")]
    )
    calls = json.loads(out.split(b"\n")[0])["message"]["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == [{"arguments": "oops {"}, {"arguments": "[1]"}]
    assert out.count(b"\n") == 2


def test_ollama_to_ollama_keeps_what_a_client_sees():
    stream = ndjson(line(thinking="hm"), line("Привет"), line(tool_calls=[CALL]), last("length"))
    out = lines(relayed(stream, "ollama", "ollama", encoding={"created_at": STAMP}))
    assert [item["message"] for item in out[:3]] == [
        {"role": "assistant", "content": "", "thinking": "hm"},
        {"role": "assistant", "content": "Привет"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ]
    assert out[-1] == {**out[-1], **COUNTS, "done": True, "done_reason": "length"}


def test_a_decoder_gives_events_and_is_the_same_for_every_cut():
    class Decoding:
        fault = None

        def __init__(self):
            decoder = ollama.StreamDecoder(id="i", created=5)
            self.feed, self.close = decoder.feed, decoder.close

    stream = ndjson(line("Hi", thinking="hm"), last())
    usage = Usage(3, 2, 5, raw={**COUNTS, **DURATIONS})
    assert feeding.same_for_every_cut(Decoding, stream).results == [
        Start("i", "llama3:8b", 5),
        Reasoning("hm"),
        Text("Hi"),
        Finish(0, "stop"),
        usage,
        End(),
    ]


# -- whole answers ----------------------------------------------------------------------------------------


def test_a_whole_answer_is_read_and_written():
    sent = {**last(), **line("Hi", done=True, thinking="hm", tool_calls=[CALL]), "done_reason": "length"}
    answer = ollama.decode_response(json.dumps(sent).encode(), id="i", created=5)
    assert answer[:3] == ("i", "llama3:8b", 5)
    assert answer.choices == [Choice(0, "Hi", "hm", "", [ToolCall(0, 0, "call_1", "f", '{"x":"é"}')], "length")]
    assert json.loads(ollama.encode_response(answer, created_at=STAMP, durations=DURATIONS)) == sent


def test_an_answer_without_choices_or_with_a_refusal_is_an_object_still():
    empty = json.loads(ollama.encode_response(Answer("i", "m", 0, [], None)))
    assert (empty["message"], empty["done"], empty["created_at"]) == (
        {"role": "assistant", "content": ""},
        True,
        "1970-01-01T00:00:00Z",
    )
    refused = Answer("i", "m", 0, [Choice(1, "x", "", "", [], None), Choice(0, "", "", "no", [], "stop")], None)
    assert json.loads(ollama.encode_response(refused))["message"]["content"] == "no"


@pytest.mark.parametrize(
    ("body", "words"), [(b"", "empty"), (b'{"error":"boom"}', "boom"), (b'{"mess', "closed"), (b"<html>", "no JSON")]
)
def test_c22_a_200_without_an_answer_is_a_failure(body, words):
    failed = ollama.decode_response(body)
    assert isinstance(failed, Failed)
    assert words in failed.message


def test_errors_are_strings_here():
    assert ollama.encode_error(Failed('say "no"', 404)) == (404, b'{"error":"say \\"no\\""}')


# -- requests ---------------------------------------------------------------------------------------------

PNG = "iVBORw0KGgo="


def test_a_request_becomes_what_ollama_takes():
    request = Request(
        "m",
        [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief"}, "."]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            },
            {"role": "user", "content": [{"type": "image_url", "image_url": f"data:;base64,{PNG}"}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                    {"function": {"name": "g", "arguments": "oops"}},
                    {"id": "c", "function": {"name": "h", "arguments": ""}},
                    {"id": "d", "function": {"name": "i"}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "42"},
            {"role": "function", "name": "g", "content": "43"},
            {"role": "tool", "content": "44"},
        ],
        stream=True,
        max_tokens=7,
        tools=[{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {}}],
        tool_choice="auto",
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        reasoning="xhigh",
        options={"temperature": 0.5, "stop": "x", "seed": 1},
        extra={"options": {"num_ctx": 8192}, "keep_alive": "5m", "logit_bias": {}},
    )
    assert json.loads(ollama.encode_request(request)) == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look", "images": [PNG]},
            {"role": "user", "content": "", "images": [PNG]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "hm",
                "tool_calls": [
                    {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
                    {"function": {"name": "g", "arguments": {"arguments": "oops"}}},
                    {"id": "c", "function": {"name": "h", "arguments": {}}},
                    {"id": "d", "function": {"name": "i", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "a"},
            {"role": "tool", "content": "43", "tool_name": "g"},
            {"role": "tool", "content": "44"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "format": {"type": "object"},
        "think": "max",
        "options": {"temperature": 0.5, "seed": 1, "num_ctx": 8192, "num_predict": 7, "stop": ["x"]},
        "keep_alive": "5m",
    }


@pytest.mark.parametrize(
    ("fields", "encoded"),
    [
        ({}, {}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        ({"response_format": {"type": "json_schema"}}, {"format": "json"}),
        ({"response_format": {"type": "text"}}, {}),
        ({"reasoning": "none"}, {"think": False}),
        ({"reasoning": True}, {"think": True}),
        ({"reasoning": "odd"}, {"think": True}),
        ({"options": {"stop": ["a", "b"]}}, {"options": {"stop": ["a", "b"]}}),
    ],
)
def test_options_become_ollama_s(fields, encoded):
    request = Request("m", [], **fields)
    assert json.loads(ollama.encode_request(request)) == {"model": "m", "messages": [], "stream": False, **encoded}


@pytest.mark.parametrize("image", [{"url": "https://example.com/a.png"}, None, {"url": 5}])
def test_images_that_ollama_cannot_fetch_are_refused(image):
    content = [{"type": "image_url", "image_url": image}]
    with pytest.raises(RemoteProtocolError) as caught:
        ollama.encode_request(Request("m", [{"role": "user", "content": content}]))
    assert caught.value.status == 400


def test_a_request_of_an_ollama_client_becomes_neutral():
    body = {
        "model": "m",
        "messages": [
            {"role": "USER", "content": "Look", "images": [PNG, "R0lGODlh", "UklGRg==", "/9j/4AAQ"]},
            {"role": "user", "images": [PNG]},
            {
                "role": "assistant",
                "content": "",
                "thinking": "hm",
                "tool_calls": [
                    {"function": {"name": "f", "arguments": {"x": 1}}},
                    {"id": "b", "function": {"name": "g", "arguments": "{}"}},
                    "odd",
                ],
            },
            {"role": "tool", "tool_name": "g", "content": "1"},
            {"role": "tool", "content": "2"},
            {"role": "tool", "tool_call_id": "given", "content": "3"},
            {"role": "tool", "content": "4"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "format": "json",
        "think": "high",
        "keep_alive": 0,
        "options": {"num_predict": 7, "num_ctx": 8, "temperature": 0, "stop": ["x"], "seed": None},
    }
    request = ollama.decode_request(json.dumps(body).encode())
    messages = request.messages
    kinds = [part["image_url"]["url"].split(";")[0] for part in messages[0]["content"][1:]]
    assert kinds == ["data:image/png", "data:image/gif", "data:image/webp", "data:image/jpeg"]
    assert messages[0]["role"] == "user"
    assert messages[0]["content"][0] == {"type": "text", "text": "Look"}
    assert len(messages[1]["content"]) == 1
    calls = messages[2]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert messages[2]["reasoning_content"] == "hm"
    assert [message["tool_call_id"] for message in messages[3:]] == ["b", calls[0]["id"], "given", "call_6"]
    assert request == Request(
        "m",
        messages,
        stream=True,
        include_usage=True,
        max_tokens=7,
        tools=body["tools"],
        response_format={"type": "json_object"},
        reasoning="high",
        options={"temperature": 0, "stop": ["x"]},
        extra={"keep_alive": 0, "options": {"num_ctx": 8}},
    )


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({}, {}),
        ({"stream": False}, {"stream": False}),
        ({"options": {"num_predict": -1}}, {}),
        (
            {"format": {"type": "object"}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}},
                }
            },
        ),
        ({"think": False}, {"reasoning": False}),
        ({"think": "odd"}, {"reasoning": True}),
    ],
)
def test_streaming_is_on_unless_it_is_switched_off(fields, changed):
    request = ollama.decode_request(json.dumps({"model": "m", **fields}).encode())
    assert request == Request("m", [], stream=True, include_usage=True)._replace(**changed)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "invalid_json"),
        (b"[]", "not_an_object"),
        (b"{}", "missing_required_parameter"),
        (b'{"model":"m","messages":5}', "invalid_value"),
        (b'{"model":"m","messages":["x"]}', "invalid_value"),
        (b'{"model":"m","options":[1]}', "invalid_value"),
        (b'{"model":"m","tools":5}', "invalid_value"),
        (b'{"model":"m","think":[]}', "invalid_value"),
        (b'{"model":"m","messages":[{"tool_calls":[{"function":5}]}]}', "invalid_value"),
    ],
)
def test_what_is_no_chat_request_is_the_client_s_fault(body, kind):
    with pytest.raises(RemoteProtocolError) as caught:
        ollama.decode_request(body)
    assert (caught.value.kind, caught.value.status) == (kind, 400)


def test_c56_ids_and_calls_of_other_types_are_as_good_as_none():
    call = {"id": [1], "function": {"name": "f"}}
    messages = [{"tool_calls": 5}, {"tool_calls": [call]}, {"role": "tool", "tool_call_id": {}, "content": "x"}]
    found = ollama.decode_request(json.dumps({"model": "m", "messages": messages}).encode()).messages
    assert "tool_calls" not in found[0]
    assert found[1]["tool_calls"][0]["id"] == found[2]["tool_call_id"] == "call_1_0"


def test_a_refusal_is_text_and_other_choices_cannot_be_carried():
    out = ollama.StreamEncoder(model="m").encode(
        [Refusal("no"), Text("x", 1), Refusal("x", 1), Finish(1, "length"), Usage(1, 2, 3), End()]
    )
    assert [json.loads(item)["message"]["content"] for item in out.split(b"\n")[:-1]] == ["no", ""]
    assert b'"done_reason":"stop"' in out
    assert told(b"") == []


def test_c44_tool_calls_that_are_never_whole_end_the_stream():
    def encoded(most):
        calls = [ToolCall(0, 0, "a", "f", "{"), *[ToolCall(0, 0, "", "", " " * 10)] * 3, ToolCall(0, 0, "", "", "")]
        encoder = ollama.StreamEncoder(model="m", max_held_bytes=most)
        return encoder, encoder.encode([*calls, ToolCall(0, 0, "", "", "}"), Finish(0, "stop"), End()])

    encoder, out = encoded(NEW_ENTRY + 34)
    assert encoder.failed is None
    assert json.loads(out.split(b"\n")[0])["message"]["tool_calls"][0]["function"]["arguments"] == {}
    encoder, out = encoded(NEW_ENTRY + 33)
    assert json.loads(out) == {"error": encoder.failed.message}


def test_c44_a_relay_fails_with_its_encoder_though_the_upstream_has_said_all():
    frames = [chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]})]
    for stream in (sse(*frames), sse(*frames, done=False), sse(*frames, chunk({}, "stop"))):
        for chunks in feeding.cuts(stream):
            relay = Relay("openai", "ollama", encoding={"max_held_bytes": 9})
            out, ending, failed, *_ = drive(relay, chunks)
            assert (str(ending), json.loads(out)) == ("failed", {"error": failed.message})


def test_c44_tool_calls_of_an_answer_have_an_end():
    calls = [{"function": {"name": "f", "arguments": {}}}] * 1024
    line = {"message": {"tool_calls": calls}}
    done = {"message": {"content": ""}, "done": True}
    assert relayed(ndjson(line, done), "ollama", splits=0).kind == "completed"
    found = relayed(ndjson(line, {"message": {"tool_calls": calls[:1]}, "done": True}), "ollama", splits=0)
    assert (found.kind, "1024 tool calls" in found.failed.message) == ("failed", True)
