"""The messages: kinds are never mixed up, and what an id is."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.protocol.jsonrpc.messages import Batch, Failure, Invalid, Notification, Request, Success, is_id


def test_messages_of_two_kinds_are_never_equal() -> None:
    assert Notification("a", None) != Success("a", None)
    assert Failure(-32600, "Invalid Request") != Invalid(-32600, "Invalid Request")
    assert Success("a", None) != ("a", None)
    assert Notification("a", None) == Notification("a")
    assert len({Notification("a"), Success("a", None), Notification("a", None)}) == 2


def test_what_is_only_for_logs_does_not_count() -> None:
    assert Invalid(-32600, "Invalid Request", 1, "a reason", response=True) == Invalid(-32600, "Invalid Request", 1)
    assert len({Invalid(1, "m", 1, "a reason"), Invalid(1, "m", 1)}) == 1


def test_messages_match_by_position_in_the_documented_order() -> None:
    match Request("m", [1], "i"):
        case Request(method, params, id):
            assert (method, params, id) == ("m", [1], "i")
    match Failure(1, "text", {"d": 1}, 2):
        case Failure(code, message, data, id):
            assert (code, message, data, id) == (1, "text", {"d": 1}, 2)


@pytest.mark.parametrize(
    "message", [Request("m", None, 1), Notification("m"), Success(1, 1), Failure(1, "m"), Invalid(1, "m"), Batch([])]
)
def test_messages_do_not_change(message: Any) -> None:
    with pytest.raises(AttributeError):
        setattr(message, message._fields[0], 0)


@pytest.mark.parametrize("value", ["", "1", "же😀", 0, -1, 10**40, 1.5, -0.0, 1e300, None], ids=repr)
def test_ids(value: Any) -> None:
    assert is_id(value)


@pytest.mark.parametrize(
    "value", [True, False, [], {}, [1], float("inf"), float("-inf"), float("nan"), "\ud800", "a\udc00", b"1"], ids=repr
)
def test_what_is_no_id(value: Any) -> None:
    assert not is_id(value)
