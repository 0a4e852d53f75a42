"""Requests in OpenAI's Responses API, to and from the neutral `Request`; and said as a chat request.

What both APIs know under other names or in other shapes (`input`, flat tools, `text.format`, `reasoning.effort`,
`max_output_tokens`) is said in the neutral form; fields that both write alike (`metadata`, `user`,
`parallel_tool_calls` ...) are in `extra`, and so is what only this API has: `include`, `truncation`, the rest of
`reasoning`, and `previous_response_id`, `conversation` and `background`, of which a server that stores nothing
has to say that it cannot. Tools that the vendor runs are in `extra` too, as `hosted_tools`: no model elsewhere
could be given them, and clients such as Codex offer them to every model.

`to_chat` is for clients that post such bodies to `/chat/completions` and expect chat chunks back. There, what
would change the answer and cannot be said is refused by name.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Request
from .openai_request import OPTIONS, fields_of, invalid
from .responses_input import decode_input, encode_input, objects, refused

__all__ = ["decode_request", "encode_request", "to_chat"]

Json = dict[str, Any]

_NEUTRAL = frozenset(
    (
        *("model", "input", "instructions", "stream", "stream_options", "max_output_tokens"),
        *("tools", "tool_choice", "text", "reasoning"),
    )
)
_STORED = ("previous_response_id", "conversation", "prompt")
_ALIKE = frozenset(
    (
        *("metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("safety_identifier", "service_tier", "store", "top_logprobs", "user"),
    )
)
_OWN = frozenset((*_STORED, "background", "context_management", "include", "max_tool_calls", "truncation"))
_LEFT_OUT = frozenset({"input", "instructions", "include", "truncation", "background", "text", "reasoning", "tools"})


# -- Responses to neutral ---------------------------------------------------------------------------------


def decode_request(body: bytes) -> Request:
    """What the client asks for. Raises RemoteProtocolError (400) where the body is no request of this API."""
    fields = fields_of(body)
    if "input" not in fields:
        raise invalid("'input' must be a string or an array of objects", "missing_required_parameter")
    text, reasoning = _object(fields, "text"), _object(fields, "reasoning")
    tools = objects(fields.get("tools") or [], "tools")
    extra = {key: item for key, item in fields.items() if key not in _NEUTRAL and key not in OPTIONS}
    extra |= _rest("reasoning", reasoning, "effort") | _rest("text", text, "format", "verbosity")
    extra |= {"verbosity": text["verbosity"]} if "verbosity" in text else {}
    hosted = [tool for tool in tools if not _is_own(tool)]
    return Request(
        model=fields["model"],
        messages=decode_input(fields.get("instructions"), fields["input"]),
        stream=fields.get("stream") is True,
        include_usage=True,
        max_tokens=fields.get("max_output_tokens"),
        tools=[_decode_tool(tool) for tool in tools if _is_own(tool)] or None,
        tool_choice=_decode_choice(fields.get("tool_choice")),
        response_format=_decode_format(text.get("format")),
        reasoning=_effort(reasoning),
        options={key: fields[key] for key in OPTIONS if key in fields},
        extra=extra | ({"hosted_tools": hosted} if hosted else {}),
    )


def _object(fields: Json, name: str) -> Json:
    """A member that is an object, without what is null in it."""
    value = fields.get(name, {})
    if not isinstance(value, dict):
        raise invalid(f"'{name}' must be an object")
    return {key: item for key, item in value.items() if item is not None}


def _rest(name: str, value: Json, *said: str) -> Json:
    """What of an object is not said elsewhere, under the object's own name."""
    rest = {key: item for key, item in value.items() if key not in said}
    return {name: rest} if rest else {}


def _effort(reasoning: Json) -> str | None:
    effort = reasoning.get("effort")
    if not isinstance(effort, (str, type(None))):
        raise invalid("'reasoning.effort' must be a string")
    return effort


def _is_own(tool: Json) -> bool:
    """Whether the client runs this tool, and not the vendor."""
    return tool.get("type") in ("function", "custom")


def _decode_tool(tool: Json) -> Json:
    kind = str(tool["type"])
    if kind in tool:
        return tool  # in a chat's form already, as some clients send it
    said = {name: value for name, value in tool.items() if name != "type" and value is not None}
    form = said.get("format")
    if kind == "custom" and isinstance(form, dict) and form.get("type") == "grammar":
        said["format"] = {"type": "grammar", "grammar": {k: v for k, v in form.items() if k != "type"}}
    return {"type": kind, kind: said}


def _decode_choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    kind, said = choice.get("type"), {name: value for name, value in choice.items() if name != "type"}
    if kind in ("function", "custom") and kind not in choice:
        return {"type": kind, kind: said}
    if kind == "allowed_tools" and kind not in choice:
        said["tools"] = [_decode_choice(tool) for tool in objects(said.get("tools"), "tool_choice.tools")]
        return {"type": kind, kind: said}
    return choice


def _decode_format(form: Any) -> Json | None:
    if not isinstance(form, (dict, type(None))):
        raise invalid("'text.format' must be an object")
    if form is None or form.get("type") != "json_schema":
        return form
    return {"type": "json_schema", "json_schema": {name: value for name, value in form.items() if name != "type"}}


# -- neutral to Responses ---------------------------------------------------------------------------------


def encode_request(request: Request) -> bytes:
    """The request as a Responses server reads it. Raises RemoteProtocolError (400) for more than one choice."""
    extra = request.extra
    if extra.get("n") not in (None, 1):
        raise invalid("this model gives one choice: 'n' must be 1")
    instructions, items = encode_input(request.messages)
    hosted, reasoning, text = extra.get("hosted_tools"), extra.get("reasoning"), extra.get("text")
    tools = [tool for tool in map(_encode_tool, request.tools or ()) if tool]
    tools += hosted if isinstance(hosted, list) else []
    reasoning = dict(reasoning) if isinstance(reasoning, dict) else {}
    if request.reasoning is not None:
        effort = request.reasoning
        reasoning["effort"] = {True: "medium", False: "none"}[effort] if isinstance(effort, bool) else effort
    text = dict(text) if isinstance(text, dict) else {}
    if request.response_format is not None:
        text["format"] = _encode_format(request.response_format)
    if "verbosity" in extra:
        text["verbosity"] = extra["verbosity"]
    optional = {
        "instructions": instructions,
        "stream": request.stream or None,
        "max_output_tokens": request.max_tokens,
        "tools": tools or None,
        "tool_choice": _encode_choice(request.tool_choice) if tools else None,
        "reasoning": reasoning or None,
        "text": text or None,
        "temperature": request.options.get("temperature"),
        "top_p": request.options.get("top_p"),
    }
    fields: Json = {"model": request.model, "input": items}
    fields |= {name: value for name, value in optional.items() if value is not None}
    fields |= {key: item for key, item in extra.items() if key in _ALIKE or key in _OWN}
    # A chat of which nothing is said is not kept, an answer of this API is.
    return jsontext.dumps({"store": False, **fields})


def _encode_tool(tool: Json) -> Json | None:
    """One tool, flat. `strict` is said, for here its absence means true, and in a chat false."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    said = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(said, dict):
        return None
    flat: Json = {"type": kind, **said}
    if kind == "function":
        nothing = {"type": "object", "properties": {}}
        return {**flat, "parameters": said.get("parameters") or nothing, "strict": said.get("strict") or False}
    form = said.get("format")
    if isinstance(form, dict) and isinstance(form.get("grammar"), dict):
        flat["format"] = {"type": "grammar", **form["grammar"]}
    return flat


def _encode_choice(choice: Any) -> Any:
    kind = choice.get("type") if isinstance(choice, dict) else None
    said = choice.get(kind) if kind in ("function", "custom", "allowed_tools") else None
    if not isinstance(said, dict):
        return choice
    flat = {"type": kind, **said}
    if isinstance(flat.get("tools"), list):
        flat["tools"] = [_encode_choice(tool) for tool in flat["tools"]]
    return flat


def _encode_format(form: Json) -> Json:
    schema = form.get("json_schema")
    return {"type": "json_schema", **schema} if isinstance(schema, dict) else form


# -- Responses to chat ------------------------------------------------------------------------------------


def to_chat(body: Json) -> Json:
    """The chat request that means the same. Raises RemoteProtocolError (400) for what has no such meaning.

    Left out, because the answer to the question does not depend on it: `include`, which asks for more to be told;
    `background` where it is false; of `reasoning`, all but `effort`; reasoning items of earlier turns, which are
    of use only to the API that wrote them.
    """
    for name in (*_STORED, "background"):
        if body.get(name):
            raise refused(f"'{name}' cannot be used with chat completions")
    if body.get("truncation") not in (None, "disabled"):
        raise refused("'truncation' cannot be used with chat completions: send the items that are meant")
    chat = {name: value for name, value in body.items() if name not in _LEFT_OUT and name not in _STORED}
    chat["messages"] = decode_input(body.get("instructions"), body["input"], reasoning=False)
    if "max_output_tokens" in chat:
        chat["max_completion_tokens"] = chat.pop("max_output_tokens")
    if "tool_choice" in chat:
        chat["tool_choice"] = _decode_choice(chat["tool_choice"])
    tools = objects(body.get("tools") or [], "tools")
    for tool in tools:
        if not _is_own(tool):
            raise refused(f"a tool of type '{tool.get('type')}' cannot be used with chat completions")
    text = _object(body, "text") if body.get("text") else {}
    effort = _effort(_object(body, "reasoning")) if body.get("reasoning") else None
    optional = {
        "tools": [_decode_tool(tool) for tool in tools],
        "reasoning_effort": effort,
        "verbosity": text.get("verbosity"),
        "response_format": _decode_format(text.get("format")),
    }
    return chat | {name: value for name, value in optional.items() if value}
