"""C32: the keys of upstreams reach no client and no log, not even when an upstream quotes them.

Two kinds of key: one that looks like a key, and one that only its configuration gives away. Errors are
cleaned wherever they are told; what a model says is never touched.
"""

import json
from urllib.parse import quote

import pytest

import answers
from answers import DONE, LAST, STREAM, chunked, completion, finish, reply, role, sse, stream, text
from penstock.providers.transport import UpstreamError
from rig import Rig, settled
from scripted import CLOSE, Upstream

KEYS = {"one that looks it": "sk-proj-4f9a8b7c6d5e4f3a2b1c", "one that does not": "CorrectHorse/Battery+Staple"}
TOML = '[providers.up]\npreset = "openai"\napi_key = { env = "UP_KEY" }\n'
BEGUN = chunked(sse(role(), text("Hel")))


@pytest.fixture(params=KEYS.values(), ids=KEYS)
def key(request):
    return request.param


def bodies(key):
    """Answers that are no 200, as upstreams word them."""
    said = f"Incorrect API key provided: {key}. Find it at https://up.test/keys?k={quote(key, safe='')}"
    return {
        "JSON": reply(answers.error(said, type="invalid_request_error", code="invalid_api_key"), 401),
        "code": reply({"error": {"message": "no", "type": f"type {key}", "code": key, "param": key}}, 400),
        "detail": reply({"detail": [{"loc": ["header"], "msg": said, "input": {"authorization": key}}]}, 422),
        "text": reply(said, 500, content_type="text/plain"),
        "HTML": reply(
            f"<html><title>{said}</title><body><pre>{said}</pre></body></html>", 502, content_type="text/html"
        ),
        "half of it": reply(answers.error(said), 500)[:-30] + b" " * 30,
        "its own shape": reply({"object": "error", "message": said, "request": {"headers": [said]}}, 403),
    }


async def told(nursery, key, script, caplog, *, streams=True, toml=""):
    """All that the client is sent, head and body, for an upstream that does so."""
    caplog.set_level("DEBUG")
    upstream = Upstream(nursery, script)
    rig = Rig(nursery, upstream, TOML + toml, {"UP_KEY": key})
    client = rig.connect()
    await client.chat(stream=streams)
    answer = await client.answer()
    await settled()
    assert (await upstream.request()).headers["authorization"] == f"Bearer {key}"  # it was there to be quoted
    return json.dumps([answer.status, answer.headers, answer.body.decode()]) + caplog.text


def clean(text, key):
    return not any(form in text for form in (key, quote(key, safe=""), json.dumps(key)[1:-1]))


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("body", bodies(""))
async def test_c32_a_key_in_an_error_body(nursery, autojump_clock, caplog, key, body, streams):
    seen = await told(nursery, key, [bodies(key)[body]], caplog, streams=streams)
    assert clean(seen, key)


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("begun", [False, True], ids=["as first event", "in the middle"])
async def test_c32_a_key_in_an_error_of_the_stream(nursery, autojump_clock, caplog, key, begun, streams):
    error = chunked(sse(answers.error(f"Incorrect API key provided: {key}", code=key)))
    seen = await told(nursery, key, [STREAM, *([BEGUN] if begun else []), error, LAST], caplog, streams=streams)
    assert "Incorrect API key provided" in seen
    assert clean(seen, key)


async def test_c32_a_key_in_an_error_after_a_keep_alive(nursery, autojump_clock, caplog, key):
    error = reply(answers.error(f"Incorrect API key provided: {key}"), 401)
    seen = await told(nursery, key, [6.0, error], caplog, toml="[timeouts]\nkeepalive = 5\n")
    assert "Incorrect API key provided" in seen
    assert clean(seen, key)


@pytest.mark.parametrize("streams", [True, False])
async def test_c32_a_key_in_what_is_no_answer_at_all(nursery, autojump_clock, caplog, key, streams):
    for script in (
        [f"HTTP/1.1 200 OK\r\nx y: {key}\r\n\r\n".encode()],
        [f"{key}\r\n\r\n".encode(), CLOSE],
        [STREAM, BEGUN, chunked(f'data: {{"key": {key}\n\n'.encode()), LAST],
        [STREAM, BEGUN, f"{key}\r\n".encode()],
    ):
        assert clean(await told(nursery, key, script, caplog, streams=streams), key)


@pytest.mark.parametrize("begun", [False, True], ids=["as first line", "in the middle"])
async def test_c32_a_key_in_an_error_of_another_dialect(nursery, autojump_clock, caplog, key, begun):
    lines = [answers.line("Hel")] if begun else []
    script = [answers.NDJSON, chunked(answers.ndjson(*lines, {"error": f"unauthorized: {key}"})), LAST]
    caplog.set_level("DEBUG")
    toml = '[providers.up]\npreset = "ollama"\napi_key = { env = "UP_KEY" }\n'
    client = Rig(nursery, Upstream(nursery, script), toml, {"UP_KEY": key}).connect()
    await client.chat(stream=True)
    answer = await client.answer()
    await settled()
    assert "unauthorized" in answer.body.decode()
    assert clean(answer.body.decode() + caplog.text, key)


async def test_c32_a_key_in_a_failure_to_connect(nursery, autojump_clock, caplog, key):
    async def connect():
        raise UpstreamError("proxy", f"http://user:{key}@proxy.test does not answer", sent=False)

    client = Rig(nursery, connect, TOML, {"UP_KEY": key}).connect()
    await client.chat(stream=True)
    answer = await client.answer()
    await settled()
    assert answer.status == 502
    assert clean(answer.body.decode() + caplog.text, key)


async def test_c32_a_fallback_does_not_show_the_key_of_the_first(nursery, autojump_clock, caplog, key):
    """All keys are known to be secret, not only that of the upstream that quotes one."""
    caplog.set_level("DEBUG")
    quoting = [reply(answers.error(f"the proxy before us used {key}"), 500)]
    toml = TOML + '[routes.safe]\nproviders = ["up", "other"]\n'
    rig = Rig(nursery, Upstream(nursery, [CLOSE]), toml, {"UP_KEY": key}, other=Upstream(nursery, quoting))
    client = rig.connect()
    await client.chat(model="safe/tiny", stream=True)
    answer = await client.answer()
    assert "the proxy before us used" in answer.error["message"]
    assert clean(answer.body.decode() + caplog.text, key)


async def test_c32_what_a_model_says_is_not_touched(nursery, autojump_clock, key):
    """It may be writing a configuration file; and a masked answer would be a wrong answer."""
    words = f"password=hunter22 and {key}"
    script = stream(role(), text(words), finish(), DONE)
    rig = Rig(nursery, Upstream(nursery, script, [reply(completion(words))]), TOML, {"UP_KEY": key})
    client = rig.connect()
    await client.chat(stream=True)
    assert (await client.answer()).text == words
    await client.chat()
    assert (await client.answer()).json["choices"][0]["message"]["content"] == words
