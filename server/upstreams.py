"""What is known of each upstream: whether it answered when it was last asked, and since when that is so.

Nobody is asked for this. It comes from the attempts of requests that were served, as `metrics` does, so it can be as
old as the last request; `asked_at` says how old. An upstream that refuses a request for the request's own fault
answers; one that limits us, does not take our key or fails does not. Cost: a dict's entry for each attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET

from ..providers.presets import key_variable

if TYPE_CHECKING:
    from ..providers.provider import Provider
    from .config import Config
    from .gateway import Gateway
    from .ledger import Attempt, Record

__all__ = ["State", "Upstreams", "credentials"]

_REFUSED = (401, 402, 403, 407, 408, 429)


class State:
    """An upstream's state since `since`; times are of the day, 0 for never."""

    __slots__ = ("asked_at", "failure", "ok", "since")

    def __init__(self, *, ok: bool, failure: str, now: float) -> None:
        self.ok = ok
        self.failure = failure
        self.since = self.asked_at = now


class Upstreams:
    """Reads the records of requests that have ended."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._states: dict[str, State] = {}

    def read(self, record: Record) -> None:
        """Learn from one request."""
        for attempt in record.attempts:
            verdict = _verdict(attempt)
            if verdict is not None:
                self._note(attempt.provider, verdict)

    def state(self, name: str) -> State | None:
        """What is known of the upstream of this name; None if it was never asked."""
        return self._states.get(name)

    def _note(self, name: str, failure: str) -> None:
        now, known = self._clock(), self._states.get(name)
        if known is None or known.ok == bool(failure):
            self._states[name] = State(ok=not failure, failure=failure, now=now)
        else:
            known.asked_at, known.failure = now, failure

    def report(self, gateway: Gateway) -> Iterator[dict[str, Any]]:
        """All upstreams, for people and monitors."""
        for name, provider in gateway.catalog.providers.items():
            yield {
                "name": name,
                "preset": provider.preset.name,
                **self._told(name),
                "credentials": credentials(gateway.config, provider),
                "under_way": provider.slots.in_use,
                "operations": sorted(provider.operations),
            }

    def _told(self, name: str) -> dict[str, Any]:
        state = self._states.get(name)
        if state is None:
            return {"state": "never asked"}
        told = {
            "state": "ok" if state.ok else "failing",
            "since": round(state.since),
            "asked_at": round(state.asked_at),
        }
        return told if state.ok else {**told, "failure": state.failure}


def credentials(config: Config, provider: Provider) -> Literal["there", "missing", "not needed"]:
    """Whether an upstream's key is there. One at an address of the user's own need not have any."""
    if config.secrets.get(provider.name):
        return "there"
    settings = config.providers[provider.name]
    wanted = settings.api_key is not UNSET or (key_variable(settings) and provider.dialect != "ollama")
    return "missing" if wanted and provider.preset.auth != "none" else "not needed"


def _verdict(attempt: Attempt) -> str | None:
    """Why the upstream is failing, "" if it is not; None if the attempt does not tell."""
    status = attempt.status
    if attempt.failure == "busy":  # our own limit: it was not asked
        return None
    if not attempt.failure:  # where the client left before the answer, nobody knows
        return "" if status else None
    if status in (0, 200):
        return attempt.failure
    return f"status {status}" if status >= 500 or status in _REFUSED else ""
