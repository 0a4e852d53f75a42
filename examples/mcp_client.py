"""MCP over stdio, the other side: starts `mcp_server.py`, lists its tools, calls one, and cancels another.

    python examples/mcp_client.py                          # talks to the server beside it
    python examples/mcp_client.py some-mcp-server --flag   # lists the tools of any other

`Connection` is the same for both roles. It holds the ids: `request` gives one, and the answer that carries it comes out
of `receive`. This client needs no task and no thread, since it only ever waits for the server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.protocol import jsonrpc, ndjson

SERVER = Path(__file__).with_name("mcp_server.py")
INFO = {"name": "penstock-example", "version": "1"}


class Client:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout
        self.peer = jsonrpc.Connection()
        self.messages = self.read()

    def read(self) -> Iterator[jsonrpc.Single]:
        lines = ndjson.Lines()
        while data := os.read(self.stdout.fileno(), 65536):
            for line in lines.feed(data):
                yield from self.peer.receive(line)

    def flush(self) -> None:
        for message in self.peer.data_to_send():
            self.stdin.write(message + b"\n")
        self.stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """The result of a request. Prints the progress that is reported meanwhile."""
        id = self.peer.request(method, params)
        self.flush()
        for message in self.messages:
            match message:
                case jsonrpc.Success(result, answered) if answered == id:
                    return result
                case jsonrpc.Failure(code, text, _, answered) if answered == id:
                    raise RuntimeError(f"{method}: {text} ({code})")
                case jsonrpc.Notification():
                    meant = jsonrpc.recognise(message)
                    if isinstance(meant, jsonrpc.Progress):
                        print(f"  {meant.token}: {meant.value['progress']} of {meant.value.get('total')}")
        raise EOFError("the server has gone")

    def cancel(self, method: str, params: dict[str, Any]) -> None:
        """Ask, wait until the server is at work, and think better of it."""
        id = self.peer.request(method, params)
        self.flush()
        for message in self.messages:
            if isinstance(message, jsonrpc.Notification) and jsonrpc.recognise(message):
                break
        self.peer.cancel(id, "mcp", "no longer wanted")
        self.flush()


def main(command: list[str], *, ours: bool) -> None:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        client = Client(process)
        hello = client.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": INFO})
        client.peer.notify("notifications/initialized")
        print(f"{hello['serverInfo']['name']} speaks MCP of {hello['protocolVersion']}")
        for tool in client.ask("tools/list", {})["tools"]:
            print(f"  {tool['name']}: {tool.get('description', '')}")
        if ours:
            print("spell:")
            called = {"name": "spell", "arguments": {"text": "їব👋"}, "_meta": {"progressToken": "spelling"}}
            print(client.ask("tools/call", called)["content"][0]["text"])
            called = {"name": "wait", "arguments": {"tenths": 36000}, "_meta": {"progressToken": "waiting"}}
            client.cancel("tools/call", called)
            client.ask("ping", {})
            print(f"wait: cancelled; requests without an answer: {len(client.peer.waiting)}")


if __name__ == "__main__":
    main(sys.argv[1:] or [sys.executable, str(SERVER)], ours=len(sys.argv) == 1)
