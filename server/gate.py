"""Who asks: the keys of the configuration and those of the store, as one.

Keys are demanded as soon as there is one, and go on being demanded when the last of them is revoked or has expired:
taking a key away never opens a gateway. Whoever asks has an owner's id in the store, by which they are billed and
own sessions: a stored key its own, a key of the configuration and "nobody" an adopted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import refusal
from .access import Key, KeyRing, shown_keys

if TYPE_CHECKING:
    from .config import Config
    from .store.key_rows import Terms
    from .store.store import Store

__all__ = ["Gate"]

NOBODY = "nobody"
"""Under this name the store knows those who need no key."""


class Gate:
    """Knows everybody who may come in."""

    __slots__ = ("_any_static", "_owners", "_static", "_store")

    def __init__(self, config: Config, store: Store | None = None) -> None:
        self._static = KeyRing(config.keys)
        self._any_static = bool(config.keys)
        self._store = store
        self._owners = {key.name: number for number, key in enumerate(config.keys, 1)}  # until the store says others

    async def open(self, config: Config) -> None:
        """Have the store know who shows no key of its own. Raises StoreError."""
        if self._store is not None:
            names = [key.name for key in config.keys]
            self._owners = await self._store.keys.adopt("static", names)
            self._owners |= {"": (await self._store.keys.adopt("nobody", [NOBODY]))[NOBODY]}

    @property
    def demands_keys(self) -> bool:
        """Whether a request has to show a key."""
        return self._any_static or (self._store is not None and self._store.keys.ever)

    async def require(self, headers: Mapping[str, str], origin: str | None) -> Key | None:
        """Whose key a request shows; None where none is needed. Raises Refusal for one that may not come in."""
        if not self.demands_keys:
            return None
        key = await self.identify(headers)
        if key is None:
            if not self.sure:
                raise refusal.busy("Keys cannot be looked up now.")
            raise refusal.unauthenticated(shown=bool(shown_keys(headers)))
        if not self.admits(key, origin):
            raise refusal.forbidden("This key may not be used from this Origin.")
        if not self.sure and hasattr(key, "terms") and self._store is not None and self._store.refuses:
            raise refusal.busy("Keys cannot be looked up now.")  # it may have been revoked meanwhile
        return key

    async def identify(self, headers: Mapping[str, str]) -> Key | None:
        """Whose key a request shows; None if it shows none that is good now."""
        found = self._static.identify(headers)
        if found is None and self._store is not None:
            for secret in shown_keys(headers):
                found = found or await self._store.keys.identify(secret)
            if found is not None:
                self._store.keys.note_use(self.owner(found))
        return found

    @property
    def sure(self) -> bool:
        """Whether it can be told that a key is none of ours: not while the store cannot be read."""
        return self._store is None or self._store.keys.fresh

    def owner(self, key: Key | None) -> int:
        """The id by which the store knows whoever shows this key; without a store, another for each key."""
        stored = getattr(key, "id", None)  # a key of the store has one
        return stored if stored is not None else self._owners.get(key.name if key else "", 0)

    @staticmethod
    def admits(key: Key, origin: str | None) -> bool:
        """Whether the key may be used from this page, or from what is no page."""
        terms: Terms | None = getattr(key, "terms", None)
        return origin is None or terms is None or not terms.origins or origin.lower() in terms.origins

    def allows_origin(self, origin: str) -> bool:
        """Whether some key names this origin: a preflight shows no key."""
        return self._store is not None and self._store.keys.names_origin(origin.lower())
