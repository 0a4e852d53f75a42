"""What a request means in the session that it names: what the model is sent, and what is kept of it.

Pure functions. A session's messages are kept in the neutral form (OpenAI's), whatever dialect they came in, and are
said in the client's own dialect before the client's own words, which stay as they came.

**Who keeps the history?** A client that sends a message of the assistant's, and after it one of its own, keeps it
itself: its request goes out as it is, and new is what follows that message. All others send only what is new, and the
session's messages are put before it; a message of the assistant's that nobody has spoken after is the beginning of the
answer that is wanted, and as new as the rest. Where nothing is kept yet, everything is new.

**Instructions** (the system's messages at a request's head) hold until others are given: a request's own take the
place of those of the session, and are kept only where they differ. Reasoning is never kept.

**The window.** Instructions stay; of the rest go the newest that leave room for the request and for an answer. What
is left begins with a user's message, and no tool's answer is without its call.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..protocol import jsontext
from ..protocol.chat import Answer, Request
from ..protocol.dialects import DIALECTS
from ..protocol.members import Members
from .store.session_rows import INSTRUCTIONS, Recent
from .store.trimming import estimate, trim

__all__ = ["CONVERSATIONS", "Turn", "kept_answer", "take_turn"]

Json = dict[str, Any]

CONVERSATIONS = {"openai": "messages", "anthropic": "messages", "ollama": "messages", "responses": "input"}
"""The dialects whose requests are conversations, and the member that has them."""

_ASKING = ("user", "tool")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "thinking_blocks")


class Turn(NamedTuple):
    """`changes` are members of the request that go out otherwise; `new` are the messages to be kept."""

    changes: dict[str, bytes]
    new: list[Json]


def take_turn(dialect: str, body: Members, recent: Recent | None, window: int) -> Turn:
    """The turn that this request takes. Raises RemoteProtocolError for what is no request of its dialect, and where
    the session has something that cannot be said in it."""
    asked = DIALECTS[dialect].decode_request(body.body)
    head, own = _split(asked.messages)
    instructions, history = _kept(recent)
    answered = _answered_until(own)
    keeps_its_own = bool(history) and bool(answered)
    new = [_without_thoughts(message) for message in (own[answered:] if keeps_its_own else own)]
    if head != instructions:
        new = head + new
    if keeps_its_own or not (history or instructions):
        return Turn({}, new)
    before = ([] if head else instructions) + history
    fitting = _trimmed(before, head + own, asked, window)
    return Turn(_changes(dialect, body, fitting), new)


def kept_answer(answer: Answer) -> Json:
    """The message that is kept of an answer: what its first choice said and called."""
    message: Json = {"role": "assistant", "content": ""}
    for choice in answer.choices[:1]:
        message["content"] = choice.text
        if choice.refusal:
            message["refusal"] = choice.refusal
        if choice.tool_calls:
            message["content"] = choice.text or None
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in choice.tool_calls
            ]
    return message


def _split(messages: Sequence[Json]) -> tuple[list[Json], list[Json]]:
    """The instructions at the head, and the rest."""
    end = next((place for place, message in enumerate(messages) if message.get("role") not in INSTRUCTIONS), None)
    end = len(messages) if end is None else end
    return list(messages[:end]), list(messages[end:])


def _answered_until(own: Sequence[Json]) -> int:
    """The place behind the assistant's last message that somebody has spoken after; 0 if there is none."""
    spoken_after = False
    for place in reversed(range(len(own))):
        role = own[place].get("role")
        if role == "assistant" and spoken_after:
            return place + 1
        spoken_after = spoken_after or role in _ASKING
    return 0


def _kept(recent: Recent | None) -> tuple[list[Json], list[Json]]:
    """The session's instructions that hold now, and the rest of what it has.

    Those at the head of a request stand at the beginning or after an answer; others belong to where they were said.
    """
    if recent is None:
        return [], []
    instructions = [message.body for message in recent.instructions]
    rest: list[Json] = []
    before = "answer"
    for message in recent.messages:
        role = str(message.body.get("role"))
        if role in INSTRUCTIONS and before in ("answer", "instructions"):
            instructions = [*(instructions if before == "instructions" else ()), message.body]
            before = "instructions"
        else:
            rest.append(message.body)
            before = "answer" if role == "assistant" else role
    return instructions, rest


def _without_thoughts(message: Json) -> Json:
    return {name: value for name, value in message.items() if name not in _THOUGHTS}


def _trimmed(before: list[Json], own: list[Json], asked: Request, window: int) -> list[Json]:
    """What of `before` fits, with the request and an answer, into the window."""
    answer = asked.max_tokens if isinstance(asked.max_tokens, int) else window // 4
    room = window - min(max(answer, 0), window // 2) - (estimate({"tools": asked.tools}) if asked.tools else 0)
    fitting = set(map(id, trim([*before, *own], room)))
    kept = [message for message in before if id(message) in fitting]
    head, rest = _split(kept)
    users = [place for place, message in enumerate(rest) if message.get("role") == "user"]
    return head + _answered(rest[users[0] :] if users else rest, own)


def _answered(before: list[Json], own: list[Json]) -> list[Json]:
    """Without the calls of tools that nobody has answered, and answers without a call: a client may have given one
    up, and no server takes a conversation with such a call in it. What `own` goes on with is its client's matter."""
    going_on = bool(own) and own[0].get("role") == "tool"
    found: list[Json] = []
    called: set[Any] = set()
    for place, message in enumerate(before):
        if message.get("role") == "tool":
            if message.get("tool_call_id") in called:
                found.append(message)
            continue
        called = {call.get("id") for call in message.get("tool_calls") or ()}
        following = (before[later] for later in range(place + 1, len(before)))  # no copy of all that is left
        tools = itertools.takewhile(lambda later: later.get("role") == "tool", following)
        answers = {later.get("tool_call_id") for later in tools}
        at_the_end = place + len(answers) + 1 >= len(before)
        if called <= answers or (going_on and at_the_end):
            found.append(message)
            continue
        called = set()
        message = {name: value for name, value in message.items() if name != "tool_calls"}
        if message.get("content"):
            found.append(message)
    return found


def _changes(dialect: str, body: Members, before: list[Json]) -> dict[str, bytes]:
    """The members with which the request says what was before it, too."""
    member = CONVERSATIONS[dialect]
    only_instructions = all(message.get("role") in INSTRUCTIONS for message in before)
    stand_in = [{"role": "user", "content": "."}] if only_instructions else []  # no dialect is made for less
    said = json.loads(DIALECTS[dialect].encode_request(Request("session", before + stand_in)))
    if stand_in:
        said[member].pop()
    own = body.value(member)
    if isinstance(own, str):
        own = [{"role": "user", "content": own}]
    head, rest = _split(own) if member == "messages" else ([], own)
    changes: Json = {member: [*head, *said[member], *rest]}
    for name in ("system", "instructions"):
        if name in said and body.value(name) is None:
            changes[name] = said[name]
    return {name: jsontext.dumps(value) for name, value in changes.items()}
