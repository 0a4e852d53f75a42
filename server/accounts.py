"""What a request costs whoever asks: its place in the key's limits, its tokens in the key's budget, its row on disk.

Before an upstream is asked, the request takes its place among the key's requests a minute, tokens a minute and
parallel streams, and reserves tokens of the key's budget: what the prompt has, by its bytes, and what the answer may
have. When it ends, what the upstream counted takes the place of the estimate. Where the upstream did not say (the
client left, the stream broke off), the estimate of the prompt and the frames that came stand for it, and the row says
that they are estimated: an answer that was delivered is never booked as nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from ..protocol.chat import Failed
from . import refusal
from .http import Headers, Refusal
from .key_limits import Admitted, Denied, KeyLimits
from .witness import Witness

if TYPE_CHECKING:
    from ..protocol.chat import Ending
    from .access import Key
    from .call import Call
    from .ledger import Record
    from .store.budgets import Reservation
    from .store.key_rows import Terms
    from .store.store import Store

__all__ = ["Accounts", "Spent"]


class Spent:
    """Tokens of one request. `estimated` where the upstream did not count them."""

    __slots__ = ("cached", "completion", "estimated", "prompt", "reasoning")

    def __init__(self, record: Record) -> None:
        usage = record.usage
        self.estimated = usage is None
        self.cached = usage.cached if usage else 0
        self.reasoning = usage.reasoning if usage else 0
        if usage is not None:
            self.prompt, self.completion = usage.prompt, usage.completion
        else:  # a prompt that was refused costs nothing; one whose answer began, or was being waited for, does
            worked = record.frames or (record.ending is not None and record.ending.kind in _WAITED)
            self.prompt = record.asked if worked and record.attempts else 0
            self.completion = record.frames

    @property
    def total(self) -> int:
        """All of them."""
        return self.prompt + self.completion


_WAITED = ("client_gone", "timed_out", "shut_down", "completed")


class _Settling(Witness):
    """Puts what was used in the place of what was reserved, before the answer ends."""

    def __init__(self, admitted: Admitted, store: Store, reservation: Reservation | None) -> None:
        self._admitted = admitted
        self._store = store
        self._reservation = reservation

    async def settle(self, ending: Ending, record: Record) -> None:
        """See `Witness`. A store that cannot be written owes the settlement, and pays it later."""
        from .store.errors import StoreError

        tokens = Spent(record).total
        self._admitted.settle(tokens)
        if self._reservation is not None:
            try:
                await self._store.budgets.settle(self._reservation, tokens)
            except StoreError:
                pass  # it is owed now, and kept until it is done


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

    def admit(self, key_id: int, terms: Terms, call: Call) -> Admitted:
        """Take a place in the limits of the key. Raises Refusal (429)."""
        prompt, most = call.work.tokens
        admitted = self._limits.admit(key_id, terms, tokens=prompt + most)
        if isinstance(admitted, Denied):
            raise _denied(admitted)
        return admitted

    async def settling(self, key: Key, key_id: int, terms: Terms, call: Call, admitted: Admitted) -> Witness:
        """Reserve tokens of the key's budget, and return who settles. Raises Refusal (429, or 503)."""
        reservation = None
        if terms.token_budget:
            from .store.budgets import Exhausted
            from .store.errors import StoreError

            try:
                found = await self._store.budgets.reserve(key_id, sum(call.work.tokens), period=terms.budget_period)
            except StoreError as exc:
                raise refusal.busy("The token budget of this key cannot be looked up now.") from exc
            if isinstance(found, Exhausted):
                left = found.budget.left
                raise _exhausted(f"The token budget of this key leaves {left} tokens; this request may take more.")
            reservation = found
        return _Settling(admitted, self._store, reservation)

    def book(self, record: Record) -> None:
        """Take down a request that has ended. Never waits."""
        from .store.usage import Attempt, Request

        spent = Spent(record)
        last = len(record.attempts) - 1
        attempts = [
            Attempt(
                attempt.provider,
                attempt.model,
                attempt.failure,
                *((spent.prompt, spent.completion, spent.cached, spent.reasoning) if number == last else (0, 0, 0, 0)),
                estimated=spent.estimated and number == last and spent.total > 0,
            )
            for number, attempt in enumerate(record.attempts)
        ]
        seconds = trio.current_time() - record.started_at
        self._store.usage.add(
            Request(
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
