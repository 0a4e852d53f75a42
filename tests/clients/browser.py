"""A page in headless Chromium, without a driver: the test serves the page, and the page posts what it saw.

    pages = await serve(nursery)                           # at `pages.origin`
    told = await pages.visit("stream", pages.origin, gateway=..., ...)   # a browser of its own, gone afterwards

`page.html` says which jobs there are.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

import scripted
from answers import reply
from clients import nodes

__all__ = ["Pages", "require", "serve"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PAGE = Path(__file__).with_name("page.html")
OPENAI = nodes.FOLDER / "node_modules" / "openai"
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have; what it opens is our own page
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # 64 MiB in containers
    "--disable-background-networking",
)


def require() -> str:
    """Where the browser is; where there is none, the test is skipped."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on PATH: `make test-browser` installs one where it may, else install `chromium`")
    return found


async def serve(nursery: trio.Nursery) -> Pages:
    """The server of the page, until the nursery is cancelled."""
    pages = Pages(require())
    server = await scripted.listen(nursery, always=[pages.answer], models=None)
    pages.port = server.port
    return pages


class Pages:
    """A server with one page. `origin` is that of its page; `foreign` is another by which it can be opened."""

    def __init__(self, browser: str) -> None:
        self.port = 0
        self._browser = browser
        self._told, self._heard = trio.open_memory_channel[Any](1)

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def foreign(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def visit(self, call: str, origin: str, **job: Any) -> Any:
        """Open the page in a new browser with this job, and return what it told; the browser is killed then."""
        address = f"{origin}/#{quote(json.dumps(job | {'call': call}))}"
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:  # its children may live a bit longer
            command = [self._browser, *OPTIONS, f"--user-data-dir={profile}", address]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.run_process, command, **quiet))
                told = await self._heard.receive()
                nursery.cancel_scope.cancel()
        return told

    async def answer(self, request: scripted.Exchange) -> None:
        """A step of a script: the page, the modules of the `openai` package, and what the page tells."""
        if request.method == "POST":
            await self._told.send(request.json)
            await request.send(reply({}))
        elif request.target == "/":
            await request.send(reply(PAGE.read_bytes(), content_type="text/html"))
        else:
            module = OPENAI / request.target.removeprefix("/openai/")
            known = module.suffix == ".mjs" and module.is_file()
            await request.send(reply(module.read_bytes(), content_type="text/javascript") if known else reply({}, 404))
