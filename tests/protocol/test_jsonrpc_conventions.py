"""Cancellation and progress in both manners: recognised, written, and refused where a manner cannot say it."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.jsonrpc import Cancel, Notification, Progress, recognise
from penstock.protocol.jsonrpc.conventions import notification

MEANT: dict[str, tuple[Cancel | Progress, Notification]] = {
    "LSP cancel": (Cancel(7), Notification("$/cancelRequest", {"id": 7})),
    "LSP cancel of a text id": (Cancel("7", "lsp"), Notification("$/cancelRequest", {"id": "7"})),
    "MCP cancel": (Cancel("a", "mcp"), Notification("notifications/cancelled", {"requestId": "a"})),
    "MCP cancel with a reason": (
        Cancel(1, "mcp", "the user left"),
        Notification("notifications/cancelled", {"requestId": 1, "reason": "the user left"}),
    ),
    "LSP progress": (Progress("t", None), Notification("$/progress", {"token": "t", "value": None})),
    "MCP progress": (
        Progress(0, {"progress": 0.5, "total": 1, "message": "half"}, "mcp"),
        Notification("notifications/progress", {"progressToken": 0, "progress": 0.5, "total": 1, "message": "half"}),
    ),
}


@pytest.mark.parametrize(("meant", "message"), MEANT.values(), ids=MEANT)
def test_both_ways(meant: Any, message: Notification) -> None:
    assert recognise(message) == meant
    assert notification(meant) == message


UNRECOGNISED: dict[str, Notification] = {
    "another method": Notification("textDocument/didOpen", {"id": 1}),
    "no parameters": Notification("$/cancelRequest"),
    "parameters by position": Notification("$/cancelRequest", [1]),
    "no id": Notification("$/cancelRequest", {"requestId": 1}),
    "id true": Notification("$/cancelRequest", {"id": True}),
    "MCP without id": Notification("notifications/cancelled", {"id": 1}),
    "MCP id array": Notification("notifications/cancelled", {"requestId": []}),
    "no token": Notification("$/progress", {"value": 1}),
    "no value": Notification("$/progress", {"token": 1}),
    "token true": Notification("$/progress", {"token": True, "value": 1}),
    "token fractional": Notification("$/progress", {"token": 1.5, "value": 1}),
    "no progress": Notification("notifications/progress", {"progressToken": 1}),
    "progress true": Notification("notifications/progress", {"progressToken": 1, "progress": True}),
    "progress in words": Notification("notifications/progress", {"progressToken": 1, "progress": "half"}),
    "no progress token": Notification("notifications/progress", {"progress": 1}),
}


@pytest.mark.parametrize("message", UNRECOGNISED.values(), ids=UNRECOGNISED)
def test_whatever_else_is_not_recognised(message: Notification) -> None:
    assert recognise(message) is None


def test_a_reason_that_is_no_text_is_dropped() -> None:
    assert recognise(Notification("notifications/cancelled", {"requestId": 1, "reason": 5})) == Cancel(1, "mcp")


@pytest.mark.parametrize(
    "meant",
    [
        Cancel(1, "lsp", "a reason"),
        Cancel(True),
        Cancel([]),  # type: ignore[arg-type]
        Cancel(1, "other"),  # type: ignore[arg-type]
        Progress(True, 1),
        Progress(None, 1),  # type: ignore[arg-type]
        Progress(1, "half", "mcp"),
        Progress(1, {"total": 1}, "mcp"),
        Progress(1, {"progress": 1, "progressToken": 2}, "mcp"),
        Progress(1, {"progress": 1}, "other"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_what_a_manner_cannot_say_is_refused(meant: Any) -> None:
    with pytest.raises(LocalProtocolError, match="not expressible"):
        notification(meant)
