"""The dialects: which there are, and what each can do. A new one is a module and a row here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, Protocol

from ..chat import Answer, Event, Failed, Request, Usage
from . import anthropic, completions, ollama, ollama_generate, openai, responses
from .source import Source

__all__ = ["DIALECTS", "Dialect", "Encoder", "translate_request"]


class Encoder(Protocol):
    """Events to bytes."""

    content_type: ClassVar[str]

    def encode(self, events: Iterable[Event]) -> bytes:
        """The bytes for these events."""

    @property
    def failed(self) -> Failed | None:
        """Why it ended of itself and encodes nothing more, if it did; the client has been told."""


class EncoderType(Protocol):
    """Makes an encoder; keywords: `include_usage`, `id`, `created`, `model`, and the dialect's own."""

    content_type: str

    def __call__(self, **options: Any) -> Encoder: ...


class Dialect(NamedTuple):
    """One dialect. `framing` is that of its streams, as `detect` names it; `passage` and `mend_response` pass its
    own bytes on, mending only what must be. `as_chat` is there where requests are prompts and no conversations, and
    refuses what a chat has no words for.
    """

    framing: str
    decoder: Callable[..., Source[Event]]
    encoder: Any
    decode_request: Callable[[bytes], Request]
    encode_request: Callable[..., bytes]
    decode_response: Callable[..., Answer | Failed]
    encode_response: Callable[..., bytes]
    decode_error: Callable[..., Failed]
    encode_error: Callable[[Failed], tuple[int, bytes]]
    passage: Callable[..., Source[bytes]] | None = None
    mend_response: Callable[..., tuple[bytes, Usage | None] | Failed] | None = None
    as_chat: Callable[[Request], Request] | None = None


def _row(framing: str, module: ModuleType) -> Dialect:
    """A row of what the module defines under the names of the protocol."""
    return Dialect(
        framing,
        module.StreamDecoder,
        module.StreamEncoder,
        module.decode_request,
        module.encode_request,
        module.decode_response,
        module.encode_response,
        module.decode_error,
        module.encode_error,
        getattr(module, "Passage", None),
        getattr(module, "mend_response", None),
        getattr(module, "as_chat", None),
    )


DIALECTS: Mapping[str, Dialect] = {
    "openai": _row("sse", openai),
    "completions": _row("sse", completions),
    "ollama": _row("ndjson", ollama),
    "ollama_generate": _row("ndjson", ollama_generate),
    "responses": _row("sse", responses),
    "anthropic": _row("sse", anthropic),
}


def translate_request(request: Request, source: str, sink: str, **own: Any) -> bytes:
    """A request that came in dialect `source`, as `sink` reads it; `own` goes to the sink's `encode_request`.

    Raises RemoteProtocolError (400) for what `sink` has no words for and what it would not do to leave out.
    """
    said, told = DIALECTS[source], DIALECTS[sink]
    if said.as_chat is not None and told.as_chat is None:
        request = said.as_chat(request)
    return told.encode_request(request, **own)
