"""docs/endpoints.md: the tests that it names are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "endpoints.md"
NAMED = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("named", NAMED)
def test_a_test_that_is_named_is_there(named):
    path, _, name = named.partition("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    assert not name or re.search(rf"^(async )?def {re.escape(name)}\(", source, re.MULTILINE)


def test_each_row_names_one():
    rows = re.findall(r"^\| `(?:GET|POST|DELETE).*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows
    assert [row for row in rows if "`tests/" not in row] == []
