"""Health: what is known of upstreams and the store without asking them; readiness: whether new work is welcome."""

import time

import pytest

from answers import DONE, STREAM, chunked, completion, error, finish, reply, role, sse, stream, text
from penstock.server.ledger import Attempt, Record
from penstock.server.store.errors import StoreError
from penstock.server.store.store import Store
from penstock.server.upstreams import Upstreams
from rig import Rig, settled
from scripted import EXPECT_CLOSE, RESET, Upstream

BEGUN = chunked(sse(role(), text("Hel")))
WHOLE = [reply(completion())]


async def get(rig, target="/health", peer="127.0.0.1"):
    client = rig.connect(peer=peer)
    await client.request("GET", target)
    answer = await client.answer()
    client.leave()
    assert answer.headers["cache-control"] == "no-store"
    return answer


async def upstream_of(rig, name="up"):
    (found,) = [entry for entry in (await get(rig)).json["upstreams"] if entry["name"] == name]
    return found


async def test_strangers_learn_that_it_lives_and_no_more(nursery, autojump_clock):
    answer = await get(Rig(nursery, Upstream(nursery)), peer="10.0.0.9")
    assert answer.json.keys() == {"status", "version", "uptime_seconds"}


async def test_what_is_under_way_is_told(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE], [EXPECT_CLOSE]))
    streaming, waiting = rig.connect(), rig.connect()
    await streaming.chat(stream=True)
    await streaming.head()
    await waiting.chat()
    await settled()
    told = (await get(rig)).json
    assert (told["in_flight"], told["streams"], told["connections"]) == (2, 1, 3)
    assert told["upstreams"][-1]["under_way"] == 2
    assert told["sessions"] == {"websockets": 0, "active": 0}
    streaming.leave()
    waiting.leave()


async def test_a_session_whose_turn_it_is_is_active(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery))
    async with rig.gateway.sessions.turn(0, "s"):
        assert (await get(rig)).json["sessions"]["active"] == 1
    assert (await get(rig)).json["sessions"]["active"] == 0


# -- upstreams --------------------------------------------------------------------------------------------


async def test_an_upstream_nobody_has_asked(nursery, autojump_clock):
    upstream = Upstream(nursery)
    told = await upstream_of(Rig(nursery, upstream))
    assert told.keys() == {"name", "preset", "state", "credentials", "under_way", "operations"}
    assert (told["name"], told["preset"], told["state"]) == ("up", "openai", "never asked")
    assert not upstream.connections, "nobody is asked for a health check"


@pytest.mark.parametrize(
    ("script", "state", "failure"),
    [
        (WHOLE, "ok", None),
        (stream(role(), text("Hello"), finish(), DONE), "ok", None),
        ([reply(error("wrong"), 400)], "ok", None),  # the request's fault; it answers
        ([reply(error("unknown"), 404)], "ok", None),
        ([reply(error("who are you"), 401)], "failing", "status 401"),
        ([reply(error("slowly"), 429)], "failing", "status 429"),
        ([reply(error("oops"), 500)], "failing", "status 500"),
        ([RESET], "failing", "failed"),
        ([STREAM, BEGUN, RESET], "failing", "truncated"),
        ([EXPECT_CLOSE], "failing", "timed_out(answer)"),
    ],
)
async def test_its_state_is_that_of_the_last_attempt(nursery, autojump_clock, script, state, failure):
    rig = Rig(nursery, Upstream(nursery, script), "[timeouts]\nanswer = 5\n")
    await rig.ask(stream=script[0][:40] == STREAM[:40])
    told = await upstream_of(rig)
    assert (told["state"], told.get("failure")) == (state, failure)


async def test_a_client_that_leaves_says_nothing_of_an_upstream_that_had_not_answered(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [EXPECT_CLOSE]))
    client = rig.connect()
    await client.chat()
    await settled()
    client.leave()
    await settled()
    assert (await upstream_of(rig))["state"] == "never asked"


async def test_our_own_limit_says_nothing_of_the_upstream(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [EXPECT_CLOSE]), "[providers.up]\nparallel = 1\n")
    busy = rig.connect()
    await busy.chat()
    await settled()
    assert (await rig.ask()).status == 429
    assert (await upstream_of(rig))["state"] == "never asked"
    busy.leave()


def record(*attempts):
    record = Record.__new__(Record)
    record.attempts = []
    for failure, status in attempts:
        attempt = Attempt("up", "tiny")
        attempt.failure, attempt.status = failure, status
        record.attempts.append(attempt)
    return record


def test_a_state_has_the_time_at_which_it_began_and_the_time_of_the_last_attempt():
    times = iter([10, 20, 30, 40, 50])
    upstreams = Upstreams(clock=lambda: next(times))
    seen = []
    for failure, status in [("", 200), ("", 200), ("failed", 0), ("failed", 503), ("", 200)]:
        upstreams.read(record((failure, status)))
        state = upstreams.state("up")
        seen.append((state.ok, state.since, state.asked_at, state.failure))
    assert seen == [
        (True, 10, 10, ""),
        (True, 10, 20, ""),
        (False, 30, 30, "failed"),
        (False, 30, 40, "status 503"),
        (True, 50, 50, ""),
    ]
    assert upstreams.state("other") is None


async def test_times_are_of_the_day(nursery, autojump_clock):
    before = int(time.time())
    rig = Rig(nursery, Upstream(nursery, WHOLE))
    await rig.ask()
    told = await upstream_of(rig)
    assert before <= told["since"] <= told["asked_at"] <= time.time() + 1


# -- credentials ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "environ", "said"),
    [
        ('[providers.up]\npreset = "deepseek"', {"DEEPSEEK_API_KEY": "hunter2"}, "there"),
        ('[providers.up]\npreset = "deepseek"', {}, "missing"),
        ('[providers.up]\npreset = "anthropic"', {}, "missing"),
        ('[providers.up]\nbase_url = "http://up.example/v1"', {}, "not needed"),
        ('[providers.up]\nbase_url = "http://up.example/v1"\napi_key = { env = "UP" }', {"UP": "hunter2"}, "there"),
        ('[providers.up]\npreset = "ollama"', {}, "not needed"),
        ('[providers.up]\npreset = "ollama"', {"OLLAMA_API_KEY": "hunter2"}, "there"),
        ('[providers.up]\npreset = "echo"', {}, "not needed"),
    ],
)
async def test_c32_whether_credentials_are_there_is_told_and_never_what_they_are(
    nursery, autojump_clock, toml, environ, said
):
    rig = Rig(nursery, Upstream(nursery), toml + "\n", environ)
    assert (await upstream_of(rig))["credentials"] == said
    for target in ("/health", "/metrics", "/openapi.json", "/docs"):
        client = rig.connect()
        await client.request("GET", target)
        answer = await client.answer()
        assert answer.status == 200
        assert b"hunter2" not in answer.body


async def test_features_are_those_of_the_configuration(nursery, autojump_clock):
    keys = '[[keys]]\nname = "ci"\nkey = { env = "CI" }\n'
    bare = (await get(Rig(nursery, Upstream(nursery)))).json["features"]
    keyed = (await get(Rig(nursery, Upstream(nursery), keys, {"CI": "s"}))).json["features"]
    assert (bare["keys"], keyed["keys"]) == (False, True)
    assert not any(bare[name] for name in ("admin", "tls", "stored_responses", "sessions_survive_restarts"))
    assert {"openai", "embeddings"} <= set(bare["operations"])


# -- readiness and the store ------------------------------------------------------------------------------


@pytest.fixture
def broken(monkeypatch):
    """Makes the store one that cannot be used."""
    error = StoreError("unavailable", "The disk is full.")
    return lambda: monkeypatch.setattr(Store, "last_error", error)


async def test_without_a_store_it_is_ready(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery))
    answer = await get(rig, "/ready", peer="10.0.0.9")
    assert (answer.status, answer.json) == (200, {"status": "ready"})
    assert (await get(rig)).json["store"] == {"state": "off"}


@pytest.mark.parametrize(("policy", "status"), [("refuse", 503), ("continue", 200)])
async def test_c85_readiness_says_what_requests_are_told_when_the_store_is_away(
    nursery, tmp_path, broken, policy, status
):
    upstream = Upstream(nursery, WHOLE, WHOLE)
    rig = await Rig.stored(nursery, tmp_path / "s.db", upstream, environ={"PENSTOCK_STORE__ON_FAILURE": policy})
    told = (await get(rig)).json["store"]
    assert told == {"state": "ok", "kind": "sqlite", "takes_work": True}
    assert (await get(rig, "/ready")).status == (await rig.ask()).status == 200
    broken()
    ready, asked = await get(rig, "/ready", peer="10.0.0.9"), await rig.ask()
    assert (ready.status, asked.status) == (status, status)
    if status == 503:
        assert ready.json["status"] == "unavailable"
        assert ready.json["reason"] == asked.error["message"]
        assert "disk" not in ready.json["reason"]
    health = await get(rig)
    assert health.status == 200, "it lives: nobody is to kill it for the store's sake"
    told = health.json["store"]
    assert (told["state"], told["failure"], told["takes_work"]) == ("failing", "unavailable", status == 200)
    await rig.gateway.store.aclose()


async def test_draining_is_said_before_the_stores_troubles(nursery, tmp_path, broken):
    rig = await Rig.stored(nursery, tmp_path / "s.db", Upstream(nursery))
    broken()
    rig.gateway.begin_drain()
    assert (await get(rig, "/ready")).json == {"status": "draining"}
    assert (await get(rig)).json["draining"] is True
    await rig.gateway.store.aclose()
