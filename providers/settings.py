"""What a user may say about an upstream: the shapes of `[timeouts]`, `[providers.*]` and `[routes.*]`.

These are data, checked when the configuration is read; what they mean is decided where they are used. A
field left out is `UNSET`, so that a preset's default can be told from a user's wish: a value given by the
user beats a preset's, one given for a provider beats one given for all.

The annotated types carry their bounds, and the words in which a wrong value is told what was expected.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

__all__ = [
    "DEFAULT_TIMEOUTS",
    "Count",
    "FilePath",
    "HeaderRules",
    "HeaderTable",
    "Operation",
    "ProviderSettings",
    "RouteSettings",
    "RouteTarget",
    "Seconds",
    "SecretSource",
    "Settings",
    "TimeoutSettings",
    "Timeouts",
]

# The upper bound turns away infinity, and what only a slip of the finger can have meant.
Seconds = Annotated[float, Meta(ge=0, le=1e9, description="a number of seconds, with 0 for none")]
Count = Annotated[int, Meta(ge=0, le=2**31, description="a whole number, with 0 for no limit")]
FilePath = Annotated[str, Meta(description="the path of a file", extra={"path": True})]
"""Relative to the folder of the configuration file that says it; absolute once the configuration is read."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all settings: immutable, and an unknown key is an error that names it."""


class TimeoutSettings(Settings, frozen=True):
    """Seconds, as a user wrote them; 0 means none, UNSET means not said."""

    connect: Seconds | UnsetType = UNSET
    first_event: Seconds | UnsetType = UNSET
    idle: Seconds | UnsetType = UNSET
    write: Seconds | UnsetType = UNSET
    answer: Seconds | UnsetType = UNSET
    embeddings: Seconds | UnsetType = UNSET
    total: Seconds | UnsetType = UNSET
    keepalive: Seconds | UnsetType = UNSET
    settle: Seconds | UnsetType = UNSET


class Timeouts(Settings, frozen=True):
    """Seconds, decided; 0 means none."""

    connect: float = 10.0
    """Name lookup, connecting and TLS."""
    first_event: float = 120.0
    """From the request's last byte to the first event that means something: headers and queueing are in it."""
    idle: float = 30.0
    """Between two events; an upstream's comments count as life."""
    write: float = 30.0
    """Without the client taking a byte."""
    answer: float = 300.0
    """The whole of an answer that does not stream."""
    embeddings: float = 30.0
    """The whole of an answer of embeddings: there is nothing to wait for, and somebody's search waits for it."""
    total: float = 0.0
    """The whole of any request."""
    keepalive: float = 0.0
    """Silence after which a streaming client gets a comment; the first one commits the status."""
    settle: float = 5.0
    """After every choice has finished: how long to wait for late usage and the end marker."""

    def with_changes(self, *changes: TimeoutSettings) -> Timeouts:
        """These timeouts with what was said in `changes`, the later ones winning."""
        said = {
            name: value
            for change in changes
            for name, value in msgspec.structs.asdict(change).items()
            if value is not UNSET
        }
        return msgspec.structs.replace(self, **said)


DEFAULT_TIMEOUTS = Timeouts()


class SecretSource(Settings, frozen=True):
    """Where a secret is: in an environment variable or in a file, one of the two. Never in the configuration itself."""

    env: str | UnsetType = UNSET
    file: FilePath | UnsetType = UNSET


Operation = Literal[
    "openai", "completions", "responses", "anthropic", "ollama", "ollama_generate",
    "count_tokens", "embeddings", "ollama_embed", "moderations", "images", "image_edits", "image_variations", "rerank",
    "transcriptions", "translations", "speech",
]  # fmt: skip
"""What can be asked of an upstream: a chat in one of the dialects, by the dialect's name, or something else."""


class HeaderRules(Settings, frozen=True):
    """Which headers are passed on in one direction; `headers` has what they mean and what no rule can change."""

    allow: list[str] | UnsetType = UNSET
    deny: list[str] | UnsetType = UNSET
    rename: dict[str, str] | UnsetType = UNSET
    add: dict[str, str] | UnsetType = UNSET


class HeaderTable(Settings, frozen=True):
    """`[headers]`: the rules of both directions, which a provider may say otherwise."""

    request: HeaderRules = HeaderRules()
    response: HeaderRules = HeaderRules()


class ProviderSettings(Settings, frozen=True):
    """One `[providers.NAME]` table."""

    preset: str = "openai"
    base_url: str | UnsetType = UNSET
    speaks: list[Operation] | UnsetType = UNSET
    api_key: SecretSource | UnsetType = UNSET
    models: list[str] | UnsetType = UNSET
    on_client_gone: Literal["cancel", "drain"] = "cancel"
    parallel: Count = 0
    transport: Literal["auto", "direct", "httpx"] = "auto"
    ca_file: FilePath | UnsetType = UNSET
    headers: dict[str, str] = {}
    request_headers: HeaderRules = HeaderRules()
    response_headers: HeaderRules = HeaderRules()
    timeouts: TimeoutSettings = TimeoutSettings()


class RouteTarget(Settings, frozen=True):
    """One step of a route: which provider, and which of its models if not the one that was asked for."""

    provider: str
    model: str | UnsetType = UNSET


class RouteSettings(Settings, frozen=True):
    """One `[routes.NAME]` table: providers in the order in which they are tried."""

    providers: list[str | RouteTarget]
