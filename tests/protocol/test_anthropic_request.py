"""`dialects.anthropic`: requests, both ways."""

import json

import pytest

from penstock.protocol.chat import Request
from penstock.protocol.dialects import DIALECTS, anthropic, openai
from penstock.protocol.errors import RemoteProtocolError

PNG = "data:image/png;base64,iVBORw0"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0"}}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0"}
EPHEMERAL = {"type": "ephemeral"}


def user(content="Hi"):
    return {"role": "user", "content": content}


def text(said, **more):
    return {"type": "text", "text": said, **more}


def call(call_id="a", name="f", arguments='{"x":1}'):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def sent(*messages, model="claude-3-opus-20240229", version=None, **more):
    """The body that Anthropic gets."""
    options = {"version": version} if version else {}
    return json.loads(anthropic.encode_request(Request(model, list(messages or [user()]), **more), **options))


def got(**fields):
    """The neutral request of a client's body."""
    return anthropic.decode_request(
        json.dumps({"model": "m", "max_tokens": 9, "messages": [user()], **fields}).encode()
    )


# -- conversations, neutral to Anthropic ------------------------------------------------------------------

ANSWER = {"role": "assistant", "content": None, "tool_calls": [call(), call("b:1", "g", "")]}
USES = [
    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
    {"type": "tool_use", "id": "b_1", "name": "g", "input": {}},
]
CONVERSATIONS = {
    "plain": ([user()], [("user", [text("Hi")])]),
    "turns of one side are merged": (
        [user("a"), user("b"), {"role": "assistant", "content": "c"}, {"role": "assistant", "content": "d"}, user("e")],
        [("user", [text("a"), text("b")]), ("assistant", [text("c"), text("d")]), ("user", [text("e")])],
    ),
    "results of tools are one turn, and come first": (
        [
            user(),
            ANSWER,
            user("meanwhile"),
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b:1", "content": [text("2"), {"type": "image_url", "image_url": PNG}]},
        ],
        [
            ("user", [text("Hi")]),
            ("assistant", USES),
            (
                "user",
                [
                    {"type": "tool_result", "tool_use_id": "a", "content": [text("1")]},
                    {"type": "tool_result", "tool_use_id": "b_1", "content": [text("2"), IMAGE]},
                    text("meanwhile"),
                ],
            ),
        ],
    ),
    "a result of nothing": (
        [user(), ANSWER, {"role": "tool", "tool_call_id": "a", "content": ""}],
        [("user", [text("Hi")]), ("assistant", USES), ("user", [{"type": "tool_result", "tool_use_id": "a"}])],
    ),
    "functions, as they were called before tools": (
        [
            user(),
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "bad"}},
            {"role": "function", "name": "f", "content": "1"},
        ],
        [
            ("user", [text("Hi")]),
            ("assistant", [{"type": "tool_use", "id": "call_f", "name": "f", "input": {"arguments": "bad"}}]),
            ("user", [{"type": "tool_result", "tool_use_id": "call_f", "content": [text("1")]}]),
        ],
    ),
    "a later system message is the user's": (
        [user("a"), {"role": "system", "content": "b"}, {"role": "developer", "content": "c"}],
        [("user", [text("a"), text("b"), text("c")])],
    ),
    "nothing but a system message": ([{"role": "system", "content": "b"}], [("user", [text("b")])]),
    "the assistant first": (
        [{"role": "assistant", "content": "Hello!"}, user()],
        [("user", [text("(The assistant speaks first.)")]), ("assistant", [text("Hello!")]), ("user", [text("Hi")])],
    ),
    "words to go on from": (
        [user(), {"role": "assistant", "content": "So: \n"}],
        [("user", [text("Hi")]), ("assistant", [text("So:")])],
    ),
    "what is empty is left out": (
        [user([text(" "), text("a"), text(None), "odd"]), {"role": "assistant", "content": ""}, user("\n"), user(None)],
        [("user", [text("a")])],
    ),
    "a refusal": (
        [user(), {"role": "assistant", "content": None, "refusal": "No."}, user([{"type": "refusal", "refusal": "x"}])],
        [("user", [text("Hi")]), ("assistant", [text("No.")]), ("user", [text("x")])],
    ),
    "images and files": (
        [
            user(
                [
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}, "cache_control": EPHEMERAL},
                    {"type": "image_url", "image_url": {"url": "https://x/y"}},
                    {"type": "image_url", "image_url": {"url": "data:image/JPG;charset=x;base64,/9j"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0"}},
                    {"type": "file", "file": {"file_id": "file_1"}},
                ]
            )
        ],
        [
            (
                "user",
                [
                    {**IMAGE, "cache_control": EPHEMERAL},
                    {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j"}},
                    {"type": "document", "source": PDF, "title": "a.pdf"},
                    {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                ],
            )
        ],
    ),
    "signed reasoning goes back, unsigned does not": (
        [
            user(),
            {
                "role": "assistant",
                "content": "c",
                "reasoning_content": "hm",
                "thinking_blocks": [
                    {"text": "hm", "signature": "sig"},
                    {"text": "", "signature": "redacted_thinking:opaque"},
                    {"text": None, "signature": "omitted"},
                    {"text": "unsigned", "signature": ""},
                    {"text": "unsigned"},
                ],
            },
            user("d"),
            {"role": "assistant", "content": "e", "reasoning_content": "unsigned"},
        ],
        [
            ("user", [text("Hi")]),
            (
                "assistant",
                [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "opaque"},
                    {"type": "thinking", "thinking": "", "signature": "omitted"},
                    text("c"),
                ],
            ),
            ("user", [text("d")]),
            ("assistant", [text("e")]),
        ],
    ),
    "nothing at all": ([], []),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_messages_become_turns(name):
    messages, expected = CONVERSATIONS[name]
    body = json.loads(anthropic.encode_request(Request("m", messages, extra={"thinking": {"type": "adaptive"}})))
    assert [(turn["role"], turn["content"]) for turn in body["messages"]] == expected
    assert "system" not in body


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (
            {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}]},
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
        ),
        (
            {"thinking_blocks": [{"type": "redacted_thinking", "data": "opaque"}]},
            {"type": "redacted_thinking", "data": "opaque"},
        ),
        (
            {
                "reasoning_details": [
                    {"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"},
                    {"type": "reasoning.text", "text": "hm", "signature": "sig", "format": "anthropic-claude-v1"},
                    {"type": "reasoning.text", "text": "hm", "signature": None},
                    {"type": "reasoning.summary", "summary": "x"},
                ]
            },
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
        ),
        (
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "opaque"}]},
            {"type": "redacted_thinking", "data": "opaque"},
        ),
    ],
)
def test_signed_reasoning_comes_back_in_the_forms_of_other_gateways(given, made):
    messages = [user(), {"role": "assistant", "content": "a", **given}, user()]
    body = sent(*messages, model="claude-sonnet-5", reasoning="low")
    assert body["messages"][1]["content"] == [made, text("a")]
    for thinking in ({"type": "disabled"}, None):  # then it is rejected in the last answer, and of no use before
        body = sent(*messages, extra={"thinking": thinking})
        assert body["messages"][1]["content"] == [text("a")]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ('{"x":1}', {"x": 1}),
        ("", {}),
        (None, {}),
        ({"x": 1}, {"x": 1}),
        ("[1]", {"arguments": "[1]"}),
        ('{"x', {"arguments": '{"x'}),
        ([1], {"arguments": [1]}),
    ],
)
def test_arguments_are_an_object(given, made):
    body = sent(user(), {"role": "assistant", "tool_calls": [call(arguments=given)]})
    assert body["messages"][1]["content"][0]["input"] == made


@pytest.mark.parametrize(
    ("messages", "system"),
    [
        ([{"role": "system", "content": "a"}], "a"),
        ([{"role": "system", "content": "a"}, {"role": "developer", "content": [text("b")]}], [text("a"), text("b")]),
        (
            [{"role": "system", "content": [text("a", cache_control=EPHEMERAL)]}],
            [text("a", cache_control=EPHEMERAL)],
        ),
    ],
)
def test_leading_system_messages_are_the_prompt(messages, system):
    body = sent(*messages, user())
    assert (body["system"], len(body["messages"])) == (system, 1)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
        {"type": "image_url", "image_url": None},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,x"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,x"}},
        {"type": "file"},
        {"type": ["x"]},
    ],
)
def test_what_the_model_cannot_be_shown_is_refused(part):
    with pytest.raises(RemoteProtocolError) as caught:
        sent(user([part]))
    assert caught.value.status == 400


# -- fields, neutral to Anthropic -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-sonnet-latest", 8192),
        ("claude-3-7-sonnet-latest", 32000),
        ("anthropic/claude-opus-4-1", 32000),
        ("anthropic.claude-3-opus-20240229-v1:0", 4096),
        ("claude-sonnet-5", 32000),
        ("other", 8192),
    ],
)
def test_max_tokens_is_always_sent(model, limit):
    assert sent(model=model)["max_tokens"] == limit
    assert sent(model=model, max_tokens=7)["max_tokens"] == 7


def test_the_rest_of_the_fields():
    body = sent(
        stream=True,
        include_usage=True,
        options={"temperature": 1.7, "top_p": 0.5, "top_k": 3, "stop": ["a", " \n"], "seed": 1, "presence_penalty": 1},
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        extra={"user": "u1", "n": 1, "logprobs": True, "container": "c1", "service_tier": "flex"},
    )
    assert body == {
        "model": "claude-3-opus-20240229",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [text("Hi")]}],
        "stream": True,
        "container": "c1",
        "metadata": {"user_id": "u1"},
        "stop_sequences": ["a"],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "temperature": 1,
        "top_p": 0.5,
        "top_k": 3,
    }
    bare = sent(options={"stop": " "}, response_format={"type": "json_object"}, extra={"user": 5})
    assert list(bare) == ["model", "max_tokens", "messages"]
    assert sent(options={"stop": "x"})["stop_sequences"] == ["x"]


def test_the_newer_version_knows_no_sampling():
    options = {"temperature": 0.5, "top_p": 0.5, "top_k": 3, "stop": "x"}
    body = sent(options=options, version="2026-10-21")
    assert list(body) == ["model", "max_tokens", "messages", "stop_sequences"]
    assert sent(options={"temperature": "warm"})["temperature"] == "warm"  # the upstream's to judge


def test_only_one_choice_can_be_had():
    with pytest.raises(RemoteProtocolError, match="'n'"):
        sent(extra={"n": 2})


TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"properties": {}}}}
MADE = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}


def test_tools():
    bare = {"type": "function", "function": {"name": "g", "description": ""}, "cache_control": EPHEMERAL}
    body = sent(tools=[TOOL, bare, {"type": "custom", "custom": {"name": "h"}}])
    assert body["tools"] == [MADE, {"name": "g", "input_schema": {"type": "object"}, "cache_control": EPHEMERAL}]
    assert "tool_choice" not in body
    assert "tool_choice" not in sent(tool_choice="auto")


@pytest.mark.parametrize(
    ("choice", "parallel", "made"),
    [
        ("auto", None, {"type": "auto"}),
        ("required", None, {"type": "any"}),
        ("any", None, {"type": "any"}),
        ("none", None, {"type": "none"}),
        ("none", False, {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, None, {"type": "tool", "name": "f"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("odd", True, None),
        ({"type": "allowed_tools"}, None, None),
    ],
)
def test_tool_choice(choice, parallel, made):
    extra = {} if parallel is None else {"parallel_tool_calls": parallel}
    assert sent(tools=[TOOL], tool_choice=choice, extra=extra).get("tool_choice") == made


ENABLED = {"thinking": {"type": "enabled", "budget_tokens": 8192}}
SIGNED = {**ANSWER, "thinking_blocks": [{"text": "hm", "signature": "sig"}]}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "1"}
REASONING = {
    "an effort": ({"reasoning": "medium"}, ENABLED),
    "an unknown effort": ({"reasoning": "odd"}, ENABLED),
    "switched on": ({"reasoning": True}, ENABLED),
    "much": ({"reasoning": "max"}, {"thinking": {"type": "enabled", "budget_tokens": 16000}}),
    "less than the answer may have": (
        {"reasoning": "high", "max_tokens": 3000},
        {"thinking": {"type": "enabled", "budget_tokens": 1500}},
    ),
    "the least": (
        {"reasoning": "high", "max_tokens": 1025},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    "no room": ({"reasoning": "high", "max_tokens": 1024}, {}),
    "not mentioned": ({}, {}),
    "switched off": ({"reasoning": "none"}, {}),
    "no sampling then": ({"reasoning": "medium", "options": {"temperature": 0.5}}, ENABLED),
    "a newer model": (
        {"reasoning": "minimal", "model": "claude-opus-4-6"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
    ),
    "a newer model, switched on": (
        {"reasoning": True, "model": "vendor/claude-sonnet-5"},
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
    ),
    "a newer model, switched off": (
        {"reasoning": False, "model": "claude-opus-4.6", "options": {"top_p": 1}},
        {"thinking": {"type": "disabled"}, "top_p": 1},
    ),
    "a model with a date": ({"reasoning": "medium", "model": "claude-opus-4-20250514"}, ENABLED),
    "a newer model and a schema": (
        {
            "reasoning": "low",
            "model": "claude-opus-4-7",
            "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
        },
        {
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
        },
    ),
    "the client's own word": ({"reasoning": "low", "extra": {"thinking": {"type": "x"}}}, {"thinking": {"type": "x"}}),
    "the client's own word, switched off": (
        {"reasoning": "none", "model": "claude-opus-4-7", "extra": {"thinking": {"type": "x"}}},
        {"thinking": {"type": "x"}},
    ),
    "a tool is forced": (
        {"reasoning": "low", "tools": [TOOL], "tool_choice": "required"},
        {"tools": [MADE], "tool_choice": {"type": "any"}},
    ),
    "a round of tools without its reasoning": ({"reasoning": "low", "messages": [user(), ANSWER, RESULT]}, {}),
    "a round of tools with its reasoning": ({"reasoning": "medium", "messages": [user(), SIGNED, RESULT]}, ENABLED),
    "a result that answers nothing": ({"reasoning": "medium", "messages": [RESULT]}, ENABLED),
    "words to go on from": ({"reasoning": "low", "messages": [user(), {"role": "assistant", "content": "x"}]}, {}),
}


@pytest.mark.parametrize("name", REASONING)
def test_reasoning_is_asked_for_where_it_can_be_had(name):
    given, expected = REASONING[name]
    given = {"model": "claude-sonnet-4-5", "messages": [user()], **given}
    body = sent(*given.pop("messages"), **given)
    assert {key: body[key] for key in body if key not in ("model", "max_tokens", "messages")} == expected


# -- Anthropic to neutral ---------------------------------------------------------------------------------


def test_a_plain_request_is_read():
    found = got(system="S", temperature=0.5, top_k=3, stop_sequences=["x"], stream=True, metadata={"user_id": "u"})
    assert found == Request(
        "m",
        [{"role": "system", "content": "S"}, user()],
        stream=True,
        include_usage=True,
        max_tokens=9,
        options={"temperature": 0.5, "top_k": 3, "stop": ["x"]},
        extra={"user": "u"},
    )


def test_what_has_no_neutral_meaning_stays_behind():
    found = got(
        container="c",
        context_management={"edits": []},
        service_tier="auto",
        metadata=None,
        cache_control=EPHEMERAL,
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
        tool_choice={"type": "auto"},
        system=[text("a", cache_control=EPHEMERAL), text("b")],
    )
    assert (found.tools, found.tool_choice, found.extra) == (None, None, {})
    assert found.messages[0] == {"role": "system", "content": "a\n\nb"}


TURNS = {
    "a string": ({"role": "user", "content": ""}, [user("")]),
    "one text": (user([text("a", cache_control=EPHEMERAL)]), [user("a")]),
    "texts and images": (
        user([text("a"), IMAGE, {"type": "image", "source": {"type": "url", "url": "https://x"}}]),
        [
            user(
                [
                    text("a"),
                    {"type": "image_url", "image_url": {"url": PNG}},
                    {"type": "image_url", "image_url": {"url": "https://x"}},
                ]
            )
        ],
    ),
    "one image": (user([IMAGE]), [user([{"type": "image_url", "image_url": {"url": PNG}}])]),
    "documents": (
        user(
            [
                {"type": "document", "source": PDF, "title": "a.pdf"},
                {"type": "document", "source": PDF},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "T"}, "title": "t"},
                {"type": "document", "source": {"type": "content", "content": [text("C")]}},
                {"type": "search_result", "title": "t", "source": "https://x", "content": [text("R")]},
            ]
        ),
        [
            user(
                [
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0"}},
                    {
                        "type": "file",
                        "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERi0"},
                    },
                    *map(text, ["t", "T", "C", "t", "https://x", "R"]),
                ]
            )
        ],
    ),
    "results of tools": (
        user(
            [
                {"type": "tool_result", "tool_use_id": "a", "content": "1", "is_error": True},
                {"type": "tool_result", "tool_use_id": "b", "content": [text("2"), IMAGE, text("3")]},
                {"type": "tool_result", "tool_use_id": "c"},
                text("go on"),
            ]
        ),
        [
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2\n\n3"},
            {"role": "tool", "tool_call_id": "c", "content": ""},
            user([{"type": "image_url", "image_url": {"url": PNG}}, text("go on")]),
        ],
    ),
    "results alone": (
        user([{"type": "tool_result", "tool_use_id": "a", "content": "1"}]),
        [{"role": "tool", "tool_call_id": "a", "content": "1"}],
    ),
    "system in between": ({"role": "system", "content": "s"}, [{"role": "system", "content": "s"}]),
    "an answer": ({"role": "assistant", "content": "a"}, [{"role": "assistant", "content": "a"}]),
    "an empty answer": ({"role": "assistant", "content": []}, [{"role": "assistant", "content": ""}]),
    "an answer with all there is": (
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "opaque"},
                text("a"),
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                text("b"),
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": "é"}},
                {"type": "tool_use"},
            ],
        },
        [
            {
                "role": "assistant",
                "content": "ab",
                "reasoning_content": "hm",
                "thinking_blocks": [
                    {"text": "hm", "signature": "sig"},
                    {"text": "", "signature": "redacted_thinking:opaque"},
                ],
                "tool_calls": [call(arguments='{"x":"é"}'), call("", "", "{}")],
            }
        ],
    ),
    "reasoning of others": (
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, USES[0]]},
        [{"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call()]}],
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_turns_become_messages(name):
    turn, expected = TURNS[name]
    assert got(messages=[turn]).messages == expected


@pytest.mark.parametrize("kind", ["image", "document"])
@pytest.mark.parametrize("source", [{"type": "file", "file_id": "x"}, None])
def test_sources_that_only_the_vendor_can_read_are_refused(kind, source):
    with pytest.raises(RemoteProtocolError) as caught:
        got(messages=[user([{"type": kind, "source": source}])])
    assert (caught.value.kind, caught.value.status) == ("unsupported_parameter", 400)


@pytest.mark.parametrize(
    ("choice", "expected", "extra"),
    [
        ({"type": "auto"}, "auto", {}),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", {"parallel_tool_calls": False}),
        ({"type": "none"}, "none", {}),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}, {}),
        ("odd", None, {}),
        (None, None, {}),
    ],
)
def test_tools_and_their_choice_are_read(choice, expected, extra):
    tools = [{"name": "f", "description": "d", "input_schema": {"type": "object"}}, {"type": "custom", "name": "g"}]
    found = got(tools=tools, tool_choice=choice)
    assert [tool["function"] for tool in found.tools] == [
        {"name": "f", "parameters": {"type": "object"}, "description": "d"},
        {"name": "g", "parameters": {"type": "object"}},
    ]
    assert (found.tool_choice, found.extra) == (expected, extra)


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, None),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, "xhigh"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1}}, "minimal"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10000}}, "medium"),
        ({"thinking": {"type": "enabled"}}, True),
    ],
)
def test_reasoning_is_read(fields, reasoning):
    assert got(**fields).reasoning == reasoning


def test_a_schema_for_the_answer_is_read():
    form = {"type": "json_schema", "schema": {"type": "object"}}
    expected = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    assert got(output_config={"format": form}).response_format == expected
    assert got(output_config={"format": {"type": "x"}}).response_format is None


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1]",
        b'{"messages":[]}',
        b'{"model":"m"}',
        b'{"model":"m","messages":["x"]}',
        b'{"model":"m","messages":[],"tools":{}}',
        b'{"model":"m","messages":[],"max_tokens":true}',
        b'{"model":"m","messages":[],"max_tokens":"9"}',
        b'{"model":"m","messages":[],"stop_sequences":"x"}',
    ],
)
def test_what_is_no_request_is_refused(body):
    with pytest.raises(RemoteProtocolError) as caught:
        anthropic.decode_request(body)
    assert caught.value.status == 400


def test_round_trip():
    *answer, _ = TURNS["an answer with all there is"][0]["content"]  # the last call there has no id
    request = got(
        messages=[user(), {"role": "assistant", "content": answer}, TURNS["results of tools"][0]],
        system="S",
        tools=[{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}],
        tool_choice={"type": "auto"},
        model="claude-sonnet-4-5",
        max_tokens=20000,
        thinking={"type": "enabled", "budget_tokens": 9000},
        stop_sequences=["x"],
    )
    again = anthropic.decode_request(anthropic.encode_request(request))
    assert again._replace(messages=[]) == request._replace(messages=[])
    assert again.messages[:3] == request.messages[:3]


def test_an_empty_conversation_is_the_upstreams_to_judge():
    body = json.loads(anthropic.encode_request(Request("claude-sonnet-4-5", [], reasoning="low")))
    assert body == {"model": "claude-sonnet-4-5", "max_tokens": 32000, "messages": []}


def test_openai_to_anthropic():
    body = {
        "model": "claude-3-opus-20240229",
        "messages": [{"role": "developer", "content": "S"}, user()],
        "max_completion_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [TOOL],
    }
    found = json.loads(anthropic.encode_request(openai.decode_request(json.dumps(body).encode())))
    assert found == {
        "model": "claude-3-opus-20240229",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": [text("Hi")]}],
        "system": "S",
        "stream": True,
        "tools": [MADE],
    }


def test_anthropic_to_openai():
    found = json.loads(openai.encode_request(got(system="S", stream=True, tools=[MADE], tool_choice={"type": "any"})))
    assert found == {
        "model": "m",
        "messages": [{"role": "system", "content": "S"}, user()],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "tools": [{"type": "function", "function": {**TOOL["function"], "parameters": MADE["input_schema"]}}],
        "tool_choice": "required",
    }


def test_signed_reasoning_is_not_sent_to_others():
    request = got(
        messages=[user(), {"role": "assistant", "content": TURNS["an answer with all there is"][0]["content"]}]
    )
    body = json.loads(openai.encode_request(request))
    assert "thinking_blocks" in request.messages[1]
    assert list(body["messages"][1]) == ["role", "content", "reasoning_content", "tool_calls"]


# -- what clients get wrong -------------------------------------------------------------------------------

JUNK = [None, True, 5, -1.5, "", "x", [], ["x"], [None], {}, {"type": "x"}, {"type": ["x"]}, [{}], [[{}]]]
RICH = {
    "model": "claude-opus-4-7",
    "max_tokens": 9,
    "system": [text("a", cache_control=EPHEMERAL)],
    "messages": [turn for turn, _ in TURNS.values()],
    "tools": [MADE],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
    "temperature": 0.5,
}
RICH_CHAT = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 2000,
    "messages": [message for messages, _ in CONVERSATIONS.values() for message in messages],
    "tools": [{**TOOL, "cache_control": EPHEMERAL}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    "reasoning_effort": "low",
    "stop": ["x"],
    "temperature": 0.5,
    "user": "u",
    "n": 1,
    "thinking": {"type": "enabled"},
    "output_config": {},
}


def spoilt(value):
    """The value with junk in the place of each of its parts, one at a time."""
    yield from JUNK
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        for other in spoilt(item):
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[key] = other
            yield copy


@pytest.mark.parametrize(("source", "body"), [("anthropic", RICH), ("openai", RICH_CHAT)])
def test_junk_is_refused_or_passed_over_and_nothing_else_happens(source, body):
    read, refused = DIALECTS[source].decode_request, 0
    for junk in spoilt(body):
        try:
            request = read(json.dumps(junk).encode())
            made = [anthropic.encode_request(request), openai.encode_request(request)]
        except RemoteProtocolError:
            refused += 1
        else:
            assert all(isinstance(json.loads(one), dict) for one in made)
    assert refused > 20
