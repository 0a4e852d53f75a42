"""The distributions, as strangers get them: built from a clean copy, installed into fresh environments."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import showcase
from clients import nodes

ROOT = Path(__file__).parent.parent
MINUTES = 60  # seconds

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(10 * MINUTES)]

MODULES = [
    "penstock/py.typed",
    "penstock/protocol/sse.py",
    "penstock/protocol/dialects/openai.py",
    "penstock/protocol/vectors/sse.json",
    "penstock/providers/direct.py",
    "penstock/server/entry.py",
]

# Modules of the standard library that the core must not load: what does I/O, and what is slow to import.
OUTSIDE = {"_socket", "_ssl", "asyncio", "http", "select", "selectors", "socket", "ssl", "subprocess", "urllib"}
SLOW = {"dataclasses", "email", "inspect", "logging", "random", "threading", "unittest", "zipfile"}


def run(*command, ok=0, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, encoding="utf-8", timeout=5 * MINUTES, **more)
    assert done.returncode == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with sdist and wheel; the wheel is built from the sdist, so that nothing else can get into it."""
    home = tmp_path_factory.mktemp("source") / "penstock"
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    for name in tracked:
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, home / name, follow_symlinks=False)
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, home)
    return out


def environment(home, *install):
    """Make a fresh environment; returns its folder of programs."""
    venv.create(home, with_pip=True)
    run(home / "bin" / "python", "-m", "pip", "install", "-q", *install)
    return home / "bin"


@pytest.fixture(scope="module")
def bare(built, tmp_path_factory):
    """An environment with the wheel and nothing else, as `pip install penstock` makes it."""
    return environment(tmp_path_factory.mktemp("bare"), next(built.glob("*.whl")))


def test_both_distributions_hold_the_folders(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        inside = set(wheel.namelist())
    assert {f"src/{name}" for name in MODULES} <= names
    assert set(MODULES) <= inside
    assert not [name for name in inside if not name.startswith(("penstock/", "penstock-"))]


def test_the_bare_wheel_has_the_core_and_says_what_the_gateway_needs(bare):
    listed = run(bare / "pip", "list", "--format=freeze").splitlines()
    assert {line.partition("==")[0] for line in listed} <= {"penstock", "pip", "setuptools"}
    assert "pip install 'penstock[server]'" in run(bare / "penstock", "serve", ok=1)


def test_the_core_loads_nothing_that_could_reach_out_and_nothing_slow(bare):
    before = set(run(bare / "python", "-I", "-c", "import sys; print(*sys.modules)").split())
    code = "import sys, penstock.protocol, penstock.protocol.relay; print(*sys.modules)"
    loaded = set(run(bare / "python", "-I", "-c", code).split()) - before
    assert {"penstock.protocol.sse", "penstock.protocol.dialects.openai"} <= loaded
    ours = {name for name in loaded if name.startswith("penstock.")}
    assert not [name for name in ours if not name.startswith("penstock.protocol")]
    assert "penstock.protocol.vectors" not in ours  # they read files
    assert not {name.partition(".")[0] for name in loaded} & (OUTSIDE | SLOW)


@pytest.mark.parametrize("name", sorted(showcase.PRINTS.keys() - showcase.NEEDS.keys()))
def test_an_example_runs_on_the_bare_wheel(bare, name):
    printed = showcase.run(name, python=bare / "python")
    for expected in showcase.PRINTS[name]:
        assert expected in printed


def test_the_vectors_are_in_the_wheel_and_pass(bare):
    assert "0 failures, 0 skipped" in run(bare / "python", "-I", "-m", "penstock.protocol.vectors")


@pytest.mark.node
def test_the_wheel_runs_in_webassembly(built):
    printed = run(nodes.require(nodes.PYODIDE), nodes.PYODIDE / "run.mjs", next(built.glob("*.whl")))
    assert "Text(text='বাংলা', choice=0)\n" in printed
    assert "0 failures, 0 skipped" in printed


def test_the_server_extra_serves(built, tmp_path):
    programs = environment(tmp_path, f"penstock[server] @ {next(built.glob('*.whl')).as_uri()}")
    process = subprocess.Popen(
        [programs / "penstock", "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        url = process.stdout.readline().split()[-1]
        ask = (
            "import json, sys, urllib.request as u;"
            "body = {'model': 'echo/echo', 'messages': [{'role': 'user', 'content': 'Привет'}]};"
            "r = u.Request(sys.argv[1] + '/v1/chat/completions', json.dumps(body).encode(),"
            " {'content-type': 'application/json'});"
            "print(json.load(u.urlopen(r, timeout=20))['choices'][0]['message']['content'])"
        )
        assert run(programs / "python", "-X", "utf8", "-c", ask, url).strip() == "Привет"
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
