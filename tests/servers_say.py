"""Answers as the servers of each dialect send them, all of the same content: for tests that compare dialects.

An answer is a `Said`: pieces in their order, a reason, and counts. `stream` and `body` write it in a dialect, as its
own server does; `as_said_by` is what is left of an answer where a server has no words for all of it.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any, NamedTuple

import anthropic_streams
import responses_streams
from chat_streams import HEAD, chunk, ndjson, sse

__all__ = [
    *("CREATED", "IDS", "MODEL", "OWN_CREATED", "OWN_ID", "PING", "SPEAKS", "STAMP"),
    *("Said", "as_said_by", "body", "error", "stream"),
]

Json = dict[str, Any]

MODEL = "org/model-a"
OWN_ID, OWN_CREATED = "own-1", 1750000000  # what a relay is given for upstreams that say none
IDS = {"openai": "chatcmpl-1", "completions": "cmpl-1", "responses": "resp_1", "anthropic": "msg_1"}
CREATED = dict.fromkeys(("openai", "completions", "responses"), 1760000000)
STAMP = "2026-01-02T03:04:05.678901Z"
PING = anthropic_streams.event("ping")
SPEAKS = {
    "openai": {"reasoning", "refusal", "call", "arguments", "details"},
    "completions": {"details"},
    "responses": {"reasoning", "signature", "refusal", "call", "arguments", "details"},
    "ollama": {"reasoning", "call", "arguments"},
    "ollama_generate": {"reasoning"},
    "anthropic": {"reasoning", "signature", "call", "arguments", "details"},
}
"""What a server can say besides text."""


class Said(NamedTuple):
    """An answer. Pieces: `("text", said)`, and so `reasoning`, `refusal` and `signature` (of the reasoning before it);
    `("call", number, id, name)` and `("arguments", number, fragment)`. Counts: prompt, completion, and of these the
    cached ones and those for reasoning."""

    pieces: tuple[tuple[Any, ...], ...]
    reason: str = "stop"
    counts: tuple[int, int, int, int] = (9, 7, 4, 3)

    def said(self, kind: str) -> str:
        """All pieces of a kind, joined; halves of a character that stand side by side are one."""
        text = "".join(piece[1] for piece in self.pieces if piece[0] == kind)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Id, name and arguments of each."""
        made = {number: (id, name) for kind, number, id, name in (p for p in self.pieces if p[0] == "call")}
        return [
            (
                *made[number],
                Said(tuple(("text", p[2]) for p in self.pieces if p[:2] == ("arguments", number))).said("text"),
            )
            for number in made
        ]


def as_said_by(dialect: str, said: Said) -> Said | None:
    """The answer as such a server gives it; None where it cannot."""
    kinds = {piece[0] for piece in said.pieces} - {"text", "signature"}
    if kinds - SPEAKS[dialect] or (said.reason == "content_filter" and dialect.startswith("ollama")):
        return None
    pieces = said.pieces
    if "signature" not in SPEAKS[dialect]:
        pieces = tuple(piece for piece in pieces if piece[0] != "signature")
    counts = said.counts if "details" in SPEAKS[dialect] else (*said.counts[:2], 0, 0)
    return said._replace(pieces=pieces, counts=counts)


def stream(dialect: str, said: Said, ending: str = "done") -> bytes:
    """The answer as a stream. `ending`: `done`, `cut` (the connection breaks off before), or `error`."""
    return _STREAMS[dialect](said, ending)  # type: ignore[no-any-return]


def body(dialect: str, said: Said) -> bytes:
    """The answer in one piece."""
    text = json.dumps(_BODIES[dialect](said), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def error(dialect: str) -> bytes:
    """An error where a stream should begin or go on: too many requests, for those that can tell."""
    failed = {"code": "rate_limit_exceeded", "message": "slow down"}
    if dialect.startswith("ollama"):
        return ndjson({"error": "slow down"})
    if dialect == "anthropic":
        return anthropic_streams.event("error", error={"type": "rate_limit_error", "message": "slow down"})
    if dialect == "responses":
        return responses_streams.stream(responses_streams.ended("failed", error=failed))
    return sse({"error": {"type": "rate_limit_error", "param": None, **failed}}, done=False)


# -- openai and completions -------------------------------------------------------------------------------


def _usage(said: Said) -> Json:
    prompt, completion, cached, reasoning = said.counts
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _delta(piece: tuple[Any, ...]) -> Json:
    match piece:
        case ("call", number, id, name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": number, "id": id, "type": "function", "function": function}]}
        case ("arguments", number, fragment):
            return {"tool_calls": [{"index": number, "function": {"arguments": fragment}}]}
    return {{"text": "content", "reasoning": "reasoning_content"}.get(piece[0], piece[0]): piece[1]}


def _openai(said: Said, ending: str) -> bytes:
    frames = [chunk({"role": "assistant", "content": ""}), *[chunk(_delta(piece)) for piece in said.pieces]]
    if ending != "done":
        return sse(*frames, done=False) + (error("openai") if ending == "error" else b"")
    return sse(*frames, chunk({}, said.reason), {**HEAD, "choices": [], "usage": _usage(said)})


def _openai_body(said: Said) -> Json:
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in said.calls
    ]
    message = {"role": "assistant", "content": said.said("text") or None, "refusal": said.said("refusal") or None}
    message |= {"reasoning_content": said.said("reasoning")} if said.said("reasoning") else {}
    message |= {"tool_calls": calls} if calls else {}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": said.reason}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": _usage(said)}


_TEXT_HEAD = {**HEAD, "id": "cmpl-1", "object": "text_completion"}


def _text_choice(text: str, reason: str | None = None) -> Json:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}


def _completions(said: Said, ending: str) -> bytes:
    frames = [{**_TEXT_HEAD, "choices": [_text_choice(text)]} for _, text in said.pieces]
    if ending != "done":
        return sse(*frames, done=False) + (error("completions") if ending == "error" else b"")
    last = {**_TEXT_HEAD, "choices": [_text_choice("", said.reason)]}
    return sse(*frames, last, {**_TEXT_HEAD, "choices": [], "usage": _usage(said)})


def _completions_body(said: Said) -> Json:
    return {**_TEXT_HEAD, "choices": [_text_choice(said.said("text"), said.reason)], "usage": _usage(said)}


# -- responses --------------------------------------------------------------------------------------------

_PART = {"text": "output_text", "refusal": "refusal", "reasoning": "summary_text"}


def _items(said: Said) -> list[Json]:
    """The output items, whole."""
    items: list[Json] = []
    for kind, pieces in groupby(said.pieces, lambda piece: _KIND_OF[piece[0]]):
        given = list(pieces)
        if kind == "call":
            for id, name, arguments in said.calls:
                call = {"id": f"item_{len(items)}", "type": "function_call", "status": "completed", "call_id": id}
                items.append({**call, "name": name, "arguments": arguments})
            continue
        parts = [
            {"type": _PART[what], "refusal" if what == "refusal" else "text": Said(tuple(of)).said(what)}
            for what, of in groupby([piece for piece in given if piece[0] != "signature"], lambda piece: piece[0])
        ]
        if kind == "message":
            parts = [part | ({"annotations": []} if part["type"] == "output_text" else {}) for part in parts]
            item = {"type": "message", "status": "completed", "role": "assistant", "content": parts}
        else:
            item = {"type": "reasoning", "summary": parts}
            signed = [piece[1] for piece in given if piece[0] == "signature"]
            item |= {"encrypted_content": signed[0]} if signed else {}
        items.append({"id": f"item_{len(items)}", **item})
    return items


_KIND_OF = {"text": "message", "refusal": "message", "reasoning": "reasoning", "signature": "reasoning"}
_KIND_OF |= {"call": "call", "arguments": "call"}


def _response(said: Said) -> tuple[str, Json]:
    prompt, completion, cached, reasoning = said.counts
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": prompt + completion,
    }
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(said.reason)
    status = "incomplete" if why else "completed"
    details = {"incomplete_details": {"reason": why}} if why else {}
    return status, responses_streams.response(status, _items(said), usage=usage, **details)


def _responses(said: Said, ending: str) -> bytes:
    """Each item is announced, filled and told once more before the next one begins."""
    begun = responses_streams.response()
    events: list[Json] = [{"type": f"response.{what}", "response": begun} for what in ("created", "in_progress")]
    items = _items(said)
    order = [("arguments", at, number) for at, number in _places(said, items)]
    for at, item in enumerate(items):
        kind = {"function_call": "arguments", "message": "content", "reasoning": "summary"}[item["type"]]
        empty = "" if kind == "arguments" else []
        announced = {key: value for key, value in item.items() if key != "encrypted_content"}
        events.append(responses_streams.added(at, {**announced, kind: empty}))
        if kind == "arguments":
            number = next(number for _, place, number in order if place == at)
            events += [
                responses_streams.delta("function_call_arguments", at, piece[2])
                for piece in said.pieces
                if piece[:2] == ("arguments", number)
            ]
        else:
            events += _parts(said, at, item)
        if ending == "done":
            events.append(responses_streams.done(at, item))
    if ending == "cut":
        return responses_streams.stream(*events)
    if ending == "error":
        failed = {"code": "rate_limit_exceeded", "message": "slow down"}
        return responses_streams.stream(*events, responses_streams.ended("failed", error=failed))
    status, response = _response(said)
    return responses_streams.stream(*events, {"type": f"response.{status}", "response": response})


def _places(said: Said, items: list[Json]) -> list[tuple[int, int]]:
    """Where in the output each call stands."""
    places = [at for at, item in enumerate(items) if item["type"] == "function_call"]
    return list(zip(places, [piece[1] for piece in said.pieces if piece[0] == "call"], strict=True))


_DELTA_OF = {"text": "output_text", "refusal": "refusal", "reasoning": "reasoning_summary_text"}


def _parts(said: Said, at: int, item: Json) -> list[Json]:
    name, key = ("summary", "summary_index") if item["type"] == "reasoning" else ("content", "content_index")
    prefix = "reasoning_summary" if name == "summary" else "content"
    events: list[Json] = []
    for index, part in enumerate(item[name]):
        kind = next(kind for kind, type in _PART.items() if type == part["type"])
        place = {"item_id": f"item_{at}", "output_index": at, key: index}
        empty = {**part, "refusal" if kind == "refusal" else "text": ""}
        events.append({"type": f"response.{prefix}_part.added", **place, "part": empty})
        pieces = [piece[1] for piece in said.pieces if piece[0] == kind]
        events += [responses_streams.delta(_DELTA_OF[kind], at, text, index) for text in pieces]
        events.append({"type": f"response.{prefix}_part.done", **place, "part": part})
    return events


# -- ollama -----------------------------------------------------------------------------------------------

_TIMES = {"total_duration": 5, "load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 2}


def _call(number: int, id: str, name: str, arguments: str) -> Json:
    return {"id": id, "function": {"index": number, "name": name, "arguments": json.loads(arguments)}}


def _line(shape: str, text: str, **more: Any) -> Json:
    said = (
        {"message": {"role": "assistant", "content": text, **more}} if shape == "ollama" else {"response": text, **more}
    )
    return {"model": MODEL, "created_at": STAMP, **said, "done": False}


def _last(shape: str, said: Said, text: str = "", **more: Any) -> Json:
    counts = {"prompt_eval_count": said.counts[0], "eval_count": said.counts[1]}
    reason = "length" if said.reason == "length" else "stop"
    return {**_line(shape, text, **more), "done_reason": reason, "done": True, **_TIMES, **counts}


def _ollama(shape: str, said: Said, ending: str) -> bytes:
    """Calls come whole, each in a line."""
    lines = []
    for piece in said.pieces:
        if piece[0] == "call":
            lines.append(_line(shape, "", tool_calls=[_call(piece[1], *said.calls[piece[1]])]))
        elif piece[0] != "arguments":
            lines.append(_line(shape, piece[1]) if piece[0] == "text" else _line(shape, "", thinking=piece[1]))
    if ending == "done":
        lines.append(_last(shape, said))
    return ndjson(*lines) + (error(shape) if ending == "error" else b"")


def _ollama_body(shape: str, said: Said) -> Json:
    more: Json = {"thinking": said.said("reasoning")} if said.said("reasoning") else {}
    if said.calls:
        more["tool_calls"] = [_call(number, *call) for number, call in enumerate(said.calls)]
    return _last(shape, said, said.said("text"), **more)


# -- anthropic --------------------------------------------------------------------------------------------

_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_BLOCK_OF = {"text": "text", "reasoning": "thinking", "signature": "thinking", "call": "call", "arguments": "call"}


def _blocks(said: Said) -> list[tuple[str, list[str], Json]]:
    """Type, deltas and members of each block."""
    blocks: list[tuple[str, list[str], Json]] = []
    for kind, pieces in groupby(said.pieces, lambda piece: _BLOCK_OF[piece[0]]):
        given = list(pieces)
        if kind == "call":
            for _, number, id, name in (piece for piece in given if piece[0] == "call"):
                fragments = [piece[2] for piece in given if piece[:2] == ("arguments", number)]
                blocks.append(("tool_use", fragments, {"id": id, "name": name}))
            continue
        signed = "".join(piece[1] for piece in given if piece[0] == "signature")
        deltas = [piece[1] for piece in given if piece[0] != "signature"]
        blocks.append((kind, deltas, {"signature": signed} if kind == "thinking" else {}))
    return blocks


def _counted(said: Said) -> Json:
    prompt, completion, cached, reasoning = said.counts
    input = {"input_tokens": prompt - cached, "cache_creation_input_tokens": 0, "cache_read_input_tokens": cached}
    return {**input, "output_tokens": completion, "output_tokens_details": {"thinking_tokens": reasoning}}


def _anthropic(said: Said, ending: str) -> bytes:
    out = anthropic_streams.start(model=MODEL, usage={**_counted(said), "output_tokens": 1})
    out += PING
    for index, (kind, deltas, members) in enumerate(_blocks(said)):
        out += anthropic_streams.block(index, kind, *deltas, **members)
    if ending != "done":
        return out + (error("anthropic") if ending == "error" else b"")
    return (
        out + anthropic_streams.about(_STOPS[said.reason], **_counted(said)) + anthropic_streams.event("message_stop")
    )


def _anthropic_body(said: Said) -> Json:
    content: list[Json] = []
    for kind, deltas, members in _blocks(said):
        if kind == "tool_use":
            content.append({"type": kind, **members, "input": json.loads("".join(deltas))})
        else:
            text = Said(tuple(("text", delta) for delta in deltas)).said("text")
            content.append({"type": kind, kind: text, **members})
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": content}
    return {**head, "stop_reason": _STOPS[said.reason], "stop_sequence": None, "usage": _counted(said)}


_STREAMS: dict[str, Any] = {
    "openai": _openai,
    "completions": _completions,
    "responses": _responses,
    "ollama": lambda said, ending: _ollama("ollama", said, ending),
    "ollama_generate": lambda said, ending: _ollama("ollama_generate", said, ending),
    "anthropic": _anthropic,
}
_BODIES: dict[str, Any] = {
    "openai": _openai_body,
    "completions": _completions_body,
    "responses": lambda said: _response(said)[1],
    "ollama": lambda said: _ollama_body("ollama", said),
    "ollama_generate": lambda said: _ollama_body("ollama_generate", said),
    "anthropic": _anthropic_body,
}
