"""What is known about upstreams before anyone has said anything: one row of data for each.

A vendor is not a class. What tells one OpenAI-compatible server from another is an address, a variable that
holds the key, a few headers and a quirk or two; all of that is data here, and `provider.Provider` reads it.
A preset is the weakest voice: whatever a user says about a provider beats it.

To add a vendor, add a row; docs/providers.md shows them all, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec
from msgspec import UNSET

from .settings import Operation, ProviderSettings, TimeoutSettings

__all__ = ["OPENAI_PATHS", "PRESETS", "Preset", "key_variable"]

OPENAI_PATHS: Mapping[Operation, str] = MappingProxyType(
    {
        "openai": "/chat/completions",
        "completions": "/completions",
        "responses": "/responses",
        "embeddings": "/embeddings",
        "moderations": "/moderations",
        "images": "/images/generations",
        "image_edits": "/images/edits",
        "image_variations": "/images/variations",
        "rerank": "/rerank",
        "transcriptions": "/audio/transcriptions",
        "translations": "/audio/translations",
        "speech": "/audio/speech",
        "anthropic": "/messages",
        "count_tokens": "/messages/count_tokens",
    }
)
"""Where a server of OpenAI's kind has each operation. Those that stand for a dialect are named as the dialect."""

_COMPATIBLE = tuple(name for name in OPENAI_PATHS if name not in ("responses", "anthropic", "count_tokens"))


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of upstream: where it is, how it is spoken to, and what is odd about it."""

    name: str
    base_url: str
    """Where it is if the user names no other place. Paths are appended to it."""
    dialect: Literal["openai", "ollama", "anthropic"] = "openai"
    """What is said to it where a client's own dialect is not among its operations: a module of `protocol.dialects`."""
    paths: Mapping[Operation, str] = OPENAI_PATHS
    """Where its operations are."""
    operations: tuple[Operation, ...] = ("openai",)
    """Those that it has, unless the user's `speaks` says otherwise. What it has is passed on in its own form."""
    own_operations: tuple[Operation, ...] = ()
    """Those that the vendor's own address has besides; another server of the same kind may not."""
    models_path: str = "/models"
    auth: Literal["bearer", "x-api-key", "none"] = "bearer"
    """How a key is shown, where there is one: `Authorization: Bearer KEY`, `x-api-key: KEY`, or not at all."""
    key_env: str = ""
    """The environment variable in which this vendor's key is looked for; see `key_variable`."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with each request."""
    timeouts: TimeoutSettings = TimeoutSettings()
    """Where this upstream needs other deadlines than the defaults."""
    ask_usage: bool = True
    """Whether `stream_options.include_usage` may be asked for; some refuse fields that they do not know."""
    token_ids: bool = True
    """Whether it embeds token ids, as OpenAI does; text is all that some take."""
    models: tuple[str, ...] = ()
    """Its models, where they need no asking."""
    drop_suffixes: tuple[str, ...] = ()
    """Ends of a base URL that users write out of habit, and that do not belong to it."""
    embedded: bool = False
    """It lives in this process: nothing is looked up, and no proxy or TLS comes into it."""


# Embeddings and legacy completions in OpenAI's form it has only there, and there they are sound.
_OLLAMA_PATHS: dict[Operation, str] = {
    "ollama": "/api/chat",
    "ollama_generate": "/api/generate",
    "ollama_embed": "/api/embed",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}

_ROWS = (
    # Any compatible server, too: vLLM, llama.cpp, LM Studio ... with a `base_url` of its own.
    Preset(
        name="openai",
        base_url="https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        operations=_COMPATIBLE,
        own_operations=("responses",),
    ),
    # "The base URL works with and without /v1", so both forms are left as the user wrote them.
    Preset(name="deepseek", base_url="https://api.deepseek.com", key_env="DEEPSEEK_API_KEY"),
    # OpenRouter attributes its traffic by these two; a user's own `headers` replace them.
    Preset(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        key_env="OPENROUTER_API_KEY",
        headers=(("http-referer", "http://localhost"), ("x-title", "penstock")),
        operations=("openai", "completions", "embeddings"),
    ),
    # 2023-06-01 is the version with sampling fields; a client's own `anthropic-version` replaces it.
    Preset(
        name="anthropic",
        dialect="anthropic",
        base_url="https://api.anthropic.com/v1",
        key_env="ANTHROPIC_API_KEY",
        auth="x-api-key",
        headers=(("anthropic-version", "2023-06-01"),),
        operations=("anthropic", "count_tokens"),
    ),
    # Not its /v1: that loses errors in mid-stream and overrides the Modelfile's temperature. A model may have
    # to be read from the disk before it answers, and it may share the machine with us: hence the patience.
    Preset(
        name="ollama",
        dialect="ollama",
        base_url="http://127.0.0.1:11434",
        paths=MappingProxyType(_OLLAMA_PATHS),
        operations=tuple(_OLLAMA_PATHS),
        models_path="/api/tags",
        key_env="OLLAMA_API_KEY",
        timeouts=TimeoutSettings(connect=15.0, idle=120.0),
        drop_suffixes=("/v1", "/api"),
        token_ids=False,
    ),
    Preset(
        name="echo",
        base_url="http://echo/v1",
        auth="none",
        operations=("openai", "embeddings"),
        models=("echo",),
        embedded=True,
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({row.name: row for row in _ROWS})
"""The rows by name, in the order in which they are shown."""


def key_variable(settings: ProviderSettings) -> str:
    """The environment variable that holds a provider's key if the user named no source for it, or "".

    A vendor's key goes to that vendor's own address and nowhere else: with a `base_url` of the user's, none
    is taken by itself.
    """
    return PRESETS[settings.preset].key_env if settings.base_url is UNSET else ""
