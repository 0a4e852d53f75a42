"""docs/operations.md and docs/endpoints.md say what is so."""

import re
from pathlib import Path

import pytest

from door import ANSWER
from penstock.providers.headers import NEVER, NEVER_BEGINNINGS, REQUEST_RULES, RESPONSE_RULES
from penstock.server.config import load
from penstock.server.metrics import MAX_SERIES
from penstock.server.openapi.document import document
from penstock.server.routes import BELOW, ROUTES
from rig import Rig
from scripted import Upstream

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ENDPOINTS = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")
_WORD = re.compile(r"`([^`]+)`")


def row(name):
    table = OPERATIONS.partition("By default:")[2]
    (line,) = [line for line in table.split("\n") if line.startswith(f"| `{name}` |")]
    return [_WORD.findall(cell) for cell in line.split("|")[2:4]]


def test_the_policy_that_is_written_is_the_default():
    assert row("allow") == [REQUEST_RULES.allow, RESPONSE_RULES.allow]
    assert row("deny") == [REQUEST_RULES.deny, RESPONSE_RULES.deny]
    renamed = row("rename")[1]
    assert dict(zip(renamed[::2], renamed[1::2], strict=True)) == RESPONSE_RULES.rename


def test_what_is_said_never_to_travel_never_does():
    never = OPERATIONS.partition("**Never**")[2].partition("\n\n")[0]
    for name in _WORD.findall(never):
        name = name.lower()
        assert name in NEVER or name.rstrip("*").startswith(NEVER_BEGINNINGS) or name in NEVER_BEGINNINGS, name


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", OPERATIONS, re.S))
def test_examples_are_configurations(tmp_path, block):
    file = tmp_path / "penstock.toml"
    file.write_text(block)
    assert load(file, {}).headers


async def test_every_metric_is_in_the_table(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, ANSWER))
    await rig.ask()
    client = rig.connect()
    await client.request("GET", "/metrics")
    told = (await client.answer()).body.decode()
    names = {name.removesuffix("_info") for name in re.findall(r"^# TYPE (\w+) ", told, re.M)}
    table = OPERATIONS.partition("## Metrics")[2].partition("\n## ")[0]
    said = {name.removesuffix("_info") for line in table.split("\n") if line.startswith("| `") for name in _first(line)}
    assert said == names
    assert f"up to {MAX_SERIES} of them" in table


def _first(line):
    return _WORD.findall(line.split("|")[1])


async def test_every_member_of_health_is_in_the_example(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery))
    client = rig.connect()
    await client.request("GET", "/health")
    told = (await client.answer()).json
    example = OPERATIONS.partition("```json")[2].partition("```")[0]
    assert set(told) | set(told["features"]) | set(told["upstreams"][0]) <= set(re.findall(r'"(\w+)":', example))


# -- endpoints --------------------------------------------------------------------------------------------


def listed():
    """The endpoints of the table: (method, path) each, with the tests of its row."""
    for line in re.findall(r"^\| (`(?:GET|POST|DELETE|WS) .*)\|$", ENDPOINTS, re.M):
        names, _, tests = (cell.strip() for cell in line.split(" | "))
        method = ""
        for word in _WORD.findall(names):
            method, _, path = word.rpartition(" ") if " " in word else (method, "", word)
            yield method, path.rstrip("/") or "/", _WORD.findall(tests)


def test_every_endpoint_is_listed_and_no_other():
    served = {
        (method.upper(), path)
        for path, methods in document({**ROUTES, **BELOW}, keys=True)["paths"].items()
        for method in methods
    }
    named = [(method, path) for method, path, _ in listed()]
    assert set(named) == served
    assert len(named) == len(served), "an endpoint is listed twice"


def test_the_tests_that_are_named_are_there():
    for _, path, tests in listed():
        assert tests, f"{path} has no test"
        for test in tests:
            file, _, name = test.partition("::")
            assert (ROOT / file).exists(), test
            assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), test
