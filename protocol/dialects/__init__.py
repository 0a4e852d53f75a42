"""The dialects: which there are, and what each can do. A new one is a module and a row here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
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
        module.encode_error,
        getattr(module, "Passage", None),
        getattr(module, "mend_response", None),
    )


DIALECTS: Mapping[str, Dialect] = {
    "openai": _row("sse", openai),
    "ollama": _row("ndjson", ollama),
}
