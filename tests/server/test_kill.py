"""kill -9 in the middle of a thousand requests: what a client was told is done is in the store."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gateway import Gateway

REQUESTS, WORKERS = 1000, 16


class Asker:
    """Asks over and over; knows what was acknowledged, and what may or may not have been done."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()
        self.tokens = 0  # of answers that came to their end
        self.whole = 0
        self.keys: list[str] = []
        self.some = threading.Event()

    def call(self, path: str, body: Any, key: str) -> bytes | None:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                said: bytes = answer.read()
                return said
        except (OSError, urllib.error.URLError, EOFError):
            return None

    def chat(self, number: int, key: str) -> None:
        body = {
            "model": "echo/echo",
            "messages": [{"role": "user", "content": f"question {number}"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        said = self.call("/v1/chat/completions", body, key)
        if said is None or not said.endswith(b"data: [DONE]\n\n"):
            return
        usage = next(json.loads(line[6:])["usage"] for line in said.splitlines() if b'"usage":{' in line)
        with self.lock:
            self.whole += 1
            self.tokens += usage["total_tokens"]
        if self.whole >= REQUESTS // 4:
            self.some.set()

    def make_key(self, number: int, root: str) -> None:
        said = self.call("/admin/keys", {"name": f"key-{number}"}, root)
        if said is not None:
            with self.lock:
                self.keys.append(json.loads(said)["name"])


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    toml = f"[store]\nurl = 'sqlite:///{file}'\n[[keys]]\nname = 'root'\nkey = {{ env = 'ROOT' }}\nadmin = true\n"
    with Gateway(toml, env={"ROOT": "root-secret"}) as gateway:
        asker = Asker(gateway.url)
        made = asker.call("/admin/keys", {"name": "budgeted", "token_budget": 10**9}, "root-secret")
        assert made is not None
        key = json.loads(made)["key"]
        with ThreadPoolExecutor(WORKERS) as pool:
            for number in range(REQUESTS):
                pool.submit(asker.chat, number, key)
                if number % 10 == 0:
                    pool.submit(asker.make_key, number, "root-secret")
            assert asker.some.wait(30)
            os.kill(gateway.pid, signal.SIGKILL)
    assert REQUESTS // 4 <= asker.whole < REQUESTS
    with sqlite3.connect(file) as database:
        ((spent,),) = database.execute("SELECT spent FROM budgets")
        names = {name for (name,) in database.execute("SELECT name FROM keys WHERE kind = 'stored'")}
    assert spent >= asker.tokens
    assert names >= {"budgeted", *asker.keys}
    assert asker.keys
