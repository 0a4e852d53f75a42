"""Sessions on a socket: `sessions.create`, `.list`, `.history` and `.delete`, as over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import session_methods

if TYPE_CHECKING:
    from ..gateway import Gateway
    from .asked import Asked

__all__ = ["create", "delete", "history", "listed"]


async def create(asked: Asked) -> object:
    """`{sessionId?, title?, model?, metadata?}` to `{sessionId, createdAt}`."""
    params = asked.object()
    made = await session_methods.create(*_who(asked), {**params, "id": params.get("sessionId")})
    return {"sessionId": made.name, "createdAt": int(made.created_at)}


async def listed(asked: Asked) -> object:
    """`{limit?, cursor?}` to `{sessions, nextCursor?}`."""
    found = await session_methods.listed(*_who(asked), **_paging(asked))
    sessions = [
        {
            "sessionId": session.name,
            "title": session.title,
            "messageCount": session.length,
            "createdAt": int(session.created_at),
            "updatedAt": int(session.updated_at),
            **session.details,
        }
        for session in found.found
    ]
    return {"sessions": sessions, **_next(found.cursor)}


async def history(asked: Asked) -> object:
    """`{sessionId, limit?, cursor?}` to `{messages, nextCursor?}`."""
    found = await session_methods.history(*_who(asked), asked.object().get("sessionId"), **_paging(asked))
    return {"messages": found.found, **_next(found.cursor)}


async def delete(asked: Asked) -> object:
    """`{sessionId}` to `{deleted}`."""
    await session_methods.delete(*_who(asked), asked.object().get("sessionId"))
    return {"deleted": True}


def _who(asked: Asked) -> tuple[Gateway, int]:
    gateway = asked.socket.gateway
    return gateway, gateway.gate.owner(asked.key)


def _paging(asked: Asked) -> dict[str, Any]:
    params = asked.object()
    return {name: params[name] for name in ("limit", "cursor") if name in params}


def _next(cursor: str) -> dict[str, str]:
    return {"nextCursor": cursor} if cursor else {}
