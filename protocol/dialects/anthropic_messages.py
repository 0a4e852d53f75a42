"""The conversation of a request: OpenAI's messages to Anthropic's turns, and back.

Anthropic has two roles that take turns, the user first; all that stands between two answers of the model is one
turn of the user, results of tools at its beginning. OpenAI has a message for each result, and system messages
anywhere. So one way adjacent messages are merged, and the other way a turn falls into several.

Signed reasoning (`thinking_blocks`) goes back to Anthropic as it came, if the model is to reason again: else it is
rejected at the end of a conversation and passed over everywhere before. Unsigned reasoning is somebody else's, and
is always rejected.
"""

from __future__ import annotations

import re
from typing import Any

from .. import jsontext
from .anthropic_parts import decode_parts, encode_parts, objects
from .anthropic_terms import REDACTED, arguments_object, thinking_block

__all__ = ["decode_messages", "encode_messages", "have_thoughts", "may_think"]

Json = dict[str, Any]

_SYSTEM = ("system", "developer")
_THOUGHTS = ("thinking", "redacted_thinking")
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_OPENING = "(The assistant speaks first.)"


# -- neutral to Anthropic ---------------------------------------------------------------------------------


def encode_messages(messages: list[Json], *, thoughts: bool = True) -> tuple[list[Json], list[Json]]:
    """Blocks of the system prompt, and the turns, with signed reasoning or without. Raises RemoteProtocolError (400)
    for content of foreign kinds."""
    leading = next((at for at, message in enumerate(messages) if message.get("role") not in _SYSTEM), 0)
    system = [block for message in messages[:leading] for block in encode_parts(message.get("content"))]
    turns: list[Json] = []
    for message in messages[leading:]:
        assistant = message.get("role") == "assistant"
        blocks = _encode_answer(message, thoughts) if assistant else _encode_message(message)
        if blocks:
            _add(turns, "assistant" if assistant else "user", blocks)
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": _OPENING}]})
    for turn in turns:  # results of tools come first, or they are not seen as the answers to their calls
        turn["content"].sort(key=lambda block: block["type"] != "tool_result" and turn["role"] == "user")
    if turns and turns[-1]["role"] == "assistant" and turns[-1]["content"][-1]["type"] == "text":
        last = turns[-1]["content"][-1]
        last["text"] = last["text"].rstrip()  # the model goes on from it, and white space there is rejected
    return system, turns


def _add(turns: list[Json], role: str, blocks: list[Json]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _encode_message(message: Json) -> list[Json]:
    blocks = encode_parts(message.get("content"))
    if message.get("role") not in ("tool", "function"):
        return blocks
    call = _id(message.get("tool_call_id") or f"call_{message.get('name')}")
    return [{"type": "tool_result", "tool_use_id": call, **({"content": blocks} if blocks else {})}]


def _encode_answer(message: Json, thoughts: bool) -> list[Json]:
    given = objects(message.get("thinking_blocks")) or objects(message.get("reasoning_details"))
    thought = [block for entry in given for block in _encode_thought(entry)] if thoughts else []
    refusal = message.get("refusal")
    said = encode_parts(message.get("content")) or encode_parts(refusal)
    return thought + said + [_encode_call(*call) for call in _calls(message)]


def _encode_thought(entry: Json) -> list[Json]:
    """A signed block, in our own form or in those that clients of other gateways send back: Anthropic's (LiteLLM) and
    OpenRouter's, which says whose it is."""
    if not str(entry.get("format", "anthropic")).startswith("anthropic"):
        return []
    text, signature, data = entry.get("text") or entry.get("thinking"), entry.get("signature"), entry.get("data")
    if isinstance(data, str) and data:
        signature = REDACTED + data
    return [thinking_block(str(text or ""), signature)] if isinstance(signature, str) and signature else []


def _calls(message: Json) -> list[tuple[str, Json]]:
    """Id and function of each call; the older `function_call` has no id and is answered by its name."""
    old = message.get("function_call")
    if isinstance(old, dict):
        return [(f"call_{old.get('name')}", old)]
    calls = [
        (call.get("id"), call.get("function") or call.get("custom")) for call in objects(message.get("tool_calls"))
    ]
    return [(str(call_id or "call"), function if isinstance(function, dict) else {}) for call_id, function in calls]


def _encode_call(call_id: str, function: Json) -> Json:
    given = arguments_object(function.get("arguments", function.get("input")))
    return {"type": "tool_use", "id": _id(call_id), "name": str(function.get("name") or ""), "input": given}


def _id(call_id: Any) -> str:
    return _NOT_IN_IDS.sub("_", str(call_id))


def may_think(turns: list[Json]) -> bool:
    """Whether the model may reason before it goes on. Not in the middle of its own words, and not where it was
    answered by tools whose calls came without signed reasoning: "a final assistant message must start with a thinking
    block (preceding the lastmost set of tool_use and tool_result blocks)", the API says of it."""
    if not turns or turns[-1]["role"] == "assistant":
        return False
    if len(turns) < 2 or turns[-1]["content"][0]["type"] != "tool_result":
        return True
    return turns[-2]["content"][0]["type"] in _THOUGHTS


def have_thoughts(turns: list[Json]) -> bool:
    """Whether there is signed reasoning in them."""
    return any(block["type"] in _THOUGHTS for turn in turns for block in turn["content"])


# -- Anthropic to neutral ---------------------------------------------------------------------------------


def decode_messages(system: Any, turns: list[Json]) -> list[Json]:
    """Messages of a conversation. Raises RemoteProtocolError (400) for sources that only Anthropic can read."""
    prompt = decode_parts(system)
    messages: list[Json] = [{"role": "system", "content": _joined(prompt)}] if prompt else []
    for turn in turns:
        if turn.get("role") == "assistant":
            messages.append(_decode_answer(turn.get("content")))
        else:
            messages += _decode_turn(str(turn.get("role") or "user"), turn.get("content"))
    return messages


def _decode_turn(role: str, content: Any) -> list[Json]:
    """Each result of a tool is a message of its own; images in it follow in the user's words, for OpenAI takes texts
    only from a tool."""
    messages, rest = [], []
    for block in objects(content):
        if block.get("type") == "tool_result":
            parts = decode_parts(block.get("content"))
            texts = [part for part in parts if part["type"] == "text"]
            rest += [part for part in parts if part["type"] != "text"]
            messages.append({"role": "tool", "tool_call_id": str(block.get("tool_use_id")), "content": _joined(texts)})
    rest += decode_parts(content)
    if rest or not messages:
        messages.append({"role": role, "content": _joined(rest) if len(rest) < 2 else rest})
    return messages


def _decode_answer(content: Any) -> Json:
    blocks = objects(content)
    text = "".join([part["text"] for part in decode_parts(content) if part["type"] == "text"])
    calls = [_decode_call(block) for block in blocks if block.get("type") == "tool_use"]
    message: Json = {"role": "assistant", "content": text or (None if calls else "")}
    thoughts = [thought for block in blocks for thought in _decode_thought(block)]
    reasoning = "".join([thought["text"] for thought in thoughts])
    if reasoning:
        message["reasoning_content"] = reasoning
    if any(thought["signature"] for thought in thoughts):
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def _decode_thought(block: Json) -> list[Json]:
    if block.get("type") == "thinking":
        return [{"text": str(block.get("thinking") or ""), "signature": str(block.get("signature") or "")}]
    if block.get("type") == "redacted_thinking":
        return [{"text": "", "signature": f"{REDACTED}{block.get('data') or ''}"}]
    return []


def _decode_call(block: Json) -> Json:
    function = {"name": str(block.get("name") or ""), "arguments": jsontext.dumps(block.get("input") or {}).decode()}
    return {"id": str(block.get("id") or ""), "type": "function", "function": function}


def _joined(parts: list[Json]) -> Any:
    """One string where there is only text: it is what every server reads."""
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join([part["text"] for part in parts])
    return parts
