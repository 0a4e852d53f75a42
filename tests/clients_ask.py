"""Requests as the clients of each dialect write them, and as the servers read them: for tests that compare dialects.

`request` writes an `Asked` in a dialect; `asked` reads one back, strictly. Neither knows penstock. A turn of the
conversation is `("user", text, image)`, `("assistant", text, calls)` or `("tool", id, text)`; a call is id, name and
arguments.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

__all__ = ["CAN_SAY", "IMAGE", "Asked", "as_asked_by", "asked", "request"]

Json = dict[str, Any]

IMAGE = "iVBORw0KGgo="
TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {"x": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CAN_SAY = {
    "openai": {"choice", "stop", "seed", "top_p", "user", "serial"},
    "responses": {"choice", "top_p", "user", "serial"},
    "ollama": {"stop", "seed", "top_p"},
    "anthropic": {"choice", "stop", "top_p", "user", "serial"},
}
"""Fields of an `Asked` that are not known everywhere."""


class Asked(NamedTuple):
    """What a client asks for. `schema`, `tools`: whether the one of this file is there. `serial`: one call at most."""

    turns: tuple[Any, ...]
    system: str = ""
    stream: bool = True
    limit: int | None = 100
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    tools: bool = False
    choice: str | None = None
    serial: bool = False
    schema: bool = False
    effort: str | None = None
    user: str | None = None


def as_asked_by(dialect: str, asked: Asked) -> Asked:
    """What is left where a dialect has no words for all of it."""
    nothing = Asked(())
    left = {name: getattr(nothing, name) for name in ("choice", "stop", "seed", "top_p", "user", "serial")}
    made = asked._replace(**{name: value for name, value in left.items() if name not in CAN_SAY[dialect]})
    # Anthropic refuses a sequence of white space only.
    return made._replace(stop=tuple(filter(str.strip, made.stop))) if dialect == "anthropic" else made


def request(dialect: str, asked: Asked) -> bytes:
    """The body of a request."""
    fields: Json = {"model": "m", **_WRITE[dialect](asked)}
    return json.dumps({name: value for name, value in fields.items() if value not in (None, [], {})}).encode()


def asked(dialect: str, body: bytes) -> Asked:
    """What a server reads; raises AssertionError or KeyError where it would refuse."""
    value = json.loads(body)
    assert value["model"] == "m"
    assert None not in value.values()
    return _READ[dialect](value)  # type: ignore[no-any-return]


def _arguments(text: str) -> Any:
    assert isinstance(text, str)
    return json.loads(text)


# -- openai -----------------------------------------------------------------------------------------------


def _write_openai(asked: Asked) -> Json:
    messages: list[Json] = [{"role": "system", "content": asked.system}] if asked.system else []
    for turn in asked.turns:
        match turn:
            case ("user", text, image):
                url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
                content = [{"type": "text", "text": text}, url] if image else text
                messages.append({"role": "user", "content": content})
            case ("assistant", text, calls):
                made = [
                    {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                    for id, name, arguments in calls
                ]
                messages.append(
                    {"role": "assistant", "content": text or None, **({"tool_calls": made} if made else {})}
                )
            case ("tool", id, text):
                messages.append({"role": "tool", "tool_call_id": id, "content": text})
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    return {
        "messages": messages,
        "stream": asked.stream or None,
        "max_completion_tokens": asked.limit,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "seed": asked.seed,
        "stop": list(asked.stop),
        "tools": [{"type": "function", "function": TOOL}] if asked.tools else None,
        "tool_choice": _named(asked.choice, lambda name: {"type": "function", "function": {"name": name}}),
        "parallel_tool_calls": False if asked.serial else None,
        "response_format": form if asked.schema else None,
        "reasoning_effort": asked.effort,
        "user": asked.user,
    }


def _named(choice: str | None, named: Any) -> Any:
    """`auto` and its like are words; any other choice is a tool's name."""
    return choice if choice in (None, "auto", "none", "required") else named(choice)


def _read_openai(value: Json) -> Asked:
    messages = value["messages"]
    system = messages.pop(0)["content"] if messages[0]["role"] == "system" else ""
    turns = []
    for message in messages:
        content, image = message["content"], ""
        if isinstance(content, list):
            (text, url) = content
            content, image = text["text"], url["image_url"]["url"].removeprefix("data:image/png;base64,")
        match message["role"]:
            case "user":
                turns.append(("user", content, image))
            case "assistant":
                functions = [(call["id"], call["function"]) for call in message.get("tool_calls", ())]
                calls = tuple((id, said["name"], _arguments(said["arguments"])) for id, said in functions)
                turns.append(("assistant", content or "", calls))
            case "tool":
                turns.append(("tool", message["tool_call_id"], content))
    form, choice = value.get("response_format"), value.get("tool_choice")
    assert form is None or form["json_schema"] == {"name": "answer", "schema": SCHEMA}
    assert "tools" not in value or [tool["function"] | {"type": tool["type"]} for tool in value["tools"]] == [
        TOOL | {"type": "function"}
    ]
    return Asked(
        tuple(turns),
        system,
        stream=value.get("stream", False),
        limit=value.get("max_tokens"),
        temperature=value.get("temperature"),
        top_p=value.get("top_p"),
        seed=value.get("seed"),
        stop=tuple(value.get("stop", ())),
        tools="tools" in value,
        choice=choice["function"]["name"] if isinstance(choice, dict) else choice,
        serial=value.get("parallel_tool_calls") is False,
        schema=form is not None,
        effort=value.get("reasoning_effort"),
        user=value.get("user"),
    )


# -- responses --------------------------------------------------------------------------------------------


def _write_responses(asked: Asked) -> Json:
    items: list[Json] = []
    for turn in asked.turns:
        match turn:
            case ("user", text, image):
                parts: list[Json] = [{"type": "input_text", "text": text}]
                parts += [{"type": "input_image", "image_url": f"data:image/png;base64,{image}"}] if image else []
                items.append({"type": "message", "role": "user", "content": parts if image else text})
            case ("assistant", text, calls):
                items += [{"role": "assistant", "content": [{"type": "output_text", "text": text}]}] if text else []
                for id, name, arguments in calls:
                    call = {"type": "function_call", "call_id": id, "name": name}
                    items.append({**call, "arguments": json.dumps(arguments)})
            case ("tool", id, text):
                items.append({"type": "function_call_output", "call_id": id, "output": text})
    form = {"type": "json_schema", "name": "answer", "schema": SCHEMA}
    return {
        "instructions": asked.system or None,
        "input": items,
        "stream": asked.stream or None,
        "max_output_tokens": asked.limit,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "tools": [{"type": "function", **TOOL}] if asked.tools else None,
        "tool_choice": _named(asked.choice, lambda name: {"type": "function", "name": name}),
        "parallel_tool_calls": False if asked.serial else None,
        "text": {"format": form} if asked.schema else None,
        "reasoning": {"effort": asked.effort} if asked.effort else None,
        "user": asked.user,
    }


def _read_responses(value: Json) -> Asked:
    assert value["store"] is False
    turns: list[Any] = []
    for item in value["input"]:
        match item["type"]:
            case "message" if item["role"] == "assistant":
                text = item["content"]
                turns.append(("assistant", text if isinstance(text, str) else text[0]["text"], ()))
            case "message":
                content, image = item["content"], ""
                if isinstance(content, list):
                    (text, url) = content
                    assert (text["type"], url["type"]) == ("input_text", "input_image")
                    content, image = text["text"], url["image_url"].removeprefix("data:image/png;base64,")
                turns.append((item["role"], content, image))
            case "function_call":
                if turns[-1][0] != "assistant":
                    turns.append(("assistant", "", ()))
                call = (item["call_id"], item["name"], _arguments(item["arguments"]))
                turns[-1] = (*turns[-1][:2], (*turns[-1][2], call))
            case "function_call_output":
                turns.append(("tool", item["call_id"], item["output"]))
    form, choice = (value.get("text") or {}).get("format"), value.get("tool_choice")
    assert form is None or form == {"type": "json_schema", "name": "answer", "schema": SCHEMA}
    assert value.get("tools", [None])[0] in (None, {"type": "function", **TOOL, "strict": False})
    return Asked(
        tuple(turns),
        value.get("instructions", ""),
        stream=value.get("stream", False),
        limit=value.get("max_output_tokens"),
        temperature=value.get("temperature"),
        top_p=value.get("top_p"),
        tools="tools" in value,
        choice=choice["name"] if isinstance(choice, dict) else choice,
        serial=value.get("parallel_tool_calls") is False,
        schema=form is not None,
        effort=(value.get("reasoning") or {}).get("effort"),
        user=value.get("user"),
    )


# -- ollama -----------------------------------------------------------------------------------------------


def _write_ollama(asked: Asked) -> Json:
    messages: list[Json] = [{"role": "system", "content": asked.system}] if asked.system else []
    names: dict[str, str] = {}
    for turn in asked.turns:
        match turn:
            case ("user", text, image):
                messages.append({"role": "user", "content": text, **({"images": [image]} if image else {})})
            case ("assistant", text, calls):
                names |= {id: name for id, name, _ in calls}
                made = [{"id": id, "function": {"name": name, "arguments": given}} for id, name, given in calls]
                messages.append({"role": "assistant", "content": text, **({"tool_calls": made} if made else {})})
            case ("tool", id, text):
                messages.append({"role": "tool", "tool_name": names[id], "content": text})
    options = {"num_predict": asked.limit, "temperature": asked.temperature, "top_p": asked.top_p}
    options |= {"seed": asked.seed, "stop": list(asked.stop) or None}
    return {
        "messages": messages,
        "stream": None if asked.stream else False,
        "options": {name: value for name, value in options.items() if value is not None},
        "tools": [{"type": "function", "function": TOOL}] if asked.tools else None,
        "format": SCHEMA if asked.schema else None,
        "think": asked.effort,
    }


def _read_ollama(value: Json) -> Asked:
    messages, options = value["messages"], value.get("options", {})
    system = messages.pop(0)["content"] if messages[0]["role"] == "system" else ""
    turns: list[Any] = []
    for message in messages:
        assert isinstance(message["content"], str)
        match message["role"]:
            case "user":
                (image,) = message.get("images", [""])
                turns.append(("user", message["content"], image))
            case "assistant":
                functions = [(call["id"], call["function"]) for call in message.get("tool_calls", ())]
                assert all(isinstance(said["arguments"], dict) for _, said in functions)
                calls = tuple((id, said["name"], said["arguments"]) for id, said in functions)
                turns.append(("assistant", message["content"], calls))
            case "tool":
                assert message["tool_name"] == "look"
                turns.append(("tool", message["tool_call_id"], message["content"]))
    assert "tools" not in value or value["tools"] == [{"type": "function", "function": TOOL}]
    assert value.get("format") in (None, SCHEMA)
    assert "tool_choice" not in value
    return Asked(
        tuple(turns),
        system,
        stream=value["stream"],
        limit=options.get("num_predict"),
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        seed=options.get("seed"),
        stop=tuple(options.get("stop", ())),
        tools="tools" in value,
        schema="format" in value,
        effort=value.get("think"),
    )


# -- anthropic --------------------------------------------------------------------------------------------

_BUDGETS = {"low": 2048, "medium": 8192, "high": 16384}
_CHOICES = {"required": "any", "auto": "auto", "none": "none"}


def _write_anthropic(asked: Asked) -> Json:
    turns: list[Json] = []
    for turn in asked.turns:
        match turn:
            case ("user", text, image):
                source = {"type": "base64", "media_type": "image/png", "data": image}
                blocks: list[Json] = [{"type": "text", "text": text}]
                blocks += [{"type": "image", "source": source}] if image else []
            case ("assistant", text, calls):
                blocks = [{"type": "text", "text": text}] if text else []
                blocks += [{"type": "tool_use", "id": id, "name": name, "input": given} for id, name, given in calls]
            case ("tool", id, text):
                blocks = [{"type": "tool_result", "tool_use_id": id, "content": text}]
        role = "assistant" if turn[0] == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    tool = {"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}
    choice = {"type": _CHOICES[asked.choice]} if asked.choice in _CHOICES else {"type": "tool", "name": asked.choice}
    choice = choice if asked.choice else {"type": "auto"} if asked.serial else None
    choice = {**choice, "disable_parallel_tool_use": True} if choice and asked.serial else choice
    return {
        "system": asked.system or None,
        "messages": turns,
        "stream": asked.stream or None,
        "max_tokens": asked.limit,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "stop_sequences": list(asked.stop),
        "tools": [tool] if asked.tools else None,
        "tool_choice": choice,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}} if asked.schema else None,
        "thinking": {"type": "enabled", "budget_tokens": _BUDGETS[asked.effort]} if asked.effort else None,
        "metadata": {"user_id": asked.user} if asked.user else None,
    }


def _read_anthropic(value: Json) -> Asked:
    """Roles take turns, the user begins, results of tools stand first."""
    turns: list[Any] = []
    assert [turn["role"] for turn in value["messages"]] == ["user", "assistant"] * (len(value["messages"]) // 2) + [
        "user"
    ] * (len(value["messages"]) % 2)
    for turn in value["messages"]:
        results = [block for block in turn["content"] if block["type"] == "tool_result"]
        rest = turn["content"][len(results) :]
        assert not any(block["type"] == "tool_result" for block in rest)
        for block in results:
            (part,) = block["content"]
            turns.append(("tool", block["tool_use_id"], part["text"]))
        text = "".join(block["text"] for block in rest if block["type"] == "text")
        if turn["role"] == "assistant":
            calls = [block for block in rest if block["type"] == "tool_use"]
            turns.append(("assistant", text, tuple((call["id"], call["name"], call["input"]) for call in calls)))
        elif rest:
            image = "".join(block["source"]["data"] for block in rest if block["type"] == "image")
            turns.append(("user", text, image))
    choice, thinking = value.get("tool_choice", {}), value.get("thinking")
    words = {word: name for name, word in _CHOICES.items()}
    config = value.get("output_config", {}).get("format")
    assert config in (None, {"type": "json_schema", "schema": SCHEMA})
    tool = {"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}
    assert value.get("tools", [tool]) == [tool]
    return Asked(
        tuple(turns),
        value.get("system", ""),
        stream=value.get("stream", False),
        limit=value["max_tokens"],
        temperature=value.get("temperature"),
        top_p=value.get("top_p"),
        stop=tuple(value.get("stop_sequences", ())),
        tools="tools" in value,
        choice=choice.get("name") or words.get(choice.get("type")),
        serial=choice.get("disable_parallel_tool_use", False),
        schema=config is not None,
        effort=next(word for word, size in _BUDGETS.items() if size == thinking["budget_tokens"]) if thinking else None,
        user=value.get("metadata", {}).get("user_id"),
    )


_WRITE: dict[str, Any] = {
    "openai": _write_openai,
    "responses": _write_responses,
    "ollama": _write_ollama,
    "anthropic": _write_anthropic,
}
_READ: dict[str, Any] = {
    "openai": _read_openai,
    "responses": _read_responses,
    "ollama": _read_ollama,
    "anthropic": _read_anthropic,
}
