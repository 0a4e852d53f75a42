"""How the parts of a chunk or a message are made canonical: finish reasons, texts, usage. Each a plain function.

Where a rule exists for the sake of one server or one client, it says which.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext

__all__ = [
    "Chunk",
    "canonical_usage",
    "finish_reason",
    "has_usage",
    "identical",
    "mend_texts",
    "numbered",
    "split_choice",
    "texts_of",
    "usage_in",
]

Chunk = dict[str, Any]

_REASONS = {
    "stop": "stop eos eos_token stop_sequence end_turn pause_turn complete finish_reason_unspecified",
    "length": "length max_tokens model_length model_context_window_exceeded compaction",
    "tool_calls": "tool_calls tool_use",
    "function_call": "function_call",
    "content_filter": "content_filter content_filtered refusal safety recitation blocklist prohibited_content spii"
    " sensitive guardrail_intervened error_toxic",
}
_CANONICAL = {spelling: reason for reason, spellings in _REASONS.items() for spelling in spellings.split()}


def finish_reason(said: Any) -> str:
    """The canonical reason for an upstream's spelling; unknown ones are `stop`."""
    return _CANONICAL.get(said.lower(), "stop") if isinstance(said, str) else "stop"


def identical(one: Any, other: Any) -> bool:
    """Whether two JSON values are written the same: of equal types and in equal order all through.

    `==` is not enough: to it True, 1 and 1.0 are the same, and so are objects with their members moved.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(identical(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return bool(one == other)


def texts_of(parts: list[Any]) -> tuple[str, str]:
    """Text and reasoning in a content list (Mistral: `[{"type": "thinking", "thinking": [...]}, {"type": "text"}]`)."""
    text, reasoning = "", ""
    for part in parts:
        if isinstance(part, str):
            text += part
        elif isinstance(part, dict):
            said = part.get("text")
            if part.get("type") in ("thinking", "reasoning"):
                inner = part.get("thinking", said)
                reasoning += texts_of(inner)[0] if isinstance(inner, list) else str(inner or "")
            elif isinstance(said, str):
                text += said
    return text, reasoning


def mend_texts(delta: Chunk) -> None:
    """Reasoning under its usual name, content as a string or null; for deltas and whole messages.

    `reasoning_content` is the name that most clients read; a null one beside a filled `reasoning` hides it.
    """
    other = delta.get("reasoning")
    if isinstance(other, str) and other:
        if not delta.get("reasoning_content"):
            delta["reasoning_content"] = other
        del delta["reasoning"]
    for field in ("reasoning_content", "refusal"):
        if field in delta and not isinstance(delta[field], str):
            delta[field] = None
    content = delta.get("content")
    if isinstance(content, dict):
        content = [content]
    if isinstance(content, list):
        delta["content"], reasoning = texts_of(content)
        if reasoning:
            delta["reasoning_content"] = (delta.get("reasoning_content") or "") + reasoning
    elif content is not None and not isinstance(content, str):
        delta["content"] = jsontext.dumps(content).decode()


def split_choice(choice: Chunk) -> list[Chunk]:
    """Reasoning and text in one delta go out one after the other, reasoning first."""
    delta = choice["delta"]
    if not (delta.get("reasoning_content") and delta.get("content")):
        return [choice]
    before = {key: delta[key] for key in ("role", "reasoning_content", "reasoning_details") if key in delta}
    after = {key: value for key, value in delta.items() if key not in before}
    first = {**choice, "delta": before}
    if "logprobs" in choice:
        first["logprobs"] = None
    return [first, {**choice, "delta": after}]


def numbered(details: list[Any]) -> list[Any]:
    """A second list delta without integer `index` makes openai-python raise RuntimeError."""
    return [
        {**entry, "index": position} if isinstance(entry, dict) and type(entry.get("index")) is not int else entry
        for position, entry in enumerate(details)
    ]


def usage_in(chunk: Chunk) -> dict[str, Any] | None:
    """The usage that a chunk carries, at the top or where Groq has it."""
    usage = chunk.get("usage")
    if not usage and "x_groq" in chunk and isinstance(chunk["x_groq"], dict):
        usage = chunk["x_groq"].get("usage")
    return usage if isinstance(usage, dict) and usage else None


def has_usage(value: Any) -> bool:
    return isinstance(value, dict) and "usage" in value


def canonical_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Usage with the three counts that clients require as integers."""
    counts = {key: _count(usage.get(key)) for key in ("prompt_tokens", "completion_tokens")}
    return {**usage, **counts, "total_tokens": _count(usage.get("total_tokens")) or sum(counts.values())}


def _count(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 < value < 2**63 else 0
