"""Which messages stay: the system's and the newest that fit, and never half of a tool call."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from penstock.server.store.trimming import estimate, trim


def message(role, name, **more):
    return {"role": role, "content": name, **more}


SYSTEM, USER, ANSWER = message("system", "s"), message("user", "u"), message("assistant", "a")
CALL, RESULT, MORE = message("assistant", "c", tool_calls=[{}]), message("tool", "r"), message("tool", "t")


def kept(messages, limit):
    """By one token a message."""
    return "".join(message["content"] for message in trim(messages, limit, lambda message: 1))


@pytest.mark.parametrize(
    ("messages", "limit", "stay"),
    [
        ([], 5, ""),
        ([SYSTEM], 0, "s"),
        ([USER], 0, "u"),
        ([SYSTEM, USER, ANSWER, USER], 9, "suau"),
        ([SYSTEM, USER, ANSWER, USER], 3, "sau"),
        ([SYSTEM, USER, ANSWER, USER], 1, "su"),
        ([USER, ANSWER, SYSTEM, USER], 2, "su"),
        ([USER, message("developer", "d"), USER], 2, "du"),
        # a result whose call is gone goes too
        ([USER, CALL, RESULT, MORE, ANSWER, USER], 4, "au"),
        ([USER, CALL, RESULT, MORE, ANSWER, USER], 5, "crtau"),
        ([USER, CALL, RESULT, MORE, ANSWER, USER], 6, "ucrtau"),
        # a conversation that waits for the model to go on from results keeps their call, whatever the limit
        ([USER, CALL, RESULT, MORE], 1, "crt"),
        ([USER, CALL, RESULT, MORE], 0, "crt"),
        ([RESULT, MORE], 1, "rt"),
    ],
)
def test_system_and_the_newest_stay(messages, limit, stay):
    assert kept(messages, limit) == stay


def test_what_stays_is_what_was_given():
    messages = [SYSTEM, USER]
    assert all(before is after for before, after in zip(messages, trim(messages, 100), strict=True))


def test_tokens_are_estimated_by_bytes_and_attachments_by_a_number():
    assert estimate({"role": "user", "content": "a" * 400}) == pytest.approx(100, abs=10)
    assert estimate({"role": "user", "content": "д" * 400}) == pytest.approx(200, abs=10)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4_000_000}}
    with_picture = {"role": "user", "content": [{"type": "text", "text": "hi"}, picture]}
    assert 500 < estimate(with_picture) < 2000
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "x" * 4000}}
    assert estimate({"role": "assistant", "content": None, "tool_calls": [call]}) > 1000
    assert estimate({"role": "user", "content": "\ud800", "n": 1}) < 10


ROLES = some.sampled_from(["system", "user", "assistant", "tool"])


@given(some.lists(some.tuples(ROLES, some.integers(0, 9))), some.integers(-5, 60))
def test_whatever_the_conversation(turns, limit):
    messages = [{"role": role, "tokens": tokens, "place": place} for place, (role, tokens) in enumerate(turns)]
    left = trim(messages, limit, lambda message: message["tokens"])
    places = [message["place"] for message in left]
    assert places == sorted(set(places))
    assert [message for message in left if message["role"] == "system"] == [
        message for message in messages if message["role"] == "system"
    ]
    others = [message for message in messages if message["role"] != "system"]
    stayed = [message for message in left if message["role"] != "system"]
    assert stayed == others[len(others) - len(stayed) :]
    assert bool(stayed) == bool(others)
    if stayed and stayed[0]["role"] == "tool":  # there was no call to begin with
        assert stayed == others
        assert all(message["role"] == "tool" for message in others[: len(others) - len(stayed) + 1])
    forced = len(stayed) == 1 or all(message["role"] == "tool" for message in stayed[1:])
    assert forced or sum(message["tokens"] for message in left) <= limit
