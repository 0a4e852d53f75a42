"""`chat` and `lifecycle`: the state table, every state by every sign, and whole answers from events."""

import pytest

from penstock.protocol.chat import (
    NEW_ENTRY,
    TRANSITIONS,
    Accumulator,
    Answer,
    Choice,
    End,
    Ending,
    Failed,
    Finish,
    Lifecycle,
    Phase,
    Reasoning,
    Refusal,
    Sign,
    Start,
    Text,
    ToolCall,
    Usage,
)
from penstock.protocol.errors import LimitExceeded, LocalProtocolError

WAYS = {
    Phase.WAITING: lambda life: None,
    Phase.STREAMING: lambda life: life.content(0),
    Phase.FINISHED: lambda life: life.finish(0),
    Phase.COMPLETED: lambda life: (life.content(0), life.marker()),
    Phase.TRUNCATED: lambda life: (life.content(0), life.eof()),
    Phase.FAILED: lambda life: life.fail(),
}
SIGNS = {
    Sign.CONTENT: lambda life: life.content(1),
    Sign.FINISH: lambda life: life.finish(0),
    Sign.MARKER: Lifecycle.marker,
    Sign.EOF: Lifecycle.eof,
    Sign.FAILURE: Lifecycle.fail,
}


@pytest.mark.parametrize("sign", Sign)
@pytest.mark.parametrize("phase", Phase)
def test_every_phase_by_every_sign(phase, sign):
    life = Lifecycle()
    WAYS[phase](life)
    assert life.phase is phase
    if not TRANSITIONS[phase]:
        assert life.ended
        with pytest.raises(LocalProtocolError):
            SIGNS[sign](life)
        return
    SIGNS[sign](life)
    assert life.phase is TRANSITIONS[phase][sign]
    assert life.ended is (life.ending is not None) is (not TRANSITIONS[life.phase])
    assert life.finished is (life.phase is Phase.FINISHED)


@pytest.mark.parametrize(
    ("signs", "ending"),
    [
        ("eof", "failed"),
        ("marker", "failed"),
        ("content0 eof", "truncated"),
        ("content0 marker", "completed"),
        ("content0 finish0 eof", "completed"),
        ("content0 content1 finish0 eof", "truncated"),
        ("content0 content1 finish0 finish1 eof", "completed"),
        ("content0 finish0 content1 eof", "truncated"),
        ("content0 finish0 content0 eof", "completed"),
        ("content0 content0 fail", "failed"),
    ],
)
def test_c21_the_upstream_declares_the_end_or_there_is_none(signs, ending):
    life = Lifecycle()
    for sign in signs.split():
        name, choice = sign.rstrip("0123456789"), sign[len(sign.rstrip("0123456789")) :]
        getattr(life, name)(*([int(choice)] if choice else []))
    assert str(life.ending) == ending
    assert life.started is ("content" in signs)


def test_an_ending_names_its_deadline():
    assert str(Ending("timed_out", "idle")) == "timed_out(idle)"


def test_events_become_the_whole_answer():
    whole = Accumulator()
    usage = Usage(1, 2, 3)
    whole.feed([Start("id", "m", 5), Reasoning("hm"), Text("При"), Text("вет"), Refusal("no", 1)])
    whole.feed([ToolCall(0, 1, "b", "g", ""), ToolCall(0, 0, "a", "f", '{"x"'), ToolCall(0, 0, "", "", ":1}")])
    whole.feed([Finish(0, "tool_calls"), usage, End()])
    calls = [ToolCall(0, 0, "a", "f", '{"x":1}'), ToolCall(0, 1, "b", "g", "")]
    assert whole.answer() == Answer(
        "id", "m", 5, [Choice(0, "Привет", "hm", "", calls, "tool_calls"), Choice(1, "", "", "no", [], None)], usage
    )


def test_signed_reasoning_survives_in_the_blocks_that_it_came_in():
    whole = Accumulator()
    whole.feed(
        [Reasoning("a"), Reasoning("b", 0, "s1"), Reasoning("", 0, "s2"), Text("x"), Reasoning("c"), Reasoning("d")]
    )
    whole.feed([Reasoning("e", 1), Reasoning("f", 1)])
    first, second = whole.answer().choices
    assert (first.reasoning, second.reasoning) == ("abcd", "ef")
    assert first.thoughts == (Reasoning("ab", 0, "s1"), Reasoning("", 0, "s2"), Reasoning("cd"))
    assert second.thoughts == (), "none of it was signed"
    assert whole.answer().choices == [first, second], "asking changes nothing"


def test_c44_a_message_without_end_is_refused_before_it_is_kept():
    whole = Accumulator(max_message_bytes=NEW_ENTRY + 10)
    whole.feed([Text("жжжж"), Text("ab"), Failed("x")])
    with pytest.raises(LimitExceeded) as caught:
        whole.feed([Text("c")])
    assert (caught.value.kind, caught.value.limit) == ("message_too_large", NEW_ENTRY + 10)
    assert whole.answer().choices[0].text == "жжжжab"


@pytest.mark.parametrize(
    ("events", "cost"),
    [
        ([Finish(9, "stop")], NEW_ENTRY),
        ([Text("a", 1), Text("b", 2), Finish(1, "stop")], 2 * NEW_ENTRY + 2),
        ([ToolCall(0, 0, "id", "name", "{}"), ToolCall(0, 0, "", "", "x")], 2 * NEW_ENTRY + 9),
        ([ToolCall(0, 0, "", "", ""), ToolCall(0, 1, "", "", "")], 3 * NEW_ENTRY),
        ([Reasoning("ab", 0, "sig"), Reasoning("", 0, "s")], 3 * NEW_ENTRY + 6),
    ],
)
def test_c44_ids_names_choices_and_calls_count(events, cost):
    Accumulator(cost).feed(events)
    with pytest.raises(LimitExceeded):
        Accumulator(cost - 1).feed(events)
