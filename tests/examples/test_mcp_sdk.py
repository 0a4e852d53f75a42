"""The MCP examples and the `mcp` package, the reference for what MCP is: its client at our server, and ours at its."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager

import pytest
import trio
from mcp import ClientSession, MCPError, StdioServerParameters, stdio_client

import showcase

SERVER = showcase.EXAMPLES / "mcp_server.py"
PATIENCE = 30  # seconds
REFERENCE = '''
from mcp.server import MCPServer

server = MCPServer("reference")


@server.tool()
def add(a: int, b: int) -> int:
    """Додає"""
    return a + b


server.run()
'''


@asynccontextmanager
async def session():
    server = StdioServerParameters(command=sys.executable, args=["-X", "dev", str(SERVER)])
    with trio.fail_after(PATIENCE):
        async with stdio_client(server) as (read, write), ClientSession(read, write) as client:
            yield client


async def test_hello_and_tools():
    async with session() as client:
        hello = await client.initialize()
        assert hello.server_info.name == "penstock-example"
        await client.send_ping()
        tools = (await client.list_tools()).tools
    assert {tool.name: tool.input_schema["required"] for tool in tools} == {"spell": ["text"], "wait": ["tenths"]}


async def test_a_call_with_progress():
    reported = []

    async def progress(done, total, message):
        reported.append((done, total))

    async with session() as client:
        await client.initialize()
        result = await client.call_tool("spell", {"text": "ї👋"}, progress_callback=progress)
    assert [block.text for block in result.content] == ["ї CYRILLIC SMALL LETTER YI\n👋 WAVING HAND SIGN"]
    assert not result.is_error
    assert reported == [(1, 2), (2, 2)]


async def test_a_tool_that_fails_says_so_in_its_result():
    async with session() as client:
        await client.initialize()
        result = await client.call_tool("spell", {})
    assert (result.is_error, result.content[0].text) == (True, "KeyError: 'text'")


async def test_an_unknown_tool_is_an_error():
    async with session() as client:
        await client.initialize()
        with pytest.raises(MCPError, match="there is no such tool"):
            await client.call_tool("fly", {})


async def test_a_call_that_is_cancelled_leaves_the_server_at_work():
    """The SDK cancels a request when its scope is cancelled; what is asked next is answered."""
    async with session() as client:
        await client.initialize()
        with trio.CancelScope() as scope:

            async def progress(done, total, message):
                scope.cancel()

            await client.call_tool("wait", {"tenths": 36000}, progress_callback=progress)
        assert scope.cancelled_caught
        result = await client.call_tool("spell", {"text": "a"})
    assert result.content[0].text == "a LATIN SMALL LETTER A"


def test_our_client_lists_the_tools_of_the_reference(tmp_path):
    script = tmp_path / "server.py"
    script.write_text(REFERENCE, "utf-8")
    printed = showcase.run("mcp_client.py", sys.executable, str(script))
    assert printed.startswith("reference speaks MCP of ")
    assert printed.endswith("\n  add: Додає\n")
