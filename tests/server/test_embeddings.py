"""POST /v1/embeddings: in its own form, repacked where it must be, and with a deadline of its own."""

import base64
import json
import struct

import pytest
import trio

import answers
from answers import reply
from penstock.protocol.chat import Ending
from rig import Rig, settled
from scripted import EXPECT_CLOSE, RESET, Upstream

VECTOR = [0.1, 0.25, -0.5]
PACKED = "zczMPQAAgD4AAAC/"
USAGE = {"prompt_tokens": 8, "total_tokens": 8}


def embedded(*embeddings, **more):
    data = [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]
    return {"object": "list", "data": data, "model": "tiny", "usage": USAGE, "x_vendor": 1.50, **more}


async def embed(rig, said="Hi", headers=(), *, raw=None, client=None, **more):
    client = client or rig.connect()
    body = raw if raw is not None else json.dumps({"model": "up/tiny", "input": said, **more}).encode()
    await client.request("POST", "/v1/embeddings", {"content-type": "application/json", **dict(headers)}, body)
    return await client.answer()


@pytest.mark.parametrize(
    ("asked", "told", "given"),
    [
        ({}, VECTOR, VECTOR),
        ({"encoding_format": "float"}, VECTOR, VECTOR),
        ({"encoding_format": "base64"}, PACKED, PACKED),
        ({"encoding_format": "base64"}, VECTOR, PACKED),  # C87: the upstream does not know base64
        ({"encoding_format": "float"}, PACKED, [0.100000001, 0.25, -0.5]),
        ({}, PACKED, [0.100000001, 0.25, -0.5]),
        ({"encoding_format": None}, VECTOR, VECTOR),
        ({"encoding_format": "int8"}, [1, -2], [1, -2]),
    ],
)
async def test_c87_the_answer_has_the_form_that_was_asked_for(nursery, asked, told, given):
    rig = Rig(nursery, Upstream(nursery, [reply(embedded(told, told))]))
    answer = await embed(rig, ["a", "b"], **asked)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == embedded(given, given)
    assert rig.gateway.ledger.endings == {"completed": 1}


async def test_what_has_the_form_already_passes_byte_for_byte(nursery):
    body = b'\n{ "data": [ {"embedding" : [0.10000000149011612, 1E-2]} ],\t"x": 12345678901234567890.0 }\n'
    rig = Rig(nursery, Upstream(nursery, [reply(body)]))
    assert (await embed(rig)).body == body


@pytest.mark.parametrize("said", ["Привет", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
async def test_the_request_goes_out_as_it_came_but_for_the_model(nursery, said):
    upstream = Upstream(nursery, [reply(embedded(VECTOR))])
    raw = json.dumps({"input": said, "model": "up/tiny", "dimensions": 3, "user": "u", "x": 1.50}).encode()
    await embed(Rig(nursery, upstream), raw=raw, headers={"authorization": "Bearer sk-client"})
    asked = await upstream.request()
    assert asked.target == "/v1/embeddings"
    assert asked.body == raw.replace(b"up/tiny", b"tiny")
    assert "authorization" not in asked.headers


async def test_usage_is_booked(nursery):
    rig = Rig(nursery, Upstream(nursery, [reply(embedded(VECTOR))]))
    seen = []
    rig.gateway.ledger.readers.append(seen.append)
    await embed(rig, encoding_format="base64")
    (record,) = seen
    assert (record.usage.prompt, record.usage.completion, record.ending) == (8, 0, Ending("completed"))


OLLAMA = '[providers.up]\npreset = "ollama"\nmodels = ["tiny"]\n'


async def test_ollama_is_asked_where_it_has_openais_form(nursery):
    upstream = Upstream(nursery, [reply(embedded(VECTOR))])
    answer = await embed(Rig(nursery, upstream, OLLAMA), encoding_format="base64")
    assert answer.json["data"][0]["embedding"] == PACKED
    assert (await upstream.request()).target == "/v1/embeddings"


@pytest.mark.parametrize("ids", ["[1]", "[ [\n1, 2], [3]]", "[-1]"])
async def test_token_ids_are_refused_where_only_text_is_embedded(nursery, ids):
    raw = b'{"model":"up/tiny","input":%b}' % ids.encode()
    answer = await embed(Rig(nursery, Upstream(nursery), OLLAMA), raw=raw)
    assert answer.status == 400
    assert "check_embedding_ctx_length" in answer.error["message"]


async def test_token_ids_go_to_the_next_that_takes_them(nursery):
    toml = OLLAMA + '[routes.safe]\nproviders = ["up", "other"]\n'
    other = Upstream(nursery, [reply(embedded(VECTOR))])
    rig = Rig(nursery, Upstream(nursery), toml, other=other)
    assert (await embed(rig, [1, 2], model="safe/tiny")).status == 200
    assert (await other.request()).json["input"] == [1, 2]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"input": "a"}, "missing_required_parameter"),
        ({"model": "up/tiny"}, "missing_required_parameter"),
        ({"model": "up/tiny", "input": None}, "missing_required_parameter"),
        ({"model": "up/tiny", "input": "a", "encoding_format": 7}, "invalid_value"),
    ],
)
async def test_what_is_no_request(nursery, body, code):
    answer = await embed(Rig(nursery, Upstream(nursery)), raw=json.dumps(body).encode())
    assert (answer.status, answer.error["code"]) == (400, code)


async def test_a_provider_without_embeddings_is_a_clear_404(nursery):
    toml = '[providers.up]\npreset = "openai"\nspeaks = ["openai"]\nmodels = ["tiny"]\n'
    answer = await embed(Rig(nursery, Upstream(nursery), toml))
    assert (answer.status, answer.error["code"]) == (404, "unsupported_endpoint")
    assert "speaks" in answer.error["message"]


@pytest.mark.parametrize("script", [[RESET], [reply({"error": {"message": "busy"}}, 503)], [reply(b"{")], [reply(b"")]])
async def test_the_next_provider_is_asked_when_one_fails(nursery, script):
    other = Upstream(nursery, [reply(embedded(VECTOR))])
    rig = Rig(nursery, Upstream(nursery, script), '[routes.safe]\nproviders = ["up", "other"]\n', other=other)
    answer = await embed(rig, model="safe/tiny")
    assert (answer.status, answer.headers["x-penstock-attempts"]) == (200, "2")


async def test_c25_c26_errors_pass_with_their_words(nursery):
    page = reply("<html><title>Bad gateway</title></html>", 502, content_type="text/html")
    told = reply({"error": {"message": "too long", "type": "invalid_request_error", "code": "context"}}, 400)
    rig = Rig(nursery, Upstream(nursery, [told], [page]))
    answer = await embed(rig)
    assert (answer.status, answer.error["message"], answer.error["code"]) == (400, "too long", "context")
    answer = await embed(rig)
    assert (answer.status, answer.error["message"]) == (502, "Bad gateway")


@pytest.mark.parametrize("body", [embedded(["x"]), embedded([[1]])])
async def test_what_cannot_be_repacked_is_the_upstreams_failure(nursery, body):
    answer = await embed(Rig(nursery, Upstream(nursery, [reply(body)])), encoding_format="base64")
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")


# -- time


@pytest.mark.parametrize(
    ("toml", "headers", "seconds"),
    [
        ("", {}, 30),
        ("[timeouts]\nembeddings = 7\n", {}, 7),
        ("[timeouts]\nembeddings = 7\n", {"x-penstock-timeouts": "embeddings=3"}, 3),
    ],
)
async def test_c65_embeddings_have_a_deadline_of_their_own(nursery, autojump_clock, toml, headers, seconds):
    head = answers.head(200, ("Content-Type", "application/json"), ("Content-Length", "1000"))
    upstream = Upstream(nursery, [head, b'{"data":[', EXPECT_CLOSE])
    begun = trio.current_time()
    answer = await embed(Rig(nursery, upstream, toml), headers=headers)
    assert trio.current_time() - begun == seconds
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert "(embeddings)" in answer.error["message"]


@pytest.mark.parametrize("script", [[], [answers.head(200, ("Content-Length", "99"))], [reply(embedded(VECTOR))[:-9]]])
async def test_c04_leaving_closes_the_upstream_at_once(nursery, autojump_clock, script):
    upstream = Upstream(nursery, [*script, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.request("POST", "/v1/embeddings", {}, b'{"model":"up/tiny","input":"a"}')
    asked = await upstream.request()
    await settled()
    left = trio.current_time()
    client.leave()
    await asked.closed.wait()
    assert asked.closed_at == left
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert not rig.gateway.ledger.failures


async def test_the_echo_embeds_without_key_or_network(nursery):
    rig = Rig(nursery)
    plain = (await embed(rig, ["a", "b"], model="echo")).json
    packed = (await embed(rig, ["a", "b"], model="echo", encoding_format="base64")).json
    for one, other in zip(plain["data"], packed["data"], strict=True):
        raw = base64.b64decode(other["embedding"])
        assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == one["embedding"]
    rig.gateway.catalog.providers["echo"].transport.close()
