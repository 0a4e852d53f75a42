"""`look`: a run that it clears is what parsing would have made of it, and nothing else is cleared."""

import json
import random

import pytest

from chat_streams import chunk, drive, sse
from penstock.protocol.look import Look
from penstock.protocol.relay import Relay

TEMPLATE = b'data: {"a":"x","content":"%b","b":[1]}\n\n'
PADDED = b'data: {"content":"%b","obfuscation":"%b"}\n\n'


def through(block):
    """Everything may pass as it is."""
    try:
        json.loads(block[6:])
    except ValueError:
        return None
    return block + b"\n\n", len(block) - 6


def looking(*blocks, mend=through):
    look = Look(mend)
    for block in blocks:
        look.learn(block.rstrip(b"\n"))
    return look


CLEAR = [
    b"Hel",
    b"",
    "日本 😀".encode(),
    b'a\\"b\\\\\\n\\/',
    b"\\u0416\\u2028",
    b"\\ud83d\\ude00",
    b"}]}",
    b"\x7f",
    b" ",
]
UNCLEAR = [
    b'"',
    b"\\",
    b"\\x",
    b"\\u12",
    b"\\ud83d",
    b"\\ude00",
    b"\\ud83d\\u0041",
    b"\n",
    b"\x00",
    b"\t",
    b"\xff",
    b"\xe2\x80",
    "\u2028".encode(),
    "\u2029".encode(),
    "\x85".encode(),
    b'","b":[1]}\n\ndata: {"oops',
    b'","content":"',
]


@pytest.mark.parametrize("text", CLEAR)
def test_texts_that_need_no_mending_pass(text):
    look = looking(TEMPLATE % b"learned")
    for run in (TEMPLATE % text, TEMPLATE % b"a" + TEMPLATE % text, TEMPLATE % text + TEMPLATE % b"b"):
        assert look.glance(run) is run
        assert look.frames == run.count(b"data: {")
        assert look.largest == max(len(event) - 6 for event in run.split(b"\n\n"))


@pytest.mark.parametrize("text", UNCLEAR)
def test_texts_that_could_end_their_string_or_need_mending_do_not(text):
    look = looking(TEMPLATE % b"learned")
    for run in (TEMPLATE % text, TEMPLATE % b"a" + TEMPLATE % text, TEMPLATE % text + TEMPLATE % b"b"):
        assert look.glance(run) is None


def test_a_character_cut_apart_by_two_frames_is_not_joined():
    look = looking(TEMPLATE % b"x")
    assert look.glance(TEMPLATE % b"\xd0" + TEMPLATE % b"\xb6") is None


def test_head_and_tail_may_not_overlap():
    look = looking(b'data: {"content":"x","content2":"","z":""}')
    assert look.glance(b'data: {"content":"","content2":"","z":""}\n\n') is not None
    assert look.glance(b'data: {"content":","content2":"","z":""}\n\n') is None
    assert Look(through).glance(TEMPLATE % b"x") is None


def test_a_second_text_may_vary_too():
    look = looking(PADDED % (b"a", b"abc"))
    run = PADDED % (b"", b"") + PADDED % (b"Hi", b"x") + PADDED % (b'\\"', b"yy")
    assert look.glance(run) is run
    assert look.largest == len(PADDED % (b'\\"', b"yy")) - 8
    assert look.glance(PADDED % (b"a", b'x"')) is None
    assert look.glance(PADDED % (b"a", b"x") + TEMPLATE % b"a") is None


def test_what_is_mended_is_mended_in_a_run():
    def rename(block):
        found = through(block)
        return found and (found[0].replace(b'"content"', b'"text"').replace(b',"obfuscation"', b',"o"'), found[1])

    look = looking(TEMPLATE % b"x", PADDED % (b"x", b"y"), mend=rename)
    assert (
        look.glance(TEMPLATE % b"a" + TEMPLATE % b'\\"')
        == rename(TEMPLATE % b"a")[0][:-2] + rename(TEMPLATE % b'\\"')[0][:-2]
    )
    padded = PADDED % (b"a", b"b")
    assert look.glance(padded + padded) == rename(padded)[0][:-2] * 2
    for text in (b"", b"\\u0416", b"\\/"):  # an empty text, and spellings that mending would not keep
        assert look.glance(TEMPLATE % b"a" + TEMPLATE % text) is None


@pytest.mark.parametrize(
    "block",
    [
        b'data: {"content":"a","x":{"content":"b"}}',
        b'data: {"content":null}',
        b'data: {"content":"a"',
        b'data: {"content":"a\r"}',
        b'data: {"content":"<the probe of penstock>","x":"<the probe of penstock>"}',
    ],
)
def test_not_every_shape_can_be_learned(block):
    look = looking(block)
    assert look.glance(block + b"\n\n") is None


def test_what_mends_may_refuse():
    assert looking(TEMPLATE % b"x", mend=lambda block: None).glance(TEMPLATE % b"x") is None
    assert looking(TEMPLATE % b"x", mend=lambda block: (b"", 0)).glance(TEMPLATE % b"x") is None


def test_the_last_shapes_are_kept_and_lessons_are_bounded():
    shapes = [b'data: {"n":%d,"content":"%%b"}\n\n' % n for n in range(30)]
    look = looking(*[shape % b"x" for shape in shapes[:6]])
    assert [look.glance(shape % b"y") is not None for shape in shapes[:6]] == [False, False, True, True, True, True]
    assert look.glance(shapes[3] % b"z") is not None  # and it is the first to be tried now
    assert look._templates[0].head == shapes[3].partition(b"%b")[0]
    for shape in shapes:
        look.learn((shape % b"x").rstrip(b"\n"))
    assert look.glance(shapes[-1] % b"y") is None
    look.forget()
    assert look.glance(shapes[9] % b"y") is None


TEXTS = [
    "Hel",
    "привет",
    "",
    "日本",
    "😀",
    "a\nb",
    'q"q',
    "\u2028x",
    "\x85",
    "\\",
    "\ud83d",
    "\ude00",
    "x\ud83d",
    "\ude00y",
    "\ufffd",
]


def random_chunk(choose):
    text = choose.choice(TEXTS)
    finish = choose.choice([None] * 12 + ["stop", "length", ""])
    entry = {"index": choose.choice([0, 0, 1]), "function": {"arguments": text}}
    if choose.random() < 0.2:
        entry |= {"id": choose.choice("ab"), "type": "function"}
    delta = choose.choice(
        [
            {"content": text},
            {"content": text},
            {"reasoning": text},
            {"reasoning_content": text, "content": None},
            {"role": "assistant", "content": text},
            {"content": text, "reasoning": choose.choice(["", "constant"])},
            {"tool_calls": [entry]},
            {"refusal": text},
        ]
    )
    extra = choose.choice(
        [{}, {}, {}, {"obfuscation": "abc"[: choose.randint(0, 3)]}, {"usage": {"prompt_tokens": 1}}, {"type": "x"}]
    )
    return chunk(delta, finish, index=choose.choice([0, 0, 0, 1]), **extra)


@pytest.mark.parametrize("seed", range(5))
def test_relays_that_look_and_relays_that_parse_everything_agree(seed):
    choose = random.Random(seed)
    for _ in range(60):
        shapes = [random_chunk(choose) for _ in range(3)]
        objects = [choose.choice([*shapes, random_chunk(choose)]) for _ in range(choose.randint(1, 14))]
        objects = [
            sse(item, done=False) if choose.random() < 0.8 else sse(item, done=False).replace(b"data: ", b"data:")
            for item in objects
        ]
        stream = b": begin\n\n" + sse(*objects)
        parsing = Relay("openai", "openai", id="own", created=1, model="m", include_usage=True)
        parsing.feed(b": begin\n\n")
        parsing._pipe._look._lessons = 0
        expected = drive(parsing, [stream])
        for size in (len(stream), 700, 61):
            looking = Relay("openai", "openai", id="own", created=1, model="m", include_usage=True)
            looking.feed(b": begin\n\n")
            pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
            assert drive(looking, pieces) == expected, stream
