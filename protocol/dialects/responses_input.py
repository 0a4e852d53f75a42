"""Input items of the Responses API, to and from the messages of a chat.

A chat says in one message of the assistant what this API says in several items: reasoning, text, and each tool
call stand apart. So items of the assistant that follow each other are one message, and one message becomes
several items. Both forms can be said in the other but for two things: where reasoning stood between calls, and
the names of participants. Items that stand for something kept or run by the vendor (`item_reference`, calls of
its own tools) have no chat message that means the same, and are refused by name.

Reasoning that its vendor wants back (`encrypted_content`) is kept with its text in `thinking_blocks`; the text
alone is `reasoning_content`, which goes to no Responses server: without the encrypted form they refuse it.
"""

from __future__ import annotations

from typing import Any

from .openai_mend import texts_of
from .openai_request import invalid

__all__ = ["decode_input", "encode_input", "objects", "refused"]

Json = dict[str, Any]

_TEXT_PARTS = frozenset({"input_text", "output_text", "text"})
_SAME_PARTS = frozenset({"refusal", "input_audio"})  # written alike in both forms, under the key of their type
_PARAGRAPH = "\n\n"


def refused(message: str) -> Exception:
    """A request that asks for what cannot be said in a chat."""
    return invalid(message, "unsupported_parameter")


def objects(value: Any, name: str) -> list[Json]:
    """`value`, which must be a list of objects."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(f"'{name}' must be an array of objects")
    return value


# -- items to messages ------------------------------------------------------------------------------------


def decode_input(instructions: Any, given: Any, *, reasoning: bool = True) -> list[Json]:
    """The messages that `instructions` and `input` say; without reasoning where it is of no use.

    Raises RemoteProtocolError (400) for what is no input, and for what no message can say.
    """
    if not isinstance(instructions, (str, type(None))):
        raise invalid("'instructions' must be a string")
    messages: list[Json] = [] if instructions is None else [{"role": "system", "content": instructions}]
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    for item in objects(given, "input"):
        kind = item.get("type", "message")
        if kind == "message":
            _decode_message(messages, item)
        elif kind in ("function_call", "custom_tool_call"):
            _turn(messages).setdefault("tool_calls", []).append(_decode_call(item, custom=kind != "function_call"))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            content = _decode_output(item.get("output"))
            messages.append({"role": "tool", "tool_call_id": _string(item, "call_id"), "content": content})
        elif kind == "item_reference":
            raise refused("'item_reference' needs stored items: send the items themselves, and 'store' as false")
        elif kind != "reasoning":
            raise refused(f"an input item of type '{kind}' cannot be said in a chat")
        elif reasoning:
            _decode_reasoning(messages, item)
    return messages


def _turn(messages: list[Json]) -> Json:
    """The message of the assistant that goes on, or a new one."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    return messages[-1]


def _decode_message(messages: list[Json], item: Json) -> None:
    role, content = _string(item, "role"), item.get("content")
    if isinstance(content, list):
        content = _plain([_decode_part(part) for part in objects(content, "content")])
    elif not isinstance(content, (str, type(None))):
        raise invalid("'content' must be a string or an array of objects")
    if role != "assistant":
        messages.append({"role": role, "content": content})
        return
    turn = _turn(messages)
    before = turn["content"]
    turn["content"] = content if before is None else _as_parts(before) + _as_parts(content)


def _plain(parts: list[Json]) -> Any:
    """A single text as a string, which is what every server reads; it is the usual form of this API's clients."""
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def _as_parts(content: Any) -> list[Json]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _decode_part(part: Json) -> Json:
    kind = str(part.get("type"))
    if kind in _TEXT_PARTS:
        return {"type": "text", "text": _string(part, "text")}
    if kind in _SAME_PARTS and kind in part:
        return {"type": kind, kind: part[kind]}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        detail = {"detail": part["detail"]} if "detail" in part else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"]} | detail}
    if kind == "input_file":
        return {"type": "file", "file": {name: value for name, value in part.items() if name != "type"}}
    raise refused(f"a content part of type '{kind}' cannot be said in a chat")


def _decode_call(item: Json, *, custom: bool) -> Json:
    call_id, name = _string(item, "call_id"), _string(item, "name")
    if custom:
        return {"id": call_id, "type": "custom", "custom": {"name": name, "input": _string(item, "input", "")}}
    arguments = _string(item, "arguments", "")
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _decode_output(output: Any) -> Any:
    """What a tool gave: text, which is all that most servers take, or parts where there is more than text."""
    if isinstance(output, (str, type(None))):
        return output or ""
    parts = [_decode_part(part) for part in objects(output, "output")]
    return "".join(part["text"] for part in parts) if all(part["type"] == "text" for part in parts) else parts


def _decode_reasoning(messages: list[Json], item: Json) -> None:
    """The text that the model thought, or else its summary; with what the vendor wants back, if that is there."""
    text = _joined(item.get("content")) or _joined(item.get("summary"))
    signature = item.get("encrypted_content")
    if not text and not signature:
        return
    turn = _turn(messages)
    if text:
        before = turn.get("reasoning_content")
        turn["reasoning_content"] = before + _PARAGRAPH + text if before else text
    if isinstance(signature, str) and signature:
        turn.setdefault("thinking_blocks", []).append({"text": text, "signature": signature})


def _joined(parts: Any) -> str:
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return _PARAGRAPH.join(text for text in texts if isinstance(text, str) and text)


def _string(item: Json, key: str, default: str | None = None) -> str:
    value = item.get(key)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise invalid(f"'{key}' of '{item.get('type', 'message')}' must be a string")
    return value


# -- messages to items ------------------------------------------------------------------------------------


def encode_input(messages: list[Json]) -> tuple[str | None, list[Json]]:
    """`instructions` and `input`: a first message of the system's that is plain text becomes the instructions."""
    instructions = None
    if messages and messages[0].get("role") == "system" and isinstance(messages[0].get("content"), str):
        instructions, messages = messages[0]["content"], messages[1:]
    items: list[Json] = []
    custom: set[Any] = set()  # ids of calls whose answers are of the other kind too
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "assistant":
            items += _encode_turn(message, custom)
        elif role == "tool":
            call_id = message.get("tool_call_id")
            kind = "custom_tool_call_output" if call_id in custom else "function_call_output"
            items.append({"type": kind, "call_id": call_id, "output": _encode_content(content)})
        elif role == "function":  # the older form, in which an answer has no id but the function's name
            call_id = f"call_{message.get('name')}"
            items.append({"type": "function_call_output", "call_id": call_id, "output": _encode_content(content)})
        else:
            items.append({"type": "message", "role": role, "content": _encode_content(content)})
    return instructions, items


def _encode_turn(message: Json, custom: set[Any]) -> list[Json]:
    items: list[Json] = []
    blocks = message.get("thinking_blocks")
    for block in blocks if isinstance(blocks, list) else ():
        if not isinstance(block, dict):
            continue
        summary = [{"type": "summary_text", "text": block["text"]}] if block.get("text") else []
        items.append({"type": "reasoning", "summary": summary, "encrypted_content": block.get("signature")})
    said = _encode_said(message)
    if said:
        items.append({"type": "message", "role": "assistant", "content": said})
    for call in message.get("tool_calls") or ():
        items.append(_encode_call(call))
        if "custom" in call:
            custom.add(call.get("id"))
    old = message.get("function_call")
    if isinstance(old, dict):
        items.append(_encode_call({"id": f"call_{old.get('name')}", "function": old}))
    return items


def _encode_said(message: Json) -> Any:
    """The text of the assistant's message, as plain as may be, and the refusal."""
    content, refusal = message.get("content"), str(message.get("refusal") or "")
    if isinstance(content, list):
        refusal += "".join(str(part["refusal"]) for part in content if isinstance(part, dict) and part.get("refusal"))
        content = texts_of(content)[0]
    if not refusal:
        return content
    text = [{"type": "output_text", "text": content}] if content else []
    return [*text, {"type": "refusal", "refusal": refusal}]


def _encode_content(content: Any) -> Any:
    if not isinstance(content, list):
        return content or ""
    return [_encode_part(part) for part in content if isinstance(part, dict)]


def _encode_part(part: Json) -> Json:
    kind = part.get("type")
    if kind == "text":
        return {"type": "input_text", "text": part.get("text")}
    if kind == "image_url":
        image = part.get("image_url")
        if not isinstance(image, dict):
            image = {"url": image}  # some clients send the address alone
        detail = {"detail": image["detail"]} if "detail" in image else {}
        return {"type": "input_image", "image_url": image.get("url")} | detail
    if kind == "file" and isinstance(part.get("file"), dict):
        return {"type": "input_file", **part["file"]}
    return part


def _encode_call(call: Json) -> Json:
    said = call.get("custom")
    if isinstance(said, dict):
        tool = {"name": said.get("name"), "input": said.get("input") or ""}
        return {"type": "custom_tool_call", "call_id": call.get("id"), **tool}
    function = call.get("function") or {}
    tool = {"name": function.get("name"), "arguments": function.get("arguments") or "{}"}
    return {"type": "function_call", "call_id": call.get("id"), **tool}
