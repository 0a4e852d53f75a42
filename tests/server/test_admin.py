"""Keys and accounts over HTTP, for whoever has a key with `admin = true`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from answers import DONE, LAST, STREAM, chunked, finish, role, sse, text, usage
from rig import Answer, Rig
from scripted import Upstream

TOML = '[[keys]]\nname = "root"\nkey = { env = "ROOT" }\nadmin = true\n[[keys]]\nname = "ci"\nkey = { env = "CI" }\n'
ENVIRON = {"ROOT": "root-secret", "CI": "ci-secret"}
ANSWER = [STREAM, chunked(sse(role(), text("Hi"), finish(), usage(10, 20), DONE)) + LAST]


@pytest.fixture
async def rig(nursery, tmp_path: Path) -> Rig:
    return await Rig.stored(nursery, tmp_path / "store.db", Upstream(nursery, *[ANSWER] * 9), TOML, environ=ENVIRON)


async def call(rig: Rig, method: str, path: str, body: Any = None, key: str = "root-secret") -> Answer:
    client = rig.connect()
    sent = b"" if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    if method == "POST":
        headers["content-length"] = str(len(sent))
    await client.request(method, path, headers, sent)
    answer = await client.answer()
    client.leave()
    return answer


async def test_a_key_is_made_used_listed_rotated_and_revoked(rig):
    made = await call(rig, "POST", "/v1/admin/keys", {"name": "laptop", "models": ["up/*"], "parallel": 2})
    assert made.status == 201
    secret = made.json["key"]
    assert made.json["name"] == "laptop"
    assert (await rig.ask(headers={"x-api-key": secret})).status == 200

    listed = await call(rig, "GET", "/admin/keys")
    (key,) = listed.json["data"]
    assert (key["name"], key["state"], key["parallel"]) == ("laptop", "active", 2)
    assert secret not in listed.body.decode()

    rotated = await call(rig, "POST", "/admin/keys/laptop/rotate?grace_seconds=3600")
    newer = rotated.json["key"]
    assert newer != secret
    assert [(await rig.ask(headers={"x-api-key": shown})).status for shown in (secret, newer)] == [200, 200]

    revoked = await call(rig, "DELETE", "/admin/keys/laptop")
    assert (revoked.status, revoked.json["state"]) == (200, "revoked")
    assert [(await rig.ask(headers={"x-api-key": shown})).status for shown in (secret, newer)] == [401, 401]


async def test_what_was_used_by_key_and_by_model(rig):
    for _ in range(2):
        assert (await rig.ask(headers={"x-api-key": "ci-secret"})).status == 200
    await rig.gateway.store.usage.flush()
    (total,) = (await call(rig, "GET", "/admin/usage?by=model&days=1")).json["data"]
    assert total == {"name": "up/tiny", "requests": 2, "prompt_tokens": 20, "completion_tokens": 40}
    (total,) = (await call(rig, "GET", "/admin/usage")).json["data"]
    owner = total.pop("key_id")
    assert total == {"name": "ci", "requests": 2, "prompt_tokens": 20, "completion_tokens": 40}
    made = await call(rig, "POST", "/admin/keys", {"name": "laptop"})
    assert (await rig.ask(headers={"x-api-key": made.json["key"]})).status == 200
    await rig.gateway.store.usage.flush()
    data = (await call(rig, "GET", "/admin/usage")).json["data"]
    assert [(total["name"], total["key_id"]) for total in data] == [("ci", owner), ("laptop", made.json["id"])]


@pytest.mark.parametrize("path", ["/admin/keys", "/admin/usage"])
async def test_other_keys_open_nothing_here(rig, path):
    assert (await call(rig, "GET", path, key="wrong")).status == 401
    refused = await call(rig, "GET", path, key="ci-secret")
    assert (refused.status, refused.error["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a/b"},
        {"name": "x", "parallel": -1},
        {"name": "x", "models": []},
        {"name": "x", "origins": ["example.com/path"]},
        {"name": " "},
        {"name": "x" * 101},
        {"name": "u\u202e\u0085x"},
        {"name": "x", "expires_at": 1},
        {"name": "x", "expires_at": 1_800_000_000_000},
        {"name": "x", "expires_at": 1e18},
        {"name": "x", "unknown": 1},
        [],
    ],
)
async def test_what_is_no_key_is_told_so(rig, body):
    refused = await call(rig, "POST", "/admin/keys", body)
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert (await call(rig, "GET", "/admin/keys")).json["data"] == []


async def test_a_name_is_taken_once(rig):
    assert (await call(rig, "POST", "/admin/keys", {"name": "x"})).status == 201
    again = await call(rig, "POST", "/admin/keys", {"name": "x"})
    assert (again.status, again.error["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "/admin/keys/nobody", 404),
        ("POST", "/admin/keys/nobody/rotate", 404),
        ("POST", "/admin/keys/nobody", 404),
        ("DELETE", "/admin/keys/nobody/rotate", 404),
        ("POST", "/admin/keys/x/rotate?grace_seconds=soon", 400),
        ("GET", "/admin/keys/x", 405),
        ("GET", "/admin/usage?by=colour", 400),
        ("GET", "/admin/usage?days=-1", 400),
    ],
)
async def test_what_is_not_there(rig, method, path, status):
    assert (await call(rig, method, path)).status == status


async def test_without_a_store_there_are_none(nursery):
    rig = Rig(nursery, toml=TOML, environ=ENVIRON)
    refused = await call(rig, "GET", "/admin/keys")
    assert refused.status == 404
    assert "[store]" in refused.error["message"]
