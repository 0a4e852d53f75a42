"""The conformance vectors: each passes in every cut, the files keep their promises, the runner sees what is wrong."""

from __future__ import annotations

import copy
import json
import re
import runpy
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from penstock.protocol import vectors
from penstock.protocol.vectors import framing, messages, runner

FOLDER = Path(vectors.__file__).parent
README = (FOLDER / "README.md").read_text()
SCHEMA = json.loads((FOLDER / "schema.json").read_text())
SPLITS = {"streams": 150}  # of all others every one

ALL = {name: vectors.load(name) for name in vectors.NAMES}
EACH = [pytest.param(name, vector, id=vector["id"]) for name, found in ALL.items() for vector in found]


@pytest.mark.parametrize(("name", "vector"), EACH)
def test_each_vector_in_every_cut(name, vector):
    ran, failure = vectors.check(name, vector, SPLITS.get(name, 10_000))
    assert failure is None, str(failure)
    assert ran == 1 if name in runner.WHOLE else ran >= 3


# --- the files ---


def wrong_in(schema, value, at="$"):
    """JSON Schema, as far as `schema.json` uses it: what is wrong with `value`, or None."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    for key, most in (("oneOf", 1), ("anyOf", 9)):
        if key in schema:
            found = [wrong_in(one, value, at) for one in schema[key]]
            if not 1 <= found.count(None) <= most:
                return max(filter(None, found), key=len, default=f"{at} is of two kinds")
    return wrong_alone(schema, value, at) or wrong_inside(schema, value, at)


def wrong_alone(schema, value, at):
    if "const" in schema and json.dumps(value) != json.dumps(schema["const"]):
        return f"{at} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at} is none of {schema['enum']}"
    kinds = schema.get("type", KINDS)
    if not any(KINDS[kind](value) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return f"{at} is no {kinds}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{at} is not like {schema['pattern']}"
    if "minimum" in schema and not schema["minimum"] <= value <= schema.get("maximum", value):
        return f"{at} is out of range"
    return None


def wrong_inside(schema, value, at):
    if isinstance(value, list):
        inside = [wrong_in(schema.get("items", {}), inner, f"{at}/{place}") for place, inner in enumerate(value)]
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        inside = [f"{at}/{name} is missing" for name in schema.get("required", ()) if name not in value]
        if not schema.get("additionalProperties", True):
            inside += [f"{at}/{name} is unknown" for name in value if name not in known]
        inside += [wrong_in(known.get(name, {}), inner, f"{at}/{name}") for name, inner in value.items()]
    else:
        inside = []
    return next(filter(None, inside), None)


KINDS = {
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}


def test_there_are_as_many_files_as_names():
    assert {path.stem for path in FOLDER.glob("*.json")} - {"schema"} == set(vectors.NAMES)
    assert set(runner.MACHINES) == {*framing.MACHINES, *messages.MACHINES} == set(vectors.NAMES)
    with pytest.raises(ValueError, match="'schema'"):
        vectors.load("schema")


@pytest.mark.parametrize("name", vectors.NAMES)
def test_a_file_is_ascii_and_as_its_schema_says(name):
    raw = (FOLDER / f"{name}.json").read_bytes()
    assert raw.isascii()
    whole = json.loads(raw)
    assert whole["machine"] == name
    (own,) = (one for one in SCHEMA["oneOf"] if one["properties"]["machine"]["const"] == name)
    assert wrong_in(own, whole) is None
    assert wrong_in({"oneOf": SCHEMA["oneOf"]}, {**whole, "vectors": whole["vectors"][:1]}) is None


def test_the_schema_refuses_what_it_should():
    whole = {"machine": "utf8", "about": "", "vectors": copy.deepcopy(ALL["utf8"][:1])}
    (own,) = (one for one in SCHEMA["oneOf"] if one["properties"]["machine"]["const"] == "utf8")
    assert wrong_in(own, whole) is None
    for change, wrong in [
        ({"id": "sse/x"}, "$/vectors/0/id is not like"),
        ({"extra": 1}, "$/vectors/0/extra is unknown"),
        ({"choice": False}, "$/vectors/0/choice is not True"),
        ({"input": 5}, "$/vectors/0/input is no string"),
        ({"expect": {**ALL["utf8"][0]["expect"], "replaced": -1}}, "$/vectors/0/expect/replaced is out of range"),
        ({"expect": {"text": ""}}, "$/vectors/0/expect/replaced is missing"),
    ]:
        whole["vectors"] = [{**ALL["utf8"][0], **change}]
        assert wrong_in(own, whole).startswith(wrong)


def test_ids_are_unique_and_texts_are_the_input():
    ids = [vector["id"] for found in ALL.values() for vector in found]
    assert len(ids) == len(set(ids)) >= 1000
    for found in ALL.values():
        for vector in found:
            if "text" in vector:
                assert vector["text"].encode() == b64decode(vector["input"], validate=True), vector["id"]


def test_no_two_vectors_of_a_file_are_the_same():
    for name, found in ALL.items():
        asked = [json.dumps({k: v.get(k) for k in ("input", "event", "steps", "options")}) for v in found]
        twice = [vector["id"] for vector, one in zip(found, asked, strict=True) if asked.count(one) > 1]
        assert not twice, name


def test_any_reader_of_json_can_read_them():
    def judge(value):
        if isinstance(value, dict):
            value = [*value, *value.values()]
        if isinstance(value, list):
            for inner in value:
                judge(inner)
        elif isinstance(value, str):
            value.encode()  # no half of a surrogate pair
        elif isinstance(value, int):
            assert abs(value) < 2**53

    judge(ALL)


def test_the_readme_counts_right_and_names_every_file():
    told = dict(re.findall(r"^\| `([a-z0-9-]+)` \|.*\| (\d+) \|$", README, re.MULTILINE))
    assert told == {name: str(len(found)) for name, found in ALL.items()}
    for name in vectors.NAMES:
        assert f"**{name}.**" in README


# --- the runner ---


def wronged(value):
    """The same expectation, and something else in it."""
    if isinstance(value, dict) and value:
        last = list(value)[-1]
        return {**value, last: wronged(value[last])}
    if isinstance(value, list) and value:
        return [*value[:-1], wronged(value[-1])]
    return not value if isinstance(value, bool) else "something else"


@pytest.mark.parametrize("name", vectors.NAMES)
def test_a_wrong_expectation_is_a_failure(name):
    for vector in ALL[name]:
        _, failure = vectors.check(name, {**vector, "expect": wronged(vector["expect"])}, 2)
        assert failure is not None, vector["id"]
        assert failure.id == vector["id"]
        assert vector["id"] in str(failure)


@pytest.mark.parametrize("name", vectors.NAMES)
def test_each_member_of_an_expectation_is_compared(name):
    for vector in ALL[name]:
        for member, value in vector["expect"].items():
            if member == "error" and value is not None:
                continue  # it says what to look for: the last of its members is tried above
            changed = {**vector, "expect": {**vector["expect"], member: wronged(value)}}
            assert vectors.check(name, changed, 2)[1] is not None, (vector["id"], member)


def test_one_and_one_point_zero_and_true_are_three_things():
    vector = next(vector for vector in ALL["json"] if vector["id"] == "json/lonely-true")
    for value in (1, 1.0):
        assert vectors.check("json", {**vector, "expect": {"accept": True, "value": value}})[1] is not None


def test_a_step_that_goes_otherwise_is_named():
    vector = copy.deepcopy(next(one for one in ALL["jsonrpc-dialogue"] if one["id"].endswith("/ask-and-answer")))
    vector["steps"][1]["found"] = []
    _, failure = vectors.check("jsonrpc-dialogue", vector)
    assert failure.found["step"] == 2
    assert failure.found["found"]["found"] == [{"success": {"result": 3, "id": 1}}]


def test_what_raises_is_a_failure_of_its_vector(monkeypatch):
    monkeypatch.setitem(runner.MACHINES, "utf8", lambda vector, chunks: 1 / 0)
    _, failure = vectors.check("utf8", ALL["utf8"][0])
    assert failure.found == "ZeroDivisionError: division by zero"


def test_the_two_ways_to_members_must_agree(monkeypatch):
    vector = ALL["members"][0]
    monkeypatch.setattr(framing.members, "split", lambda body, **_: framing.members.Members(body, []))
    assert vectors.check("members", vector)[1].found["members"] == []
    refusal = framing.RemoteProtocolError("no", kind="no")

    def refuse(body, **_):
        raise refusal

    monkeypatch.setattr(framing.members, "split", refuse)
    assert vectors.check("members", vector)[1].found["members"] == "refused by the quick way"


def test_a_last_event_of_another_ending_is_a_failure(monkeypatch):
    vector = next(vector for vector in ALL["streams"] if vector["id"] == "streams/openai-text")
    decoder = messages.DIALECTS["openai"].decoder
    monkeypatch.setattr(decoder, "_finish", lambda self: [])
    assert "and yet the last event is" in vectors.check("streams", vector)[1].found["ending"]


def test_the_report_counts_and_says_what_failed_and_what_was_left_out(monkeypatch):
    vector = next(vector for vector in ALL["streams"] if vector["options"]["dialect"] == "ollama")
    wrong = {**ALL["ndjson"][0], "expect": {"fault": None, "results": []}}
    unknown = {**vector, "options": {"dialect": "not-yet"}}
    files = {"ndjson": [ALL["ndjson"][1], wrong], "streams": [vector, unknown]}
    monkeypatch.setattr(runner, "load", files.__getitem__)
    report = vectors.run(files, splits=5)
    assert report.counts == {"ndjson": 2, "streams": 2}
    assert [failure.id for failure in report.failures] == [wrong["id"]]
    assert report.skipped == [vector["id"]]
    said = str(report)
    assert "4 vectors in" in said
    assert f"skipped {vector['id']}" in said
    assert said.endswith("1 failures, 1 skipped")


def test_cuts_are_all_of_a_short_input_and_bounded_for_a_long_one():
    assert list(runner.cuts(b"ab", 10)) == [[b"ab"], [b"a", b"b"], [b"", b"ab"], [b"a", b"b"], [b"ab", b""]]
    for size in (1, 9, 10, 11, 95, 1000):
        found = list(runner.cuts(b"x" * size, 10))
        assert 3 <= len(found) <= 2 + 11
        assert all(b"".join(chunks) == b"x" * size for chunks in found)


def test_the_command_says_what_came_of_it(capsys, monkeypatch):
    assert runner.main(["utf8"]) == 0
    assert "0 failures, 0 skipped" in capsys.readouterr().out
    assert runner.main(["utf9"]) == 2
    assert "utf9" in capsys.readouterr().err
    monkeypatch.setitem(runner.MACHINES, "utf8", lambda vector, chunks: {})
    assert runner.main(["utf8"]) == 1
    assert "utf8/valid-ascii (whole)" not in capsys.readouterr().out


def test_it_runs_as_a_module(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["vectors", "jsonrpc-dialogue"])
    with pytest.raises(SystemExit) as left:
        runpy.run_module("penstock.protocol.vectors", run_name="__main__")
    assert left.value.code == 0
    assert capsys.readouterr().out.endswith("0 failures, 0 skipped\n")
