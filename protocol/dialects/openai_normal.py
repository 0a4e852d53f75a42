"""Makes chunks of an OpenAI-compatible stream canonical: what any server sends, in the form every client reads.

The canonical order: the role once per choice, deltas, one finish per choice, usage, the end. `take` gets
one chunk and returns the chunks to send, `finish` what was held back for the end. A chunk that needs no
mending is returned as the very same object, so that a relay can send the bytes that it came in.

Held back: a finish reason (late tool deltas and usage sort before it), usage (it goes last, once), and the
first half of a surrogate pair. `version` changes whenever something is remembered that may change how a
later chunk is treated: as long as it stands still, equal shapes have equal results.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Lifecycle
from ..errors import LimitExceeded
from .openai_mend import (
    Chunk,
    canonical_usage,
    finish_reason,
    has_usage,
    identical,
    mend_texts,
    numbered,
    split_choice,
    usage_in,
)
from .openai_tools import Calls
from .source import MAX_CHOICES, MAX_TOOL_CALLS

__all__ = ["Normaliser", "is_annotation"]

OBJECT = "chat.completion.chunk"
# On a chunk these make clients see an error, or something that is not a chunk.
_FORBIDDEN = frozenset({"error", "type", "event", "selected_model_id"})
_TEXTS = ("content", "reasoning_content", "refusal")
# Whether the latest chunk of a choice had the finish reason "", and whether it had anything else.
_NOT_BLANK, _BLANK_WITH_CONTENT, _BLANK_ALONE = range(3)


class _Choice:
    """What is known of one choice."""

    __slots__ = ("blank", "calls", "finish", "function_call", "halves")

    def __init__(self, seed: str) -> None:
        self.calls = Calls(seed)
        self.finish: Chunk | None = None  # the held finish, a whole chunk
        self.function_call = False
        self.blank = _NOT_BLANK
        self.halves: dict[str | int, str] = {}  # field, or index of a tool call -> a high surrogate

    def is_ordinary(self, delta: Chunk) -> bool:
        """Whether this is one text that needs no mending."""
        if len(delta) != 1 or self.halves or self.blank:
            return False
        ((field, text),) = delta.items()
        return field in _TEXTS and isinstance(text, str) and not jsontext.has_surrogate(text)


class Normaliser:
    """One stream. `id`, `created` and `model` stand in where the upstream names none."""

    __slots__ = ("_choices", "_head", "_usage_chunk", "created", "id", "life", "model", "usage", "version")

    def __init__(self, life: Lifecycle, *, id: str = "", created: int = 0, model: str = "") -> None:
        self.life = life
        self.id = id
        self.created = created
        self.model = model
        self.usage: dict[str, Any] | None = None
        self.version = 0
        self._head: Chunk | None = None
        self._usage_chunk: Chunk = {}
        self._choices: dict[int, _Choice] = {}

    @property
    def waits(self) -> bool:
        """Whether half of a character is held back, so that even an ordinary text would not go out as it is."""
        return any(state.halves for state in self._choices.values())

    # -- one chunk --------------------------------------------------------------------------------------

    def take(self, chunk: Chunk) -> list[Chunk]:
        """The canonical chunks for one upstream chunk; errors have been looked for before."""
        choices = chunk.get("choices")
        usage = usage_in(chunk)
        if usage is not None:
            self._keep_usage(usage)
        if not isinstance(choices, list) or not choices:
            if usage is None:
                return []  # filter results, progress, metadata
            self._usage_chunk = chunk
            return self._finishes()
        choices = [choice for choice in choices if isinstance(choice, dict) and not is_annotation(choice)]
        if not choices:
            return []
        head = self._mend_head(chunk)
        out: list[Chunk] = []
        same = head is chunk
        for position, choice in enumerate(choices):
            mended = self._choice(choice, position, head)
            same = same and len(mended) == 1 and mended[0] is choice
            out += mended
        if same and len(choices) == len(chunk["choices"]):
            return [chunk]
        return [{**head, "choices": [choice]} for choice in out]

    def _keep_usage(self, usage: dict[str, Any]) -> None:
        """Keep the last; but some servers end with zeros, having counted before."""
        if self.usage is None or any(usage.values()):
            self.usage = usage
            self.version += 1

    def _mend_head(self, chunk: Chunk) -> Chunk:
        """The chunk's top level: one identity for the whole stream, no forbidden keys, no interim usage."""
        identity = self._head or self._identify(chunk)
        if (
            chunk.get("id") == self.id
            and chunk.get("created") == self.created
            and type(chunk["created"]) is int
            and chunk.get("model") == self.model
            and chunk.get("object") == OBJECT
            and _FORBIDDEN.isdisjoint(chunk)
            and not isinstance(chunk.get("usage"), dict)
            and not has_usage(chunk.get("x_groq"))
        ):
            return chunk
        rest: Chunk = {k: identity.get(k, v) for k, v in chunk.items() if k not in _FORBIDDEN}
        if isinstance(rest.get("usage"), dict):
            del rest["usage"]
        if has_usage(rest.get("x_groq")):
            rest["x_groq"] = {k: v for k, v in rest["x_groq"].items() if k != "usage"}
        return {**{k: v for k, v in identity.items() if k not in rest}, **rest}  # the upstream's order stays

    def _identify(self, chunk: Chunk) -> Chunk:
        given, created = chunk.get("id"), chunk.get("created")
        self.id = given if isinstance(given, str) and given else self.id
        if isinstance(created, (int, float)) and 0 < created < 2**63:
            self.created = int(created)
        model = chunk.get("model")
        self.model = model if isinstance(model, str) and model else self.model
        self._head = {"id": self.id, "object": OBJECT, "created": self.created, "model": self.model}
        return self._head

    # -- one choice -------------------------------------------------------------------------------------

    def _choice(self, choice: Chunk, position: int, head: Chunk) -> list[Chunk]:
        index = choice.get("index")
        if type(index) is not int:
            index = position
            choice = {**choice, "index": index}
        out: list[Chunk] = []
        state = self._choices.get(index)
        first = state is None
        if state is None:
            state = self._open(index, out)
        self.life.content(index)
        delta = _delta(choice)
        if not first and "delta" in choice and choice.get("finish_reason") is None and state.is_ordinary(delta):
            return [choice]  # nearly always, and what all of the rest would come to
        mended = self._delta(state, delta, first, out, index)
        reason = choice.get("finish_reason")
        if reason is None or reason == "":
            self._note_blank(state, reason, delta, first)
            return out + self._parts(choice, index, mended, delta, reason)
        if not _is_empty(mended):
            tokens = {key: value for key, value in choice.items() if key not in ("message", "text")}
            out += split_choice({**tokens, "index": index, "delta": mended, "finish_reason": None})
            choice = {**choice, "logprobs": None} if "logprobs" in choice else choice
        elif first and "role" in mended:
            out.append(_role_choice(index))
        self.life.finish(index)
        self._hold(state, index, choice, reason, head)
        return out

    def _note_blank(self, state: _Choice, reason: Any, delta: Chunk, first: bool) -> None:
        """`""` is `stop` on the last chunk of a choice, and nothing on those before; which it is shows later.

        What counts is which fields a chunk has, and not their text: so it holds for all chunks of one shape.
        """
        empty = delta.keys() <= {"role"}
        if reason == "":
            blank = _BLANK_ALONE if empty and not first else _BLANK_WITH_CONTENT
        else:
            blank = state.blank if empty else _NOT_BLANK
        if blank != state.blank:
            state.blank = blank
            self.version += 1

    def _open(self, index: int, out: list[Chunk]) -> _Choice:
        """A choice begins. Index 0 comes first: one client puts the first it sees at the head of its list."""
        if len(self._choices) >= MAX_CHOICES:
            raise LimitExceeded(f"more than {MAX_CHOICES} choices", kind="too_many_choices", limit=MAX_CHOICES)
        if index and not self._choices:
            self._choices[0] = self._new(0)
            out.append(_role_choice(0))
        self._choices[index] = state = self._new(index)
        return state

    def _new(self, index: int) -> _Choice:
        self.version += 1
        return _Choice(f"{self.id}/{index}")

    def _parts(self, choice: Chunk, index: int, mended: Chunk, delta: Chunk, reason: Any) -> list[Chunk]:
        """The choice without a finish: itself, or mended, or nothing if nothing is left of it."""
        if mended is delta and choice.get("delta") is delta and choice.get("index") == index and reason is None:
            return split_choice(choice)
        if not mended and delta:
            return []
        rest = {key: value for key, value in choice.items() if key not in ("message", "text")}
        if reason == "":
            rest["finish_reason"] = None
        return split_choice({**rest, "index": index, "delta": mended})

    def _delta(self, state: _Choice, delta: Chunk, first: bool, out: list[Chunk], index: int) -> Chunk:
        """The delta in canonical form; the very same object if it was. Role chunks that must go before go to `out`."""
        mended = dict(delta)
        if first:
            if not isinstance(mended.get("role"), str):
                out.append(_role_choice(index))
            elif mended["role"] != "assistant":
                mended["role"] = "assistant"
        else:
            mended.pop("role", None)
        if "role" in mended and not isinstance(mended["role"], str):
            del mended["role"]
        mend_texts(mended)
        for field in _TEXTS:
            if isinstance(mended.get(field), str):
                self._rejoin(state, mended, field)
        if mended.get("function_call"):
            state.function_call = True
        if "tool_calls" in mended:
            self._mend_tools(state, mended)
        if isinstance(mended.get("reasoning_details"), list):
            mended["reasoning_details"] = numbered(mended["reasoning_details"])
        return delta if identical(mended, delta) else mended

    def _mend_tools(self, state: _Choice, mended: Chunk) -> None:
        entries = mended["tool_calls"]
        if not isinstance(entries, list) or not entries:
            del mended["tool_calls"]
            return
        known = len(state.calls)
        fixed = []
        for entry in entries:
            if isinstance(entry, dict):
                call = state.calls.mend(entry)
                if len(state.calls) > MAX_TOOL_CALLS:
                    message = f"more than {MAX_TOOL_CALLS} tool calls"
                    raise LimitExceeded(message, kind="too_many_tool_calls", limit=MAX_TOOL_CALLS)
                if "function" in call:
                    call = {**call, "function": dict(call["function"])}
                    self._rejoin(state, call["function"], "arguments", call["index"])
                fixed.append(call)
        mended["tool_calls"] = fixed
        if len(state.calls) != known or state.calls.unbegun:
            self.version += 1

    def _rejoin(self, state: _Choice, holder: Chunk, field: str, key: str | int | None = None) -> None:
        """Put the halves of a surrogate pair together that two deltas cut apart; a last high half is held back."""
        text = holder[field]
        key = field if key is None else key
        half = state.halves.pop(key, "") if state.halves and text else ""
        if half:
            self.version += 1
            text = half + text
        if jsontext.has_surrogate(text):
            if "\ud800" <= text[-1] <= "\udbff":
                self.version += 1
                state.halves[key] = text[-1]
                text = text[:-1]
            text = jsontext.scrub(text)
        holder[field] = text

    # -- what is held back ------------------------------------------------------------------------------

    def _hold(self, state: _Choice, index: int, choice: Chunk, reason: Any, head: Chunk) -> None:
        """Keep the finish; of several the first counts, but `length` beats any other."""
        canonical = finish_reason(reason)
        if state.finish is not None and (canonical != "length" or not state.finish["choices"]):
            return
        self.version += 1
        rest = {key: value for key, value in choice.items() if key not in ("message", "text")}
        held = {**rest, "index": index, "delta": {}, "finish_reason": canonical}
        if canonical != reason:
            held.setdefault("native_finish_reason", reason)
        state.finish = {**head, "choices": [held]}

    def _finishes(self) -> list[Chunk]:
        """The finishes of all choices that have one; each goes out once."""
        out: list[Chunk] = []
        for index, state in self._choices.items():
            if state.finish is not None and state.finish["choices"]:
                out += self._late(index, state)
                chunk = state.finish
                choice = chunk["choices"][0]
                if choice["finish_reason"] == "function_call":
                    choice["finish_reason"] = "function_call" if state.function_call else "tool_calls"
                elif choice["finish_reason"] == "stop" and len(state.calls):
                    choice["finish_reason"] = "tool_calls"
                out.append(chunk)
                state.finish = {"choices": []}
                self.version += 1
        return out

    def _late(self, index: int, state: _Choice) -> list[Chunk]:
        """What must still go before the finish: lone halves as U+FFFD, and `{}` for calls without arguments."""
        deltas: list[Chunk] = []
        for key in state.halves:
            if isinstance(key, int):
                deltas.append({"tool_calls": [{"index": key, "function": {"arguments": "\ufffd"}}]})
            else:
                deltas.append({key: "\ufffd"})
        state.halves.clear()
        deltas += [{"tool_calls": [{"index": call, "function": {"arguments": "{}"}}]} for call in state.calls.unbegun]
        state.calls.unbegun.clear()
        return [self._made([{"index": index, "delta": delta, "finish_reason": None}]) for delta in deltas]

    def _made(self, choices: list[Chunk]) -> Chunk:
        return {**(self._head or self._identify({})), "choices": choices}

    def eof(self) -> None:
        """The input ends without a marker. A `""` that came alone says that its choice was complete; one that
        came with text may be what this upstream says in each chunk, and does not."""
        for index, state in self._choices.items():
            if state.blank == _BLANK_ALONE:
                self.life.finish(index)

    def finish(self, *, include_usage: bool) -> list[Chunk]:
        """The end was declared: what was held back, in canonical order."""
        for index, state in self._choices.items():
            if state.blank:
                self._hold(state, index, {}, "stop", self._head or self._identify({}))
        out = self._finishes()
        for index, state in self._choices.items():
            out += self._late(index, state)
        if include_usage and self.usage is not None:
            rest = {k: v for k, v in self._usage_chunk.items() if k not in _FORBIDDEN and k != "x_groq"}
            out.append({**rest, **self._made([]), "usage": canonical_usage(self.usage)})
        return out


def is_annotation(choice: Chunk) -> bool:
    """Azure's asynchronous filter sends choices with results and no delta; they say nothing about the answer."""
    if choice.get("delta") is not None:
        return False
    return not any(choice.get(key) is not None for key in ("message", "text", "finish_reason"))


def _delta(choice: Chunk) -> Chunk:
    """The delta, wherever the server put it: `delta`, `message`, or `text`."""
    for key in ("delta", "message"):
        if isinstance(choice.get(key), dict):
            return choice[key]  # type: ignore[no-any-return]
    return {"content": choice["text"]} if isinstance(choice.get("text"), str) else {}


def _role_choice(index: int) -> Chunk:
    return {"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}


def _is_empty(delta: Chunk) -> bool:
    return not any(value for key, value in delta.items() if key != "role")
