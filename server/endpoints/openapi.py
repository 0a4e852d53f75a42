"""GET /openapi.json and GET /docs: what is served here, for programs and for people. Both are public: they say what the
source says."""

from __future__ import annotations

from ..visit import Visit

__all__ = ["docs", "openapi"]


async def openapi(visit: Visit) -> None:
    """GET /openapi.json."""
    await visit.answer(200, _document(visit))


async def docs(visit: Visit) -> None:
    """GET /docs: the document as a page."""
    from ..openapi.page import POLICY, page

    headers = [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ]
    await visit.reply.send(200, headers, page(_document(visit)).encode())


def _document(visit: Visit) -> dict[str, object]:
    from ..openapi.document import document
    from ..routes import BELOW, ROUTES

    return document({**ROUTES, **BELOW}, keys=visit.gateway.gate.demands_keys)
