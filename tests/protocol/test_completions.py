"""`dialects.completions`: streams, whole answers and requests, both ways."""

import json

import pytest

from chat_streams import DONE, MULTILINGUAL, ROLE, chunk, ndjson, relayed, sse, whole
from penstock.protocol.chat import Answer, Choice, End, Finish, Reasoning, Refusal, Request, Start, Text, ToolCall
from penstock.protocol.dialects import DIALECTS, completions, openai, translate_request
from penstock.protocol.errors import RemoteProtocolError

HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1760000000, "model": "org/base-a"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
LOGPROBS = {"tokens": ["Hi"], "token_logprobs": [-0.10], "top_logprobs": [{"Hi": -0.10}], "text_offset": [0]}


def piece(text="", finish=None, index=0, logprobs=None, **more):
    return {**HEAD, "choices": [{"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}], **more}


def last(**more):
    return {**HEAD, "choices": [], "usage": USAGE, **more}


def body(text="Hi", finish="stop", **more):
    return {**piece(text, finish), "usage": USAGE, **more}


def read(found):
    """What a client of a stream of text completions reads: `(index, text, finish_reason)`, usage, error, "[DONE]"."""
    told = []
    *events, end = found.out.split(b"\n\n")
    assert end == b""
    for event in events:
        text = event.removeprefix(b"data: ").decode()
        assert not set(text) & set("\n\r\u2028\u2029\x85")
        if text == "[DONE]":
            told.append(text)
            continue
        value = json.loads(text)
        if "error" in value:
            told.append(("error", value["error"]["code"]))
            continue
        assert value["object"] == "text_completion"
        if not value["choices"]:
            told.append(value["usage"])
        for choice in value["choices"]:
            assert not {"delta", "message"} & set(choice)
            told.append((choice["index"], choice["text"], choice["finish_reason"]))
    return told


def as_completions(*objects, done=True, **options):
    found = relayed(sse(*objects, done=done), "completions", "completions", **options)
    return found, read(found)


# -- streams: completions to completions ------------------------------------------------------------------


def test_c33_c61_chunks_pass_byte_for_byte_with_logprobs_and_unknown_fields():
    stream = sse(*[piece(text, logprobs=LOGPROBS, x_more=1e3) for text in MULTILINGUAL], piece("", "length"))
    stream = stream.replace(b"1000.0", b"1.0e+03")
    found = relayed(stream, "completions", "completions", splits=len(stream))
    assert found.out == stream
    assert (found.kind, found.usage) == ("completed", None)


def test_c51_usage_goes_out_once_and_last_and_only_if_it_was_asked_for():
    stream = [piece("a", usage={**USAGE, "total_tokens": 4}), piece("b", "stop", usage=None), last()]
    found, told = as_completions(*stream, include_usage=True)
    assert told == [(0, "a", None), (0, "b", "stop"), USAGE, "[DONE]"]
    assert found.usage[:3] == (3, 2, 5)
    found, told = as_completions(*stream, include_usage=False)
    assert told == [(0, "a", None), (0, "b", "stop"), "[DONE]"]
    assert found.usage[:3] == (3, 2, 5)


@pytest.mark.parametrize(
    "more", [{"usage": {"prompt_tokens": 3, "completion_tokens": 2}}, {"x_groq": {"usage": USAGE}}]
)
def test_c52_usage_beside_the_last_text_becomes_a_chunk_of_its_own(more):
    _, told = as_completions(piece("a"), piece("b", "stop", **more), include_usage=True)
    assert told == [(0, "a", None), (0, "b", "stop"), USAGE, "[DONE]"]


MENDED = {
    "foreign reasons": (piece("a", "eos_token"), (0, "a", "stop")),
    "an empty reason": (piece("a", ""), (0, "a", None)),
    "a chat's reason": (piece("a", "tool_calls"), (0, "a", "stop")),
    "no index": ({**HEAD, "choices": [{"text": "a"}]}, (0, "a", None)),
    "a chat's delta": (chunk({"content": "a"}), (0, "a", None)),
    "a message in parts": (
        {**HEAD, "choices": [{"message": {"content": [{"type": "text", "text": "a"}]}}]},
        (0, "a", None),
    ),
    "no text at all": ({**HEAD, "choices": [{"index": 0, "delta": {}}]}, (0, "", None)),
    "forbidden keys": (piece("a", error=None, type="x"), (0, "a", None)),
    "choices that are none": ({**HEAD, "choices": ["x", {"text": "a", "index": 0}]}, (0, "a", None)),
    "usage that is none": (piece("a", usage=5), (0, "a", None)),
    "odd line breaks": (piece("a\u2028"), (0, "a\u2028", None)),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_clients_cannot_read_is_mended(name):
    sent, expected = MENDED[name]
    found, told = as_completions(sent, piece("", "stop"))
    assert told == [expected, (0, "", "stop"), "[DONE]"]
    assert not {"error", "type", "usage"} & set(json.loads(found.out.split(b"\n\n")[0][6:]))


def test_c55_chunks_that_say_nothing_are_left_out():
    annotation = {**HEAD, "choices": [{"index": 0, "content_filter_offsets": {}}]}
    _, told = as_completions({**HEAD, "choices": []}, annotation, {"prompt_filter_results": []}, piece("a", "stop"))
    assert told == [(0, "a", "stop"), "[DONE]"]


def test_c34_halves_of_characters_are_rejoined_and_lone_ones_replaced():
    _, told = as_completions(piece("a\ud83d"), piece("\ude00"), piece("\ud83d"), piece("b"), piece("c\ud83d"))
    assert "".join(text for _, text, _ in told[:-1]) == "a😀\ufffdbc\ufffd"
    _, told = as_completions(piece("a\ud83d"), piece(""), piece("\ude00b"))
    assert told[:-1] == [(0, "a", None), (0, "", None), (0, "😀b", None)]
    two = {**HEAD, "choices": [{"text": "a\ud83d", "index": 0}, {"text": "b", "index": 1}]}
    _, told = as_completions(two, piece("", "stop"), piece("", "stop", index=1))
    assert told[:2] == [(0, "a\ufffd", None), (1, "b", None)]
    _, told = as_completions({**HEAD, "choices": [], "x": "\ud83d"}, piece("a", "stop"))
    assert told == [(0, "a", "stop"), "[DONE]"]


def test_c34_a_frame_that_ends_in_half_of_a_character_goes_out_once_with_its_finish_and_logprobs():
    logprobs = {"tokens": ["a", "\ud83d"], "token_logprobs": [-0.5, -1.5]}
    last = piece("a\ud83d", "stop")
    last["choices"][0]["logprobs"] = logprobs
    found, told = as_completions(piece("b"), last)
    assert told == [(0, "b", None), (0, "a\ufffd", "stop"), "[DONE]"]
    assert found.out.count(b"token_logprobs") == 1
    found, told = as_completions(
        last | {"choices": [{**last["choices"][0], "finish_reason": None}]}, piece("\ude00b", "stop")
    )
    assert told == [(0, "a", None), (0, "😀b", "stop"), "[DONE]"]
    assert found.out.count(b"token_logprobs") == 1


ENDINGS = {
    "c21 the finish reason alone": (sse(piece("a", "stop"), done=False), "completed", [(0, "a", "stop"), "[DONE]"]),
    "the marker alone": (sse(piece("a")), "completed", [(0, "a", None), "[DONE]"]),
    "c28 after the marker": (sse(piece("a")) + sse(piece("b")), "completed", [(0, "a", None), "[DONE]"]),
    "c20 c21 cut": (sse(piece("a"), done=False), "truncated", [(0, "a", None), ("error", "upstream_error")]),
    "c22 an error": (
        sse(piece("a"), {"error": {"message": "x"}}),
        "failed",
        [(0, "a", None), ("error", "upstream_error")],
    ),
    "too many choices": (
        sse(*[piece("a", index=index) for index in range(129)])[:-14],
        "failed",
        [*[(index, "a", None) for index in range(128)], ("error", "upstream_error")],
    ),
    "c48 one JSON object": (json.dumps(body(), indent=1).encode(), "completed", [(0, "Hi", "stop"), "[DONE]"]),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_stream_has_one_ending(name):
    stream, kind, expected = ENDINGS[name]
    found = relayed(stream, "completions", "completions")
    assert (found.kind, read(found)) == (kind, expected)


def test_c23_an_error_at_first_is_an_http_status_still():
    found = relayed(sse({"error": {"message": "no", "code": 404}}), "completions", "completions")
    assert (found.out, found.started, found.failed.status) == (b"", False, 404)


# -- streams: to and from other dialects ------------------------------------------------------------------


def test_a_stream_of_text_completions_becomes_a_chat():
    stream = sse(
        piece("Hel"), piece("lo"), piece("x", index=1), piece("", "length"), piece("", "stop", index=1), last()
    )
    found = relayed(stream, "completions", "openai", include_usage=True)
    assert found.told == [
        (0, ROLE, None),
        (0, {"content": "Hel"}, None),
        (0, {"content": "lo"}, None),
        (1, ROLE, None),
        (1, {"content": "x"}, None),
        (0, {}, "length"),
        (1, {}, "stop"),
        ("usage", USAGE),
        "[DONE]",
    ]
    lines = relayed(stream, "completions", "ollama").out.splitlines()
    assert [json.loads(line)["message"]["content"] for line in lines] == ["Hel", "lo", ""]


def test_usage_that_is_none_is_not_told():
    found = relayed(sse(piece("a", usage=5), piece("", "stop")), "completions", "openai", include_usage=True)
    assert (found.usage, found.told[-2:]) == (None, [(0, {}, "stop"), "[DONE]"])


def test_a_chat_becomes_a_stream_of_text_completions():
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    usage = {"choices": [], "usage": USAGE}
    stream = [chunk(ROLE), chunk({"reasoning_content": "hm"}), *[chunk({"content": text}) for text in MULTILINGUAL]]
    stream += [chunk({"refusal": "no"}), chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), usage]
    texts = [(0, text, None) for text in MULTILINGUAL]
    found = relayed(sse(*stream), "openai", "completions", include_usage=True)
    assert read(found) == [*texts, (0, "no", None), (0, "", "stop"), USAGE, "[DONE]"]
    assert b'"id":"chatcmpl-1","object":"text_completion","created":1760000000,"model":"org/model-a"' in found.out
    assert read(relayed(sse(*stream), "openai", "completions"))[-2:] == [(0, "", "stop"), "[DONE]"]


def test_c24_an_error_in_another_dialect_is_told_in_this_one():
    line = {"model": "m", "message": {"role": "assistant", "content": "a"}, "done": False}
    found = relayed(ndjson(line, {"error": "boom"}), "ollama", "completions")
    assert read(found) == [(0, "a", None), ("error", "upstream_error")]


def test_what_is_encoded_is_decoded_again():
    events = [Start("cmpl-9", "m", 5), *[Text(text) for text in MULTILINGUAL], Text("b", 1)]
    events += [Finish(0, "stop"), Finish(1, "length"), End()]
    decoder = completions.StreamDecoder()
    assert [*decoder.feed(completions.StreamEncoder().encode(events)), *decoder.close()] == events


def test_what_has_no_place_is_left_out_and_identity_is_given():
    encoder = completions.StreamEncoder(id="cmpl-2", created=7, model="m")
    assert encoder.encode([Reasoning("hm"), ToolCall(0, 0, "a", "f", "{}")]) == b""
    found = encoder.encode([Refusal("no"), Finish(0, "function_call"), End(), Text("x")])
    first, finish, done, _ = found.split(b"\n\n")
    assert first == (
        b'data: {"id":"cmpl-2","object":"text_completion","created":7,"model":"m",'
        b'"choices":[{"text":"no","index":0,"logprobs":null,"finish_reason":null}]}'
    )
    assert json.loads(finish[6:])["choices"][0]["finish_reason"] == "stop"
    assert done == b"data: [DONE]"


# -- whole answers ----------------------------------------------------------------------------------------


def test_c61_json_for_json_is_passed_on_byte_for_byte():
    text = json.dumps(body(x=[1.50, 1e3]), indent=1).encode()
    found = whole(text, "completions", "completions")
    assert (found.out, found.kind, found.usage[:3]) == (text, "completed", (3, 2, 5))


def test_a_whole_answer_is_mended_where_it_must_be():
    sent = {"choices": [{"text": "Hi", "finish_reason": "eos"}, "x"], "usage": {"prompt_tokens": 3}, "error": None}
    found = json.loads(whole(json.dumps(sent).encode(), "completions", "completions").out)
    assert found == {
        "choices": [{"text": "Hi", "finish_reason": "stop", "index": 0}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3},
        "id": "chatcmpl-own",
        "created": 1750000000,
        "model": "own",
        "object": "text_completion",
    }


@pytest.mark.parametrize(("data", "words"), [(b'{"choices":[]}', "without choices"), (b'{"error":"boom"}', "boom")])
def test_c22_what_fails_is_an_http_status_still(data, words):
    for sink in ("completions", "openai"):
        found = whole(data, "completions", sink)
        assert (found.out, found.kind) == (b"", "failed")
        assert words in found.failed.message


def test_a_whole_answer_without_real_usage_tells_none():
    for sink in ("completions", "openai"):
        found = whole(json.dumps({**body(), "usage": 5}).encode(), "completions", sink)
        assert (found.kind, found.usage, "usage" in json.loads(found.out)) == ("completed", None, False)


def test_a_whole_answer_becomes_a_chat_and_back():
    as_chat = whole(json.dumps(body("Привет", "length")).encode(), "completions", "openai").out
    choice = json.loads(as_chat)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Привет", "length")
    assert json.loads(whole(as_chat, "openai", "completions").out) == body("Привет", "length")


def test_c48_a_stream_in_the_place_of_json_is_put_together():
    found = whole(sse(piece("Hel"), piece("lo", "stop"), last()), "completions", "completions")
    assert json.loads(found.out) == body("Hello")


def test_an_answer_without_a_reason_or_with_a_refusal():
    choices = [Choice(0, "", "hm", "no", [], None), Choice(1, "a", "", "", [], "tool_calls")]
    found = json.loads(completions.encode_response(Answer("i", "m", 1, choices, None)))
    assert [(choice["text"], choice["finish_reason"]) for choice in found["choices"]] == [("no", None), ("a", "stop")]
    assert "usage" not in found


# -- requests ---------------------------------------------------------------------------------------------


def request(**fields):
    return json.dumps({"model": "m", **fields}).encode()


def test_one_prompt_is_one_message():
    fields = {"prompt": "Привет", "max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}
    fields |= {"temperature": 0.5, "stop": ["x"], "n": 2, "user": "u", "response_format": {"type": "json_object"}}
    found = completions.decode_request(request(**fields, seed=None))
    assert found == Request(
        "m",
        [{"role": "user", "content": "Привет"}],
        stream=True,
        include_usage=True,
        max_tokens=5,
        response_format={"type": "json_object"},
        options={"temperature": 0.5, "stop": ["x"]},
        extra={"n": 2, "user": "u"},
    )
    assert json.loads(completions.encode_request(found)) == {"model": "m", **fields}
    assert json.loads(openai.encode_request(completions.as_chat(found)))["messages"] == found.messages


def test_a_client_that_names_no_limit_gets_sixteen_tokens():
    assert completions.decode_request(request(prompt="")).max_tokens == 16
    assert "max_tokens" not in json.loads(completions.encode_request(Request("m", [{"role": "user", "content": "a"}])))


ONLY_HERE = {
    "several prompts": {"prompt": ["a", "b"]},
    "token ids": {"prompt": [1, 2]},
    "several lists of token ids": {"prompt": [[1, 2], [3]]},
    "suffix": {"suffix": "b"},
    "echo": {"echo": True},
    "best_of": {"best_of": 3, "n": 2},
    "logprobs": {"logprobs": 0},
}


@pytest.mark.parametrize("name", ONLY_HERE)
def test_what_no_chat_can_say_is_kept_and_refused_by_name_for_a_chat(name):
    fields = {"prompt": "a", "max_tokens": 1, **ONLY_HERE[name]}
    found = completions.decode_request(request(**fields))
    assert json.loads(completions.encode_request(found)) == {"model": "m", **fields}
    with pytest.raises(RemoteProtocolError, match=f"'{next(iter(ONLY_HERE[name]))}' cannot be used") as caught:
        completions.as_chat(found)
    assert (caught.value.status, caught.value.kind) == (400, "unsupported_parameter")


def test_only_dialects_of_prompts_read_what_no_chat_can_say():
    asked = completions.decode_request(request(prompt="a", suffix="b"))
    for sink, dialect in DIALECTS.items():
        if dialect.as_chat is not None:
            assert json.loads(translate_request(asked, "completions", sink))["suffix"] == "b"
        else:
            with pytest.raises(RemoteProtocolError, match="'suffix'"):
                translate_request(asked, "completions", sink)
    chat = Request("m", [USER], extra={"suffix": "b"})  # of a chat, an unknown field, which is the upstream's to judge
    assert json.loads(translate_request(chat, "openai", "openai"))["suffix"] == "b"


@pytest.mark.parametrize(
    "fields", [{"suffix": ""}, {"echo": False}, {"best_of": 1}, {"best_of": 2, "n": 2}, {"logprobs": None}]
)
def test_fields_that_ask_for_nothing_are_no_obstacle(fields):
    found = completions.as_chat(completions.decode_request(request(prompt=["a"], **fields)))
    assert found.messages == [{"role": "user", "content": "a"}]
    assert not set(found.extra) - {"n"}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"{", "invalid_json"),
        (b"[]", "not_an_object"),
        (b'{"prompt":"a"}', "missing_required_parameter"),
        (request(), "missing_required_parameter"),
        (request(prompt=None), "missing_required_parameter"),
        (request(prompt=[]), "invalid_value"),
        (request(prompt=5), "invalid_value"),
        (request(prompt=["a", 1]), "invalid_value"),
        (request(prompt=[True]), "invalid_value"),
        (request(prompt=[[]]), "invalid_value"),
        (request(prompt=[["a"]]), "invalid_value"),
        (request(prompt="a", response_format="json"), "invalid_value"),
    ],
)
def test_what_is_no_request_is_refused(data, kind):
    with pytest.raises(RemoteProtocolError) as caught:
        completions.decode_request(data)
    assert (caught.value.status, caught.value.kind) == (400, kind)


USER = {"role": "user", "content": "a"}


def test_a_chat_of_one_text_is_a_prompt():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    for content, prompt in ((parts, "ab"), ("é", "é"), ([], "")):
        chat = Request("m", [{"role": "user", "content": content}], stream=True, reasoning="low", tool_choice="none")
        found = json.loads(completions.encode_request(chat._replace(extra={"options": {}, "raw": True, "user": "u"})))
        assert found == {"model": "m", "prompt": prompt, "stream": True, "user": "u"}
    assert json.loads(completions.encode_request(Request("m", [])))["prompt"] == ""


@pytest.mark.parametrize(
    ("chat", "name"),
    [
        (Request("m", [USER, {"role": "assistant", "content": "b"}, USER]), "messages"),
        (Request("m", [{"role": "assistant", "content": "b"}]), "messages"),
        (Request("m", [{"role": "system", "content": "s"}, USER]), "messages"),
        (Request("m", [{"role": "system", "content": ["s"]}, USER]), "messages"),
        (Request("m", [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]), "messages"),
        (Request("m", [{"role": "user", "content": [{"type": "text"}]}]), "messages"),
        (Request("m", [{"role": "user"}]), "messages"),
        (Request("m", [USER], tools=[{"type": "function", "function": {"name": "f"}}]), "tools"),
        (Request("m", [USER], extra={"template": "{{ .Prompt }}"}), "template"),
        (Request("m", [USER], extra={"context": [1]}), "context"),
    ],
)
def test_a_chat_that_is_more_than_a_prompt_is_refused(chat, name):
    with pytest.raises(RemoteProtocolError, match=f"'{name}' cannot be used"):
        completions.encode_request(chat)


def test_errors_are_openai_s():
    assert completions.encode_error is openai.encode_error
    assert DONE == b"data: [DONE]\n\n"
