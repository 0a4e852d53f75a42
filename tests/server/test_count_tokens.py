"""POST /v1/messages/count_tokens: asked of an upstream that counts, else about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from answers import reply
from rig import Answer, Rig
from scripted import Upstream

PATH = "/v1/messages/count_tokens"
BODY = {"model": "up/claude", "messages": [{"role": "user", "content": "How many tokens are there in this?"}]}


async def ask(rig: Rig, body: Any, **headers: str) -> Answer:
    client = rig.connect()
    await client.request("POST", PATH, {"content-type": "application/json", **headers}, json.dumps(body).encode())
    return await client.answer()


async def test_an_upstream_that_counts_is_asked(nursery, autojump_clock):
    up = Upstream(nursery, [reply({"input_tokens": 14})])
    rig = Rig(nursery, up, '[providers.up]\npreset = "anthropic"\nbase_url = "http://127.0.0.1:9/v1"\n')
    answer = await ask(rig, BODY, **{"anthropic-version": "2023-06-01", "anthropic-beta": "x"})
    assert (answer.status, answer.json) == (200, {"input_tokens": 14})
    assert "x-penstock-estimated" not in answer.headers
    (request,) = up.requests
    assert (request.target, request.json) == ("/v1/messages/count_tokens", {**BODY, "model": "claude"})
    assert request.headers["anthropic-beta"] == "x"


@pytest.mark.parametrize("more", [{}, {"system": "Be brief." * 40}])
async def test_any_other_is_estimated_and_says_so(nursery, autojump_clock, more):
    answer = await ask(Rig(nursery), {**BODY, "model": "echo/echo", **more})
    assert answer.headers["x-penstock-estimated"] == "true"
    assert 10 < answer.json["input_tokens"] < 40 + 120 * bool(more)


@pytest.mark.parametrize(
    ("body", "status"),
    [({"model": "echo/echo"}, 400), ({"messages": []}, 400), ({**BODY, "model": "nobody"}, 404), ([], 400)],
)
async def test_errors_are_told_as_anthropics_clients_read_them(nursery, autojump_clock, body, status):
    answer = await ask(Rig(nursery), body)
    assert answer.status == status
    assert answer.json["type"] == "error"
    assert answer.json["error"]["message"]
