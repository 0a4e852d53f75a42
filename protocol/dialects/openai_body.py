"""Whole answers in OpenAI's dialect: read, written, and made canonical where only that is needed.

An answer that any client reads is passed on byte for byte. A missing role, a foreign finish reason, content
in parts, arguments as an object and their like are mended; all else in it stays. An
answer without choices, or with an error in it, is a failure whatever its status was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import jsontext
from ..chat import Answer, Choice, Failed, ToolCall, Usage
from . import failures
from .openai_mend import Chunk, canonical_usage, finish_reason, identical, mend_texts
from .openai_stream import encode_usage, usage_of
from .openai_tools import Calls
from .source import empty, malformed, truncated

__all__ = [
    "FORBIDDEN",
    "decode_response",
    "encode_answer",
    "encode_response",
    "mend",
    "mend_response",
    "parse",
    "told_usage",
    "written",
]

OBJECT = "chat.completion"
_PLAIN_MESSAGE = frozenset({"role", "content", "refusal", "annotations"})
FORBIDDEN = frozenset({"error", "type", "event", "selected_model_id"})


def mend_response(body: bytes, **given: Any) -> tuple[bytes, Usage | None] | Failed:
    """The body to send, and its usage; or why there is none. Nothing to mend: the very same body.

    `given`: `id`, `created` and `model` where the upstream says none, and `json_depth`.
    """
    return told_usage(_read(body, **given))


def told_usage(found: tuple[bytes, Chunk] | Failed) -> tuple[bytes, Usage | None] | Failed:
    """A mended body and its usage, or why there is none."""
    if isinstance(found, Failed):
        return found
    usage = found[1].get("usage")
    return found[0], usage_of(usage) if isinstance(usage, dict) and usage else None


def _read(body: bytes, *, json_depth: int = 128, **given: Any) -> tuple[bytes, Chunk] | Failed:
    found = parse(body, json_depth)
    if isinstance(found, Failed):
        return found
    text, value, clean = found
    if clean and _is_canonical(value):
        return text, value
    return written(text, value, mend(value, OBJECT, _mend_choice, **given), clean)


def parse(body: bytes, json_depth: int) -> tuple[bytes, Chunk, bool] | Failed:
    """The text of a whole answer, what it says, and whether the text may be passed on; or why there is no answer."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        value, clean = jsontext.loads(text, json_depth, one_line=False)
    except (ValueError, RecursionError):
        if not text:
            return empty()
        return truncated() if text[:1] in (b"{", b"[") else malformed("a body that is no JSON")
    failed = failures.find(value)
    if failed is not None:
        return failed
    if isinstance(value, list) and len(value) == 1:
        value, clean = value[0], False
    if not isinstance(value, dict):
        return malformed("a body that is no JSON object")
    choices = value.get("choices")
    choices = isinstance(choices, list) and any(isinstance(choice, dict) for choice in choices)
    return (text, value, clean) if choices else malformed("an answer without choices")


def written(text: bytes, value: Chunk, mended: Chunk, clean: bool) -> tuple[bytes, Chunk]:
    """The body to send, and what it says: the very same text where nothing was mended."""
    return (text, value) if clean and identical(mended, value) else (jsontext.dumps(mended), mended)


def _is_canonical(value: Chunk) -> bool:
    """Whether this is the plain answer that nearly all are, of which `mend` would change nothing."""
    return (
        type(value.get("id")) is str
        and type(value.get("created")) is int
        and type(value.get("model")) is str
        and value.get("object") == OBJECT
        and FORBIDDEN.isdisjoint(value)
        and all(map(_is_plain_choice, value["choices"]))
        and (value.get("usage") is None or _is_plain_usage(value["usage"]))
    )


def _is_plain_usage(usage: Any) -> bool:
    return isinstance(usage, dict) and identical(canonical_usage(usage), usage)


def _is_plain_choice(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    return (
        type(message) is dict
        and _PLAIN_MESSAGE.issuperset(message)
        and message.get("role") == "assistant"
        and type(message.get("content")) is str
        and type(message.get("refusal", "")) in (str, type(None))
        and type(choice.get("index")) is int
        and choice.get("finish_reason") in ("stop", "length")
        and "delta" not in choice
        and "text" not in choice
    )


def mend(
    value: Chunk,
    object: str,
    mend_choice: Callable[[Chunk, int, str], Chunk],
    *,
    id: str = "",
    created: int = 0,
    model: str = "",
) -> Chunk:
    """A whole answer in canonical form. `mend_choice` does so for one choice, given its position and the id."""
    mended = {key: item for key, item in value.items() if key not in FORBIDDEN}
    if not isinstance(value.get("id"), str):
        mended["id"] = id
    if not isinstance(value.get("created"), int):
        mended["created"] = created
    if not isinstance(value.get("model"), str):
        mended["model"] = model
    mended["object"] = object
    choices = [choice for choice in value["choices"] if isinstance(choice, dict)]
    mended["choices"] = [mend_choice(choice, at, str(mended["id"])) for at, choice in enumerate(choices)]
    usage = value.get("usage")
    if isinstance(usage, dict):
        mended["usage"] = canonical_usage(usage)
    elif usage is not None:
        del mended["usage"]
    return mended


def _mend_choice(choice: Chunk, position: int, seed: str) -> Chunk:
    mended = {key: item for key, item in choice.items() if key not in ("delta", "text")}
    index = choice.get("index")
    mended["index"] = index = index if type(index) is int else position
    said = choice.get("message") or choice.get("delta")
    message = dict(said) if isinstance(said, dict) else {"content": choice.get("text")}
    message["role"] = "assistant"
    message.setdefault("content", None)
    mend_texts(message)
    entries = message.pop("tool_calls", None)
    calls = Calls(f"{seed}/{index}")
    if isinstance(entries, list) and entries:
        message["tool_calls"] = [_mend_call(calls, entry) for entry in entries if isinstance(entry, dict)]
    reason = choice.get("finish_reason")
    if reason is not None and reason != "":
        reason = finish_reason(reason)
        if len(calls) and reason in ("stop", "function_call"):
            reason = "tool_calls"
    mended["message"], mended["finish_reason"] = message, reason or None
    return mended


def _mend_call(calls: Calls, entry: Chunk) -> Chunk:
    mended = dict(calls.mend(entry))
    if "index" not in entry:
        del mended["index"]
    function = mended.get("function")
    if isinstance(function, dict) and not function["arguments"].strip():
        mended["function"] = {**function, "arguments": "{}"}
    return mended


def decode_response(body: bytes, **given: Any) -> Answer | Failed:
    """A whole answer as events would have said it."""
    found = _read(body, **given)
    if isinstance(found, Failed):
        return found
    value = found[1]
    usage = value.get("usage")
    choices = [_decode_choice(choice) for choice in value["choices"]]
    return Answer(
        value["id"],
        value["model"],
        value["created"],
        choices,
        usage_of(usage) if isinstance(usage, dict) and usage else None,
    )


def _decode_choice(choice: Chunk) -> Choice:
    message, calls = choice["message"], []
    for at, entry in enumerate(message.get("tool_calls") or ()):
        function = entry.get("function") or entry["custom"]
        arguments = function.get("arguments") or function.get("input") or ""
        calls.append(ToolCall(choice["index"], at, entry.get("id", ""), function.get("name") or "", arguments))
    text, reasoning, refusal = (str(message.get(key) or "") for key in ("content", "reasoning_content", "refusal"))
    return Choice(choice["index"], text, reasoning, refusal, calls, choice["finish_reason"])


def encode_response(answer: Answer) -> bytes:
    """A whole answer as OpenAI writes it."""
    return encode_answer(answer, OBJECT, _encode_choice)


def encode_answer(answer: Answer, object: str, encode_choice: Callable[[Choice], Chunk]) -> bytes:
    """The body around its choices. An answer that said nothing has one: clients read the first without a look."""
    choices = [encode_choice(choice) for choice in answer.choices or [Choice(0, "", "", "", [], None)]]
    value: Chunk = {
        "id": answer.id,
        "object": object,
        "created": answer.created,
        "model": answer.model,
        "choices": choices,
    }
    if answer.usage is not None:
        value["usage"] = encode_usage(answer.usage)
    return jsontext.dumps(value)


def _encode_choice(choice: Choice) -> Chunk:
    silent = not choice.text and bool(choice.tool_calls or choice.refusal)
    message: Chunk = {"role": "assistant", "content": None if silent else choice.text}
    message["refusal"] = choice.refusal or None
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.tool_calls
        ]
    return {"index": choice.index, "message": message, "logprobs": None, "finish_reason": choice.reason}
