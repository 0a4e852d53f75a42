"""The endpoints: which path and method leads where, and who may go there.

The order of the gates is the same for all: a foreign Host or Origin is turned away before anything else; a
preflight needs no key; an unknown path is 404 and a wrong method 405 in the shape that OpenAI's clients
read; then the key; then the work.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import msgspec

from .. import __version__
from ..providers.catalog import ModelError
from . import content, cors, refusal
from .access import KEY_HEADERS
from .call import make_call
from .exchange import Exchange
from .http import Request
from .reply import Reply

if TYPE_CHECKING:
    from .access import Key
    from .gateway import Gateway
    from .intake import Intake

__all__ = ["dispatch"]

JSON = ("content-type", "application/json")
_encode = msgspec.json.Encoder().encode


class Visit(NamedTuple):
    """One request at an endpoint: what it needs to answer."""

    gateway: Gateway
    request: Request
    reply: Reply
    key: Key | None
    intake: Intake


class Route(NamedTuple):
    """A handler for each method; `public` needs no key."""

    methods: dict[str, Callable[[Visit], Awaitable[None]]]
    public: bool = False

    @property
    def allowed(self) -> str:
        """The methods, as the Allow header lists them."""
        names = set(self.methods) | {"OPTIONS"} | ({"HEAD"} if "GET" in self.methods else set())
        return ", ".join(sorted(names))


async def dispatch(gateway: Gateway, request: Request, reply: Reply, intake: Intake) -> None:
    """Answer one request, whatever it is. Raises Refusal for what is refused."""
    reply.common += cors.headers(gateway.access, request)
    refused = gateway.access.refuse_foreign(request.header("host"), request.header("origin"))
    if refused is not None:
        raise refusal.forbidden(refused)
    # RFC 9110, section 10.1.1: 417 for an expectation that cannot be met; only one is defined.
    if (expected := request.header("expect")) and not request.http10 and expected.lower() != "100-continue":
        raise refusal.plain(417, "The only expectation that is met here is 100-continue.")
    route = _find(request.path)
    if request.method != "POST" and not intake.discard_body():
        reply.keep_alive = False  # nobody reads that body, and what is still to come of it is no request
    if request.method == "OPTIONS":
        await cors.preflight(gateway.access, request, reply, route.allowed if route else cors.METHODS)
        return
    if route is None:
        raise refusal.not_found(request.method, request.path)
    handler = route.methods.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise refusal.method_not_allowed(request.method, route.allowed)
    key = None
    if not route.public and gateway.keys:
        key = gateway.keys.identify(request.chosen(KEY_HEADERS))
        if key is None:
            raise refusal.unauthenticated()
    await handler(Visit(gateway, request, reply, key, intake))


def _find(path: str) -> Route | None:
    return ROUTES.get(path) or (_ONE_MODEL if path.startswith("/models/") else None)


async def _json(visit: Visit, status: int, value: object) -> None:
    await visit.reply.send(status, [JSON], _encode(value))


async def chat_completions(visit: Visit) -> None:
    """POST /v1/chat/completions."""
    gateway = visit.gateway
    _refuse_if_draining(gateway)
    if gateway.admitted >= gateway.config.limits.requests:
        raise refusal.busy("The gateway is at its limit of requests in flight.")
    gateway.admitted += 1  # from here on: a body that is being read takes its place too
    try:
        call = await make_call(gateway, visit.request, await _read_body(visit), visit.key)
        _refuse_if_draining(gateway)  # it may have begun while the body came
        exchange = Exchange(gateway, call, visit.reply, visit.intake)
        del call  # the exchange lets go of it when nothing can be asked again
        await exchange.run()
    finally:
        gateway.admitted -= 1


async def _read_body(visit: Visit) -> bytes:
    request, limit = visit.request, visit.gateway.config.limits.body_bytes
    content.check_type(request.header("content-type"))
    return await content.decode(await visit.intake.read_body(), request.header("content-encoding"), limit)


def _refuse_if_draining(gateway: Gateway) -> None:
    if gateway.draining:
        raise refusal.busy("The gateway is shutting down.")


async def models(visit: Visit) -> None:
    """GET /v1/models: what can be asked for, as far as the key may use it."""
    listed = await visit.gateway.catalog.models()
    if visit.key is not None:
        listed = [model for model in listed if await _visible(visit, model["id"])]
    await _json(visit, 200, {"object": "list", "data": listed})


async def one_model(visit: Visit) -> None:
    """GET /v1/models/{id}; ids may hold slashes, raw or encoded."""
    name = unquote(visit.request.path.removeprefix("/models/"))
    try:
        found = await visit.gateway.catalog.model(name)
    except ModelError as exc:
        raise refusal.unknown_model(str(exc)) from exc
    if not await _visible(visit, name):
        raise refusal.unknown_model(f"The model '{name}' does not exist")
    await _json(visit, 200, found)


async def _visible(visit: Visit, name: str) -> bool:
    """Whether the key may use the model, by what would really be called."""
    key = visit.key
    return key is None or any(key.may_use(target.id) for target in await visit.gateway.catalog.resolve(name))


async def health(visit: Visit) -> None:
    """GET /health: this process lives."""
    gateway = visit.gateway
    await _json(
        visit,
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
    await _json(visit, 503 if draining else 200, {"status": "draining" if draining else "ready"})


ROUTES: dict[str, Route] = {
    "/chat/completions": Route({"POST": chat_completions}),
    "/models": Route({"GET": models}),
    "/health": Route({"GET": health}, public=True),
    "/ready": Route({"GET": ready}, public=True),
}
_ONE_MODEL = Route({"GET": one_model})
