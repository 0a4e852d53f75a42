"""Requests in Anthropic's dialect (`/v1/messages`), to and from the neutral `Request`.

Facts: `max_tokens` is required, and a model's own maximum is an error to exceed; sampling goes without
`presence_penalty` and its like, temperature ends at 1, and since version 2026-10-21 there is no sampling at all.
Reasoning is asked for with a budget of tokens, by newer models with an effort; it excludes sampling and forced
tools, and it needs the reasoning of the same round of tools back.

What has no neutral meaning (cache control, tools that the vendor runs, containers) is not carried to another
dialect; an OpenAI client may send such fields by their own names, and they reach Anthropic as they are.
"""

from __future__ import annotations

import re
from typing import Any

from .. import jsontext
from ..chat import Request
from .anthropic_messages import decode_messages, encode_messages, have_thoughts, may_think
from .anthropic_parts import objects, refuse
from .openai_request import fields_of, invalid

__all__ = ["DEFAULT_VERSION", "decode_request", "encode_request"]

Json = dict[str, Any]

DEFAULT_VERSION = "2023-06-01"
"""What `anthropic-version` is unless it is configured."""

_WITHOUT_SAMPLING = "2026-10-21"  # versions are dates, and compare as such
_OWN = ("thinking", "output_config", "container", "mcp_servers", "inference_geo", "speed")
_LIMITS = (  # of what a model may write, by how its name begins; a smaller default only cuts answers short
    ("claude-2", 4096),
    ("claude-instant", 4096),
    ("claude-3-opus", 4096),
    ("claude-3-sonnet", 4096),
    ("claude-3-haiku", 4096),
    ("claude-3-5", 8192),
    ("claude-", 32000),
)
_OTHER_LIMIT = 8192
_MODEL = re.compile(r"claude-[a-z]+-(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_ADAPTIVE_SINCE = (4, 6)

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 31999}
_LEAST_BUDGET = 1024
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_TOOL_CHOICES = {"auto": "auto", "required": "any", "any": "any", "none": "none"}


# -- neutral to Anthropic ---------------------------------------------------------------------------------


def encode_request(request: Request, *, version: str = DEFAULT_VERSION) -> bytes:
    """The request as Anthropic reads it, by the rules of `version`. Raises RemoteProtocolError (400) for what cannot
    be asked of it."""
    if request.extra.get("n") not in (None, 1):
        raise refuse("this model gives one choice ('n' must be 1)")
    system, turns = encode_messages(request.messages)
    limit = _limit(request.model) if request.max_tokens is None else _integer(request.max_tokens)
    fields: Json = {"model": request.model, "max_tokens": limit, "messages": turns}
    if system:
        plain = len(system) == 1 and len(system[0]) == 2
        fields["system"] = system[0]["text"] if plain else system
    if request.stream:
        fields["stream"] = True
    fields |= {key: request.extra[key] for key in _OWN if key in request.extra}
    fields |= _encode_tools(request)
    if isinstance(request.extra.get("user"), str):
        fields["metadata"] = {"user_id": request.extra["user"]}
    stops = request.options.get("stop")
    stops = [stop for stop in (stops if isinstance(stops, list) else [stops]) if isinstance(stop, str) and stop.strip()]
    if stops:
        fields["stop_sequences"] = stops
    fields |= _encode_reasoning(request, fields, turns)
    if have_thoughts(turns) and not _thinks(fields):
        fields["messages"] = encode_messages(request.messages, thoughts=False)[1]
    schema = ((request.response_format or {}).get("json_schema") or {}).get("schema")
    if isinstance(schema, dict):
        form = {"type": "json_schema", "schema": schema}
        fields["output_config"] = {**_object(fields.get("output_config")), "format": form}
    return jsontext.dumps(fields | _encode_sampling(request, fields, version))


def _limit(model: str) -> int:
    name = model[max(model.find("claude-"), 0) :]  # routers and clouds put words before it
    return next((limit for start, limit in _LIMITS if name.startswith(start)), _OTHER_LIMIT)


def _integer(limit: Any) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise invalid("'max_tokens' must be an integer")
    return limit


def _encode_tools(request: Request) -> Json:
    functions = [(tool, tool["function"]) for tool in objects(request.tools) if isinstance(tool.get("function"), dict)]
    if not functions:
        return {}
    fields: Json = {"tools": [_encode_tool(tool, function) for tool, function in functions]}
    choice = request.tool_choice
    made: Json = {}
    if isinstance(choice, str) and choice in _TOOL_CHOICES:
        made = {"type": _TOOL_CHOICES[choice]}
    elif isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        made = {"type": "tool", "name": choice["function"].get("name")}
    if request.extra.get("parallel_tool_calls") is False and made.get("type") != "none":
        made = {"type": "auto", **made, "disable_parallel_tool_use": True}
    return {**fields, "tool_choice": made} if made else fields


def _encode_tool(tool: Json, function: Json) -> Json:
    schema = function.get("parameters")
    made: Json = {"name": function.get("name")}
    if isinstance(function.get("description"), str) and function["description"]:
        made["description"] = function["description"]
    made["input_schema"] = {"type": "object", **schema} if isinstance(schema, dict) else {"type": "object"}
    marked = tool.get("cache_control") or function.get("cache_control")
    return {**made, "cache_control": marked} if isinstance(marked, dict) else made


def _encode_reasoning(request: Request, fields: Json, turns: list[Json]) -> Json:
    """How to ask for reasoning. Where it cannot be had with the rest of the request, the rest goes first."""
    effort, limit = request.reasoning, fields["max_tokens"]
    version = _MODEL.search(request.model)
    adaptive = version is not None and (int(version[1]), int(version[2] or 0)) >= _ADAPTIVE_SINCE
    if effort in (False, "none"):
        return {"thinking": {"type": "disabled"}} if adaptive and "thinking" not in fields else {}
    forced = fields.get("tool_choice", {}).get("type") in ("any", "tool")
    if effort is None or "thinking" in fields or forced or not may_think(turns):
        return {}
    effort = effort if isinstance(effort, str) else "medium"
    if adaptive:
        config = {"effort": _EFFORTS.get(effort, "medium"), **_object(fields.get("output_config"))}
        return {"thinking": {"type": "adaptive"}, "output_config": config}
    budget = min(_BUDGETS.get(effort, _BUDGETS["medium"]), max(limit // 2, _LEAST_BUDGET))
    return {"thinking": {"type": "enabled", "budget_tokens": budget}} if budget < limit else {}


def _thinks(fields: Json) -> bool:
    return _object(fields.get("thinking")).get("type") not in (None, "disabled")


def _encode_sampling(request: Request, fields: Json, version: str) -> Json:
    if version >= _WITHOUT_SAMPLING or _thinks(fields):
        return {}
    found = {key: request.options[key] for key in ("temperature", "top_p", "top_k") if key in request.options}
    warmth = found.get("temperature")
    if isinstance(warmth, (int, float)):
        found["temperature"] = min(max(warmth, 0), 1)
    return found


# -- Anthropic to neutral ---------------------------------------------------------------------------------


def decode_request(body: bytes) -> Request:
    """What an Anthropic client asks for. Raises RemoteProtocolError (400) where the body is no such request."""
    fields = fields_of(body)
    _check(fields)
    options: Json = {key: fields[key] for key in ("temperature", "top_p", "top_k") if key in fields}
    if fields.get("stop_sequences"):
        options["stop"] = fields["stop_sequences"]
    choice, metadata = _object(fields.get("tool_choice")), _object(fields.get("metadata"))
    extra: Json = {"user": metadata["user_id"]} if isinstance(metadata.get("user_id"), str) else {}
    if choice.get("disable_parallel_tool_use") is True:
        extra["parallel_tool_calls"] = False
    tools = [_decode_tool(tool) for tool in fields.get("tools", ()) if tool.get("type", "custom") in ("custom", None)]
    return Request(
        model=fields["model"],
        messages=decode_messages(fields.get("system"), fields["messages"]),
        stream=fields.get("stream") is True,
        include_usage=True,
        max_tokens=fields.get("max_tokens"),
        tools=tools or None,
        tool_choice=_decode_choice(choice) if tools else None,
        response_format=_decode_format(fields),
        reasoning=_decode_reasoning(fields),
        options=options,
        extra=extra,
    )


def _check(fields: Json) -> None:
    for name, required in (("messages", True), ("tools", False)):
        items = fields.get(name, None if required else [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise invalid(
                f"'{name}' must be a list of objects", "missing_required_parameter" if required else "invalid_value"
            )
    _integer(fields.get("max_tokens", 0))
    if not isinstance(fields.get("stop_sequences", []), list):
        raise invalid("'stop_sequences' must be a list")


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _decode_tool(tool: Json) -> Json:
    function = {"name": tool.get("name"), "parameters": tool.get("input_schema") or {"type": "object"}}
    if tool.get("description"):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _decode_choice(choice: Json) -> Any:
    if choice.get("type") == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return {"auto": "auto", "any": "required", "none": "none"}.get(str(choice.get("type")))


def _decode_format(fields: Json) -> Json | None:
    form = _object(_object(fields.get("output_config")).get("format"))
    if form.get("type") != "json_schema":
        return None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form.get("schema")}}


def _decode_reasoning(fields: Json) -> str | bool | None:
    """An effort, where one was named or a budget stands for it. Reasoning that is switched off is not mentioned:
    many servers reject the very word."""
    thinking, effort = _object(fields.get("thinking")), _object(fields.get("output_config")).get("effort")
    if thinking.get("type") == "disabled":
        return None
    if isinstance(effort, str):
        return effort
    if thinking.get("type") == "enabled" and isinstance(thinking.get("budget_tokens"), int):
        fitting = [word for word, budget in _BUDGETS.items() if budget <= thinking["budget_tokens"]]
        return fitting[-1] if fitting else "minimal"
    return True if thinking.get("type") in ("enabled", "adaptive", "between_tools") else None
