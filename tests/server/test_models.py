"""GET /v1/models and /v1/models/{id}: what there is, under every spelling of an id, and what a key sees of it."""

import pytest

from answers import reply
from door import refused
from rig import Rig
from scripted import RESET, Upstream

IDS = ["org/a:free", "llama3.2:1b", "x@2024", "имя"]
TWO_KEYS = """
[[keys]]
name = "all"
key = { env = "ALL" }
[[keys]]
name = "some"
key = { env = "SOME" }
models = ["up/org/*"]
[aliases]
fast = "up/org/a:free"
slow = "up/llama3.2:1b"
"""
SECRETS = {"ALL": "key-of-all", "SOME": "key-of-some"}


@pytest.fixture
def upstream(nursery):
    return Upstream(nursery, models=IDS)


async def get(rig, target, headers=None):
    client = rig.connect()
    await client.request("GET", target, headers or {})
    answer = await client.answer()
    client.leave()
    return answer


def bearer(name):
    return {"authorization": f"Bearer {SECRETS[name]}"}


def names(answer):
    return [model["id"] for model in answer.json["data"]]


@pytest.mark.parametrize(
    "target",
    ["/v1/models", "/models", "/v1/models/", "/v1//models", "/v1/models/?limit=1&x=%"],
)
async def test_the_list(nursery, upstream, autojump_clock, target):
    answer = await get(Rig(nursery, upstream), target)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json.keys() == {"object", "data"}
    assert answer.json["object"] == "list"
    assert {f"up/{id}" for id in IDS} | {"echo/echo"} >= set(names(answer)) >= {f"up/{id}" for id in IDS}
    for model in answer.json["data"]:
        assert model.keys() >= {"id", "object", "created", "owned_by"}
        assert model["object"] == "model"
        assert type(model["created"]) is int


@pytest.mark.parametrize("query", ["client_version=0.99.0", "x=1&client_version="])
async def test_codex_finds_the_list_that_it_looks_for(nursery, upstream, autojump_clock, query):
    answer = await get(Rig(nursery, upstream), f"/v1/models?{query}")
    assert answer.json["models"] == []
    assert {f"up/{id}" for id in IDS} <= set(names(answer))


@pytest.mark.parametrize("target", ["/v1/models", "/v1/models/up/org/a:free"])
async def test_clients_of_old_find_what_they_read(nursery, upstream, autojump_clock, target):
    found = (await get(Rig(nursery, upstream), target)).json
    model = next(model for model in found.get("data", [found]) if model["id"] == "up/org/a:free")
    assert (model["created"], model["owned_by"], model["root"], model["parent"]) == (1, "test", "up/org/a:free", None)
    assert model["permission"][0]["object"] == "model_permission"
    assert model["permission"][0]["allow_sampling"] is True
    assert model["permission"][0]["created"] == 1


async def test_the_list_is_there_although_an_upstream_is_not(nursery, upstream, autojump_clock):
    rig = Rig(nursery, upstream, down=Upstream(nursery, always=[RESET], models=None))
    answer = await get(rig, "/v1/models")
    assert {f"up/{id}" for id in IDS} <= set(names(answer))
    assert not any(id.startswith("down/") for id in names(answer))


@pytest.mark.parametrize(
    ("target", "id"),
    [
        ("/v1/models/up/org/a:free", "up/org/a:free"),
        ("/v1/models/up%2Forg%2Fa:free", "up/org/a:free"),
        ("/v1/models/up%2forg/a%3Afree", "up/org/a:free"),
        ("/v1/models/org%2Fa:free", "org/a:free"),
        ("/v1/models/org/a:free", "org/a:free"),
        ("/models/org/a:free/", "org/a:free"),
        ("/v1//models/org/a:free?x=y", "org/a:free"),
        ("/v1/models/llama3.2:1b", "llama3.2:1b"),
        ("/v1/models/x@2024", "x@2024"),
        ("/v1/models/x%402024", "x@2024"),
        ("/v1/models/%D0%B8%D0%BC%D1%8F", "имя"),
        ("http://127.0.0.1:8777/v1/models/up%2Fx@2024", "up/x@2024"),
    ],
)
async def test_one_model_by_every_spelling_of_its_id(nursery, upstream, autojump_clock, target, id):
    answer = await get(Rig(nursery, upstream), target)
    assert answer.status == 200
    assert answer.json.keys() >= {"id", "object", "created", "owned_by"}
    assert (answer.json["id"], answer.json["object"]) == (id, "model")


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/v1/models/none", "none"),
        ("/v1/models/up/none", "up/none"),
        ("/v1/models/up%252Fx@2024", "up%2Fx@2024"),  # decoded once, and not twice
        ("/v1/models/%ff", "\ufffd"),
        ("/v1/models/%00%0a%22", '\x00\n"'),
        ("/v1/models/%", "%"),
    ],
)
async def test_a_model_that_does_not_exist(nursery, upstream, autojump_clock, target, name):
    error = refused(await get(Rig(nursery, upstream), target), 404, "model_not_found")
    assert error["message"] == f"The model '{name}' does not exist"
    assert error["param"] == "model"


async def test_an_id_without_end_is_not_repeated_without_end(nursery, upstream, autojump_clock):
    error = refused(await get(Rig(nursery, upstream), "/v1/models/" + "a" * 5000), 404, "model_not_found")
    assert len(error["message"]) < 300


async def test_an_ambiguous_id_is_404_and_says_what_would_do(nursery, upstream, autojump_clock):
    rig = Rig(nursery, upstream, other=Upstream(nursery, models=["x@2024"]))
    error = refused(await get(rig, "/v1/models/x@2024"), 404, "model_not_found")
    assert "'up/x@2024'" in error["message"]
    assert "'other/x@2024'" in error["message"]


# -- keys -------------------------------------------------------------------------------------------------


async def test_a_key_sees_the_models_that_it_opens_by_what_is_really_called(nursery, upstream, autojump_clock):
    rig = Rig(nursery, upstream, TWO_KEYS, SECRETS)
    everything = names(await get(rig, "/v1/models", bearer("ALL")))
    assert {"up/org/a:free", "up/llama3.2:1b", "fast", "slow"} <= set(everything)
    assert names(await get(rig, "/v1/models", bearer("SOME"))) == ["up/org/a:free", "fast"]
    for id, status in [("fast", 200), ("org/a:free", 200), ("slow", 404), ("llama3.2:1b", 404), ("up/x@2024", 404)]:
        answer = await get(rig, f"/v1/models/{id}", bearer("SOME"))
        assert answer.status == status
        if status == 404:
            assert refused(answer, 404, "model_not_found")["message"] == f"The model '{id}' does not exist"


@pytest.mark.parametrize("target", ["/v1/models", "/v1/models/up/x@2024"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": "key-of-all"},
        {"authorization": "Basic a2V5LW9mLWFsbA=="},
        {"x-api-key": "key-of-al"},
        {"cookie": "key-of-all"},
    ],
)
async def test_without_a_key_it_is_401(nursery, upstream, autojump_clock, target, headers):
    answer = await get(Rig(nursery, upstream, TWO_KEYS, SECRETS), target, headers)
    refused(answer, 401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert upstream.connections == 0


@pytest.mark.parametrize("name", ["authorization", "api-key", "x-api-key"])
async def test_a_key_may_come_in_each_of_three_headers(nursery, upstream, autojump_clock, name):
    shown = SECRETS["ALL"] if name != "authorization" else f"Bearer {SECRETS['ALL']}"
    assert (await get(Rig(nursery, upstream, TWO_KEYS, SECRETS), "/v1/models", {name: shown})).status == 200


async def test_a_dummy_key_is_fine_where_there_are_no_keys(nursery, upstream, autojump_clock):
    for shown in ("Bearer sk-x", "Bearer ", "Bearer none"):
        assert (await get(Rig(nursery, upstream), "/v1/models", {"authorization": shown})).status == 200


@pytest.mark.parametrize("target", ["/health", "/ready", "/v1/health", "/v1/ready/"])
async def test_health_and_readiness_are_open(nursery, upstream, autojump_clock, target):
    rig = Rig(nursery, upstream, TWO_KEYS, SECRETS)
    answer = await get(rig, target, {"host": "probe.example"})
    assert answer.status == 200
    assert answer.json["status"] in ("ok", "ready")
    assert "key" not in answer.body.decode()


async def test_c82_what_a_key_may_call_is_judged_on_the_model_that_is_called(nursery, autojump_clock):
    upstream = Upstream(nursery, always=[reply({"choices": []})], models=IDS)
    rig = Rig(nursery, upstream, TWO_KEYS, SECRETS)
    for model in ("up/llama3.2:1b", "slow", "llama3.2:1b", "up/anything", "echo/echo"):
        answer = await rig.ask(model=model, headers=bearer("SOME"))
        assert answer.status in (403, 404)
        if answer.status == 403:
            assert refused(answer, 403, "permission_denied", "permission_error")["param"] == "model"
    for model in ("up/llama3.2:1b", "slow"):
        refused(await rig.ask(model=model, headers=bearer("SOME")), 403, "permission_denied", "permission_error")
    assert not upstream.requests
    # Neither the query nor a header says which model it is.
    client = rig.connect()
    await client.request("POST", "/v1/chat/completions?model=up/org/a:free", bearer("SOME"), b'{"messages":[1]}')
    refused(await client.answer(), 400, "missing_required_parameter")
