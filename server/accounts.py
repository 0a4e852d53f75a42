"""What a request costs whoever asks: its place in the key's limits, its tokens in the key's budget, its row on disk.

Before an upstream is asked, the request takes its place among the key's requests a minute, tokens a minute and
parallel streams, and reserves tokens of the key's budget: what the prompt has, by its bytes, and what the answer may
have. When it ends, what the upstream counted takes the place of the estimate. Where the upstream did not say (the
client left, the stream broke off, it never does), the estimate of the prompt and what came of the answer (its frames,
or a quarter of its bytes) stand for it, and the row says that they are estimated: an answer that was delivered is
never booked as nothing. `Spent` says so for limits, budget and row alike.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from ..protocol.chat import Failed
from ..protocol.dialects import DIALECTS
from . import refusal
from .estimate import BYTES_PER_TOKEN
from .http import Headers, Refusal
from .key_limits import Admitted, Denied, KeyLimits
from .witness import Witness

if TYPE_CHECKING:
    from ..protocol.chat import Ending
    from .call import Call
    from .exchange import Presence
    from .ledger import Attempt, Record
    from .store.budgets import Reservation
    from .store.key_rows import Terms
    from .store.store import Store

__all__ = ["Accounts", "Spent"]


class Spent:
    """Tokens of one request that ends like this. `estimated` where the upstream did not count them; `attempt` is the
    one that they go to, None where nobody took the request on."""

    __slots__ = ("attempt", "cached", "completion", "estimated", "prompt", "reasoning")

    def __init__(self, record: Record, ending: Ending) -> None:
        usage = record.usage
        self.attempt = next((attempt for attempt in reversed(record.attempts) if attempt.took_it), None)
        self.estimated = usage is None
        self.cached = usage.cached if usage else 0
        self.reasoning = usage.reasoning if usage else 0
        if usage is not None:
            self.prompt, self.completion = usage.prompt, usage.completion
            return
        self.completion = _said(record)
        # A prompt that was refused costs nothing; one whose answer began, or was being waited for, does.
        worked = self.completion or ending.kind in _WAITED
        self.prompt = record.asked if worked and self.attempt is not None else 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.prompt + self.completion

    def of(self, attempt: Attempt) -> tuple[int, int, int, int]:
        """What goes to one of the request's attempts: prompt, completion, and of those cached and reasoning."""
        if attempt is not self.attempt:
            return 0, 0, 0, 0
        return self.prompt, self.completion, self.cached, self.reasoning


def _said(record: Record) -> int:
    """About how many tokens of an answer came. What is no chat (vectors, pictures, sounds) has none."""
    if record.endpoint not in DIALECTS:
        return 0
    return record.said // BYTES_PER_TOKEN or record.frames


_WAITED = ("client_gone", "timed_out", "shut_down", "completed")

PATIENCE = 2.0
"""Seconds that an answer waits for its settlement. One that takes longer is owed: a slow store costs no answer."""


class _Settling(Witness):
    """Puts what was used in the place of what was reserved, before the answer ends."""

    def __init__(self, admitted: Admitted, store: Store, reservation: Reservation | None) -> None:
        self._admitted = admitted
        self._store = store
        self._reservation = reservation

    async def settle(self, ending: Ending, record: Record) -> None:
        """See `Witness`. What the store does not take, or not in time, is owed and paid later."""
        from .store.errors import StoreError

        tokens = Spent(record, ending).total
        self._admitted.settle(tokens)
        if self._reservation is not None:
            with trio.move_on_after(PATIENCE), suppress(StoreError):
                await self._store.budgets.settle(self._reservation, tokens)


class Accounts:
    """The accounts of all keys of a store."""

    __slots__ = ("_limits", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._limits = KeyLimits(trio.current_time)

    def forget_idle(self) -> None:
        """Let go of what is known of keys that have not come for a while."""
        self._limits.forget_idle()

    def refuse(self) -> None:
        """Raise Refusal (503) where the store's state forbids new work."""
        why = self._store.refusal()
        if why is not None:
            raise refusal.busy(why)

    def admit(self, key_id: int, terms: Terms, tokens: int) -> Admitted:
        """Take a place in the limits of the key, for a request of about so many tokens. Raises Refusal (429)."""
        admitted = self._limits.admit(key_id, terms, tokens=tokens)
        if isinstance(admitted, Denied):
            raise _denied(admitted)
        return admitted

    async def settling(self, terms: Terms, admitted: Admitted, presence: Presence, call: Call) -> Witness:
        """Reserve tokens of the key's budget, and return who settles. Raises Refusal (429, or 503). A client that
        leaves meanwhile is waited for no more: nothing is reserved then, and its exchange will see that it has gone.
        """
        reservation = None
        if terms.token_budget:
            from .store.budgets import Exhausted
            from .store.errors import StoreError

            try:
                tokens = max(sum(call.work.tokens), 1)  # where nothing is left, nothing goes
                found = None
                with trio.CancelScope() as waiting:
                    presence.on_gone = waiting.cancel
                    if presence.gone:
                        waiting.cancel()
                    found = await self._store.budgets.reserve(call.owner, tokens, period=terms.budget_period)
            except StoreError as exc:
                if self._store.refuses:
                    raise refusal.busy("The token budget of this key cannot be looked up now.") from exc
                found = None  # by policy the work goes on, unbudgeted, while the store is away
            if isinstance(found, Exhausted):
                left = found.budget.left
                raise _exhausted(
                    f"The token budget of this key leaves {left} tokens, and this request may take {tokens}: set a "
                    "smaller max_tokens, or wait for the budget's next period, if it has one."
                )
            reservation = found
        return _Settling(admitted, self._store, reservation)

    def book(self, record: Record) -> None:
        """Take down a request that has ended. Never waits."""
        from .store import usage as rows

        assert record.ending is not None
        spent = Spent(record, record.ending)
        attempts = [
            rows.Attempt(
                attempt.provider,
                attempt.model,
                attempt.failure,
                *spent.of(attempt),
                estimated=spent.estimated and sum(spent.of(attempt)) > 0,
            )
            for attempt in record.attempts
        ]
        seconds = trio.current_time() - record.started_at
        self._store.usage.add(
            rows.Request(
                record.request_id,
                record.owner,
                record.endpoint,
                record.model,
                record.stream,
                499 if str(record.ending) == "client_gone" else record.status,
                str(record.ending),
                time.time() - seconds,
                seconds,
                record.bytes_out,
                attempts,
            )
        )


def _denied(denied: Denied) -> Refusal:
    headers: Headers = list(denied.headers)
    failed = Failed(denied.message, 429, "rate_limit_error", "rate_limit_exceeded", retry_after=denied.retry_after)
    return Refusal(failed, headers)


def _exhausted(message: str) -> Refusal:
    return Refusal(Failed(message, 429, "insufficient_quota", "insufficient_quota", retry=False))
