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
from .openai_request import fields_of, invalid

__all__ = [
    "decode_content",
    "decode_fields",
    "decode_request",
    "encode_content",
    "encode_fields",
    "encode_request",
    "load_reason",
]

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
_DIGIT = re.compile("[1-9]")  # a duration without any, as a number or in Go's words, is none
_DATA_URL = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


# -- neutral to Ollama ------------------------------------------------------------------------------------


def encode_request(request: Request) -> bytes:
    """The request as Ollama reads it. Raises RemoteProtocolError (400) for an image that is not a data URL."""
    fields: dict[str, Any] = {"messages": _encode_messages(request.messages)}
    if request.tools:
        fields["tools"] = [tool for tool in request.tools if isinstance(tool, dict) and tool.get("type") == "function"]
    return jsontext.dumps(encode_fields(request, fields))


def encode_fields(request: Request, own: dict[str, Any]) -> dict[str, Any]:
    """The body with these fields of the endpoint's own; the rest is the same for `/api/chat` and `/api/generate`."""
    fields: dict[str, Any] = {"model": request.model, **own, "stream": request.stream}
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
    return fields | {key: request.extra[key] for key in _TOP_LEVEL if key in request.extra}


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
    text, images = encode_content(message.get("content"))
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


def encode_content(content: Any) -> tuple[str, list[str]]:
    """Text, and images as bare base64. Raises RemoteProtocolError (400) for what is neither."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else "", []
    images = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("file", "input_audio"):
            raise invalid(f"a content part of type '{kind}' cannot be sent to this model", "unsupported_parameter")
        if kind == "image_url":
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
    fields = fields_of(body)
    messages = _decode_messages(_objects(fields.get("messages"), "messages"))
    return decode_fields(fields, messages)._replace(tools=_objects(fields.get("tools"), "tools") or None)


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects, or what stands for an empty one."""
    value = value or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(f"'{name}' must be a list of objects")
    return value


def decode_fields(fields: dict[str, Any], messages: list[dict[str, Any]]) -> Request:
    """The request with these messages; all the rest is the same for `/api/chat` and `/api/generate`."""
    options = fields.get("options") or {}
    if not isinstance(options, dict):
        raise invalid("'options' must be an object")
    think = fields.get("think")
    if not isinstance(think, (bool, str, type(None))):
        raise invalid("'think' must be true, false, or a word")
    sampling = {key: options[key] for key in (*_SAME, "stop") if options.get(key) is not None}
    native = {key: item for key, item in options.items() if key not in (*_SAME, "stop", "num_predict")}
    limit = options.get("num_predict")
    extra = {key: fields[key] for key in _TOP_LEVEL if key in fields}
    return Request(
        model=fields["model"],
        messages=messages,
        stream=fields.get("stream") is not False,
        include_usage=True,
        max_tokens=limit if isinstance(limit, int) and limit >= 0 else None,
        response_format=_decode_format(fields.get("format")),
        reasoning=_EFFORT.get(think, True) if isinstance(think, str) else think,
        options=sampling,
        extra={**extra, "options": native} if native else extra,
    )


def load_reason(request: Request) -> str | None:
    """`load` or `unload` where nothing is asked but that the model be put into memory, or taken out of it: there are no
    messages, or the prompt is empty. Such a request is answered with `encode_load`, and needs no upstream."""
    if request.messages:
        return None
    kept = request.extra.get("keep_alive", True)
    return "load" if _DIGIT.search(str(kept)) or isinstance(kept, bool) else "unload"


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
            given, name = _id_of(message, "tool_call_id"), message.get("tool_name")
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
    content = decode_content(text if isinstance(text, str) else "", message.get("images"))
    decoded: dict[str, Any] = {"role": str(message.get("role", "user")).lower(), "content": content}
    if message.get("thinking"):
        decoded["reasoning_content"] = message["thinking"]
    given = message.get("tool_calls")
    calls = [call for call in given if isinstance(call, dict)] if isinstance(given, list) else []
    if calls:
        decoded["tool_calls"] = [_decode_call(call, f"call_{at}_{index}") for index, call in enumerate(calls)]
    return decoded


def decode_content(text: str, images: Any) -> str | list[dict[str, Any]]:
    """A text and the images beside it, as the content of one message."""
    if not isinstance(images, list) or not images:
        return text
    urls = [f"data:{_image_type(str(image))};base64,{image}" for image in images]
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return parts + [{"type": "image_url", "image_url": {"url": url}} for url in urls]


def _decode_call(call: dict[str, Any], made: str) -> dict[str, Any]:
    function = call.get("function") or {}
    if not isinstance(function, dict):
        raise invalid("'function' of a tool call must be an object")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = jsontext.dumps(arguments or {}).decode()
    return {
        "id": _id_of(call, "id") or made,
        "type": "function",
        "function": {"name": function.get("name", ""), "arguments": arguments},
    }


def _id_of(holder: dict[str, Any], name: str) -> str:
    given = holder.get(name)
    return given if isinstance(given, str) else ""


def _image_type(data: str) -> str:
    """The media type by the first bytes, which base64 shows as fixed letters."""
    for letters, kind in (("iVBOR", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")):
        if data.startswith(letters):
            return kind
    return "image/jpeg"
