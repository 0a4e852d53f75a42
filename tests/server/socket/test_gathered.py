"""The sum of a stream that is read in runs is that of one whose every chunk is read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import DONE, delta, finish, reasoning, role, sse, text, tool, usage
from penstock.protocol.chat import Accumulator
from penstock.protocol.dialects import DIALECTS
from penstock.protocol.errors import LimitExceeded
from penstock.server.config import Limits
from penstock.server.socket.gathered import Gathered

TEXTS = [
    "Hel",
    "lo",
    "",
    '"',
    "\\",
    "\\n",
    'a"b\\',
    "\n\n",
    "é🎉",
    "\u2028",
    '"}',
    '{"delta":{"content":"x"}}',
    "x" * 9000,
]
EVENTS = st.one_of(
    st.sampled_from(TEXTS).map(text),
    st.text(max_size=5).map(text),
    st.sampled_from(TEXTS).map(lambda t: text(t, 1)),
    st.sampled_from(TEXTS).map(reasoning),
    st.sampled_from(TEXTS).map(lambda t: delta(content=t, refusal=None)),
    st.sampled_from(TEXTS).map(lambda t: text(t) | {"system_fingerprint": "fp"}),
    st.sampled_from(TEXTS).map(lambda t: tool(0, t, id="call_1", name="f")),
    st.sampled_from(TEXTS).map(lambda t: text(t) | {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
    st.just(delta("stop", content="with its reason")),
    st.just({**text("a"), "choices": text("a")["choices"] + text("b", 1)["choices"]}),
)


def in_full(frames):
    decoder, whole = DIALECTS["openai"].decoder("sse"), Accumulator()
    for frame in frames:
        whole.feed(decoder.feed(frame))
    return json.loads(DIALECTS["openai"].encode_response(whole.answer()))


def in_runs(frames):
    gathered = Gathered("openai", Limits())
    for frame in frames:
        gathered.keep(frame)
    return json.loads(gathered.result(summary=False))


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=30), st.booleans())
def test_the_sum_is_that_of_every_chunk_read(events, escaped):
    frames = [b"data: %b\n\n" % json.dumps(e, ensure_ascii=escaped, separators=(",", ":")).encode() for e in events]
    frames = [sse(role()), *frames, sse(finish(), usage(), DONE)]
    assert in_runs(frames) == in_full(frames)


@pytest.mark.parametrize("words", [['say "hi"', "\\", "\\\\", '\\"'], ["é", "🎉", "\u2028"], ["a", "", "b"]])
def test_texts_that_have_to_be_escaped(words):
    frames = [sse(role()), *(sse(text(word)) for word in words * 3), sse(finish(), DONE)]
    assert in_runs(frames)["choices"][0]["message"]["content"] == "".join(words * 3)


def test_chunks_alike_are_not_read_one_by_one(monkeypatch):
    read = 0
    gathered = Gathered("openai", Limits())
    feed = gathered._decoder.feed

    def counted(data):
        nonlocal read
        read += 1
        return feed(data)

    monkeypatch.setattr(type(gathered._decoder), "feed", lambda self, data: counted(data))
    gathered.keep(sse(role()))
    for _ in range(1000):
        gathered.keep(sse(text("word ")))
    assert gathered.so_far()["partial"]["choices"][0]["message"]["content"] == "word " * 1000
    assert read < 10


def test_a_limit_on_all_of_it():
    gathered = Gathered("openai", Limits(message_bytes=10_000))
    frames = sse(*(text("x" * 100) for _ in range(1000)))
    with pytest.raises(LimitExceeded):
        gathered.keep(frames)
    assert len(gathered.so_far()["partial"]["choices"][0]["message"]["content"]) <= 10_000
