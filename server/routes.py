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
from .endpoints import (
    admin,
    audio,
    chat,
    count_tokens,
    embeddings,
    forward,
    health,
    metrics,
    models,
    ollama_api,
    ollama_chat,
    ollama_embed,
    openapi,
    responses,
    sessions,
    simple,
    websocket,
)
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
    reply.errors = route.errors if route else _errors_below(request.path)
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
        raise refusal.not_found(request.method, request.target.partition("?")[0])
    handler = route.methods.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise refusal.method_not_allowed(request.method, route.allowed)
    key = None
    if not route.public and gateway.gate.demands_keys:
        key = await gateway.gate.require(request.chosen(KEY_HEADERS), request.header("origin"))
        if key is not None and request.method in ("GET", "HEAD"):  # what one key gets is no other's (RFC 9111, 5.2.2.7)
            reply.common += [("cache-control", "private, no-store"), ("vary", "Authorization")]
    await handler(Visit(gateway, request, reply, key, intake))


def _find(path: str) -> Route | None:
    found = ROUTES.get(path)
    if found is None:
        found = next((route for prefix, route in BELOW.items() if path.startswith(prefix)), None)
    return found


def _errors_below(path: str) -> str:
    """The dialect in which clients read that there is nothing at this path."""
    return next((dialect for prefix, dialect in _FAMILIES.items() if path.startswith(prefix)), "openai")


_FAMILIES = {"/api/": "ollama", "/messages/": "anthropic"}


def _door(name: str, errors: str = "openai") -> Route:
    return Route({"POST": chat.at(DOORS[name])}, errors=errors)


def _ollama(methods: dict[str, Handler], *, public: bool = False) -> Route:
    return Route(methods, public, "ollama")


ROUTES: dict[str, Route] = {
    "/chat/completions": _door("openai"),
    "/completions": _door("completions"),
    "/responses": _door("responses"),
    "/messages": _door("anthropic", "anthropic"),
    "/messages/count_tokens": Route({"POST": count_tokens.count_tokens}, errors="anthropic"),
    "/chat": Route({"POST": simple.at("prompt")}),
    "/api/v1/chat": Route({"POST": simple.at("message")}),
    "/api/v1/chat/models": Route({"GET": models.models}),
    "/api/v1/chat/health": Route({"GET": health.health}, public=True),
    "/proxy/health": Route({"GET": health.health}, public=True),
    "/api/chat": _ollama({"POST": ollama_chat.at(DOORS["ollama"])}),
    "/api/generate": _ollama({"POST": ollama_chat.at(DOORS["ollama_generate"])}),
    "/": _ollama({"GET": ollama_api.root}, public=True),
    "/api/version": _ollama({"GET": ollama_api.version}, public=True),
    "/api/tags": _ollama({"GET": ollama_api.tags}),
    "/api/show": _ollama({"POST": ollama_api.show}),
    "/api/ps": _ollama({"GET": ollama_api.running}),
    "/api/embed": _ollama({"POST": ollama_embed.at("input")}),
    "/api/embeddings": _ollama({"POST": ollama_embed.at("prompt")}),
    **{f"/api/{what}": _ollama({"POST": ollama_api.not_supported}) for what in ("pull", "push", "create", "copy")},
    "/api/delete": _ollama({"DELETE": ollama_api.not_supported}),
    "/embeddings": Route({"POST": embeddings.embeddings}),
    "/moderations": Route({"POST": forward.at("moderations", "input")}),
    "/images/generations": Route({"POST": forward.at("images", "prompt")}),
    "/images/edits": Route({"POST": forward.form_at("image_edits")}),
    "/images/variations": Route({"POST": forward.form_at("image_variations")}),
    "/rerank": Route({"POST": forward.at("rerank", "query")}),
    "/audio/transcriptions": Route({"POST": audio.text_of("transcriptions")}),
    "/audio/translations": Route({"POST": audio.text_of("translations")}),
    "/audio/speech": Route({"POST": audio.speech}),
    "/models": Route({"GET": models.models}),
    "/sessions": Route({"GET": sessions.sessions, "POST": sessions.create_session}),
    "/admin/keys": Route({"GET": admin.keys, "POST": admin.create_key}),
    "/admin/usage": Route({"GET": admin.usage}),
    "/health": Route({"GET": health.health}, public=True),
    "/ready": Route({"GET": health.ready}, public=True),
    "/metrics": Route({"GET": metrics.metrics}, public=True),
    "/openapi.json": Route({"GET": openapi.openapi}, public=True),
    "/docs": Route({"GET": openapi.docs}, public=True),
}


def _handler(method: str, path: str) -> Handler | None:
    route = _find(path)
    return route.methods.get(method) if route is not None else None


_WEBSOCKET = Route({"GET": websocket.at(_handler)}, public=True)  # keys may also come later there
ROUTES |= dict.fromkeys(("/chat/ws", "/api/v1/chat/ws", "/ws"), _WEBSOCKET)

BELOW: dict[str, Route] = {
    "/api/blobs/": _ollama({"GET": ollama_api.not_supported, "POST": ollama_api.not_supported}),
    "/models/": Route({"GET": models.one_model}),
    "/responses/": Route(
        {
            "GET": responses.one_response,
            "DELETE": responses.delete_response,
            "POST": responses.cancel_response,
        }
    ),
    "/sessions/": Route({"GET": sessions.one_session, "DELETE": sessions.delete_session}),
    "/admin/keys/": Route({"DELETE": admin.change_key, "POST": admin.change_key}),
}
"""Routes whose paths go on with an id."""
