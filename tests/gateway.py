"""A real `penstock serve` in a process of its own, on a port that the system chose.

    with Gateway(toml) as gateway:                    # or `async with`, where the upstream is in this process
        OpenAI(base_url=gateway.base_url, api_key="sk-x")
    assert gateway.exit_code == 0

It sees nothing of the environment but what it needs to start, and what the test gives it. On leaving it is
told to stop (SIGTERM), and killed if it does not within `STOP_SECONDS`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

__all__ = ["Gateway", "provider"]

START_SECONDS = 20.0
STOP_SECONDS = 10.0
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR")
_LISTENS = re.compile(r"listens on (\S+)")


class Gateway:
    """`penstock serve --config F` with `toml` as F, and `env` beside it.

    `url` is the origin it serves, `base_url` the one for OpenAI SDKs; `output` all it printed so far;
    `exit_code` is known after leaving. A gateway that ends instead of starting raises RuntimeError with what
    it said.
    """

    def __init__(self, toml: str = "", *, env: Mapping[str, str] | None = None) -> None:
        self.url = ""
        self.exit_code: int | None = None
        self._toml = toml
        self._env = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._env |= {"PENSTOCK_SERVER__PORT": "0", "PYTHONUNBUFFERED": "1", **(env or {})}
        self._lines: list[str] = []
        self._known = threading.Event()

    @property
    def base_url(self) -> str:
        return self.url + "/v1"

    @property
    def output(self) -> str:
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Ask it to stop, as a supervisor does, and do not wait."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait until the process has ended; TimeoutExpired if it does not within `STOP_SECONDS`."""
        self._process.wait(STOP_SECONDS)

    def __enter__(self) -> Self:
        with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as file:
            file.write(self._toml)
        self._file = Path(file.name)
        command = [Path(sys.executable).with_name("penstock"), "serve", "--config", self._file]
        self._process = subprocess.Popen(
            command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._known.wait(START_SECONDS) or not self.url:
            self._process.kill()
            self._join()
            raise RuntimeError(f"penstock did not start:\n{self.output}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._join()

    async def __aenter__(self) -> Self:
        return await trio.to_thread.run_sync(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):  # bounded: see STOP_SECONDS
            await trio.to_thread.run_sync(self.__exit__, kind, error, trace)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if not self.url and (found := _LISTENS.search(line)):
                self.url = found[1]
                self._known.set()
        self._known.set()

    def _join(self) -> None:
        self.exit_code = self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._file.unlink()


def provider(base_url: str, *more: str, name: str = "local", models: str = '["tiny"]') -> str:
    """The TOML of one OpenAI-compatible provider; `more` are further lines of its table."""
    lines = [
        f"[providers.{name}]",
        'preset = "openai"',
        f'base_url = "{base_url}"',
        f"models = {models}",
        *more,
    ]
    return "\n".join([*lines, "", ""])
