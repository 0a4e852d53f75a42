"""Headers on their way through: a client's to the upstream, and the upstream's to the client."""

import pytest

from answers import DONE, completion, finish, reply, role, stream, text
from penstock.server.config import ConfigError
from penstock.server.config_show import show
from rig import Rig
from scripted import Upstream

KEYS = '[[keys]]\nname = "ci"\nkey = { env = "CI" }\n'
ENV = {"CI": "client-secret", "UP": "our-secret"}
OUR_KEY = '[providers.up]\nbase_url = "http://up.example/v1"\napi_key = { env = "UP" }\n'


def saying(*headers, streamed=False):
    if not streamed:
        return [reply(completion(), 200, *headers)]
    begun, *rest = stream(role(), text("Hello"), finish(), DONE)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
    return [begun.replace(b"\r\n", b"\r\n" + lines, 1), *rest]


async def sent(nursery, headers, toml=""):
    upstream = Upstream(nursery, saying())
    answer = await Rig(nursery, upstream, toml, ENV).ask(headers=headers)
    assert answer.status == 200, answer.body
    return upstream.requests[0].headers


async def test_a_clients_own_headers_go_upstream_and_its_credentials_never(nursery, autojump_clock):
    headers = {
        "authorization": "Bearer client-secret",
        "cookie": "session=client-secret",
        "api-key": "client-secret",
        "x-api-key": "client-secret",
        "proxy-authorization": "Basic client-secret",
        "x-stainless-lang": "js",
        "x-forwarded-for": "10.0.0.1",
        "X-Team": "blue",
        "traceparent": "00-1",
        "accept-language": "de",
    }
    found = await sent(nursery, headers, KEYS + OUR_KEY)
    assert "client-secret" not in str(found)
    assert found["authorization"] == "Bearer our-secret"
    assert (found["x-team"], found["traceparent"]) == ("blue", "00-1")
    assert not found.keys() & {"x-stainless-lang", "x-forwarded-for", "accept-language", "cookie"}


async def test_what_connection_names_concerns_this_connection_only(nursery, autojump_clock):
    headers = {"connection": "keep-alive, X-Hop", "x-hop": "1", "x-end": "2"}
    found = await sent(nursery, headers)
    assert "x-hop" not in found
    assert found["x-end"] == "2"


async def test_a_policy_allows_denies_renames_and_adds(nursery, autojump_clock):
    toml = """
        [headers.request]
        allow = ["x-a*", "user-agent"]
        deny = ["x-ab*"]
        rename = { x-a = "x-b" }
        add = { x-gateway = "penstock" }
    """
    headers = {"x-a": "1", "x-abc": "2", "x-team": "3", "traceparent": "4", "user-agent": "me", "x-gateway": "fake"}
    found = await sent(nursery, headers, toml)
    assert (found["x-b"], found["x-gateway"], found["user-agent"]) == ("1", "penstock", "me")
    assert not found.keys() & {"x-a", "x-abc", "x-team", "traceparent"}


async def test_an_upstream_may_have_rules_of_its_own(nursery, autojump_clock):
    toml = """
        [headers.request]
        allow = ["x-team"]
        [providers.up]
        headers = { x-team = "ours", x-fixed = "1" }
        request_headers = { allow = ["x-*"], deny = [] }
    """
    found = await sent(nursery, {"x-team": "theirs", "x-user-id": "7", "x-fixed": "2"}, toml)
    assert (found["x-team"], found["x-fixed"], found["x-user-id"]) == ("ours", "1", "7")


async def test_each_target_of_a_route_is_given_what_its_own_rules_say(nursery, autojump_clock):
    toml = """
        [providers.up]
        request_headers = { allow = [] }
        [providers.second]
        [routes.both]
        providers = ["up", "second"]
    """
    up, second = Upstream(nursery, [reply({"error": {"message": "no"}}, 503)]), Upstream(nursery, saying())
    answer = await Rig(nursery, up, toml, second=second).ask(model="both/tiny", headers={"x-team": "blue"})
    assert answer.status == 200
    assert "x-team" not in up.requests[0].headers
    assert second.requests[0].headers["x-team"] == "blue"


async def test_a_body_in_anthropics_form_takes_its_version_along(nursery, autojump_clock):
    toml = '[providers.up]\npreset = "anthropic"\nrequest_headers = { allow = [] }\n'
    upstream = Upstream(nursery, [reply({"type": "error", "error": {"type": "x", "message": "m"}}, 400)])
    rig = Rig(nursery, upstream, toml, {"ANTHROPIC_API_KEY": "k"})
    headers = {"anthropic-version": "2024-01-01", "anthropic-beta": "b-1", "content-type": "application/json"}
    body = b'{"model": "up/tiny", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}'
    client = rig.connect()
    await client.request("POST", "/v1/messages", headers, body)
    await client.answer()
    found = upstream.requests[0].headers
    assert (found["anthropic-version"], found["anthropic-beta"]) == ("2024-01-01", "b-1")


# -- answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
async def test_of_an_answer_what_means_something_comes_back(nursery, autojump_clock, streamed):
    headers = [
        ("X-RateLimit-Remaining-Tokens", "5"),
        ("X-Model-Version", "7"),
        ("Set-Cookie", "a=b"),
        ("Server", "nginx"),
        ("X-Powered-By", "x"),
        ("X-Accel-Redirect", "/etc/passwd"),
        ("Access-Control-Allow-Origin", "*"),
        ("Content-Language", "de"),
        ("OpenAI-Processing-Ms", "999999"),
        ("X-Session-Id", "theirs"),
        ("X-Penstock-Provider", "fake"),
    ]
    upstream = Upstream(nursery, saying(*headers, streamed=streamed))
    found = (await Rig(nursery, upstream).ask(stream=streamed)).headers
    assert (found["x-ratelimit-remaining-tokens"], found["x-model-version"]) == ("5", "7")
    assert (found["openai-processing-ms"], found["x-penstock-provider"]) == ("0", "up")
    hidden = {"set-cookie", "server", "x-powered-by", "x-accel-redirect", "access-control-allow-origin"}
    assert not found.keys() & (hidden | {"content-language", "x-session-id"})


async def test_an_answers_policy_renames_and_adds_on_errors_too(nursery, autojump_clock):
    toml = """
        [headers.response]
        allow = ["x-model", "etag"]
        rename = { etag = "x-etag" }
        add = { x-served-for = "team" }
    """
    failing = [reply({"error": {"message": "no"}}, 400, ("ETag", "1"), ("X-Model", "m"), ("X-Other", "o"))]
    found = (await Rig(nursery, Upstream(nursery, failing), toml).ask()).headers
    assert (found["x-etag"], found["x-model"], found["x-served-for"]) == ("1", "m", "team")
    assert not found.keys() & {"etag", "x-other"}


async def test_our_own_word_of_a_request_stands_beside_what_an_upstream_says(nursery, autojump_clock):
    toml = "[headers.response]\nrename = {}\n"
    upstream = Upstream(nursery, saying(("X-Request-Id", "theirs"), ("X-Client-Request-Id", "theirs")))
    answer = await Rig(nursery, upstream, toml).ask(headers={"x-client-request-id": "mine"})
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-client-request-id"] == "mine"


@pytest.mark.parametrize(
    ("toml", "where"),
    [
        ('[headers.request]\nrename = { x-key = "authorization" }', "headers.request"),
        ('[headers.response]\nadd = { set-cookie = "a=b" }', "headers.response"),
        ('[providers.up]\nrequest_headers = { allow = ["a b"] }', "providers.up.request_headers"),
        ('[providers.up]\nresponse_headers = { add = { x-a = "é" } }', "providers.up.response_headers"),
    ],
)
def test_a_policy_that_cannot_be_is_an_error_at_start(toml, where):
    with pytest.raises(ConfigError, match=rf"{where} \(.*\) cannot be: .*header"):
        Rig(None, None, toml)


def test_what_is_added_is_masked_where_the_configuration_is_shown():
    toml = """
        [headers.request]
        add = { x-house = "hidden-word" }
        [providers.up]
        response_headers = { allow = ["x-a"], add = { x-b = "hidden-word" } }
    """
    text = show(Rig(None, None, toml).config)
    assert "hidden-word" not in text
    assert 'headers.request.add = { x-house = "' in text
    assert 'providers.up.response_headers.allow = ["x-a"]' in text
    assert 'headers.response.rename = { x-request-id = "x-upstream-request-id" }' in text
