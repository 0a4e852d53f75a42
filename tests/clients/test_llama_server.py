"""llama.cpp's server, with a model whose reply is known, alone and through penstock: not a byte differs."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from answers import DONE, content, payloads
from gateway import Gateway, provider

pytestmark = pytest.mark.models
pytest.importorskip("xllamacpp", reason="the wheel with llama.cpp's server is not installed")
tiny_model = pytest.importorskip("clients.tiny_model", reason="gguf, which writes models, is not installed")

ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Привет, 世界 🌍"}]}
MINDFUL = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """The base URL of a llama.cpp server with the hand-made model."""
    model = tmp_path_factory.mktemp("model") / "tiny.gguf"
    tiny_model.write_model(model)
    command = [sys.executable, Path(__file__).with_name("llama_server.py"), model]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        assert httpx.get(address + "/health").json() == {"status": "ok"}
        yield address + "/v1"
        process.stdin.close()  # that ends it


@pytest.fixture(scope="module")
def penstock(llama):
    """The base URL of a gateway before it, which asks the server for the names of its models."""
    with Gateway(provider(llama)) as gateway:
        yield gateway.base_url


def ask(base_url, **more):
    return httpx.post(base_url + "/chat/completions", json=ASK | more, timeout=20)


def asks(base_url, **more):
    answer = ask(base_url, **MINDFUL | more)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    return payloads(answer.content)


def lasting(value):
    """A chunk or answer without what no two answers have in common: ids, clocks, what a cache held."""
    if value == DONE:
        return value
    value = {name: member for name, member in value.items() if name not in ("id", "created", "timings")}
    if value.get("usage"):
        value["usage"].pop("prompt_tokens_details", None)
    return value


def test_the_model_says_what_it_was_made_to_say(llama):
    whole = ask(llama).json()
    assert whole["choices"][0]["message"]["content"] == tiny_model.REPLY
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"]["completion_tokens"] == len(tiny_model.PIECES) + 1  # and the end token
    *chunks, end = asks(llama)
    assert (content(chunks), end) == (tiny_model.REPLY, DONE)


def test_the_model_breaks_off_inside_a_character(llama):
    """The third token is half of a letter: with no more than three, llama.cpp must keep it back."""
    half = tiny_model.PIECES[2]
    with pytest.raises(UnicodeDecodeError):
        half.decode()
    *chunks, _ = asks(llama, max_tokens=3)
    assert content(chunks) == "".join(tiny_model.PIECES[:2])


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0}, {"temperature": 2, "seed": 7}, {"n_probs": 2}])
def test_stream_through_penstock_equals_the_servers_own(llama, penstock, sampling):
    direct, through = asks(llama, **sampling), asks(penstock, model="local/tiny", **sampling)
    assert content(through) == tiny_model.REPLY
    assert through[-1] == DONE
    told = [json.dumps(lasting(chunk), ensure_ascii=False) for chunk in through]
    assert told == [json.dumps(lasting(chunk), ensure_ascii=False) for chunk in direct]


def test_whole_answer_through_penstock_equals_the_servers_own(llama, penstock):
    direct, through = ask(llama), ask(penstock, model="local/tiny")
    assert through.status_code == 200
    assert through.json()["choices"][0]["message"]["content"] == tiny_model.REPLY
    assert lasting(through.json()) == lasting(direct.json())


def test_logprobs_of_half_characters_come_through(llama, penstock):
    asked = {"logprobs": True, "top_logprobs": 1, "max_tokens": 8}
    direct, through = asks(llama, **asked), asks(penstock, model="local/tiny", **asked)
    assert [c["choices"] for c in through[:-1]] == [c["choices"] for c in direct[:-1]]
    assert any("\ufffd" in json.dumps(c["choices"], ensure_ascii=False) for c in through[:-1])


def test_stopping_inside_a_character_through_penstock(penstock):
    *chunks, end = asks(penstock, model="local/tiny", max_tokens=3)
    assert (content(chunks), end) == ("".join(tiny_model.PIECES[:2]), DONE)
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"


def test_a_prompt_that_is_too_long_is_the_servers_own_error(llama, penstock):
    long = {"messages": [{"role": "user", "content": "x" * 5000}], "stream": True}
    direct, through = ask(llama, **long), ask(penstock, **long | {"model": "local/tiny"})
    assert through.status_code == direct.status_code == 400
    assert through.json()["error"]["message"] == direct.json()["error"]["message"]
