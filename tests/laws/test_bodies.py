"""Whole bodies of every dialect, of any JSON: only declared errors, and what was read can be written and read again."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from laws.chats import strict
from laws.streams import json as documents
from laws.streams import trouble
from penstock.protocol.chat import Answer, Choice, Failed, Request, ToolCall, Usage
from penstock.protocol.dialects import DIALECTS
from penstock.protocol.errors import RemoteProtocolError

_TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
_REQUESTS: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "tools": [_TOOL],
            "stop": ["a"],
        },
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "t"}]},
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "1", "content": "r"},
            ],
            "max_tokens": 5,
            "response_format": {"type": "json_object"},
        },
    ],
    "completions": [
        {"model": "m", "prompt": "p", "suffix": "s", "stream": True, "max_tokens": 3},
        {"model": "m", "prompt": ["a"]},
    ],
    "responses": [
        {"model": "m", "input": "hi", "instructions": "i", "max_output_tokens": 5, "stream": True},
        {
            "model": "m",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "t"}]},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "r"},
            ],
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
        },
    ],
    "ollama": [
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "options": {"num_predict": 5}, "think": True},
        {
            "model": "m",
            "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}],
        },
    ],
    "ollama_generate": [{"model": "m", "prompt": "p", "system": "s", "format": "json", "stream": False}],
    "anthropic": [
        {
            "model": "m",
            "max_tokens": 5,
            "system": [{"type": "text", "text": "s"}],
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "r"}]},
            ],
            "tools": [{"name": "f", "input_schema": {}}],
            "tool_choice": {"type": "auto"},
        },
    ],
}
_ANSWER = Answer(
    "id",
    "m",
    1,
    [Choice(0, "text", "", "", [ToolCall(0, 0, "c", "f", '{"a":1}')], "tool_calls")],
    Usage(3, 4, 7),
)


def spoilt(choose: Random, value: Any) -> Any:
    """The value with one thing in it, however deep, put in another's place."""
    if isinstance(value, dict) and value and choose.random() < 0.85:
        key = choose.choice(list(value))
        if choose.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: spoilt(choose, value[key])}
    if isinstance(value, list) and value and choose.random() < 0.85:
        at = int(choose.random() * len(value))
        return [*value[:at], spoilt(choose, value[at]), *value[at + 1 :]]
    return documents.value(choose)


def bodies(choose: Random, values: list[Any]) -> bytes:
    value = choose.choice(values)
    for _ in range(int(choose.random() * 3)):
        value = spoilt(choose, value)
    body = json.dumps(value).encode()
    return trouble.mutated(choose, body) if choose.random() < 0.1 else body


def fits_a_refusal(refused: RemoteProtocolError) -> None:
    assert 400 <= refused.status < 500
    assert refused.kind


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_is_read_or_refused(dialect: str) -> None:
    choose, read = Random(f"requests/{dialect}"), 0
    for _ in range(300):
        body = bodies(choose, _REQUESTS[dialect])
        try:
            request = DIALECTS[dialect].decode_request(body)
        except RemoteProtocolError as refused:
            fits_a_refusal(refused)
            continue
        read += 1
        assert isinstance(request, Request)
    assert read > 60


@pytest.mark.parametrize("sink", DIALECTS)
@pytest.mark.parametrize("source", DIALECTS)
def test_a_request_that_was_read_can_be_written_in_every_dialect(source: str, sink: str) -> None:
    choose = Random(f"written/{source}/{sink}")
    for _ in range(40):
        try:
            request = DIALECTS[source].decode_request(bodies(choose, _REQUESTS[source]))
            written = DIALECTS[sink].encode_request(request)
        except RemoteProtocolError as refused:  # by the reader, or by a sink that cannot carry what was asked for
            fits_a_refusal(refused)
            continue
        strict(written)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_survives_its_own_dialect(dialect: str) -> None:
    for value in _REQUESTS[dialect]:
        request = DIALECTS[dialect].decode_request(json.dumps(value).encode())
        again = DIALECTS[dialect].decode_request(DIALECTS[dialect].encode_request(request))
        assert again._replace(extra=request.extra) == request
        assert DIALECTS[dialect].decode_request(DIALECTS[dialect].encode_request(again)) == again


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_is_read_or_failed_and_can_be_written(dialect: str) -> None:
    choose = Random(f"answers/{dialect}")
    row = DIALECTS[dialect]
    whole = json.loads(row.encode_response(_ANSWER))
    read = 0
    for _ in range(300):
        body = bodies(choose, [whole])
        options = {"id": "own", "created": 1, "model": "m"}
        found = row.decode_response(body, **options)
        if isinstance(found, Answer):
            read += 1
            for sink in DIALECTS.values():
                strict(sink.encode_response(found))
        else:
            assert isinstance(found, Failed)
            for sink in DIALECTS.values():
                status, error = sink.encode_error(found)
                assert 400 <= status < 600
                strict(error)
        if row.mend_response is not None:
            mended = row.mend_response(body, **options)
            assert isinstance(mended, Failed) == isinstance(found, Failed)
            if not isinstance(mended, Failed):
                strict(mended[0], one_line=False)
    assert read > 60


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_survives_its_own_dialect(dialect: str) -> None:
    row = DIALECTS[dialect]
    found = row.decode_response(row.encode_response(_ANSWER))
    assert isinstance(found, Answer)
    assert [choice.text for choice in found.choices] == ["text"]
    calls = [(call.name, json.loads(call.arguments)) for call in found.choices[0].tool_calls]
    assert calls == ([] if dialect == "completions" else [("f", {"a": 1})])
    assert (found.usage.prompt, found.usage.completion) == (3, 4) if found.usage else False
