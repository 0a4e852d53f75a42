"""`jsontext`: lenient in, strict out."""

import json

import pytest

from penstock.protocol import jsontext


@pytest.mark.parametrize(
    ("raw", "value", "clean"),
    [
        (b'{"a":1}', {"a": 1}, True),
        ('{"a":"日本 😀"}'.encode(), {"a": "日本 😀"}, True),
        (b'{"a":"\\ud83d\\ude00 \\u0416"}', {"a": "😀 Ж"}, True),
        (b'{"a":"\\ud83d"}', {"a": "\ud83d"}, False),
        (b'{"a":"\\uDE00"}', {"a": "\ude00"}, False),
        (b'{"a":"x\xff"}', {"a": "x\ufffd"}, False),
        (b'{"a":NaN,"b":-Infinity}', {"a": None, "b": None}, False),
        (b'{"a":1e400}', {"a": float("inf")}, True),
        ('{"a":"\u2028"}'.encode(), {"a": "\u2028"}, False),
        ('{"a":"\x85"}'.encode(), {"a": "\x85"}, False),
        (b'{"a":\n1}', {"a": 1}, False),
        (b'{"a":123456789012345678901234567890}', {"a": 123456789012345678901234567890}, True),
    ],
)
def test_loads_says_whether_the_bytes_may_go_on(raw, value, clean):
    assert jsontext.loads(raw) == (value, clean)


def test_line_breaks_do_not_matter_where_no_line_is_wanted():
    assert jsontext.loads(b'{"a":\n1}', one_line=False) == ({"a": 1}, True)


@pytest.mark.parametrize("raw", [b"", b"{", b"{'a':1}", b'{"a":"\x01"}', b"9" * 5000, b"[" * 200 + b"]" * 200])
def test_what_is_no_json_is_a_value_error(raw):
    with pytest.raises(ValueError):
        jsontext.loads(raw)


def test_depth_counts_brackets_outside_of_strings_only():
    assert jsontext.depth(b'{"a":["[[[[\\"[",{}],"b":[]}') == 3
    text = b'{"a":"' + b"[" * 500 + b'"}'
    assert jsontext.loads(text, 4)[0] == {"a": "[" * 500}


@pytest.mark.parametrize("end", [b"", b"\\", b'"'])
def test_c45_a_string_without_end_is_looked_at_once(end):
    text = b'{"a":"' + b"[" * 200 + b'\\"' * 1000 + end
    assert [found.span() for found in jsontext._string.finditer(text)] == [(1, 4), (5, len(text))]
    assert jsontext.depth(text) == 1


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"a": "é", "b": [1, 2.5, None]}, '{"a":"é","b":[1,2.5,null]}'),
        ("\u2028\u2029\x85", '"\\u2028\\u2029\\u0085"'),
        ("\ud83d\ude00", '"😀"'),
        ("a\ud83d", '"a\ufffd"'),
        ({"a": [float("inf"), float("nan"), 1.5, "x"]}, '{"a":[null,null,1.5,"x"]}'),
        (12345678901234567890123, "12345678901234567890123"),
    ],
)
def test_s8_s9_what_is_written_is_read_by_everyone(value, written):
    assert jsontext.dumps(value) == written.encode()
    json.loads(written, parse_constant=pytest.fail)
    if isinstance(value, str):
        assert jsontext.quote(value) == written.encode()


def test_a_whole_body_may_have_many_lines_and_a_broken_string_is_mended():
    assert jsontext.loads_body(b'{\n "a": 1\r\n}') == ({"a": 1}, True)
    assert jsontext.loads_body(b'{"a": "x\r\ny"}') == ({"a": "x  y"}, False)
    with pytest.raises(ValueError, match="Expecting"):
        jsontext.loads_body(b"{")
