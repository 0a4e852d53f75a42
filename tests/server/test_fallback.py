"""Which failures another upstream is tried for, and when it is too late for that.

A route of two or three scripted upstreams; what they saw and what the client was told must agree.
"""

import functools
import json
import socket
import ssl

import pytest
import trio

import answers
from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, stream, text
from penstock.providers.connect import Connector
from penstock.providers.transport import Origin, UpstreamError
from rig import Rig, settled
from scripted import CLOSE, EXPECT_CLOSE, HALF_CLOSE, RESET, Upstream

ROUTE = '[routes.safe]\nproviders = ["up", "other"]\n'
GOOD = stream(role(), text("from the other"), finish(), DONE)
GOOD_WHOLE = [reply(completion("from the other"))]


def error(status, *headers, **more):
    return [reply(answers.error(f"it was {status}", **more), status, *headers)]


async def ask(rig, *, streams=True, model="safe/tiny", headers=None):
    client = rig.connect()
    await client.chat(model=model, stream=streams, headers=headers or {})
    answer = await client.answer()
    await settled()
    return answer


def said(answer, streams=True):
    return answer.text if streams else answer.json["choices"][0]["message"]["content"]


# -- what is tried again ---------------------------------------------------------------------------------

WORTH_IT = {
    "reset": [RESET],
    "closed without an answer": [CLOSE],
    "closed within the head": [STREAM[:40], CLOSE],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", CLOSE],
    "silence": [EXPECT_CLOSE],
    "head and silence": [STREAM, EXPECT_CLOSE],
    "head and comments": [STREAM, chunked(b": queued\n\n"), EXPECT_CLOSE],
    "head and reset": [STREAM, RESET],
    "an empty stream": [STREAM, LAST],
    "nothing but the end marker": [STREAM, chunked(sse(DONE)), LAST],
    "comments and the end": [STREAM, chunked(b": queued\n\n"), LAST],
    "an error as first event": [STREAM, chunked(sse(answers.error("no GPU"))), LAST],
    "an overload as first event": [STREAM, chunked(sse(answers.error("busy", type="overloaded_error"))), LAST],
    "JSON cut short": [answers.head(200, ("Content-Length", "500")), b'{"id": "chatcmpl-1", "cho', CLOSE],
    **{str(status): error(status) for status in (408, 429, 500, 502, 503, 504, 529)},
    "HTML from a load balancer": [reply("<html><body>502 Bad Gateway</body></html>", 502, content_type="text/html")],
}


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("script", WORTH_IT.values(), ids=WORTH_IT)
async def test_c62_c63_the_next_is_tried_before_the_commit_point(nursery, autojump_clock, script, streams):
    upstream, other = Upstream(nursery, script), Upstream(nursery, GOOD if streams else GOOD_WHOLE)
    rig = Rig(nursery, upstream, ROUTE, other=other)
    answer = await ask(rig, streams=streams)
    assert (answer.status, said(answer, streams)) == (200, "from the other")
    assert (answer.headers["x-penstock-attempts"], answer.headers["x-penstock-provider"]) == ("2", "other")
    assert (await upstream.request()).json == (await other.request()).json
    assert upstream.open == rig.gateway.catalog.providers["up"].transport.idle  # kept for the next, or closed
    assert rig.gateway.ledger.endings == {"completed": 1}
    assert [provider for provider, _ in rig.gateway.ledger.failures] == ["up"]


KINDS = ["dns", "refused", "unreachable", "tls", "proxy", "reset", "closed", "protocol", "too_large"]


@pytest.mark.parametrize("kind", KINDS)
async def test_c69_every_class_of_failing_to_connect_is_tried_again(nursery, autojump_clock, kind):
    async def fail():
        raise UpstreamError(kind, "it cannot be", sent=False)

    rig = Rig(nursery, fail, ROUTE, other=Upstream(nursery, GOOD))
    assert said(await ask(rig)) == "from the other"
    assert rig.gateway.ledger.failures == {("up", "failed"): 1}


class NoSuchName(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def no_tls(stream):
    await stream.send_all(b"SSH-2.0-OpenSSH_9.6\r\n")


@pytest.mark.parametrize("trouble", ["refused", "dns", "tls"])
async def test_c69_what_the_system_says_is_told_in_one_sentence(nursery, trouble):
    """Real sockets: no address, no Python, no class of a library's errors reaches the client."""
    listener = (await nursery.start(functools.partial(trio.serve_tcp, no_tls, 0, host="127.0.0.1")))[0]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = (listener.socket if trouble == "tls" else closed).getsockname()[1]
        if trouble == "dns":
            trio.socket.set_custom_hostname_resolver(NoSuchName())
        host = "nowhere.test" if trouble == "dns" else "127.0.0.1"
        origin = Origin("https" if trouble == "tls" else "http", host, port)
        connect = Connector(origin, ssl.create_default_context() if trouble == "tls" else None)
        rig = Rig(nursery, connect, ROUTE, other=Upstream(nursery, GOOD))
        assert said(await ask(rig)) == "from the other"
        answer = await ask(rig, model="up/tiny")
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    message = answer.error["message"]
    assert message.startswith("Provider 'up': ")
    assert not any(word in message for word in ("127.0.0.1", str(port), "nowhere", "Errno", "Error", "_ssl"))


async def test_c63_a_connection_that_was_kept_and_died_is_tried_again_on_a_new_one(nursery, autojump_clock):
    """Outside the fallback: it is the same upstream, and one attempt."""
    upstream = Upstream(nursery, GOOD, GOOD)
    rig = Rig(nursery, upstream)
    await ask(rig, model="up/tiny")
    answer = await ask(rig, model="up/tiny")
    assert answer.headers["x-penstock-attempts"] == "1"
    assert upstream.connections == 1
    dying = Upstream(nursery, GOOD, [RESET], GOOD)
    rig = Rig(nursery, dying)
    await ask(rig, model="up/tiny")
    answer = await ask(rig, model="up/tiny")
    assert (said(answer), answer.headers["x-penstock-attempts"], dying.connections) == ("from the other", "1", 2)
    assert not rig.gateway.ledger.failures


# -- what is not -----------------------------------------------------------------------------------------

ITS_OWN_FAULT = {
    **{str(status): error(status) for status in (400, 401, 403, 404, 409, 413, 422)},
    "as first event": [STREAM, chunked(sse(answers.error("too long", code="context_length_exceeded"))), LAST],
    "HTML": [reply("<h1>Not Found</h1>", 404, content_type="text/html")],
}


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("script", ITS_OWN_FAULT.values(), ids=ITS_OWN_FAULT)
async def test_c62_a_request_at_fault_is_not_tried_elsewhere(nursery, autojump_clock, script, streams):
    other = Upstream(nursery)
    rig = Rig(nursery, Upstream(nursery, script), ROUTE, other=other)
    answer = await ask(rig, streams=streams)
    assert 400 <= answer.status < 500
    assert answer.error["type"]
    assert (answer.headers["x-penstock-attempts"], answer.headers["x-penstock-provider"]) == ("1", "up")
    assert other.connections == 0
    assert rig.gateway.ledger.endings == {"failed": 1}


BEGUN = chunked(sse(role(), text("Hel")))
TOO_LATE = {
    "reset": [RESET],
    "closed": [CLOSE],
    "half closed": [HALF_CLOSE],
    "silence": [EXPECT_CLOSE],
    "the end of the body": [LAST],
    "an error": [chunked(sse(answers.error("no GPU"))), LAST],
    "what is no JSON": [chunked(b"data: {oops\n\n"), LAST],
    "a broken chunk": [b"zz\r\n"],
}


@pytest.mark.parametrize("fate", TOO_LATE.values(), ids=TOO_LATE)
async def test_c62_nothing_is_tried_again_after_the_first_byte(nursery, autojump_clock, fate):
    upstream, other = Upstream(nursery, [STREAM, BEGUN, *fate]), Upstream(nursery)
    rig = Rig(nursery, upstream, ROUTE, other=other)
    answer = await ask(rig)
    assert (answer.status, answer.text) == (200, "Hel")
    assert answer.events[-1]["error"]["message"]
    assert DONE not in answer.events
    assert b'"finish_reason":"' not in answer.body
    assert other.connections == 0
    assert rig.gateway.ledger.in_flight == 0
    assert "completed" not in rig.gateway.ledger.endings


async def test_c62_a_role_alone_is_the_first_byte(nursery, autojump_clock):
    other = Upstream(nursery)
    rig = Rig(nursery, Upstream(nursery, [STREAM, chunked(sse(role())), RESET]), ROUTE, other=other)
    answer = await ask(rig)
    assert "error" in answer.events[-1]
    assert other.connections == 0


# -- routes ----------------------------------------------------------------------------------------------


async def test_a_route_is_tried_in_its_order_and_with_the_models_of_its_steps(nursery, autojump_clock):
    first, second, third = (Upstream(nursery, script) for script in (error(500), error(429), GOOD))
    toml = """[routes.safe]
    providers = ["up", { provider = "second", model = "big/one" }, { provider = "third", model = "other" }]
    """
    rig = Rig(nursery, first, toml, second=second, third=third)
    answer = await ask(rig)
    assert said(answer) == "from the other"
    assert (answer.headers["x-penstock-attempts"], answer.headers["x-penstock-provider"]) == ("3", "third")
    asked = [await upstream.request() for upstream in (first, second, third)]
    assert [request.json["model"] for request in asked] == ["tiny", "big/one", "other"]
    assert json.loads(asked[0].body)["messages"] == json.loads(asked[2].body)["messages"]


async def test_an_answer_at_the_first_attempt_says_so(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, GOOD, GOOD_WHOLE), ROUTE, other=Upstream(nursery))
    for streams in (True, False):
        answer = await ask(rig, streams=streams)
        assert (answer.headers["x-penstock-attempts"], answer.headers["x-penstock-provider"]) == ("1", "up")


async def test_when_all_fail_the_last_error_is_told(nursery, autojump_clock):
    other = Upstream(nursery, error(503, ("Retry-After", "7"), code="busy_now"))
    rig = Rig(nursery, Upstream(nursery, error(500)), ROUTE, other=other)
    answer = await ask(rig)
    assert (answer.status, answer.error["message"], answer.error["code"]) == (503, "it was 503", "busy_now")
    assert answer.headers["retry-after"] == "7"
    assert (answer.headers["x-penstock-attempts"], answer.headers["x-penstock-provider"]) == ("2", "other")
    assert rig.gateway.ledger.endings == {"failed": 1}
    assert rig.gateway.ledger.failures == {("up", "failed"): 1, ("other", "failed"): 1}


async def test_the_headers_of_an_attempt_that_failed_are_not_those_of_the_next(nursery, autojump_clock):
    """An upstream that said nothing must not seem to have said what the one before it did."""
    first = error(429, ("Retry-After", "3600"), ("X-RateLimit-Remaining", "0"), ("X-Request-Id", "one"))
    rig = Rig(nursery, Upstream(nursery, first), ROUTE, other=Upstream(nursery, [RESET]))
    answer = await ask(rig)
    assert answer.status == 502
    assert not {"retry-after", "x-ratelimit-remaining", "x-upstream-request-id"} & set(answer.headers)


async def test_c64_the_gate_adds_no_time(nursery, autojump_clock):
    """The first event leaves in the moment in which it came, with a fallback in waiting or without."""
    script = [3.0, STREAM, 4.0, BEGUN, 1.0, chunked(sse(finish(), DONE)), LAST]
    for model in ("up/tiny", "safe/tiny"):
        rig = Rig(nursery, Upstream(nursery, script), ROUTE, other=Upstream(nursery))
        began = trio.current_time()
        answer = await ask(rig, model=model)
        assert next((at - began, piece) for at, piece in answer.pieces) == (7.0, sse(role(), text("Hel")))


# -- limits and keys -------------------------------------------------------------------------------------

ONE_AT_ONCE = '[providers.up]\npreset = "openai"\nparallel = 1\n'


async def test_a_provider_at_its_limit_is_passed_over(nursery, autojump_clock):
    upstream, other = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE]), Upstream(nursery, GOOD)
    rig = Rig(nursery, upstream, ROUTE + ONE_AT_ONCE, other=other)
    busy = rig.connect()
    await busy.chat(model="safe/tiny", stream=True)
    await busy.head()
    answer = await ask(rig)
    assert said(answer) == "from the other"
    assert (answer.headers["x-penstock-attempts"], len(upstream.requests)) == ("2", 1)


async def test_the_only_provider_at_its_limit_is_a_429(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE], GOOD)
    rig = Rig(nursery, upstream, ONE_AT_ONCE)
    busy = rig.connect()
    await busy.chat(stream=True)
    await busy.head()
    answer = await ask(rig, model="up/tiny")
    assert (answer.status, answer.error["type"]) == (429, "rate_limit_error")
    assert answer.error["code"] == "rate_limit_exceeded"
    assert answer.headers["retry-after"] == "1"
    busy.leave()
    await settled()
    assert said(await ask(rig, model="up/tiny")) == "from the other"


async def test_a_slot_is_free_again_before_the_next_target_is_tried(nursery, autojump_clock):
    """A route may name a provider twice, for two of its models; one at a time is enough for that."""
    toml = '[routes.safe]\nproviders = ["up", { provider = "up", model = "small" }]\n' + ONE_AT_ONCE
    upstream = Upstream(nursery, error(500), GOOD)
    answer = await ask(Rig(nursery, upstream, toml))
    assert (said(answer), answer.headers["x-penstock-attempts"]) == ("from the other", "2")


KEY = '[[keys]]\nname = "ci"\nkey = {{ env = "CI_KEY" }}\nmodels = {models}\n'


@pytest.mark.parametrize(
    ("models", "asked", "status"),
    [
        ('["up/*"]', ["up"], 500),  # the fallback is not opened by the route's name
        ('["other/*"]', ["other"], 200),
        ('["*"]', ["up", "other"], 200),
        ('["up/other-model", "safe/*"]', [], 403),
    ],
)
async def test_c82_keys_are_judged_on_the_target_that_is_really_called(nursery, autojump_clock, models, asked, status):
    upstream, other = Upstream(nursery, error(500)), Upstream(nursery, GOOD)
    rig = Rig(nursery, upstream, ROUTE + KEY.format(models=models), {"CI_KEY": "sk-penstock-ci"}, other=other)
    answer = await ask(rig, headers={"authorization": "Bearer sk-penstock-ci"})
    assert answer.status == status
    assert [name for name, it in (("up", upstream), ("other", other)) if it.connections] == asked
    for called in (upstream, other):
        assert all("sk-penstock-ci" not in str(request.headers) for request in called.requests)
