"""Budgets: nobody gets more than there is, nothing stays held for ever, and every settlement counts once."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
import trio

from penstock.server.store import schema
from penstock.server.store.budgets import KEPT_SECONDS, LEASE_SECONDS, Budget, Exhausted, Reservation, period_bounds
from penstock.server.store.errors import StoreError
from penstock.server.store.key_rows import Terms


async def reserve(store, key, tokens=1):
    found = await store.budgets.reserve(key.id, tokens, period=key.terms.budget_period)
    assert isinstance(found, Reservation)
    return found


async def budget(store, key):
    return await store.budgets.get(key.id, period=key.terms.budget_period)


async def test_c80_a_hundred_at_once_cannot_pass_a_budget_of_ten(store, other, key):
    outcomes = []

    async def one(number):
        whose = (store, other)[number % 2]
        outcomes.append(await whose.budgets.reserve(key.id, 1, period="total"))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    held = [found for found in outcomes if isinstance(found, Reservation)]
    assert len(held) == 10
    assert sum(isinstance(found, Exhausted) for found in outcomes) == 90
    assert await budget(store, key) == Budget(limit=10, spent=0, reserved=10, resets_at=None)
    async with trio.open_nursery() as nursery:
        for reservation in held:
            nursery.start_soon(store.budgets.settle, reservation, 1)
    assert await budget(other, key) == Budget(limit=10, spent=10, reserved=0, resets_at=None)


async def test_c80_what_was_not_used_is_given_back_and_what_was_used_beyond_is_booked(store, key):
    first = await reserve(store, key, 10)
    refused = await store.budgets.reserve(key.id, 1, period="total")
    assert refused == Exhausted(Budget(10, 0, 10, None))
    await store.budgets.settle(first, 0)
    assert (await budget(store, key)).left == 10
    second = await reserve(store, key, 2)
    await store.budgets.settle(second, 25)
    assert await budget(store, key) == Budget(10, 25, 0, None)
    assert (await budget(store, key)).left == 0


async def test_a_settlement_that_is_repeated_changes_nothing(store, key):
    held = await reserve(store, key, 5)
    for tokens in (3, 3, 7):
        await store.budgets.settle(held, tokens)
    assert await budget(store, key) == Budget(10, 3, 0, None)


async def test_the_limit_is_the_key_s_own_and_a_new_period_begins_at_nothing(store, clock):
    clock.now = datetime(2027, 1, 31, 23, 59, tzinfo=UTC).timestamp()
    key, _ = await store.keys.create("month", Terms(token_budget=10, budget_period="month"))
    held = await reserve(store, key, 10)
    february = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
    assert (await budget(store, key)).resets_at == february
    clock.now = february
    assert await budget(store, key) == Budget(10, 0, 0, datetime(2027, 3, 1, tzinfo=UTC).timestamp())
    await reserve(store, key, 10)
    await store.budgets.settle(held, 9)  # booked where it was reserved
    assert (await budget(store, key)).spent == 0
    clock.now = february - 1
    assert (await budget(store, key)).spent == 9


@pytest.mark.parametrize(
    ("period", "now", "start", "end"),
    [
        ("total", "2027-05-17T12:34:56", "1970-01-01", None),
        ("day", "2027-05-17T12:34:56", "2027-05-17", "2027-05-18"),
        ("day", "2028-02-29T00:00:00", "2028-02-29", "2028-03-01"),
        ("month", "2027-12-31T23:59:59", "2027-12-01", "2028-01-01"),
        ("month", "2028-02-01T00:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_periods_are_those_of_utc(period, now, start, end):
    def seconds(text):
        return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert period_bounds(period, seconds(now)) == (seconds(start), seconds(end))


async def test_a_dead_process_holds_nothing_for_longer_than_its_lease(store, other, key, clock):
    await reserve(store, key, 10)  # and this process is never heard of again
    clock.now += LEASE_SECONDS
    await other.budgets.keep()
    assert (await budget(other, key)).left == 0
    clock.now += 1
    await other.budgets.keep()
    assert await budget(other, key) == Budget(10, 0, 0, None)


async def test_a_process_that_lives_keeps_its_reservations(store, other, key, clock):
    await reserve(store, key, 10)
    for _ in range(5):
        clock.now += LEASE_SECONDS / 2
        await store.budgets.keep()
        await other.budgets.keep()
    assert (await budget(store, key)).left == 0


async def test_a_process_that_was_only_paused_settles_all_the_same(store, other, key, clock):
    held = await reserve(store, key, 10)
    clock.now += LEASE_SECONDS + 1
    await other.budgets.keep()
    await store.budgets.settle(held, 4)
    await store.budgets.settle(held, 4)
    assert await budget(store, key) == Budget(10, 4, 0, None)


async def test_what_nobody_settles_is_forgotten_in_the_end(store, database, key, clock):
    await reserve(store, key, 10)
    clock.now += KEPT_SECONDS + LEASE_SECONDS + 1
    await store._desk.read(lambda c: None)
    store.budgets._open.clear()  # as after a crash
    await store.budgets.keep()
    count = sa.select(sa.func.count()).select_from(schema.reservations)
    assert database.read(lambda c: c.execute(count).scalar()) == 0
    assert await budget(store, key) == Budget(10, 0, 0, None)


async def test_a_process_without_reservations_writes_nothing(store, key):
    before = store._desk.commits
    await store.budgets.keep()
    assert store._desk.commits == before


async def test_c80_a_client_that_leaves_while_it_is_reserved_for_holds_nothing(store, key, monkeypatch):
    write = store._desk.write

    async def committed_and_not_told(job):
        await write(job)
        scope.cancel()
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(store._desk, "write", committed_and_not_told)
    with trio.CancelScope() as scope:
        await reserve(store, key, 10)
    assert scope.cancelled_caught
    monkeypatch.undo()
    await store.budgets.keep()
    assert await budget(store, key) == Budget(10, 0, 0, None)


async def test_a_settlement_that_the_store_did_not_take_is_owed_until_it_does(store, key, monkeypatch):
    held = [await reserve(store, key, 5), await reserve(store, key, 5)]

    async def away(job):
        raise StoreError("unavailable", "The store cannot be used: it is away.")

    with monkeypatch.context() as patch:
        patch.setattr(store.budgets, "_desk", type("Away", (), {"write": staticmethod(away)}))
        for reservation in held:
            with pytest.raises(StoreError):
                await store.budgets.settle(reservation, 4)
        assert store.budgets.owing.is_set()
        with pytest.raises(StoreError):
            await store.budgets.keep()
        patch.setattr("penstock.server.store.budgets.OWED", 2)
        assert not store.budgets.has_room
        assert store.refusal() == "The gateway cannot account for more requests now."
    await store.budgets.keep()
    assert await budget(store, key) == Budget(10, 8, 0, None)
    assert store.budgets.has_room


async def test_what_was_never_held_is_not_owed_and_what_may_be_shuts_nobody_out(store, key, monkeypatch):
    monkeypatch.setattr("penstock.server.store.budgets.OWED", 2)
    for kind, owed in (("busy", 0), ("rejected", 0), ("closed", 0), ("unavailable", 2)):

        async def away(job, kind=kind):
            raise StoreError(kind, "No.")

        with monkeypatch.context() as patch:
            patch.setattr(store._desk, "write", away)
            for _ in range(5):
                with pytest.raises(StoreError):
                    await reserve(store, key, 1)
        assert len(store.budgets._owed) == owed
        assert store.budgets.has_room
    await store.budgets.keep()
    assert not store.budgets._owed


async def test_what_nobody_knows_to_be_held_is_not_renewed(store, key, clock, monkeypatch):
    write = store._desk.write

    async def committed_and_broken(job):
        await write(job)
        raise StoreError("unavailable", "It broke in the commit.")

    held = await reserve(store, key, 1)
    with monkeypatch.context() as patch:
        patch.setattr(store._desk, "write", committed_and_broken)
        patch.setattr("penstock.server.store.budgets.OWED", 0)
        with pytest.raises(StoreError):
            await reserve(store, key, 5)
    monkeypatch.setattr("penstock.server.store.budgets.RENEWED", 1)
    also = await reserve(store, key, 1)
    for _ in range(4):
        clock.now += LEASE_SECONDS / 3
        await store.budgets.keep()
    assert await budget(store, key) == Budget(10, 0, 2, None)
    for reservation in (held, also):
        await store.budgets.settle(reservation, 1)
    assert await budget(store, key) == Budget(10, 2, 0, None)


async def test_amounts_without_sense_do_no_harm(store, key):
    held = await reserve(store, key, -5)
    await store.budgets.settle(held, -5)
    assert await budget(store, key) == Budget(10, 0, 0, None)
    assert isinstance(await store.budgets.reserve(key.id, 10**30, period="total"), Exhausted)
    await store.budgets.settle(await reserve(store, key, 10), 10**30)
    assert (await budget(store, key)).left == 0


async def test_a_settlement_is_one_write(store, key):
    held = await reserve(store, key)
    before = store._desk.commits
    await store.budgets.settle(held, 1)
    assert not store.budgets.owing.is_set()
    assert store._desk.commits == before + 1


async def test_a_client_that_leaves_before_it_is_settled_pays_all_the_same(store, key):
    held = await reserve(store, key, 5)
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.budgets.settle(held, 4)
    assert scope.cancelled_caught
    await store.budgets.keep()
    assert await budget(store, key) == Budget(10, 4, 0, None)


async def test_what_the_store_will_not_have_holds_up_nobody_else(store, key, caplog):
    held = [await reserve(store, key, 5), await reserve(store, key, 5)]
    for reservation in held:
        store.budgets._owe(reservation, 3)
    real = store._desk.write

    async def picky(job):
        if job.keywords.get("held") == held[0]:
            raise StoreError("rejected", "The store refused the data.")
        return await real(job)

    store._desk.write = picky
    await store.budgets.keep()
    assert await budget(store, key) == Budget(10, 3, 5, None)
    assert f"The store refuses 3 tokens of key {key.id}: The store refused the data." in caplog.text
    assert store.budgets._owed == {}
