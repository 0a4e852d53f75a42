"""Who may see how the gateway is: `/metrics`, and what `/health` says beyond that it lives.

Figures tell strangers which models a house uses and how much, so `server.metrics` decides. "This machine" is meant
strictly: a request that a proxy has passed on is not from here, and neither is one under a name that a web page could
have made point here (`access` has the story).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import refusal
from .access import KEY_HEADERS, is_loopback
from .http import Refusal

if TYPE_CHECKING:
    from .visit import Visit

__all__ = ["may_look", "stranger"]

_PROXIED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


async def may_look(visit: Visit) -> bool:
    """Whether whoever asks may see figures."""
    gateway = visit.gateway
    policy = gateway.config.server.metrics
    if policy == "open":
        return True
    demands = gateway.gate.demands_keys
    if _is_here(visit) and (policy == "loopback" or not demands):
        return True
    key = await gateway.gate.identify(visit.request.chosen(KEY_HEADERS)) if demands else None
    return key is not None and (key.admin or policy == "key")


def stranger(visit: Visit) -> Refusal:
    """What is said to others: 401 where a key would help, else 403."""
    if visit.gateway.gate.demands_keys and not visit.request.chosen(KEY_HEADERS):
        return refusal.unauthenticated()
    return refusal.forbidden("Figures are not for everybody here: server.metrics says for whom.")


def _is_here(visit: Visit) -> bool:
    request, gateway = visit.request, visit.gateway
    if not is_loopback(request.peer) or request.chosen(_PROXIED):
        return False
    return gateway.access.refuse_foreign(request.header("host"), request.header("origin")) is None
