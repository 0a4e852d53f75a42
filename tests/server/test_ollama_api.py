"""penstock as an Ollama: what its clients ask beside the chat, byte for byte where they are particular."""

import json
import re
from datetime import datetime

import pytest
import trio

from answers import completion, reply
from rig import Rig
from scripted import EXPECT_CLOSE, Upstream

OLLAMA = '[providers.up]\npreset = "ollama"\n'
KEYS = """
[[keys]]
name = "some"
key = { env = "SOME" }
models = ["up/org/*"]
[aliases]
fast = "up/org/a:free"
slow = "up/tiny"
"""
SOME = {"SOME": "key-of-some"}
BEARER = {"authorization": "Bearer key-of-some"}
TAG = {
    "name": "llama3.2:latest",
    "model": "llama3.2:latest",
    "modified_at": "2025-10-09T08:53:20.123456789+02:00",
    "size": 2019393189,
    "digest": "a80c4f17acd5",
    "details": {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "3.2B",
        "quantization_level": "Q4_K_M",
    },
}


async def ask(rig, method, target, body=None, headers=None):
    client = rig.connect()
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    await client.request(method, target, headers or {}, raw)
    answer = await client.answer()
    client.leave()
    return answer


def refused(answer, status, words=""):
    """Assert that it is an error as Ollama's clients read it: the one member `error`, a string."""
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json"), answer.body
    assert answer.json.keys() == {"error"}
    assert isinstance(answer.json["error"], str)
    assert words in answer.json["error"]


# -- is there an Ollama? ----------------------------------------------------------------------------------


async def test_it_says_what_ollama_says(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery), KEYS, SOME)
    answer = await ask(rig, "GET", "/")
    assert (answer.status, answer.body) == (200, b"Ollama is running")
    assert answer.headers["content-type"].startswith("text/plain")
    answer = await ask(rig, "GET", "/api/version")
    assert answer.json.keys() == {"version"}
    parts = [int(part) for part in answer.json["version"].split(".")]  # as Open WebUI does
    assert parts >= [0, 6, 4]  # as VS Code demands


@pytest.mark.parametrize("target", ["/", "/api/version", "/api/tags"])
async def test_head_is_a_get_without_a_body(nursery, autojump_clock, target):
    rig = Rig(nursery, Upstream(nursery))
    whole = await ask(rig, "GET", target)
    answer = await ask(rig, "HEAD", target)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(whole.body))


# -- which models? ----------------------------------------------------------------------------------------


async def tags(rig, headers=None):
    answer = await ask(rig, "GET", "/api/tags", headers=headers)
    assert answer.json.keys() == {"models"}
    return {tag["name"]: tag for tag in answer.json["models"]}


async def test_tags_have_what_each_client_needs(nursery, autojump_clock):
    upstream = Upstream(nursery, models=["tiny", "org/a:free"])
    found = await tags(Rig(nursery, upstream, '[aliases]\nfast = "up/tiny"\n'))
    assert found.keys() == {"up/tiny:latest", "up/org/a:free", "echo/echo:latest", "fast:latest"}
    for name, tag in found.items():
        assert tag["model"] == name
        assert datetime.fromisoformat(tag["modified_at"]).tzinfo is not None
        assert type(tag["size"]) is int
        assert re.fullmatch("[0-9a-f]{64}", tag["digest"])
        details = tag["details"]
        assert isinstance(details.pop("families"), list)
        assert details.keys() == TAG["details"].keys() - {"families"}
        assert all(isinstance(text, str) for text in details.values())
        assert details["family"]
    assert found["up/tiny:latest"]["modified_at"] == "1970-01-01T00:00:01Z"
    assert len({tag["digest"] for tag in found.values()}) == 4


async def test_each_tag_can_be_shown_and_asked_in_openai_s_dialect_too(nursery, autojump_clock):
    """As VS Code does it: `/api/tags`, `/api/show` for each, and then chats at `/v1/chat/completions`."""
    upstream = Upstream(nursery, always=[reply(completion())], models=["tiny", "org/a:free"])
    rig = Rig(nursery, upstream, '[aliases]\nfast = "up/tiny"\n')
    listed = await tags(rig)
    for name, tag in [(name, tag) for name, tag in listed.items() if not name.startswith("echo/")]:
        shown = (await ask(rig, "POST", "/api/show", {"model": name})).json
        assert "tools" in shown["capabilities"]
        assert shown["model_info"]["general.architecture"] == tag["details"]["family"]
        assert (await rig.ask(model=name)).status == 200
        assert (await ask(rig, "GET", f"/v1/models/{name}")).json["id"] == name
    assert {asked.json["model"] for asked in upstream.requests} == {"tiny", "org/a:free"}


async def test_tags_of_an_ollama_are_passed_on_under_our_names(nursery, autojump_clock):
    upstream = Upstream(nursery, [reply({"models": [{**TAG, "capabilities": ["completion", "tools", "new"]}]})])
    found = await tags(Rig(nursery, upstream, OLLAMA))
    name = "up/llama3.2:latest"
    assert found[name] == {**TAG, "name": name, "model": name, "capabilities": ["completion", "tools"]}
    assert upstream.requests[0].target == "/api/tags"


ODD = {"modified_at": "soon", "size": "big", "digest": 7, "details": {"family": 7, "families": "x"}, "capabilities": {}}


async def test_odd_tags_are_made_such_as_clients_can_read(nursery, autojump_clock):
    upstream = Upstream(
        nursery, [reply({"models": [{**TAG, **ODD}, {**TAG, "name": "b", "model": "b", "details": 1}]})]
    )
    found = await tags(Rig(nursery, upstream, OLLAMA))
    for name in ("up/llama3.2:latest", "up/b:latest"):
        assert datetime.fromisoformat(found[name]["modified_at"])
        assert found[name]["details"]["families"] == ["up"]
        assert found[name]["details"]["family"] == "up"
    assert found["up/llama3.2:latest"]["size"] == 0
    assert found["up/llama3.2:latest"]["capabilities"] == []


async def test_a_key_sees_its_models_only(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, models=["tiny", "org/a:free"]), KEYS, SOME)
    assert (await tags(rig, BEARER)).keys() == {"up/org/a:free", "fast:latest"}
    refused(await ask(rig, "POST", "/api/show", {"model": "up/tiny"}, BEARER), 404, "model 'up/tiny' not found")
    assert (await ask(rig, "POST", "/api/show", {"model": "fast:latest"}, BEARER)).status == 200
    for method, target in [("GET", "/api/tags"), ("POST", "/api/show"), ("GET", "/api/ps"), ("POST", "/api/chat")]:
        refused(await ask(rig, method, target), 401, "No API key was sent")


# -- what is that model? ----------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{"model": "up/tiny:latest"}, {"name": "up/tiny"}, {"model": "", "name": "tiny"}])
async def test_show_of_a_model_of_which_little_is_known(nursery, autojump_clock, asked):
    answer = await ask(Rig(nursery, Upstream(nursery)), "POST", "/api/show", asked)
    shown = answer.json
    assert answer.status == 200
    assert shown["capabilities"] == ["completion", "tools"]
    assert shown["model_info"] == {
        "general.architecture": "test",
        "general.basename": asked.get("name") or "up/tiny:latest",
    }
    assert (shown["details"]["family"], shown["parameters"], shown["license"]) == ("test", "", "")
    assert shown["template"] == "{{ .Prompt }}"
    assert shown["modified_at"] == "1970-01-01T00:00:01Z"


SAID = {
    "OpenRouter": (
        {
            "name": "A Model",
            "context_length": 8192,
            "supported_parameters": ["tools", "reasoning"],
            "architecture": {"input_modalities": ["text", "image"]},
        },
        (8192, ["completion", "tools", "vision", "thinking"], "A Model"),
    ),
    "OpenRouter, without tools": (
        {"context_length": 8192, "supported_parameters": ["temperature"], "architecture": {"input_modalities": None}},
        (8192, ["completion"], "up/m"),
    ),
    "vLLM": ({"max_model_len": 4096}, (4096, ["completion", "tools"], "up/m")),
    "Mistral": (
        {"capabilities": {"vision": True, "function_calling": False}, "max_model_len": 1},
        (1, ["completion", "vision"], "up/m"),
    ),
    "llama.cpp": ({"meta": {"n_ctx_train": 2048, "n_params": 0.5}}, (2048, ["completion", "tools"], "up/m")),
    "oddities": (
        {"context_length": True, "context_window": "8k", "max_model_len": -1, "supported_parameters": "x", "meta": []},
        (None, ["completion", "tools"], "up/m"),
    ),
}


@pytest.mark.parametrize(("said", "expected"), SAID.values(), ids=SAID)
async def test_show_is_made_of_what_the_list_says(nursery, autojump_clock, said, expected):
    upstream = Upstream(nursery, [reply({"data": [{"id": "m", "owned_by": "org", **said}]})], models=None)
    shown = (await ask(Rig(nursery, upstream), "POST", "/api/show", {"model": "up/m"})).json
    context, capabilities, name = expected
    assert shown["capabilities"] == capabilities
    assert shown["model_info"]["general.basename"] == name
    arch = shown["model_info"]["general.architecture"]
    assert shown["model_info"].get(f"{arch}.context_length") == context
    assert shown["parameters"] == (f"num_ctx {context}" if context else "")


async def test_sizes_that_llama_cpp_tells(nursery, autojump_clock):
    meta = {"n_ctx_train": 2048, "n_params": 8030261312, "n_embd": 4096}
    upstream = Upstream(nursery, [reply({"data": [{"id": "m", "owned_by": "llamacpp", "meta": meta}]})], models=None)
    shown = (await ask(Rig(nursery, upstream), "POST", "/api/show", {"model": "up/m"})).json
    assert shown["details"]["parameter_size"] == "8.0B"
    assert shown["model_info"]["llamacpp.embedding_length"] == 4096
    assert shown["model_info"]["general.parameter_count"] == 8030261312


SHOWN = {
    "modelfile": "FROM x",
    "parameters": 'num_ctx 8192\nstop "<x>"',
    "template": "{{ .Prompt }}{{ .Suffix }}",
    "details": TAG["details"],
    "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
    "capabilities": ["completion", "insert"],
    "license": None,
    "future": [1],
}


@pytest.mark.parametrize("verbose", [{}, {"verbose": True}])
async def test_an_ollama_is_asked_itself(nursery, autojump_clock, verbose):
    upstream = Upstream(nursery, [reply({"models": [TAG]})], [reply(SHOWN)])
    answer = await ask(Rig(nursery, upstream, OLLAMA), "POST", "/api/show", {"name": "up/llama3.2", **verbose})
    assert answer.json == {**SHOWN, "license": "", "modified_at": TAG["modified_at"]}
    asked = upstream.requests[1]
    assert (asked.method, asked.target) == ("POST", "/api/show")
    assert asked.json == {"model": "llama3.2", "verbose": bool(verbose)}


BAD = {
    "silent": [EXPECT_CLOSE],
    "an error": [reply({"error": "boom"})],
    "a status": [reply({"error": "boom"}, 500)],
    "no JSON": [reply("<html>", content_type="text/html")],
    "no object": [reply([1])],
}


@pytest.mark.parametrize("script", BAD.values(), ids=BAD)
async def test_an_ollama_that_does_not_say_is_not_waited_for(nursery, autojump_clock, script):
    upstream = Upstream(nursery, [reply({"models": [TAG]})], script)
    began = trio.current_time()
    answer = await ask(Rig(nursery, upstream, OLLAMA), "POST", "/api/show", {"model": "up/llama3.2:latest"})
    assert trio.current_time() - began <= 6
    assert (answer.status, answer.json["details"]) == (200, TAG["details"])
    assert answer.json["capabilities"] == ["completion", "tools"]


async def test_what_the_list_says_of_capabilities_does_where_the_card_is_not_to_be_had(nursery, autojump_clock):
    listed = [reply({"models": [{**TAG, "capabilities": ["completion", "thinking"]}]})]
    upstream = Upstream(nursery, listed, [reply({}, 500)])
    answer = await ask(Rig(nursery, upstream, OLLAMA), "POST", "/api/show", {"model": "up/llama3.2:latest"})
    assert answer.json["capabilities"] == ["completion", "thinking"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "model is required"),
        ({"model": 7}, 400, "model is required"),
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": "up/nope:latest"}, 404, "model 'up/nope:latest' not found"),
        (b"{", 400, "not valid JSON"),
        (b"[]", 400, "must be a JSON object"),
    ],
)
async def test_show_of_nothing(nursery, autojump_clock, body, status, words):
    refused(await ask(Rig(nursery, Upstream(nursery)), "POST", "/api/show", body), status, words)


# -- what is in memory, and what cannot be done ------------------------------------------------------------


async def test_ps_lists_what_ollamas_have_in_memory(nursery, autojump_clock):
    loaded = {"name": "tiny", "model": "tiny", "size": 5, "expires_at": "2026-01-02T03:04:05.678901+01:00"}
    upstream = Upstream(nursery, [reply({"models": [loaded, {"name": 7}, "x", {"name": "org/a:free"}]})])
    silent = Upstream(nursery, [EXPECT_CLOSE])
    other = Upstream(nursery)
    toml = OLLAMA + OLLAMA.replace("up", "silent")
    rig = Rig(nursery, upstream, toml, silent=silent, other=other)
    answer = await ask(rig, "GET", "/api/ps")
    assert answer.json == {
        "models": [
            {**loaded, "name": "up/tiny:latest", "model": "up/tiny:latest"},
            {"name": "up/org/a:free", "model": "up/org/a:free"},
        ]
    }
    assert not other.connections
    assert upstream.requests[0].target == "/api/ps"


async def test_ps_shows_a_key_its_models_only(nursery, autojump_clock):
    upstream = Upstream(nursery, always=[reply({"models": [{"name": "tiny"}, {"name": "org/a"}]})])
    rig = Rig(nursery, upstream, OLLAMA + KEYS, SOME)
    found = (await ask(rig, "GET", "/api/ps", headers=BEARER)).json["models"]
    assert [model["name"] for model in found] == ["up/org/a:latest"]


async def test_without_an_ollama_nothing_is_in_memory(nursery, autojump_clock):
    assert (await ask(Rig(nursery, Upstream(nursery)), "GET", "/api/ps")).body == b'{"models":[]}'


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/blobs/sha256:00ff"),
        ("GET", "/api/blobs/sha256:00ff"),
    ],
)
async def test_what_would_change_the_upstream_s_models_is_refused(nursery, autojump_clock, method, target):
    answer = await ask(Rig(nursery, Upstream(nursery)), method, target, {"model": "x", "source": "x"})
    refused(answer, 403, "not supported by this gateway")
    assert answer.body == b'{"error":"not supported by this gateway"}'


async def test_a_blob_s_existence_is_denied_without_words(nursery, autojump_clock):
    answer = await ask(Rig(nursery, Upstream(nursery)), "HEAD", "/api/blobs/sha256:00ff")
    assert (answer.status, answer.body) == (403, b"")


@pytest.mark.parametrize(
    ("method", "target", "status"), [("GET", "/api/nope", 404), ("GET", "/api/chat", 405), ("DELETE", "/api/tags", 405)]
)
async def test_other_errors_are_strings_too(nursery, autojump_clock, method, target, status):
    refused(await ask(Rig(nursery, Upstream(nursery)), method, target), status)
