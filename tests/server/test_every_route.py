"""What holds on every route, whoever adds one: HEAD, OPTIONS, 405, CORS, keys, and errors in the route's own shape."""

import pytest

from penstock.server.routes import BELOW, ROUTES
from rig import Rig, settled
from scripted import Upstream

PAGE = "https://app.example"
OPEN = f'[server]\nallowed_origins = ["{PAGE}"]\nmetrics = "open"\n'
KEYS = '[[keys]]\nname = "ci"\nkey = { env = "CI" }\n'
ENV = {"CI": "secret"}
ALL = {path: path for path in ROUTES} | {path: f"{path}none" for path in BELOW}
TARGETS = [(ROUTES.get(route) or BELOW[route], target) for route, target in ALL.items()]
VOLATILE = ("date", "x-request-id", "openai-processing-ms")
CHANGING = ("/health", "/metrics", "/api/v1/chat/health", "/proxy/health")

routes = pytest.mark.parametrize(("route", "target"), TARGETS, ids=list(ALL.values()))


@pytest.fixture
def rig(nursery):
    return Rig(nursery, Upstream(nursery), OPEN)


async def ask(rig, method, target, headers=(), body=b""):
    client = rig.connect()
    await client.request(method, target, {"origin": PAGE, **dict(headers)}, body)
    answer = await client.answer()
    client.leave()
    await settled()
    return answer


def in_shape(route, answer):
    """The message of an error, as the route's clients look for it."""
    error = answer.json["error"]
    message = error if route.errors == "ollama" else error["message"]
    assert (answer.json.get("type") == "error") == (route.errors == "anthropic")
    assert isinstance(message, str)
    return message


@routes
@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_c87_options_says_what_is_allowed_and_lets_pages_in(rig, autojump_clock, route, target, prefix):
    wanted = "authorization, x-stainless-lang, x-stainless-retry-count"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": wanted}
    answer = await ask(rig, "OPTIONS", prefix + target, asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["allow"] == route.allowed
    assert answer.headers["access-control-allow-headers"] == wanted
    offered = answer.headers["access-control-allow-methods"].split(", ")
    assert set(route.methods) <= set(offered)


@routes
async def test_a_wrong_method_is_405_that_a_page_can_read(rig, autojump_clock, route, target):
    answer = await ask(rig, "PATCH", target)
    assert (answer.status, answer.headers["allow"]) == (405, route.allowed)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert route.allowed in in_shape(route, answer)
    head = await ask(rig, "HEAD", target)
    assert (head.status == 405) == ("GET" not in route.methods)


@pytest.mark.parametrize("target", [target for route, target in TARGETS if "GET" in route.methods])
async def test_head_is_get_without_the_body(rig, autojump_clock, target):
    got, head = await ask(rig, "GET", target), await ask(rig, "HEAD", target)
    assert (head.status, head.body) == (got.status, b"")
    left_out = (*VOLATILE, "content-length") if target in CHANGING else VOLATILE
    same = [{k: v for k, v in answer.headers.items() if k not in left_out} for answer in (got, head)]
    assert same[0] == same[1]
    assert "content-length" in head.headers


@routes
async def test_every_answer_can_be_read_by_a_page_and_has_an_id(rig, autojump_clock, route, target):
    for method in route.methods:
        answer = await ask(rig, method, target, {"content-type": "application/json"}, b"{" if method == "POST" else b"")
        assert answer.status < 500
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["vary"] == "Origin"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert answer.headers["x-request-id"].startswith("req_")
        if answer.status >= 400:
            assert in_shape(route, answer)


@routes
async def test_without_its_key_nothing_is_told_but_what_is_public(nursery, autojump_clock, route, target):
    rig = Rig(nursery, Upstream(nursery), OPEN + KEYS, ENV)
    for method in route.methods:
        answer = await ask(rig, method, target)
        assert (answer.status == 401) == (not route.public), f"{method} {target}"
        if answer.status == 401:
            assert "key" in in_shape(route, answer)
            assert answer.headers["access-control-allow-origin"] == PAGE
    assert (await ask(rig, "OPTIONS", target)).status == 204


@routes
async def test_a_foreign_page_is_turned_away_where_there_are_no_keys(rig, autojump_clock, route, target):
    for method in (*route.methods, "OPTIONS", "HEAD"):
        answer = await ask(rig, method, target, {"origin": "https://evil.example"})
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers


def test_what_is_public_is_decided_here():
    public = {path for path, route in {**ROUTES, **BELOW}.items() if route.public}
    assert public == {
        *("/", "/api/version", "/health", "/proxy/health", "/api/v1/chat/health", "/ready"),
        *("/metrics", "/openapi.json", "/docs"),  # of which the first has a policy of its own
        *("/ws", "/chat/ws", "/api/v1/chat/ws"),  # where a key may also come later
    }
