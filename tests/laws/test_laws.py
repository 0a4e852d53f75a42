"""The laws of all machines, in bounded time: some of the executions that `run.py` does by the million."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laws import strategies
from laws.machines import MACHINES
from laws.subjects import Subject, executions

FRAMINGS = [name for name in MACHINES if not name.startswith(("relay", "whole", "decoder", "reader"))]
CHATS = [name for name in MACHINES if name not in FRAMINGS]


def held(machine: str, cases: int, cuts: int) -> None:
    for number in range(cases):
        for case, chunks, broken in executions(MACHINES[machine], Random(f"pytest/{machine}/{number}"), cuts):
            assert broken is None, f"case {number}: {case.options} {chunks!r}\n{broken}"


@pytest.mark.parametrize("machine", FRAMINGS)
def test_c33_c35_laws_of_framings(machine: str) -> None:
    held(machine, cases=80, cuts=12)


@pytest.mark.parametrize("machine", CHATS)
def test_c33_c35_laws_of_chat_streams(machine: str) -> None:
    held(machine, cases=6, cuts=7)


@pytest.mark.parametrize("machine", strategies.BYTES)
@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.data())
def test_c33_c35_laws_of_what_hypothesis_makes(machine: str, data: st.DataObject) -> None:
    subject: Subject = MACHINES[machine]
    raw = data.draw(strategies.BYTES[machine])
    case = subject.generate(Random(data.draw(st.integers(0, 9))))._replace(data=raw)
    subject.hold(case, data.draw(strategies.cuts(raw)), subject.told(case), measured=True)


def test_nothing_that_finds_frames_is_left_out() -> None:
    others = ("jsonrpc", "tags", "embeddings")
    assert set(strategies.BYTES) == {name for name in FRAMINGS if not name.startswith(others)}
