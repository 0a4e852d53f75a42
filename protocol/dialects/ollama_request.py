"""Chat requests in Ollama's dialect (`/api/chat`), to and from the neutral `Request`.

Facts: `content` is a string only and images stand beside it as bare
base64; tool arguments are objects; `stop` is a list; `stream` is on unless it is switched off; sampling
fields live in `options`. What Ollama has no word for (`tool_choice`, `n`, `logit_bias`,
`parallel_tool_calls`, remote image URLs) cannot be carried.
"""

from __future__ import annotations

import re
from typing import Any

from .. import jsontext
from ..chat import Request
from .openai_mend import texts_of
from .openai_request import invalid

__all__ = ["decode_request", "encode_request"]

_SAME = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "top_k", "min_p")
_TOP_LEVEL = ("keep_alive", "logprobs", "top_logprobs", "truncate", "shift")
_THINK = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_EFFORT = {"low": "low", "medium": "medium", "high": "high", "max": "max"}
_DATA_URL = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


# -- neutral to Ollama ------------------------------------------------------------------------------------


def encode_request(request: Request) -> bytes:
    """The request as Ollama reads it. Raises RemoteProtocolError (400) for an image that is not a data URL."""
    fields: dict[str, Any] = {
        "model": request.model,
        "messages": _encode_messages(request.messages),
        "stream": request.stream,
    }
    if request.tools:
        fields["tools"] = [tool for tool in request.tools if isinstance(tool, dict) and tool.get("type") == "function"]
    form = request.response_format or {}
    if form.get("type") == "json_object":
        fields["format"] = "json"
    elif form.get("type") == "json_schema":
        fields["format"] = (form.get("json_schema") or {}).get("schema") or "json"
    if request.reasoning is not None:
        effort = request.reasoning
        fields["think"] = effort if isinstance(effort, bool) else _THINK.get(effort, True)
    options = {key: request.options[key] for key in _SAME if key in request.options}
    given = request.extra.get("options")
    options |= given if isinstance(given, dict) else {}
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    stop = request.options.get("stop")
    if stop is not None:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    if options:
        fields["options"] = options
    return jsontext.dumps(fields | {key: request.extra[key] for key in _TOP_LEVEL if key in request.extra})


def _encode_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names: dict[Any, str] = {}  # a tool's answer names its call by id; Ollama wants the tool's name too
    encoded = []
    for message in messages:
        for call in message.get("tool_calls") or ():
            if call.get("id"):
                names[call["id"]] = (call.get("function") or {}).get("name") or ""
        encoded.append(_encode_message(message, names))
    return encoded


def _encode_message(message: dict[str, Any], names: dict[Any, str]) -> dict[str, Any]:
    role = message.get("role")
    text, images = _encode_content(message.get("content"))
    encoded: dict[str, Any] = {
        "role": {"developer": "system", "function": "tool"}.get(str(role), role),
        "content": text,
    }
    if images:
        encoded["images"] = images
    thinking = message.get("reasoning_content") or message.get("reasoning") or message.get("thinking")
    if isinstance(thinking, str):
        encoded["thinking"] = thinking
    if message.get("tool_calls"):
        encoded["tool_calls"] = [_encode_call(call) for call in message["tool_calls"]]
    if encoded["role"] == "tool":
        call_id = message.get("tool_call_id")
        name = message.get("name") or names.get(call_id)
        encoded |= {"tool_name": name} if name else {}
        encoded |= {"tool_call_id": call_id} if call_id else {}
    return encoded


def _encode_content(content: Any) -> tuple[str, list[str]]:
    """Text, and images as bare base64."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else "", []
    images = []
    for part in content:
        if isinstance(part, dict) and part.get("type") == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            found = _DATA_URL.match(url) if isinstance(url, str) else None
            if found is None:
                raise invalid("this model takes images as data URLs (data:image/png;base64,...) only")
            images.append(str(url)[found.end() :])
    return texts_of(content)[0], images


def _encode_call(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments, _ = jsontext.loads(arguments.encode("utf-8", "surrogatepass") or b"{}")
        except (ValueError, RecursionError):
            arguments = {"arguments": arguments}  # a model's own bad JSON, in the history: still readable
    encoded = {"function": {"name": function.get("name", ""), "arguments": arguments or {}}}
    return {"id": call["id"], **encoded} if call.get("id") else encoded


# -- Ollama to neutral ------------------------------------------------------------------------------------


def decode_request(body: bytes) -> Request:
    """What an Ollama client asks for. Raises RemoteProtocolError (400) where the body is no chat request."""
    try:
        value, _ = jsontext.loads(body)
    except (ValueError, RecursionError):
        raise invalid("the body is not valid JSON", "invalid_json") from None
    if not isinstance(value, dict):
        raise invalid("the body must be a JSON object", "not_an_object")
    messages, options = value.get("messages") or [], value.get("options") or {}
    if not isinstance(value.get("model"), str) or not value["model"]:
        raise invalid("'model' must be a non-empty string", "missing_required_parameter")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise invalid("'messages' must be a list of objects")
    if not isinstance(options, dict):
        raise invalid("'options' must be an object")
    think = value.get("think")
    sampling = {key: options[key] for key in (*_SAME, "stop") if options.get(key) is not None}
    native = {key: item for key, item in options.items() if key not in (*_SAME, "stop", "num_predict")}
    limit = options.get("num_predict")
    extra = {key: value[key] for key in _TOP_LEVEL if value.get(key) is not None}
    return Request(
        model=value["model"],
        messages=_decode_messages(messages),
        stream=value.get("stream") is not False,
        include_usage=True,
        max_tokens=limit if isinstance(limit, int) and limit >= 0 else None,
        tools=value.get("tools") or None,
        response_format=_decode_format(value.get("format")),
        reasoning=_EFFORT.get(think, True) if isinstance(think, str) else think,
        options=sampling,
        extra={**extra, "options": native} if native else extra,
    )


def _decode_format(form: Any) -> dict[str, Any] | None:
    if form == "json":
        return {"type": "json_object"}
    if isinstance(form, dict):
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form}}
    return None


def _decode_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ollama's tool calls may come without ids and are answered in their order; OpenAI's answers name an id."""
    open_calls: list[tuple[str, str]] = []  # name and id of calls that were not answered yet
    decoded = []
    for at, message in enumerate(messages):
        new = _decode_message(message, at)
        open_calls += [(call["function"]["name"], call["id"]) for call in new.get("tool_calls", ())]
        if new["role"] == "tool":
            given, name = message.get("tool_call_id"), message.get("tool_name")
            call = next(
                (call for call in open_calls if call[1] == given or (not given and name in (None, call[0]))), None
            )
            if call is not None:
                open_calls.remove(call)
            new["tool_call_id"] = given or (call[1] if call else f"call_{at}")
        decoded.append(new)
    return decoded


def _decode_message(message: dict[str, Any], at: int) -> dict[str, Any]:
    text = message.get("content")
    content: Any = text if isinstance(text, str) else ""
    images = message.get("images")
    if isinstance(images, list) and images:
        urls = [f"data:{_image_type(str(image))};base64,{image}" for image in images]
        content = [{"type": "text", "text": content}] if content else []
        content += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    decoded: dict[str, Any] = {"role": str(message.get("role", "user")).lower(), "content": content}
    if message.get("thinking"):
        decoded["reasoning_content"] = message["thinking"]
    calls = [call for call in message.get("tool_calls") or () if isinstance(call, dict)]
    if calls:
        decoded["tool_calls"] = [_decode_call(call, f"call_{at}_{index}") for index, call in enumerate(calls)]
    return decoded


def _decode_call(call: dict[str, Any], made: str) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = jsontext.dumps(arguments or {}).decode()
    return {
        "id": call.get("id") or made,
        "type": "function",
        "function": {"name": function.get("name", ""), "arguments": arguments},
    }


def _image_type(data: str) -> str:
    """The media type by the first bytes, which base64 shows as fixed letters."""
    for letters, kind in (("iVBOR", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")):
        if data.startswith(letters):
            return kind
    return "image/jpeg"
