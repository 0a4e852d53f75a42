"""Answers that are no chat: what goes out, and which ending it has."""

import json

import pytest

from feeding import bytewise, cuts
from penstock.protocol.chat import Ending, Failed, Usage
from penstock.protocol.passing import Copy, Document, Events, usage

JSON = "application/json"


def fed(machine, chunks, end="close"):
    out = b"".join([machine.feed(chunk) for chunk in chunks])
    return out + getattr(machine, end)()


# -- usage


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ({"prompt_tokens": 3, "total_tokens": 3}, (3, 0, 3)),
        ({"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}, (5, 7, 12)),
        ({"input_tokens": 5, "output_tokens": 7}, (5, 7, 12)),
        ({"total_tokens": 9}, (9, 0, 9)),
        ({"total_tokens": 9, "output_tokens": 4}, (5, 4, 9)),
        ({"output_tokens": 4}, (0, 4, 4)),
    ],
)
def test_usage(said, counted):
    assert usage(said) == Usage(*counted, raw=said)


@pytest.mark.parametrize("said", [None, [], {"type": "duration", "seconds": 2}, {"total_tokens": "9"}])
def test_what_counts_no_tokens(said):
    assert usage(said) is None


# -- Copy


def test_a_copy_gives_what_it_is_fed_and_is_complete_with_its_body():
    machine = Copy("audio/mpeg")
    assert (machine.started, machine.finished, machine.ended) == (False, False, False)
    assert machine.feed(b"") == b""
    assert not machine.started
    assert machine.feed(b"\xff\xfb") == b"\xff\xfb"
    assert machine.started
    assert machine.close() == machine.close() == machine.cut() == b""
    assert (machine.ending, machine.failed, machine.usage) == (Ending("completed"), None, None)
    assert machine.feed(b"x") == b""


def test_a_copy_that_is_cut_is_truncated():
    machine = Copy("audio/mpeg")
    machine.feed(b"x")
    assert machine.cut() == b""
    assert machine.ending == Ending("truncated")
    assert machine.failed is not None


def test_an_empty_copy_is_a_failure():
    machine = Copy("audio/mpeg")
    machine.close()
    assert (machine.ending, machine.failed.message) == (Ending("failed"), "the upstream sent an empty answer")


def test_a_copy_can_be_ended_from_outside_once():
    machine = Copy("audio/mpeg")
    assert machine.fail(Failed("first")) == machine.fail(Failed("second")) == b""
    assert (machine.ending, machine.failed.message) == (Ending("failed"), "first")


# -- Document

TRANSCRIPT = b'\n{"text": "\xd0\x9f", "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}}\n'


@pytest.mark.parametrize("chunks", list(cuts(TRANSCRIPT, splits=0)), ids=lambda chunks: str(len(chunks)))
def test_a_document_is_given_whole(chunks):
    machine = Document(JSON)
    for chunk in chunks:
        assert machine.feed(chunk) == b""
        assert not machine.started
    assert machine.close() == TRANSCRIPT
    assert machine.started
    assert (machine.ending, machine.usage.total) == (Ending("completed"), 4)
    assert machine.close() == b""
    assert machine.feed(b"x") == b""


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain; charset=utf-8", b""),
        ("text/plain", b"hello\n"),
        ("text/plain", b'{"half'),
        ("text/vtt", b"WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nhello\n\n"),
        (JSON, b'[{"index":0,"score":0.5}]'),
        (JSON, b'{"score":NaN}'),
        (JSON, b'{"usage":' + b'"' + b"x" * 70000 + b'"}'),
        ("application/vnd.api+json", b'{"error":null}'),
    ],
)
def test_what_it_cannot_judge_passes(content_type, body):
    machine = Document(content_type)
    assert fed(machine, bytewise(body)) == body
    assert (machine.ending, machine.failed, machine.usage) == (Ending("completed"), None, None)


def test_an_error_in_a_good_status_is_a_failure_and_is_cleaned():
    body = b'{"error":{"message":"no such voice: sk-secret","type":"invalid_request_error","code":"invalid_value"}}'
    machine = Document(JSON, clean=lambda failed: failed._replace(message=failed.message.replace("sk-secret", "…")))
    assert fed(machine, bytewise(body)) == b""
    assert (machine.ending, machine.failed.message) == (Ending("failed"), "no such voice: …")
    assert machine.failed.status == 400
    assert fed(machine := Document(JSON), [b'{"error":"overloaded"}']) == b""
    assert machine.failed.message == "overloaded"


def test_json_that_ends_too_early_is_truncated():
    machine = Document(JSON)
    assert fed(machine, [TRANSCRIPT[:-10]]) == b""
    assert machine.ending == Ending("truncated")
    assert not machine.started


def test_no_json_at_all_is_empty():
    machine = Document(JSON)
    assert fed(machine, [b" \n"]) == b""
    assert (machine.ending, machine.failed.message) == (Ending("failed"), "the upstream sent an empty answer")


def test_a_document_has_a_limit():
    machine = Document(JSON, max_message_bytes=10)
    assert fed(machine, [b'{"a":"', b"x" * 10, b'"}']) == b""
    assert machine.failed.message == "the upstream sent an invalid answer: more than 10 bytes"


def test_a_document_that_is_cut():
    machine = Document(JSON)
    assert fed(machine, [TRANSCRIPT], "cut") == b""
    assert machine.ending == Ending("truncated")


@pytest.mark.parametrize("form", ["float", "base64", "int8", ""])
def test_embeddings_are_brought_into_the_form_that_was_asked_for(form):
    body = b'{"data":[{"embedding":[0.5]},{"embedding":"AAAAPw=="}],"usage":{"total_tokens":2}}'
    machine = Document(JSON, form=form)
    found = [one["embedding"] for one in json.loads(fed(machine, bytewise(body)))["data"]]
    assert found == {"float": [[0.5], [0.5]], "base64": ["AAAAPw==", "AAAAPw=="]}.get(form, [[0.5], "AAAAPw=="])
    assert machine.usage.total == 2


def test_embeddings_that_are_none():
    machine = Document(JSON, form="base64")
    assert fed(machine, bytewise(b"""{"data":[{"embedding":["a"]}]}""")) == b""
    assert machine.failed.message.startswith("the upstream sent an invalid answer: an embedding that is")
    half = Document(JSON, form="float")
    assert fed(half, [b'{"data":[{"embedding":"AAAA']) == b""
    assert half.ending == Ending("truncated")


# -- Events

DELTAS = [
    b'data: {"type":"transcript.text.delta","delta":"h\xd0\xb5"}\n\n',
    b'data: {"type":"transcript.text.delta"}\n\n',
]
TOLD = b'data: {"type":"transcript.text.done","usage":{"type":"tokens","input_tokens":2,"output_tokens":3}}\n\n'


def run(body, end="close"):
    """What every cut comes to: the bytes that went out, and the machine of the last one."""
    found = set()
    for chunks in cuts(body, splits=150):
        machine = Events(content_type="text/event-stream")
        found.add((fed(machine, chunks, end), machine.ending, repr(machine.failed), str(machine.usage)))
    assert len(found) == 1
    return found.pop()[0], machine


@pytest.mark.parametrize("end", ["close", "cut"])
def test_typed_events_pass_and_their_own_end_counts(end):
    body = b"".join([*DELTAS, TOLD])
    out, machine = run(body, end)
    assert out == body
    assert (machine.ending, machine.usage.total) == (Ending("completed"), 5)


def test_done_is_passed_where_it_came_and_named_events_keep_their_names():
    body = b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":""}\n\n'
    out, machine = run(body + b"data: [DONE]\n\n")
    assert out == body + b"data: [DONE]\n\n"
    assert machine.ended


@pytest.mark.parametrize("end", ["close", "cut"])
def test_typed_events_without_their_end_are_truncated_and_say_so(end):
    out, machine = run(b"".join(DELTAS), end)
    assert machine.ending == Ending("truncated")
    assert out.startswith(b"".join(DELTAS) + b'data: {"error":{"message":')


def test_other_events_end_with_their_body_unless_it_was_cut():
    body = b'data: {"text":"hello"}\n\n'
    out, machine = run(body)
    assert (out, machine.ending) == (body, Ending("completed"))
    out, machine = run(body, "cut")
    assert machine.ending == Ending("truncated")


def test_an_error_event_ends_it():
    out, machine = run(DELTAS[0] + b'data: {"type":"error","error":{"message":"busy","code":"x"}}\n\n' + DELTAS[1])
    assert machine.failed.message == "busy"
    assert out == DELTAS[0] + b'data: {"error":{"message":"busy","type":"server_error","param":null,"code":"x"}}\n\n'
    out, machine = run(b'data: {"error":{"message":"busy"}}\n\n')
    assert (out, machine.started) == (b"", False)


def test_events_that_are_empty_or_were_never_seen():
    out, machine = run(b"", "cut")
    assert (out, machine.ending) == (b"", Ending("failed"))


def test_bad_utf8_is_mended_and_other_framings_are_read():
    out, _ = run(b'data: {"type":"a.done","text":"\xff"}\n\n')
    assert out == 'data: {"type":"a.done","text":"\ufffd"}\n\n'.encode()
    out, _ = run(b': ping\r\n\r\ndata: {"type":"a.done"}\r\n\r\n')
    assert out == b'data: {"type":"a.done"}\n\n'


def test_ended_from_outside_in_its_own_words():
    machine = Events(content_type="text/event-stream")
    machine.feed(DELTAS[0])
    assert json.loads(machine.fail(Failed("late"))[6:])["error"]["message"] == "late"
