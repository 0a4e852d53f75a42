"""OpenAI's Codex CLI, which speaks the Responses API, at work with a model behind a server that has chat only."""

import json
import os
import subprocess

import pytest
import trio

import scripted
from answers import DONE, STREAM, chunked, error, finish, reasoning, reply, role, sse, stream, text, tool, usage
from clients import nodes
from clients.page import ADDRESS, block
from gateway import Gateway, provider

pytestmark = pytest.mark.agents

CONFIG = f"""
check_for_update_on_startup = false
{block("Codex", "toml")}
request_max_retries = 0
stream_max_retries = 0
[analytics]
enabled = false
"""
COMMAND = [tool(0, id="call_a", name="exec_command"), tool(0, '{"cmd":'), tool(0, '"echo вода"}')]


@pytest.fixture
def codex(nursery, tmp_path):
    """A function from scripts to their upstream, and to what came of a task that Codex was given."""

    async def codex(*scripts):
        node = nodes.require(nodes.AGENTS)
        upstream = await scripted.listen(nursery, *scripts)
        toml = provider(upstream.base_url) + '[[keys]]\nname = "codex"\nkey = { env = "KEY" }\n'
        async with Gateway(toml, env={"KEY": "sk-codex"}) as gateway:
            (tmp_path / "config.toml").write_text(CONFIG.replace(ADDRESS, gateway.url))
            script = nodes.AGENTS / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
            # Its sandbox wants namespaces that containers lack; the one command that it runs is ours.
            options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
            done = await trio.run_process(
                [node, script, "exec", *options, "Привет"],
                cwd=tmp_path,
                env=os.environ | {"CODEX_HOME": str(tmp_path), "PENSTOCK_KEY": "sk-codex"},
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return upstream, done

    return codex


async def test_it_runs_a_command_and_reads_what_came_of_it(codex):
    asking = stream(role(), reasoning("Хм"), *COMMAND, finish("tool_calls"), usage(), DONE)
    upstream, done = await codex(asking, stream(role(), text("Вода "), text("течёт"), finish(), usage(), DONE))
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert "Хм" in said
    assert "Вода течёт" in said
    first, second = (asked.json for asked in upstream.requests)
    assert "exec_command" in [entry["function"]["name"] for entry in first["tools"]]
    *_, call, result = second["messages"]
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"cmd": "echo вода"}
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_a")
    assert "\nвода\n" in result["content"]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([reply(error("сломалось"), 400)], "сломалось"),
        ([STREAM, chunked(sse(role(), text("Пол"), error("сломалось")))], "сломалось"),
        ([STREAM, chunked(sse(role(), text("Пол"))), scripted.RESET], ""),
    ],
    ids=["at once", "in mid-stream", "reset"],
)
async def test_what_goes_wrong_is_told(codex, script, told):
    _, done = await codex(script)
    assert done.returncode == 1
    assert told in done.stdout.decode()
