"""Chat streams of every dialect: a script of what a model says, and how each dialect's servers write it.

A script is a `Script`; `WRITERS` has for each dialect a function from a script to its frames, so that what a frame
says is known. `stream` writes one and then does to it what networks, proxies and other servers do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

from .trouble import BYTES, mutated, one, text

__all__ = ["FRAMINGS", "WRITERS", "Frame", "Script", "escaped", "raw", "script", "stream"]


class Script(NamedTuple):
    """Parts are ("text", str), ("reasoning", str), ("call", index, id, name) and ("args", index, str)."""

    parts: list[tuple[Any, ...]]
    reason: str = "stop"
    usage: tuple[int, int] | None = None
    marker: bool = True


class Frame(NamedTuple):
    """One frame, and what it says of the answer's text and reasoning."""

    raw: bytes
    text: str = ""
    reasoning: str = ""


Write = Callable[[Any], bytes]


def script(choose: Random, most: int = 3) -> Script:
    """What a model may say: reasoning, then text, then tool calls, each of them perhaps not."""
    parts: list[tuple[Any, ...]] = []
    if choose.random() < 0.25:
        parts += [("reasoning", said) for said in _deltas(choose, 2)]
    parts += [("text", said) for said in _deltas(choose, most)]
    reason = "stop" if choose.random() < 0.8 else "length"
    if choose.random() < 0.2:
        reason = "tool_calls"
        for index in range(1 + int(choose.random() * 2)):
            parts.append(("call", index, f"call_{index}", choose.choice(["f", "get_weather"])))
            arguments = json.dumps({"a": text(choose, 2), "b": [1]}, ensure_ascii=choose.random() < 0.5)
            cut = int(choose.random() * len(arguments))
            parts += [("args", index, arguments[:cut]), ("args", index, arguments[cut:])]
    usage = (int(choose.random() * 50), int(choose.random() * 50)) if choose.random() < 0.5 else None
    return Script(parts, reason, usage, choose.random() < 0.8)


def _deltas(choose: Random, most: int) -> list[str]:
    """A text in pieces; a character beyond the first plane may be cut in two, as some servers do."""
    found = [text(choose, 2) or "x" for _ in range(1 + int(choose.random() * most))]
    if choose.random() < 0.3:
        at = int(choose.random() * len(found))
        found[at : at + 1] = [found[at] + "\ud83d", "\ude00" + text(choose, 1)]
    return found


# --- how servers write it ---


def _openai(said: Script, write: Write) -> list[Frame]:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1760000000, "model": "m"}

    def frame(delta: dict[str, Any], reason: str | None = None, **more: str) -> Frame:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return Frame(_event(write({**head, "choices": [choice]})), **more)

    frames = [frame({"role": "assistant", "content": ""})]
    for part in said.parts:
        match part:
            case ("text", piece):
                frames.append(frame({"content": piece}, text=piece))
            case ("reasoning", piece):
                frames.append(frame({"reasoning_content": piece}, reasoning=piece))
            case ("call", index, id, name):
                function = {"name": name, "arguments": ""}
                frames.append(
                    frame({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
                )
            case ("args", index, piece):
                frames.append(frame({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    frames.append(frame({}, said.reason))
    if said.usage:
        frames.append(Frame(_event(write({**head, "choices": [], "usage": _usage(said.usage)}))))
    return frames + [Frame(b"data: [DONE]\n\n")] * said.marker


def _usage(usage: tuple[int, int]) -> dict[str, int]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}


def _completions(said: Script, write: Write) -> list[Frame]:
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1760000000, "model": "m"}

    def frame(piece: str, reason: str | None = None) -> Frame:
        choice = {"index": 0, "text": piece, "logprobs": None, "finish_reason": reason}
        return Frame(_event(write({**head, "choices": [choice]})), text=piece)

    frames = [frame(part[1]) for part in said.parts if part[0] == "text"]
    frames.append(frame("", "length" if said.reason == "length" else "stop"))
    if said.usage:
        frames.append(Frame(_event(write({**head, "choices": [], "usage": _usage(said.usage)}))))
    return frames + [Frame(b"data: [DONE]\n\n")] * said.marker


def _ollama(said: Script, write: Write) -> list[Frame]:
    head = {"model": "m", "created_at": "2025-01-01T00:00:00Z"}

    def frame(message: dict[str, Any], **more: str) -> Frame:
        return Frame(write({**head, "message": {"role": "assistant", **message}, "done": False}) + b"\n", **more)

    frames = []
    for part in said.parts:
        if part[0] == "text":
            frames.append(frame({"content": part[1]}, text=part[1]))
        elif part[0] == "reasoning":
            frames.append(frame({"content": "", "thinking": part[1]}, reasoning=part[1]))
    if calls := _calls(said):
        functions = [{"function": {"name": name, "arguments": arguments}} for _, name, arguments in calls]
        frames.append(frame({"content": "", "tool_calls": functions}))
    return [*frames, _ollama_last({**head, "message": {"role": "assistant", "content": ""}}, said, write)]


def _ollama_last(line: dict[str, Any], said: Script, write: Write) -> Frame:
    counts = dict(zip(("prompt_eval_count", "eval_count"), said.usage or (), strict=False))
    reason = "length" if said.reason == "length" else "stop"
    return Frame(write({**line, "done": True, "done_reason": reason, "total_duration": 5, **counts}) + b"\n")


def _calls(said: Script) -> list[tuple[str, str, Any]]:
    """Tool calls in one piece: id, name, arguments."""
    found = []
    for part in said.parts:
        if part[0] == "call":
            arguments = "".join(other[2] for other in said.parts if other[0] == "args" and other[1] == part[1])
            found.append((part[2], part[3], json.loads(arguments)))
    return found


def _ollama_generate(said: Script, write: Write) -> list[Frame]:
    head = {"model": "m", "created_at": "2025-01-01T00:00:00Z"}
    frames = []
    for part in said.parts:
        if part[0] == "text":
            frames.append(Frame(write({**head, "response": part[1], "done": False}) + b"\n", text=part[1]))
        elif part[0] == "reasoning":
            line = {**head, "response": "", "thinking": part[1], "done": False}
            frames.append(Frame(write(line) + b"\n", reasoning=part[1]))
    return [*frames, _ollama_last({**head, "response": ""}, said, write)]


def _anthropic(said: Script, write: Write) -> list[Frame]:
    def frame(kind: str, fields: dict[str, Any], **more: str) -> Frame:
        return Frame(b"event: %b\n" % kind.encode() + _event(write({"type": kind, **fields})), **more)

    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    frames = [frame("message_start", {"message": {**message, "usage": {"input_tokens": 3, "output_tokens": 1}}})]
    frames.append(frame("ping", {}))
    index, kind, opened = -1, "", False
    for part in said.parts:
        if part[0] == "call" or (part[0] != "args" and part[0] != kind):
            if opened:
                frames.append(frame("content_block_stop", {"index": index}))
            index, kind, opened = index + 1, part[0], True
            frames.append(frame("content_block_start", {"index": index, "content_block": _block(part)}))
        match part:
            case ("text", piece):
                frames.append(frame("content_block_delta", _delta(index, "text_delta", "text", piece), text=piece))
            case ("reasoning", piece):
                fields = _delta(index, "thinking_delta", "thinking", piece)
                frames.append(frame("content_block_delta", fields, reasoning=piece))
            case ("args", _, piece):
                frames.append(frame("content_block_delta", _delta(index, "input_json_delta", "partial_json", piece)))
    if opened:
        frames.append(frame("content_block_stop", {"index": index}))
    reason = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}[said.reason]
    usage = {"usage": {"output_tokens": said.usage[1]}} if said.usage else {}
    frames.append(frame("message_delta", {"delta": {"stop_reason": reason, "stop_sequence": None}, **usage}))
    return frames + [frame("message_stop", {})] * said.marker


def _block(part: tuple[Any, ...]) -> dict[str, Any]:
    match part:
        case ("text", _):
            return {"type": "text", "text": ""}
        case ("reasoning", _):
            return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "tool_use", "id": part[2], "name": part[3], "input": {}}


def _delta(index: int, kind: str, key: str, piece: str) -> dict[str, Any]:
    return {"index": index, "delta": {"type": kind, key: piece}}


def _responses(said: Script, write: Write) -> list[Frame]:
    frames: list[Frame] = []

    def frame(kind: str, fields: dict[str, Any], **more: str) -> None:
        event = {"type": kind, "sequence_number": len(frames), **fields}
        frames.append(Frame(b"event: %b\n" % kind.encode() + _event(write(event)), **more))

    response: dict[str, Any] = {"id": "resp_1", "object": "response", "created_at": 1760000000, "model": "m"}
    frame("response.created", {"response": {**response, "status": "in_progress", "output": []}})
    texts = "".join(part[1] for part in said.parts if part[0] == "text")
    thoughts = "".join(part[1] for part in said.parts if part[0] == "reasoning")
    output: list[dict[str, Any]] = []
    if thoughts:
        item: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": []}
        at = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
        frame("response.output_item.added", {"output_index": 0, "item": item})
        frame("response.reasoning_summary_part.added", {**at, "part": {"type": "summary_text", "text": ""}})
        for part in said.parts:
            if part[0] == "reasoning":
                frame("response.reasoning_summary_text.delta", {**at, "delta": part[1]}, reasoning=part[1])
        whole = {**item, "summary": [{"type": "summary_text", "text": thoughts}]}
        frame("response.reasoning_summary_text.done", {**at, "text": thoughts})
        frame("response.output_item.done", {"output_index": 0, "item": whole})
        output.append(whole)
    if texts:
        number = len(output)
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
        at = {"item_id": "msg_1", "output_index": number, "content_index": 0}
        frame("response.output_item.added", {"output_index": number, "item": item})
        frame("response.content_part.added", {**at, "part": {"type": "output_text", "text": "", "annotations": []}})
        for part in said.parts:
            if part[0] == "text":
                frame("response.output_text.delta", {**at, "delta": part[1]}, text=part[1])
        content = {"type": "output_text", "text": texts, "annotations": []}
        frame("response.output_text.done", {**at, "text": texts})
        frame("response.content_part.done", {**at, "part": content})
        output.append({**item, "status": "completed", "content": [content]})
        frame("response.output_item.done", {"output_index": number, "item": output[-1]})
    for number, (id, name, arguments) in enumerate(_calls(said), len(output)):
        given = json.dumps(arguments)
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": id, "name": name, "arguments": ""}
        frame("response.output_item.added", {"output_index": number, "item": item})
        at = {"item_id": item["id"], "output_index": number}
        frame("response.function_call_arguments.delta", {**at, "delta": given[:3]})
        frame("response.function_call_arguments.delta", {**at, "delta": given[3:]})
        frame("response.function_call_arguments.done", {**at, "arguments": given})
        output.append({**item, "arguments": given})
        frame("response.output_item.done", {"output_index": number, "item": output[-1]})
    if said.marker:
        usage = dict(zip(("input_tokens", "output_tokens"), said.usage or (), strict=False))
        last: dict[str, Any] = {**response, "output": output, **({"usage": usage} if usage else {})}
        if said.reason == "length":
            last |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
            frame("response.incomplete", {"response": last})
        else:
            frame("response.completed", {"response": {**last, "status": "completed"}})
    return frames


WRITERS: Mapping[str, Callable[[Script, Write], list[Frame]]] = {
    "openai": _openai,
    "completions": _completions,
    "responses": _responses,
    "ollama": _ollama,
    "ollama_generate": _ollama_generate,
    "anthropic": _anthropic,
}
FRAMINGS = {name: "ndjson" if name.startswith("ollama") else "sse" for name in WRITERS}


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def escaped(value: Any) -> bytes:
    """JSON as Python's servers write it."""
    return json.dumps(value).encode()


def raw(value: Any) -> bytes:
    """JSON as most others write it, halves of surrogate pairs escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


# --- and what becomes of it on the way ---

_NOISE = {
    "sse": (
        *(
            b": ping\n\n",
            b":\n\n",
            b"\n",
            b"event: ping\ndata: {}\n\n",
            b"data: \n\n",
            b"data: [DONE]\n\n",
            b"data: {\n\n",
        ),
        *(b'data: {"error":{"message":"no","type":"x","code":400}}\n\n', b'event: error\ndata: {"message":"e"}\n\n'),
        *(b'error: {"code":500,"message":"x"}\n\n', b'data: {"choices":[]}\n\n', b"data: null\n\n", b"data: []\n\n"),
        *(
            b'data: {"choices":[{"index":1,"delta":{"content":"b"}}]}\n\n',
            b'data: {"choices":[{"delta":{"role":"x"}}]}\n\n',
        ),
        *(b'data: {"choices":[{"index":0,"delta":{"content":"c\\ud83d"},"finish_reason":""}]}\n\n', b"id: 7\n\n"),
        *(b'data: {"type":"error","error":{"type":"overloaded_error","message":"o"}}\n\n', b"data: NaN\n\n"),
        *(b'data: {"choices":[{"index":0,"delta":{"content":null,"refusal":"r"},"finish_reason":null}]}\n\n',),
        *(
            b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"{"}}]}}]}\n\n',
            b"data: 1e999\n\n",
        ),
    ),
    "ndjson": (
        *(
            b"\n",
            b"\r\n",
            b'{"error":"no"}\n',
            b'{"error":{"message":"x"}}\n',
            b"{\n",
            b"null\n",
            b"[]\n",
            b"{}\n",
            b"NaN\n",
        ),
        *(b'{"done":true}\n', b'{"done":true,"done_reason":"load"}\n', b'{"message":{"content":1}}\n', b"data: {}\n\n"),
        *(b'{"message":{"content":"a","tool_calls":[{"function":{"name":"f","arguments":"x"}}]},"done":false}\n',),
        *(b'{"response":"r\\ud83d","done":false}\n', b'{"message":{"content":"\\ude00"},"done":false}\n', b"1e999\n"),
    ),
}


def stream(choose: Random, dialect: str) -> bytes:
    """A stream of the dialect: clean, or with noise, or spoilt."""
    writer = raw if choose.random() < 0.6 else escaped
    frames = [frame.raw for frame in WRITERS[dialect](script(choose), writer)]
    kind = choose.random()
    if kind > 0.3:
        for _ in range(int(choose.random() * 3)):
            frames.insert(int(choose.random() * (len(frames) + 1)), one(choose, _NOISE[FRAMINGS[dialect]]))
    if kind > 0.5 and choose.random() < 0.3:
        frames = [frames[int(choose.random() * len(frames))] for _ in frames]
    data = b"".join(frames)
    if choose.random() < 0.15:
        data = data.replace(b"\n", b"\r\n")
    if choose.random() < 0.05:
        data = b"\xef\xbb\xbf" + data
    return mutated(choose, data, BYTES) if kind > 0.6 else data
