"""How a request names its session: by the header `X-Session-ID`, or by a member of its body.

The member is ours and goes to no upstream. A name is the client's choice, within reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import refusal
from .store.session_rows import MAX_SESSION_NAME, is_session_name

if TYPE_CHECKING:
    from ..protocol.members import Members
    from .http import Request

__all__ = ["HEADER", "check_name", "session_of"]

HEADER = "x-session-id"

_NAMES = ("session_id", "sessionId")


def session_of(request: Request, body: Members) -> tuple[str, bytes | None]:
    """The name of the session that a request is part of, "" for none; and the body without it, where it was there.

    Raises Refusal.
    """
    members = [name for name in _NAMES if name in body]
    if not members and request.header(HEADER) is None:
        return "", None  # nearly always
    said = [request.header(HEADER), *map(body.value, members)]
    names = {check_name(name, "session_id") for name in said if name not in (None, "")}
    if len(names) > 1:
        raise refusal.bad_request("The request names two sessions.", "invalid_value", "session_id")
    return "".join(names), body.replace(dict.fromkeys(members)) if members else None


def check_name(name: Any, param: str | None = None) -> str:
    """The name, if a session may be called so. Raises Refusal (400)."""
    if not isinstance(name, str) or not is_session_name(name):
        why = f"The id of a session has up to {MAX_SESSION_NAME} printable characters of ASCII, and no spaces."
        raise refusal.bad_request(why, "invalid_value", param)
    return name
