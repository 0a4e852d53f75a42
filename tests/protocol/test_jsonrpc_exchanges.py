"""The table of requests in flight: every phase with every sign, and how ids compare."""

from __future__ import annotations

import itertools

import pytest

from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.jsonrpc.exchanges import TRANSITIONS, Exchanges, Phase, Sign
from penstock.protocol.jsonrpc.messages import Id

WAY_TO = {Phase.FREE: [], Phase.ASKED: [Sign.REQUEST], Phase.CANCELLED: [Sign.REQUEST, Sign.CANCEL]}

# Written once more, by hand: what each phase and sign lead to; None is against the rules.
EXPECTED: dict[Phase, dict[Sign, Phase | None]] = {
    Phase.FREE: {
        Sign.REQUEST: Phase.ASKED,
        Sign.ANSWER: None,
        Sign.CANCEL: Phase.FREE,
        Sign.ABANDON: Phase.FREE,
    },
    Phase.ASKED: {
        Sign.REQUEST: None,
        Sign.ANSWER: Phase.FREE,
        Sign.CANCEL: Phase.CANCELLED,
        Sign.ABANDON: Phase.FREE,
    },
    Phase.CANCELLED: {
        Sign.REQUEST: None,
        Sign.ANSWER: Phase.FREE,
        Sign.CANCEL: Phase.CANCELLED,
        Sign.ABANDON: Phase.FREE,
    },
}


@pytest.mark.parametrize(("phase", "sign"), list(itertools.product(Phase, Sign)))
def test_every_phase_with_every_sign(phase: Phase, sign: Sign) -> None:
    exchanges = Exchanges(10)
    for step in WAY_TO[phase]:
        exchanges.move("id", step)
    assert exchanges.phase("id") is phase
    expected = EXPECTED[phase][sign]
    assert exchanges.allows("id", sign) is (expected is not None)
    if expected is None:
        with pytest.raises(LocalProtocolError, match=f"{sign.name} for the id 'id': {phase.value}"):
            exchanges.move("id", sign)
        assert exchanges.phase("id") is phase
    else:
        assert exchanges.move("id", sign) is (expected is not phase)
        assert exchanges.phase("id") is expected
    assert exchanges.ids == ([] if exchanges.phase("id") is Phase.FREE else ["id"])


def test_the_table_names_every_phase() -> None:
    assert set(TRANSITIONS) == set(Phase)


def test_a_limit_counts_what_is_in_flight() -> None:
    exchanges = Exchanges(2)
    exchanges.move(1, Sign.REQUEST)
    assert not exchanges.full
    exchanges.move(2, Sign.REQUEST)
    exchanges.move(1, Sign.CANCEL)
    assert exchanges.full
    assert exchanges.ids == [1, 2]
    exchanges.move(1, Sign.ANSWER)
    assert not exchanges.full


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, "1", False),
        (None, "null", False),
        (None, 0, False),
        ("", None, False),
        ("", 0, False),
        ("a", "A", False),
        ("\u00e9", "e\u0301", False),
        (1, 1.0, True),
        (0, -0.0, True),
        (1, 1.5, False),
        (2**53, 2.0**53, True),
        (2**53 + 1, 2.0**53, False),
        (10**40, 10**40 + 1, False),
    ],
)
def test_ids_compare_by_type_and_value(one: Id, other: Id, same: bool) -> None:
    exchanges = Exchanges(10)
    exchanges.move(one, Sign.REQUEST)
    assert exchanges.allows(other, Sign.ANSWER) is same
    assert exchanges.allows(other, Sign.REQUEST) is not same
