"""The dialects: which there are, and what each can do. A new one is a module and a row here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from ..chat import Answer, Event, Failed, Request, Usage
from . import ollama, openai
from .source import Source

__all__ = ["DIALECTS", "Dialect", "Encoder"]


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
    own bytes on, mending only what must be.
    """

    framing: str
    decoder: Callable[..., Source[Event]]
    encoder: Any
    decode_request: Callable[[bytes], Request]
    encode_request: Callable[[Request], bytes]
    decode_response: Callable[..., Answer | Failed]
    encode_response: Callable[..., bytes]
    encode_error: Callable[[Failed], tuple[int, bytes]]
    passage: Callable[..., Source[bytes]] | None = None
    mend_response: Callable[..., tuple[bytes, Usage | None] | Failed] | None = None


DIALECTS: Mapping[str, Dialect] = {
    "openai": Dialect(
        "sse",
        openai.StreamDecoder,
        openai.StreamEncoder,
        openai.decode_request,
        openai.encode_request,
        openai.decode_response,
        openai.encode_response,
        openai.encode_error,
        openai.Passage,
        openai.mend_response,
    ),
    "ollama": Dialect(
        "ndjson",
        ollama.StreamDecoder,
        ollama.StreamEncoder,
        ollama.decode_request,
        ollama.encode_request,
        ollama.decode_response,
        ollama.encode_response,
        ollama.encode_error,
    ),
}
