"""Embeddings for Ollama's clients: `/api/embed` and the older `/api/embeddings`, from upstreams of either kind."""

import json

import pytest
import trio

from answers import error, head, reply
from rig import Rig, settled
from scripted import CLOSE, EXPECT_CLOSE, Upstream

OLLAMA = '[providers.up]\npreset = "ollama"\n'
VECTORS = [[0.1, -2e-3], [1, 0.30000000000000004]]
TOLD = {"model": "tiny", "embeddings": VECTORS, "total_duration": 5, "load_duration": 1, "prompt_eval_count": 7, "x": 1}


def openai(*vectors, **more):
    """OpenAI's answer, its rows in the wrong order."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return [reply({"object": "list", "data": data[::-1], "model": "tiny", "usage": usage, **more})]


async def ask(rig, path, **body):
    client = rig.connect()
    await client.request("POST", path, {}, json.dumps({"model": "up/tiny", **body}).encode())
    answer = await client.answer()
    client.leave()
    return answer


@pytest.mark.parametrize("given", ["a", ["a", "b"]])
async def test_embed_by_openai_s(nursery, autojump_clock, given):
    upstream = Upstream(nursery, openai(*VECTORS))
    rig = Rig(nursery, upstream)
    answer = await ask(rig, "/api/embed", input=given, dimensions=2, truncate=True, options={"num_ctx": 8})
    value = answer.json
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert type(value.pop("total_duration")) is int
    assert value == {"model": "up/tiny", "embeddings": VECTORS, "load_duration": 0, "prompt_eval_count": 7}
    asked = upstream.requests[0]
    assert asked.target.endswith("/embeddings")
    assert asked.json == {"model": "tiny", "input": given, "encoding_format": "float", "dimensions": 2}
    assert rig.gateway.ledger.endings == {"completed": 1}


async def test_base64_becomes_numbers(nursery, autojump_clock):
    answer = await ask(Rig(nursery, Upstream(nursery, openai("AACAPwAAAMA="))), "/api/embed", input="a")
    assert answer.json["embeddings"] == [[1.0, -2.0]]


async def test_the_older_form(nursery, autojump_clock):
    upstream = Upstream(nursery, openai(VECTORS[0]))
    answer = await ask(Rig(nursery, upstream), "/api/embeddings", prompt="a")
    assert answer.json == {"embedding": VECTORS[0]}
    assert upstream.requests[0].json == {"model": "tiny", "input": "a", "encoding_format": "float"}


async def test_an_ollama_s_own_answer_passes(nursery, autojump_clock):
    upstream = Upstream(nursery, [reply(TOLD)], models=None)
    answer = await ask(Rig(nursery, upstream, OLLAMA), "/api/embed", input=["a", "b"], truncate=False, future=1)
    assert answer.json == TOLD
    asked = upstream.requests[0]
    assert asked.target == "/api/embed"
    assert asked.json == {"model": "tiny", "input": ["a", "b"], "truncate": False, "future": 1}


async def test_the_older_form_by_an_ollama(nursery, autojump_clock):
    upstream = Upstream(nursery, [reply(TOLD)], models=None)
    answer = await ask(Rig(nursery, upstream, OLLAMA), "/api/embeddings", prompt="a", keep_alive="5m", options={"x": 1})
    assert answer.json == {"embedding": VECTORS[0]}
    asked = upstream.requests[0]
    assert asked.target == "/api/embed"
    assert asked.json == {"model": "tiny", "input": "a", "keep_alive": "5m", "options": {"x": 1}}


@pytest.mark.parametrize("nothing", [{}, {"input": "", "prompt": ""}, {"input": [], "prompt": None}])
async def test_nothing_to_embed(nursery, autojump_clock, nothing):
    upstream = Upstream(nursery)
    rig = Rig(nursery, upstream)
    assert (await ask(rig, "/api/embed", **nothing)).json["embeddings"] == []
    assert (await ask(rig, "/api/embeddings", **nothing)).json == {"embedding": []}
    assert not upstream.requests
    answer = await ask(rig, "/api/embed", **{**nothing, "model": "nope"})
    assert (answer.status, answer.json) == (404, {"error": "model 'nope' not found"})


BAD = [
    ("/api/embed", {"input": 7}, 400, "invalid input type"),
    ("/api/embed", {"input": ["a", 7]}, 400, "invalid input type"),
    ("/api/embeddings", {"prompt": ["a"]}, 400, "invalid input type"),
    ("/api/embed", {"input": "a", "model": "nope"}, 404, "model 'nope' not found"),
    ("/api/embed", {"input": "a", "model": None}, 400, "'model'"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD)
async def test_refusals_are_strings(nursery, autojump_clock, path, body, status, words):
    answer = await ask(Rig(nursery, Upstream(nursery)), path, **body)
    assert (answer.status, answer.json.keys()) == (status, {"error"})
    assert words in answer.json["error"]


async def test_a_provider_without_embeddings_is_said_so(nursery, autojump_clock):
    toml = '[providers.up]\npreset = "openai"\nspeaks = ["openai"]\n'
    answer = await ask(Rig(nursery, Upstream(nursery), toml), "/api/embed", input="a")
    assert (answer.status, answer.json.keys()) == (404, {"error"})
    assert "speaks" in answer.json["error"]


@pytest.mark.parametrize("told", [{"data": []}, {"object": "list"}, {"data": [{"index": 0}]}, {"embeddings": 7}])
@pytest.mark.parametrize("toml", ["", OLLAMA])
async def test_c22_a_200_without_vectors_is_a_failure(nursery, autojump_clock, told, toml):
    rig = Rig(nursery, Upstream(nursery, [reply(told)]), toml)
    answer = await ask(rig, "/api/embed", input="a")
    assert (answer.status, answer.json.keys()) == (502, {"error"})
    assert rig.gateway.ledger.endings == {"failed": 1}


@pytest.mark.parametrize(
    "script", [[reply({"error": {"message": "нет"}})], [head(200, ("Content-Length", "9")), b'{"data"', CLOSE]]
)
async def test_c22_an_error_in_a_200_or_half_an_answer_is_a_failure(nursery, autojump_clock, script):
    answer = await ask(Rig(nursery, Upstream(nursery, script)), "/api/embed", input="a")
    assert (answer.status >= 500, answer.json.keys()) == (True, {"error"})


@pytest.mark.parametrize("toml", ["", OLLAMA])
async def test_an_upstream_that_does_not_count(nursery, autojump_clock, toml):
    told = {"embeddings": VECTORS} if toml else {"data": [{"embedding": vector} for vector in VECTORS]}
    answer = await ask(Rig(nursery, Upstream(nursery, [reply(told)]), toml), "/api/embed", input="a")
    assert (answer.json["embeddings"], answer.json.get("prompt_eval_count", 0)) == (VECTORS, 0)


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_c25_an_upstream_s_error_is_a_status_and_a_string(nursery, autojump_clock, status):
    answer = await ask(Rig(nursery, Upstream(nursery, [reply(error("нет"), status)])), "/api/embed", input="a")
    assert (answer.status, answer.json) == (status, {"error": "нет"})


WHOLE = head(200, ("Content-Type", "application/json"), ("Content-Length", "1000"))


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
@pytest.mark.parametrize("script", [[], [WHOLE, b'{"data": [']], ids=["before the first byte", "within the body"])
async def test_c04_leaving_closes_the_upstream_at_once(nursery, autojump_clock, path, script):
    upstream = Upstream(nursery, [*script, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.request("POST", path, {}, b'{"model":"up/tiny","input":"a","prompt":"a"}')
    asked = await upstream.request()
    await settled()
    left = trio.current_time()
    client.leave()
    await asked.closed.wait()
    await settled()
    assert asked.closed_at == trio.current_time() == left
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert rig.gateway.admitted == 0
