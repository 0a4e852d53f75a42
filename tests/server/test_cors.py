"""Browsers at the door: whose pages may call, and whether they can read what they are told."""

import pytest

from answers import DONE, finish, role, stream, text
from door import ANSWER, CHAT, PATH, refused, request
from penstock.server import cors
from rig import Rig
from scripted import Upstream

STREAM = stream(role(), text("Hello"), finish(), DONE)
LOCAL = "http://localhost:3000"
KEYS = '[[keys]]\nname = "ci"\nkey = { env = "CI" }\n'
EVERYONE = '[server]\nallowed_origins = ["*"]\n' + KEYS
STAINLESS = [
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-custom-poll-interval",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-poll-helper",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
]


@pytest.fixture
def upstream(nursery):
    return Upstream(nursery, always=ANSWER)


async def ask(rig, method, target, headers, body=b""):
    client = rig.connect()
    await client.request(method, target, headers, body)
    answer = await client.answer()
    client.leave()
    return answer


def allowed(answer):
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


# -- preflight --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("toml", ["", KEYS])
@pytest.mark.parametrize("target", [PATH, "/v1/models/org%2Fa", "/chat/completions/", "/nothing", "/v1/embeddings"])
async def test_a_preflight_needs_no_key_on_any_path(nursery, upstream, autojump_clock, toml, target):
    rig = Rig(nursery, upstream, toml, {"CI": "secret"})
    wanted = ["authorization", "content-type", *STAINLESS]
    headers = {
        "origin": LOCAL,
        "access-control-request-method": "POST",
        "access-control-request-headers": ",".join(wanted),
    }
    answer = await ask(rig, "OPTIONS", target, headers)
    assert (answer.status, answer.body) == (204, b"")
    assert allowed(answer) == {
        "access-control-allow-origin": LOCAL,
        "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
        "access-control-allow-headers": ", ".join(wanted),
        "access-control-max-age": "86400",
        "access-control-expose-headers": cors.EXPOSED,
    }
    assert answer.headers["vary"] == "Origin"
    assert not upstream.requests


async def test_a_preflight_that_asks_for_no_headers_is_told_the_usual_ones(nursery, upstream, autojump_clock):
    rig = Rig(nursery, upstream)
    answer = await ask(rig, "OPTIONS", PATH, {"origin": LOCAL, "access-control-request-method": "POST"})
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"


async def test_only_names_of_headers_are_echoed_and_not_without_end(nursery, upstream, autojump_clock):
    rig = Rig(nursery, upstream)
    names = ["x-good", "bad name", "a:b", "\xe9", "x" * 65, '"', "*", *(f"x-{n}" for n in range(1000))]
    answer = await ask(rig, "OPTIONS", PATH, {"origin": LOCAL, "access-control-request-headers": ", ".join(names)})
    told = answer.headers["access-control-allow-headers"].split(", ")
    assert told[:3] == ["x-good", "*", "x-0"]
    assert len(told) < cors.MAX_REQUESTED


async def test_private_network_access_is_granted_where_it_is_asked_for(nursery, upstream, autojump_clock):
    rig = Rig(nursery, upstream)
    asked = {"origin": LOCAL, "access-control-request-private-network": "true"}
    answer = await ask(rig, "OPTIONS", PATH, asked)
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in allowed(await ask(rig, "OPTIONS", PATH, {"origin": LOCAL}))
    rig = Rig(nursery, upstream, KEYS, {"CI": "secret"})
    assert not allowed(await ask(rig, "OPTIONS", PATH, asked | {"origin": "https://evil.example"}))


async def test_a_preflight_from_a_foreign_page_is_granted_nothing(nursery, upstream, autojump_clock):
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = await ask(Rig(nursery, upstream, KEYS, {"CI": "secret"}), "OPTIONS", PATH, headers)
    assert (answer.status, allowed(answer), answer.headers["vary"]) == (204, {}, "Origin")
    answer = await ask(Rig(nursery, upstream), "OPTIONS", PATH, headers)
    refused(answer, 403, "permission_denied", "permission_error")
    assert not allowed(answer)


# -- answers ----------------------------------------------------------------------------------------------


async def test_errors_and_streams_can_be_read_by_a_page_that_is_allowed(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, STREAM, always=ANSWER), EVERYONE, {"CI": "secret"})
    key = {"authorization": "Bearer secret", "origin": "https://app.example"}
    stranger = {"origin": "https://app.example"}
    streamed = CHAT.replace(b"{", b'{"stream": true, ', 1)
    answers = [
        await ask(rig, "POST", PATH, key, streamed),
        await ask(rig, "POST", PATH, key, CHAT),
        await ask(rig, "GET", "/health", stranger),
        await ask(rig, "POST", PATH, key, b"{"),
        await ask(rig, "POST", PATH, stranger, CHAT),
        await ask(rig, "GET", "/nothing", stranger),
        await ask(rig, "PUT", PATH, stranger),
        await ask(rig, "POST", PATH, key | {"content-length": "99999999999"}),
        await ask(rig, "POST", PATH, key | {"content-type": "text/html"}, CHAT),
        await ask(rig, "POST", PATH, key | {"expect": "x"}, CHAT),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 400, 401, 404, 405, 413, 415, 417]
    assert answers[0].text == "Hello"
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["vary"] == "Origin"
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"x-request-id", "retry-after", "retry-after-ms", "x-should-retry", "openai-processing-ms"} <= {*exposed}


async def test_who_is_no_page_is_told_nothing_of_this(nursery, upstream, autojump_clock):
    answer = await ask(Rig(nursery, upstream), "GET", "/health", {})
    assert not allowed(answer)


async def test_a_key_lets_in_and_the_browser_still_keeps_the_answer_from_a_foreign_page(
    nursery, upstream, autojump_clock
):
    rig = Rig(nursery, upstream, KEYS, {"CI": "secret"})
    headers = {"origin": "https://evil.example", "authorization": "Bearer secret"}
    answer = await ask(rig, "POST", PATH, headers, CHAT)
    assert (answer.status, allowed(answer), answer.headers["vary"]) == (200, {}, "Origin")


# -- the guard of a gateway without keys ------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8777"},
        {"host": "127.0.0.1.evil.example:8777"},
        {"host": "10.0.0.1:8777"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "https://evil.example", "host": "localhost:8777"},
        {"origin": "https://evil.example", "content-type": "text/plain;charset=UTF-8"},
        {"origin": "https://evil.example", "authorization": "Bearer sk-x"},
    ],
)
@pytest.mark.parametrize(
    ("method", "target"), [("POST", PATH), ("GET", "/v1/models"), ("GET", "/health"), ("PUT", "/nothing")]
)
async def test_a_foreign_host_or_origin_is_refused_before_anything_else(
    nursery, upstream, autojump_clock, headers, method, target
):
    rig = Rig(nursery, upstream)
    answer = await ask(rig, method, target, headers, CHAT if method == "POST" else b"")
    refused(answer, 403, "permission_denied", "permission_error")
    assert not allowed(answer)
    assert (upstream.requests, upstream.connections) == ([], 0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost:8777"},
        {"host": "[::1]:8777"},
        {"host": "LOCALHOST."},
        {"origin": LOCAL, "content-type": "text/plain"},
        {"origin": "http://127.0.0.1:8777"},
        {"origin": "vscode-webview://abc"},
    ],
)
async def test_this_machine_is_let_in(nursery, upstream, autojump_clock, headers):
    assert (await Rig(nursery, upstream).ask(headers=headers)).status == 200


async def test_names_and_origins_that_are_configured_are_let_in(nursery, upstream, autojump_clock):
    toml = '[server]\nallowed_hosts = ["gate.example", "*.lan"]\nallowed_origins = ["https://app.example"]\n'
    rig = Rig(nursery, upstream, toml)
    for host in ("gate.example", "a.lan:80"):
        assert (await rig.ask(headers={"host": host, "origin": "https://app.example"})).status == 200
    assert (await rig.ask(headers={"origin": LOCAL})).status == 403
    assert (await rig.ask(headers={"host": "b.gate.example"})).status == 403


async def test_a_second_host_is_no_way_around(nursery, upstream, autojump_clock):
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.raw(request("POST", PATH, "Host: evil.example", body=CHAT))
    client.expect()
    refused(await client.answer(), 400, "invalid_request")
