"""The OpenAPI document: the routes as they are, each with what `operations` says of it.

It is made from the table that requests are dispatched by, so that no path, method or need for a key stands in it that
is not so. Whether keys are asked for at all depends on the gateway, and so does the document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ... import __version__
from .answers import ANSWERS
from .operations import GROUPS, JSON, OPERATIONS, Operation
from .requests import REQUESTS
from .shapes import Json, ref

if TYPE_CHECKING:
    from ..routes import Route

__all__ = ["document", "shown_path"]

_ERRORS = {"openai": "Error", "anthropic": "AnthropicError", "ollama": "OllamaError"}
_OUTSIDE_V1 = re.compile(r"/(?:$|api/|proxy/|ws$|health$|ready$|metrics$|openapi\.json$|docs$)")
_KNOWN = {
    "400": "The request is wrong; `param` names the member.",
    "401": "No key was shown, or none that is good.",
    "403": "This key, or this page, may not do that.",
    "404": "There is no such thing, or not for this key.",
    "429": "A limit of the key, of the provider or of the upstream; `retry-after` says for how long.",
    "4XX": "Refused. A body that is too large (413), of another type (415), too slow (408), or what an upstream says.",
    "5XX": "The upstream failed (502), did not answer in time (504), or nobody can take this now (503).",
}
_HEADERS: Json = {
    "x-request-id": {
        "description": "The request's id; the client's own, if it brought one.",
        "schema": {"type": "string"},
    }
}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def document(routes: Mapping[str, Route], *, keys: bool) -> Json:
    """The document of these routes, those with an id below them by the path before it. `keys`: whether some are asked
    for."""
    paths: Json = {}
    for (method, path), operations in OPERATIONS.items():
        route = routes.get(path)
        if route is not None and method in route.methods:
            for operation in operations:
                where = paths.setdefault(shown_path(operation.path or path), {})
                where[method.lower()] = _operation(method, operation, path, route, keys=keys)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "penstock",
            "version": __version__,
            "description": "A gateway for streams of tokens. HEAD stands beside each GET, and OPTIONS beside all.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in GROUPS.items()],
        "security": [{name: []} for name in _SECURITY] if keys else [],
        "paths": paths,
        "components": {
            "schemas": REQUESTS | ANSWERS,
            "responses": _refusals(),
            **({"securitySchemes": _SECURITY} if keys else {}),
        },
    }


def shown_path(path: str) -> str:
    """A route's path as clients write it."""
    return path if _OUTSIDE_V1.match(path) else f"/v1{path}"


def _operation(method: str, operation: Operation, path: str, route: Route, *, keys: bool) -> Json:
    words = re.findall(r"\w+", shown_path(operation.path or path))
    told: Json = {
        "tags": [operation.group],
        "summary": operation.summary,
        "operationId": "_".join([method.lower(), *words]),
    }
    if operation.text:
        told["description"] = operation.text
    if operation.parameters:
        told["parameters"] = list(operation.parameters)
    if operation.body:
        told["requestBody"] = {"required": operation.needs_body, "content": _content(operation.body)}
    told["responses"] = _responses(operation, _ERRORS[route.errors])
    if route.public and keys:
        told["security"] = []
    return told


def _responses(operation: Operation, error: str) -> Json:
    told = {status: {"$ref": f"#/components/responses/{error}{status}"} for status in _KNOWN}
    told |= {status: _response("Not now.", content) for status, content in operation.otherwise.items()}
    if operation.status >= 400:
        return told
    return {str(operation.status): _response("Done.", operation.answer), **told}


def _refusals() -> Json:
    """The responses that all operations share, by the shape of the error and the status."""
    return {
        error + status: _response(about, {JSON: ref(error)})
        for error in _ERRORS.values()
        for status, about in _KNOWN.items()
    }


def _response(about: str, content: Mapping[str, Json]) -> Json:
    told = {"description": about, "headers": _HEADERS}
    return {**told, "content": _content(content)} if content else told


def _content(shapes: Mapping[str, Json]) -> Json:
    return {kind: {"schema": shape} for kind, shape in shapes.items()}
