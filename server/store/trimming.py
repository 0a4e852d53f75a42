"""Which messages of a conversation still fit into a model's window: the system's, and the newest.

A pure function. What is left is a conversation as OpenAI's API accepts it: the last message stays, however long it
is, and no tool message is without the call that it answers. Tokens are estimated (a quarter
of the bytes of the text, which is about right for English and Russian, and for Chinese on the safe side);
whoever can count may give a function of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..estimate import ATTACHMENT, BYTES_PER_TOKEN

__all__ = ["estimate", "trim"]

M = TypeVar("M", bound=Mapping[str, Any])

PER_MESSAGE = 4
"""Tokens of a message's role and frame."""


def estimate(message: Mapping[str, Any]) -> int:
    """About how many tokens a message in OpenAI's chat form has."""
    return PER_MESSAGE + sum(_tokens(value) for name, value in message.items() if name != "role")


def trim(messages: Sequence[M], limit: int, count: Callable[[M], int] = estimate) -> list[M]:
    """The messages that fit into `limit` tokens: all of the system's, and as many of the newest others."""
    system = {index for index, message in enumerate(messages) if message.get("role") in ("system", "developer")}
    room = limit - sum(count(messages[index]) for index in system)
    others = [index for index in range(len(messages)) if index not in system]
    start = len(others)
    for place in reversed(range(len(others))):
        room -= count(messages[others[place]])
        if room < 0:
            break
        start = place
    start = _on_a_boundary(messages, others, start)
    kept = system.union(others[start:])
    return [message for index, message in enumerate(messages) if index in kept]


def _on_a_boundary(messages: Sequence[Mapping[str, Any]], others: Sequence[int], start: int) -> int:
    """The first place from `start` on that may begin a conversation; for the last message's sake, one before."""
    for place in range(start, len(others)):
        if messages[others[place]].get("role") != "tool":
            return place
    for place in reversed(range(min(start, len(others)))):  # it ends with tool messages: back to their call
        if messages[others[place]].get("role") != "tool":
            return place
    return 0


def _tokens(value: Any) -> int:
    """Tokens of a part of a message, without looking deeper than its content can go."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace")) // BYTES_PER_TOKEN + 1
    if isinstance(value, Mapping):
        if value.get("type") in _ATTACHMENTS:
            return ATTACHMENT
        return sum(_tokens(inner) for inner in value.values())
    if isinstance(value, Sequence):
        return sum(_tokens(inner) for inner in value)
    return 0 if value is None else 1


_ATTACHMENTS = ("image_url", "image", "input_image", "input_audio", "file", "input_file")
