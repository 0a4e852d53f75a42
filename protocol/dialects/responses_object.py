"""The response object of the Responses API: what it tells of an answer, and what it repeats of the request.

Clients check it more strictly than a chat's answer. It has to be there at the beginning of a stream, without
output, and at the end, with all of it; and it echoes what was asked (`instructions`, `tools`, `temperature` ...).
The echo cannot be known from the answer, so the encoders take the request's fields as an argument. What was not
asked for has the API's own default, or null where the upstream's default is not known.

Ids of the response and of its items are made from the id of the answer, the same for each writing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..chat import Failed, Start, Usage, counted

__all__ = [
    "custom_tools",
    "encode_usage",
    "error_of",
    "is_incomplete",
    "item_id",
    "response_id",
    "response_object",
    "usage_of",
]

Json = dict[str, Any]

# What the object repeats of the request, with what it says where nothing was asked.
_ECHO: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
_ECHO_IF_ASKED = ("max_tool_calls", "prompt_cache_key", "safety_identifier", "service_tier", "top_logprobs", "user")
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response_id(answer_id: str) -> str:
    """The id of the response to an answer of this id, whatever API that came from."""
    return answer_id if answer_id.startswith("resp_") else "resp_" + answer_id.removeprefix("chatcmpl-")


def item_id(kind: str, answer_id: str, index: int) -> str:
    """The id of the output item at `index`; `kind` is `msg`, `rs`, `fc` or `ctc`, as OpenAI has it."""
    return f"{kind}_{response_id(answer_id).removeprefix('resp_')}_{index}"


def custom_tools(request: Mapping[str, Any]) -> frozenset[str]:
    """Names of the tools that take free text: their calls are items of another type."""
    tools = request.get("tools")
    tools = tools if isinstance(tools, list) else []
    return frozenset(str(tool.get("name")) for tool in tools if isinstance(tool, dict) and tool.get("type") == "custom")


def is_incomplete(reason: str | None) -> bool:
    """Whether an answer that finished so is one that breaks off."""
    return reason in _INCOMPLETE


def response_object(
    start: Start,
    request: Mapping[str, Any],
    status: str,
    *,
    output: Sequence[Json] = (),
    usage: Usage | None = None,
    reason: str | None = None,
    failed: Failed | None = None,
) -> Json:
    """The object with this status: `in_progress`, `completed`, `incomplete` (for that `reason`) or `failed`."""
    return {
        "id": response_id(start.id),
        "object": "response",
        "created_at": start.created,
        "status": status,
        "error": error_of(failed) if failed else None,
        "incomplete_details": {"reason": _INCOMPLETE[reason]} if reason and status == "incomplete" else None,
        "model": start.model,
        "output": list(output),
        **{name: default if request.get(name) is None else request[name] for name, default in _ECHO.items()},
        **{name: request[name] for name in _ECHO_IF_ASKED if request.get(name) is not None},
        "usage": encode_usage(usage) if usage else None,
    }


def error_of(failed: Failed) -> Json:
    """The error in a response that failed. Codex goes by the code: context, quota, rate limit."""
    return {"code": failed.code or failed.type, "message": failed.message}


def usage_of(raw: Any) -> Usage | None:
    """The usage object of a response as an event."""
    if not isinstance(raw, dict):
        return None

    def count(*path: str) -> int:
        value: Any = raw
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return counted(value)

    prompt, completion = count("input_tokens"), count("output_tokens")
    return Usage(
        prompt,
        completion,
        count("total_tokens") or prompt + completion,
        cached=count("input_tokens_details", "cached_tokens"),
        reasoning=count("output_tokens_details", "reasoning_tokens"),
        raw=raw,
    )


def encode_usage(usage: Usage) -> Json:
    """A usage event as this API's object. All five counts: Codex reads no object in which one is missing."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
