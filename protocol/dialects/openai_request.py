"""Chat requests in OpenAI's dialect, to and from the neutral `Request`.

Used where a request crosses dialects; from OpenAI to OpenAI the gateway splices the client's own bytes
instead (`members`). Null means absent. Fields without a neutral meaning are kept in `extra`.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Request
from ..errors import RemoteProtocolError

__all__ = ["FOREIGN", "OPTIONS", "decode_request", "encode_request", "fields_of", "invalid", "wants_usage"]

OPTIONS = ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "top_k", "min_p")
"""Sampling fields that other dialects know too, by OpenAI's names (the last two are not its own, but common)."""

FOREIGN = frozenset(
    (
        *("options", "keep_alive", "truncate", "shift"),
        *("background", "context_management", "conversation", "hosted_tools", "include", "max_tool_calls"),
        *("previous_response_id", "prompt", "reasoning", "text", "truncation"),
    )
)
"""Names in `extra` that only Ollama or the Responses API reads, and that a chat at OpenAI refuses."""

_NEUTRAL = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"),
        *("tools", "tool_choice", "response_format", "reasoning_effort", "reasoning"),
    )
)


def invalid(message: str, kind: str = "invalid_value") -> RemoteProtocolError:
    """A request that cannot be understood."""
    return RemoteProtocolError(message, kind=kind, status=400)


def fields_of(body: bytes) -> dict[str, Any]:
    """The fields of a request body that are not null. Raises RemoteProtocolError (400) where it is no JSON object, or
    names no model."""
    try:
        value, _ = jsontext.loads(body)
    except (ValueError, RecursionError):
        raise invalid("the body is not valid JSON", "invalid_json") from None
    if not isinstance(value, dict):
        raise invalid("the body must be a JSON object", "not_an_object")
    fields = {key: item for key, item in value.items() if item is not None}
    if not isinstance(fields.get("model"), str) or not fields["model"]:
        raise invalid("'model' must be a non-empty string", "missing_required_parameter")
    return fields


def wants_usage(fields: dict[str, Any]) -> bool:
    """Whether a stream shall end with its usage."""
    stream_options = fields.get("stream_options")
    return isinstance(stream_options, dict) and stream_options.get("include_usage") is True


def decode_request(body: bytes) -> Request:
    """What the client asks for. Raises RemoteProtocolError (400) where the body is no chat request."""
    fields = fields_of(body)
    messages = fields.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise invalid("'messages' must be a list of objects", "missing_required_parameter")
    _check(fields)
    reasoning = fields.get("reasoning")
    effort = fields.get("reasoning_effort") or (reasoning.get("effort") if isinstance(reasoning, dict) else None)
    return Request(
        model=fields["model"],
        messages=messages,
        stream=fields.get("stream") is True,
        include_usage=wants_usage(fields),
        max_tokens=fields.get("max_completion_tokens", fields.get("max_tokens")),
        tools=fields.get("tools") or None,
        tool_choice=fields.get("tool_choice"),
        response_format=fields.get("response_format"),
        reasoning=effort,
        options={key: fields[key] for key in OPTIONS if key in fields},
        extra={key: item for key, item in fields.items() if key not in _NEUTRAL and key not in OPTIONS},
    )


def _check(fields: dict[str, Any]) -> None:
    """That what is read on the way to another dialect has OpenAI's form; all else is the upstream's to judge."""
    reasoning, form = fields.get("reasoning"), fields.get("response_format")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    schema = form.get("json_schema") if isinstance(form, dict) else None
    for name, value, kind in (
        ("tools", fields.get("tools"), list),
        ("response_format", form, dict),
        ("response_format.json_schema", schema, dict),
        ("reasoning_effort", fields.get("reasoning_effort"), str),
        ("reasoning.effort", effort, str),
    ):
        if value is not None and not isinstance(value, kind):
            raise invalid(f"'{name}' must be {_KINDS[kind]}")
    for message in fields["messages"]:
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise invalid("'tool_calls' of a message must be a list of objects")
        if not all(isinstance(call.get("function") or {}, dict) for call in calls):
            raise invalid("'function' of a tool call must be an object")
        ids = [message.get("tool_call_id"), *(call.get("id") for call in calls)]
        if not all(given is None or isinstance(given, (str, int)) for given in ids):
            raise invalid("the id of a tool call must be a string")


_KINDS: dict[type, str] = {list: "a list", dict: "an object", str: "a string"}


def encode_request(request: Request) -> bytes:
    """The request as OpenAI-compatible servers read it; `max_tokens` by the name that all of them know."""
    fields: dict[str, Any] = {"model": request.model, "messages": [_encode_message(item) for item in request.messages]}
    if request.stream:
        fields["stream"] = True
        if request.include_usage:
            fields["stream_options"] = {"include_usage": True}
    reasoning = request.reasoning
    optional = {
        "max_tokens": request.max_tokens,
        "tools": request.tools or None,
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
        "reasoning_effort": {True: "medium", False: "none"}[reasoning] if isinstance(reasoning, bool) else reasoning,
    }
    fields |= {key: item for key, item in optional.items() if item is not None}
    extra = {key: item for key, item in request.extra.items() if key not in FOREIGN}
    if "logprobs" not in extra:  # without it OpenAI refuses their number, which the Responses API takes alone
        extra.pop("top_logprobs", None)
    return jsontext.dumps({**fields, **request.options, **extra})


def _encode_message(message: dict[str, Any]) -> dict[str, Any]:
    """Signed reasoning is of use only to the vendor that signed it, and strict servers reject unknown members."""
    if "thinking_blocks" not in message:
        return message
    return {name: value for name, value in message.items() if name != "thinking_blocks"}
