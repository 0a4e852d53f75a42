"""Cancellation and progress, which the JSON-RPC 2.0 text leaves to others: as LSP and as MCP have them.

| | LSP | MCP |
| --- | --- | --- |
| cancel | `$/cancelRequest {id}` | `notifications/cancelled {requestId, reason?}` |
| the cancelled request | must still be answered, -32800 where it was cut short | should not be answered |
| progress | `$/progress {token, value}` | `notifications/progress {progressToken, progress, total?, message?}` |

All four are notifications, so that a malformed one is never answered and `recognise` has nothing to say about it.
The connection does not look for them: a driver that speaks one of the two asks `recognise`, stops the request's
work, and then calls `Connection.fail` (LSP) or `Connection.abandon` (MCP).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from ..errors import LocalProtocolError
from .messages import Id, Notification, is_id

__all__ = ["Cancel", "Progress", "Style", "Token", "notification", "recognise"]

Style = Literal["lsp", "mcp"]
Token = str | int


class Cancel(NamedTuple):
    """The work on the request of this id is no longer wanted. Only MCP carries a reason."""

    id: Id
    style: Style = "lsp"
    reason: str | None = None


class Progress(NamedTuple):
    """How far the work has come for which the requester gave `token`.

    `value` is whatever the method says (LSP), or the object of `progress`, `total` and `message` (MCP).
    """

    token: Token
    value: Any
    style: Style = "lsp"


def recognise(message: Notification) -> Cancel | Progress | None:
    """What `message` says in one of the two conventions; None if it is neither, or malformed."""
    params = message.params
    if not isinstance(params, dict):
        return None
    match message.method:
        case "$/cancelRequest":
            return _cancel(params, "id", "lsp")
        case "notifications/cancelled":
            return _cancel(params, "requestId", "mcp")
        case "$/progress" if "value" in params:
            return _progress(params.get("token"), params["value"], "lsp")
        case "notifications/progress" if _is_amount(params.get("progress")):
            value = {name: said for name, said in params.items() if name != "progressToken"}
            return _progress(params.get("progressToken"), value, "mcp")
    return None


def _cancel(params: dict[str, Any], member: str, style: Style) -> Cancel | None:
    if member not in params or not is_id(params[member]):
        return None
    reason = params.get("reason") if style == "mcp" else None
    return Cancel(params[member], style, reason if isinstance(reason, str) else None)


def _progress(token: object, value: Any, style: Style) -> Progress | None:
    # "ProgressToken = integer | string", in both
    if not isinstance(token, (str, int)) or isinstance(token, bool):
        return None
    return Progress(token, value, style)


def _is_amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def notification(meant: Cancel | Progress) -> Notification:
    """`meant` as a message, so that `recognise` gives it back.

    Raises LocalProtocolError for what the convention cannot carry: a reason in LSP's cancellation, a value without
    a number `progress` in MCP's progress, ids and tokens of other types.
    """
    message = _cancellation(meant) if isinstance(meant, Cancel) else _report(meant)
    if recognise(message) != meant:
        raise LocalProtocolError(f"not expressible in the manner of {meant.style}: {meant!r}")
    return message


def _cancellation(meant: Cancel) -> Notification:
    params: dict[str, Any] = {"id" if meant.style == "lsp" else "requestId": meant.id}
    if meant.reason is not None:
        params["reason"] = meant.reason
    return Notification("$/cancelRequest" if meant.style == "lsp" else "notifications/cancelled", params)


def _report(meant: Progress) -> Notification:
    if meant.style == "lsp":
        return Notification("$/progress", {"token": meant.token, "value": meant.value})
    said = meant.value if isinstance(meant.value, dict) else {}
    return Notification("notifications/progress", {"progressToken": meant.token, **said})
