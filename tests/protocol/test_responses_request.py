"""A Responses-shaped body that was posted to the chat endpoint, said as a chat request."""

from __future__ import annotations

import pytest

from penstock.protocol import RemoteProtocolError
from penstock.protocol.dialects.responses_request import to_chat

TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}


def chat(given, **more):
    return to_chat({"model": "m", "input": given, **more})


def test_a_text_and_instructions():
    assert chat("Hi", instructions="Be brief", stream=True, seed=2**70) == {
        "model": "m",
        "stream": True,
        "seed": 2**70,
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}],
    }


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "input_text", "text": "a"}, {"type": "text", "text": "a"}),
        ({"type": "output_text", "text": "a", "annotations": []}, {"type": "text", "text": "a"}),
        ({"type": "refusal", "refusal": "no"}, {"type": "refusal", "refusal": "no"}),
        ({"type": "input_image", "image_url": "u"}, {"type": "image_url", "image_url": {"url": "u"}}),
        (
            {"type": "input_image", "image_url": "u", "detail": "low"},
            {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
        ),
        ({"type": "input_file", "file_id": "f"}, {"type": "file", "file": {"file_id": "f"}}),
    ],
)
def test_parts(part, said):
    for item in ({"type": "message", "role": "user"}, {"role": "user"}):
        assert chat([{**item, "content": [part]}])["messages"] == [{"role": "user", "content": [said]}]


def test_a_round_of_tools():
    messages = chat(
        [
            {"role": "user", "content": "go"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "g"},
            {"type": "function_call_output", "call_id": "a", "output": "1"},
            {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "ж"}]},
        ]
    )["messages"]
    assert messages == [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": '[{"type": "input_text", "text": "ж"}]'},
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
        "tools": [
            {"type": "function", "function": {key: TOOL[key] for key in TOOL if key != "type"}},
            {"type": "custom", "custom": {}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    }
    assert chat("Hi", text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert chat("Hi", truncation="disabled", store=False, include=[]) == chat("Hi", store=False)
    assert "reasoning_effort" not in chat("Hi", reasoning={"summary": "auto"}, text={})


@pytest.mark.parametrize(
    "body",
    [
        {"input": "Hi", "previous_response_id": "resp_1"},
        {"input": "Hi", "background": True},
        {"input": "Hi", "truncation": "auto"},
        {"input": "Hi", "instructions": [{"role": "user", "content": "a"}]},
        {"input": "Hi", "tools": [{"type": "web_search"}]},
        {"input": 5},
        {"input": ["Hi"]},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        {"input": "Hi", "tools": {}} | {"tools": "x"},
    ],
)
def test_what_has_no_such_meaning_is_refused(body):
    with pytest.raises(RemoteProtocolError) as caught:
        to_chat({"model": "m", **body})
    assert (caught.value.status, caught.value.kind) == (400, "unsupported_parameter")
