"""Requests from any dialect to any other: what a client asked for is what a server reads, less what is written here.

The clients and the servers are in `clients_ask`; for readers, the losses are in docs/conversions.md.
"""

import json
from itertools import product

import pytest

from clients_ask import IMAGE, Asked, as_asked_by, asked, request
from penstock.protocol.dialects import DIALECTS, translate_request
from penstock.protocol.errors import RemoteProtocolError

CHATS = ("openai", "responses", "ollama", "anthropic")
CALLS = (("call_1", "look", {"x": 1, "s": "é"}), ("call_2", "look", {}))
TOOL_ROUND = (
    ("user", "What is this?", IMAGE),
    ("assistant", "Let me look.", CALLS),
    ("tool", "call_1", "a cat"),
    ("tool", "call_2", "a dog"),
    ("assistant", "A cat and a dog.", ()),
    ("user", "And now?\u2028", ""),
)
HI = (("user", "Hi", ""),)
QUESTIONS = {
    "a word": Asked(HI, stream=False),
    "a conversation": Asked(TOOL_ROUND, "Be brief.", tools=True),
    "the last word is a tool's": Asked(TOOL_ROUND[:3], tools=True),
    "sampling": Asked(HI, temperature=0.5, top_p=0.9, seed=2**63, stop=("END", "\n"), user="u1"),
    "any tool": Asked(HI, tools=True, choice="required"),
    "one tool": Asked(HI, tools=True, choice="look", serial=True),
    "no tool": Asked(HI, tools=True, choice="none"),
    "a schema": Asked(HI, schema=True),
    "effort": Asked(HI, effort="low", limit=8000),
    "much effort": Asked(TOOL_ROUND, "Be brief.", effort="high", limit=40000, tools=True),
}


def translated(source, sink, body):
    return translate_request(DIALECTS[source].decode_request(body), source, sink)


@pytest.mark.parametrize(("source", "sink"), list(product(CHATS, CHATS)))
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_chat(name, source, sink):
    said = as_asked_by(source, QUESTIONS[name])
    body = translated(source, sink, request(source, said))
    wanted = as_asked_by(sink, said)
    if sink == "anthropic" and said.serial and not said.choice:
        wanted = wanted._replace(choice="auto")  # where it says so
    if source == "ollama" and name == "no tool":
        assert wanted.choice is None
    assert asked(sink, body) == wanted


# -- prompts ----------------------------------------------------------------------------------------------

PROMPTS = {
    "completions": {"model": "m", "prompt": "Hi", "max_tokens": 100, "temperature": 0.5, "stop": ["END"]},
    "ollama_generate": {
        "model": "m",
        "prompt": "Hi",
        "stream": False,
        "options": {"num_predict": 100, "temperature": 0.5, "stop": ["END"]},
    },
}
PLAIN = Asked(HI, stream=False, temperature=0.5, stop=("END",))


def written(dialect):
    return (
        json.dumps(PROMPTS[dialect]).encode() if dialect in PROMPTS else request(dialect, as_asked_by(dialect, PLAIN))
    )


@pytest.mark.parametrize(("source", "sink"), list(product(DIALECTS, DIALECTS)))
def test_a_prompt(source, sink):
    """The one question that all of them can ask."""
    body = translated(source, sink, written(source))
    stops = source != "responses"
    if sink in PROMPTS:
        wanted = json.loads(json.dumps(PROMPTS[sink]))
        if not stops:
            del wanted.get("options", wanted)["stop"]
        assert json.loads(body) == wanted
    else:
        assert asked(sink, body) == as_asked_by(sink, PLAIN._replace(stop=PLAIN.stop if stops else ()))


def test_a_prompt_with_the_systems_words():
    body = translated("openai", "ollama_generate", request("openai", Asked(HI, "Be brief.")))
    assert (json.loads(body)["system"], json.loads(body)["prompt"]) == ("Be brief.", "Hi")
    body = json.dumps({"model": "m", "prompt": "Hi", "system": "Be brief."}).encode()
    for sink in CHATS:
        assert asked(sink, translated("ollama_generate", sink, body))[:2] == (HI, "Be brief.")


# -- what is refused --------------------------------------------------------------------------------------

_TURNS = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}, {"role": "user"}]}
_USER = {"role": "user", "content": "Hi"}
_SEEN = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]}
_HEARD = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}
_CSV = {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}}]}
_TOOL = {"type": "function", "function": {"name": "f"}}
REFUSED = [
    ("openai", "responses", {"messages": [_USER], "n": 2}, "'n'"),
    ("openai", "anthropic", {"messages": [_USER], "n": 2}, "'n'"),
    ("openai", "anthropic", {"messages": [_HEARD]}, "input_audio"),
    ("openai", "anthropic", {"messages": [_CSV]}, "PDF"),
    ("openai", "ollama", {"messages": [_SEEN]}, "data URLs"),
    ("openai", "ollama", {"messages": [_HEARD]}, "input_audio"),
    ("openai", "ollama", {"messages": [_CSV]}, "'file'"),
    ("responses", "ollama", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "file"),
    *[("openai", sink, _TURNS, "conversation") for sink in PROMPTS],
    *[("openai", sink, {"messages": [_USER], "tools": [_TOOL]}, "tools") for sink in PROMPTS],
    ("openai", "completions", {"messages": [{"role": "system", "content": "x"}, _USER]}, "system"),
    ("openai", "completions", {"messages": [_SEEN]}, "text only"),
    *[("responses", sink, {"input": [{"type": "item_reference", "id": "a"}]}, "item_reference") for sink in CHATS],
    ("responses", "openai", {"input": [{"type": "web_search_call", "id": "a"}]}, "web_search_call"),
    *[
        ("completions", sink, {"prompt": "Hi", **more}, name)
        for sink in (*CHATS, "ollama_generate")
        for name, more in {
            "prompt": {"prompt": [1, 2]},
            "prompt ": {"prompt": ["a", "b"]},
            "echo": {"echo": True},
            "best_of": {"best_of": 3},
            "logprobs": {"logprobs": 2},
        }.items()
    ],
    *[("completions", sink, {"prompt": "Hi", "suffix": "x"}, "suffix") for sink in CHATS],
    *[
        ("ollama_generate", sink, {"prompt": "Hi", **more}, name)
        for sink in CHATS
        for name, more in {
            "suffix": {"suffix": "x"},
            "template": {"template": "x"},
            "raw": {"raw": True},
            "context": {"context": [1]},
            "logprobs": {"logprobs": True},
        }.items()
    ],
    ("ollama_generate", "completions", {"prompt": "Hi", "system": "x"}, "system"),
    ("ollama_generate", "completions", {"prompt": "Hi", "images": [IMAGE]}, "text only"),
    ("ollama_generate", "completions", {"prompt": "Hi", "template": "x"}, "template"),
    ("ollama_generate", "completions", {"prompt": "Hi", "context": [1]}, "context"),
    ("ollama_generate", "completions", {"prompt": "Hi", "logprobs": True}, "logprobs"),
    *[
        ("anthropic", sink, {"max_tokens": 9, "messages": [{"role": "user", "content": [block]}]}, block["type"])
        for sink in ("openai", "responses", "ollama")
        for block in (
            {"type": "image", "source": {"type": "file", "file_id": "f"}},
            {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
        )
    ],
]


@pytest.mark.parametrize(("source", "sink", "fields", "named"), REFUSED)
def test_what_would_change_the_question_is_refused_and_named(source, sink, fields, named):
    with pytest.raises(RemoteProtocolError, match=named.strip()) as caught:
        translated(source, sink, json.dumps({"model": "m", **fields}).encode())
    assert caught.value.status == 400


def test_suffix_goes_from_one_prompt_to_the_other():
    body = json.dumps({"model": "m", "prompt": "a", "suffix": "c"}).encode()
    assert json.loads(translated("completions", "ollama_generate", body))["suffix"] == "c"
    assert json.loads(translated("ollama_generate", "completions", body))["suffix"] == "c"


def test_sampling_goes_by_the_version_of_anthropics_api():
    said = DIALECTS["openai"].decode_request(request("openai", Asked(HI, temperature=0.5)))
    assert json.loads(translate_request(said, "openai", "anthropic"))["temperature"] == 0.5
    newer = translate_request(said, "openai", "anthropic", version="2026-10-21")
    assert "temperature" not in json.loads(newer)


def test_calls_in_the_older_form_keep_their_answers():
    call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x":1}'}}
    answer = {"role": "function", "name": "f", "content": "a cat"}
    body = json.dumps({"model": "m", "messages": [_USER, call, answer]}).encode()
    turns = (*HI, ("assistant", "", (("call_f", "f", {"x": 1}),)), ("tool", "call_f", "a cat"))
    for sink in ("responses", "anthropic"):
        assert asked(sink, translated("openai", sink, body)).turns == turns


def test_how_many_logprobs_are_wanted_goes_with_that_some_are():
    body = json.dumps({"model": "m", "input": "Hi", "top_logprobs": 2}).encode()
    assert "top_logprobs" not in json.loads(translated("responses", "openai", body))
    body = json.dumps({"model": "m", "messages": [_USER], "logprobs": True, "top_logprobs": 2}).encode()
    assert json.loads(translated("ollama", "openai", body))["top_logprobs"] == 2
