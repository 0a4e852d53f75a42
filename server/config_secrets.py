"""Fetches the secrets that a configuration points at, once, when it is read.

Whatever is wrong is told by the key and the place that point there; no message repeats a secret. Of a
client's key only a digest is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET

from ..providers.presets import key_variable
from ..providers.settings import ProviderSettings, SecretSource
from .access import Key
from .config_sources import KeyPath, Sources

if TYPE_CHECKING:
    from .config import KeySettings

__all__ = ["client_keys", "store_url", "upstream_keys"]

MAX_SECRET_BYTES = 65536
"""How much of a file is read for a key; no HTTP header carries more."""


def upstream_keys(
    providers: Mapping[str, ProviderSettings], environ: Mapping[str, str], sources: Sources
) -> dict[str, str]:
    """The API keys of providers, by name, for those that have one."""
    keys = {}
    for name, settings in providers.items():
        if settings.api_key is not UNSET:
            keys[name] = _secret(("providers", name, "api_key"), settings.api_key, environ, sources)
        elif usual := environ.get(key_variable(settings), "").strip():
            keys[name] = _fit_for_a_header(("providers", name, "api_key"), usual, sources)
    return keys


def client_keys(settings: Iterable[KeySettings], environ: Mapping[str, str], sources: Sources) -> list[Key]:
    """The keys that clients may show; what is kept of each is a digest."""
    keys: list[Key] = []
    for index, key in enumerate(settings):
        path: KeyPath = ("keys", index)
        if not key.name.strip():
            raise sources.error((*path, "name"), "must not be empty: logs and accounts tell keys apart by it.")
        if not key.models:
            raise sources.error((*path, "models"), "opens no model at all; leave it out for all of them.")
        digest = hashlib.sha256(_secret((*path, "key"), key.key, environ, sources).encode()).digest()
        for other in keys:
            if other.name == key.name:
                raise sources.error((*path, "name"), f"is used twice, {key.name!r}.")
            if other.digest == digest:
                raise sources.error((*path, "key"), f"is the same key as that of {other.name!r}.")
        keys.append(Key(key.name, digest, key.models, admin=key.admin))
    return keys


def store_url(source: SecretSource, environ: Mapping[str, str], sources: Sources) -> str:
    """The store's address where it has a password in it."""
    return _text(("store", "url"), source, environ, sources)[1]


def _secret(path: KeyPath, source: SecretSource, environ: Mapping[str, str], sources: Sources) -> str:
    where, text = _text(path, source, environ, sources)
    return _fit_for_a_header(where, text, sources)


def _text(path: KeyPath, source: SecretSource, environ: Mapping[str, str], sources: Sources) -> tuple[KeyPath, str]:
    """What the source holds, and the key that leads there."""
    if (source.env is UNSET) == (source.file is UNSET):
        raise sources.error(path, "must say where the key is, by either env or file, and not by both.")
    if source.env is not UNSET:
        secret = environ.get(source.env, "").strip()
        if not secret:
            state = "is empty" if source.env in environ else "is not set"
            # Somebody may have put the key itself where its variable's name belongs.
            name = source.env if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", source.env) else "that it names"
            raise sources.error((*path, "env"), f"takes the key from the environment variable {name}, which {state}.")
        return (*path, "env"), secret
    assert source.file is not UNSET
    where = (*path, "file")
    try:
        with Path(source.file).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES).decode().strip()
    except OSError as exc:
        raise sources.error(where, f"names a file that cannot be read, {source.file}: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise sources.error(where, f"names a file that is not text, {source.file}.") from exc
    if not content:
        raise sources.error(where, f"names an empty file, {source.file}.")
    return where, content


def _fit_for_a_header(path: KeyPath, secret: str, sources: Sources) -> str:
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise sources.error(path, "leads to a key with spaces or characters that no HTTP header can carry.")
    return secret
