"""Sessions over HTTP: `/v1/sessions`, one of them, and its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from .. import refusal, session_methods
from ..visit import Visit

if TYPE_CHECKING:
    from ..session_methods import Listed
    from ..store.session_rows import Session

__all__ = ["create_session", "delete_session", "one_session", "sessions"]

_MESSAGES = "/messages"


async def sessions(visit: Visit) -> None:
    """GET /v1/sessions: those of the key, the latest used first."""
    found = await session_methods.listed(visit.gateway, _owner(visit), **_paging(visit))
    await visit.answer(200, _list(found._replace(found=[_shown(session) for session in found.found])))


async def create_session(visit: Visit) -> None:
    """POST /v1/sessions: a new one; the body may be left out."""
    if visit.intake.announced:
        raw = await visit.read_body()
    else:
        raw, visit.reply.keep_alive = b"", False  # what an old client sends as a body all the same is no request
    try:
        wanted = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, RecursionError) as exc:
        raise refusal.bad_request("The body is not valid JSON.", "invalid_json") from exc
    if not isinstance(wanted, dict):
        raise refusal.bad_request("The body must be a JSON object.", "not_an_object")
    await visit.answer(200, _shown(await session_methods.create(visit.gateway, _owner(visit), wanted)))


async def one_session(visit: Visit) -> None:
    """GET /v1/sessions/{id}, and its messages below that."""
    name = visit.request.path.removeprefix("/sessions/")
    if not name.endswith(_MESSAGES):
        await visit.answer(200, _shown(await session_methods.get(visit.gateway, _owner(visit), unquote(name))))
        return
    name = unquote(name.removesuffix(_MESSAGES))
    await visit.answer(200, _list(await session_methods.history(visit.gateway, _owner(visit), name, **_paging(visit))))


async def delete_session(visit: Visit) -> None:
    """DELETE /v1/sessions/{id}: the session and all that was said in it."""
    raw = visit.request.path.removeprefix("/sessions/")
    if raw.endswith(_MESSAGES):
        raise refusal.method_not_allowed("DELETE", "GET, HEAD, OPTIONS")
    await session_methods.delete(visit.gateway, _owner(visit), name := unquote(raw))
    await visit.answer(200, {"id": name, "object": "session", "deleted": True})


def _owner(visit: Visit) -> int:
    return visit.gateway.gate.owner(visit.key)


def _paging(visit: Visit) -> dict[str, str]:
    said = visit.query()
    return {name: said[name] for name in ("limit", "cursor") if name in said}


def _shown(session: Session) -> dict[str, Any]:
    return {
        "id": session.name,
        "object": "session",
        "title": session.title,
        "model": session.details.get("model"),
        "metadata": session.details.get("metadata", {}),
        "message_count": session.length,
        "created_at": int(session.created_at),
        "updated_at": int(session.updated_at),
    }


def _list(found: Listed) -> dict[str, Any]:
    return {
        "object": "list",
        "data": found.found,
        "has_more": bool(found.cursor),
        "next_cursor": found.cursor or None,
    }
