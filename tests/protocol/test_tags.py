"""`tags`: reasoning and tool calls that models write into their text, cut anywhere."""

import json
import random
from itertools import groupby

import pytest

import feeding
from chat_streams import chunk, sse
from penstock.protocol import tags
from penstock.protocol.chat import (
    Answer,
    Choice,
    End,
    Failed,
    Finish,
    Reasoning,
    Refusal,
    Start,
    Text,
    ToolCall,
    Usage,
)
from penstock.protocol.dialects import ollama, openai
from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.tags import Events, Splitter, Structures, parameters_of, split_answer

THINK = Structures(think=("think", "thinking"))
OPEN = Structures(think=("think", "thinking"), think_open=True)
ANYWHERE = Structures(think=("think",), think_anywhere=True)
CALLS = Structures(tool_call=True)
ROO = {"read_file": ["path"], "write_to_file": ["path", "content"], "list": [], "a.b": ["c+d"]}
XML = Structures(xml_tools=ROO)
ALL = Structures(think=("think", "thinking"), tool_call=True, xml_tools=ROO)


def told(events):
    """What a client reads: neighbouring texts joined, tool calls as `(name, arguments)`."""
    out = []
    for kind, group in groupby(events, type):
        if kind is ToolCall:
            out += [(call.name, call.arguments) for call in group]
        else:
            out.append((kind, "".join(event.text for event in group)))
    return out


def fed(pieces, structures):
    splitter = Splitter(structures)
    events = [event for piece in pieces for event in splitter.feed(piece)]
    events += splitter.close()
    assert all(event.text for event in events if not isinstance(event, ToolCall)), "no empty deltas"
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert [call.index for call in calls] == list(range(len(calls)))
    assert len({call.id for call in calls}) == len(calls)
    assert splitter.close() == []
    return told(events)


def cuts(text):
    yield list(text)
    for at in range(len(text) + 1):
        yield [text[:at], text[at:]]
    choose = random.Random(len(text))
    for _ in range(10):
        places = sorted(choose.choices(range(len(text) + 1), k=5))
        yield [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def split(text, structures):
    """What the splitter makes of a text, after checking that no cut changes it."""
    expected = fed([text], structures)
    for pieces in cuts(text):
        assert fed(pieces, structures) == expected, f"cut as {pieces!r}"
    return expected


def text(said):
    return (Text, said)


def thought(said):
    return (Reasoning, said)


READ = ("read_file", '{"path":"src/a.py"}')
ROO_READ = "<read_file>\n<path>src/a.py</path>\n</read_file>"
HERMES = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Dhaka ঢাকা", "days": 1.50}}\n</tool_call>'
WEATHER = ("get_weather", '{"city": "Dhaka ঢাকা", "days": 1.50}')
QWEN3 = f"<think>\nI should look.\n\nTwice.\n</think>\n\n{HERMES}\n{HERMES}"

CASES = {
    # -- reasoning
    "deepseek r1": (THINK, "<think>\nhm\n</think>\n\nHi", [thought("hm"), text("Hi")]),
    "qwen3 without thinking": (THINK, "<think>\n\n</think>\n\nHi", [text("Hi")]),
    "the other tag": (THINK, "<thinking>hm</think></thinking>Hi", [thought("hm</think>"), text("Hi")]),
    "white space before": (THINK, " \r\n\t<think>hm</think> Hi", [thought("hm"), text(" Hi")]),
    "too much white space before": (THINK, " " * 65 + "<think>hm", [text(" " * 65 + "<think>hm")]),
    "only white space": (THINK, " \n", [text(" \n")]),
    "more line breaks than belong to the tags": (
        THINK,
        "<think>\n\nhm\n\n</think>\n\n\nHi",
        [thought("\nhm\n"), text("\nHi")],
    ),
    "only at the beginning": (THINK, "Write <think>x</think>.", [text("Write <think>x</think>.")]),
    "once": (THINK, "<think>a</think>b<think>c</think>", [thought("a"), text("b<think>c</think>")]),
    "anywhere": (
        ANYWHERE,
        "a<think>b</think>\n\n<think>c</think>d",
        [text("a"), thought("bc"), text("d")],
    ),
    "nothing but an unfinished thought": (THINK, "<think>hm\n", [thought("hm\n")]),
    "a thought cut in its closing tag": (THINK, "<think>hm\n</thi", [thought("hm\n</thi")]),
    "looks like the closing tag": (THINK, "<think>a</thin>\n<b\n\n</think", [thought("a</thin>\n<b\n\n</think")]),
    "looks like the opening tag": (THINK, "<thinks>hm", [text("<thinks>hm")]),
    "cut in the opening tag": (THINK, "  <thin", [text("  <thin")]),
    "no bare closing tag": (THINK, "hm</think>Hi", [text("hm</think>Hi")]),
    "a bare closing tag": (OPEN, "hm\n</think>\n\nHi", [thought("hm"), text("Hi")]),
    "a bare closing tag after all": (OPEN, "<thinking>hm</thinking>Hi", [thought("hm"), text("Hi")]),
    "a bare closing tag that never comes": (OPEN, " <hm", [thought(" <hm")]),
    "a bare closing tag, cut at the beginning": (OPEN, " <thi", [thought(" <thi")]),
    # -- JSON
    "hermes": (CALLS, f"I look.\n{HERMES}\n\nDone.", [text("I look.\n"), WEATHER, text("Done.")]),
    "qwen3": (ALL, QWEN3, [thought("I should look.\n\nTwice."), WEATHER, WEATHER]),
    "closing tag missing at the end": (CALLS, HERMES[:-12], [WEATHER]),
    "cut in the closing tag": (CALLS, HERMES[:-4], [WEATHER]),
    "arguments in a string": (
        CALLS,
        r'<tool_call>{"arguments":"{\"x\":1}","name":"f"}</tool_call>',
        [("f", '{"x":1}')],
    ),
    "parameters": (CALLS, '<tool_call>{"name":"f","parameters":{"x":1e400}}</tool_call>', [("f", '{"x":1e400}')]),
    "arguments null": (CALLS, '<tool_call>{"name":"f","arguments":null}</tool_call>', [("f", "{}")]),
    "arguments empty": (CALLS, '<tool_call>{"name":"f","arguments":""}</tool_call>', [("f", "{}")]),
    "no arguments": (CALLS, '<tool_call> {"name":"f"} </tool_call>', [("f", "{}")]),
    "tags, brackets and quotes in strings": (
        CALLS,
        r'<tool_call>{"name":"f","arguments":{"x":"</tool_call>\"}]\\","y":[{}]}}</tool_call>',
        [("f", r'{"x":"</tool_call>\"}]\\","y":[{}]}')],
    ),
    "big numbers": (
        CALLS,
        '<tool_call>{"name":"f","arguments":{"n":123456789012345678901234567890}}</tool_call>',
        [("f", '{"n":123456789012345678901234567890}')],
    ),
    "calls and no thinking": (CALLS, "<think>hm</think>", [text("<think>hm</think>")]),
    # -- XML
    "roo": (XML, f"I read.\n\n{ROO_READ}\n", [text("I read.\n\n"), READ]),
    "cline thinks first": (ALL, f"<thinking>\nhm\n</thinking>\n\n{ROO_READ}", [thought("hm"), READ]),
    "values keep all but one line break at each end": (
        XML,
        "<write_to_file><path>\n a.py \n</path> <content>\n\n\tif a < b & c:\n</content></write_to_file>",
        [("write_to_file", json.dumps({"path": " a.py ", "content": "\n\tif a < b & c:"}, separators=(",", ":")))],
    ),
    "a file with its own closing tags": (
        XML,
        "<write_to_file><path>a</path><content><content>x</content></con </content>\n</content></write_to_file>",
        [("write_to_file", '{"path":"a","content":"<content>x</content></con </content>"}')],
    ),
    "no parameters": (XML, "<list>\n</list>", [("list", "{}")]),
    "odd names": (XML, "<a.b><c+d>1</c+d></a.b>", [("a.b", '{"c+d":"1"}')]),
    "the last of two": (XML, "<read_file><path>a</path><path>b</path></read_file>", [("read_file", '{"path":"b"}')]),
    "line breaks of other readers": (
        XML,
        "<read_file><path>\u2028\ud83d</path></read_file>",
        [("read_file", '{"path":"\\u2028\ufffd"}')],
    ),
    "after prose that names the tag": (
        XML,
        f"Use <read_file> or `<read_file> <path`: {ROO_READ}",
        [text("Use <read_file> or `<read_file> <path`: "), READ],
    ),
    "after prose that ends early": (
        XML,
        f"Use <read_file> and <{ROO_READ}",
        [text("Use <read_file> and <"), READ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_structure_is_found_whatever_the_cut(name):
    structures, given, expected = CASES[name]
    assert split(given, structures) == expected


UNCHANGED = {
    "no JSON": "<tool_call>f(x)</tool_call>",
    "no object": '<tool_call>["f"]</tool_call>',
    "no name": '<tool_call>{"arguments":{}}</tool_call>',
    "an empty name": '<tool_call>{"name":""}</tool_call>',
    "a name that is no text": '<tool_call>{"name":5}</tool_call>',
    "arguments that are a list": '<tool_call>{"name":"f","arguments":[1]}</tool_call>',
    "a key twice": '<tool_call>{"name":"f","name":"g"}</tool_call>',
    "single quotes": "<tool_call>{'name': 'f'}</tool_call>",
    "a bracket too few": '<tool_call>{"name":"f","arguments":{"x":1}</tool_call>',
    "a bracket too many": '<tool_call>{"name":"f"}}</tool_call>',
    "brackets that do not match": '<tool_call>{"name":"f"]</tool_call>',
    "a line break in a string": '<tool_call>{"name":"f\n"}</tool_call>',
    "half of a character": '<tool_call>{"name":"\ud83d"}</tool_call>',
    "too deep": '<tool_call>{"name":"f","arguments":' + "[" * 130 + "</tool_call>",
    "a comma too many": '<tool_call>{"name":"f",}</tool_call>',
    "text before the closing tag": '<tool_call>{"name":"f"} x</tool_call>',
    "another closing tag": '<tool_call>{"name":"f"}</tool_response>',
    "unfinished": '<tool_call>{"name":"f","argum',
    "unfinished in a string": '<tool_call>{"name":"f\\',
    "nothing in it": "<tool_call>",
    "blank": "<tool_call> \n",
    "closed at once": "<tool_call></tool_call>",
    "only looks like it": "a < b <tool_cal <tool_call <TOOL_CALL>",
    "a closing tag alone": "</tool_call></read_file>",
    "an unknown parameter": "<read_file><url>x</url></read_file>",
    "text between parameters": "<read_file>x<path>a</path></read_file>",
    "text after a parameter": "<read_file><path>a</path>x</read_file>",
    "another tool closed": "<read_file><path>a</path></list>",
    "unfinished value": "<read_file><path>a</pa",
    "unfinished call": "<read_file><path>a</path></read_fil",
    "unfinished between": "<read_file>\n",
    "half of a value": "<read_file><path>\ud83d\ude00</path>",
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_is_no_call_comes_out_as_text_unchanged(name):
    given = f"a {UNCHANGED[name]}"
    assert split(given, ALL) == [text(given)]


@pytest.mark.parametrize("name", ["no JSON", "a bracket too few", "an unknown parameter", "text between parameters"])
def test_what_follows_a_spoilt_call_is_looked_at_again(name):
    given = f"{UNCHANGED[name]}{HERMES}"
    assert split(given, ALL) == [text(UNCHANGED[name]), WEATHER]


@pytest.mark.parametrize("given", [*UNCHANGED.values(), *(case[1] for case in CASES.values())])
def test_by_default_every_piece_passes_untouched_and_at_once(given):
    splitter = Splitter()
    for pieces in cuts(given):
        for piece in pieces:
            assert splitter.feed(piece) == ([Text(piece)] if piece else [])
    assert splitter.close() == []


# Pieces, and what of them is out after each: the last decides.
HELD = [
    [("a <", "a "), ("b", "<b")],
    [("a <tool_cal", "a "), ("x", "<tool_calx")],
    [("a <tool_cal", "a "), ("<", "<tool_cal")],
    [("<tool_call>\n ", ""), ("f", "<tool_call>\n f")],
    [("<tool_call>{", ""), ("x", "<tool_call>{x")],
    [('<tool_call>{"name"', ""), ("'", '<tool_call>{"name"\'')],
    [('<tool_call>{"name":"', ""), ("\n", '<tool_call>{"name":"\n')],
    [('<tool_call>{"name":5', ""), ("}", '<tool_call>{"name":5}')],
    [('<tool_call>{"name":"f"} ', ""), ("x", '<tool_call>{"name":"f"} x')],
    [("<read_file>\n", ""), ("x", "<read_file>\nx")],
    [("<read_file>\n<pat", ""), ("x", "<read_file>\n<patx")],
    [("<read_file>\n<pat", ""), ("<", "<read_file>\n<pat")],
    [("  <thin", ""), ("x", "  <thinx")],
    [(" ", ""), ("x", " x")],
]


@pytest.mark.parametrize("steps", HELD)
def test_nothing_is_held_longer_than_it_must_be(steps):
    splitter = Splitter(ALL)
    for piece, out in steps:
        assert "".join(event.text for event in splitter.feed(piece)) == out


def test_reasoning_holds_a_line_break_and_the_beginning_of_its_end():
    splitter = Splitter(THINK)
    assert splitter.feed("<think>\na") == [Reasoning("a")]
    for held, more, out in (("\n", "b", "\nb"), ("</thin", " ", "</thin "), ("\n</", "c", "\n</c"), ("\n", "\n", "\n")):
        assert splitter.feed(held) == []
        assert splitter.feed(more) == [Reasoning(out)]
    assert splitter.close() == [Reasoning("\n")]


def test_a_call_that_is_too_long_comes_out_as_text_wherever_it_is_cut():
    structures = Structures(tool_call=True, xml_tools=ROO, think=["think"], think_anywhere=True, max_held=80)
    inside = '<tool_call>{"name":"f","arguments":{"x":"%s"}}</tool_call>'
    fits = inside % ("a" * (80 - len(inside % "")))
    assert split(fits, structures)[0][0] == "f"
    longer = inside % ("a" * (81 - len(inside % "")))
    assert split(longer + fits, structures) == [text(longer), *split(fits, structures)]
    tags_inside = inside % ("<think>" * 12)
    found = split(tags_inside, structures)
    assert found[0][0] is Text
    assert "".join(said for _, said in found).replace("<think>", "") == tags_inside.replace("<think>", "")
    xml = "<write_to_file><path>a</path><content>" + "é" * 80 + "</content></write_to_file>"
    assert split(xml, structures) == [text(xml)]
    assert split(xml, Structures(xml_tools=ROO, max_held=1)) == [text(xml)]


def test_more_calls_than_anybody_handles_are_text():
    one = '<tool_call>{"name":"f"}</tool_call>'
    found = fed([one * 1025], CALLS)
    assert found == [("f", "{}")] * 1024 + [text(one)]


@pytest.mark.parametrize(
    ("structures", "unit"),
    [
        (ALL, "<"),
        (ALL, "<tool_cal"),
        (THINK, "<think>\n</thin"),
        (CALLS, '<tool_call>{"a":[1,"\\"'),
        (CALLS, '<tool_call>{"name":"f"}'),
        (XML, "<read_file><path></path></read_fil"),
        (XML, "<write_to_file><content></content>\n</conten"),
        (ALL, "<read_file>\n" + " " * 50),
    ],
)
def test_c45_work_grows_with_the_text_however_it_is_cut(structures, unit):
    given = unit + unit * 200
    splitter = Splitter(structures)
    looked_at = 0
    for char in given:
        splitter.feed(char)
        looked_at += len(splitter._text)  # each feed works on what is held and what came, and on nothing else
    assert looked_at <= len(given) * (structures.longest + tags.MAX_LEADING)
    assert "".join(event.text for event in Splitter(structures).feed(given)) in given


FRAGMENTS = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", '{"name":"f"}', '{"name":"f","arguments":{"x":"<', '"}}'),
    *(
        "<read_file>",
        "</read_file>",
        "<path>",
        "</path>",
        "<list>",
        "</list>",
        "<",
        "</",
        "{",
        "}",
        "[",
        "]",
        '"',
        "\\",
    ),
    *("\n", "\n\n", " ", "a", "1", "é", "\ud83d"),
]


@pytest.mark.parametrize("max_held", [5, 30, tags.MAX_HELD])
@pytest.mark.parametrize("options", [{}, {"think_anywhere": True}, {"think_open": True}])
def test_no_cut_changes_anything_in_texts_made_of_fragments(options, max_held):
    structures = Structures(think=["think"], tool_call=True, xml_tools=ROO, max_held=max_held, **options)
    choose = random.Random(max_held)
    for _ in range(60):
        split("".join(choose.choices(FRAGMENTS, k=choose.randint(1, 20))), structures)


def test_giant_deltas_are_worked_on_in_pieces():
    given = "x" * 100_000 + HERMES + "<tool_call>{" * 9000 + HERMES
    expected = [text("x" * 100_000), WEATHER, text("<tool_call>{" * 9000), WEATHER]
    assert fed([given], CALLS) == expected
    assert fed([given[at : at + 1000] for at in range(0, len(given), 1000)], CALLS) == expected


def test_a_splitter_is_closed_once():
    splitter = Splitter(ALL)
    assert splitter.feed("a<") == [Text("a")]
    assert splitter.close() == [Text("<")]
    assert splitter.close() == []
    with pytest.raises(LocalProtocolError):
        splitter.feed("x")


# -- events -----------------------------------------------------------------------------------------------

CALL = ToolCall(0, 0, "native", "g", "{}")


def test_events_pass_and_a_call_in_the_text_makes_the_finish_a_tool_call():
    usage, start = Usage(1, 2, 3), Start("chatcmpl-1", "m", 1)
    given = [start, Reasoning("hm"), *map(Text, HERMES), Refusal("no"), Finish(0, "stop"), usage, End()]
    out = Events(ALL).feed(given)
    (call,) = [event for event in out if isinstance(event, ToolCall)]
    assert out == [start, Reasoning("hm"), call, Refusal("no"), Finish(0, "tool_calls"), usage, End()]
    assert (call.choice, call.index, call.name) == (0, 0, "get_weather")
    other = Events(ALL, id="other").feed([Text(HERMES), End()])
    assert other[0].id != call.id
    assert other[0] == Events(ALL, id="x").feed([Start("other", "m", 1), Text(HERMES)])[1]


@pytest.mark.parametrize("reason", ["length", "content_filter", "stop"])
def test_other_finishes_stay(reason):
    given = [Text(HERMES if reason != "stop" else "Hi"), Finish(0, reason)]
    assert Events(ALL).feed(given)[-1] == Finish(0, reason)


def test_choices_are_split_on_their_own():
    given = [Text("<tool", 0), Text("<read", 1), Text("_call", 0), Text("_file", 1), Finish(0, "stop"), End()]
    assert Events(ALL).feed(given) == [Text("<tool_call", 0), Finish(0, "stop"), Text("<read_file", 1), End()]


def test_what_was_held_comes_before_a_failure_and_text_after_a_finish_passes():
    failed = Failed("boom")
    assert Events(ALL).feed([Text("a<"), failed]) == [Text("a"), Text("<"), failed]
    assert Events(ALL).feed([Finish(0, "stop"), Text("<"), End()]) == [Finish(0, "stop"), Text("<"), End()]


def test_calls_that_came_as_such_keep_their_order_among_those_of_the_text():
    more = ToolCall(0, 0, "", "", "x")
    second = ToolCall(0, 1, "native2", "h", "{}")
    out = Events(ALL).feed([CALL, more, Text(HERMES), second, more, Finish(0, "tool_calls")])
    assert [(event.index, event.name) for event in out[:-1]] == [
        (0, "g"),
        (0, ""),
        (1, "get_weather"),
        (2, "h"),
        (0, ""),
    ]
    assert out[-1] == Finish(0, "tool_calls")


def test_a_whole_answer_is_split_too():
    choices = [
        Choice(0, QWEN3, "before ", "", [CALL], "stop"),
        Choice(1, "Hi", "", "no", [], None),
        Choice(2, "<think>a</think>b", "z", "", [], "length", (Reasoning("z", 2, "signed"),)),
    ]
    answer = Answer("i", "m", 1, choices, None)
    found = split_answer(answer, ALL)
    first, second, third = found.choices
    assert (first.text, first.reasoning, first.reason) == ("", "before I should look.\n\nTwice.", "tool_calls")
    assert [(call.index, call.name) for call in first.tool_calls] == [(0, "g"), (1, "get_weather"), (2, "get_weather")]
    assert second == choices[1]
    assert (third.text, third.reasoning, third.reason) == ("b", "za", "length")
    assert third.thoughts == (Reasoning("z", 2, "signed"), Reasoning("a", 2))
    assert found._replace(choices=[]) == answer._replace(choices=[])
    assert split_answer(answer, Structures()) == answer


def test_between_a_decoder_and_an_encoder():
    halves = [QWEN3[at : at + 7] for at in range(0, len(QWEN3), 7)]
    data = sse(*[chunk({"content": half}) for half in halves], chunk({}, "stop"))
    for pieces in ([data], feeding.bytewise(data)):
        decoder, events, encoder = openai.StreamDecoder(), Events(ALL), ollama.StreamEncoder()
        given = [*map(decoder.feed, pieces), decoder.close()]
        lines = b"".join(encoder.encode(events.feed(found)) for found in given).splitlines()
        messages = [json.loads(line)["message"] for line in lines]
        assert "".join(message.get("thinking", "") for message in messages) == "I should look.\n\nTwice."
        assert "".join(message["content"] for message in messages) == ""
        (calls,) = [message["tool_calls"] for message in messages if "tool_calls" in message]
        assert [call["function"]["name"] for call in calls] == ["get_weather"] * 2


def test_a_request_s_tools_say_which_xml_to_look_for():
    function = {"name": "read_file", "parameters": {"type": "object", "properties": {"path": {}, "line": {}}}}
    listed = [{"type": "function", "function": function}, {"type": "function", "function": {"name": "list"}}]
    listed += [{"type": "custom", "custom": {"name": "x"}}, {"type": "function", "function": {}}]
    assert parameters_of(listed) == {"read_file": ["path", "line"], "list": []}
