"""Whether this process lives, and whether it wants work."""

from __future__ import annotations

import time

from ... import __version__
from ..visit import Visit

__all__ = ["health", "ready"]


async def health(visit: Visit) -> None:
    """GET /health: this process lives."""
    gateway = visit.gateway
    await visit.answer(
        200,
        {
            "status": "ok",
            "version": __version__,
            "uptime_seconds": round(time.time() - gateway.started_at, 1),
            "in_flight": gateway.ledger.in_flight,
            "connections": gateway.connections,
            "endings": dict(gateway.ledger.endings),
        },
    )


async def ready(visit: Visit) -> None:
    """GET /ready: new work is welcome; 503 while shutting down."""
    draining = visit.gateway.draining
    await visit.answer(503 if draining else 200, {"status": "draining" if draining else "ready"})
