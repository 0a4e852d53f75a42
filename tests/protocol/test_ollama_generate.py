"""`dialects.ollama_generate`, and what it shares with `ollama`: passages, loading, whole answers mended."""

import json

import pytest

from chat_streams import MULTILINGUAL, ROLE, chunk, ndjson, relayed, sse, whole
from penstock.protocol.chat import Answer, Choice, End, Finish, Reasoning, Request, Start, Text, ToolCall, Usage
from penstock.protocol.dialects import completions, ollama, ollama_generate, openai
from penstock.protocol.dialects.source import truncated
from penstock.protocol.errors import RemoteProtocolError

STAMP = "2026-01-02T03:04:05.678901Z"
OWN_STAMP = "2025-06-15T15:06:40Z"  # 1750000000
COUNTS = {"prompt_eval_count": 3, "eval_count": 2}
DURATIONS = {"total_duration": 5, "load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 2}
CALL = {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"x": "é"}}}


def line(response="", *, done=False, **more):
    return {"model": "qwen:7b", "created_at": STAMP, "response": response, "done": done, **more}


def last(reason="stop", **more):
    return {**line(done=True), "done_reason": reason, "context": [1, 2], **DURATIONS, **COUNTS, **more}


def chat_line(content="", *, done=False, **message):
    message = {"role": "assistant", "content": content, **message}
    return {"model": "qwen:7b", "created_at": STAMP, "message": message, "done": done}


def lines(found):
    text = found.out.decode()
    assert not set(text) & set("\u2028\u2029\x85")
    return [json.loads(item) for item in text.split("\n")[:-1]]


# -- streams: to and from other dialects ------------------------------------------------------------------


def test_c33_a_generate_stream_becomes_a_chat():
    stream = ndjson(line(thinking="hm"), *[line(text) for text in MULTILINGUAL], last("length"))
    found = relayed(stream, "ollama_generate", include_usage=True)
    assert found.told[:2] == [(0, ROLE, None), (0, {"reasoning_content": "hm"}, None)]
    assert "".join(delta["content"] for _, delta, _ in found.told[2:-3]) == "".join(MULTILINGUAL)
    assert found.told[-3:] == [
        (0, {}, "length"),
        ("usage", {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
        "[DONE]",
    ]
    assert relayed(stream, "ollama").told == relayed(stream, "ollama_generate").told


def test_a_chat_becomes_a_generate_stream():
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":"é"}'}}
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    stream = sse(
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "日本\u2028"}),
        chunk({"tool_calls": [call]}),
        chunk({}, "length"),
        usage,
    )
    found = relayed(stream, "openai", "ollama_generate", encoding={"created_at": STAMP, "durations": DURATIONS})
    head = {"model": "org/model-a", "created_at": STAMP}
    assert lines(found) == [
        {**head, "response": "", "thinking": "hm", "done": False},
        {**head, "response": "日本\u2028", "done": False},
        {**head, "response": "", "tool_calls": [CALL], "done": False},
        {**head, "response": "", "done_reason": "length", "done": True, **DURATIONS, **COUNTS},
    ]


def test_c24_an_error_is_a_line_of_its_own_and_the_last():
    found = relayed(sse(chunk({"content": "Hi"}), {"error": {"message": "boom"}}), "openai", "ollama_generate")
    assert lines(found)[1:] == [{"error": "boom"}]


def test_what_is_encoded_is_decoded_again():
    events = [Start("i", "m", 5), Reasoning("hm"), *[Text(text) for text in MULTILINGUAL]]
    events += [ToolCall(0, 0, "call_1", "f", '{"x":1}'), Finish(0, "tool_calls"), Usage(3, 2, 5), End()]
    encoded = ollama_generate.StreamEncoder().encode([*events[:2], Reasoning("", 0, "signature"), *events[2:]])
    decoder = ollama_generate.StreamDecoder(id="i", created=5)
    found = [*decoder.feed(encoded), *decoder.close()]
    assert found[-2].raw.keys() == {*COUNTS, *DURATIONS}
    assert [event._replace(raw=None) if isinstance(event, Usage) else event for event in found] == events


# -- streams: the same dialect on both sides --------------------------------------------------------------


@pytest.mark.parametrize(("dialect", "make"), [("ollama_generate", line), ("ollama", chat_line)])
def test_c61_lines_pass_byte_for_byte_with_logprobs_and_unknown_fields(dialect, make):
    logprobs = [{"token": "Hi", "logprob": -0.10, "bytes": [72, 105]}]
    said = [{**make(text), "logprobs": logprobs, "x": [1e3]} for text in MULTILINGUAL]
    final = {**make(done=True), "done_reason": "stop", "context": [1, 2], **DURATIONS, **COUNTS}
    stream = ndjson({**make(), "thinking": "hm"}, *said, final).replace(b"1000.0", b"1.0e+03")
    found = relayed(stream, dialect, dialect, splits=len(stream))
    assert found.out == stream
    assert (found.kind, found.usage[:3], found.counts[0]) == ("completed", (3, 2, 5), len(MULTILINGUAL) + 2)


MENDED = {
    "c49 done is not said": (
        {"response": "", "done_reason": "stop", "created_at": STAMP},
        {"response": "", "done": True},
    ),
    "no time": ({"response": "", "done": True}, {"response": "", "created_at": OWN_STAMP}),
    "a time that is no text": ({**last(), "created_at": 5}, {**last(), "created_at": OWN_STAMP}),
    "nothing said": ({"done": True, "created_at": STAMP}, {"response": ""}),
    "an error that is none": ({**last(), "error": None}, last()),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_clients_cannot_read_is_mended(name):
    sent, expected = MENDED[name]
    found = lines(relayed(ndjson(line("Hi"), {"status": "loading"}, sent), "ollama_generate", "ollama_generate"))
    assert found[0] == line("Hi")
    assert len(found) == 2
    assert found[1] == {**{key: value for key, value in sent.items() if key != "error"}, **expected}


def test_c34_halves_of_characters_are_rejoined_and_lone_ones_replaced():
    sent = [line("a\ud83d"), line("\ude00"), line(thinking="\ud83d"), line("b"), line("c\ud83d"), last(x="\ud83d")]
    found = lines(relayed(ndjson(*sent), "ollama_generate", "ollama_generate"))
    assert "".join(item["response"] for item in found) == "a😀bc\ufffd"
    assert "".join(item.get("thinking", "") for item in found) == "\ufffd"
    sent = [chat_line("a\ud83d"), chat_line("\ude00"), {**chat_line(done=True), "message": "\ud83d"}]
    found = lines(relayed(ndjson(*sent), "ollama", "ollama"))
    assert [item["message"] for item in found][-1] == "\ufffd"
    assert "".join(item["message"]["content"] for item in found[:-1]) == "a😀"


ENDINGS = {
    "c20 c21 cut": (
        ndjson(line("Hi")),
        "truncated",
        [line("Hi"), {"error": truncated().message}],
    ),
    "c49 an error line": (ndjson(line("Hi"), {"error": "boom"}), "failed", [line("Hi"), {"error": "boom"}]),
    "after done": (ndjson(line("Hi"), last(), line("more")), "completed", [line("Hi"), last()]),
    "c48 one JSON object": (json.dumps(last(response="Hi"), indent=1).encode(), "completed", [last(response="Hi")]),
    "c48 the same as SSE, ended by its marker": (
        sse(line("Hi")),
        "completed",
        [
            line("Hi"),
            {
                **line(done=True),
                "created_at": OWN_STAMP,
                "done_reason": "stop",
                **dict.fromkeys(DURATIONS, 0),
            },
        ],
    ),
    "half a character in the last line": (
        json.dumps({**line("Hi")}).encode() + b"\n" + json.dumps(last(response="a\ud83d")).encode(),
        "completed",
        [line("Hi"), last(response="a\ufffd")],
    ),
    "too many calls": (
        ndjson(line("Hi"), line(tool_calls=[CALL] * 1025)),
        "failed",
        [line("Hi"), {"error": "the upstream sent an invalid answer: more than 1024 tool calls"}],
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_stream_has_one_ending(name):
    stream, kind, expected = ENDINGS[name]
    found = relayed(stream, "ollama_generate", "ollama_generate")
    assert (found.kind, lines(found)) == (kind, expected)


def test_c23_an_error_at_first_is_an_http_status_still():
    found = relayed(ndjson({"error": "no such model"}), "ollama_generate", "ollama_generate")
    assert (found.out, found.started, found.failed.message) == (b"", False, "no such model")


# -- whole answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["ollama_generate", "ollama"])
def test_c61_json_for_json_is_passed_on_byte_for_byte(dialect):
    value = last(response="Привет", logprobs=[], message={"role": "assistant", "content": "Привет"}, x=1e3)
    text = json.dumps(value, indent=1).encode()
    found = whole(b"\xef\xbb\xbf\n" + text, dialect, dialect)
    assert (found.out, found.kind, found.usage[:3]) == (text, "completed", (3, 2, 5))


def test_a_whole_answer_is_mended_where_it_must_be():
    for text in (b'{"response":"\\ud83d","done_reason":"stop"}', b'[{"response":"\xff","done_reason":"stop"}]'):
        found = json.loads(whole(text, "ollama_generate", "ollama_generate").out)
        assert found == {"response": "\ufffd", "done_reason": "stop", "created_at": OWN_STAMP, "done": True}


@pytest.mark.parametrize(
    ("data", "words"),
    [(b'{"error":"boom"}', "boom"), (b"oops", "no JSON"), (b'{"response":"a"', "closed the connection")],
)
def test_c22_what_fails_is_an_http_status_still(data, words):
    found = whole(data, "ollama_generate", "ollama_generate")
    assert (found.out, found.started) == (b"", False)
    assert words in found.failed.message


def test_a_whole_answer_becomes_a_chat_and_back():
    sent = last(response="Привет", thinking="hm", tool_calls=[CALL])
    as_chat = whole(json.dumps(sent).encode(), "ollama_generate").out
    message = json.loads(as_chat)["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Привет", "hm")
    options = {"encoding": {"created_at": STAMP, "durations": DURATIONS}}
    back = json.loads(whole(as_chat, "openai", "ollama_generate", **options).out)
    assert back == {key: value for key, value in sent.items() if key != "context"}


def test_only_the_first_choice_can_be_carried():
    answer = Answer("", "m", 0, [Choice(1, "b", "", "", [], "stop")], None)
    found = json.loads(ollama_generate.encode_response(answer))
    assert (found["response"], found["created_at"]) == ("", "1970-01-01T00:00:00Z")


# -- requests ---------------------------------------------------------------------------------------------


def request(**fields):
    return json.dumps({"model": "m", **fields}).encode()


def test_a_prompt_is_a_chat_of_one_message():
    fields = {
        "prompt": "Привет",
        "system": "s",
        "images": ["iVBORw0KGgo="],
        "suffix": "b",
        "template": "{{ .Prompt }}",
        "raw": True,
        "context": [1, 2],
        "think": "low",
        "format": "json",
        "keep_alive": "5m",
        "options": {"temperature": 0.5, "num_predict": 9, "num_ctx": 1024},
        "stream": False,
    }
    found = ollama_generate.decode_request(request(**fields))
    url = "data:image/png;base64,iVBORw0KGgo="
    content = [{"type": "text", "text": "Привет"}, {"type": "image_url", "image_url": {"url": url}}]
    assert found == Request(
        "m",
        [{"role": "system", "content": "s"}, {"role": "user", "content": content}],
        include_usage=True,
        max_tokens=9,
        response_format={"type": "json_object"},
        reasoning="low",
        options={"temperature": 0.5},
        extra={
            "keep_alive": "5m",
            "options": {"num_ctx": 1024},
            **{name: fields[name] for name in ("suffix", "template", "raw", "context")},
        },
    )
    assert json.loads(ollama_generate.encode_request(found)) == {"model": "m", **fields}


@pytest.mark.parametrize(
    "fields",
    [{"suffix": "b"}, {"template": "t"}, {"raw": True}, {"context": [1]}, {"logprobs": True, "top_logprobs": 2}],
)
def test_what_no_chat_can_say_is_refused_by_name_for_a_chat(fields):
    found = ollama_generate.decode_request(request(prompt="a", **fields))
    assert {**found.extra, "top_logprobs": 2} == {**fields, "top_logprobs": 2}
    with pytest.raises(RemoteProtocolError, match=f"'{next(iter(fields))}' cannot be used") as caught:
        ollama_generate.as_chat(found)
    assert (caught.value.status, caught.value.kind) == (400, "unsupported_parameter")


def test_fields_that_ask_for_nothing_are_no_obstacle():
    fields = {"suffix": "", "template": "", "raw": False, "context": [], "logprobs": False, "images": None}
    found = ollama_generate.as_chat(ollama_generate.decode_request(request(prompt="a", keep_alive=0, **fields)))
    assert (found.messages, found.extra) == ([{"role": "user", "content": "a"}], {"keep_alive": 0})
    assert found.stream is True
    assert json.loads(openai.encode_request(found)).keys() == {"model", "messages", "stream", "stream_options"}


@pytest.mark.parametrize(
    ("keep_alive", "reason"),
    [(None, "load"), (0, "unload"), (0.0, "unload"), ("0", "unload"), ("0m0s", "unload"), (-1, "load"), ("5m", "load")],
)
def test_an_empty_prompt_loads_or_unloads(keep_alive, reason):
    asked = ollama_generate.decode_request(request(prompt="", system="s", keep_alive=keep_alive))
    assert ollama_generate.load_reason(asked) == reason
    assert json.loads(ollama_generate.encode_load(asked, reason, created=1750000000)) == {
        "model": "m",
        "created_at": OWN_STAMP,
        "response": "",
        "done_reason": reason,
        "done": True,
    }
    assert json.loads(ollama_generate.encode_request(asked))["prompt"] == ""
    asked = ollama.decode_request(request(keep_alive=keep_alive))
    assert ollama.load_reason(asked) == reason
    message = json.loads(ollama.encode_load(asked, reason, created_at=STAMP))["message"]
    assert message == {"role": "assistant", "content": ""}


def test_a_prompt_loads_nothing():
    assert ollama_generate.load_reason(ollama_generate.decode_request(request(prompt="a", keep_alive=0))) is None


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"{", "invalid_json"),
        (b'{"prompt":"a"}', "missing_required_parameter"),
        (request(prompt=5), "invalid_value"),
        (request(prompt="a", images="x"), "invalid_value"),
        (request(prompt="a", context="x"), "invalid_value"),
        (request(prompt="a", options=[1]), "invalid_value"),
    ],
)
def test_what_is_no_request_is_refused(data, kind):
    with pytest.raises(RemoteProtocolError) as caught:
        ollama_generate.decode_request(data)
    assert (caught.value.status, caught.value.kind) == (400, kind)


USER = {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("chat", "words"),
    [
        (Request("m", [USER, USER]), "'messages'"),
        (Request("m", [{"role": "user", "content": [{"type": "image_url", "image_url": "https://x"}]}]), "data URLs"),
        (Request("m", [USER], tools=[{"type": "function"}]), "'tools'"),
        (Request("m", [], extra={"prompt": ["a", "b"]}), "'prompt'"),
        (Request("m", [USER], extra={"echo": True}), "'echo'"),
        (Request("m", [USER], extra={"best_of": 2}), "'best_of'"),
        (Request("m", [USER], extra={"logprobs": 2}), "'logprobs'"),
    ],
)
def test_a_chat_that_is_more_than_a_prompt_is_refused(chat, words):
    with pytest.raises(RemoteProtocolError, match=words):
        ollama_generate.encode_request(chat)


def test_a_text_to_fill_in_goes_from_completions_to_generate_and_back():
    asked = completions.decode_request(request(prompt="a", suffix="b", max_tokens=5, stop="x", echo=False))
    sent = ollama_generate.encode_request(asked)
    assert json.loads(sent) == {
        "model": "m",
        "prompt": "a",
        "suffix": "b",
        "stream": False,
        "options": {"num_predict": 5, "stop": ["x"]},
    }
    asked = ollama_generate.decode_request(
        request(prompt="a", suffix="b", raw=True, keep_alive="5m", options={"num_ctx": 9})
    )
    assert json.loads(completions.encode_request(asked)) == {
        "model": "m",
        "prompt": "a",
        "suffix": "b",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    asked = ollama_generate.decode_request(request(prompt="a", logprobs=True, top_logprobs=2))
    with pytest.raises(RemoteProtocolError, match="'logprobs'"):
        completions.encode_request(asked)
