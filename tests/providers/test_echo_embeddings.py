"""The echo's embeddings: the same for the same text, near for like ones, in both forms."""

import base64
import json
import math
import struct

import pytest

from penstock.providers import echo_embeddings
from penstock.providers.echo_answer import BadRequest


def asked(said, **more):
    return json.loads(echo_embeddings.answer(json.dumps({"model": "echo", "input": said, **more}).encode()))


def vector(said, **more):
    return asked(said, **more)["data"][0]["embedding"]


def nearness(one, other):
    return sum(a * b for a, b in zip(vector(one), vector(other), strict=True))


@pytest.mark.parametrize("said", ["Hello there", "Привет", "আমি গান গাই", "👨‍👩‍👧‍👦", " ", [1, 2, 3], "\ud83d"])
def test_a_vector_of_length_one_that_is_always_the_same(said):
    found = vector(said)
    assert len(found) == 64
    assert math.isclose(sum(n * n for n in found), 1.0, rel_tol=1e-5)
    assert found == vector(said)


def test_like_texts_are_nearer():
    assert nearness("the cat sat on the mat", "a cat sat on a mat") > 0.5
    assert nearness("the cat sat on the mat", "quarterly earnings report") < 0.3


def test_both_forms_hold_the_same_numbers():
    packed = base64.b64decode(vector("Hello", encoding_format="base64"))
    assert list(struct.unpack("<64f", packed)) == vector("Hello", encoding_format="float")


def test_batches_dimensions_and_usage():
    answer = asked(["one", "two three four"], dimensions=5)
    assert [(e["index"], len(e["embedding"])) for e in answer["data"]] == [(0, 5), (1, 5)]
    assert answer["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert [e["embedding"] for e in asked([[1, 2], [3]])["data"]] == [vector([1, 2]), vector([3])]
    assert vector("a", dimensions=1) in ([1.0], [-1.0])


def test_features_that_take_each_other_out_leave_a_vector():
    cancelling = next([0, b] for b in range(99) if vector([0], dimensions=1) != vector([b], dimensions=1))
    assert vector(cancelling, dimensions=1) == [1.0]


@pytest.mark.parametrize(
    ("said", "more"),
    [
        ("", {}),
        ([], {}),
        ([""], {}),
        ([[]], {}),
        ([1, "a"], {}),
        (["a", 1], {}),
        ({"a": 1}, {}),
        (None, {}),
        ("a", {"dimensions": 0}),
        ("a", {"encoding_format": "int8"}),
        (["a"] * 2048, {"dimensions": 4096}),
    ],
)
def test_what_cannot_be_embedded(said, more):
    with pytest.raises(BadRequest):
        asked(said, **more)


def test_no_json():
    with pytest.raises(BadRequest):
        echo_embeddings.answer(b"{")
