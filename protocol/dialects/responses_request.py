"""A request in the form of OpenAI's Responses API, said as a chat request.

Some clients post such bodies to `/chat/completions` and expect chat chunks back. What both forms have passes
as it is; what only the other has (stored conversations, tools that the vendor runs) cannot be said in a chat
and is refused by name, and so is whatever else would change what is asked.

Left out, because the answer to the question does not depend on it: `include`, which asks for more to be told;
`background` where it is false; of `reasoning`, all but `effort`; reasoning items of earlier turns, which are of
use only to the API that wrote them. Fields that both forms know, `store` and `metadata` among them, are kept.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import RemoteProtocolError

__all__ = ["to_chat"]

Json = dict[str, Any]

_UNSUPPORTED = ("previous_response_id", "conversation", "prompt")
_LEFT_OUT = frozenset({"input", "instructions", "include", "truncation", "background", "text", "reasoning", "tools"})
_TEXT_PARTS = frozenset({"input_text", "output_text", "text"})


def to_chat(body: Json) -> Json:
    """The chat request that means the same. Raises RemoteProtocolError (400) for what has no such meaning."""
    for name in _UNSUPPORTED:
        if body.get(name) is not None:
            raise _refuse(f"'{name}' cannot be used with chat completions")
    if body.get("background"):
        raise _refuse("'background' cannot be used with chat completions")
    if body.get("truncation") not in (None, "disabled"):
        raise _refuse("'truncation' cannot be used with chat completions: send the items that are meant")
    chat = {name: value for name, value in body.items() if name not in _LEFT_OUT and name not in _UNSUPPORTED}
    chat["messages"] = _messages(body.get("instructions"), body["input"])
    if "max_output_tokens" in chat:
        chat["max_completion_tokens"] = chat.pop("max_output_tokens")
    if isinstance(body.get("reasoning"), dict) and body["reasoning"].get("effort"):
        chat["reasoning_effort"] = body["reasoning"]["effort"]
    if body.get("tools"):
        chat["tools"] = [_tool(tool) for tool in _objects(body["tools"], "tools")]
    if isinstance(body.get("text"), dict):
        chat |= _text_settings(body["text"])
    if isinstance(chat.get("tool_choice"), dict) and chat["tool_choice"].get("type") == "function":
        chat["tool_choice"] = {"type": "function", "function": {"name": chat["tool_choice"].get("name")}}
    return chat


def _messages(instructions: Any, given: Any) -> list[Json]:
    if not isinstance(instructions, (str, type(None))):
        raise _refuse("'instructions' must be a string")
    messages: list[Json] = [] if instructions is None else [{"role": "system", "content": instructions}]
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    for item in _objects(given, "input"):
        kind = item.get("type", "message")
        if kind == "message":
            messages.append({"role": item.get("role"), "content": _content(item.get("content"))})
        elif kind == "function_call":
            call = {"name": item.get("name"), "arguments": item.get("arguments") or ""}
            _calling(messages).append({"id": item.get("call_id"), "type": "function", "function": call})
        elif kind == "function_call_output":
            output = item.get("output")
            text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": text})
        elif kind != "reasoning":
            raise _refuse(f"an input item of type '{kind}' cannot be said in a chat")
    return messages


def _calling(messages: list[Json]) -> list[Json]:
    """The tool calls of the last turn; calls that follow each other are one turn of the assistant."""
    if not messages or messages[-1]["role"] != "assistant" or "tool_calls" not in messages[-1]:
        messages.append({"role": "assistant", "content": None, "tool_calls": []})
    calls: list[Json] = messages[-1]["tool_calls"]
    return calls


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [_part(part) for part in _objects(content, "content")]


def _part(part: Json) -> Json:
    kind = part.get("type")
    if kind in _TEXT_PARTS:
        return {"type": "text", "text": part.get("text")}
    if kind == "refusal":
        return part
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"]}
        return {"type": "image_url", "image_url": image | ({"detail": part["detail"]} if "detail" in part else {})}
    if kind == "input_file":
        return {"type": "file", "file": {name: value for name, value in part.items() if name != "type"}}
    raise _refuse(f"a content part of type '{kind}' cannot be said in a chat")


def _tool(tool: Json) -> Json:
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        raise _refuse(f"a tool of type '{kind}' cannot be used with chat completions")
    if kind in tool or kind == "custom":
        return tool
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _text_settings(text: Json) -> Json:
    settings: Json = {"verbosity": text["verbosity"]} if "verbosity" in text else {}
    wanted = text.get("format")
    if isinstance(wanted, dict):
        schema = {name: value for name, value in wanted.items() if name != "type"}
        settings["response_format"] = (
            {"type": "json_schema", "json_schema": schema} if wanted.get("type") == "json_schema" else wanted
        )
    return settings


def _objects(value: Any, name: str) -> list[Json]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _refuse(f"'{name}' must be an array of objects")
    return value


def _refuse(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, kind="unsupported_parameter", status=400)
