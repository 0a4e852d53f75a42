"""decode and encode: the 2.0 text rule by rule, limits, and two laws over generated messages."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.jsonrpc import (
    INVALID_REQUEST,
    PARSE_ERROR,
    Batch,
    Failure,
    Invalid,
    Notification,
    Request,
    Success,
    decode,
    encode,
)

BIG = 123456789012345678901234567890

VALID: dict[str, tuple[str, Any]] = {
    "request": ('{"jsonrpc":"2.0","method":"m","params":[1],"id":1}', Request("m", [1], 1)),
    "named parameters": ('{"jsonrpc":"2.0","method":"m","params":{"a":null},"id":"x"}', Request("m", {"a": None}, "x")),
    "no parameters": ('{"jsonrpc":"2.0","method":"m","id":1}', Request("m", None, 1)),
    "empty parameters": ('{"jsonrpc":"2.0","method":"m","params":[],"id":1}', Request("m", [], 1)),
    "empty method and id": ('{"jsonrpc":"2.0","method":"","id":""}', Request("", None, "")),
    "id null is a request": ('{"jsonrpc":"2.0","method":"m","id":null}', Request("m", None, None)),
    "id 0 is a request": ('{"jsonrpc":"2.0","method":"m","id":0}', Request("m", None, 0)),
    "fractional id": ('{"jsonrpc":"2.0","method":"m","id":1.5}', Request("m", None, 1.5)),
    "negative id": ('{"jsonrpc":"2.0","method":"m","id":-1}', Request("m", None, -1)),
    "big id": (f'{{"jsonrpc":"2.0","method":"m","id":{BIG}}}', Request("m", None, BIG)),
    "big numbers are exact": (f'{{"jsonrpc":"2.0","method":"m","params":[{BIG}]}}', Notification("m", [BIG])),
    "notification": ('{"jsonrpc":"2.0","method":"m"}', Notification("m", None)),
    "reserved method": ('{"jsonrpc":"2.0","method":"rpc.discover","id":1}', Request("rpc.discover", None, 1)),
    "members in any order": ('{"id":1,"params":[],"method":"m","jsonrpc":"2.0"}', Request("m", [], 1)),
    "other members": ('{"jsonrpc":"2.0","method":"m","id":1,"trace":[]}', Request("m", None, 1)),
    "the last of two counts": ('{"jsonrpc":"2.0","method":"a","method":"b"}', Notification("b")),
    "white space": (' \r\n\t{ "jsonrpc" : "2.0" , "method" : "m" }\n', Notification("m")),
    "escapes": ('{"jsonrpc":"2.0","m\\u0065thod":"\\u043c"}', Notification("м")),
    "a pair of surrogates": (
        '{"jsonrpc":"2.0","method":"\\ud83d\\ude00","id":"\\ud83d\\ude00"}',
        Request("😀", None, "😀"),
    ),
    "a lone surrogate is the caller's": (
        '{"jsonrpc":"2.0","method":"m","params":["\\ud83d"]}',
        Notification("m", ["\ud83d"]),
    ),
    "success": ('{"jsonrpc":"2.0","result":{"a":1},"id":1}', Success({"a": 1}, 1)),
    "result null": ('{"jsonrpc":"2.0","result":null,"id":1}', Success(None, 1)),
    "result false": ('{"jsonrpc":"2.0","result":false,"id":null}', Success(False, None)),
    "failure": ('{"jsonrpc":"2.0","error":{"code":-1,"message":"no"},"id":1}', Failure(-1, "no", None, 1)),
    "failure with data": (
        '{"jsonrpc":"2.0","error":{"code":1,"message":"","data":[1]},"id":null}',
        Failure(1, "", [1], None),
    ),
    "more in the error": ('{"jsonrpc":"2.0","error":{"code":1,"message":"m","x":1},"id":1}', Failure(1, "m", None, 1)),
    "a response with params": ('{"jsonrpc":"2.0","result":1,"id":1,"params":3}', Success(1, 1)),
    "batch": (
        '[{"jsonrpc":"2.0","method":"m"},{"jsonrpc":"2.0","result":1,"id":1},{"jsonrpc":"2.0","method":"m","id":1}]',
        Batch([Notification("m"), Success(1, 1), Request("m", None, 1)]),
    ),
    "batch of one": ('[{"jsonrpc":"2.0","method":"m"}]', Batch([Notification("m")])),
}


@pytest.mark.parametrize(("text", "message"), VALID.values(), ids=VALID)
def test_messages_are_what_their_members_say(text: str, message: Any) -> None:
    assert repr(decode(text)) == repr(decode(text.encode())) == repr(message)


# The text, the id that can be read, and whether it stands in the place of a response.
INVALID: dict[str, tuple[str, Any, bool]] = {
    "a number": ("1", None, False),
    "a string": ('"2.0"', None, False),
    "null": ("null", None, False),
    "true": ("true", None, False),
    "an empty object": ("{}", None, False),
    "an empty batch": ("[]", None, False),
    "jsonrpc missing": ('{"method":"m","id":1}', 1, False),
    "jsonrpc 2": ('{"jsonrpc":2,"method":"m","id":1}', 1, False),
    "jsonrpc 2.0 as a number": ('{"jsonrpc":2.0,"method":"m","id":1}', 1, False),
    "jsonrpc 1.0": ('{"jsonrpc":"1.0","method":"m","id":"a"}', "a", False),
    "jsonrpc with a space": ('{"jsonrpc":"2.0 ","method":"m","id":"a"}', "a", False),
    "jsonrpc null": ('{"jsonrpc":null,"method":"m"}', None, False),
    "jsonrpc in capitals": ('{"JSONRPC":"2.0","method":"m"}', None, False),
    "id true": ('{"jsonrpc":"2.0","method":"m","id":true}', None, False),
    "id false": ('{"jsonrpc":"2.0","method":"m","id":false}', None, False),
    "id array": ('{"jsonrpc":"2.0","method":"m","id":[1]}', None, False),
    "id object": ('{"jsonrpc":"2.0","method":"m","id":{}}', None, False),
    "id beyond a double": ('{"jsonrpc":"2.0","method":"m","id":1e400}', None, False),
    "id with a lone surrogate": ('{"jsonrpc":"2.0","method":"m","id":"\\ud800"}', None, False),
    "params null": ('{"jsonrpc":"2.0","method":"m","params":null,"id":1}', 1, False),
    "params null, no id": ('{"jsonrpc":"2.0","method":"m","params":null}', None, False),
    "params string": ('{"jsonrpc":"2.0","method":"m","params":"bar","id":null}', None, False),
    "params number": ('{"jsonrpc":"2.0","method":"m","params":0,"id":2}', 2, False),
    "params false": ('{"jsonrpc":"2.0","method":"m","params":false,"id":2}', 2, False),
    "method number": ('{"jsonrpc":"2.0","method":1,"id":1.5}', 1.5, False),
    "method null": ('{"jsonrpc":"2.0","method":null,"id":1}', 1, False),
    "method array": ('{"jsonrpc":"2.0","method":["m"],"id":1}', 1, False),
    "only an id": ('{"jsonrpc":"2.0","id":1}', 1, False),
    "a call with result": ('{"jsonrpc":"2.0","method":"m","result":1,"id":1}', 1, False),
    "a call with error": ('{"jsonrpc":"2.0","method":"m","error":{"code":1,"message":""},"id":1}', 1, False),
    "result and error": ('{"jsonrpc":"2.0","result":1,"error":{"code":1,"message":""},"id":1}', 1, True),
    "result and error null": ('{"jsonrpc":"2.0","result":1,"error":null,"id":1}', 1, True),
    "JSON-RPC 1.0": ('{"result":1,"error":null,"id":1}', 1, True),
    "result without id": ('{"jsonrpc":"2.0","result":1}', None, True),
    "error without id": ('{"jsonrpc":"2.0","error":{"code":1,"message":""}}', None, True),
    "result of id true": ('{"jsonrpc":"2.0","result":1,"id":true}', None, True),
    "error null": ('{"jsonrpc":"2.0","error":null,"id":1}', 1, True),
    "error string": ('{"jsonrpc":"2.0","error":"no","id":1}', 1, True),
    "error array": ('{"jsonrpc":"2.0","error":[1,"no"],"id":1}', 1, True),
    "error without code": ('{"jsonrpc":"2.0","error":{"message":"no"},"id":1}', 1, True),
    "error code string": ('{"jsonrpc":"2.0","error":{"code":"1","message":"no"},"id":1}', 1, True),
    "error code true": ('{"jsonrpc":"2.0","error":{"code":true,"message":"no"},"id":1}', 1, True),
    "error code fractional": ('{"jsonrpc":"2.0","error":{"code":1.5,"message":"no"},"id":1}', 1, True),
    "error without message": ('{"jsonrpc":"2.0","error":{"code":1},"id":1}', 1, True),
    "error message null": ('{"jsonrpc":"2.0","error":{"code":1,"message":null},"id":1}', 1, True),
}


@pytest.mark.parametrize(("text", "id", "response"), INVALID.values(), ids=INVALID)
def test_what_is_no_message_is_invalid(text: str, id: Any, response: bool) -> None:
    found = decode(text)
    assert repr(found) == repr(Invalid(INVALID_REQUEST, "Invalid Request", id, found.reason, response))  # type: ignore[union-attr]
    assert found.reason  # type: ignore[union-attr]


@pytest.mark.parametrize(("text", "id", "response"), INVALID.values(), ids=INVALID)
def test_batches_are_judged_element_by_element(text: str, id: Any, response: bool) -> None:
    good = '{"jsonrpc":"2.0","method":"m"}'
    found = decode(f"[{good},{text},{good}]")
    assert found == Batch([Notification("m"), Invalid(INVALID_REQUEST, "Invalid Request", id), Notification("m")])


def test_a_batch_within_a_batch_is_invalid() -> None:
    found = decode('[[{"jsonrpc":"2.0","method":"m","id":1}]]')
    assert found == Batch([Invalid(INVALID_REQUEST, "Invalid Request", None)])


def request_of(params: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","method":"m","id":1,"params":' + params + b"}"


UNREADABLE: dict[str, tuple[bytes | str, str]] = {
    "nothing": (b"", "invalid_json"),
    "white space": (b" \n", "invalid_json"),
    "cut": (b'{"jsonrpc":"2.0"', "invalid_json"),
    "two messages": (request_of(b"[]") * 2, "invalid_json"),
    "NaN": (request_of(b"[NaN]"), "invalid_json"),
    "Infinity": (request_of(b"[-Infinity]"), "invalid_json"),
    "raw control character": (request_of(b'["\x01"]'), "invalid_json"),
    "byte order mark": (b"\xef\xbb\xbf" + request_of(b"[]"), "invalid_json"),
    "byte order mark in text": ("\ufeff" + request_of(b"[]").decode(), "invalid_json"),
    "UTF-16": (request_of(b"[]").decode().encode("utf-16-le"), "invalid_json"),
    "invalid UTF-8": (request_of(b'["\xff"]'), "invalid_utf8"),
    "a surrogate in bytes": (request_of(b'["\xed\xa0\x80"]'), "invalid_utf8"),
    "a surrogate in text": ('{"method":"\ud800"}', "invalid_utf8"),
    "too deep": (request_of(b"[" * 128 + b"]" * 128), "too_deep"),
    "much too deep": (b"[" * 100_000, "too_deep"),
    "too long a number": (request_of(b"[" + b"1" * 4301 + b"]"), "number_too_long"),
}


@pytest.mark.parametrize(("raw", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_a_parse_error(raw: bytes | str, reason: str) -> None:
    assert repr(decode(raw)) == repr(Invalid(PARSE_ERROR, "Parse error", None, reason))


def test_limits_have_edges() -> None:
    deep = request_of(b"[" * 127 + b"]" * 127)
    assert isinstance(decode(deep), Request)
    assert isinstance(decode(deep, max_depth=127), Invalid)
    assert isinstance(decode(request_of(b"[" + b"1" * 4300 + b"]")), Request)
    assert isinstance(decode("[1,1]", max_batch=2), Batch)
    assert decode("[1,1,1]", max_batch=2) == Invalid(INVALID_REQUEST, "Invalid Request", None)


def test_any_bytes_like_message_is_read() -> None:
    raw = request_of(b"[]")
    assert decode(bytearray(raw)) == decode(memoryview(raw)) == Request("m", [], 1)  # type: ignore[arg-type]


def test_a_caller_deep_in_its_own_stack_gets_a_parse_error_and_no_crash() -> None:
    def dig(levels: int) -> Any:
        return dig(levels - 1) if levels else decode(request_of(b"[" * 120 + b"]" * 120))

    assert dig(sys.getrecursionlimit() - len(inspect.stack()) - 60) == Invalid(PARSE_ERROR, "Parse error")


ENCODED: dict[str, tuple[Any, str]] = {
    "request": (Request("m", [1], 1), '{"jsonrpc":"2.0","method":"m","params":[1],"id":1}'),
    "id null": (Request("m", None, None), '{"jsonrpc":"2.0","method":"m","id":null}'),
    "empty parameters": (Request("m", {}, "x"), '{"jsonrpc":"2.0","method":"m","params":{},"id":"x"}'),
    "notification": (Notification("жук"), '{"jsonrpc":"2.0","method":"жук"}'),
    "success": (Success(None, 1.5), '{"jsonrpc":"2.0","result":null,"id":1.5}'),
    "failure": (Failure(1, "no", None, 1), '{"jsonrpc":"2.0","error":{"code":1,"message":"no"},"id":1}'),
    "data": (Failure(1, "no", 0), '{"jsonrpc":"2.0","error":{"code":1,"message":"no","data":0},"id":null}'),
    "batch": (
        Batch((Notification("a"), Success(1, 2))),
        '[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","result":1,"id":2}]',
    ),
    "line ends": (Notification("\r\n\u2028\x85"), '{"jsonrpc":"2.0","method":"\\r\\n\\u2028\\u0085"}'),
}


@pytest.mark.parametrize(("message", "text"), ENCODED.values(), ids=ENCODED)
def test_messages_are_written_on_one_line(message: Any, text: str) -> None:
    assert encode(message).decode() == text


def test_an_invalid_message_is_written_as_the_error_that_answers_it() -> None:
    assert decode(encode(decode(b'{"id":7}'))) == Failure(INVALID_REQUEST, "Invalid Request", None, 7)


REFUSED: dict[str, Any] = {
    "id true": Request("m", None, True),
    "id array": Success(1, []),  # type: ignore[arg-type]
    "id infinite": Success(1, float("inf")),
    "id with a lone surrogate": Success(1, "\ud800"),
    "method number": Notification(1),  # type: ignore[arg-type]
    "params string": Notification("m", "x"),  # type: ignore[arg-type]
    "params tuple": Notification("m", (1,)),  # type: ignore[arg-type]
    "code true": Failure(True, "m"),
    "code string": Failure("1", "m"),  # type: ignore[arg-type]
    "message None": Failure(1, None),  # type: ignore[arg-type]
    "NaN": Success(float("nan"), 1),
    "infinity": Notification("m", [float("inf")]),
    "lone surrogate": Notification("m", ["\ud800"]),
    "lone surrogate in the method": Notification("\udfff"),
    "bytes": Success(b"x", 1),
    "a set": Failure(1, "m", {1}),
    "no message": {"jsonrpc": "2.0", "method": "m"},
    "an empty batch": Batch([]),
    "a batch within a batch": Batch([Batch([Notification("m")])]),  # type: ignore[list-item]
    "a bad element": Batch([Notification("m"), Success(1, True)]),
}


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED)
def test_encode_refuses_what_is_no_message_or_no_json(message: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode(message)


# --- laws ---

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
ids = st.none() | numbers | st.text()
parameters = st.none() | st.lists(values) | st.dictionaries(st.text(), values)
singles = (
    st.builds(Request, st.text(), parameters, ids)
    | st.builds(Notification, st.text(), parameters)
    | st.builds(Success, values, ids)
    | st.builds(Failure, st.integers(), st.text(), values, ids)
)
messages = singles | st.builds(Batch, st.lists(singles, min_size=1, max_size=4))


@given(messages)
def test_encode_then_decode_is_the_identity(message: Any) -> None:
    encoded = encode(message)
    assert repr(decode(encoded)) == repr(decode(encoded.decode())) == repr(message)
    assert len(encoded.decode().splitlines()) == 1


members = st.sampled_from(["jsonrpc", "method", "params", "id", "result", "error", "code", "message", "data"])
likely = st.sampled_from(["2.0", "1.0", "rpc.x", 1, 1.0, True, None, -32600, "\ud800", float("inf")])
objects = st.recursive(
    likely, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(members, inner, max_size=6), max_leaves=12
)


@given(st.binary() | st.text(st.characters(exclude_categories=())) | objects.map(json.dumps))
@example(b"\x00")
def test_decode_never_raises_and_what_is_invalid_can_be_answered(message: bytes | str) -> None:
    found = decode(message)
    for item in found.items if isinstance(found, Batch) else [found]:
        if isinstance(item, Invalid):
            assert decode(encode(item)) == Failure(item.code, item.message, None, item.id)
