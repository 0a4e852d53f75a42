"""Sessions: owned, ordered, committed, listed by pages and gone when deleted."""

import pytest
import trio
import trio.testing

from penstock.server.store import schema
from penstock.server.store.errors import StoreError
from penstock.server.store.session_rows import Session, is_session_name


def said(text, role="user"):
    return {"role": role, "content": text}


async def texts(store, key, name, **more):
    return [message.body["content"] for message in await store.sessions.history(key.id, name, **more)]


@pytest.fixture
async def bob(store):
    made, _ = await store.keys.create("bob")
    return made


async def test_what_was_said_is_there_also_for_another_process(store, other, key):
    made = await store.sessions.create(key.id, "s", title="Colours")
    assert made == Session("s", "Colours", 0, made.created_at, made.created_at)
    blue = [said("Remember: my favourite colour is blue"), said("Noted.", "assistant")]
    assert await store.sessions.append(key.id, "s", blue) == 2
    messages = await other.sessions.history(key.id, "s")
    assert [message.number for message in messages] == [0, 1]
    assert [message.body for message in messages] == blue
    assert (await other.sessions.get(key.id, "s")).length == 2


async def test_any_json_survives(store, key):
    await store.sessions.create(key.id, "s")
    wild = {"role": "user", "content": [{"text": "\0 \ud800 Привет \U0001f44b"}], "n": [1.5, None, 10**30], "": {}}
    await store.sessions.append(key.id, "s", [wild])
    assert (await store.sessions.history(key.id, "s"))[0].body == wild


async def test_a_new_one_is_made_with_its_messages_or_not_at_all(store, key, monkeypatch):
    assert await store.sessions.append(key.id, "s", [said("a")], new=True) == 1
    assert await store.sessions.append(key.id, "s", [said("b")], new=True) == 2, "somebody else has made it meanwhile"
    with pytest.raises(StoreError):
        await store.sessions.append(key.id, "t", [said("a")], new=True, expected=1)
    monkeypatch.setattr("penstock.server.store.sessions._append", broken)
    with pytest.raises(ZeroDivisionError):
        await store.sessions.append(key.id, "u", [said("a")], new=True)
    assert [session.name for session in (await store.sessions.page(key.id)).sessions] == ["s"]


def broken(*args, **more):
    raise ZeroDivisionError


async def test_what_nobody_used_is_swept_with_its_messages(store, key, clock):
    for name in ("old", "used", "new"):
        await store.sessions.create(key.id, name)
        await store.sessions.append(key.id, name, [said(name)])
        clock.now += 100
    await store.sessions.append(key.id, "used", [said("again")])
    assert [await store.sessions.purge(clock.now - 250) for _ in range(2)] == [1, 0]
    assert await store.sessions.get(key.id, "old") is None
    assert [session.name for session in (await store.sessions.page(key.id)).sessions] == ["used", "new"]
    assert await store.sessions.purge(clock.now + 1) == 2
    assert (await store.sessions.page(key.id)).sessions == []


async def test_recent_messages_and_the_instructions_before_them(store, key):
    assert await store.sessions.recent(key.id, "s", max_chars=100) is None
    await store.sessions.create(key.id, "s", details={"model": "m"})
    assert (await store.sessions.get(key.id, "s")).details == {"model": "m"}
    assert await store.sessions.recent(key.id, "s", max_chars=100) == ([], [], 0)
    told = [said("A", "system"), said("1"), said("B", "developer"), said("C", "system"), said("2"), said("3")]
    await store.sessions.append(key.id, "s", told)
    recent = await store.sessions.recent(key.id, "s", max_chars=40)
    assert [message.body["content"] for message in recent.messages] == ["3"]
    assert [message.body["content"] for message in recent.instructions] == ["B", "C"]
    everything = await store.sessions.recent(key.id, "s", max_chars=1000)
    assert (len(everything.messages), everything.instructions) == (6, [])
    assert await texts(store, key, "s", max_chars=1) == ["3"], "the last one comes however long it is"
    assert await texts(store, key, "s", max_chars=80, before=5) == ["C", "2"]


async def test_a_session_is_its_owner_s(store, key, bob):
    for owner in (key, bob):  # the same name: two sessions
        await store.sessions.create(owner.id, "default")
        await store.sessions.append(owner.id, "default", [said(owner.name)])
    assert await texts(store, key, "default") == ["ann"]
    await store.sessions.create(key.id, "mine")
    assert await store.sessions.get(bob.id, "mine") is None
    assert await store.sessions.history(bob.id, "mine") is None
    assert await store.sessions.delete(bob.id, "mine") is False
    with pytest.raises(StoreError) as caught:
        await store.sessions.append(bob.id, "mine", [said("x")])
    assert caught.value.kind == "conflict"
    assert [session.name for session in (await store.sessions.page(bob.id)).sessions] == ["default"]


async def test_to_create_what_is_there_changes_nothing(store, key):
    made = await store.sessions.create(key.id, "s", title="one")
    await store.sessions.append(key.id, "s", [said("x")])
    again = await store.sessions.create(key.id, "s", title="two")
    assert (again.title, again.length, again.created_at) == ("one", 1, made.created_at)


async def test_appends_that_come_at_once_are_numbered_one_after_the_other(store, other, key):
    await store.sessions.create(key.id, "s")
    async with trio.open_nursery() as nursery:
        for number in range(40):
            whose = (store, other)[number % 2]
            nursery.start_soon(whose.sessions.append, key.id, "s", [said(f"{number}a"), said(f"{number}b")])
    messages = await store.sessions.history(key.id, "s")
    assert [message.number for message in messages] == list(range(80))
    found = [message.body["content"] for message in messages]
    assert all(first[:-1] == second[:-1] for first, second in zip(found[::2], found[1::2], strict=True))


async def test_who_knows_an_older_state_writes_nothing(store, other, key):
    await store.sessions.create(key.id, "s")
    assert await store.sessions.append(key.id, "s", [said("a")], expected=0) == 1
    assert await other.sessions.append(key.id, "s", [said("b")], expected=1) == 2
    with pytest.raises(StoreError, match="changed or deleted") as caught:
        await store.sessions.append(key.id, "s", [said("c")], expected=1)
    assert caught.value.kind == "conflict"
    assert await texts(store, key, "s") == ["a", "b"]
    assert await store.sessions.append(key.id, "s", []) == 2


async def test_turns_come_in_order_and_one_at_a_time(store, key, bob):
    order = []

    async def request(number, owner=key):
        async with store.sessions.turn(owner.id, "s"):
            order.append(number)
            await trio.testing.wait_all_tasks_blocked()
            order.append(number)

    async with trio.open_nursery() as nursery, store.sessions.turn(key.id, "s"):
        for number in range(5):
            nursery.start_soon(request, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    order.clear()
    async with store.sessions.turn(key.id, "s"):
        await request("bob", bob)  # somebody else's session of the same name
    assert order == ["bob", "bob"]
    assert not len(store.sessions._turns)


async def test_who_leaves_the_queue_or_breaks_lets_the_others_go_on(store, key):
    async with store.sessions.turn(key.id, "s"):
        with trio.move_on_after(0):
            async with store.sessions.turn(key.id, "s"):
                raise AssertionError
    with pytest.raises(KeyError):
        async with store.sessions.turn(key.id, "s"):
            raise KeyError
    async with store.sessions.turn(key.id, "s"):
        assert len(store.sessions._turns) == 1
    assert not len(store.sessions._turns)


async def test_history_is_read_from_the_end_by_pages(store, key):
    await store.sessions.create(key.id, "s")
    await store.sessions.append(key.id, "s", [said(str(number)) for number in range(10)])
    page, found = await store.sessions.history(key.id, "s", limit=4), []
    while page:
        found = [*(message.number for message in page), *found]
        page = await store.sessions.history(key.id, "s", before=found[0], limit=4)
    assert found == list(range(10))
    assert await store.sessions.history(key.id, "nothing") is None
    for before, limit, numbers in [(10**30, 3, [7, 8, 9]), (-1, 3, []), (5, -1, [4]), (5, 0, [4])]:
        found = await store.sessions.history(key.id, "s", before=before, limit=limit)
        assert [message.number for message in found] == numbers


async def test_sessions_are_listed_by_pages_the_latest_used_first(store, key, clock):
    for number in range(7):
        clock.now += number % 2  # some of the same second
        await store.sessions.create(key.id, f"s{number}")
    clock.now += 1
    await store.sessions.append(key.id, "s2", [said("x")])
    found, cursor = [], ""
    for _ in range(4):
        page = await store.sessions.page(key.id, cursor=cursor, limit=2)
        found += [session.name for session in page.sessions]
        cursor = page.cursor
    assert found == ["s2", "s6", "s5", "s4", "s3", "s1", "s0"]
    assert cursor == ""
    assert [session.name for session in (await store.sessions.page(key.id, limit=-5)).sessions] == ["s2"]
    for nonsense in ("x", "1:", ":1", "1:x", "nan:1", "inf:1", f"1:{10**30}", "-1:1", "1:-1"):
        with pytest.raises(ValueError):
            await store.sessions.page(key.id, cursor=nonsense)


async def test_what_is_deleted_is_gone_with_all_its_messages(store, database, key):
    await store.sessions.create(key.id, "s")
    await store.sessions.append(key.id, "s", [said("x")])
    assert await store.sessions.delete(key.id, "s") is True
    assert await store.sessions.delete(key.id, "s") is False
    assert database.read(lambda c: c.execute(schema.messages.select()).all()) == []


def test_names_that_a_client_may_choose():
    for name in ("a", "8f14e45f-ceea", "x" * 200, "user@host/1"):
        assert is_session_name(name)
    for name in ("", "a b", "ы", "a\n", "a\0", "x" * 201):
        assert not is_session_name(name)
