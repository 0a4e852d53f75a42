"""Providers that nobody configured: `echo`, always, and without a file what the environment offers.

A vendor is offered when the variable that usually holds its key is set. Ollama needs no key, so it is
offered at its usual address, or where OLLAMA_HOST says; if none runs there, its list of models is empty and
that is all. OPENAI_BASE_URL is not read: on a machine that uses penstock it points at penstock.

Whatever the user calls by one of these names comes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import UNSET

from ..providers.presets import PRESETS
from ..providers.settings import ProviderSettings
from .config_sources import ConfigError

if TYPE_CHECKING:
    from .config import Shape

__all__ = ["offered", "ollama_url"]

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def offered(shape: Shape, environ: Mapping[str, str], *, everything: bool) -> dict[str, ProviderSettings]:
    """The providers to add to those in `shape`, by name; only `echo` unless `everything` is wanted."""
    found = {}
    if "echo" not in shape.providers:
        found["echo"] = ProviderSettings(preset="echo")
    if not everything:
        return found
    taken = shape.providers.keys() | shape.routes.keys() | shape.aliases.keys()
    for name, preset in PRESETS.items():
        if name in taken or preset.embedded:
            continue
        if name == "ollama":
            found[name] = ProviderSettings(preset=name, base_url=ollama_url(environ.get("OLLAMA_HOST", "")) or UNSET)
        elif preset.key_env and environ.get(preset.key_env, "").strip():
            found[name] = ProviderSettings(preset=name)
    return found


def ollama_url(host: str) -> str:
    """Where OLLAMA_HOST says that Ollama is, read as Ollama's own client reads it; "" for the usual place.

    It may lack a scheme, a host or a port, and a server's "all addresses" means this machine to a client.
    Raises ConfigError if it is no address at all.
    """
    host = host.strip().strip("\"'")
    if not host:
        return ""
    scheme, separator, rest = host.partition("://")
    if not separator:
        scheme, rest = "http", host
    usual = {"http": "80", "https": "443"}.get(scheme, "11434") if separator else "11434"
    authority, slash, path = rest.partition("/")
    name, port = authority, ""
    if authority.count(":") == 1 or "]:" in authority:
        name, _, port = authority.rpartition(":")
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    if name in ("", "0.0.0.0", "[::]"):
        name = "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        port = usual
    if scheme not in ("http", "https") or not _HOST.fullmatch(name):
        raise ConfigError("The environment variable OLLAMA_HOST is not an address like 127.0.0.1:11434.")
    return f"{scheme}://{name}:{port}{slash}{path}".rstrip("/")
