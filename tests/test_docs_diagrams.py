"""docs/diagrams.py: the pictures are those of the tables, and what is by hand is about what is in them."""

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

DIAGRAMS = runpy.run_path(str(Path(__file__).parent.parent / "docs" / "diagrams.py"))
PICTURES = DIAGRAMS["PICTURES"]


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_is_what_the_table_says(name):
    drawn = DIAGRAMS["draw"](PICTURES[name])
    assert (DIAGRAMS["HERE"] / name).read_text(encoding="utf-8") == drawn, "run: python docs/diagrams.py"


@pytest.mark.parametrize("name", PICTURES)
def test_every_phase_and_every_transition_is_in_the_picture(name):
    picture = PICTURES[name]
    texts = [
        node.text for node in ElementTree.fromstring(DIAGRAMS["draw"](picture)).iter() if node.tag.endswith("text")
    ]
    assert {phase.name.lower() for phase in picture.table} <= set(texts)
    edges = list(DIAGRAMS["_edges"](picture.table))
    said = [sign.name.lower() for signs in picture.table.values() for sign in signs]
    assert sorted(said) == sorted(word for *_, words in edges for word in words.split(" · "))
    assert all(words in texts for *_, words in edges)


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_by_hand_is_about_what_is_there(name):
    picture = PICTURES[name]
    edges = {(start, end) for start, end, _ in DIAGRAMS["_edges"](picture.table)}
    phases = {phase.name for phase in picture.table}
    assert set(picture.at) == phases
    assert set(picture.bends) | set(picture.words) <= edges
    assert set(picture.loops) == {start for start, end in edges if start == end}
    assert set(picture.looks) <= {phase.name for phase, signs in picture.table.items() if not signs}


@pytest.mark.parametrize("name", PICTURES)
def test_no_box_lies_on_another_or_outside(name):
    picture, wide, high = PICTURES[name], DIAGRAMS["WIDTH"], DIAGRAMS["HEIGHT"]
    places = list(picture.at.values())
    for at, (x, y) in enumerate(places):
        assert wide / 2 < x < picture.size[0] - wide / 2
        assert high / 2 < y < picture.size[1] - high / 2
        for other_x, other_y in places[:at]:
            assert abs(x - other_x) > wide or abs(y - other_y) > high


def test_every_picture_is_shown_on_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in DIAGRAMS["HERE"].glob("*.md"))
    assert set(re.findall(r"\]\((\w+\.svg)\)", pages)) == set(PICTURES)
