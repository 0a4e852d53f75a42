"""Who looks on at an answer is told its ending once, whatever becomes of the others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from penstock.protocol.chat import Ending
from penstock.server.delivery import Delivery
from penstock.server.http import Refusal
from penstock.server.witness import SETTLE_SECONDS, Witness


class Onlooker(Witness):
    def __init__(self, does=None):
        self.told = []
        self._does = does

    async def settle(self, ending, record):
        self.told.append(str(ending))
        if self._does is not None:
            await self._does()


async def fail():
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("does", "raised", "seconds"), [(trio.sleep_forever, Refusal, SETTLE_SECONDS), (fail, ZeroDivisionError, 0)]
)
async def test_those_after_one_that_hangs_or_fails_are_told(autojump_clock, does, raised, seconds):
    """One that was never told would go on for ever: a response under way, or a place that is held."""
    witnesses = Onlooker(), Onlooker(does), Onlooker(), Onlooker()
    call = SimpleNamespace(witnesses=witnesses, keepalive=0)
    delivery = Delivery(call, SimpleNamespace(), SimpleNamespace(usage=None))
    cancelled = trio.CancelScope()
    cancelled.cancel()  # whoever is cancelled settles all the same
    with cancelled, pytest.raises(raised):
        await delivery.settle(Ending("completed"), None)
    assert [witness.told for witness in witnesses] == [["completed"], ["completed"], ["failed"], ["failed"]]
    assert trio.current_time() == seconds
