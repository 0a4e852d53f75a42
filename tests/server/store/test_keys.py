"""Keys: what is kept of them, who is let in, and how soon a change is seen, also by another process."""

import hashlib
import re

import pytest
import sqlalchemy as sa
import trio
import trio.testing

from penstock.server.access import Key
from penstock.server.store import keys as key_memory
from penstock.server.store import schema
from penstock.server.store.database import Database
from penstock.server.store.errors import StoreError
from penstock.server.store.key_rows import Terms


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Changes by others are looked for a hundred times a second."""
    monkeypatch.setattr(key_memory, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(key_memory, "LOOK_SECONDS", 0.005)


async def until(condition):
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.002)


async def test_a_key_has_256_random_bits_and_the_store_keeps_their_digest_only(store, location):
    key, secret = await store.keys.create("ann")
    _, other = await store.keys.create("bob")
    assert re.fullmatch(r"sk-penstock-[A-Za-z0-9_-]{43}", secret)
    assert secret != other
    assert key.hint == f"sk-penstock-...{secret[-4:]}"
    assert secret not in repr(key)
    assert key.digest == hashlib.sha256(secret.encode()).digest()
    everything = []
    with Database(location) as database:
        for table in schema.metadata.sorted_tables:
            everything += database.read(lambda c, table=table: [str(row) for row in c.execute(sa.select(table))])
    assert everything
    assert not any(secret[12:] in row for row in everything)
    if location.file is not None:
        files = [path.read_bytes() for path in location.file.parent.iterdir()]
        assert not any(secret[12:].encode() in content for content in files)


async def test_terms_come_back_as_they_were_said(store):
    terms = Terms(("local/*", "a/b"), ("https://chat.example",), 1, 2, 3, 4, "month", 2e9)
    key, secret = await store.keys.create("ann", terms, user="Ann")
    found = store.keys.known(secret)
    assert isinstance(found, Key)
    for one in (key, found, await store.keys.get("ann"), (await store.keys.all())[0]):
        assert (one.id, one.name, one.user, one.terms) == (key.id, "ann", "Ann", terms)
        assert one.may_use("local/tiny")
        assert not one.may_use("openai/gpt-4o")


async def test_it_is_known_which_pages_some_key_is_for_and_whether_there_ever_was_a_key(store, clock):
    assert not store.keys.ever
    await store.keys.create("ann", Terms(origins=("https://Chat.Example",)))
    assert store.keys.names_origin("https://chat.example")
    assert not store.keys.names_origin("https://evil.example")
    await store.keys.revoke("ann")
    assert not store.keys.names_origin("https://chat.example")
    assert store.keys.ever
    await store.keys.create("bob", Terms(origins=("https://chat.example",), expires_at=clock.now + 10))
    assert store.keys.names_origin("https://chat.example")
    clock.now += 10
    assert not store.keys.names_origin("https://chat.example"), "an expired key's pages need no preflight"


async def test_names_of_living_keys_are_unique_and_may_be_given_again(store):
    _, first = await store.keys.create("ann")
    with pytest.raises(StoreError, match="There is a key named 'ann' already") as caught:
        await store.keys.create("ann")
    assert caught.value.kind == "conflict"
    assert (await store.keys.revoke("ann")).revoked_at is not None
    assert await store.keys.revoke("ann") is None
    assert await store.keys.get("ann") is None
    _, second = await store.keys.create("ann")
    assert store.keys.known(first) is None
    assert store.keys.known(second) is not None
    assert len(store.keys) == 1
    assert len(await store.keys.all()) == 2


async def test_a_user_may_have_several_keys(store):
    for name in ("a", "b"):
        await store.keys.create(name, user="Ann")
    assert [key.user for key in await store.keys.all()] == ["Ann", "Ann"]


@pytest.mark.parametrize(
    "shown", ["", "sk-penstock-", "sk-other", "sk-penstock-" + "x" * 43, "sk-penstock-" + "x" * 10**6]
)
async def test_what_is_no_key_opens_nothing(store, shown):
    await store.keys.create("ann")
    assert store.keys.known(shown) is None
    assert await store.keys.identify(shown) is None


async def test_an_expired_key_opens_nothing(store, clock):
    key, secret = await store.keys.create("ann", Terms(expires_at=clock.now + 60))
    assert store.keys.known(secret) is not None
    clock.now += 60
    assert store.keys.known(secret) is None
    assert key.state(clock.now) == "expired"


async def test_after_a_rotation_the_old_key_is_good_for_as_long_as_was_said(store, clock):
    key, old = await store.keys.create("ann", Terms(parallel=3))
    rotated, new = await store.keys.rotate("ann", grace=60)
    assert (rotated.id, rotated.terms, rotated.rotated_at) == (key.id, key.terms, clock.now)
    assert store.keys.known(old).id == store.keys.known(new).id == key.id
    clock.now += 60
    assert store.keys.known(old) is None
    _, newest = await store.keys.rotate("ann")
    assert store.keys.known(new) is None
    assert store.keys.known(newest).id == key.id
    assert await store.keys.rotate("nobody") is None


async def test_what_another_process_changes_is_seen(store, other):
    key, secret = await other.keys.create("ann")
    assert (await store.keys.identify(secret)).id == key.id  # no request comes too early
    _, new = await other.keys.rotate("ann")
    await until(lambda: store.keys.known(new) is not None and store.keys.known(secret) is None)
    await other.keys.revoke("ann")
    await until(lambda: store.keys.known(new) is None)
    assert len(store.keys) == 0


def test_the_bound_on_staleness_holds_by_its_parts():
    assert 2.0 + key_memory.PATIENCE < key_memory.STALE_SECONDS == 5.0


async def test_unknown_keys_cannot_make_the_store_work(store, monkeypatch):
    looks = []
    refresh = store.keys.refresh

    async def counted():
        looks.append(trio.current_time())
        await refresh()

    monkeypatch.setattr(store.keys, "refresh", counted)
    monkeypatch.setattr(key_memory, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(key_memory, "POLL_SECONDS", 60.0)
    await store.keys.identify("sk-penstock-first")
    looks.clear()
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(store.keys.identify, f"sk-penstock-{number}")
    assert len(looks) == 1


async def test_an_answer_that_was_overtaken_does_not_bring_a_revoked_key_back(store):
    key, secret = await store.keys.create("ann")
    await store.keys.revoke("ann")
    store.keys._learn([key])
    assert store.keys.known(secret) is None


async def test_those_without_a_stored_key_have_a_row_that_opens_nothing(store, other):
    static = await store.keys.adopt("static", ["ci", "ann"])
    nobody = await store.keys.adopt("nobody", [""])
    assert len({*static.values(), *nobody.values()}) == 3
    assert await other.keys.adopt("static", ["ann", "ci"]) == static
    assert await store.keys.all() == []
    assert await store.keys.revoke("ci") is None
    key, _ = await store.keys.create("ci")  # names of the two kinds have nothing to do with each other
    assert key.id not in static.values()
    await store.sessions.create(nobody[""], "default")


async def test_when_a_key_was_used_is_written_behind_its_back(store, other, clock):
    key, _ = await store.keys.create("ann")
    store.keys.note_use(key.id)
    clock.now += 9
    await store.keys.write_uses()
    assert (await other.keys.get("ann")).last_used_at == clock.now - 9
    other.keys.note_use(key.id)
    await other.keys.write_uses()
    clock.now -= 5  # a clock that is behind moves nothing back
    store.keys.note_use(key.id)
    await store.keys.write_uses()
    assert (await store.keys.get("ann")).last_used_at == clock.now + 5


async def test_uses_that_could_not_be_written_are_not_forgotten(store, monkeypatch):
    key, _ = await store.keys.create("ann")
    store.keys.note_use(key.id)

    async def broken(job):
        raise StoreError("unavailable", "No.")

    with monkeypatch.context() as patch:
        patch.setattr(store.keys._desk, "write", broken)
        with pytest.raises(StoreError):
            await store.keys.write_uses()
        patch.setattr(store.keys._desk, "write", lambda job: trio.sleep_forever())
        with trio.move_on_after(0):
            await store.keys.write_uses()
    await store.keys.write_uses()
    assert (await store.keys.get("ann")).last_used_at is not None


async def test_what_is_known_is_fresh_while_the_store_can_be_read(store, monkeypatch):
    assert store.keys.fresh
    monkeypatch.setattr(key_memory, "STALE_SECONDS", -1)
    assert not store.keys.fresh
