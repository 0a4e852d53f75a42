"""NDJSON: lines in any cut, JSON to the letter, bad lines in place, limits that do not depend on the cut."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import pytest

import feeding
from penstock.protocol import ndjson
from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.ndjson import BadLine

DEEP = 128


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


STREAMS: dict[str, tuple[bytes, list[Any]]] = {
    "one line": (b'{"a":1}\n', [{"a": 1}]),
    "no LF at the end": (b'{"a":1}\n[2]', [{"a": 1}, [2]]),
    "CRLF": (b'{"a":1}\r\n[2]\r\n', [{"a": 1}, [2]]),
    "CR at the end": (b"[2]\r", [[2]]),
    "blank lines": (b"\n\r\n \t\r\n1\n\n\n2\n \n", [1, 2]),
    "nothing": (b"", []),
    "only blanks": (b" \n\r", []),
    "all kinds": (b'null\ntrue\nfalse\n"x"\n-1.5e3\n[]\n{}\n', [None, True, False, "x", -1500.0, [], {}]),
    "text of many scripts": ('{"t":"жে😀\u2028\u0085"}\n'.encode(), [{"t": "жে😀\u2028\u0085"}]),
    "white space around a value": (b' \t{"a" : 1 } \n', [{"a": 1}]),
    "a big number is exact": (b"123456789012345678901234567890\n", [123456789012345678901234567890]),
    "4,300 digits": (b"1" * 4300 + b"\n", [int("1" * 4300)]),
    "long text": (b'{"t":"' + b"x" * 5000 + b'","n":[12,1.5]}\n', [{"t": "x" * 5000, "n": [12, 1.5]}]),
    "a lone surrogate is the caller's to judge": (b'"\\ud83d"\n', ["\ud83d"]),
    "as deep as allowed": (nested(DEEP) + b"\n", [json.loads(nested(DEEP))]),
    "brackets in text are not depth": (
        b'["' + b'\\"[{' * 200 + b'",{}]\n',
        [['"[{' * 200, {}]],
    ),
    "deep pairs side by side": (b"[" + b"[],{}," * 100 + b"0]\n", [[*[[], {}] * 100, 0]]),
}

BAD_LINES = {
    "not JSON": (b"hello", "invalid_json"),
    "cut": (b'{"a":', "invalid_json"),
    "two values": (b"{} {}", "invalid_json"),
    "NaN": (b'{"a":NaN}', "invalid_json"),
    "Infinity": (b"Infinity", "invalid_json"),
    "-Infinity": (b"[-Infinity]", "invalid_json"),
    "raw control character": (b'"a\x01b"', "invalid_json"),
    "raw tab": (b'"a\tb"', "invalid_json"),
    "CR within": (b'"a\rb"', "invalid_json"),
    "leading zero": (b"[01]", "invalid_json"),
    "no fraction": (b"[1.]", "invalid_json"),
    "trailing comma": (b"[1,]", "invalid_json"),
    "single quotes": (b"{'a':1}", "invalid_json"),
    "byte order mark": (b"\xef\xbb\xbf{}", "invalid_json"),
    "other white space": (b"\x0c1", "invalid_json"),
    "digits of another script": ("[١]".encode(), "invalid_json"),
    "invalid UTF-8": (b'"\xff"', "invalid_utf8"),
    "surrogate in bytes": (b'"\xed\xa0\x80"', "invalid_utf8"),
    "UTF-16": ('{"a":1}'.encode("utf-16-le"), "invalid_json"),
    "too deep": (nested(DEEP + 1), "too_deep"),
    "much too deep": (b"[" * 10_000, "too_deep"),
    "too deep in objects": (b'{"a":' * (DEEP + 1) + b"1" + b"}" * (DEEP + 1), "too_deep"),
    "4,301 digits": (b"1" * 4301, "number_too_long"),
    "5,000 digits": (b'{"a":' + b"9" * 5000 + b"}", "number_too_long"),
    "a long fraction": (b"[0." + b"3" * 5000 + b"]", "number_too_long"),
}


@pytest.mark.parametrize(("data", "values"), STREAMS.values(), ids=STREAMS)
def test_c49_values_in_any_cut(data: bytes, values: list[Any]) -> None:
    assert feeding.same_for_every_cut(ndjson.Decoder, data) == (values or None, None)


@pytest.mark.parametrize(("raw", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_stands_in_its_place_and_later_lines_still_come(raw: bytes, reason: str) -> None:
    data = b"1\n\n" + raw + b"\r\n2\n" + raw
    found = feeding.same_for_every_cut(ndjson.Decoder, data, splits=300)
    assert found == ([1, BadLine(3, raw, reason), 2, BadLine(5, raw, reason)], None)


@pytest.mark.parametrize(("data", "values"), STREAMS.values(), ids=STREAMS)
def test_lines_are_the_same_lines(data: bytes, values: list[Any]) -> None:
    lines = feeding.same_for_every_cut(ndjson.Lines, data).results or []
    assert not [line for line in lines if b"\n" in line or line.endswith(b"\r")]
    assert [json.loads(line) for line in lines] == values


def test_one_cr_is_dropped_and_no_more() -> None:
    assert feeding.same_for_every_cut(ndjson.Lines, b"a\r\r\nb\rc\r\n").results == [b"a\r", b"b\rc"]


def test_a_value_comes_with_its_line_end() -> None:
    decoder = ndjson.Decoder()
    assert [decoder.feed(chunk) for chunk in feeding.bytewise(b'{"a":1}\r\n2')] == [[]] * 8 + [[{"a": 1}]] + [[]]
    assert decoder.close() == [2]


@pytest.mark.parametrize("make", [ndjson.Lines, ndjson.Decoder])
def test_c43_the_limit_counts_raw_bytes_of_a_line(make: Any) -> None:
    def limited() -> Any:
        return make(max_line_bytes=8)

    fits = b'"123456"\n[1,2,3]\r\n'
    assert len(feeding.same_for_every_cut(limited, fits).results) == 2
    found = feeding.same_for_every_cut(limited, fits + b'"1234567"\n1\n')
    assert (len(found.results), found.fault) == (2, ("line_too_long", 27 - 1))
    found = feeding.same_for_every_cut(limited, fits + b"[1,2,34]\r\n")
    assert (len(found.results), found.fault) == (2, ("line_too_long", len(fits) + 8))


def test_c43_a_line_that_is_too_long_is_a_fault_without_its_end() -> None:
    found = feeding.same_for_every_cut(lambda: ndjson.Lines(4), b"\n\n[1]\n123456789")
    assert found == ([b"[1]"], ("line_too_long", 10))
    found = feeding.same_for_every_cut(lambda: ndjson.Lines(4), b"\n" * 20 + b"     ")
    assert found == (None, ("line_too_long", 24))


def test_c44_a_line_that_never_ends_is_not_kept() -> None:
    lines = ndjson.Lines(max_line_bytes=1000)
    held = 0
    for _ in range(100):
        try:
            lines.feed(b"x" * 64)
        except Exception:
            break
        held += 64
        assert len(lines._held) == held <= 1000
    assert lines.fault is not None
    assert len(lines._held) == 0


@pytest.mark.parametrize("make", [ndjson.Lines, ndjson.Decoder])
@pytest.mark.parametrize("piece", [1, 64])
def test_c45_work_is_linear_in_the_bytes(make: Any, piece: int) -> None:
    line = b'"' + b"x" * 20_000
    assert feeding.work(make(), line, piece) <= 2 * len(line)


ENCODED = {
    "object": ({"a": [1, None, True]}, b'{"a":[1,null,true]}\n'),
    "text stays readable": ("жে😀", '"жে😀"\n'.encode()),
    "line breaks of Unicode are escaped": ("\u2028\u2029\x85", b'"\\u2028\\u2029\\u0085"\n'),
    "control characters": ("\x00\n\r", b'"\\u0000\\n\\r"\n'),
    "big": (10**40, b"1" + b"0" * 40 + b"\n"),
}


@pytest.mark.parametrize(("value", "line"), ENCODED.values(), ids=ENCODED)
def test_encode_then_decode_is_the_identity(value: Any, line: bytes) -> None:
    assert ndjson.encode(value) == line
    assert ndjson.Decoder().feed(line) == [value]


circular: list[Any] = []
circular.append(circular)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), "\ud83d", {"a": "\udc00"}, {1, 2}, b"x", circular, {(1,): 2}],
    ids=repr,
)
def test_encode_refuses_what_json_cannot_carry(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="not expressible"):
        ndjson.encode(value)


def test_a_lower_limit_of_the_interpreter_makes_a_bad_line_too() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert ndjson.Decoder().feed(b"1" * 641 + b"\n2\n") == [BadLine(1, b"1" * 641, "number_too_long"), 2]
    finally:
        sys.set_int_max_str_digits(before)


def test_a_caller_deep_in_its_own_stack_gets_a_bad_line_and_no_crash() -> None:
    def dig(levels: int) -> list[Any]:
        return dig(levels - 1) if levels else ndjson.Decoder().feed(nested(DEEP) + b"\n")

    here = len(inspect.stack())
    assert dig(sys.getrecursionlimit() - here - 60) == [BadLine(1, nested(DEEP), "too_deep")]
