"""`dialects.responses` requests: to and from the neutral form, and said as a chat request."""

import json

import pytest

from penstock.protocol import RemoteProtocolError
from penstock.protocol.chat import Request
from penstock.protocol.dialects import openai, responses
from penstock.protocol.dialects.responses_request import to_chat

TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
CHAT_TOOL = {"type": "function", "function": {key: TOOL[key] for key in TOOL if key != "type"}}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
CUSTOM = {"type": "custom", "name": "patch", "format": GRAMMAR}
CHAT_CUSTOM = {
    "type": "custom",
    "custom": {
        "name": "patch",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}},
    },
}
SCHEMA = {"name": "n", "schema": {"type": "object"}, "strict": True}


def chat(given, **more):
    return to_chat({"model": "m", "input": given, **more})


def decode(given="Hi", **more):
    return responses.decode_request(json.dumps({"model": "m", "input": given, **more}).encode())


def encode(messages=({"role": "user", "content": "Hi"},), **more):
    return json.loads(responses.encode_request(Request("m", list(messages), **more)))


def call(id, name="f", arguments="{}"):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def item(kind, call_id, **more):
    return {"type": kind, "call_id": call_id, **more}


PARTS = [
    ({"type": "input_text", "text": "a"}, {"type": "text", "text": "a"}),
    ({"type": "input_image", "image_url": "u"}, {"type": "image_url", "image_url": {"url": "u"}}),
    (
        {"type": "input_image", "image_url": "u", "detail": "low"},
        {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
    ),
    ({"type": "input_file", "file_id": "f"}, {"type": "file", "file": {"file_id": "f"}}),
    *[({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},) * 2],
]


# -- messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "said"), PARTS)
def test_parts(part, said):
    for form in ({"type": "message", "role": "user"}, {"role": "user"}):
        content = [said, said]
        assert decode([{**form, "content": [part, part]}]).messages == [{"role": "user", "content": content}]
    assert encode([{"role": "user", "content": [said, "odd"]}])["input"][0]["content"] == [part]


def test_parts_as_some_clients_send_them():
    text = {"type": "output_text", "text": "a", "annotations": []}
    assert decode([{"role": "assistant", "content": [text]}]).messages[0]["content"] == "a"
    image = {"type": "image_url", "image_url": "u"}
    assert encode([{"role": "user", "content": [image, {"type": "image_url"}]}])["input"][0]["content"] == [
        {"type": "input_image", "image_url": "u"},
        {"type": "input_image", "image_url": None},
    ]


TURNS = [
    {"role": "system", "content": "Be brief"},
    {"role": "developer", "content": "and kind"},
    {"role": "user", "content": "go"},
    {
        "role": "assistant",
        "content": "Well",
        "reasoning_content": "hm",
        "thinking_blocks": [{"text": "hm", "signature": "sig"}, {"text": "", "signature": "redacted"}],
        "tool_calls": [call("a"), {"id": "b", "type": "custom", "custom": {"name": "patch", "input": "***"}}],
    },
    {"role": "tool", "tool_call_id": "a", "content": "1"},
    {"role": "tool", "tool_call_id": "b", "content": "2"},
    {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}]},
    {"role": "user", "content": [{"type": "text", "text": "again"}, {"type": "text", "text": "and again"}]},
]
ITEMS = [
    {"type": "message", "role": "developer", "content": "and kind"},
    {"type": "message", "role": "user", "content": "go"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "sig"},
    {"type": "reasoning", "summary": [], "encrypted_content": "redacted"},
    {"type": "message", "role": "assistant", "content": "Well"},
    item("function_call", "a", name="f", arguments="{}"),
    item("custom_tool_call", "b", name="patch", input="***"),
    item("function_call_output", "a", output="1"),
    item("custom_tool_call_output", "b", output="2"),
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}],
    },
    {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "again"}, {"type": "input_text", "text": "and again"}],
    },
]


def test_turns_there_and_back():
    assert decode(ITEMS, instructions="Be brief").messages == TURNS
    encoded = encode(TURNS)
    assert (encoded["instructions"], encoded["input"]) == ("Be brief", ITEMS)


def test_items_of_the_assistant_that_follow_each_other_are_one_message():
    """A chat's server refuses calls that are not answered before the assistant speaks again."""
    thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "raw"}], "summary": []}
    messages = decode(
        [
            thought,
            item("function_call", "a", name="f"),
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "more"}, 5]},
            {"role": "assistant", "content": "one"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
            {"role": "assistant", "content": ""},
            item(
                "function_call_output",
                "a",
                output=[{"type": "input_text", "text": "ж"}, {"type": "input_text", "text": "!"}],
            ),
            {"type": "reasoning", "summary": "odd", "encrypted_content": None},
        ]
    ).messages
    assert messages == [
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}],
            "reasoning_content": "raw\n\nmore",
            "tool_calls": [call("a", arguments="")],
        },
        {"role": "tool", "tool_call_id": "a", "content": "ж!"},
    ]


def test_what_a_tool_gave_may_be_more_than_text():
    image = {"type": "input_image", "image_url": "u"}
    [message] = decode([item("function_call_output", "a", output=[image])]).messages
    assert message["content"] == [{"type": "image_url", "image_url": {"url": "u"}}]
    assert encode([message])["input"][0]["output"] == [image]
    assert decode([item("function_call_output", "a")]).messages[0]["content"] == ""


def test_messages_that_have_little_in_them():
    """Reasoning without what its vendor wants back goes to no Responses server: it would be refused."""
    found = encode(
        [
            {"role": "system", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call("a", arguments="")]},
            {"role": "assistant", "content": None, "refusal": "no"},
            {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": None},
            {"role": "assistant", "tool_calls": [{"id": "x"}]},
        ]
    )
    assert "instructions" not in found
    assert found["input"] == [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "a"}]},
        item("function_call", "a", name="f", arguments="{}"),
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "message", "role": "assistant", "content": "ab"},
        {"type": "message", "role": "user", "content": ""},
        item("function_call", "x", name=None, arguments="{}"),
    ]


# -- the other fields -------------------------------------------------------------------------------------

FIELDS = {
    "stream": True,
    "max_output_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.9,
    "tools": [TOOL, CUSTOM, {"type": "web_search"}],
    "tool_choice": {"type": "function", "name": "f"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", **SCHEMA}, "verbosity": "low"},
    "include": ["reasoning.encrypted_content"],
    "store": False,
    "parallel_tool_calls": False,
    "prompt_cache_key": "k",
    "metadata": {"a": "b"},
    "truncation": "auto",
    "previous_response_id": "resp_0",
    "conversation": "conv",
    "background": True,
}
NEUTRAL = Request(
    "m",
    [{"role": "user", "content": "Hi"}],
    stream=True,
    include_usage=True,
    max_tokens=5,
    tools=[CHAT_TOOL, CHAT_CUSTOM],
    tool_choice={"type": "function", "function": {"name": "f"}},
    response_format={"type": "json_schema", "json_schema": SCHEMA},
    reasoning="low",
    options={"temperature": 0.5, "top_p": 0.9},
    extra={
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "metadata": {"a": "b"},
        "truncation": "auto",
        "previous_response_id": "resp_0",
        "conversation": "conv",
        "background": True,
        "reasoning": {"summary": "auto"},
        "verbosity": "low",
        "hosted_tools": [{"type": "web_search"}],
    },
)


def test_c61_a_request_is_decoded_and_encoded_without_loss():
    assert decode(**FIELDS) == NEUTRAL
    hello = {"type": "message", "role": "user", "content": "Hi"}
    assert json.loads(responses.encode_request(NEUTRAL)) == {"model": "m", "input": [hello], **FIELDS}


def test_null_is_absent_and_unknown_fields_are_kept():
    given = decode(instructions=None, text={"format": None}, tools=[], reasoning=None, stream=None, seed=2**70, x=1)
    assert given == Request(
        "m", [{"role": "user", "content": "Hi"}], include_usage=True, options={"seed": 2**70}, extra={"x": 1}
    )
    assert decode(text={"format": {"type": "text"}, "later": 1}, stream_options={}).extra == {"text": {"later": 1}}


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("required", "required"),
        ({"type": "custom", "name": "p"}, {"type": "custom", "custom": {"name": "p"}}),
        ({"type": "web_search"}, {"type": "web_search"}),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}, {"type": "mcp"}]},
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "mcp"}],
                },
            },
        ),
    ],
)
def test_the_choice_of_a_tool(choice, said):
    assert decode(tools=[TOOL], tool_choice=choice).tool_choice == said
    assert encode(tools=[CHAT_TOOL], tool_choice=said)["tool_choice"] == choice
    assert "tool_choice" not in encode(tool_choice=said), "a choice among no tools is refused"


def test_forms_and_tools_that_need_little():
    assert decode(text={"format": {"type": "json_object"}}).response_format == {"type": "json_object"}
    assert encode(response_format={"type": "json_object"})["text"] == {"format": {"type": "json_object"}}
    assert decode(tools=[CHAT_TOOL]).tools == [CHAT_TOOL], "as some clients send it"
    assert decode(tools=[{"type": "custom", "name": "p"}]).tools == [{"type": "custom", "custom": {"name": "p"}}]
    tools = [
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "p"}},
        {"type": "x"},
        5,
    ]
    assert encode(tools=tools)["tools"] == [
        {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False},
        {"type": "custom", "name": "p"},
    ]


def test_odd_things_in_a_chat_are_passed_over():
    """A chat's decoder keeps what it does not know, and its messages are not judged to the last member."""
    odd = {"role": "assistant", "content": "a", "refusal": 5, "thinking_blocks": ["x"]}
    [said] = encode([odd], extra={"text": 5, "reasoning": 5, "hosted_tools": 5})["input"]
    assert said["content"] == [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "5"}]
    assert len(encode([{**odd, "thinking_blocks": 5}])["input"]) == 1


def test_a_chat_request_is_said_to_a_responses_server():
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "reasoning_effort": "high",
        "stop": ["x"],
        "seed": 1,
        "n": 1,
        "logit_bias": {},
        "user": "u",
        "verbosity": "low",
    }
    assert json.loads(responses.encode_request(openai.decode_request(json.dumps(body).encode()))) == {
        "store": False,
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "Hi"}],
        "stream": True,
        "max_output_tokens": 5,
        "reasoning": {"effort": "high"},
        "text": {"verbosity": "low"},
        "user": "u",
    }
    for asked, effort in ((True, "medium"), (False, "none")):
        assert encode(reasoning=asked)["reasoning"] == {"effort": effort}
    with pytest.raises(RemoteProtocolError, match="'n' must be 1"):
        encode(extra={"n": 2})


def test_what_only_responses_servers_know_is_not_said_in_a_chat():
    fields = set(json.loads(openai.encode_request(NEUTRAL)))
    assert fields.isdisjoint(
        {"include", "truncation", "previous_response_id", "hosted_tools", "reasoning", "background"}
    )
    assert {"metadata", "parallel_tool_calls", "verbosity", "store", "prompt_cache_key"} <= fields


INVALID = {
    "no JSON": (b"{", "invalid_json"),
    "no object": (b"[]", "not_an_object"),
    "no model": (b'{"input":"Hi"}', "missing_required_parameter"),
    "empty model": (b'{"model":"","input":"Hi"}', "missing_required_parameter"),
    "no input": (b'{"model":"m"}', "missing_required_parameter"),
}


@pytest.mark.parametrize("name", INVALID)
def test_what_is_no_request(name):
    body, kind = INVALID[name]
    with pytest.raises(RemoteProtocolError) as caught:
        responses.decode_request(body)
    assert (caught.value.status, caught.value.kind) == (400, kind)


WRONG = [
    {"input": 5},
    {"input": ["Hi"]},
    {"instructions": [{"role": "user", "content": "a"}]},
    {"input": [{"content": "no role"}]},
    {"input": [{"role": "user", "content": 5}]},
    {"input": [{"role": "user", "content": ["Hi"]}]},
    {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
    {"input": [{"type": "function_call", "name": "f"}]},
    {"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": {}}]},
    {"input": [{"type": "function_call_output", "call_id": 7, "output": ""}]},
    {"input": [{"type": "function_call_output", "call_id": "a", "output": 5}]},
    {"tools": {"a": 1}},
    {"tools": "x"},
    {"text": 5},
    {"text": {"format": 5}},
    {"reasoning": 5},
    {"reasoning": {"effort": 5}},
    {"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}},
]
UNSAID = [
    {"input": [{"type": "item_reference", "id": "x"}]},
    {"input": [{"type": "web_search_call", "id": "x"}]},
    {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
    {"input": [{"role": "user", "content": [{"type": {"odd": 1}}]}]},
]


@pytest.mark.parametrize("body", WRONG + UNSAID)
def test_what_cannot_be_understood_or_said(body):
    kind = "unsupported_parameter" if body in UNSAID else "invalid_value"
    for read in (to_chat, lambda fields: responses.decode_request(json.dumps(fields).encode())):
        with pytest.raises(RemoteProtocolError) as caught:
            read({"model": "m", "input": "Hi", **body})
        assert (caught.value.status, caught.value.kind) == (400, kind)


# -- at the chat endpoint ---------------------------------------------------------------------------------


def test_a_text_and_instructions():
    assert chat("Hi", instructions="Be brief", stream=True, seed=2**70) == {
        "model": "m",
        "stream": True,
        "seed": 2**70,
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}],
    }


def test_a_round_of_tools():
    messages = chat(
        [
            {"role": "user", "content": "go"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
            item("function_call", "a", name="f", arguments="{}"),
            item("function_call", "b", name="g"),
            item("function_call_output", "a", output="1"),
            item("function_call_output", "b", output=[{"type": "input_text", "text": "ж"}]),
        ]
    )["messages"]
    assert messages == [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call("a"), call("b", "g", "")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "ж"},
    ]


def test_settings():
    said = chat(
        "Hi",
        max_output_tokens=5,
        reasoning={"effort": "low"},
        tools=[TOOL, {"type": "custom", "custom": {}}],
        tool_choice={"type": "function", "name": "f"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}}},
    )
    del said["messages"]
    assert said == {
        "model": "m",
        "max_completion_tokens": 5,
        "reasoning_effort": "low",
        "tools": [CHAT_TOOL, {"type": "custom", "custom": {}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    }
    assert chat("Hi", text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert chat("Hi", truncation="disabled", store=False, include=[]) == chat("Hi", store=False)
    assert "reasoning_effort" not in chat("Hi", reasoning={"summary": "auto"}, text={})


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "p"}},
        {"background": True},
        {"truncation": "auto"},
        {"tools": [{"type": "web_search"}]},
    ],
)
def test_what_has_no_such_meaning_is_refused(more):
    with pytest.raises(RemoteProtocolError) as caught:
        chat("Hi", **more)
    assert (caught.value.status, caught.value.kind) == (400, "unsupported_parameter")
