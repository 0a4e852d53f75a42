"""The methods of JSON-RPC here: a table, to which other modules may add.

Most are endpoints: `chat.completions.create` is what a POST to /v1/chat/completions does, with the params as its body.
An endpoint that is not served makes its method unknown, so the table need not know what a gateway has.

    METHODS["sessions.list"] = Method(list_sessions)      # async def list_sessions(asked: Asked) -> object
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote

from ... import __version__
from .. import refusal
from ..visit import Visit
from . import sessions
from .voice import Stream

if TYPE_CHECKING:
    from ..intake import Intake
    from .asked import Asked, Handler
    from .socket import Socket

__all__ = ["METHODS", "PROTOCOL_VERSION", "Method", "endpoint"]

PROTOCOL_VERSION = "1"


def _always(socket: Socket) -> bool:
    return True


class Method(NamedTuple):
    """One method. `stream` is how it streams where it can, in the dialect `dialect`; `inline`: it is done before the
    next message is read, and must be quick; `open`: it may be called before a key was shown; `there`: whether this
    gateway has it.
    """

    run: Handler
    stream: Stream | None = None
    dialect: str = ""
    inline: bool = False
    open: bool = False
    there: Callable[[Socket], bool] = _always


def endpoint(verb: str, path: str) -> Handler:
    """The handler that does what HTTP does there."""

    async def ask(asked: Asked) -> None:
        socket, request = asked.socket, asked.request
        request.method, request.path = verb, path
        handler = socket.handler(verb, path)
        if handler is None:
            raise refusal.not_found(verb, path)
        intake = cast("Intake", asked)  # an endpoint reads a body and looks for its client: of both there is all
        await handler(Visit(socket.gateway, request, asked.reply, asked.key, intake))

    return ask


def _endpoint(path: str, stream: Stream | None = None, dialect: str = "", verb: str = "POST") -> Method:
    def there(socket: Socket) -> bool:
        return socket.handler(verb, path) is not None

    return Method(endpoint(verb, path), stream, dialect, there=there)


async def _initialize(asked: Asked) -> object:
    socket, auth = asked.socket, asked.object().get("auth")
    if auth is not None:
        token = auth.get("token") if isinstance(auth, dict) else None
        if not isinstance(token, str):
            raise refusal.bad_request("'auth' must be an object with a 'token'.", "invalid_value", "auth")
        await socket.authenticate(token)
    elif not await socket.may_go_on():
        raise refusal.unauthenticated()
    limits = socket.gateway.config.limits
    methods = sorted(name for name, method in METHODS.items() if method.there(socket))
    return {
        "protocolVersion": PROTOCOL_VERSION,
        "serverInfo": {"name": "penstock", "version": __version__},
        "capabilities": {
            "methods": methods,
            "streaming": True,
            "batch": True,
            "sessions": "sessions.create" in methods,
            "maxMessageBytes": limits.websocket_message_bytes,
            "maxConcurrentRequests": limits.websocket_requests,
        },
    }


async def _nothing(asked: Asked) -> object:
    return {}


async def _cancel(asked: Asked) -> object:
    params = asked.object()
    if "requestId" not in params:
        raise refusal.bad_request("Missing required parameter: 'requestId'.", "missing_required_parameter", "requestId")
    return {"cancelled": asked.socket.rpc.cancel(params["requestId"])}


async def _get_model(asked: Asked) -> object:
    name = asked.object().get("id")
    if not isinstance(name, str) or not name:
        raise refusal.bad_request("'id' must be the id of a model.", "invalid_value", "id")
    return await endpoint("GET", "/models/" + quote(name, safe=""))(asked)


METHODS: dict[str, Method] = {
    "initialize": Method(_initialize, inline=True, open=True),
    "initialized": Method(_nothing, inline=True, open=True),
    "ping": Method(_nothing, inline=True),
    "cancel": Method(_cancel, inline=True),
    "models.list": _endpoint("/models", verb="GET"),
    "models.get": Method(_get_model),
    "chat.completions.create": _endpoint("/chat/completions", Stream("chat.completions.chunk", "chunk"), "openai"),
    "completions.create": _endpoint("/completions", Stream("completions.chunk", "chunk"), "completions"),
    "responses.create": _endpoint("/responses", Stream("responses.event", "event"), "responses"),
    "embeddings.create": _endpoint("/embeddings"),
    "sessions.create": Method(sessions.create),
    "sessions.list": Method(sessions.listed),
    "sessions.history": Method(sessions.history),
    "sessions.delete": Method(sessions.delete),
}
