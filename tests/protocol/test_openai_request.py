"""`dialects.openai` requests, to and from the neutral form."""

import json

import pytest

from penstock.protocol.chat import Request
from penstock.protocol.dialects import openai
from penstock.protocol.errors import RemoteProtocolError

MESSAGES = [{"role": "user", "content": "Привет"}]
TOOLS = [{"type": "function", "function": {"name": "f"}}]

REQUESTS = [
    ({"model": "m", "messages": MESSAGES}, Request("m", MESSAGES)),
    (
        {
            "model": "m",
            "messages": MESSAGES,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 5,
        },
        Request("m", MESSAGES, stream=True, include_usage=True, max_tokens=5),
    ),
    (
        {"model": "m", "messages": MESSAGES, "tools": TOOLS, "tool_choice": "auto", "reasoning_effort": "low"},
        Request("m", MESSAGES, tools=TOOLS, tool_choice="auto", reasoning="low"),
    ),
    (
        {
            "model": "m",
            "messages": MESSAGES,
            "response_format": {"type": "json_object"},
            "seed": 12345678901234567890123,
            "stop": ["x"],
            "user": "u",
            "top_k": 5,
        },
        Request(
            "m",
            MESSAGES,
            response_format={"type": "json_object"},
            options={"seed": 12345678901234567890123, "stop": ["x"], "top_k": 5},
            extra={"user": "u"},
        ),
    ),
]


@pytest.mark.parametrize(("fields", "request_"), REQUESTS)
def test_c61_a_request_is_decoded_and_encoded_without_loss(fields, request_):
    assert openai.decode_request(json.dumps(fields).encode()) == request_
    assert json.loads(openai.encode_request(request_)) == fields


@pytest.mark.parametrize(
    ("more", "changed"),
    [
        ({"temperature": None, "tools": [], "stream_options": None, "n": None}, {}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"reasoning": {"effort": "high"}}, {"reasoning": "high"}),
        ({"reasoning": True, "stream_options": {"include_usage": False}}, {}),
        ({"stream": False}, {}),
    ],
)
def test_null_means_absent_and_synonyms_are_one(more, changed):
    body = json.dumps({"model": "m", "messages": MESSAGES, **more}).encode()
    assert openai.decode_request(body) == Request("m", MESSAGES)._replace(**changed)


@pytest.mark.parametrize(("reasoning", "effort"), [(True, "medium"), (False, "none"), ("high", "high")])
def test_thinking_is_asked_for_by_effort(reasoning, effort):
    encoded = json.loads(openai.encode_request(Request("m", MESSAGES, reasoning=reasoning)))
    assert encoded["reasoning_effort"] == effort


def test_stream_without_usage_sends_no_stream_options():
    assert "stream_options" not in json.loads(openai.encode_request(Request("m", MESSAGES, stream=True)))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "invalid_json"),
        (b"[" * 999, "invalid_json"),
        (b"[]", "not_an_object"),
        (b'{"messages":[]}', "missing_required_parameter"),
        (b'{"model":"","messages":[]}', "missing_required_parameter"),
        (b'{"model":"m"}', "missing_required_parameter"),
        (b'{"model":"m","messages":["x"]}', "missing_required_parameter"),
        (b'{"model":"m","messages":[],"tools":{"a":1}}', "invalid_value"),
        (b'{"model":"m","messages":[],"response_format":"json"}', "invalid_value"),
        (b'{"model":"m","messages":[],"response_format":{"json_schema":5}}', "invalid_value"),
        (b'{"model":"m","messages":[],"reasoning":{"effort":5}}', "invalid_value"),
        (b'{"model":"m","messages":[{"tool_calls":5}]}', "invalid_value"),
        (b'{"model":"m","messages":[{"tool_calls":[5]}]}', "invalid_value"),
        (b'{"model":"m","messages":[{"tool_calls":[{"function":5}]}]}', "invalid_value"),
        (b'{"model":"m","messages":[{"tool_call_id":[]}]}', "invalid_value"),
    ],
)
def test_what_is_no_chat_request_is_the_client_s_fault(body, kind):
    with pytest.raises(RemoteProtocolError) as caught:
        openai.decode_request(body)
    assert (caught.value.kind, caught.value.status) == (kind, 400)
