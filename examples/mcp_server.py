"""MCP over stdio: a server with two tools, on `jsonrpc.Connection` and the standard library.

    python examples/mcp_client.py          # starts it and talks to it

or name `python /path/to/examples/mcp_server.py` as a stdio server in any MCP client. The connection keeps the ids in
flight, answers what is no valid request, and speaks of progress and cancellation in MCP's words; what is left is a
table of methods and a task for each tool call, so that a cancellation is read while the tool still works.
"""

from __future__ import annotations

import asyncio
import os
import sys
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Any

from penstock.protocol import jsonrpc, ndjson

Json = dict[str, Any]
Report = Callable[[int, int], None]
VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")


def schema(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


async def spell(arguments: Json, report: Report) -> str:
    """The Unicode name of each character of a text"""
    names = []
    for character in arguments["text"]:
        names.append(f"{character} {unicodedata.name(character, 'without a name')}")
        report(len(names), len(arguments["text"]))
    return "\n".join(names)


async def wait(arguments: Json, report: Report) -> str:
    """Wait for some tenths of a second"""
    for done in range(arguments["tenths"]):
        report(done, arguments["tenths"])
        await asyncio.sleep(0.1)
    return "done"


TOOLS: dict[str, tuple[Callable[[Json, Report], Awaitable[str]], Json]] = {
    "spell": (spell, schema(text={"type": "string"})),
    "wait": (wait, schema(tenths={"type": "integer"})),
}


class Server:
    def __init__(self) -> None:
        self.peer = jsonrpc.Connection()
        self.calls: dict[jsonrpc.Id, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Until standard input ends."""
        lines = ndjson.Lines()
        while data := await asyncio.to_thread(os.read, sys.stdin.fileno(), 65536):
            for line in lines.feed(data):
                for message in self.peer.receive(line):
                    self.take(message)
                self.flush()

    def flush(self) -> None:
        for message in self.peer.data_to_send():
            sys.stdout.buffer.write(message + b"\n")
        sys.stdout.buffer.flush()

    def take(self, message: jsonrpc.Single) -> None:
        params = getattr(message, "params", None)
        named: Json = params if isinstance(params, dict) else {}
        match message:
            case jsonrpc.Request("initialize", _, id):
                asked = named.get("protocolVersion")
                version = asked if asked in VERSIONS else VERSIONS[0]
                info = {"name": "penstock-example", "version": "1"}
                self.peer.reply(id, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info})
            case jsonrpc.Request("ping", _, id):
                self.peer.reply(id, {})
            case jsonrpc.Request("tools/list", _, id):
                tools = [(name, tool.__doc__, takes) for name, (tool, takes) in TOOLS.items()]
                keys = ("name", "description", "inputSchema")
                self.peer.reply(id, {"tools": [dict(zip(keys, tool, strict=True)) for tool in tools]})
            case jsonrpc.Request("tools/call", _, id) if str(named.get("name")) in TOOLS:
                self.calls[id] = asyncio.create_task(self.call(id, named))
            case jsonrpc.Request("tools/call", _, id):
                self.peer.fail(id, jsonrpc.INVALID_PARAMS, "there is no such tool")
            case jsonrpc.Request(method, _, id):
                self.peer.fail(id, jsonrpc.METHOD_NOT_FOUND, f"there is no method {method}")
            case jsonrpc.Notification():
                meant = jsonrpc.recognise(message)
                if isinstance(meant, jsonrpc.Cancel) and self.peer.abandon(meant.id):
                    self.calls.pop(meant.id).cancel()

    async def call(self, id: jsonrpc.Id, params: Json) -> None:
        """Run a tool. That it failed is a result too, for the model to read."""
        meta = params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None

        def report(done: int, total: int) -> None:
            if token is not None:
                self.peer.progress(token, {"progress": done, "total": total}, "mcp")
                self.flush()

        try:
            text = await TOOLS[params["name"]][0](params.get("arguments", {}), report)
            self.peer.reply(id, {"content": [{"type": "text", "text": text}]})
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self.peer.reply(id, {"content": [{"type": "text", "text": text}], "isError": True})
        del self.calls[id]
        self.flush()


if __name__ == "__main__":
    asyncio.run(Server().serve())
