"""Anthropic's words for what every dialect says: stop reasons, token counts, errors, signed reasoning.

Small tables and plain functions, read by the decoders and encoders of streams, whole answers and requests, so
that all of them say the same.

Two facts shape them. `input_tokens` counts only what no cache had part in: the prompt is that and the two cache
counts together. And a signed block of reasoning comes in two forms, shown (text and a signature) and redacted
(nothing but opaque data); between dialects both are one signature, and a prefix tells them apart.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Choice, Failed, Usage, counted

__all__ = [
    "NO_USAGE",
    "REDACTED",
    "STOP_REASONS",
    "USAGE",
    "arguments_object",
    "encode_error",
    "encode_usage",
    "stop_reason",
    "thinking_block",
    "thoughts_of",
    "usage_of",
]

Json = dict[str, Any]

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""Canonical finish reason -> stop reason. The other way is `openai_mend.finish_reason`, which knows all spellings."""

REDACTED = "redacted_thinking:"
"""Before a signature that is a redacted block's data. A signature itself is base64 and has no colon."""

NO_USAGE: Json = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}

USAGE = (
    *("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"),
    *("cache_creation", "output_tokens_details", "server_tool_use", "service_tier", "inference_geo", "speed"),
)
"""The members of a usage object. Those of a stream come in pieces, and no others are kept."""

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TOO_LONG = "prompt is too long"


def stop_reason(reason: str | None, *, refused: bool) -> str | None:
    """The stop reason; `refused` where the model's text was a refusal, for which OpenAI has no reason of its own."""
    return "refusal" if refused and reason == "stop" else STOP_REASONS.get(reason) if reason else None


def usage_of(raw: Json) -> Usage:
    """Anthropic's usage object as an event."""

    details = raw.get("output_tokens_details")
    cached, written = counted(raw.get("cache_read_input_tokens")), counted(raw.get("cache_creation_input_tokens"))
    prompt, completion = counted(raw.get("input_tokens")) + cached + written, counted(raw.get("output_tokens"))
    reasoning = counted(details.get("thinking_tokens")) if isinstance(details, dict) else 0
    return Usage(prompt, completion, prompt + completion, cached, reasoning, raw)


def encode_usage(usage: Usage | None) -> Json:
    """A usage event as Anthropic's object: the upstream's own where that has the same form; zeros if unknown."""
    if usage is None:
        return NO_USAGE
    raw = usage.raw or {}
    if "input_tokens" in raw and "total_tokens" not in raw:  # OpenAI's Responses count `input_tokens` otherwise
        return {**NO_USAGE, **raw}
    counts = {"input_tokens": max(usage.prompt - usage.cached, 0), "cache_read_input_tokens": usage.cached}
    details = {"output_tokens_details": {"thinking_tokens": usage.reasoning}} if usage.reasoning else {}
    return {**NO_USAGE, **counts, "output_tokens": usage.completion, **details}


def encode_error(failed: Failed) -> tuple[int, bytes]:
    """HTTP status and body. No capacity is 529 here, and a prompt that is too long is known by its words."""
    status = 529 if failed.status == 503 else failed.status
    kind = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    message = failed.message
    if failed.code == "context_length_exceeded" and _TOO_LONG not in message.lower():
        message = f"{_TOO_LONG}: {message}"
    return status, jsontext.dumps({"type": "error", "error": {"type": kind, "message": message}})


def thinking_block(text: str, signature: str) -> Json:
    """A block of reasoning, shown or redacted."""
    if signature.startswith(REDACTED):
        return {"type": "redacted_thinking", "data": signature.removeprefix(REDACTED)}
    return {"type": "thinking", "thinking": text, "signature": signature}


def thoughts_of(choice: Choice) -> list[Json]:
    """The reasoning of a whole answer in blocks; unsigned reasoning is one block with an empty signature."""
    if choice.thoughts:
        return [thinking_block(thought.text, thought.signature) for thought in choice.thoughts]
    return [thinking_block(choice.reasoning, "")] if choice.reasoning else []


def arguments_object(arguments: Any) -> Json:
    """A call's arguments as the object that Anthropic wants. What is none stays readable under one key."""
    value = arguments
    if isinstance(arguments, str):
        try:
            value, _ = jsontext.loads(arguments.encode("utf-8", "surrogatepass") if arguments.strip() else b"{}")
        except (ValueError, RecursionError):
            pass  # a model's own bad JSON
    if isinstance(value, dict):
        return value
    return {"arguments": arguments} if arguments is not None else {}
