"""What is passed on as it is: moderations, images, rerank. An upstream has it, or it is a 404."""

import gzip
import json

import pytest
import trio

import answers
import forms
from answers import chunked, reply, sse
from rig import Rig, settled
from scripted import CLOSE, EXPECT_CLOSE, RESET, Upstream

MODERATION = {"id": "modr-1", "model": "m", "results": [{"flagged": False, "category_scores": {"hate": 1e-9}}]}
IMAGES = {"created": 1760000000, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 3, "output_tokens": 90}}
RANKED = {"results": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 12}}
LIST = [{"index": 0, "score": 0.5}]  # some rerankers answer with a bare list

ASKED = {
    "/v1/moderations": {"input": "Привет", "x": 1.50},
    "/v1/images/generations": {"prompt": "a cat", "n": 1},
    "/v1/rerank": {"query": "q", "documents": ["a", "b"]},
}
ANSWERED = [
    ("/v1/moderations", MODERATION),
    ("/v1/images/generations", IMAGES),
    ("/v1/rerank", RANKED),
    ("/v1/rerank", LIST),
]


async def post(rig, path, body, headers=(), client=None):
    client = client or rig.connect()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    await client.request("POST", path, {"content-type": "application/json", **dict(headers)}, raw)
    return await client.answer()


@pytest.mark.parametrize(("path", "told"), ANSWERED)
async def test_it_is_passed_on_and_back_as_it_is(nursery, path, told):
    upstream = Upstream(nursery, [reply(json.dumps(told, indent=1))])
    rig = Rig(nursery, upstream)
    raw = json.dumps({**ASKED[path], "model": "up/tiny"}).encode()
    answer = await post(rig, path, raw, {"authorization": "Bearer sk-client", "traceparent": "00-1"})
    assert (answer.status, answer.body) == (200, json.dumps(told, indent=1).encode())
    assert (answer.headers["content-type"], answer.headers["x-penstock-provider"]) == ("application/json", "up")
    asked = await upstream.request()
    assert (asked.target, asked.body) == (path, raw.replace(b"up/tiny", b"tiny"))
    assert asked.headers["traceparent"] == "00-1"
    assert "authorization" not in asked.headers
    assert rig.gateway.ledger.endings == {"completed": 1}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("text/html", "application/json"),
        ("image/svg+xml; charset=utf-8", "application/json"),
        ("application/xhtml+xml", "application/json"),
        ("text/plain;text/html", "text/plain;text/html"),
        ("Application/JSON; charset=utf-8", "Application/JSON; charset=utf-8"),
        ("audio/x-wav", "audio/x-wav"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_upstream_can_make_a_page_of_its_answer(nursery, said, told, stream):
    upstream = Upstream(nursery, [reply(RANKED, content_type=said)])
    body = {"model": "up/tiny", **ASKED["/v1/rerank"], "stream": stream}
    answer = await post(Rig(nursery, upstream), "/v1/rerank", body)
    assert (answer.status, answer.json) == (200, RANKED)
    assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == (told, "nosniff")


async def test_a_moderation_without_a_model_is_for_the_usual_one(nursery):
    upstream = Upstream(nursery, [reply(MODERATION)])
    rig = Rig(nursery, upstream, '[aliases]\nomni-moderation-latest = "up/tiny"\n')
    assert (await post(rig, "/v1/moderations", {"input": "a"})).status == 200
    assert (await upstream.request()).json == {"input": "a", "model": "tiny"}
    answer = await post(Rig(nursery, Upstream(nursery)), "/v1/moderations", {"input": "a"})
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ASKED)
async def test_where_nobody_has_it_a_404_says_what_to_set(nursery, path):
    toml = '[providers.up]\npreset = "openai"\nspeaks = ["openai"]\nmodels = ["tiny"]\n'
    upstream = Upstream(nursery)
    answer = await post(Rig(nursery, upstream, toml), path, {**ASKED[path], "model": "up/tiny"})
    assert (answer.status, answer.error["code"], answer.error["type"]) == (
        404,
        "unsupported_endpoint",
        "invalid_request_error",
    )
    assert "'speaks'" in answer.error["message"]
    assert upstream.connections == 0


async def test_of_a_route_only_those_are_asked_that_have_it(nursery):
    toml = '[providers.up]\npreset = "openai"\nspeaks = ["openai"]\n[routes.safe]\nproviders = ["up", "other"]\n'
    upstream, other = Upstream(nursery), Upstream(nursery, [reply(RANKED)])
    answer = await post(
        Rig(nursery, upstream, toml, other=other), "/v1/rerank", {**ASKED["/v1/rerank"], "model": "safe/tiny"}
    )
    assert (answer.status, answer.headers["x-penstock-attempts"]) == (200, "1")
    assert upstream.connections == 0


KEYS = '[[keys]]\nname = "ci"\nkey = { env = "K" }\nmodels = ["other/*"]\n[routes.safe]\nproviders = ["up", "other"]\n'


@pytest.mark.parametrize("path", ASKED)
async def test_c08_a_key_is_judged_by_what_is_really_called(nursery, path):
    upstream, other = Upstream(nursery), Upstream(nursery, always=[reply(MODERATION)])
    rig = Rig(nursery, upstream, KEYS, {"K": "sk-ci"}, other=other)
    shown = {"authorization": "Bearer sk-ci"}
    answer = await post(rig, path, {**ASKED[path], "model": "up/tiny"}, shown)
    assert (answer.status, answer.error["code"]) == (403, "permission_denied")
    assert (await post(rig, path, {**ASKED[path], "model": "safe/tiny"}, shown)).status == 200
    assert (await post(rig, path, {**ASKED[path], "model": "up/tiny"})).status == 401
    assert upstream.connections == 0


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("without", ["model", "its own"])
async def test_what_is_missing_is_named(nursery, path, without):
    body = {"model": "up/tiny"} if without == "its own" else ASKED[path]
    answer = await post(Rig(nursery, Upstream(nursery)), path, body)
    if (path, without) != ("/v1/moderations", "model"):
        assert (answer.status, answer.error["code"]) == (400, "missing_required_parameter")


async def test_a_good_status_with_an_error_in_it_is_an_error_without_secrets(nursery):
    toml = '[providers.up]\npreset = "openai"\napi_key = { env = "UP" }\n'
    told = {"error": {"message": "the key sk-upstream-secret is over its quota", "code": "insufficient_quota"}}
    rig = Rig(nursery, Upstream(nursery, [reply(told)]), toml, {"UP": "sk-upstream-secret"})
    answer = await post(rig, "/v1/rerank", {**ASKED["/v1/rerank"], "model": "up/tiny"})
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
    assert b"sk-upstream-secret" not in answer.body


@pytest.mark.parametrize(
    "script", [[reply(RANKED)[:-5], CLOSE], [reply(RANKED)[:-5], RESET], [RESET], [reply(b"x", 500)]]
)
async def test_a_body_cut_short_is_tried_elsewhere(nursery, script):
    other = Upstream(nursery, [reply(RANKED)])
    toml = '[routes.safe]\nproviders = ["up", "other"]\n'
    answer = await post(
        Rig(nursery, Upstream(nursery, script), toml, other=other),
        "/v1/rerank",
        {**ASKED["/v1/rerank"], "model": "safe/tiny"},
    )
    assert (answer.status, answer.json) == (200, RANKED)


async def test_an_answer_has_a_limit(nursery):
    rig = Rig(nursery, Upstream(nursery, [reply({"results": "x" * 2000})]), "[limits]\nmessage_bytes = 1000\n")
    answer = await post(rig, "/v1/rerank", {**ASKED["/v1/rerank"], "model": "up/tiny"})
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")


# -- C46 and C47


@pytest.mark.parametrize("status", [200, 400])
async def test_c46_c47_a_compressed_answer_is_unpacked_and_neither_coding_nor_length_is_told(nursery, status):
    told = {"error": {"message": "no", "type": "t", "code": "c", "param": None}} if status == 400 else RANKED
    packed = gzip.compress(json.dumps(told).encode())
    upstream = Upstream(nursery, [reply(packed, status, ("Content-Encoding", "gzip"))])
    answer = await post(Rig(nursery, upstream), "/v1/rerank", {**ASKED["/v1/rerank"], "model": "up/tiny"})
    assert (answer.status, answer.json) == (status, told)
    assert "content-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert (await upstream.request()).headers["accept-encoding"] == "identity"


# -- images


async def test_streamed_images_are_passed_event_by_event(nursery):
    partial = {"type": "image_generation.partial_image", "b64_json": "AA"}
    done = {"type": "image_generation.completed", "b64_json": "AAAA", "usage": {"input_tokens": 1, "output_tokens": 2}}
    go = trio.Event()
    named = b"event: image_generation.partial_image\n" + sse(partial)
    upstream = Upstream(nursery, [answers.STREAM, chunked(named), go, chunked(sse(done)), answers.LAST])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    body = json.dumps({"model": "up/tiny", "prompt": "a", "stream": True}).encode()
    await client.request("POST", "/v1/images/generations", {}, body)
    head = await client.head()
    assert dict(head.headers)[b"content-type"] == b"text/event-stream"
    assert await client.piece() == named
    go.set()
    assert await client.piece() == sse(done)
    assert await client.piece() == b""
    await settled()
    assert rig.gateway.ledger.endings == {"completed": 1}


async def test_a_streamed_image_that_breaks_off_says_so_in_the_stream(nursery):
    partial = {"type": "image_generation.partial_image", "b64_json": "AA"}
    upstream = Upstream(nursery, [answers.STREAM, chunked(sse(partial)), CLOSE])
    answer = await post(
        Rig(nursery, upstream), "/v1/images/generations", {"model": "up/tiny", "prompt": "a", "stream": True}
    )
    assert answer.status == 200
    first, last = answer.events
    assert first == partial
    assert last["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("path", ["edits", "variations"])
async def test_forms_with_images_are_passed_on(nursery, path):
    upstream = Upstream(nursery, [reply(IMAGES)])
    body = forms.form(forms.file(b"\x89PNG", "a.png", "image[]", "image/png"), forms.field("model", "up/tiny"))
    answer = await post(Rig(nursery, upstream), f"/v1/images/{path}", body, {"content-type": forms.CONTENT_TYPE})
    assert (answer.status, answer.json) == (200, IMAGES)
    asked = await upstream.request()
    assert (asked.target, asked.body) == (f"/v1/images/{path}", body.replace(b"up/tiny", b"tiny"))


@pytest.mark.parametrize("path", ASKED)
async def test_c04_leaving_closes_the_upstream_at_once(nursery, autojump_clock, path):
    upstream = Upstream(nursery, [EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.request("POST", path, {}, json.dumps({**ASKED[path], "model": "up/tiny"}).encode())
    asked = await upstream.request()
    await settled()
    left = trio.current_time()
    client.leave()
    await asked.closed.wait()
    assert asked.closed_at == left
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}


@pytest.mark.parametrize("path", ["/v1/audio/models", "/v1/audio/voices"])
async def test_what_open_webui_looks_for_and_is_not_there_is_a_404_in_shape(nursery, path):
    client = Rig(nursery, Upstream(nursery)).connect()
    await client.request("GET", path)
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
