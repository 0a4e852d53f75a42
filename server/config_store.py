"""Where the store is, by what `[store]` says: on if it says anything, or if the default file is there already.

`penstock keys create` makes the default file, so that a gateway which starts without any configuration
afterwards asks for those keys. A password is never inline: an address that has one comes from a variable or
a file, like any secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from . import config_secrets
from .config_sources import KeyPath, Sources
from .store.location import Location, default_file, locate

if TYPE_CHECKING:
    from .config import StoreSettings

__all__ = ["location"]

_URL: KeyPath = ("store", "url")


def location(
    settings: StoreSettings, environ: Mapping[str, str], sources: Sources, *, wanted: bool = False
) -> Location | None:
    """The store's location; None if there is none. `wanted`: there shall be one, by default if need be.

    Raises ConfigError.
    """
    if not settings.enabled:
        return None
    if not wanted and not sources.says(("store",)):
        file = default_file(environ)
        if file is None or not file.exists():
            return None
    url = settings.url
    if not isinstance(url, str):
        url = config_secrets.store_url(url, environ, sources)
    elif _has_password(url):
        raise sources.error(
            _URL, 'must not have a password in it: write { env = "NAME_OF_A_VARIABLE" } or { file = "path" }.'
        )
    try:
        return locate(url, environ, sources.folder(_URL))
    except ValueError as problem:
        raise sources.error(_URL, str(problem)) from problem


def _has_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return True  # who knows; it is no address in any case
