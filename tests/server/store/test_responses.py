"""Stored responses and the small tables beside them."""

import pytest

from penstock.server.store import responses
from penstock.server.store.notes import KnownModel
from penstock.server.store.responses import StoredResponse


@pytest.fixture
async def bob(store):
    made, _ = await store.keys.create("bob")
    return made


def response(key, name="resp_1", previous=None, **more):
    said = {"status": "completed", "input": [{"role": "user"}], "body": {"id": name}, "created_at": 5.0}
    return StoredResponse(name, key.id, **{**said, **more}, previous_id=previous)


async def test_a_response_is_kept_and_its_newer_state_takes_its_place(store, other, key):
    first = response(key, status="in_progress", expires_at=None)
    assert await store.responses.put(first) is True
    assert await other.responses.get(key.id, "resp_1") == first
    second = response(key, body={"id": "resp_1", "output": ["\0\ud800", 10**30]})
    assert await store.responses.put(second) is True
    assert await other.responses.get(key.id, "resp_1") == second


async def test_a_response_is_its_owner_s(store, key, bob):
    mine = response(key)
    await store.responses.put(mine)
    assert await store.responses.get(bob.id, "resp_1") is None
    assert await store.responses.delete(bob.id, "resp_1") is False
    assert await store.responses.put(response(bob, body={})) is False
    assert await store.responses.get(key.id, "resp_1") == mine
    assert await store.responses.delete(key.id, "resp_1") is True
    assert await store.responses.get(key.id, "resp_1") is None


async def test_a_conversation_is_followed_back_as_far_as_it_is_there(store, key, bob, monkeypatch):
    chain = [response(key, "a"), response(key, "b", "a"), response(key, "c", "b")]
    for one in chain:
        await store.responses.put(one)
    assert await store.responses.chain(key.id, "c") == (chain, True)
    assert await store.responses.chain(bob.id, "c") == ([], False)
    await store.responses.delete(key.id, "a")
    assert await store.responses.chain(key.id, "c") == (chain[1:], False)
    await store.responses.put(response(key, "b", "c"))  # a circle, which nobody should make
    monkeypatch.setattr(responses, "MAX_CHAIN", 5)
    found, whole = await store.responses.chain(key.id, "c")
    assert (len(found), whole) == (5, False)


async def test_what_has_expired_is_not_there_and_then_deleted(store, key, clock, monkeypatch):
    monkeypatch.setattr(responses, "BATCH", 2)
    for number in range(3):
        await store.responses.put(response(key, f"r{number}", expires_at=clock.now + 60))
    await store.responses.put(response(key, "kept"))
    clock.now += 59
    assert await store.responses.get(key.id, "r0") is not None
    assert await store.responses.purge() == 0
    clock.now += 1
    assert await store.responses.get(key.id, "r0") is None
    assert await store.responses.delete(key.id, "r0") is False
    assert [await store.responses.purge() for _ in range(3)] == [2, 1, 0]
    assert await store.responses.get(key.id, "kept") is not None


async def test_settings_are_values_by_name(store, other):
    assert await store.settings.get("a") is None
    for value in ({"x": [1, "ы"]}, None, False):
        await store.settings.put("a", value)
        assert await other.settings.get("a") == value


async def test_what_is_known_of_models(store, other, clock):
    await store.models.learn("b", "y", None)
    await store.models.learn("a", "x", 8192)
    await store.models.learn("b", "y", 4096)
    assert await other.models.all() == [
        KnownModel("a", "x", 8192, clock.now),
        KnownModel("b", "y", 4096, clock.now),
    ]
