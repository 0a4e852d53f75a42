"""docs/clients.md: its programs run as they stand there, against a `penstock serve` without any configuration."""

import contextlib
import io
import subprocess

import pytest

from clients import nodes
from clients.page import ADDRESS, block
from gateway import Gateway


@pytest.fixture(scope="module")
def gateway():
    with Gateway() as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("section", "package"),
    [
        ("The openai package", "openai"),
        ("The anthropic package", "anthropic"),
        pytest.param("LangChain", "langchain_openai", marks=pytest.mark.frameworks),
        pytest.param("LlamaIndex", "llama_index.llms.openai_like", marks=pytest.mark.frameworks),
    ],
)
def test_python(gateway, section, package):
    pytest.importorskip(package)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(block(section, "python").replace(ADDRESS, gateway.url), {})
    assert said.getvalue() == "Привет"


@pytest.mark.node
@pytest.mark.parametrize(
    ("section", "folder"), [("The openai package", nodes.FOLDER), ("The AI SDK", nodes.AI_SDK)], ids=["openai", "ai"]
)
def test_javascript(gateway, section, folder):
    node = nodes.require(folder)
    program = block(section, "js").replace(ADDRESS, gateway.url)
    command = [node, "--input-type=module", "-e", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=30)
    assert (done.stdout, done.returncode) == ("Привет", 0), done.stderr
