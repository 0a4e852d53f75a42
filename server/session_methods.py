"""What can be done with sessions besides talking in them: for HTTP and for the WebSocket alike.

Each function does it for one owner, who sees their own sessions only, and raises Refusal. Who names somebody else's
session is told what is told of one that does not exist.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from ..protocol.chat import Failed
from . import refusal
from .http import Refusal
from .session_names import check_name
from .sessions import lost
from .store.errors import StoreError
from .store.session_rows import PAGE

if TYPE_CHECKING:
    from .gateway import Gateway
    from .store.session_rows import Message, Session

__all__ = ["USUAL_PAGE", "Listed", "create", "delete", "get", "history", "listed"]

USUAL_PAGE = 20
"""How many a list has where nobody says."""


_Name = Annotated[str, Meta(max_length=64)]
_Value = Annotated[str, Meta(max_length=512)]


class _Wanted(msgspec.Struct):
    """What a client says of a new session; what it says besides is nothing to us."""

    id: str | None = None
    title: Annotated[str, Meta(max_length=200)] | None = None
    model: Annotated[str, Meta(max_length=512)] | None = None
    metadata: Annotated[dict[_Name, _Value], Meta(max_length=16)] | None = None


class Listed(NamedTuple):
    """Some of a list, and the cursor of the next page; "" at the end."""

    found: list[Any]
    cursor: str


async def create(gateway: Gateway, owner: int, wanted: dict[str, Any]) -> Session:
    """Make a session, with an id of ours unless the client has one; one that is there stays as it is."""
    try:
        asked = msgspec.convert(wanted, _Wanted)
    except msgspec.ValidationError as exc:
        raise refusal.bad_request(f"{exc}.") from exc
    name = check_name(asked.id, "id") if asked.id is not None else f"sess_{secrets.token_hex(12)}"
    details = {key: value for key in ("model", "metadata") if (value := getattr(asked, key)) is not None}
    try:
        return await gateway.sessions.create(owner, name, title=asked.title or "", details=details)
    except StoreError as exc:
        raise lost(exc) from exc


async def get(gateway: Gateway, owner: int, name: object) -> Session:
    """One session, without its messages."""
    name = check_name(name, "id")
    try:
        found = await gateway.sessions.get(owner, name)
    except StoreError as exc:
        raise lost(exc) from exc
    if found is None:
        raise _missing(name)
    return found


async def listed(gateway: Gateway, owner: int, limit: object = None, cursor: object = None) -> Listed:
    """Sessions, the latest used first."""
    try:
        page = await gateway.sessions.page(owner, cursor=_cursor(cursor), limit=_limit(limit))
    except ValueError as exc:
        raise _no_cursor() from exc
    except StoreError as exc:
        raise lost(exc) from exc
    return Listed(page.sessions, page.cursor)


async def history(gateway: Gateway, owner: int, name: object, limit: object = None, cursor: object = None) -> Listed:
    """The session's last messages in their order, or with a cursor those before; the cursor leads further back."""
    name = check_name(name, "id")
    text = _cursor(cursor)
    if text and not (text.isascii() and text.isdigit() and len(text) < 16):
        raise _no_cursor()
    before = int(text) if text else None
    most = gateway.config.limits.body_bytes
    found: list[Message] | None
    try:
        found = await gateway.sessions.history(owner, name, before=before, limit=_limit(limit), max_chars=most)
    except StoreError as exc:
        raise lost(exc) from exc
    if found is None:
        raise _missing(name)
    return Listed([message.body for message in found], str(found[0].number) if found and found[0].number else "")


async def delete(gateway: Gateway, owner: int, name: object) -> None:
    """Delete a session with all that was said in it."""
    name = check_name(name, "id")
    try:
        there = await gateway.sessions.delete(owner, name)
    except StoreError as exc:
        raise lost(exc) from exc
    if not there:
        raise _missing(name)


def _limit(limit: object) -> int:
    if limit is None:
        return USUAL_PAGE
    if isinstance(limit, str) and limit.isascii() and limit.isdigit() and len(limit) < 8:
        limit = int(limit)
    if type(limit) is not int or not 1 <= limit <= PAGE:
        raise refusal.bad_request(f"'limit' must be a whole number from 1 to {PAGE}.", "invalid_value", "limit")
    return limit


def _cursor(cursor: object) -> str:
    if cursor is None:
        return ""
    if not isinstance(cursor, str) or len(cursor) > 100:
        raise _no_cursor()
    return cursor


def _no_cursor() -> Refusal:
    return refusal.bad_request("'cursor' must be what an earlier page gave.", "invalid_value", "cursor")


def _missing(name: str) -> Refusal:
    return Refusal(Failed(f"There is no session '{name}'.", 404, "invalid_request_error", "session_not_found", "id"))
