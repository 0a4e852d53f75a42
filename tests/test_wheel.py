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

ROOT = Path(__file__).parent.parent
MINUTES = 60  # seconds

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(10 * MINUTES)]

MODULES = [
    "penstock/py.typed",
    "penstock/protocol/sse.py",
    "penstock/protocol/dialects/openai.py",
    "penstock/providers/direct.py",
    "penstock/server/entry.py",
]


def run(*command, ok=0, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=5 * MINUTES, **more)
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


@pytest.fixture
def fresh(tmp_path):
    """A function that makes an environment and returns its folder of programs."""

    def make(*install):
        venv.create(tmp_path / "env", with_pip=True)
        programs = tmp_path / "env" / "bin"
        run(programs / "python", "-m", "pip", "install", "-q", *install)
        return programs

    return make


def test_both_distributions_hold_the_folders(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        inside = set(wheel.namelist())
    assert {f"src/{name}" for name in MODULES} <= names
    assert set(MODULES) <= inside
    assert not [name for name in inside if not name.startswith(("penstock/", "penstock-"))]


def test_the_bare_wheel_has_the_core_and_says_what_the_gateway_needs(built, fresh):
    programs = fresh(next(built.glob("*.whl")))
    assert "penstock" in run(programs / "pip", "list", "--format=freeze")
    code = "from penstock.protocol import sse; print(sse.Decoder().feed(b'data: hi\\n\\n'))"
    assert "data='hi'" in run(programs / "python", "-c", code)
    assert "pip install 'penstock[server]'" in run(programs / "penstock", "serve", ok=1)


def test_the_server_extra_serves(built, fresh):
    programs = fresh(f"penstock[server] @ {next(built.glob('*.whl')).as_uri()}")
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
