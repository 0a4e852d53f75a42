"""Keys of the store at the gateway: who comes in, what a key may do, and what is written down of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from answers import DONE, LAST, STREAM, chunked, finish, role, sse, text, usage
from penstock.server.app import serve
from penstock.server.config import StartError, load
from penstock.server.store.key_rows import Terms
from rig import Answer, Rig
from scripted import EXPECT_CLOSE, Upstream

ANSWER = [STREAM, chunked(sse(role(), text("Hi"), finish(), usage(10, 20), DONE)) + LAST]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def ask(rig: Rig, secret: str = "", **more: Any) -> Answer:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return await rig.ask(headers=headers | more.pop("headers", {}), **more)


def upstream(nursery: trio.Nursery, *scripts: list[Any]) -> Upstream:
    return Upstream(nursery, *(scripts or [ANSWER] * 20))


async def totals(rig: Rig, by: str = "key") -> list[Any]:
    store = rig.gateway.store
    assert store is not None
    await store.usage.flush()
    return await store.usage.totals(by, since=0)


async def test_keys_are_demanded_as_soon_as_there_is_one_and_ever_after(nursery, file):
    rig = await Rig.stored(nursery, file, upstream(nursery))
    assert (await ask(rig)).status == 200
    keys = rig.gateway.store.keys
    _, secret = await keys.create("ci")
    assert (await ask(rig)).status == 401
    assert (await ask(rig, "sk-penstock-" + "x" * 43)).status == 401
    assert (await ask(rig, secret)).status == 200
    await keys.revoke("ci")
    assert (await ask(rig, secret)).status == 401
    assert (await ask(rig)).status == 401, "taking the last key away opens nothing"


async def test_a_key_survives_a_restart_and_is_known_by_each_header(nursery, file):
    async with trio.open_nursery() as first:
        rig = await Rig.stored(first, file, upstream(first))
        _, secret = await rig.gateway.store.keys.create("ci")
        await rig.gateway.store.aclose()
        first.cancel_scope.cancel()
    rig = await Rig.stored(nursery, file, upstream(nursery))
    for header in ({"authorization": f"Bearer {secret}"}, {"api-key": secret}, {"x-api-key": secret}):
        assert (await rig.ask(headers=header)).status == 200


async def test_c82_a_key_opens_what_is_really_called(nursery, file):
    toml = '[aliases]\nfast = "up/tiny"\n'
    rig = await Rig.stored(nursery, file, upstream(nursery), toml)
    _, narrow = await rig.gateway.store.keys.create("narrow", Terms(models=("up/small*",)))
    _, wide = await rig.gateway.store.keys.create("wide", Terms(models=("up/*",)))
    for model in ("up/tiny", "fast"):
        refused = await ask(rig, narrow, model=model)
        assert (refused.status, refused.error["code"]) == (403, "permission_denied")
        assert (await ask(rig, wide, model=model)).status == 200
    assert (await ask(rig, narrow, model="up/small-1")).status == 200


async def test_requests_a_minute_are_limited_and_told(nursery, file):
    rig = await Rig.stored(nursery, file, upstream(nursery))
    _, secret = await rig.gateway.store.keys.create("ci", Terms(requests_per_minute=2))
    first = await ask(rig, secret)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert (await ask(rig, secret)).status == 200
    refused = await ask(rig, secret)
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(rig.upstreams["up"].requests) == 2


async def test_tokens_a_minute_count_what_was_used_and_not_what_was_feared(nursery, file):
    rig = await Rig.stored(nursery, file, upstream(nursery))
    _, secret = await rig.gateway.store.keys.create("ci", Terms(tokens_per_minute=3000))
    for left in (2970, 2940, 2910):
        answer = await ask(rig, secret, max_tokens=1000)
        assert answer.status == 200
        await trio.testing.wait_all_tasks_blocked()
        headers = (await ask(rig, secret, max_tokens=1)).headers
        assert abs(int(headers["x-ratelimit-remaining-tokens"]) - left) < 200
    assert (await ask(rig, secret, max_tokens=2990)).status == 429


async def test_c08_places_among_parallel_streams_come_back_on_every_path(nursery, file):
    """A thousand aborts leave the place free."""
    never = [STREAM, chunked(sse(role(), text("a"))), trio.Event()]
    rig = await Rig.stored(nursery, file, upstream(nursery, *[never] * 1000, *[ANSWER] * 2))
    _, secret = await rig.gateway.store.keys.create("ci", Terms(parallel=1))
    headers = {"authorization": f"Bearer {secret}"}
    for _ in range(1000):
        client = rig.connect()
        await client.chat(headers=headers, stream=True)
        await client.head()
        client.leave()
        while rig.gateway.exchanges:
            await trio.testing.wait_all_tasks_blocked()
    assert (await ask(rig, secret)).status == 200


async def test_one_stream_too_many_is_told_to_wait(nursery, file):
    go = trio.Event()
    slow = [STREAM, chunked(sse(role(), text("a"))), go, *ANSWER[1:]]
    rig = await Rig.stored(nursery, file, upstream(nursery, slow, ANSWER))
    _, secret = await rig.gateway.store.keys.create("ci", Terms(parallel=1))
    client = rig.connect()
    await client.chat(headers={"authorization": f"Bearer {secret}"}, stream=True)
    await client.head()
    refused = await ask(rig, secret)
    assert (refused.status, refused.error["type"]) == (429, "rate_limit_error")
    go.set()
    while await client.piece():
        pass
    assert (await ask(rig, secret)).status == 200


async def test_a_budget_is_reserved_and_settled_before_the_answer_ends(nursery, file):
    rig = await Rig.stored(nursery, file, upstream(nursery))
    store = rig.gateway.store
    key, secret = await store.keys.create("ci", Terms(token_budget=100))
    assert (await ask(rig, secret, max_tokens=20)).status == 200
    budget = await store.budgets.get(key.id, period="total")
    assert (budget.spent, budget.reserved) == (30, 0)
    refused = await ask(rig, secret, max_tokens=71)
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert refused.headers["x-should-retry"] == "false"
    assert "70 tokens" in refused.error["message"]
    assert len(rig.upstreams["up"].requests) == 1


async def test_c14_what_a_client_got_before_it_left_is_estimated_and_booked(nursery, file):
    script = [STREAM, chunked(sse(role(), *map(text, "abcdefgh"))), trio.Event()]
    rig = await Rig.stored(nursery, file, upstream(nursery, script))
    store = rig.gateway.store
    key, secret = await store.keys.create("ci", Terms(token_budget=100000))
    client = rig.connect()
    await client.chat("a question of some length", {"authorization": f"Bearer {secret}"}, stream=True)
    await client.head()
    await client.piece()
    client.leave()
    while rig.gateway.exchanges:
        await trio.testing.wait_all_tasks_blocked()
    (total,) = await totals(rig)
    assert total.completion_tokens == 9
    assert 10 < total.prompt_tokens < 60
    budget = await store.budgets.get(key.id, period="total")
    assert (budget.spent, budget.reserved) == (total.prompt_tokens + 9, 0)


async def test_each_request_has_its_row_whoever_asked(nursery, file):
    toml = '[[keys]]\nname = "static"\nkey = { env = "K" }\n'
    rig = await Rig.stored(nursery, file, upstream(nursery), toml, environ={"K": "secret-of-the-file"})
    _, secret = await rig.gateway.store.keys.create("stored")
    for shown in ("secret-of-the-file", secret, secret):
        assert (await ask(rig, shown)).status == 200
    assert sorted(total.requests for total in await totals(rig)) == [1, 2]
    (model,) = await totals(rig, "model")
    assert (model.name, model.requests, model.prompt_tokens, model.completion_tokens) == ("up/tiny", 3, 30, 60)


async def test_a_page_needs_a_key_that_names_its_origin(nursery, file):
    page = {"origin": "https://app.example"}
    rig = await Rig.stored(nursery, file, upstream(nursery))
    _, bound = await rig.gateway.store.keys.create("page", Terms(origins=("https://app.example",)))
    client = rig.connect()
    await client.request("OPTIONS", "/v1/chat/completions", {**page, "access-control-request-method": "POST"})
    preflight = await client.answer()
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert (await ask(rig, bound, headers=page)).status == 200
    elsewhere = await ask(rig, bound, headers={"origin": "https://evil.example"})
    assert elsewhere.status == 403
    assert "access-control-allow-origin" not in elsewhere.headers


async def test_c85_a_store_that_is_away_refuses_or_goes_on_by_policy(nursery, file):
    for policy, status in (("refuse", 503), ("continue", 200)):
        where = file.with_name(f"{policy}.db")
        # The policy stands in [store], which `stored` writes: so it is set where it is used.
        rig = await Rig.stored(nursery, where, upstream(nursery))
        store = rig.gateway.store
        store._on_failure = policy
        store._desk.write_error = store._desk.read_error = _away()
        assert (await ask(rig)).status == status


async def test_c82_no_other_name_leads_to_another_model(nursery, file):
    """Go reads "MODEL" as "model", and OpenRouter falls back on "models": what is judged must be what is called."""
    rig = await Rig.stored(nursery, file, upstream(nursery))
    _, narrow = await rig.gateway.store.keys.create("narrow", Terms(models=("up/tiny",)))
    _, wide = await rig.gateway.store.keys.create("wide")
    for more, status in (({"MODEL": "up/big"}, 400), ({"models": ["up/big"]}, 403), ({}, 200)):
        assert (await ask(rig, narrow, **more)).status == status
    assert (await ask(rig, wide, models=["up/big"])).status == 200


async def test_c83_what_one_key_gets_is_not_for_a_cache_to_give_to_another(nursery, file):
    rig = await Rig.stored(nursery, file, upstream(nursery))
    _, secret = await rig.gateway.store.keys.create("ci")
    client = rig.connect()
    await client.request("GET", "/v1/models", {"authorization": f"Bearer {secret}"})
    answer = await client.answer()
    assert answer.headers["cache-control"] == "private, no-store"
    assert "Authorization" in answer.headers["vary"]


async def test_a_key_at_its_limit_waits_for_nothing(nursery, file):
    """Nor does it hold the place of others: with one session and one stream, the second is refused at once."""
    slow = [STREAM, chunked(sse(role(), text("a"))), EXPECT_CLOSE]
    rig = await Rig.stored(nursery, file, upstream(nursery, slow))
    _, secret = await rig.gateway.store.keys.create("ci", Terms(parallel=1))
    headers = {"authorization": f"Bearer {secret}", "x-session-id": "one"}
    client = rig.connect()
    await client.chat(headers=headers, stream=True)
    await client.head()
    assert (await rig.ask(headers=headers)).status == 429
    client.leave()


async def test_c85_a_key_that_cannot_be_looked_up_is_not_called_wrong(nursery, file, monkeypatch):
    rig = await Rig.stored(nursery, file, upstream(nursery))
    await rig.gateway.store.keys.create("ci")
    monkeypatch.setattr(type(rig.gateway.store.keys), "fresh", False)
    assert (await ask(rig, "sk-penstock-" + "x" * 43)).status == 503


async def test_c85_budgets_are_not_checked_while_the_store_is_away_if_the_policy_says_so(nursery, file, monkeypatch):
    rig = await Rig.stored(nursery, file, upstream(nursery))
    store = rig.gateway.store
    _, secret = await store.keys.create("ci", Terms(token_budget=1))

    async def away(*_: Any, **__: Any) -> Any:
        raise _away()

    monkeypatch.setattr(store.budgets, "reserve", away)
    for policy, status in (("refuse", 503), ("continue", 200)):
        store._on_failure = policy
        assert (await ask(rig, secret)).status == status


def _away() -> Any:
    from penstock.server.store.errors import StoreError

    return StoreError("unavailable", "The disk is gone.")


async def test_an_address_that_others_reach_needs_a_key_of_the_store(tmp_path):
    """Not even the default file opens it: `keys create` has to have made one."""
    environ = {"XDG_DATA_HOME": str(tmp_path)}
    config_file = tmp_path / "penstock.toml"
    config_file.write_text("[server]\nhost = '0.0.0.0'\n[store]\n")
    config = load(config_file, environ)
    with pytest.raises(StartError, match="penstock keys create"):
        await serve(config, [], None, print)
