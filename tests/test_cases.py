"""docs/cases.md: each case is there once, and says which tests prove it."""

import re
import runpy
from pathlib import Path

import pytest

CASES = runpy.run_path(str(Path(__file__).parent.parent / "docs" / "cases.py"))
TEXT = CASES["TABLE"].read_text()
ROWS = CASES["rows"](TEXT)
TESTS = CASES["tests_by_case"]()


def test_each_case_has_one_row():
    numbers = re.findall(r"^\| C(\d\d) \|", TEXT, re.MULTILINE)
    assert numbers == [f"{number:02}" for number in range(1, 88)]
    assert ROWS.keys() == set(numbers)
    assert all(asked for asked, _ in ROWS.values())


def test_no_test_bears_the_number_of_a_case_that_is_none():
    assert TESTS.keys() <= ROWS.keys()


@pytest.mark.parametrize("number", ROWS)
def test_the_row_names_the_tests_of_its_case(number):
    named = ROWS[number][1]
    if number in TESTS:
        assert re.findall(r"`(.+?)`", named) == TESTS[number], "run: python docs/cases.py"
    else:
        assert re.fullmatch(r"later: [A-Za-z].+", named), "a case without a test names the area that it comes with"
