"""Embeddings from one form into the other: every cut, every spelling, and what is no embedding."""

import base64
import json
import random
import struct
import tracemalloc

import pytest

from feeding import bytewise, cuts, outcome, same_for_every_cut
from penstock.protocol.embeddings import Repacker

VECTOR = [0.1, 0.25, -0.5]
PACKED = "zczMPQAAgD4AAAC/"  # as OpenAI's own API has it


def answer(*embeddings, **more):
    data = [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}, **more}


def repacked(form, body):
    found = same_for_every_cut(lambda: Repacker(form), body, splits=200)
    assert found.fault is None
    return found.results


def test_numbers_become_base64():
    assert json.loads(repacked("base64", json.dumps(answer(VECTOR)).encode())) == answer(PACKED)


def test_base64_becomes_numbers_that_are_the_same_float32s():
    found = json.loads(repacked("float", json.dumps(answer(PACKED)).encode()))["data"][0]["embedding"]
    assert struct.pack("<3f", *found) == struct.pack("<3f", *VECTOR)


@pytest.mark.parametrize("form", ["float", "base64"])
def test_what_has_the_form_already_passes_byte_for_byte(form):
    body = json.dumps(answer(VECTOR if form == "float" else PACKED), indent=2).encode()
    assert repacked(form, body) == body


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 6, 7])
def test_vectors_of_any_length_there_and_back(size):
    numbers = [0.5 * (n + 1) for n in range(size)]
    body = json.dumps(answer(numbers, numbers), separators=(",", ":")).encode()
    there = repacked("base64", body)
    assert [e["embedding"] for e in json.loads(there)["data"]] == [
        base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
    ] * 2
    assert json.loads(repacked("float", there)) == answer(numbers, numbers)


def test_every_float32_comes_back():
    choose = random.Random(7)
    raw = b"".join(choose.randbytes(4) for _ in range(3000))
    numbers = [n for n in struct.unpack("<3000f", raw) if n - n == 0]
    packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    machine = Repacker("float")
    found = json.loads(machine.feed(json.dumps(answer(packed)).encode()) + machine.close())["data"][0]["embedding"]
    assert struct.pack(f"<{len(numbers)}f", *found) == struct.pack(f"<{len(numbers)}f", *numbers)


@pytest.mark.parametrize(
    ("form", "written", "becomes"),
    [
        ("base64", b'{"embedding" \n:\t[ 0.1 ,\r\n0.25, -5e-1 ]}', b'{"embedding" \n:\t"%b"}' % PACKED.encode()),
        ("base64", b'{"embedding":[]}', b'{"embedding":""}'),
        ("base64", b'{"embedding":[ ]}', b'{"embedding":""}'),
        ("float", b'{"embedding":""}', b'{"embedding":[]}'),
        ("float", b'{"embedding":"AACAPw=="}', b'{"embedding":[1]}'),
        ("float", b'{"embedding":"AACAPw"}', b'{"embedding":[1]}'),  # without its padding
        ("float", b'{"embedding":"zczMPQAAgD4AAAC\\/"}', b'{"embedding":[0.100000001,0.25,-0.5]}'),
        ("float", b'{"embedding":"zczMPQAAgD4AAAC\\u002F"}', b'{"embedding":[0.100000001,0.25,-0.5]}'),
        ("base64", b'{"embedding":null}', b'{"embedding":null}'),
        ("base64", b'{"embedding":{"a":[1]}}', b'{"embedding":{"a":[1]}}'),
    ],
)
def test_spellings(form, written, becomes):
    assert repacked(form, written) == becomes


@pytest.mark.parametrize(
    "body",
    [
        b'{"object":"embedding","x":[1,2]}',
        b'["embedding" , [1]]',
        b'{"embeddings":[[1]],"embed":"","\\"embedding":[1],"a\\\\":"embedding"}',
        b'{"note":"an \\"embedding\\":[1] in a text"}',
        '{"текст":"\\u0435 🙂"}'.encode(),
        b'{"unfinished":"embed',
        b'{"unfinished":[1,"emb',
        b'"embedding"',
        b'"embedding" ',
    ],
)
@pytest.mark.parametrize("form", ["float", "base64"])
def test_what_is_no_embedding_passes_byte_for_byte(body, form):
    assert repacked(form, body) == body


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("base64", b"[1,NaN]"),
        ("base64", b"[1,,2]"),
        ("base64", b"[1,2,]"),
        ("base64", b"[1e39]"),  # no float32
        ("base64", b'["a"]'),
        ("base64", b"[[1]]"),
        ("base64", b"[1_0]"),
        ("base64", b"[0." + b"1" * 2000),
        ("base64", b"[0." + b"1" * 2000 + b",2]"),
        ("float", b'"AACAP"'),  # no base64
        ("float", b'"AACA"'),  # three bytes
        ("float", b'"AACAPw==AACAPw=="'),
        ("float", b'"****"'),
        ("float", b'"AA\\x"'),
        ("float", b'"AADAfw=="'),  # NaN
        ("float", b'"AACAfw=="'),  # infinity
    ],
)
def test_what_cannot_be_repacked_is_a_fault_wherever_it_is_cut(form, value):
    body = b' {"embedding":' + value + b"}"
    for chunks in cuts(body, splits=100):
        assert outcome(Repacker(form), chunks).fault == ("bad_embedding", 14)


def test_an_embedding_that_breaks_off_gives_nothing_more():
    machine = Repacker("base64")
    assert machine.feed(b'{"embedding":[1,2') == b'{"embedding":"AACA'
    assert machine.close() == b""


def test_memory_does_not_grow_with_the_answer():
    machine = Repacker("base64")
    piece = b",".join([b"0.0123456789"] * 5000) + b","
    machine.feed(b'{"embedding":[')
    machine.feed(piece)
    tracemalloc.start()
    for _ in range(40):
        machine.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(piece)
    for byte in bytewise(b"1]}"):
        machine.feed(byte)
    assert machine.close() == b""
