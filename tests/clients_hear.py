"""Answers as the clients of each dialect read them, strictly: for tests that compare dialects.

`stream` and `body` put an answer together as a client's library does, and fail where such a library would; what is
heard is a `Heard`, in the dialect's own words for how it ended. Nothing here knows penstock's decoders.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import anthropic_streams
import chat_streams
import responses_streams

__all__ = ["Heard", "body", "error", "stream"]

Json = dict[str, Any]


class Heard(NamedTuple):
    """An answer, or what came of one. `counts`: prompt, completion, and of these the cached ones and those for
    reasoning. `reason` is in the dialect's words; with an `error`, there is none."""

    id: str | None = None
    created: Any = None
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    signatures: tuple[str, ...] = ()
    calls: tuple[tuple[str, str, Any], ...] = ()
    reason: Any = None
    counts: tuple[int, int, int, int] | None = None
    error: str | None = None


def stream(dialect: str, data: bytes) -> Heard:
    """A stream. Raises AssertionError, KeyError or ValueError where a client would be at a loss."""
    return _STREAMS[dialect](data)  # type: ignore[no-any-return]


def body(dialect: str, data: bytes) -> Heard:
    """An answer in one piece."""
    return _BODIES[dialect](_strict(data))  # type: ignore[no-any-return]


def error(dialect: str, data: bytes) -> str:
    """The message of an error, as it is sent with a status."""
    value = _strict(data)
    if dialect.startswith("ollama"):
        assert list(value) == ["error"]
        assert isinstance(value["error"], str)
        return value["error"]
    if dialect == "anthropic":
        assert value["type"] == "error"
        assert list(value["error"]) == ["type", "message"]
    else:
        assert list(value["error"]) == ["message", "type", "param", "code"]
    return str(value["error"]["message"])


def _strict(data: bytes) -> Any:
    value = json.loads(data.decode(), parse_constant=_refuse)
    json.dumps(value, ensure_ascii=False).encode()  # no lone surrogates
    return value


def _refuse(name: str) -> None:
    raise AssertionError(name)


# -- openai -----------------------------------------------------------------------------------------------


def _counts(usage: Json | None, prefix: tuple[str, str] = ("prompt", "completion")) -> Any:
    if usage is None:
        return None
    prompt, completion = (usage[f"{name}_tokens"] for name in prefix)
    assert usage["total_tokens"] == prompt + completion
    cached = (usage.get(f"{prefix[0]}_tokens_details") or {}).get("cached_tokens", 0)
    return prompt, completion, cached, (usage.get(f"{prefix[1]}_tokens_details") or {}).get("reasoning_tokens", 0)


def _openai(data: bytes) -> Heard:
    """The role comes with the first delta; a call is begun with id, type and name, and goes on without; one finish;
    usage."""
    told = chat_streams.told(data)
    first = json.loads(data.split(b"\n\n")[0].removeprefix(b"data: "))
    heard: Json = {"text": "", "reasoning": "", "refusal": "", "id": first["id"], "created": first["created"]}
    assert first["object"] == "chat.completion.chunk"
    assert told[0][1].pop("role") == "assistant"
    calls: list[list[str]] = []
    assert isinstance(told[-1], str) or told[-1][0] == "error", "the end comes last"
    for entry in told[: -1 if told[-1] == "[DONE]" else None]:
        assert "counts" not in heard, "nothing behind the usage"
        if entry[0] == "usage":
            heard["counts"] = _counts(entry[1])
            continue
        if entry[0] == "error":
            heard["error"] = json.loads(data.split(b"\n\n")[-2].removeprefix(b"data: "))["error"]["message"]
            continue
        index, delta, finish = entry
        assert index == 0
        assert "reason" not in heard, "nothing behind the finish"
        if finish is not None:
            assert delta == {}
            heard["reason"] = finish
            continue
        for kind, said in delta.items():
            assert kind != "role", "said once"
            if kind == "tool_calls":
                _gather(calls, said)
            else:
                heard[{"content": "text", "reasoning_content": "reasoning"}.get(kind, kind)] += said or ""
    return _made(heard, calls)


def _gather(calls: list[list[str]], entries: list[Json]) -> None:
    for entry in entries:
        function = entry["function"]
        if entry["index"] == len(calls):
            assert entry["type"] == "function"
            calls.append([entry["id"], function["name"], function["arguments"]])
        else:
            assert (list(entry), list(function)) == (["index", "function"], ["arguments"])
            calls[entry["index"]][2] += function["arguments"]


def _made(heard: Json, calls: list[list[str]] | list[tuple[str, str, str]]) -> Heard:
    """Arguments must be JSON unless the answer broke off."""
    broken = heard.get("error") is not None
    made = [(id, name, None if broken else json.loads(arguments)) for id, name, arguments in calls]
    return Heard(**heard, calls=tuple(made))


def _openai_body(value: Json) -> Heard:
    assert value["object"] == "chat.completion"
    (choice,) = value["choices"]
    assert choice["index"] == 0
    assert choice["logprobs"] is None
    message = choice["message"]
    assert message["role"] == "assistant"
    assert message.get("tool_calls") != [], "left out if empty"
    calls = []
    for call in message.get("tool_calls", ()):
        assert call["type"] == "function"
        calls.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
    said = {"text": message["content"] or "", "refusal": message["refusal"] or ""}
    said["reasoning"] = message.get("reasoning_content", "")
    end = {"reason": choice["finish_reason"], "counts": _counts(value.get("usage"))}
    return _made({"id": value["id"], "created": value["created"], **said, **end}, calls)


# -- completions ------------------------------------------------------------------------------------------


def _completions(data: bytes) -> Heard:
    *frames, last = data.split(b"\n\n")
    assert last == b""
    heard: Json = {"text": ""}
    if frames[-1] == b"data: [DONE]":
        del frames[-1]
    else:
        heard["error"] = error("completions", frames.pop().removeprefix(b"data: "))
    for frame in frames:
        assert "counts" not in heard, "nothing behind the usage"
        value = _strict(frame.removeprefix(b"data: "))
        assert value["object"] == "text_completion"
        heard |= {"id": value["id"], "created": value["created"]}
        if not value["choices"]:
            heard["counts"] = _counts(value["usage"])
            continue
        assert value.get("usage") is None
        (choice,) = value["choices"]
        assert list(choice) == ["text", "index", "logprobs", "finish_reason"]
        assert "reason" not in heard, "nothing behind the finish"
        heard["text"] += choice["text"]
        if choice["finish_reason"] is not None:
            heard["reason"] = choice["finish_reason"]
    return Heard(**heard)


def _completions_body(value: Json) -> Heard:
    assert value["object"] == "text_completion"
    (choice,) = value["choices"]
    assert choice["index"] == 0
    said = {"text": choice["text"], "reason": choice["finish_reason"], "counts": _counts(value.get("usage"))}
    return Heard(id=value["id"], created=value["created"], **said)


# -- responses --------------------------------------------------------------------------------------------


def _responses(data: bytes) -> Heard:
    """The last event has it all: `read` has held it against the events before."""
    events = responses_streams.read(data)
    last = events[-2 if events[-1]["type"] == "error" else -1]["response"]
    heard = _responses_body(last)
    if events[-1]["type"] == "error":
        assert last["status"] == "failed"
        message = events[-1]["error"]["message"]
        assert last["error"]["message"] == message
        said = {"text": "output_text", "reasoning": "reasoning_summary_text", "refusal": "refusal"}
        deltas = {
            kind: [e["delta"] for e in events if e["type"] == f"response.{name}.delta"] for kind, name in said.items()
        }
        texts = {kind: "".join(pieces) for kind, pieces in deltas.items()}
        assert not last["output"] or texts == {kind: getattr(heard, kind) for kind in texts}
        return heard._replace(error=message, reason=None, **texts)
    return heard


def _responses_body(value: Json) -> Heard:
    assert value["object"] == "response"
    heard: Json = {"text": "", "reasoning": "", "refusal": "", "id": value["id"], "created": value["created_at"]}
    heard["error"] = value["error"] and value["error"]["message"]
    signatures, calls = [], []
    for item in value["output"]:
        match item["type"]:
            case "reasoning":
                heard["reasoning"] += "".join(part["text"] for part in item["summary"])
                signatures += [item["encrypted_content"]] if "encrypted_content" in item else []
            case "message":
                assert item["role"] == "assistant"
                for part in item["content"]:
                    kind = {"output_text": "text", "refusal": "refusal"}[part["type"]]
                    heard[kind] += part[kind]
            case "function_call":
                calls.append((item["call_id"], item["name"], item["arguments"]))
    why = (value["incomplete_details"] or {}).get("reason")
    heard["reason"] = value["status"] + (f": {why}" if why else "")
    heard["counts"] = _counts(value.get("usage"), ("input", "output"))
    return _made(heard, calls)._replace(signatures=tuple(signatures))


# -- ollama -----------------------------------------------------------------------------------------------

_TIMES = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def _ollama_line(shape: str, value: Json) -> Json:
    """What a line says; as Ollama's clients check it, each has the model, a time and a message."""
    assert isinstance(value["model"], str)
    assert isinstance(value["created_at"], str)
    assert "error" not in value
    if shape == "ollama":
        assert value["message"]["role"] == "assistant"
        said = dict(value["message"])
    else:
        said = {**value, "content": value["response"]}
    assert isinstance(said["content"], str)
    calls = []
    for call in said.get("tool_calls", ()):
        assert isinstance(call["function"]["arguments"], dict)
        calls.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
    return {"text": said["content"], "reasoning": said.get("thinking", ""), "calls": calls}


def _ollama_end(value: Json) -> Json:
    assert value["done"] is True
    assert value["done_reason"] in ("stop", "length")
    assert all(type(value[name]) is int for name in _TIMES)
    counts = (value["prompt_eval_count"], value["eval_count"], 0, 0) if "eval_count" in value else None
    return {"reason": value["done_reason"], "counts": counts, "created": value["created_at"]}


def _ollama(shape: str, data: bytes) -> Heard:
    *lines, rest = data.split(b"\n")
    assert rest == b""
    values = [_strict(line) for line in lines]
    assert not any(set(line.decode()) & set("\r\u2028\u2029\x85") for line in lines)
    end: Json = {}
    if "error" in values[-1]:
        end["error"] = error(shape, lines[-1])
        del values[-1]
    else:
        end = _ollama_end(values[-1])
        assert all(value["done"] is False for value in values[:-1])
    said = [_ollama_line(shape, value) for value in values]
    end.setdefault("created", values[-1]["created_at"] if values else None)
    text, reasoning = ("".join(line[kind] for line in said) for kind in ("text", "reasoning"))
    return Heard(text=text, reasoning=reasoning, calls=tuple(call for line in said for call in line["calls"]), **end)


def _ollama_body(shape: str, value: Json) -> Heard:
    said = _ollama_line(shape, value)
    return Heard(**{**said, "calls": tuple(said["calls"])}, **_ollama_end(value))


# -- anthropic --------------------------------------------------------------------------------------------


def _anthropic_counts(usage: Json) -> tuple[int, int, int, int]:
    cached = usage["cache_read_input_tokens"]
    prompt = usage["input_tokens"] + cached + usage["cache_creation_input_tokens"]
    return prompt, usage["output_tokens"], cached, (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)


def _anthropic(data: bytes) -> Heard:
    told = anthropic_streams.told(data)
    heard: Json = {"text": "", "reasoning": "", "id": told.pop(0)[1]}
    signatures: list[str] = []
    calls: list[list[str]] = []
    for entry in told:
        match entry:
            case {"type": "tool_use", "id": id, "name": name}:
                calls.append([id, name, ""])
            case ("text_delta", text):
                heard["text"] += text
            case ("thinking_delta", text):
                heard["reasoning"] += text
            case ("signature_delta", signature):
                signatures += [signature] if signature else []
            case ("input_json_delta", fragment):
                calls[-1][2] += fragment
            case ("error", _):
                heard["error"] = error("anthropic", data.split(b"\n\n")[-2].split(b"data: ")[1])
            case (reason, dict(usage)):
                heard |= {"reason": reason, "counts": _anthropic_counts(usage)}
    assert told[-1] == "stop" or "error" in heard
    calls = [[id, name, arguments or "{}"] for id, name, arguments in calls]
    return _made(heard, calls)._replace(signatures=tuple(signatures))


def _anthropic_body(value: Json) -> Heard:
    assert (value["type"], value["role"]) == ("message", "assistant")
    heard: Json = {"text": "", "reasoning": "", "signatures": ()}
    calls = []
    for block in value["content"]:
        match block["type"]:
            case "thinking":
                heard["reasoning"] += block["thinking"]
                heard["signatures"] += (block["signature"],) if block["signature"] else ()
            case "text":
                heard["text"] += block["text"]
            case "tool_use":
                assert isinstance(block["input"], dict)
                calls.append((block["id"], block["name"], block["input"]))
    heard |= {"reason": value["stop_reason"], "counts": _anthropic_counts(value["usage"]), "id": value["id"]}
    return Heard(**heard, calls=tuple(calls))


_STREAMS: dict[str, Any] = {
    "openai": _openai,
    "completions": _completions,
    "responses": _responses,
    "ollama": lambda data: _ollama("ollama", data),
    "ollama_generate": lambda data: _ollama("ollama_generate", data),
    "anthropic": _anthropic,
}
_BODIES: dict[str, Any] = {
    "openai": _openai_body,
    "completions": _completions_body,
    "responses": _responses_body,
    "ollama": lambda value: _ollama_body("ollama", value),
    "ollama_generate": lambda value: _ollama_body("ollama_generate", value),
    "anthropic": _anthropic_body,
}
