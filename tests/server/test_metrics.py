"""Figures for Prometheus: true, bounded, and for those who may see them. Read by Prometheus' own parser."""

from collections.abc import Mapping

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from answers import DONE, STREAM, chunked, completion, error, finish, reply, role, sse, stream, text, usage
from penstock.server import metrics
from rig import Rig, settled
from scripted import EXPECT_CLOSE, RESET, Upstream

BEGUN = chunked(sse(role(), text("Hel")))
WHOLE = [reply(completion())]
NOTHING: Mapping[str, str] = {}
KEYS = '[[keys]]\nname = "ci"\nkey = { env = "CI" }\n[[keys]]\nname = "ops"\nkey = { env = "OPS" }\nadmin = true\n'
ENV = {"CI": "secret", "OPS": "admins"}


async def get(rig, target="/metrics", headers=NOTHING, peer="127.0.0.1"):
    client = rig.connect(peer=peer)
    await client.request("GET", target, headers)
    answer = await client.answer()
    client.leave()
    await settled()
    return answer


async def figures(rig):
    """Every sample, by name and labels."""
    answer = await get(rig)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            key = sample.name, *sorted(f"{name}={value}" for name, value in sample.labels.items())
            assert key not in found, "the same series twice"
            found[key] = sample.value
    return found


def total(found, name, *labels):
    return sum(value for (known, *have), value in found.items() if known == name and {*labels} <= {*have})


# -- counts -----------------------------------------------------------------------------------------------


async def test_c84_each_ending_is_counted_once_under_its_own_name(nursery, autojump_clock):
    upstream = Upstream(
        nursery,
        WHOLE,
        stream(role(), text("Hello"), finish(), DONE),
        [reply(error(), 500)],
        [reply(error("no such thing"), 400)],
        [STREAM, BEGUN, RESET],
        [STREAM, BEGUN, EXPECT_CLOSE],
        [EXPECT_CLOSE],
    )
    rig = Rig(nursery, upstream, "[timeouts]\nanswer = 5\n")
    assert [(await rig.ask(stream=n in (1, 4))).status for n in range(5)] == [200, 200, 500, 400, 200]
    leaving = rig.connect()
    await leaving.chat(stream=True)
    await leaving.head()
    leaving.leave()
    await settled()
    assert (await rig.ask()).status == 504
    found = await figures(rig)
    outcomes = {"ok": 2, "upstream_error": 1, "client_error": 1, "truncated": 1, "cancelled": 1, "timeout": 1}
    for outcome, count in outcomes.items():
        assert total(found, "gateway_requests_total", f"outcome={outcome}") == count, outcome
    assert total(found, "gateway_requests_total") == sum(outcomes.values())
    assert total(found, "gateway_requests_total", "stream=true") == 3
    assert total(found, "gateway_requests_total", "status_class=5xx") == 2
    assert total(found, "gateway_request_duration_seconds_count") == sum(outcomes.values())
    assert total(found, "gateway_stream_disconnects_total", "side=client") == 1
    assert total(found, "gateway_stream_disconnects_total", "side=upstream") == 1
    kinds = {label for (name, *labels) in found if name == "gateway_upstream_errors_total" for label in labels}
    assert kinds == {"upstream=up", "kind=failed", "kind=truncated", "kind=timed_out(answer)"}
    assert total(found, "gateway_inflight_requests") == 0


async def test_tokens_are_those_that_the_upstream_counted(nursery, autojump_clock):
    said = usage(100, 20)
    said["usage"] |= {
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    upstream = Upstream(nursery, stream(role(), text("Hello"), finish(), said, DONE), WHOLE)
    rig = Rig(nursery, upstream)
    await rig.ask(stream=True)
    await rig.ask()
    found = await figures(rig)
    for kind, count in {"input": 109, "output": 22, "cached": 60, "reasoning": 5}.items():
        assert total(found, "gateway_tokens_total", f"type={kind}", "model=tiny", "upstream=up") == count


async def test_times_are_from_the_request_to_its_first_event_and_to_its_end(nursery, autojump_clock):
    begun, *rest = stream(role(), text("Hello"), finish(), DONE)
    rig = Rig(nursery, Upstream(nursery, [begun, 0.3, rest[0], 2.0, *rest[1:]], WHOLE))
    await trio.sleep(1)
    await rig.ask(stream=True)
    await rig.ask()
    found = await figures(rig)
    first = "gateway_time_to_first_token_seconds"
    assert (total(found, f"{first}_count"), total(found, f"{first}_sum")) == (1, pytest.approx(0.3, abs=0.01))
    assert total(found, f"{first}_bucket", "le=0.25") == 0
    assert total(found, f"{first}_bucket", "le=0.5") == total(found, f"{first}_bucket", "le=+Inf") == 1
    whole = "gateway_request_duration_seconds"
    assert (total(found, f"{whole}_count"), total(found, f"{whole}_sum")) == (2, pytest.approx(2.3, abs=0.01))


async def test_a_fallback_is_a_retry_and_the_request_is_the_one_that_answered(nursery, autojump_clock):
    up, second = Upstream(nursery, [reply(error(), 503)]), Upstream(nursery, WHOLE)
    rig = Rig(nursery, up, '[routes.both]\nproviders = ["up", "second"]\n', second=second)
    await rig.ask(model="both/tiny")
    found = await figures(rig)
    assert total(found, "gateway_upstream_retries_total") == 1
    assert total(found, "gateway_requests_total") == total(found, "gateway_requests_total", "upstream=second") == 1
    assert total(found, "gateway_upstream_errors_total", "upstream=up") == 1
    assert (total(found, "gateway_upstream_up", "upstream=up"), total(found, "gateway_upstream_up")) == (0, 1)


async def test_what_is_under_way_is_seen(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE]))
    client = rig.connect()
    await client.chat(stream=True)
    await client.head()
    found = await figures(rig)
    assert total(found, "gateway_inflight_requests") == 1
    assert total(found, "gateway_connections") == 2
    client.leave()


# -- labels -----------------------------------------------------------------------------------------------


async def test_c84_models_that_a_client_makes_up_make_no_series(nursery, autojump_clock):
    upstream = Upstream(nursery, *[[reply(error("unknown"), 404)]] * 20, WHOLE)
    rig = Rig(nursery, upstream)
    for number in range(20):
        await rig.ask(model=f"up/made-up-{number}")
    await rig.ask(model="up/real")
    await rig.ask(model="nobody/knows")  # refused before anybody was asked: not among these figures
    found = await figures(rig)
    models = {label for (_, *labels) in found for label in labels if label.startswith("model=")}
    assert models == {"model=other", "model=real"}
    assert total(found, "gateway_requests_total", "model=other") == 20


async def test_c84_an_upstream_that_answers_to_any_name_makes_no_more_than_its_share(
    nursery, autojump_clock, monkeypatch
):
    monkeypatch.setattr(metrics, "MAX_SERIES", 5)
    rig = Rig(nursery, Upstream(nursery, always=WHOLE))
    for number in range(12):
        await rig.ask(model=f"up/any-{number % 8}")
    found = await figures(rig)
    models = {label for (_, *labels) in found for label in labels if label.startswith("model=")}
    assert len(models) == 6
    assert total(found, "gateway_requests_total", "model=other") == 3
    assert total(found, "gateway_requests_total") == 12


async def test_c84_no_key_user_or_session_is_a_label_and_a_strange_name_breaks_nothing(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, always=WHOLE), KEYS, ENV)
    headers = {"authorization": "Bearer secret", "x-session-id": "s-1"}
    await rig.ask(headers=headers, model='up/a"b\\c\nd', user="u-1")
    found = await figures(rig)
    names = {label.partition("=")[0] for (_, *labels) in found for label in labels}
    assert names == {"version", "route", "upstream", "model", "status_class", "stream", "outcome", "type", "le"}
    assert total(found, "gateway_requests_total", 'model=a"b\\c\nd') == 1


async def test_many_series_are_written_as_few_are(nursery, autojump_clock, monkeypatch):
    rig = Rig(nursery, Upstream(nursery, always=WHOLE))
    for number in range(3):
        await rig.ask(model=f"up/any-{number}")
    few = await figures(rig)
    monkeypatch.setattr(metrics, "FEW", 2)
    assert await figures(rig) == few


# -- who may look -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "toml", "headers", "peer", "status"),
    [
        ("loopback", "", {}, "127.0.0.1", 200),
        ("loopback", "", {}, "::1", 200),
        ("loopback", "", {}, "10.0.0.9", 403),
        ("loopback", "", {"x-forwarded-for": "203.0.113.9"}, "127.0.0.1", 403),
        ("loopback", "", {"via": "1.1 proxy"}, "127.0.0.1", 403),
        ("loopback", KEYS, {}, "127.0.0.1", 200),
        ("loopback", KEYS, {"host": "rebound.example"}, "127.0.0.1", 401),
        ("loopback", KEYS, {"origin": "https://evil.example"}, "127.0.0.1", 401),
        ("loopback", KEYS, {}, "10.0.0.9", 401),
        ("loopback", KEYS, {"authorization": "Bearer secret"}, "10.0.0.9", 403),
        ("loopback", KEYS, {"authorization": "Bearer admins"}, "10.0.0.9", 200),
        ("key", "", {}, "127.0.0.1", 200),
        ("key", "", {}, "10.0.0.9", 403),
        ("key", KEYS, {}, "127.0.0.1", 401),
        ("key", KEYS, {"authorization": "Bearer wrong"}, "127.0.0.1", 403),
        ("key", KEYS, {"x-api-key": "secret"}, "10.0.0.9", 200),
        ("open", "", {}, "10.0.0.9", 200),
        ("open", KEYS, {}, "10.0.0.9", 200),
    ],
)
@pytest.mark.parametrize("target", ["/metrics", "/health"])
async def test_who_may_look(nursery, autojump_clock, policy, toml, headers, peer, status, target):
    rig = Rig(nursery, Upstream(nursery), f'[server]\nmetrics = "{policy}"\n{toml}', ENV)
    answer = await get(rig, target, headers, peer)
    if target == "/metrics":
        assert answer.status == status
    else:  # health is for all, and its figures for the same as those of metrics
        assert answer.status == 200
        assert ("upstreams" in answer.json) == (status == 200)


@pytest.mark.parametrize("proxies", [[], ["127.0.0.1"], ["10.0.0.0/8"]])
@pytest.mark.parametrize("said", ["203.0.113.9", "127.0.0.1, 203.0.113.9", "203.0.113.9, 127.0.0.1", "127.0.0.1", "?"])
async def test_whom_a_proxy_passes_on_is_not_from_here(nursery, autojump_clock, proxies, said):
    rig = Rig(nursery, Upstream(nursery), f"[server]\ntrusted_proxies = {proxies}\n")
    assert (await get(rig, headers={"x-forwarded-for": said})).status == 403
