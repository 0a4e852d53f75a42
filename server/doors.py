"""The doors: the dialects in which a client may ask, and what is particular to each before an answer begins.

Behind every door lies the same `Exchange`. A door says which member its requests cannot do without, whether an
answer streams where the client does not say, how the ids of its answers begin, what fills a silence, and what the
dialect's encoder has to be told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..protocol.dialects import DIALECTS
from ..protocol.dialects.ollama import Times
from ..protocol.members import Members

__all__ = ["DOORS", "Door"]

COMMENT = b": keep-alive\n\n"  # never ": ping": one client takes that for the end of the stream
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
"""What Anthropic's own API sends: its SDK drops what has no `event:` line."""


def _nothing(body: Members) -> dict[str, Any]:
    return {}


class Door(NamedTuple):
    """One dialect of clients. `dialect` is its name in `protocol.dialects`; `needs` the member that a request cannot
    do without, which must be a list that is not empty where `of_messages` says so."""

    dialect: str
    needs: str = "messages"
    of_messages: bool = True
    streams: bool = False
    id_prefix: str = "chatcmpl-"
    silence: bytes | None = COMMENT
    """None where the dialect has no comments: an object with empty content holds a connection open."""
    encoding: Callable[[Members], dict[str, Any]] = _nothing
    """What the sink's encoder is to be told, from the request's body."""

    @property
    def content_type(self) -> str:
        """The content type of its streams."""
        kind: str = DIALECTS[self.dialect].encoder.content_type
        return kind


def _ollamas(body: Members) -> dict[str, Any]:
    return {"times": Times(time.monotonic_ns, time.time_ns())}


def _responses(body: Members) -> dict[str, Any]:
    asked = {name: body.value(name) for name in body.names() if name != "input"}
    return {"request": {**asked, "store": False}}  # true only where it is kept, which is not known yet


DOORS: Mapping[str, Door] = {
    "openai": Door("openai"),
    "completions": Door("completions", "prompt", of_messages=False, id_prefix="cmpl-"),
    "responses": Door("responses", "input", of_messages=False, id_prefix="resp_", encoding=_responses),
    "anthropic": Door("anthropic", id_prefix="msg_", silence=PING),
    "ollama": Door("ollama", streams=True, silence=None, encoding=_ollamas),
    "ollama_generate": Door(
        "ollama_generate",
        "prompt",
        of_messages=False,
        streams=True,
        silence=None,
        encoding=_ollamas,
    ),
}
