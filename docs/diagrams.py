"""Draws the state tables of the core: `python docs/diagrams.py` writes the pictures beside the pages that show them.

What is drawn comes from the tables: phases, edges, and the words for both. By hand is only where a phase stands and
how far an edge bends, for layout by machine needs a program of its own, and draws a handful of boxes worse. An edge
without a bend is straight; edges between the same two phases are one, with all their signs on it. A test,
`tests/test_docs_diagrams.py`, fails where a picture is not what its table says.

A picture brings its own background, light or dark as the reader's system is, so that it can be read on any page.
"""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

from penstock.protocol.chat import TRANSITIONS as STREAM
from penstock.protocol.jsonrpc.exchanges import TRANSITIONS as EXCHANGES

HERE = Path(__file__).parent / "protocol"
WIDTH, HEIGHT = 216, 74  # of a box

STYLE = """
  .panel { fill: #fbfcfe; stroke: #d7dee8; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #3c4858; }
  .name { font-weight: 600; font-size: 15px; fill: #16202c; }
  .small { font-size: 11.5px; }
  .sign { font: 12.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #24519b; }
  .gap { fill: #fbfcfe; }
  .edge { fill: none; stroke: #6c7c90; stroke-width: 1.6; }
  .head, .begin { fill: #6c7c90; }
  .box { fill: #eaf0f9; stroke: #8aa4cc; stroke-width: 1.4; }
  .good { fill: #e3f4e8; stroke: #62a877; }
  .odd { fill: #fdf1d9; stroke: #cfa243; }
  .bad { fill: #fce8e7; stroke: #cf7771; }
  @media (prefers-color-scheme: dark) {
    .panel { fill: #141a22; stroke: #2c3745; }
    text { fill: #b4c0ce; }
    .name { fill: #eef3f8; }
    .sign { fill: #8fbaf8; }
    .gap { fill: #141a22; }
    .edge { stroke: #8593a5; }
    .head, .begin { fill: #8593a5; }
    .box { fill: #1d2a3e; stroke: #4d6c9c; }
    .good { fill: #17311f; stroke: #3f8254; }
    .odd { fill: #372b12; stroke: #96742a; }
    .bad { fill: #3a1d1c; stroke: #a0524d; }
  }
"""

Point = tuple[float, float]
Table = Mapping[enum.Enum, Mapping[enum.Enum, enum.Enum]]


class Picture(NamedTuple):
    """A table, and what of its picture is by hand.

    `at` is where the boxes' middles are; `bends` how far an edge leaves the straight line, to its left if positive;
    `loops` on which side of its box an edge to itself is; `words` how far along an edge its signs stand, if not
    half-way; `looks` the class of a box that is not an ordinary one.
    """

    title: str
    table: Table
    size: tuple[int, int]
    at: Mapping[str, Point]
    bends: Mapping[tuple[str, str], float]
    loops: Mapping[str, str]
    words: Mapping[tuple[str, str], float] = {}
    looks: Mapping[str, str] = {}


PICTURES = {
    "lifecycle.svg": Picture(
        "The life of a stream",
        STREAM,
        (1000, 640),
        {
            "FAILED": (480, 70),
            "WAITING": (150, 270),
            "STREAMING": (480, 270),
            "FINISHED": (810, 270),
            "TRUNCATED": (480, 440),
            "COMPLETED": (810, 440),
        },
        {
            ("WAITING", "FINISHED"): 170,
            ("WAITING", "FAILED"): 60,
            ("FINISHED", "FAILED"): -60,
            ("STREAMING", "FINISHED"): 30,
            ("FINISHED", "STREAMING"): 30,
        },
        {"STREAMING": "below", "FINISHED": "right"},
        {("WAITING", "FINISHED"): 0.27, ("FINISHED", "FAILED"): 0.6, ("WAITING", "FAILED"): 0.6},
        {"COMPLETED": "good", "TRUNCATED": "odd", "FAILED": "bad"},
    ),
    "exchanges.svg": Picture(
        "The life of a request on a JSON-RPC connection",
        EXCHANGES,
        (1000, 450),
        {"FREE": (230, 180), "ASKED": (740, 70), "CANCELLED": (740, 290)},
        {("FREE", "ASKED"): 70, ("ASKED", "FREE"): 20, ("CANCELLED", "FREE"): 40},
        {"FREE": "left", "CANCELLED": "right"},
    ),
}


def draw(picture: Picture) -> str:
    """The picture as SVG."""
    width, height = picture.size
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="'
        f'{escape(picture.title)}">',
        f"<title>{escape(picture.title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="panel" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="14"/>',
    ]
    drawn = [_edge(picture, *edge) for edge in _edges(picture.table)]
    lines += [path for path, _ in drawn]
    lines += [_begin(picture)]
    lines += [line for phase in picture.table for line in _box(picture, phase)]
    lines += [label for _, label in drawn]  # last, so that no line goes through a word
    lines += _legend(picture)
    return "\n".join([*lines, "</svg>", ""])


def _edges(table: Table) -> Iterator[tuple[str, str, str]]:
    """From, to, and the signs that lead there, in the order of the table."""
    for phase, signs in table.items():
        for after in table:
            names = [sign.name.lower() for sign, following in signs.items() if following is after]
            if names:
                yield phase.name, after.name, " · ".join(names)


def _edge(picture: Picture, start: str, end: str, signs: str) -> tuple[str, str]:
    """The line and its words."""
    if start == end:
        return _loop(picture.at[start], picture.loops[start], signs)
    (x0, y0), (x1, y1) = picture.at[start], picture.at[end]
    bend = picture.bends.get((start, end), 0.0)
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    middle = ((x0 + x1) / 2 + bend * (y1 - y0) / length, (y0 + y1) / 2 - bend * (x1 - x0) / length)
    curve = _outside((x0, y0), middle, (x1, y1))
    return _line(curve[0], (curve[1],), curve[2]), _words(_on(*curve, picture.words.get((start, end), 0.5)), signs)


def _loop(at: Point, side: str, signs: str) -> tuple[str, str]:
    """An edge to itself: below the box, near its left end, or at one of its sides."""
    x, y = at
    if side == "below":
        x, y = x - WIDTH / 2 + 40, y + HEIGHT / 2
        middle, words = ((x - 40, y + 60), (x + 40, y + 60)), (x, y + 46)
        first, last = (x - 14, y), (x + 14, y + 3)
    else:
        out = 1 if side == "right" else -1
        x += out * WIDTH / 2
        middle, words = ((x + out * 56, y - 40), (x + out * 56, y + 40)), (x + out * 38, y + HEIGHT / 2 + 16)
        first, last = (x, y - 14), (x + out * 3, y + 14)
    return _line(first, middle, last), _words(words, signs)


def _outside(start: Point, middle: Point, end: Point) -> tuple[Point, Point, Point]:
    """The part of a curve between the boxes around its two ends."""
    leaves = _crossing(start, middle, end, start)
    enters = 1 - _crossing(end, middle, start, end)
    first = _on(start, middle, end, leaves)
    last = _on(start, middle, end, enters)
    blend = [
        (1 - leaves) * (1 - enters) * start[i]
        + (leaves * (1 - enters) + enters * (1 - leaves)) * middle[i]
        + leaves * enters * end[i]
        for i in (0, 1)
    ]
    return first, (blend[0], blend[1]), last


def _crossing(start: Point, middle: Point, end: Point, box: Point) -> float:
    """How far along the curve from `start` the border of the box around it is."""
    inside, outside = 0.0, 0.5
    for _ in range(30):
        half = (inside + outside) / 2
        x, y = _on(start, middle, end, half)
        if abs(x - box[0]) < WIDTH / 2 + 3 and abs(y - box[1]) < HEIGHT / 2 + 3:
            inside = half
        else:
            outside = half
    return outside


def _on(start: Point, middle: Point, end: Point, part: float) -> Point:
    """A point of a quadratic curve."""
    x, y = ((1 - part) ** 2 * start[i] + 2 * part * (1 - part) * middle[i] + part**2 * end[i] for i in (0, 1))
    return x, y


def _line(start: Point, middle: tuple[Point, ...], end: Point) -> str:
    """A curve with two control points, one or none, and the head of an arrow at its end."""
    (x, y), (x0, y0) = end, middle[-1] if middle else start
    length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
    along, across = ((x - x0) / length, (y - y0) / length), ((y0 - y) / length, (x - x0) / length)
    back = [(x - 10 * along[0] + side * across[0], y - 10 * along[1] + side * across[1]) for side in (4.5, -4.5)]
    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in (end, *back))
    neck = (x - 6 * along[0], y - 6 * along[1])
    curve = " ".join(f"{px:.1f} {py:.1f}" for px, py in (*middle, neck))
    path = f"M{start[0]:.1f} {start[1]:.1f}{'LQC'[len(middle)]}{curve}"
    return f'<path class="edge" d="{path}"/><polygon class="head" points="{points}"/>'


def _words(at: Point, signs: str) -> str:
    """The signs of an edge, on a piece of background that keeps its line off them."""
    x, y = at
    wide = 7.6 * len(signs) + 8
    gap = f'<rect class="gap" x="{x - wide / 2:.1f}" y="{y - 10:.1f}" width="{wide:.1f}" height="20"/>'
    return gap + f'<text class="sign" x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{signs}</text>'


def _begin(picture: Picture) -> str:
    """A dot and an arrow to the first phase of the table."""
    x, y = picture.at[next(iter(picture.table)).name]
    top = y - HEIGHT / 2
    return f'<circle class="begin" cx="{x}" cy="{top - 44}" r="6"/>' + _line((x, top - 38), (), (x, top - 3))


def _box(picture: Picture, phase: enum.Enum) -> Iterator[str]:
    x, y = picture.at[phase.name]
    look = picture.looks.get(phase.name, "")
    corner = f'x="{x - WIDTH / 2}" y="{y - HEIGHT / 2}" width="{WIDTH}" height="{HEIGHT}"'
    yield f'<rect class="box {look}" {corner} rx="{26 if look else 10}"/>'
    said = textwrap.wrap(str(phase.value), 34)
    top = y - 8 * len(said) + 4
    yield f'<text class="name" x="{x}" y="{top}" text-anchor="middle">{phase.name.lower()}</text>'
    for number, line in enumerate(said, 1):
        place = f'x="{x}" y="{top + 2 + 14 * number}"'
        yield f'<text class="small" {place} text-anchor="middle">{escape(line)}</text>'


def _legend(picture: Picture) -> Iterator[str]:
    """What the signs mean, at the foot."""
    kind = type(next(sign for row in picture.table.values() for sign in row))
    top = picture.size[1] - 20 * len(kind) - 4
    for number, sign in enumerate(kind):
        y = top + 20 * number
        yield f'<text class="sign" x="42" y="{y}">{sign.name.lower()}</text>'
        yield f'<text class="small" x="122" y="{y}">{escape(str(sign.value))}</text>'


if __name__ == "__main__":
    for name, picture in PICTURES.items():
        (HERE / name).write_text(draw(picture), encoding="utf-8")
