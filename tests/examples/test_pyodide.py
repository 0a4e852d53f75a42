"""The core in WebAssembly: CPython as Pyodide brings it, in Node, without a network."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

import penstock
from clients import nodes

PACKAGE = Path(penstock.__file__).parent
SECONDS = 100

pytestmark = [pytest.mark.node, pytest.mark.timeout(2 * SECONDS)]


@pytest.fixture(scope="module")
def node():
    return nodes.require(nodes.PYODIDE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The core as a wheel holds it. (`make wheel` runs the same with a wheel that was really built.)"""
    path = tmp_path_factory.mktemp("dist") / "penstock-0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(PACKAGE / "__init__.py", "penstock/__init__.py")
        core = (PACKAGE / "protocol").resolve()
        for file in [*core.rglob("*.py"), *core.rglob("*.json")]:
            archive.write(file, Path("penstock/protocol", file.relative_to(core)))
    return path


def run(node, *arguments):
    """What the example prints, with what could reach a network taken away."""
    return subprocess.run(
        [node, nodes.PYODIDE / "run.mjs", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"NODE_OPTIONS": "--import=data:text/javascript,delete%20globalThis.fetch"},
        timeout=SECONDS,
    )


def test_runs(node, wheel):
    done = run(node, wheel)
    assert (done.returncode, done.stderr[-1000:]) == (0, ""), done.stdout
    first, *lines = done.stdout.splitlines()
    assert first.startswith("CPython 3.")
    assert first.endswith(" on emscripten")
    assert "Text(text='বাংলা', choice=0)" in lines
    assert "Finish(choice=0, reason='stop')" in lines
    assert lines[-1] == "0 failures, 0 skipped"


def test_says_how_it_is_called(node):
    done = run(node)
    assert (done.returncode, done.stderr) == (2, "usage: node run.mjs path/to/penstock.whl\n")
