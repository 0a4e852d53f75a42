"""What may be told of a stored key, on the command line and over HTTP alike: everything but what opens it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store.key_rows import StoredKey

__all__ = ["facts", "moment_text"]


def facts(key: StoredKey) -> dict[str, Any]:
    """The key's name, hint, state, terms and times, as JSON can carry them."""
    times = {name: moment_text(getattr(key, name)) for name in _TIMES}
    terms = {**key.terms._asdict(), "expires_at": moment_text(key.terms.expires_at)}
    return {"name": key.name, "hint": key.hint, "state": key.state(time.time()), "user": key.user, **terms, **times}


_TIMES = ("created_at", "rotated_at", "revoked_at", "last_used_at")


def moment_text(seconds: float | None) -> str | None:
    """A time of day as ISO 8601 has it, of UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
