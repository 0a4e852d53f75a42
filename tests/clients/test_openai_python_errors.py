"""What goes wrong, as the `openai` package from PyPI shows it: classes, codes, and how often it tries again."""

import openai
import pytest

import scripted
from answers import LAST, STREAM, chunked, error, reply, role, sse, stream, text
from clients.sdk import said
from clients.told import SAID, TOLD
from gateway import provider

# The package leaves its own async generators unfinished at `[DONE]`, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|httpx|httpcore):ResourceWarning")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
async def test_upstream_statuses_have_their_classes(start, connect, status, expected, streamed):
    body = error("нет", type="some_error", code="some_code")
    upstream, gateway = await start([reply(body, status)])
    client = connect(gateway.base_url, max_retries=0)
    with pytest.raises(expected) as caught:
        await (client.chunks() if streamed else client.whole())
    assert (caught.value.status_code, caught.value.code) == (status, "some_code")
    assert caught.value.body["message"] == "нет"
    assert caught.value.request_id
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "headers", "requests"),
    [
        (503, None, [("retry-after-ms", "1")], 3),
        (429, "rate_limit_exceeded", [("retry-after-ms", "1")], 3),
        (429, "insufficient_quota", [("retry-after-ms", "1")], 1),
        (503, None, [("retry-after-ms", "1"), ("x-should-retry", "false")], 1),
        (400, None, [], 1),
        (400, None, [("retry-after-ms", "1"), ("x-should-retry", "true")], 3),
    ],
)
async def test_how_often_the_sdk_tries(start, connect, status, code, headers, requests):
    upstream, gateway = await start(always=[reply(error("no", code=code), status, *headers)])
    with pytest.raises(openai.APIStatusError):
        await connect(gateway.base_url).whole()
    assert len(upstream.requests) == requests


async def test_a_retry_of_the_sdk_succeeds(start, connect):
    busy = reply(error("busy", code="rate_limit_exceeded"), 429, ("retry-after-ms", "1"))
    upstream, gateway = await start([busy], stream(*TOLD))
    assert said(await connect(gateway.base_url).chunks()) == SAID
    assert len(upstream.requests) == 2


async def test_nothing_in_time_is_a_504_that_is_not_paid_for_twice(start, connect):
    upstream, gateway = await start([scripted.EXPECT_CLOSE], lines=["timeouts = { first_event = 0.05, answer = 0.05 }"])
    with pytest.raises(openai.InternalServerError) as caught:
        await connect(gateway.base_url).chunks()
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")
    assert caught.value.response.headers["x-should-retry"] == "false"
    await (await upstream.request()).closed.wait()
    assert len(upstream.requests) == 1


async def test_an_upstream_that_is_not_there_is_a_502(start, connect):
    _, gateway = await start(toml=provider("http://127.0.0.1:9/v1", name="gone"))
    with pytest.raises(openai.InternalServerError) as caught:
        await connect(gateway.base_url, max_retries=0).chunks(model="gone/tiny")
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_error")


async def test_an_error_as_first_event_is_a_status(start, connect):
    upstream, gateway = await start(stream(error("too long", code="context_length_exceeded")))
    with pytest.raises(openai.APIStatusError) as caught:
        await connect(gateway.base_url, max_retries=0).chunks()
    assert caught.value.body["message"] == "too long"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("helper", [False, True], ids=["create", "helper"])
@pytest.mark.parametrize(
    ("then", "code"),
    [
        ([chunked(sse(error("сломалось", code="model_crashed")))], "model_crashed"),
        ([LAST], "upstream_error"),
        ([scripted.CLOSE], "upstream_error"),
        ([scripted.RESET], "upstream_error"),
    ],
    ids=["error event", "clean end", "close", "reset"],
)
async def test_an_error_in_the_middle_is_an_api_error_after_the_text(start, connect, then, code, helper):
    upstream, gateway = await start([STREAM, chunked(sse(role(), text("Пол"))), *then])
    seen = []
    client = connect(gateway.base_url)
    with pytest.raises(openai.APIError) as caught:
        await (client.helper() if helper else client.chunks(seen=seen.append))
    assert not isinstance(caught.value, openai.APIStatusError)
    assert caught.value.code == code
    assert caught.value.message
    assert helper or said(seen) == "Пол"
    assert len(upstream.requests) == 1


async def test_unknown_model(start, connect):
    upstream, gateway = await start()
    with pytest.raises(openai.NotFoundError) as caught:
        await connect(gateway.base_url).whole(model="nobody-has-this")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert upstream.requests == []


async def test_keys(start, connect):
    toml = '[[keys]]\nname = "ci"\nkey = { env = "CI_KEY" }\nmodels = ["local/tiny"]\n'
    upstream, gateway = await start(stream(*TOLD), toml=toml, env={"CI_KEY": "sk-right"})
    with pytest.raises(openai.AuthenticationError) as caught:
        await connect(gateway.base_url, api_key="sk-wrong").chunks()
    assert caught.value.code == "invalid_api_key"
    assert "sk-" not in str(caught.value)
    right = connect(gateway.base_url, api_key="sk-right")
    with pytest.raises(openai.PermissionDeniedError):
        await right.chunks(model="local/other")
    assert upstream.requests == []
    assert said(await right.chunks()) == SAID
