"""The example of an MCP server, byte by byte: what its peer may send that no SDK does."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 30


def call(method, id=None, **params):
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    return message if id is None else message | {"id": id}


def tool(id, name, **arguments):
    return call("tools/call", id, name=name, arguments=arguments)


def answers(*messages):
    """Answers by id, when the server is told all of `messages` (or raw lines) and then the end of input."""
    lines = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
    command = [sys.executable, "-X", "dev", EXAMPLES / "mcp_server.py"]
    done = subprocess.run(
        command,
        input=b"".join(line + b"\n" for line in lines),
        capture_output=True,
        timeout=SECONDS,
        env=os.environ | {"PYTHONUTF8": "1"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return {answer["id"]: answer.get("result", answer.get("error")) for answer in said}


@pytest.mark.parametrize(
    ("asked", "spoken"), [("2024-11-05", "2024-11-05"), ("1999-01-01", "2025-11-25"), (None, "2025-11-25")]
)
def test_the_version_is_the_clients_if_it_is_known(asked, spoken):
    assert answers(call("initialize", 1, protocolVersion=asked))[1]["protocolVersion"] == spoken


@pytest.mark.parametrize(
    ("message", "id", "code"),
    [
        (b"{nonsense", None, -32700),
        (b'{"jsonrpc":"2.0","id":"\xff","method":"ping"}', None, -32700),
        ({"jsonrpc": "1.0", "method": "ping", "id": 1}, 1, -32600),
        (call("resources/list", "r"), "r", -32601),
        (tool(1, "fly"), 1, -32602),
        (call("tools/call", 1, name=["spell"]), 1, -32602),
        ({"jsonrpc": "2.0", "method": "tools/call", "params": ["spell"], "id": 1}, 1, -32602),
    ],
)
def test_what_is_wrong_has_its_error_and_the_next_is_answered(message, id, code):
    said = answers(message, call("ping", "next"))
    assert said[id]["code"] == code
    assert said["next"] == {}


def load(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("mcp_server")


def ended(module, *messages):
    """A server that was told `messages`, and the call of a tool that began with the first, when it is over."""

    async def scenario():
        server = module.Server()
        server.flush = lambda: None
        task = None
        for message in messages:
            for heard in server.peer.receive(json.dumps(message)):
                server.take(heard)
            if task is None:
                task = server.calls[messages[0]["id"]]
                await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.wait([task]), SECONDS)
        return server, task

    return asyncio.run(scenario())


def test_a_cancelled_tool_stops_and_has_no_answer(monkeypatch):
    cancel = call("notifications/cancelled", requestId=1)
    server, task = ended(load(monkeypatch), tool(1, "wait", tenths=36000), cancel, cancel)
    assert task.cancelled()
    assert (server.peer.data_to_send(), server.peer.unanswered, server.calls) == ([], [], {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "KeyError"),
        ({"text": 5}, "TypeError"),
        ({"text": "\ud800"}, "LocalProtocolError"),
    ],
)
def test_a_tool_that_fails_says_so_in_its_result(monkeypatch, arguments, said):
    server, task = ended(load(monkeypatch), tool(1, "spell", **arguments))
    assert task.exception() is None
    [answer] = map(json.loads, server.peer.data_to_send())
    assert answer["result"]["isError"] is True
    assert answer["result"]["content"][0]["text"].startswith(said)
    assert server.calls == {}
