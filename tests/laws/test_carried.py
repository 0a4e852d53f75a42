"""Encoding and then decoding is the identity on what a format can carry, and encoding refuses the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws.law import tell_twice
from laws.strategies import json_values, texts
from penstock.protocol import chunked, head, jsonrpc, ndjson, sse
from penstock.protocol.errors import LocalProtocolError

bounded = settings(max_examples=150, derandomize=True, deadline=None)


def carried(encode: Any, *arguments: Any) -> bytes | None:
    """The bytes, or None where encoding refuses."""
    try:
        found = encode(*arguments)
    except LocalProtocolError:
        return None
    assert isinstance(found, bytes)
    return found


def is_unicode(*said: str) -> bool:
    return not any(0xD800 <= ord(char) <= 0xDFFF for text in said for char in text)


@bounded
@given(texts, texts, texts)
def test_an_event_is_carried_or_refused(data: str, kind: str, id: str) -> None:
    event = sse.Event(data, kind, id)
    raw = carried(sse.encode, event)
    fits = "\r" not in data and not set(kind + id) & {"\r", "\n"} and "\0" not in id and kind != ""
    assert (raw is not None) == (fits and is_unicode(data, kind, id))
    if raw is not None:
        assert sse.Decoder().feed(raw) == [event]


@bounded
@given(texts)
def test_a_comment_is_carried_or_refused(text: str) -> None:
    raw = carried(sse.encode_comment, text)
    assert (raw is not None) == (is_unicode(text) and not set(text) & {"\r", "\n"})
    if raw is not None:
        assert sse.Decoder(comments=True).feed(raw) == [sse.Comment(text)]


def fits_json(value: Any) -> bool:
    if isinstance(value, float):
        return value - value == 0
    if isinstance(value, str):
        return is_unicode(value)
    if isinstance(value, list):
        return all(map(fits_json, value))
    if isinstance(value, dict):
        return all(fits_json(item) for pair in value.items() for item in pair)
    return True


@bounded
@given(json_values)
def test_a_value_is_carried_or_refused(value: Any) -> None:
    raw = carried(ndjson.encode, value)
    assert (raw is not None) == fits_json(value)
    if raw is not None:
        assert raw.count(b"\n") == 1
        assert len(raw.decode().splitlines()) == 1
        assert repr(ndjson.Decoder().feed(raw)) == repr([value])  # which tells 1 from 1.0 and True


@bounded
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_body_is_carried(pieces: list[bytes]) -> None:
    decoder = chunked.Decoder()
    raw = b"".join(map(chunked.encode, pieces)) + chunked.LAST + b"next"
    assert b"".join(decoder.feed(raw)) == b"".join(pieces)
    assert (decoder.done, decoder.unused) == (True, b"next")


@bounded
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_messages_are_carried(bodies: list[bytes]) -> None:
    raw = b"".join(map(jsonrpc.encode_content_length, bodies))
    assert jsonrpc.ContentLengthDecoder().feed(raw) == bodies


names = st.one_of(st.sampled_from(["a", "X-Y", "content-type", "a b", "a:", "", "é"]), texts)
latin = st.one_of(texts, st.text(st.characters(max_codepoint=255), max_size=5))


@bounded
@given(st.sampled_from([200, 404, 599]), st.lists(st.tuples(names, latin), max_size=3))
def test_a_head_is_carried_or_refused(status: int, headers: list[tuple[str, str]]) -> None:
    headers = [field for field in headers if field[0].lower() not in ("content-length", "transfer-encoding")]
    raw = carried(head.encode_response, status, headers)
    good = all(_is_token(name) and _is_value(value) for name, value in headers)
    assert (raw is not None) == good
    if raw is not None:
        assert head.Scanner().feed(raw) == raw
        found = head.check(raw, "response")
        assert found.headers == [(n.lower().encode(), v.encode("latin-1").strip(b" \t")) for n, v in headers]


def _is_token(name: str) -> bool:
    return name != "" and all(char.isascii() and (char.isalnum() or char in "!#$%&'*+-.^_`|~") for char in name)


def _is_value(value: str) -> bool:
    return all(char == "\t" or (" " <= char <= "\xff" and char != "\x7f") for char in value)


ids = st.one_of(texts, st.integers(), st.floats(), st.none(), st.booleans(), st.just([]))
params = st.one_of(st.none(), st.lists(json_values, max_size=2), st.dictionaries(texts, json_values, max_size=2))
messages: st.SearchStrategy[Any] = st.one_of(
    st.builds(jsonrpc.Request, texts, params, ids),
    st.builds(jsonrpc.Notification, texts, params),
    st.builds(jsonrpc.Success, json_values, ids),
    st.builds(jsonrpc.Failure, st.one_of(st.integers(), st.just(1.5)), texts, json_values, ids),
)


@bounded
@given(messages)
def test_a_message_is_carried_or_refused(message: Any) -> None:
    tell_twice(jsonrpc.encode, jsonrpc.decode, message)
    raw = carried(jsonrpc.encode, message)
    id = getattr(message, "id", None)
    fits = fits_json(list(message)) and not isinstance(id, bool | list) and getattr(message, "code", 1) != 1.5
    assert (raw is not None) == fits


@pytest.mark.parametrize("items", [[], [jsonrpc.Batch([])], [1]])
def test_a_batch_of_none_or_of_batches_is_refused(items: Any) -> None:
    assert carried(jsonrpc.encode, jsonrpc.Batch(items)) is None


@bounded
@given(st.lists(messages, min_size=1, max_size=3))
def test_a_batch_is_carried_or_refused(items: list[Any]) -> None:
    raw = carried(jsonrpc.encode, jsonrpc.Batch(items))
    assert (raw is not None) == all(carried(jsonrpc.encode, item) is not None for item in items)
    if raw is not None:
        assert json.loads(raw)
        assert repr(jsonrpc.decode(raw)) == repr(jsonrpc.Batch(items))
