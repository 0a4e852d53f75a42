"""`members` and `splitter`: two ways to one verdict on a request body, and splicing that changes nothing else."""

import json
import random
import re

import pytest

import feeding
from penstock.protocol.errors import LocalProtocolError, RemoteProtocolError
from penstock.protocol.members import MAX_NUMBER, Member, Members, Splitter, split

DEPTH = 4


class Splitting:
    """A splitter of low depth, as a machine for `feeding`."""

    def __init__(self):
        self._splitter = Splitter(max_depth=DEPTH)

    def feed(self, data):
        return self._splitter.feed(data)

    def close(self):
        return self._splitter.close()

    @property
    def fault(self):
        return self._splitter.fault


def judge(body):
    """What `split` says: the members, or the fault's kind and offset."""
    try:
        members = split(body, max_depth=DEPTH)
    except RemoteProtocolError as exc:
        return None, (exc.kind, exc.offset)
    assert members.body == body
    return [member for name in members.names() for member in [members._members[name]]] or None, None


GOOD = [
    b"{}",
    b' {\n\t"a" : 1 ,\r "b":-0.5e+3 } ',
    b'{"a":"x\\n\\u00e9\\ud83d","b":[1,"two",true,null,{"c":[]}],"c":{}}',
    '{"ж":"日本 😀","b":["ж",1,2]}'.encode(),
    b'{"a":[' + b"1," * 50 + b"2]}",
    b'{"n":' + b"9" * MAX_NUMBER + b"}",
    b'{"a":[[[1]]]}',
]

BAD = [
    (b"", "invalid_json", 0),
    (b" \n", "invalid_json", 2),
    (b"[]", "not_an_object", 0),
    (b' "a"', "not_an_object", 1),
    (b"12", "not_an_object", 0),
    (b"hello", "invalid_json", 0),
    (b"{", "invalid_json", 1),
    (b'{"a":1', "invalid_json", 6),
    (b'{"a":1}}', "invalid_json", 7),
    (b'{"a":1} {}', "invalid_json", 8),
    (b'{"a":1,}', "invalid_json", 7),
    (b'{"a":[1,]}', "invalid_json", 8),
    (b'{,"a":1}', "invalid_json", 1),
    (b'{"a" 1}', "invalid_json", 5),
    (b"{a:1}", "invalid_json", 1),
    (b"{1:1}", "invalid_json", 1),
    (b'{"a":[1}', "invalid_json", 7),
    (b'{"a":{"b":1]}', "invalid_json", 11),
    (b'{"a":NaN}', "invalid_json", 5),
    (b'{"a":-Infinity}', "invalid_json", 5),
    (b'{"a":01}', "invalid_json", 5),
    (b'{"a":1.}', "invalid_json", 5),
    (b'{"a":tru}', "invalid_json", 5),
    (b'{"a":"\x01"}', "invalid_json", 6),
    (b'{"a":"\\x"}', "invalid_json", 6),
    (b'{"a":"\\u12G4"}', "invalid_json", 6),
    (b'{"a":"\xff"}', "invalid_utf8", 6),
    (b'{"a":"x\xe2\x82"}', "invalid_utf8", 7),
    (b'{"a":"\xed\xa0\x80"}', "invalid_utf8", 6),
    (b'\xef\xbb\xbf{"a":1}', "invalid_json", 0),
    (b'{"n":' + b"9" * (MAX_NUMBER + 1) + b"}", "invalid_json", 5),
    (b'{"n":0.' + b"9" * MAX_NUMBER + b"}", "invalid_json", 5),
    (b'{"a":[[[[1]]]]}', "too_deep", 8),
    (b'{"a":{"a":{"a":{"a":{}}}}}', "too_deep", 20),
    (b'{"a":[[[[]]]],"a":1}', "too_deep", 8),
    (b'{"a":1,"b":2,"a":3}', "duplicate_key", 13),
    (b'{"a":1,"\\u0061":3}', "duplicate_key", 7),
]


@pytest.mark.parametrize("body", GOOD)
def test_good_bodies_are_split_alike_by_both_and_at_every_cut(body):
    found, fault = judge(body)
    assert fault is None
    assert feeding.same_for_every_cut(Splitting, body, splits=1200) == (found, None)
    parsed = json.loads(body)
    assert [member.name for member in found or []] == list(parsed)
    for member in found or []:
        assert json.loads(body[member.start : member.end]) == parsed[member.name]
        assert body[member.key : member.key + 1] == b'"'


@pytest.mark.parametrize(("body", "kind", "offset"), BAD)
def test_bad_bodies_are_refused_alike_by_both_and_at_every_cut(body, kind, offset):
    assert judge(body) == (None, (kind, offset))
    assert feeding.same_for_every_cut(Splitting, body, splits=1200).fault == (kind, offset)


def test_random_bodies_have_one_verdict():
    choose = random.Random(20)
    tokens = [
        *b'{}[],:"',
        b'"a"',
        b'"b"',
        b"1",
        b"-0.5e3",
        b"true",
        b" ",
        b'"\xd0\xb6"',
        b'"\xff"',
        b"\\",
        b'"\\n"',
        b"nul",
    ]
    tokens = [bytes([token]) if isinstance(token, int) else token for token in tokens]
    for _ in range(4000):
        body = bytearray(choose.choice([b"", *GOOD[:4]]))
        for _ in range(choose.randint(0, 6 if not body else 2)):
            at = choose.randint(0, len(body))
            body[at : at + choose.randint(0, 1)] = choose.choice(tokens)
        expected = judge(bytes(body))
        cut = choose.randint(0, len(body))
        for chunks in ([bytes(body[:cut]), bytes(body[cut:])], feeding.bytewise(bytes(body))):
            found = feeding.outcome(Splitting(), chunks)
            assert found.fault == expected[1], bytes(body)
            assert found.fault or (found.results or None) == expected[0], bytes(body)


def test_values_are_parsed_when_asked_for():
    members = split(b'{"model":"m","seed":12345678901234567890123,"stream":true}')
    assert members.value("model") == "m"
    assert members.value("seed") == 12345678901234567890123
    assert members.raw("stream") == b"true"
    assert members.raw("absent") == b""
    assert members.value("absent", 7) == 7
    assert "seed" in members
    assert "absent" not in members


@pytest.mark.parametrize(
    ("body", "changes", "expected"),
    [
        (b'{ "model" : "a", "x":1.0 }', {"model": b'"b"'}, b'{ "model" : "b", "x":1.0 }'),
        ('{"ж":"é","model":"a"}'.encode(), {"model": b'"b"'}, '{"ж":"é","model":"b"}'.encode()),
        (b'{"model":"a"}', {"new": b"1", "absent": None}, b'{"model":"a","new":1}'),
        (b"{}", {"new": b"[]"}, b'{"new":[]}'),
        (b' {"a":1, "b":2 } ', {"b": None}, b'{"a":1}'),
        (b'{"a":1, "b" : 2,"c":3}', {"a": None, "b": b"9", "d": b"4"}, b'{"b" : 9,"c":3,"d":4}'),
        (b'{"a":{"b":1}}', {"a": None}, b"{}"),
        (b'{"a":1}', {}, b'{"a":1}'),
    ],
)
def test_c61_replacing_a_member_leaves_every_other_byte(body, changes, expected):
    assert split(body).replace(changes) == expected


def test_members_can_be_made_of_what_a_splitter_found():
    body = b'{"model":"m","n":[1,2]}'
    splitter = Splitter()
    found = [*splitter.feed(body[:9]), *splitter.feed(body[9:]), *splitter.close()]
    assert found == [Member("model", 1, 9, 12), Member("n", 13, 17, 22)]
    assert Members(body, found).value("n") == [1, 2]
    assert splitter.close() == []
    with pytest.raises(LocalProtocolError):
        splitter.feed(b"")


def test_what_a_splitter_holds_does_not_grow_with_the_body():
    splitter = Splitter()
    splitter.feed(b'{"image":"')
    for _ in range(100):
        splitter.feed(b"A" * 65536)
        assert len(splitter._tail) < 16
    assert splitter.feed(b'"}') == [Member("image", 1, 9, 10 + 6553600 + 1)]


def test_a_member_is_looked_at_where_it_stands():
    members = split(b'{"a": [ ], "b": [1], "c": null}')
    empty = re.compile(rb"\[[ ]*\]")
    assert [members.looks(name, empty) for name in ("a", "b", "c", "d")] == [True, False, False, False]
