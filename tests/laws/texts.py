"""Text and JSON under the laws: UTF-8, NDJSON, and the members of a JSON object."""

from __future__ import annotations

from random import Random
from typing import Any

from laws.law import Broken, tell_twice
from laws.reference import json as json_reference
from laws.reference import ndjson as ndjson_reference
from laws.reference import utf8 as utf8_reference
from laws.reference.told import Told
from laws.streams import json, trouble
from laws.subjects import AGREES, Case, Subject, low_limit
from penstock.protocol import members, ndjson, utf8
from penstock.protocol.errors import RemoteProtocolError

__all__ = ["SUBJECTS"]


def _utf8(choose: Random) -> Case:
    pieces = [char.encode() for char in trouble.TEXTS] + list(trouble.BYTES)
    data = trouble.some(choose, pieces, 100) if choose.random() < 0.9 else trouble.bits(choose, 256)
    return Case(data, {"errors": "strict" if choose.random() < 0.3 else "replace"})


def _boundaries(case: Case, told: Told) -> None:
    oracle = case.data.decode("utf-8", "replace")
    if case.options["errors"] == "replace" and told.results != oracle:
        raise Broken(AGREES, oracle, told.results)
    for end in range(max(len(case.data) - 12, 0), len(case.data) + 1):
        prefix = case.data[:end]
        if end - utf8.boundary(prefix) != utf8_reference.pending(prefix):
            raise Broken(AGREES, utf8_reference.pending(prefix), end - utf8.boundary(prefix))


def _ndjson(choose: Random) -> Case:
    return Case(json.lines(choose), {"limit": low_limit(choose), "max_depth": choose.choice([1, 2, 5, 20, 128])})


def _values(results: list[Any]) -> list[Any]:
    return [("bad", *value) if type(value) is ndjson.BadLine else value for value in results]


def _values_again(case: Case, told: Told) -> None:
    found = ndjson.Decoder(case.options["limit"], max_depth=case.options["max_depth"])
    try:
        values = _values(found.feed(case.data))
    except RemoteProtocolError:
        values = []
    if repr(values) != repr(told.results[: len(values)]):  # which tells 1 from 1.0 and True
        raise Broken(AGREES, told.results, values)
    for value in values:
        if not (isinstance(value, tuple) and value[0] == "bad"):
            tell_twice(ndjson.encode, lambda line: ndjson.parse(line, 1 << 20), value)


def _members(choose: Random) -> Case:
    names = choose.sample(
        [b'"a"', b'"b"', b'"\\u0061"', b'"model"', b'""', b'"\xd0\xb6"', b'"\\n"'], k=int(choose.random() * 6)
    )
    parts = [name + b": " + json.document(choose) for name in names]
    data = b" {" + b" , ".join(parts) + b"} "
    if choose.random() < 0.4:
        data = trouble.mutated(choose, data, (*json.PIECES, *trouble.BYTES))
    return Case(data, {"max_depth": choose.choice([1, 2, 5, 128])})


def _members_agree(case: Case, told: Told) -> None:
    try:
        expected: Any = json_reference.members(case.data, **case.options)
    except json_reference.Bad:
        expected = None
    found = None if told.fault is not None else told.results
    if found != expected:
        raise Broken(AGREES, expected, (found, told.fault))
    try:
        quick: Any = list(members.split(case.data, **case.options)._members.values())
    except RemoteProtocolError:
        quick = None
    if quick != expected:
        raise Broken(AGREES, expected, quick)


def _changed(case: Case, told: Told) -> None:
    """Replacing members leaves all others as they came."""
    _members_agree(case, told)
    if told.fault is None and told.results:
        body = members.split(case.data, **case.options)
        first, names = told.results[0].name, body.names()
        for new in (None, b"[1]"):
            changed = members.split(body.replace({first: new, "added": b"2"}), max_depth=200)
            for name in names[1:]:
                if changed.raw(name) != body.raw(name):
                    raise Broken(_changed.__doc__ or "", body.raw(name), changed.raw(name))
            if changed.raw("added") != b"2" or changed.raw(first) != (new or b""):
                raise Broken(_changed.__doc__ or "", new, changed.body)


SUBJECTS = [
    Subject(
        "utf8",
        _utf8,
        utf8.Decoder,
        utf8_reference.decode,
        state=lambda machine: (machine.replaced,),
        room=lambda options: 3,
        also=_boundaries,
    ),
    Subject(
        "ndjson",
        _ndjson,
        lambda limit, max_depth: ndjson.Decoder(limit, max_depth=max_depth),
        ndjson_reference.values,
        read=_values,
        room=lambda options: options["limit"],
        also=_values_again,
    ),
    Subject(
        "lines",
        lambda choose: Case(json.lines(choose), {"limit": low_limit(choose)}),
        lambda limit: ndjson.Lines(limit),
        ndjson_reference.lines,
        room=lambda options: options["limit"],
    ),
    Subject("members", _members, members.Splitter, also=_changed),
]
