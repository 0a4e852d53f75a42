"""Whether this process lives, and whether it wants work.

Both are public and cost next to nothing, so that any prober may ask. Nobody is asked on their behalf, neither an
upstream nor the store: what they tell is known anyway. What only concerns whoever runs the gateway is told to whom
`server.metrics` lets see figures.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ... import __version__
from ..onlooker import may_look
from ..visit import Visit

if TYPE_CHECKING:
    from ..gateway import Gateway

__all__ = ["health", "ready"]

_FRESH = ("cache-control", "no-store")


async def health(visit: Visit) -> None:
    """GET /health: this process lives."""
    gateway = visit.gateway
    told: dict[str, Any] = {
        "status": "ok",
        "version": __version__,
        "uptime_seconds": round(time.time() - gateway.started_at, 1),
    }
    if await may_look(visit):
        told |= _figures(gateway)
    visit.reply.common.append(_FRESH)
    await visit.answer(200, told)


async def ready(visit: Visit) -> None:
    """GET /ready: new work is welcome; 503 while shutting down, and while the store's policy takes none."""
    gateway = visit.gateway
    status, told = 200, {"status": "ready"}
    if gateway.draining:
        status, told = 503, {"status": "draining"}
    elif gateway.store is not None and (why := gateway.store.refusal()) is not None:
        status, told = 503, {"status": "unavailable", "reason": why}
    visit.reply.common.append(_FRESH)
    await visit.answer(status, told)


def _figures(gateway: Gateway) -> dict[str, Any]:
    return {
        "draining": gateway.draining,
        "in_flight": gateway.ledger.in_flight,
        "streams": sum(exchange.streams for exchange in gateway.exchanges),
        "connections": gateway.connections,
        "sessions": {"websockets": len(gateway.sockets), "active": gateway.sessions.active},
        "endings": dict(gateway.ledger.endings),
        "upstreams": list(gateway.upstreams.report(gateway)),
        "store": _store(gateway),
        "features": _features(gateway),
    }


def _store(gateway: Gateway) -> dict[str, Any]:
    store = gateway.store
    if store is None:
        return {"state": "off"}
    error = store.last_error
    told = {
        "state": "ok" if store.healthy else "failing",
        "kind": "postgresql" if store.location.url else "sqlite",
        "takes_work": store.refusal() is None,
    }
    return told if error is None else {**told, "failure": error.kind}


def _features(gateway: Gateway) -> dict[str, Any]:
    """What this gateway, as it is configured, can do."""
    config, providers = gateway.config, gateway.catalog.providers.values()
    stored = gateway.store is not None
    return {
        "keys": gateway.gate.demands_keys,
        "admin": stored and any(key.admin for key in config.keys),
        "sessions_survive_restarts": stored,
        "stored_responses": stored,
        "websocket": True,
        "tls": bool(config.server.tls_cert),
        "operations": sorted({operation for provider in providers for operation in provider.operations}),
    }
