"""Requests that are a prompt and no conversation: what OpenAI's `/completions` and Ollama's `/api/generate` share.

As a chat, a prompt is one message of the user's; where the endpoint knows a system text, the system's message stands
before it. The other way, only such a chat is a prompt: how turns are put together is the model's own template, and
to make one up would change what the model is asked.

What a chat has no words for (token ids, text after the gap, the model's own template) lives in `Request.extra` by its
own name. A dialect's own encoder reads it back; `as_chat` of its module refuses it before any other does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..chat import Request
from ..errors import RemoteProtocolError
from .openai_mend import identical
from .openai_request import invalid

__all__ = ["check", "prompt_of", "refuse", "without"]

_SYSTEM = ("system", "developer")


def refuse(name: str, why: str) -> RemoteProtocolError:
    """A request that this model's dialect has no words for."""
    return invalid(f"'{name}' cannot be used with this model: {why}", "unsupported_parameter")


def check(request: Request, only: Mapping[str, str], idle: Mapping[str, Any]) -> None:
    """Raises RemoteProtocolError (400) for the first field of `only` (name and reason) that asks for something.

    `idle` has the values with which a field asks for nothing.
    """
    for name, why in only.items():
        if name in request.extra and not identical(request.extra[name], idle.get(name)):
            raise refuse(name, why)


def without(request: Request, names: Iterable[str]) -> dict[str, Any]:
    """`extra` without these names."""
    left_out = frozenset(names)
    return {name: value for name, value in request.extra.items() if name not in left_out}


def prompt_of(request: Request) -> tuple[str, Any]:
    """The system's text and the content of the prompt. Raises RemoteProtocolError (400) where the chat is more."""
    if request.tools:
        raise refuse("tools", "it completes a prompt, and calls no tools")
    *before, last = request.messages or [{"role": "user", "content": ""}]
    if last.get("role") != "user" or not all(message.get("role") in _SYSTEM for message in before):
        raise refuse("messages", "it completes one prompt, and knows no conversation")
    system = [message.get("content") for message in before]
    if not all(isinstance(text, str) for text in system):
        raise refuse("messages", "the system's message must be a text")
    return "\n\n".join(map(str, system)), last.get("content")
