"""What may be told of a stored key, on the command line and over HTTP alike: everything but what opens it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store.key_rows import StoredKey

__all__ = ["LATEST", "facts", "fault_in_expiry", "fault_in_name", "moment_text"]

LATEST = 253_402_300_799.0
"""The end of the year 9999: nothing later can be written as a date."""

MAX_NAME = 100


def facts(key: StoredKey) -> dict[str, Any]:
    """The key's id, name, hint, state, terms and times, as JSON can carry them."""
    times = {name: moment_text(getattr(key, name)) for name in _TIMES}
    terms = {**key.terms._asdict(), "expires_at": moment_text(key.terms.expires_at)}
    about = {"id": key.id, "name": key.name, "hint": key.hint, "state": key.state(time.time()), "user": key.user}
    return {**about, **terms, **times}


_TIMES = ("created_at", "rotated_at", "revoked_at", "last_used_at")


def moment_text(seconds: float | None) -> str | None:
    """A time of day as ISO 8601 has it, of UTC; what no date can say is the last one that can."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(min(max(seconds, 0.0), LATEST), UTC).isoformat(timespec="seconds")


def fault_in_name(name: str) -> str:
    """Why a key cannot have this name, in a sentence; "" if it can."""
    if name.strip() and name.isprintable() and "/" not in name and len(name) <= MAX_NAME:
        return ""
    return f"A key's name must be readable, without a slash, and not longer than {MAX_NAME} characters."


def fault_in_expiry(expires_at: float, now: float) -> str:
    """Why a key cannot expire at this moment, in seconds since 1970, in a sentence; "" if it can."""
    if expires_at <= now:
        return "The moment at which it expires is past."
    return "" if expires_at <= LATEST else "It must expire before the year 10000; 'expires_at' is in seconds."
