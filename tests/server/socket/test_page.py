"""docs/websocket.md: its tables are the source's, and its examples run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from clients.nodes import find_node
from gateway import Gateway
from penstock.protocol import jsonrpc
from penstock.server.socket import faults, wire
from penstock.server.socket.methods import METHODS
from rig import Rig, settled
from sockets import opened

PAGE = (Path(__file__).parents[3] / "docs" / "websocket.md").read_text(encoding="utf-8")


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]


def example(language):
    return re.search(rf"^```{language}\n(.*?)^```", section("Examples"), re.M | re.S)[1]


def test_the_page_names_every_method():
    tables = section("JSON-RPC").split("**Streams.**")
    assert set(re.findall(r"^\| `([\w.]+)` \|", tables[0], re.M)) == METHODS.keys()
    streams = dict(re.findall(r"^\| `([\w.]+)` \| `([\w.]+) ", tables[1], re.M))
    assert streams == {name: method.stream.notification for name, method in METHODS.items() if method.stream}


def test_the_page_names_every_code_of_errors():
    codes = {int(code) for code in re.findall(r"^\| (-32\d\d\d) \|", section("Errors"), re.M)}
    constants = {value for module in (faults, jsonrpc) for value in vars(module).values() if type(value) is int}
    assert codes == constants


def test_the_page_names_every_code_of_closing():
    codes = {int(code) for code in re.findall(r"^\| (1\d\d\d) \|", section("How it ends"), re.M)}
    ours = {value for value in vars(wire).values() if type(value) is int and wire.NORMAL < value < 1016}
    assert codes == ours | {1002, 1007}  # the last two are wsproto's word


@pytest.mark.parametrize("title", ["JSON-RPC", "The plain form"])
async def test_what_the_page_shows_is_what_happens(nursery, title):
    sent, *shown = re.findall(r"^[→←] (.*)$", section(title), re.M)
    rig = Rig(nursery)
    async with opened(rig) as ws:
        await ws.send(sent)
        while not ("result" in (message := await ws.get()) or message.get("type") == "chat"):
            pass
    rig.gateway.catalog.providers["echo"].transport.close()
    await settled()
    for line, message in ((shown[0], ws.got[0]), (shown[-1], ws.got[-1])):
        kind = re.search(r'"(?:method|type)": ?"([\w.]+)"', line)
        assert (kind and kind[1]) == message.get("method", message.get("type"))
        assert ('"result"' in line) == ("result" in message)


def on_the_wire(code, url):
    assert "ws://127.0.0.1:8777" in code
    return code.replace("ws://127.0.0.1:8777", url.replace("http", "ws", 1))


async def output_of(command):
    result = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode().splitlines()


async def test_the_example_in_python_runs(tmp_path):
    async with Gateway() as gateway:
        file = tmp_path / "example.py"
        file.write_text(on_the_wire(example("python"), gateway.url))
        assert await output_of([sys.executable, str(file)]) == ["Request cancelled", "Hello from Python"]


@pytest.mark.node
async def test_the_example_for_pages_runs(tmp_path):
    node = find_node()
    if node is None or not knows_websocket(node):
        pytest.skip("no Node that knows WebSocket")
    async with Gateway() as gateway:
        file = tmp_path / "example.js"
        file.write_text(on_the_wire(example("js"), gateway.url))
        lines = await output_of([str(node), "--experimental-websocket", "--no-warnings", str(file)])
    assert lines[-1] == "whole: Hello from a page"
    assert "".join(line.removeprefix("delta: ") for line in lines[:-1]) == "Hello from a page"


def knows_websocket(node):
    return subprocess.run([node, "--experimental-websocket", "-e", ""], capture_output=True).returncode == 0
