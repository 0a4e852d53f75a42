"""Sessions in memory do what those of the store do, and no more are kept than may be."""

import pytest
import trio

from penstock.server.session_memory import MemorySessions
from penstock.server.store.errors import StoreError


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def said(text, role="user"):
    return {"role": role, "content": text}


async def texts(sessions, name, **more):
    return [message.body["content"] for message in await sessions.history(1, name, **more)]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sessions(clock):
    return MemorySessions(clock, max_sessions=3, max_bytes=2000)


async def test_made_once_and_owned(sessions, clock):
    made = await sessions.create(1, "s", title="one", details={"model": "m"})
    clock.now = 200.0
    assert await sessions.create(1, "s", title="two") == made
    assert (made.title, made.length, made.created_at, made.details) == ("one", 0, 100.0, {"model": "m"})
    assert await sessions.get(2, "s") is None
    assert await sessions.history(2, "s") is None
    assert await sessions.recent(2, "s", max_chars=10) is None
    assert await sessions.delete(2, "s") is False


async def test_append_numbers_and_refuses(sessions, clock):
    await sessions.create(1, "s")
    clock.now = 200.0
    assert await sessions.append(1, "s", [said("a"), said("b")]) == 2
    assert await sessions.append(1, "s", [said("c")], expected=2) == 3
    assert [message.number for message in await sessions.history(1, "s")] == [0, 1, 2]
    assert (await sessions.get(1, "s")).updated_at == 200.0
    for name, expected in (("s", 2), ("t", None)):
        with pytest.raises(StoreError) as caught:
            await sessions.append(1, name, [said("d")], expected=expected)
        assert caught.value.kind == "conflict"


async def test_history_by_pages_and_by_size(sessions):
    await sessions.create(1, "s")
    await sessions.append(1, "s", [said(str(number)) for number in range(5)])
    assert await texts(sessions, "s", limit=2) == ["3", "4"]
    assert await texts(sessions, "s", limit=2, before=3) == ["1", "2"]
    assert await texts(sessions, "s", before=-1) == []
    assert await texts(sessions, "s", before=99, limit=0) == ["4"]
    size = len('{"role":"user","content":"0"}')
    assert await texts(sessions, "s", max_chars=2 * size) == ["3", "4"]
    assert await texts(sessions, "s", max_chars=1) == ["4"], "the last one comes however long it is"


async def test_recent_has_the_instructions_before_it(sessions):
    await sessions.create(1, "s")
    old, new = [said("A", "system")], [said("B", "developer"), said("C", "system")]
    await sessions.append(1, "s", [*old, said("1"), *new, said("2"), said("3")])
    recent = await sessions.recent(1, "s", max_chars=40)
    assert [message.body["content"] for message in recent.messages] == ["3"]
    assert [message.body for message in recent.instructions] == new
    everything = await sessions.recent(1, "s", max_chars=1000)
    assert (len(everything.messages), everything.instructions) == (6, [])


async def test_lists_have_the_latest_first(sessions):
    for name in ("a", "b", "c"):
        await sessions.create(1, name)
    await sessions.append(1, "a", [said("x")])
    page = await sessions.page(1, limit=2)
    assert ([session.name for session in page.sessions], page.cursor) == (["a", "c"], "2")
    rest = await sessions.page(1, cursor=page.cursor)
    assert ([session.name for session in rest.sessions], rest.cursor) == (["b"], "")
    assert await sessions.page(2) == ([], "")
    for cursor in ("x", "-1", "99"):
        with pytest.raises(ValueError, match=cursor):
            await sessions.page(1, cursor=cursor)


async def test_what_was_used_longest_ago_is_forgotten(sessions):
    for name in ("a", "b", "c"):
        await sessions.create(1, name)
    await sessions.append(1, "a", [said("x")])
    await sessions.create(1, "d")
    assert (await sessions.get(1, "b"), len(sessions)) == (None, 3)
    await sessions.append(1, "d", [said("x" * 1700)])
    assert [name for name in "acd" if await sessions.get(1, name)] == ["d"], "too much text for all of them"
    await sessions.append(1, "d", [said("x" * 1600)])
    assert len(sessions) == 0, "nor is there room for it alone"
    await sessions.create(1, "e")
    await sessions.append(1, "e", [said("x" * 1600)])
    assert await sessions.delete(1, "e") is True
    await sessions.create(1, "f")
    await sessions.append(1, "f", [said("x" * 1600)])
    assert len(sessions) == 1, "what is deleted leaves its room"


async def test_nobody_loses_a_session_by_what_others_do(sessions):
    await sessions.create(3, "hers")
    for name in "abcd":
        await sessions.create(2, name)
    assert [name for name in "abcd" if await sessions.get(2, name)] == ["c", "d"]
    await sessions.append(3, "hers", [said("x" * 300)])
    await sessions.append(2, "c", [said("x" * 1200)])
    await sessions.append(2, "d", [said("x" * 100)])
    assert [name for name in "cd" if await sessions.get(2, name)] == ["d"], "the oldest of whoever takes most"
    assert await sessions.get(3, "hers"), "older than both"


async def test_one_that_is_in_use_is_not_forgotten(sessions):
    await sessions.create(1, "held")
    async with sessions.turn(1, "held"):
        for name in "abc":
            await sessions.create(1, name)
        assert [name for name in ("held", "a", "b", "c") if await sessions.get(1, name)] == ["held", "b", "c"]
        await sessions.append(1, "held", [said("x" * 2000)])
        assert [name for name in ("held", "b", "c") if await sessions.get(1, name)] == ["held"]
    assert len(sessions) == 0, "it is too large, and nobody uses it now"


async def test_looking_at_a_session_is_using_it(sessions):
    for name in "abc":
        await sessions.create(1, name)
    await sessions.recent(1, "a", max_chars=10)
    await sessions.create(1, "b")
    await sessions.create(1, "d")
    assert [name for name in "abcd" if await sessions.get(1, name)] == ["a", "b", "d"]


async def test_a_message_costs_what_it_takes_to_hold_it(sessions):
    await sessions.create(1, "s")
    await sessions.append(1, "s", [{}] * 10)
    assert len(sessions) == 0


async def test_long_ones_are_written_and_read_with_other_work_in_between(clock):
    sessions = MemorySessions(clock)
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    long = [said("x" * 1000) for _ in range(1000)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await sessions.append(1, "s", long, new=True)
        written = turns
        assert len(await sessions.history(1, "s", limit=1000)) == 1000
        nursery.cancel_scope.cancel()
    assert min(written, turns - written) > 10


async def test_half_a_surrogate_pair_is_kept_as_none(sessions):
    await sessions.append(1, "s", [said("\ud83d")], new=True)
    assert await texts(sessions, "s") == ["\ufffd"]
