"""Our own refusals: each with the status, type and code that OpenAI's clients know.

A refusal of ours is not an upstream's failure; nothing here is ever translated a second time. Statuses
from 500 up are retried by SDKs by themselves, so what no retry can mend says `x-should-retry: false`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..protocol.chat import Failed
from ..protocol.dialects import DIALECTS
from ..protocol.errors import RemoteProtocolError
from .http import Headers, Refusal

if TYPE_CHECKING:
    from .reply import Reply

__all__ = [
    "bad_request",
    "busy",
    "cancelled",
    "conflict",
    "forbidden",
    "from_protocol",
    "in_use",
    "internal",
    "method_not_allowed",
    "missing",
    "not_found",
    "plain",
    "refusal_for",
    "send",
    "timeout",
    "too_many",
    "unauthenticated",
    "unknown_model",
]

log = logging.getLogger("penstock")

_CODES = {
    400: "invalid_request",
    408: "request_timeout",
    411: "length_required",
    413: "request_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    417: "expectation_failed",
    426: "upgrade_required",
    431: "headers_too_large",
    501: "not_implemented",
    505: "http_version_not_supported",
}
_OWN_KINDS = frozenset({"invalid_json", "duplicate_key", "too_deep", "not_an_object", "invalid_utf8"})


def bad_request(message: str, code: str = "invalid_value", param: str | None = None) -> Refusal:
    """400: the request is understood and wrong."""
    return Refusal(Failed(message, 400, "invalid_request_error", code, param))


def from_protocol(exc: RemoteProtocolError) -> Refusal:
    """What a machine of the core found wrong with a request."""
    code = exc.kind if exc.kind in _OWN_KINDS else _CODES.get(exc.status, "invalid_request")
    return _by_status(exc.status, str(exc), code)


def plain(status: int, message: str) -> Refusal:
    """A refusal by its HTTP status alone."""
    return _by_status(status, message, _CODES[status])


def _by_status(status: int, message: str, code: str) -> Refusal:
    kind = "timeout_error" if status == 408 else "server_error" if status >= 500 else "invalid_request_error"
    return Refusal(Failed(message, status, kind, code, retry=False if status >= 500 else None))


def unauthenticated(*, shown: bool = True) -> Refusal:
    """401: a key is needed, and none or a wrong one was shown."""
    said = "Incorrect API key provided." if shown else "No API key was sent, and this gateway needs one."
    message = f"{said} Send the key as 'Authorization: Bearer <key>', or as 'x-api-key'."
    return Refusal(Failed(message, 401, "invalid_request_error", "invalid_api_key"), [("www-authenticate", "Bearer")])


def forbidden(message: str, param: str | None = None) -> Refusal:
    """403: whoever asks may not have this."""
    return Refusal(Failed(message, 403, "permission_error", "permission_denied", param))


def not_found(method: str, path: str) -> Refusal:
    """404 for a path that is not served."""
    return Refusal(Failed(f"Unknown request URL: {method} {path}", 404, "invalid_request_error", "unknown_url"))


def missing(message: str, code: str = "not_found") -> Refusal:
    """404 for a thing that is not there, or not for whoever asks."""
    return Refusal(Failed(message, 404, "invalid_request_error", code))


def conflict(message: str) -> Refusal:
    """409: somebody was faster, or the name is taken. No retry will mend that."""
    return Refusal(Failed(message, 409, "conflict_error", "conflict", retry=False))


def unknown_model(message: str) -> Refusal:
    """404 for a model that nobody here knows."""
    return Refusal(Failed(message, 404, "invalid_request_error", "model_not_found", "model"))


def method_not_allowed(method: str, allowed: str) -> Refusal:
    """405, with the methods that the path has."""
    message = f"Method {method} is not allowed here; use {allowed}."
    failed = Failed(message, 405, "invalid_request_error", "method_not_allowed")
    return Refusal(failed, [("allow", allowed)])


def busy(message: str, *, retry_after: float = 1) -> Refusal:
    """503: no capacity now, and a later try may be served."""
    failed = Failed(message, 503, "service_unavailable_error", "server_is_overloaded", retry_after=retry_after)
    return Refusal(failed)


def cancelled() -> Failed:
    """How an answer ends that somebody has cancelled who had the right to."""
    return Failed("The response was cancelled.", 499, "invalid_request_error", "cancelled", retry=False)


def in_use(message: str) -> Refusal:
    """409: somebody else is using it; SDKs take that for a lock that will be free soon, and try again."""
    return Refusal(Failed(message, 409, "invalid_request_error", "in_use", retry_after=1))


def too_many(message: str) -> Refusal:
    """429: a limit on parallel requests is reached."""
    return Refusal(Failed(message, 429, "rate_limit_error", "rate_limit_exceeded", retry_after=1))


def timeout(which: str, seconds: float, *, sent: bool) -> Failed:
    """504 for a deadline that ran out; once the request went upstream, a retry would pay twice."""
    words = {
        "connect": "the upstream could not be connected to",
        "first_event": "the upstream did not begin its answer",
        "idle": "the upstream fell silent in the middle of its answer",
        "answer": "the upstream did not complete its answer",
        "embeddings": "the upstream did not complete its embeddings",
        "write": "the client did not take the answer",
        "total": "the request did not complete",
    }[which]
    message = f"Timeout: {words} within {seconds:g} s ({which})."
    return Failed(message, 504, "server_error", "upstream_timeout", retry=False if sent else None)


def internal() -> Failed:
    """500: a bug of ours. Says nothing of what it was; the log does."""
    return Failed("The gateway failed to handle this request.", 500, "server_error", "internal_error")


def refusal_for(exc: Exception, request_id: str) -> Refusal:
    """What is said to the client about `exc`; what is neither its fault nor a refusal is a bug, and is logged."""
    if isinstance(exc, Refusal):
        return exc
    if isinstance(exc, RemoteProtocolError):
        return from_protocol(exc)
    log.error("bug while serving %s", request_id, exc_info=exc)
    return Refusal(internal())


async def send(reply: Reply, failed: Failed, headers: Sequence[tuple[str, str]] = ()) -> None:
    """Answer with an error, as status and body, in the shape that the endpoint's clients read."""
    status, body = DIALECTS[reply.errors].encode_error(failed)
    if failed.retry is not None:  # our own word counts, not what an upstream said of another answer
        headers = [(name, value) for name, value in headers if name != "x-should-retry"]
    said = {name for name, _ in headers}
    own: Headers = [("content-type", "application/json")]
    if failed.retry is not None:
        own.append(("x-should-retry", "true" if failed.retry else "false"))
    after = 1.0 if failed.retry_after is None and status == 503 else failed.retry_after
    if after is not None and "retry-after" not in said:
        own.append(("retry-after", str(max(1, math.ceil(after)))))
    await reply.send(status, [*own, *headers], body)
