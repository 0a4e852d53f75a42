"""Keys for a gateway that runs: looked up in memory, changed in the store.

All keys are kept in memory, by digest, and what changed is read every `POLL_SECONDS`: one row, if nothing did.
So a request never waits for SQL, and a revocation, also by another process, is seen within `STALE_SECONDS` (if
the store cannot be read for so long, `fresh` says so, and `store.on_failure` decides). A key that is not known
may have been made a moment ago, by `penstock keys create`: if it looks like one of ours, its request, and only
that, waits for the next look. However many come, there are not more than four looks a second.

A digest is looked up in a dict, which takes no constant time. That tells nothing of use: to come near a digest
one would have to choose SHA-256's output.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

import trio

from . import key_rows
from .desk import Desk
from .errors import StoreError
from .key_rows import NO_LIMITS, PREFIX, StoredKey, Terms

__all__ = ["STALE_SECONDS", "Keys"]

STALE_SECONDS = 5.0
"""A key that was revoked opens nothing after so long, whoever revoked it."""

POLL_SECONDS = 2.0

LOOK_SECONDS = 0.25
"""Between two looks that unknown keys ask for."""

PATIENCE = 2.0
"""How long an unknown key waits for a look, in a store that is slow."""

MAX_SECRET = 256
"""Characters of what may be one of our keys; ours have 55."""


class Keys:
    """The keys of the store at `desk`. `clock` tells the time of day."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._clock = clock
        self._by_id: dict[int, StoredKey] = {}
        self._by_digest: dict[bytes, StoredKey] = {}
        self._revision = -1
        self._read_at = float("-inf")
        self._one_reader = trio.Lock()
        self._next_look = trio.Event()
        self._hurry = trio.Event()
        self._uses: dict[int, float] = {}

    def __len__(self) -> int:
        return sum(key.revoked_at is None for key in self._by_id.values())

    @property
    def ever(self) -> bool:
        """Whether there was ever a key, be it revoked by now: taking one away opens nothing."""
        return bool(self._by_id)

    def names_origin(self, origin: str) -> bool:
        """Whether some key that is good now names this (lower-case) origin."""
        now = self._clock()
        return any(origin in key.terms.origins for key in self._by_id.values() if key.state(now) == "active")

    @property
    def fresh(self) -> bool:
        """Whether what is known is not older than `STALE_SECONDS`."""
        return trio.current_time() - self._read_at <= STALE_SECONDS

    # -- for requests --------------------------------------------------------------------------------

    def known(self, secret: str) -> StoredKey | None:
        """The key that this secret is, if it is known and good now. Waits for nothing."""
        if not secret.startswith(PREFIX) or len(secret) > MAX_SECRET:
            return None
        digest = key_rows.digest_of(secret)
        key, now = self._by_digest.get(digest), self._clock()
        if key is None or key.state(now) != "active":
            return None
        if digest != key.digest and (key.old_until is None or now >= key.old_until):
            return None
        return key

    async def identify(self, secret: str) -> StoredKey | None:
        """As `known`; what looks like a key and is not known is looked for once more."""
        key = self.known(secret)
        if key is None and secret.startswith(PREFIX) and len(secret) <= MAX_SECRET:
            look = self._next_look
            self._hurry.set()
            with trio.move_on_after(PATIENCE):
                await look.wait()
            key = self.known(secret)
        return key

    def note_use(self, key_id: int) -> None:
        """The key was used now; the store learns it within a minute."""
        self._uses[key_id] = self._clock()

    # -- for people ----------------------------------------------------------------------------------

    async def create(self, name: str, terms: Terms = NO_LIMITS, *, user: str = "") -> tuple[StoredKey, str]:
        """A new key and its secret, which is told only here. Raises StoreError, `conflict` if the name is taken."""
        secret = key_rows.new_secret()
        job = partial(key_rows.insert, secret=secret, name=name, terms=terms, user=user, now=self._clock())
        key = await self._desk.write(job)
        if key is None:
            raise StoreError("conflict", f"There is a key named {name!r} already.")
        self._learn([key])
        return key, secret

    async def all(self) -> list[StoredKey]:
        """All keys, the revoked ones too, the oldest first."""
        return await self._desk.read(key_rows.every)

    async def get(self, name: str) -> StoredKey | None:
        """The key of this name that is not revoked."""
        return await self._desk.read(partial(key_rows.find, name=name))

    async def revoke(self, name: str) -> StoredKey | None:
        """End a key for good; here at once, in other processes within `STALE_SECONDS`. None: no such key."""
        key = await self._desk.write(partial(key_rows.revoke, name=name, now=self._clock()))
        self._learn([key] if key else [])
        return key

    async def rotate(self, name: str, *, grace: float = 0.0) -> tuple[StoredKey, str] | None:
        """Give a key a new secret; the old one is good for `grace` seconds more. None: no such key."""
        secret = key_rows.new_secret()
        job = partial(key_rows.rotate, secret=secret, name=name, now=self._clock(), grace=grace)
        key = await self._desk.write(job)
        if key is None:
            return None
        self._learn([key])
        return key, secret

    async def adopt(self, kind: str, names: Iterable[str]) -> dict[str, int]:
        """Ids for those who own things and show no stored key; see `key_rows.adopt`."""
        return await self._desk.write(partial(key_rows.adopt, kind=kind, names=list(names), now=self._clock()))

    # -- the memory ----------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Read what has changed. Raises StoreError."""
        async with self._one_reader:
            began = trio.current_time()
            self._revision, found = await self._desk.read(partial(key_rows.changed, known=self._revision))
            self._learn(found)
            self._read_at = began

    async def run(self) -> None:
        """Keep what is known fresh, for ever."""
        while True:
            look, self._next_look, self._hurry = self._next_look, trio.Event(), trio.Event()
            try:
                await self.refresh()
            except StoreError:
                pass  # the desk has told it, and `fresh` does
            look.set()
            await trio.sleep(LOOK_SECONDS)
            with trio.move_on_after(POLL_SECONDS - LOOK_SECONDS):
                await self._hurry.wait()

    async def write_uses(self) -> None:
        """Tell the store when keys were last used. Raises StoreError."""
        uses, self._uses = self._uses, {}
        if uses:
            try:
                await self._desk.write(partial(key_rows.used, times=uses))
            except BaseException:  # a cancellation too
                self._uses = {**uses, **self._uses}
                raise

    def _learn(self, found: Iterable[StoredKey]) -> None:
        for key in found:
            old = self._by_id.get(key.id)
            if old is not None:
                if old.revision >= key.revision:  # an answer that was overtaken, perhaps by a revocation
                    continue
                for digest in (old.digest, old.old_digest):
                    self._by_digest.pop(digest or b"", None)
            self._by_id[key.id] = key
            if key.revoked_at is None:
                for digest in (key.digest, key.old_digest):
                    if digest:
                        self._by_digest[digest] = key
