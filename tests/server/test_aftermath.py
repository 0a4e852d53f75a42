"""What is left behind when a client goes: nothing that runs, nothing that is held, and accounts that are right."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import penstock
from answers import DONE, LAST, STREAM, chunked, finish, role, sse, text, usage
from penstock.protocol.chat import Ending
from penstock.server.ledger import Record
from penstock.server.store.key_rows import Terms
from penstock.server.witness import SETTLE_SECONDS, Witness
from rig import Rig, settled
from scripted import EXPECT_CLOSE, Upstream

BEGUN = [STREAM, chunked(sse(role(), text("Hel")))]
ENDED = chunked(sse(finish(), usage(10, 20), DONE))


class Slow(Witness):
    """Writes something down, which takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.done: list[str] = []

    async def settle(self, ending: Ending, record: Record) -> None:
        await trio.sleep(self.seconds)
        self.done.append(str(ending))


@pytest.fixture
def looking_on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have a witness in each call that is served."""

    def install(witness: Witness) -> None:
        from penstock.server import call

        make = call.call_for

        async def call_for(*args: Any) -> Any:
            return (await make(*args))._replace(witnesses=(witness,))

        monkeypatch.setattr(call, "call_for", call_for)

    return install


@pytest.mark.parametrize(("seconds", "done"), [(1.0, ["client_gone"]), (1000.0, [])])
async def test_c09_accounts_survive_a_cancellation_and_are_bounded(nursery, autojump_clock, looking_on, seconds, done):
    """The client leaves, and the whole connection is cancelled while the accounts are written."""
    witness = Slow(seconds)
    looking_on(witness)
    rig = Rig(nursery, Upstream(nursery, [*BEGUN, EXPECT_CLOSE]))
    async with trio.open_nursery() as connection:
        rig.nursery = connection
        client = rig.connect()
        await client.chat(stream=True)
        await client.head()
        await client.piece()
        client.leave()
        await trio.testing.wait_all_tasks_blocked()
        left = trio.current_time()
        connection.cancel_scope.cancel()
    assert connection.cancel_scope.cancelled_caught
    assert witness.done == done
    assert trio.current_time() - left == min(seconds, SETTLE_SECONDS)
    assert not rig.gateway.exchanges


@pytest.mark.parametrize("stream", [True, False])
async def test_c11_an_answer_that_nobody_reads_leaks_nothing(nursery, autojump_clock, stream):
    """Not a byte of it is read, and then the connection is closed."""
    up = Upstream(nursery, [*BEGUN, EXPECT_CLOSE])
    rig = Rig(nursery, up)
    client = rig.connect(capacity=64)
    await client.chat(stream=stream)
    await settled()
    client.leave()
    await up.all_closed()
    await settled()
    assert not rig.gateway.exchanges
    assert rig.gateway.connections == 0
    assert rig.gateway.catalog.providers["up"].slots.in_use == 0
    assert rig.gateway.ledger.endings == {"client_gone": 1}


_SCOPES = {"open_nursery", "CancelScope", "move_on_after", "move_on_at", "fail_after", "fail_at"}


def _yields_in_scopes(tree: ast.AST, inside: bool = False) -> list[int]:
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found += _yields_in_scopes(node)
            continue
        if inside and isinstance(node, ast.Yield | ast.YieldFrom):
            found.append(node.lineno)
        scope = isinstance(node, ast.With | ast.AsyncWith) and any(
            isinstance(call := item.context_expr, ast.Call)
            and getattr(call.func, "attr", getattr(call.func, "id", "")) in _SCOPES
            for item in node.items
        )
        found += _yields_in_scopes(node, inside or scope)
    return found


def test_c12_no_nursery_and_no_scope_lies_around_a_yield() -> None:
    seen = "async def f():\n    async with trio.open_nursery() as n:\n        for x in y:\n            yield x\n"
    assert _yields_in_scopes(ast.parse(seen)) == [4]
    root = Path(penstock.__file__).parent
    for file in [*root.glob("providers/**/*.py"), *root.glob("server/**/*.py")]:
        assert _yields_in_scopes(ast.parse(file.read_text())) == [], file


async def test_c13_no_task_outlives_its_request(nursery, autojump_clock):
    up = Upstream(nursery, *[[*BEGUN, EXPECT_CLOSE]] * 100)
    rig = Rig(nursery, up)
    await settled()
    before = trio.lowlevel.current_statistics().tasks_living
    for number in range(100):
        client = rig.connect()
        await client.chat(stream=True)
        if number % 2:
            await client.head()
        client.leave()
        await settled()
    await up.all_closed()
    await settled()
    assert trio.lowlevel.current_statistics().tasks_living <= before + 1  # the upstream's own listener


async def test_c15_a_client_that_closes_at_the_end_marker_is_settled(nursery, tmp_path):
    """Its socket is closed before the terminator has come."""
    go = trio.Event()
    rig = await Rig.stored(nursery, tmp_path / "store.db", Upstream(nursery, [*BEGUN, ENDED, go, LAST]))
    store = rig.gateway.store
    assert store is not None
    key, secret = await store.keys.create("ci", Terms(token_budget=10_000))
    client = rig.connect()
    await client.chat(headers={"authorization": f"Bearer {secret}"}, stream=True)
    await client.head()
    while b"[DONE]" not in await client.piece():
        pass
    client.leave()
    go.set()
    while rig.gateway.exchanges:
        await trio.testing.wait_all_tasks_blocked()
    budget = await store.budgets.get(key.id, period="total")
    assert (budget.spent, budget.reserved) == (30, 0)
    assert rig.gateway.ledger.endings == {"completed": 1}


async def _work_of_leaving(nursery: trio.Nursery, deltas: int) -> int:
    """Calls of functions from the moment at which 30 clients leave until all is booked."""
    script = [STREAM, chunked(sse(role())), *[chunked(sse(text("x" * 1000)))] * deltas, EXPECT_CLOSE]
    up = Upstream(nursery, *[script] * 30)
    rig = Rig(nursery, up)
    clients = [rig.connect(capacity=1 << 20) for _ in range(30)]
    for client in clients:
        await client.chat(stream=True)
    await settled()
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        for client in clients:
            client.leave()
        await up.all_closed()
        await settled()
    finally:
        sys.setprofile(None)
    assert rig.gateway.ledger.endings == {"client_gone": 30}
    return calls


async def test_c16_settling_many_aborted_streams_costs_no_more_for_long_ones(nursery, autojump_clock):
    """Nothing is counted over again: what was relayed has been counted on its way."""
    short = await _work_of_leaving(nursery, 1)
    long = await _work_of_leaving(nursery, 100)
    assert long < short * 1.2
