"""What requests cost the keys that they came with: budgets, rates and rows tell one story, whatever happens."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, text, usage
from penstock.protocol.chat import MOST_TOKENS
from penstock.server import accounts
from penstock.server.store.errors import StoreError
from penstock.server.store.key_rows import Terms
from rig import Answer, Client, Rig, settled
from scripted import Upstream

ANSWER = [STREAM, chunked(sse(role(), text("Hi"), finish(), usage(10, 20), DONE)) + LAST]
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nup/tiny\r\n--B\r\nContent-Disposition: form-data; '
    b'name="file"; filename="a.wav"\r\n\r\n' + b"x" * 100_000 + b"\r\n--B--\r\n"
)


class Spender:
    """A key of a gateway with a store, and what it has spent."""

    def __init__(self, rig: Rig, key: Any, secret: str) -> None:
        self.rig, self.key, self.secret = rig, key, secret
        self.store: Any = rig.gateway.store

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secret}"}

    async def ask(self, text: str = "Hi", **body: Any) -> Answer:
        return await self.rig.ask(text, self.headers, **body)

    async def post(self, path: str, body: bytes, kind: str = "application/json") -> Answer:
        client = self.rig.connect()
        await client.request("POST", path, {**self.headers, "content-type": kind}, body)
        answer = await client.answer()
        client.leave()
        return answer

    async def budget(self) -> tuple[int, int]:
        budget = await self.store.budgets.get(self.key.id, period="total")
        return budget.spent, budget.reserved

    async def rows(self, by: str = "key") -> list[tuple[str, int, int]]:
        await self.store.usage.flush()
        found = await self.store.usage.totals(by, since=0)
        return [(total.name, total.prompt_tokens, total.completion_tokens) for total in found]


@pytest.fixture
def spender(nursery: trio.Nursery, tmp_path: Path) -> Any:
    async def spender(terms: Terms, *scripts: Any, toml: str = "", **upstreams: Any) -> Spender:
        first = Upstream(nursery, *scripts) if not callable(scripts[0]) else scripts[0]
        rig = await Rig.stored(nursery, tmp_path / "store.db", first, toml, **upstreams)
        assert rig.gateway.store is not None
        return Spender(rig, *await rig.gateway.store.keys.create("ci", terms))

    return spender


BUDGET = Terms(token_budget=100_000)


async def left(spender: Spender, client: Client) -> None:
    """The client leaves in the middle of what its upstream does."""
    exchanges = spender.rig.gateway.exchanges
    while not exchanges:  # the budget is being asked
        await settled()
    await settled()
    client.leave()
    while exchanges:
        await settled()


# -- what nobody counted


async def test_c80_an_answer_that_nobody_counted_is_booked_by_its_bytes(spender):
    uncounted = {name: value for name, value in completion("word " * 4000).items() if name != "usage"}
    ci = await spender(BUDGET, [reply(uncounted)])
    answer = await ci.ask()
    ((name, prompt, said),) = await ci.rows()
    assert (name, said) == ("ci", len(answer.body) // 4)
    assert 10 < prompt < 60
    assert await ci.budget() == (prompt + said, 0)


async def test_c80_a_stream_that_nobody_counted_is_booked_by_its_frames(spender):
    ci = await spender(BUDGET, [STREAM, chunked(sse(role(), *map(text, "abcdefgh"), finish(), DONE)) + LAST])
    await ci.ask(stream=True)
    ((_, prompt, said),) = await ci.rows()
    assert 8 <= said <= 11
    assert await ci.budget() == (prompt + said, 0)


async def test_c80_embeddings_that_nobody_counted_cost_their_text(spender):
    ci = await spender(BUDGET, [reply({"object": "list", "data": [{"index": 0, "embedding": [0.1] * 900}]})])
    body = json.dumps({"model": "up/tiny", "input": "x" * 4000}).encode()
    assert (await ci.post("/v1/embeddings", body)).status == 200
    ((_, prompt, said),) = await ci.rows()
    assert (prompt, said) == (len(body) // 4 + 1, 0)
    assert await ci.budget() == (prompt, 0)


async def test_c80_uploads_are_reserved_for_and_nothing_passes_an_empty_budget(spender):
    counted = [STREAM, chunked(sse(role(), text("Hi"), finish(), usage(10, 190), DONE)) + LAST]
    ci = await spender(Terms(token_budget=200), [reply({"text": "hello"})], counted)
    kind = "multipart/form-data; boundary=B"
    assert (await ci.post("/v1/audio/transcriptions", FORM, kind)).status == 200
    assert await ci.budget() == (101, 0)
    assert (await ci.ask(max_tokens=10)).status == 200
    refused = await ci.post("/v1/audio/transcriptions", FORM, kind)
    assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
    assert await ci.budget() == (301, 0)


async def test_c80_what_counts_for_nothing_needs_a_budget_too(spender):
    counted = [STREAM, chunked(sse(role(), text("Hi"), finish(), usage(10, 90), DONE)) + LAST]
    toml = '[providers.up]\npreset = "openai"\nspeaks = ["openai", "count_tokens"]\n'
    ci = await spender(Terms(token_budget=100), [reply({"input_tokens": 5})], counted, toml=toml)
    body = b'{"model":"up/tiny","messages":[{"role":"user","content":"Hi"}]}'
    assert (await ci.post("/v1/messages/count_tokens", body)).json["input_tokens"] == 5
    assert await ci.budget() == (0, 0)
    assert (await ci.ask(max_tokens=10)).status == 200
    assert (await ci.post("/v1/messages/count_tokens", body)).status == 429


@pytest.mark.parametrize(
    "more",
    [
        {"max_completion_tokens": 1, "max_tokens": 100_000},
        {"max_tokens": 100_000.0},
        {"n": 128, "max_tokens": 800},
        {"max_tokens": 10**400},
    ],
)
async def test_c80_no_bound_that_an_upstream_may_obey_is_overlooked(spender, more):
    ci = await spender(Terms(token_budget=10_000), ANSWER)
    assert (await ci.ask(**more)).error["code"] == "insufficient_quota"
    assert ci.rig.upstreams["up"].requests == []


async def test_c14_a_whole_answer_that_nobody_waited_for_is_booked_as_far_as_it_came(spender):
    ci = await spender(BUDGET, [STREAM, chunked(sse(role(), *map(text, "abcdefgh"))), trio.Event()])
    client = ci.rig.connect()
    await client.chat("a question", ci.headers)
    await left(ci, client)
    ((_, prompt, said),) = await ci.rows()
    assert prompt > 5
    assert 8 <= said <= 9
    assert await ci.budget() == (prompt + said, 0)


# -- who has worked for it


async def test_c80_an_upstream_that_was_never_reached_costs_nothing(spender):
    ci = await spender(BUDGET, trio.sleep_forever, toml="[timeouts]\nconnect = 0.2\n")
    assert (await ci.ask("a long question " * 500)).status == 504
    client = ci.rig.connect()
    await client.chat("another", ci.headers)
    await left(ci, client)
    assert await ci.rows() == [("ci", 0, 0)]
    assert await ci.budget() == (0, 0)


async def test_tokens_go_to_the_upstream_that_worked_for_them(spender, nursery):
    silent = Upstream(nursery, [trio.Event()])
    toml = '[routes.r]\nproviders = ["a", "b"]\n[timeouts]\nanswer = 0.2\n'
    ci = await spender(BUDGET, ANSWER, toml=toml, a=silent, b=Upstream(nursery, ANSWER))
    ci.rig.gateway.catalog.providers["b"].slots = SimpleNamespace(try_acquire=lambda: False)
    assert (await ci.ask("a question", model="r/m")).status == 504
    found = await ci.rows("model")
    assert [name for name, prompt, _ in found if prompt] == ["a/m"]
    assert {name for name, *_ in found} == {"a/m", "b/m"}


# -- counts without sense


async def test_c84_a_count_without_sense_breaks_neither_the_accounts_nor_the_metrics(spender):
    mad = [STREAM, chunked(sse(role(), text("Hi"), finish(), usage(10, 10**400), DONE)) + LAST]
    ci = await spender(Terms(token_budget=10_000, tokens_per_minute=3000), mad)
    assert (await ci.ask(stream=True, max_tokens=100)).status == 200
    assert await ci.budget() == (MOST_TOKENS, 0)
    assert await ci.rows() == [("ci", 10, MOST_TOKENS)]
    client = ci.rig.connect()
    await client.request("GET", "/metrics", ci.headers)
    metrics = await client.answer()
    assert (metrics.status, b"gateway_tokens_total" in metrics.body) == (200, True)
    assert int((await ci.ask()).headers["retry-after"]) < 3700


# -- refused, left, and written too late


async def test_waiting_as_long_as_retry_after_says_is_enough(spender):
    ci = await spender(Terms(requests_per_minute=43), *[ANSWER] * 43)
    for _ in range(43):
        assert (await ci.ask()).status == 200
    refused = await ci.ask()
    assert (refused.status, refused.headers["retry-after"]) == (429, "2"), "a request in 1.4 s is not one in 1 s"


async def test_c81_a_request_that_the_budget_refuses_pays_no_rates(spender):
    ci = await spender(Terms(token_budget=100, tokens_per_minute=2000, requests_per_minute=3), ANSWER)
    for _ in range(5):
        assert (await ci.ask(max_tokens=900)).error["code"] == "insufficient_quota"
    answer = await ci.ask(max_tokens=10)
    assert answer.status == 200
    assert answer.headers["x-ratelimit-remaining-requests"] == "2"


async def test_c81_who_leaves_while_the_store_is_slow_holds_no_place(spender, monkeypatch):
    ci = await spender(Terms(token_budget=10_000, tokens_per_minute=2000, parallel=1), ANSWER)
    write, go = ci.store._desk.write, trio.Event()

    async def slow(job):
        await go.wait()
        return await write(job)

    monkeypatch.setattr(ci.store._desk, "write", slow)
    client = ci.rig.connect()
    await client.chat(headers=ci.headers, max_tokens=1500)
    await settled()
    assert ci.rig.gateway.admitted == 1
    client.leave()
    while ci.rig.gateway.admitted:
        await settled()
    monkeypatch.undo()
    go.set()
    assert (await ci.ask(max_tokens=1500)).status == 200
    assert ci.rig.gateway.ledger.endings == {"client_gone": 1, "completed": 1}
    assert await ci.budget() == (30, 0)


@pytest.mark.parametrize("stream", [True, False])
async def test_c80_a_slow_store_costs_no_answer_and_is_paid_later(spender, monkeypatch, stream):
    ci = await spender(BUDGET, ANSWER)
    pay = ci.store.budgets._pay

    async def hang(*_):
        monkeypatch.setattr(ci.store.budgets, "_pay", pay)
        await trio.sleep_forever()

    monkeypatch.setattr(ci.store.budgets, "_pay", hang)
    monkeypatch.setattr(accounts, "PATIENCE", 0.05)
    answer = await ci.ask(stream=stream)
    assert answer.status == 200
    assert b"Hi" in answer.body
    await ci.store.budgets.keep()
    assert await ci.budget() == (30, 0)


async def test_c80_a_bug_in_one_of_those_who_look_on_loses_no_settlement(spender, monkeypatch, caplog):
    ci = await spender(Terms(token_budget=100_000, parallel=1), ANSWER, ANSWER)
    pay = ci.store.budgets._pay

    async def bug(*_):
        monkeypatch.setattr(ci.store.budgets, "_pay", pay)
        raise RuntimeError("a bug")

    monkeypatch.setattr(ci.store.budgets, "_pay", bug)
    assert (await ci.ask()).status == 500
    assert "a bug" in caplog.text
    await ci.store.budgets.keep()
    assert await ci.budget() == (30, 0)
    assert (await ci.ask()).status == 200


async def test_each_of_those_who_look_on_is_told_and_after_a_failure_that_it_failed(nursery):
    told: list[tuple[str, str]] = []

    class Looker:
        def __init__(self, name: str, trouble: Exception | None = None) -> None:
            self.name, self.trouble = name, trouble

        async def settle(self, ending: Any, record: Any) -> None:
            told.append((self.name, ending.kind))
            if self.trouble is not None:
                raise self.trouble

    from penstock.protocol.chat import Ending
    from penstock.server.delivery import Delivery

    lookers = (
        Looker("first"),
        Looker("second", KeyError("a bug")),
        Looker("third", ValueError("another")),
        Looker("last"),
    )
    call: Any = SimpleNamespace(witnesses=lookers, keepalive=0)
    delivery = Delivery(call, SimpleNamespace(write=None), SimpleNamespace(usage=None))  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        await delivery.settle(Ending("completed"), None)
    assert told == [("first", "completed"), ("second", "completed"), ("third", "failed"), ("last", "failed")]


async def test_c85_under_continue_no_number_of_requests_is_too_many(spender, monkeypatch):
    ci = await spender(BUDGET, ANSWER)
    ci.store._on_failure = "continue"
    write = ci.store._desk.write

    async def away(job):
        raise StoreError("unavailable", "The disk is gone.")

    monkeypatch.setattr(ci.store._desk, "write", away)
    for _ in range(1100):
        with pytest.raises(StoreError):
            await ci.store.budgets.reserve(ci.key.id, 1, period="total")
    assert (await ci.ask()).status == 200
    monkeypatch.setattr(ci.store._desk, "write", write)
    await ci.store.budgets.keep()
    assert await ci.budget() == (0, 0)
