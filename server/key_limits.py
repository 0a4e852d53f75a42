"""What a key may do within a minute and at once: requests, tokens, streams in parallel. A machine without I/O.

Each of the two rates is a bucket that holds a minute's worth, is full at first, and fills steadily; so there may
be a burst of a minute's worth, and never more than the rate on the long run. All three are judged before
anything is taken: a request that is refused consumes nothing. Tokens are not known before the answer, so an
estimate is taken at first and put right by `settle`; the bucket may then be in debt, which later requests wait
for. One request that is larger than the bucket is let in when the bucket is full, as it would never be otherwise.

    admitted = limits.admit(key_id, terms, tokens=800)
    if isinstance(admitted, Denied): 429, with admitted.retry_after and admitted.headers
    with admitted:                      # the place among the parallel ones is given back on every path
        ...
        admitted.settle(1234)           # without it the request is as if it had not come

The limits are this process's. Clocks are arguments: a function that gives monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

__all__ = ["Admitted", "Denied", "KeyLimits", "Rates"]

MINUTE = 60.0

DEBT = 60 * MINUTE
"""Seconds for which one answer can shut a key out at most: upstreams can say any number of tokens."""

PARALLEL_RETRY = 1.0
"""Seconds after which to try again where it is other requests that must end first: nobody knows when."""


class Rates(Protocol):
    """What a key may do; 0 means no limit. The terms of a stored key are such."""

    @property
    def requests_per_minute(self) -> int: ...
    @property
    def tokens_per_minute(self) -> int: ...
    @property
    def parallel(self) -> int: ...


class Denied(NamedTuple):
    """Refused, and nothing was taken. `limit` says by which: "requests", "tokens" or "parallel"."""

    limit: str
    message: str
    retry_after: float
    headers: list[tuple[str, str]]


class _Bucket:
    """Holds up to `rate`, fills by `rate` a minute. Its level may be below zero."""

    __slots__ = ("at", "level", "rate")

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self.level = float(rate)
        self.at = now

    def fill(self, now: float, rate: int | None = None) -> None:
        """Bring the level up to date. A new rate keeps what was taken."""
        self.level = min(float(self.rate), self.level + (now - self.at) * self.rate / MINUTE)
        self.at = now
        if rate is not None and rate != self.rate:
            self.level = self.level + rate - self.rate if rate else 0.0
            self.rate = rate

    def take(self, amount: float) -> None:
        """Take so much out, or put it back; without a rate there is nothing to count."""
        if self.rate:
            self.level = max(self.level - amount, -self.rate * DEBT / MINUTE)

    def wait_for(self, amount: float) -> float:
        """Seconds until so much is there, or until the bucket is full if it never holds so much."""
        missing = min(amount, float(self.rate)) - self.level
        return max(missing * MINUTE / self.rate, 0.0) if missing > 1e-9 else 0.0  # what rounding leaves is no lack

    def headers(self, name: str) -> list[tuple[str, str]]:
        """OpenAI's three headers about a rate; none where there is no rate."""
        if not self.rate:
            return []
        return [
            (f"x-ratelimit-limit-{name}", str(self.rate)),
            (f"x-ratelimit-remaining-{name}", str(max(math.floor(self.level + 1e-9), 0))),
            (f"x-ratelimit-reset-{name}", _duration(self.wait_for(self.rate))),
        ]


class _State:
    """What is known of one key."""

    __slots__ = ("parallel", "requests", "tokens")

    def __init__(self, now: float) -> None:
        self.requests = _Bucket(0, now)
        self.tokens = _Bucket(0, now)
        self.parallel = 0

    def headers(self) -> list[tuple[str, str]]:
        """What clients are told about the limits that there are."""
        return self.requests.headers("requests") + self.tokens.headers("tokens")


class Admitted:
    """A request that was let in. To be released, once or more often; as a context it does that itself, and a request
    that was never settled by then is as if it had not come."""

    __slots__ = ("_clock", "_estimate", "_released", "_settled", "_state")

    def __init__(self, state: _State, estimate: int, clock: Callable[[], float]) -> None:
        self._state = state
        self._estimate = estimate
        self._clock = clock
        self._released = False
        self._settled = False

    def __enter__(self) -> Admitted:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The numbers for the answer, as they stand now."""
        self._state.requests.fill(self._clock())
        self._state.tokens.fill(self._clock())
        return self._state.headers()

    def settle(self, tokens: int) -> None:
        """What was really used, in the place of the estimate; the last word counts."""
        self._state.tokens.fill(self._clock())
        self._state.tokens.take(tokens - self._estimate)
        self._estimate = tokens
        self._settled = True

    def end(self) -> None:
        """It is over: what was never settled is as if it had not come. Once or more often."""
        if not self._settled:
            self._withdraw()
        self.release()

    def _withdraw(self) -> None:
        """Nothing was asked of anybody: give back what was taken."""
        self.settle(0)
        self._state.requests.fill(self._clock())
        self._state.requests.take(-1)

    def release(self) -> None:
        """Give the place among the parallel ones back. Never waits, never raises."""
        if not self._released:
            self._released = True
            self._state.parallel -= 1


class KeyLimits:
    """The limits of all keys, by their ids. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._states: dict[int, _State] = {}

    def __len__(self) -> int:
        return len(self._states)

    def admit(self, key_id: int, rates: Rates, *, tokens: int = 0) -> Admitted | Denied:
        """Let a request of about `tokens` in, or say why not."""
        now = self._clock()
        state = self._states.get(key_id)
        if state is None:
            state = self._states[key_id] = _State(now)
        state.requests.fill(now, rates.requests_per_minute)
        state.tokens.fill(now, rates.tokens_per_minute)
        tokens = min(tokens, rates.tokens_per_minute)  # one that is larger than the bucket takes all of it
        denied = self._judge(state, rates, tokens)
        if denied is not None:
            return denied
        state.requests.take(1)
        state.tokens.take(tokens)
        state.parallel += 1
        return Admitted(state, tokens, self._clock)

    def forget_idle(self) -> None:
        """Drop what is as it was at first: those who come seldom need no memory."""
        now = self._clock()
        for key_id, state in list(self._states.items()):
            state.requests.fill(now)
            state.tokens.fill(now)
            full = all(bucket.level == bucket.rate for bucket in (state.requests, state.tokens))
            if full and not state.parallel:
                del self._states[key_id]

    @staticmethod
    def _judge(state: _State, rates: Rates, tokens: int) -> Denied | None:
        waits = []
        if rates.parallel and state.parallel >= rates.parallel:
            waits.append(("parallel", f"{rates.parallel} requests at once", PARALLEL_RETRY))
        if rates.requests_per_minute and (wait := state.requests.wait_for(1)):
            waits.append(("requests", f"{rates.requests_per_minute} requests per minute", wait))
        if rates.tokens_per_minute and (wait := state.tokens.wait_for(max(tokens, 1))):
            waits.append(("tokens", f"{rates.tokens_per_minute} tokens per minute", wait))
        if not waits:
            return None
        limit, words, wait = max(waits, key=lambda found: found[2])
        message = f"Rate limit reached for this key: {words}. Please try again in {_duration(wait)}."
        return Denied(limit, message, wait, state.headers())


def _duration(seconds: float) -> str:
    """As OpenAI writes it: 6m0s, 1.5s, 20ms."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds * 10) / 10, 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"
