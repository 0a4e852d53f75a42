"""Every example, run as its reader runs it, and judged by what it prints."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

import pytest

from showcase import EXAMPLES, NEEDS, PRINTS, SECONDS, run

SERVERS = {"demo_upstream.py", "mcp_server.py"}  # run by the others
ASKERS = ["with_asyncio.py", "with_threads.py", "with_requests.py", "with_anyio.py", "asgi_app.py"]


def load(monkeypatch, name):
    """An example as a module; those beside it are imported from where it lies."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(name)


@contextmanager
def answering(status, content_type, body):
    """A server that gives this answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_none_is_left_out():
    assert {path.name for path in EXAMPLES.glob("*.py")} == PRINTS.keys() | SERVERS
    assert NEEDS.keys() <= PRINTS.keys()


def test_the_table_names_each_and_what_it_needs():
    rows = [line.split(" | ") for line in (EXAMPLES / "README.md").read_text("utf-8").splitlines() if "](" in line]
    needs = {row[0].partition("](")[2][:-1]: row[2] for row in rows if row[0].startswith("| [")}
    assert needs.pop("pyodide/run.mjs") == "Node 20, the wheel"
    assert needs == {name: NEEDS.get(name, "nothing") for name in (*PRINTS, "mcp_server.py")}


@pytest.mark.parametrize("name", PRINTS)
def test_prints(name):
    printed = run(name)
    for expected in PRINTS[name]:
        assert expected in printed


def test_the_recorded_streams_are_cut_within_characters(monkeypatch):
    demo = load(monkeypatch, "demo_upstream")
    for stream in (demo.OPENAI_TEXT, demo.OPENAI_TOOL, demo.OLLAMA_TEXT):
        pieces = [stream[at : at + demo.PIECE] for at in range(0, len(stream), demo.PIECE)]
        assert "�" in "".join(piece.decode("utf-8", "replace") for piece in pieces)


@pytest.mark.parametrize("name", ASKERS)
def test_a_refusal_is_told(name):
    body = json.dumps({"error": {"message": "занадто швидко"}}, ensure_ascii=False).encode()
    with answering(429, "application/json", body) as url:
        printed = run(name, url, "m")
    assert "занадто швидко" in printed


@pytest.mark.parametrize("name", ASKERS)
def test_an_answer_that_breaks_off_is_not_taken_for_whole(name):
    body = 'data: {"choices":[{"index":0,"delta":{"content":"Пол'.encode()
    body = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n' + body
    with answering(200, "text/event-stream", body) as url:
        printed = run(name, url, "m")
    assert "the upstream closed the connection before its answer was complete" in printed


def asgi(app, body, url, *, stays=True):
    """What an ASGI app sends to one request, run here."""
    sent = []

    async def call():
        messages = [{"type": "http.request", "body": body[:5], "more_body": True}]
        messages += [{"type": "http.request", "body": body[5:]}]

        async def receive():
            if messages:
                return messages.pop(0)
            return await asyncio.Future() if stays else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await app({"type": "http", "method": "POST", "path": "/api/chat"}, receive, send, url)

    asyncio.run(asyncio.wait_for(call(), SECONDS))
    return sent


def test_the_asgi_app_gives_a_whole_answer_too(monkeypatch):
    app = load(monkeypatch, "asgi_app").app
    demo = load(monkeypatch, "demo_upstream")
    monkeypatch.setattr(sys, "argv", ["demo"])
    with demo.target() as (url, model):
        first, *rest = asgi(app, json.dumps({"model": model, "messages": [], "stream": False}).encode(), url)
    assert first["status"] == 200
    assert first["headers"] == [(b"content-type", b"application/json")]
    assert json.loads(b"".join(message.get("body", b"") for message in rest))["message"]["content"] == "Привіт, বাংলা 👋"


def test_the_asgi_app_refuses_what_is_no_request(monkeypatch):
    first, last = asgi(load(monkeypatch, "asgi_app").app, b"{nonsense}", "http://127.0.0.1:1")
    assert first["status"] == 400
    assert "JSON" in json.loads(last["body"])["error"]


def test_a_client_that_leaves_the_asgi_app_takes_the_upstream_along(monkeypatch):
    app = load(monkeypatch, "asgi_app").app

    async def scenario():
        asked, closed = asyncio.Event(), asyncio.Event()

        async def upstream(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            while await reader.read(1000):
                pass
            closed.set()
            writer.close()

        async def receive():
            if not body:
                await asked.wait()
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": body.pop()}

        body = [json.dumps({"model": "m", "messages": []}).encode()]
        async with await asyncio.start_server(upstream, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await app({"type": "http"}, receive, None, url)
            await closed.wait()

    asyncio.run(asyncio.wait_for(scenario(), SECONDS))


def test_the_asgi_app_runs_under_a_server(monkeypatch):
    demo = load(monkeypatch, "demo_upstream")
    monkeypatch.setattr(sys, "argv", ["demo"])
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--app-dir",
        EXAMPLES,
        "--port",
        "0",
        "--lifespan",
        "off",
        "asgi_app:app",
    ]
    with demo.target() as (url, model):
        server = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8", env=os.environ | {"UPSTREAM": url})
        try:
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
            asked = Request(f"{address}/api/chat", json.dumps({"model": model, "messages": []}).encode())
            with urlopen(asked, timeout=SECONDS) as response:
                assert response.headers["content-type"] == "application/x-ndjson"
                lines = [json.loads(line) for line in response]
        finally:
            server.terminate()
            server.communicate(timeout=SECONDS)
    assert "".join(line["message"]["content"] for line in lines) == "Привіт, বাংলা 👋"
    assert lines[-1]["done"]
