"""What a request is taken to cost before anybody has counted."""

import json

import pytest

from penstock.protocol.chat import MOST_TOKENS
from penstock.protocol.members import split
from penstock.server import estimate


def answer(**body):
    return estimate.answer(split(json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({}, 1024),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 1, "max_tokens": 100_000}, 100_000),
        ({"max_completion_tokens": 100_000, "max_tokens": 1}, 100_000),
        ({"max_output_tokens": 70}, 70),
        ({"max_tokens": 100_000.0}, 100_000),
        ({"max_tokens": 10**400}, MOST_TOKENS),
        ({"max_tokens": None}, 1024),
        ({"max_tokens": 0}, 1024),
        ({"max_tokens": -5}, 1024),
        ({"max_tokens": True}, 1024),
        ({"max_tokens": "9"}, 1024),
        ({"max_tokens": 10, "n": 128}, 1280),
        ({"n": 3}, 3072),
        ({"max_tokens": 10, "n": 2, "best_of": 5}, 50),
        ({"max_tokens": 10**400, "n": 10**400}, MOST_TOKENS),
        ({"options": {"num_predict": 100_000}}, 100_000),
        ({"options": {"num_predict": -1}}, 1024),
        ({"options": {"temperature": 1}}, 1024),
        ({"options": "none"}, 1024),
        ({"num_predict": 9}, 9),
    ],
)
def test_an_answer_may_have_as_much_as_the_largest_bound_says(body, most):
    assert answer(**body) == most


def test_a_bound_that_no_float_can_hold_is_the_largest_there_is():
    assert estimate.answer(split(b'{"max_tokens":1e999}')) == MOST_TOKENS


def test_a_prompt_is_measured_by_its_bytes():
    assert estimate.prompt(b"") == 1
    assert estimate.prompt(b"x" * 4000) == 1001
    prose = json.dumps({"messages": [{"content": "he said “hello there”, " * 10_000}]}).encode()
    assert estimate.prompt(prose) == len(prose) // 4 + 1


IMAGE = "iVBORw0KGgo" + "A/b+" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
        {"type": "image", "source": {"type": "base64", "data": IMAGE}},
        {"images": [IMAGE]},
        {"type": "input_audio", "input_audio": {"data": IMAGE.replace("/", "\\/"), "format": "wav"}},
    ],
)
def test_a_picture_is_no_text(content):
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "what is it?"}, content, content]}]})
    assert 2 * estimate.ATTACHMENT < estimate.prompt(body.encode()) < 2 * estimate.ATTACHMENT + 100


def test_a_picture_that_breaks_off_is_no_picture():
    assert estimate.prompt(b'{"a":"' + IMAGE.encode()) == (len(IMAGE) + 6) // 4 + 1


@pytest.mark.parametrize(("size", "tokens"), [(0, 1), (100_000, 101)])
def test_an_upload_is_measured_as_speech(size, tokens):
    assert estimate.upload(size) == tokens
