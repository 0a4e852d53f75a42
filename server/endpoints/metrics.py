"""GET /metrics: figures for Prometheus, for whom `server.metrics` lets see them."""

from __future__ import annotations

from ..onlooker import may_look, stranger
from ..visit import Visit

__all__ = ["metrics"]


async def metrics(visit: Visit) -> None:
    """GET /metrics. Raises Refusal for strangers."""
    if not await may_look(visit):
        raise stranger(visit)
    content_type, body = await visit.gateway.metrics.expose(visit.gateway)
    await visit.reply.send(200, [("content-type", content_type), ("cache-control", "no-store")], body)
