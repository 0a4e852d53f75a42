"""The endpoints: which path and method leads where, and who may go there.

The order of the gates is the same for all: a foreign Host or Origin is turned away before anything else; a
preflight needs no key; an unknown path is 404 and a wrong method 405 in the shape that OpenAI's clients
read; then the key; then the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import cors, refusal
from .access import KEY_HEADERS
from .doors import DOORS
from .endpoints import admin, chat, health, models
from .http import Request
from .reply import Reply
from .visit import Handler, Visit

if TYPE_CHECKING:
    from .gateway import Gateway
    from .intake import Intake

__all__ = ["dispatch"]


class Route(NamedTuple):
    """A handler for each method; `public` needs no key; `errors` is the dialect in which its clients read them."""

    methods: dict[str, Handler]
    public: bool = False
    errors: str = "openai"

    @property
    def allowed(self) -> str:
        """The methods, as the Allow header lists them."""
        names = set(self.methods) | {"OPTIONS"} | ({"HEAD"} if "GET" in self.methods else set())
        return ", ".join(sorted(names))


async def dispatch(gateway: Gateway, request: Request, reply: Reply, intake: Intake) -> None:
    """Answer one request, whatever it is. Raises Refusal for what is refused."""
    route = _find(request.path)
    reply.errors = route.errors if route else "ollama" if request.path.startswith("/api/") else "openai"
    reply.common += cors.headers(gateway, request)
    if not gateway.gate.demands_keys:
        refused = gateway.access.refuse_foreign(request.header("host"), request.header("origin"))
        if refused is not None:
            raise refusal.forbidden(refused)
    # RFC 9110, section 10.1.1: 417 for an expectation that cannot be met; only one is defined.
    if (expected := request.header("expect")) and not request.http10 and expected.lower() != "100-continue":
        raise refusal.plain(417, "The only expectation that is met here is 100-continue.")
    if request.method != "POST" and not intake.discard_body():
        reply.keep_alive = False  # nobody reads that body, and what is still to come of it is no request
    if request.method == "OPTIONS":
        await cors.preflight(gateway, request, reply, route.allowed if route else cors.METHODS)
        return
    if route is None:
        raise refusal.not_found(request.method, request.path)
    handler = route.methods.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise refusal.method_not_allowed(request.method, route.allowed)
    key = None
    if not route.public and gateway.gate.demands_keys:
        key = await gateway.gate.identify(request.chosen(KEY_HEADERS))
        if key is None:
            raise refusal.unauthenticated()
        if not gateway.gate.admits(key, request.header("origin")):
            raise refusal.forbidden("This key may not be used from this Origin.")
    await handler(Visit(gateway, request, reply, key, intake))


def _find(path: str) -> Route | None:
    found = ROUTES.get(path)
    if found is None:
        found = next((route for prefix, route in BELOW.items() if path.startswith(prefix)), None)
    return found


def _door(name: str, errors: str = "openai") -> Route:
    return Route({"POST": chat.at(DOORS[name])}, errors=errors)


ROUTES: dict[str, Route] = {
    "/chat/completions": _door("openai"),
    "/completions": _door("completions"),
    "/responses": _door("responses"),
    "/messages": _door("anthropic", "anthropic"),
    "/api/chat": _door("ollama", "ollama"),
    "/api/generate": _door("ollama_generate", "ollama"),
    "/models": Route({"GET": models.models}),
    "/admin/keys": Route({"GET": admin.keys, "POST": admin.create_key}),
    "/admin/usage": Route({"GET": admin.usage}),
    "/health": Route({"GET": health.health}, public=True),
    "/ready": Route({"GET": health.ready}, public=True),
}

BELOW: dict[str, Route] = {
    "/models/": Route({"GET": models.one_model}),
    "/admin/keys/": Route({"DELETE": admin.change_key, "POST": admin.change_key}),
}
"""Routes whose paths go on with an id."""
