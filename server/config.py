"""The configuration: one tree of settings from a TOML file, the environment and the command line.

`Shape` is all that can be said, and docs/configuration.md explains each key with the reason for its default.
`load` reads, checks everything that can be known without a network, fetches the secrets from where they
are, and returns a `Config`, which cannot change any more. With no file, what the environment offers is
offered (`discovery`).

Client keys are kept as digests only. Keys of upstreams are in `Config.secrets`, which no `repr` shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..providers.settings import (
    Count,
    FilePath,
    HeaderTable,
    ProviderSettings,
    RouteSettings,
    Seconds,
    SecretSource,
    Settings,
    TimeoutSettings,
)
from . import config_checks, config_reader, config_secrets, config_store, discovery
from .access import Key
from .config_sources import PREFIX, ConfigError, Sources
from .store.location import Location

__all__ = [
    "Config",
    "ConfigError",
    "KeySettings",
    "Limits",
    "Server",
    "SessionSettings",
    "Shape",
    "StartError",
    "StoreSettings",
    "TimeoutTable",
    "load",
    "store_location",
]


class StartError(Exception):
    """The gateway cannot start. The message is one plain sentence."""


Port = Annotated[int, Meta(ge=0, le=65535, description="a port from 1 to 65535, or 0 for any that is free")]
Size = Annotated[int, Meta(ge=1, le=2**40, description="a whole number of bytes, at least 1")]
Number = Annotated[int, Meta(ge=1, le=2**31, description="a whole number, at least 1")]
# Python's JSON scanner recurses once a level, and its stack ends near a thousand.
Depth = Annotated[int, Meta(ge=1, le=512, description="a whole number from 1 to 512")]


class Server(Settings, frozen=True):
    """`[server]`: where clients come in, and which of them."""

    host: str = "127.0.0.1"
    port: Port = 8777
    tls_cert: FilePath = ""
    tls_key: FilePath = ""
    trusted_proxies: list[str] = []
    allowed_hosts: list[str] = []
    allowed_origins: list[str] = []
    open_without_keys: bool = False
    half_closed: Literal["leave", "serve"] = "leave"
    metrics: Literal["loopback", "key", "open"] = "loopback"


class TimeoutTable(TimeoutSettings, frozen=True):
    """`[timeouts]`: those of upstreams, which may stand in a provider as well, and those of our own listener."""

    drain: Seconds = 30.0
    header: Seconds = 10.0
    body: Seconds = 30.0
    body_total: Seconds = 1800.0
    keep_alive: Seconds = 75.0
    websocket_initialize: Seconds = 10.0
    websocket_ping: Seconds = 25.0

    @property
    def upstream(self) -> TimeoutSettings:
        """What the user said about upstreams in general; a provider may say otherwise."""
        return TimeoutSettings(**{name: getattr(self, name) for name in TimeoutSettings.__struct_fields__})


class Limits(Settings, frozen=True):
    """`[limits]`: on everything that a peer can make grow."""

    header_bytes: Size = 65536
    target_bytes: Size = 8192
    body_bytes: Size = 33554432
    frame_bytes: Size = 16777216
    message_bytes: Size = 33554432
    pipeline_bytes: Size = 65536
    json_depth: Depth = 128
    connections: Number = 10000
    requests: Number = 4096
    upload_bytes: Size = 104857600
    spool_bytes: Size = 1048576
    uploads: Number = 64
    websocket_message_bytes: Size = 16777216
    websocket_requests: Number = 64


class SessionSettings(Settings, frozen=True):
    """`[sessions]`: conversations that the gateway remembers."""

    window_tokens: Number = 32768
    wait: Seconds = 60.0


class StoreSettings(Settings, frozen=True):
    """`[store]`: where keys, sessions and accounts are kept. There is none unless this is said, or the default file
    is there.
    """

    enabled: bool = True
    url: str | SecretSource = ""
    on_failure: Literal["refuse", "continue"] = "refuse"
    response_days: Count = 30
    usage_days: Count = 365
    session_days: Count = 0


class KeySettings(Settings, frozen=True):
    """One `[[keys]]` table: a key that clients may show, and the models that it opens."""

    name: str
    key: SecretSource
    models: list[str] = msgspec.field(default_factory=lambda: ["*"])
    admin: bool = False


class Shape(Settings, frozen=True):
    """All that can be said."""

    server: Server = Server()
    timeouts: TimeoutTable = TimeoutTable()
    limits: Limits = Limits()
    sessions: SessionSettings = SessionSettings()
    store: StoreSettings = StoreSettings()
    headers: HeaderTable = HeaderTable()
    providers: dict[str, ProviderSettings] = {}
    routes: dict[str, RouteSettings] = {}
    aliases: dict[str, str] = {}
    keys: list[KeySettings] = []


class Config:
    """The configuration, decided and checked. Nobody changes it."""

    __slots__ = (
        "aliases",
        "headers",
        "keys",
        "limits",
        "offered",
        "providers",
        "routes",
        "secrets",
        "server",
        "sessions",
        "shape",
        "sources",
        "store",
        "store_location",
        "timeouts",
    )

    def __init__(
        self,
        shape: Shape,
        sources: Sources,
        *,
        offered: Mapping[str, ProviderSettings],
        secrets: Mapping[str, str],
        keys: list[Key],
        store_location: Location | None = None,
    ) -> None:
        self.shape = shape
        """What was said, as it was said."""
        self.sources = sources
        """Who said it."""
        self.server = shape.server
        self.timeouts = shape.timeouts
        self.limits = shape.limits
        self.headers = shape.headers
        self.sessions = shape.sessions
        self.store = shape.store
        self.store_location = store_location
        """Where the store is; None if there is none."""
        self.offered = offered
        """Providers that nobody asked for: `echo`, and what the environment has."""
        self.providers = {**offered, **shape.providers}
        self.routes = shape.routes
        self.aliases = shape.aliases
        self.secrets = secrets
        """The API keys of providers that have one, by the provider's name."""
        self.keys = keys

    def __repr__(self) -> str:
        return f"<Config {self.sources.file or 'without a file'}: {', '.join(self.providers)}>"


def load(path: Path | None, environ: Mapping[str, str], *, options: Mapping[str, object] | None = None) -> Config:
    """Read the configuration: `path` (None: zero configuration), then `environ`, then `options`, which are
    values of the command line by dotted key (`server.port`). Raises ConfigError.
    """
    _refuse_single_underscores(environ)
    sources = Sources(path, environ, options or {})
    shape = config_reader.read(Shape, sources)
    offered = discovery.offered(shape, environ, everything=path is None)
    providers = {**offered, **shape.providers}
    config_checks.check(shape, providers, sources)
    return Config(
        shape,
        sources,
        offered=offered,
        secrets=config_secrets.upstream_keys(providers, environ, sources),
        keys=config_secrets.client_keys(shape.keys, environ, sources),
        store_location=config_store.location(shape.store, environ, sources),
    )


def store_location(path: Path | None, environ: Mapping[str, str]) -> Location | None:
    """Where the store is or would be made, without a look at anything else; None if `store.enabled` is false.

    Raises ConfigError.
    """
    _refuse_single_underscores(environ)
    sources = Sources(path, environ)
    shape = config_reader.read(Shape, sources)
    return config_store.location(shape.store, environ, sources, wanted=True)


def _refuse_single_underscores(environ: Mapping[str, str]) -> None:
    """PENSTOCK_SERVER_PORT would be ignored in silence, were it not for this."""
    for section, shape in (
        ("server", Server),
        ("timeouts", TimeoutTable),
        ("limits", Limits),
        ("sessions", SessionSettings),
        ("store", StoreSettings),
    ):
        for key in shape.__struct_fields__:
            name = f"{PREFIX}{section}_{key}".upper()
            # Kubernetes sets this one itself for a service named penstock-server.
            if name in environ and not environ[name].startswith("tcp://"):
                right = f"{PREFIX}{section}__{key}".upper()
                raise ConfigError(f"The environment variable {name} is not a setting; did you mean {right}?")
