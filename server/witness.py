"""Who looks on while an answer goes to a client, and has something to write down before it ends.

A session keeps what was said, a stored response keeps itself, a budget is settled. What is promised with the last
byte of an answer must be true by then: `settle` is called, and waited for, before the final bytes go out. Where an
answer does not come that far (the client left, the upstream broke, a deadline ran out) it is called afterwards. It is
called exactly once, whatever became of others, and shielded from cancellation for `SETTLE_SECONDS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..protocol.chat import Ending
    from .ledger import Record

__all__ = ["SETTLE_SECONDS", "Witness"]

SETTLE_SECONDS = 5.0
"""How long each of them may take, whether or not anybody waits for it any more."""


class Witness:
    """Base of those that look on. Each method may stay as it is."""

    def saw(self, data: bytes) -> None:
        """Bytes of the answer, in the client's dialect, before they are sent. Called for each write: must be quick."""

    async def settle(self, ending: Ending, record: Record) -> None:
        """The answer has come to its ending; `record.usage` is what is known. Raises Refusal if the client must not
        be told that all went well."""
