"""The client goes away, on every endpoint that asks an upstream: that is closed in the same instant, wherever it was.

`ASKED` is held against the table of routes, so that no endpoint is forgotten.
"""

import json

import pytest
import trio

import answers
from answers import STREAM, chunked, role, sse, text
from forms import CONTENT_TYPE, field, file, form
from penstock.providers.presets import OPENAI_PATHS
from penstock.server.routes import ROUTES
from rig import Rig, settled
from scripted import EXPECT_CLOSE, Upstream

HELLO = [{"role": "user", "content": "Hi"}]
AUDIO = (file(b"RIFF\x00\r\n--\xff", "a.wav"), field("model", "up/tiny"))
PIECE = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "tiny"}
PIECE |= {"choices": [{"text": "x", "index": 0, "logprobs": None, "finish_reason": None}]}

ASKED = {
    "/chat/completions": {"messages": HELLO},
    "/completions": {"prompt": "Hi"},
    "/responses": {"input": "Hi"},
    "/messages": {"messages": HELLO, "max_tokens": 9},
    "/messages/count_tokens": {"messages": HELLO},
    "/chat": {"prompt": "Hi"},
    "/api/v1/chat": {"message": "Hi"},
    "/api/chat": {"messages": HELLO},
    "/api/generate": {"prompt": "Hi"},
    "/api/embed": {"input": "Hi"},
    "/api/embeddings": {"prompt": "Hi"},
    "/embeddings": {"input": "Hi"},
    "/moderations": {"input": "Hi"},
    "/images/generations": {"prompt": "Hi"},
    "/images/edits": form(*AUDIO, field("prompt", "Hi")),
    "/images/variations": form(*AUDIO),
    "/rerank": {"query": "Hi", "documents": ["a"]},
    "/audio/transcriptions": form(*AUDIO),
    "/audio/translations": form(*AUDIO),
    "/audio/speech": {"input": "Hi", "voice": "v"},
}
BESIDE = {("POST", "/api/show"): b'{"model": "up/tiny"}', ("GET", "/api/ps"): b""}
"""They ask an upstream of Ollama's kind what it says of its models, and are no entry in the ledger."""

NOBODY_ASKED = {"/api/pull", "/api/push", "/api/create", "/api/copy", "/sessions", "/admin/keys"}
"""They answer by themselves."""

SPOKEN = sorted(OPENAI_PATHS.keys() - {"responses", "anthropic"})
"""What the upstream has: those two are translated."""

BEGUN = [STREAM, chunked(sse(role(), text("x")))]
STREAMED = {
    **dict.fromkeys(("/chat/completions", "/messages", "/chat", "/api/v1/chat", "/api/chat", "/api/generate"), BEGUN),
    "/responses": BEGUN,
    "/completions": [STREAM, chunked(sse(PIECE))],
    "/audio/transcriptions": [STREAM, chunked(sse({"type": "transcript.text.delta", "delta": "x"}))],
    "/audio/speech": [
        answers.head(200, ("Content-Type", "audio/mpeg"), ("Transfer-Encoding", "chunked")),
        chunked(b"x"),
    ],
}


def test_c04_no_endpoint_is_forgotten():
    beside = {path for method, path in BESIDE if method == "POST"}
    assert {path for path, route in ROUTES.items() if "POST" in route.methods} == ASKED.keys() | beside | NOBODY_ASKED


async def leave(nursery, path, script, *, stream):
    """Ask, wait until all stands still, and leave: the upstream is closed by then, and nothing of it is left."""
    upstream = Upstream(nursery, [*script, EXPECT_CLOSE])
    rig = Rig(nursery, upstream, f'[providers.up]\npreset = "openai"\nspeaks = {SPOKEN}\n')
    body = ASKED[path]
    if isinstance(body, bytes):
        kind, raw = CONTENT_TYPE, form(*AUDIO, field("stream", "true")) if stream else body
    else:
        kind, raw = "application/json", json.dumps({"model": "up/tiny", "stream": stream, **body}).encode()
    client = rig.connect()
    await client.request("POST", path, {"content-type": kind}, raw)
    asked = await upstream.request()
    await settled()
    came = client.stream.receive_now()
    left = trio.current_time()
    client.leave()
    await asked.closed.wait()
    assert asked.closed_at == left
    await settled()
    gateway = rig.gateway
    assert (gateway.ledger.endings, gateway.ledger.failures) == ({"client_gone": 1}, {})
    assert (gateway.ledger.in_flight, gateway.exchanges, gateway.connections, gateway.uploads) == (0, set(), 0, 0)
    assert gateway.catalog.providers["up"].slots.in_use == 0
    return came


@pytest.mark.parametrize("path", STREAMED)
async def test_c04_leaving_in_mid_stream(nursery, autojump_clock, path):
    came = await leave(nursery, path, STREAMED[path], stream=True)
    assert came.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", STREAMED)
async def test_c04_leaving_before_the_first_token(nursery, autojump_clock, path):
    assert not await leave(nursery, path, [], stream=True)


@pytest.mark.parametrize("path", ASKED)
async def test_c04_leaving_while_a_whole_answer_is_awaited(nursery, autojump_clock, path):
    assert not await leave(nursery, path, [], stream=False)


@pytest.mark.parametrize(("method", "path"), BESIDE)
async def test_c04_leaving_while_an_ollama_is_asked_about_its_models(nursery, autojump_clock, method, path):
    upstream = Upstream(nursery, [EXPECT_CLOSE])
    rig = Rig(nursery, upstream, '[providers.up]\npreset = "ollama"\nmodels = ["tiny"]\n')
    slots = rig.gateway.catalog.providers["up"].slots
    client = rig.connect()
    await client.request(method, path, {}, BESIDE[method, path])
    asked = await upstream.request()
    await settled()
    assert (rig.gateway.admitted, slots.in_use) == (1, 1)
    left = trio.current_time()
    client.leave()
    await asked.closed.wait()
    assert asked.closed_at == left
    await settled()
    assert (rig.gateway.admitted, slots.in_use, rig.gateway.connections) == (0, 0, 0)


@pytest.mark.parametrize(("method", "path"), BESIDE)
async def test_questions_about_models_are_within_the_limits_too(nursery, autojump_clock, method, path):
    upstream = Upstream(nursery, [EXPECT_CLOSE])
    toml = '[providers.up]\npreset = "ollama"\nmodels = ["tiny"]\nparallel = 1\n[limits]\nrequests = 2\n'
    rig = Rig(nursery, upstream, toml)
    first, second, third = rig.connect(), rig.connect(), rig.connect()
    await first.chat("Hi", stream=True)
    await upstream.request()
    await second.request(method, path, {}, BESIDE[method, path])
    assert (await second.answer()).status == 200
    assert len(upstream.requests) == 1
    await second.chat("Hi", stream=False)
    assert (await second.answer()).status == 429
    rig.gateway.admitted += 1
    await third.request(method, path, {}, BESIDE[method, path])
    assert (await third.answer()).status == 503
    rig.gateway.admitted -= 1
    first.leave()
