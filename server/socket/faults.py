"""Errors on a socket: the HTTP answer that would have been, and JSON-RPC's code for it.

Refusals and failures are made for HTTP: a status, headers, and OpenAI's error object in the body. A `Fault` is read
from these, so that a client library can rebuild the exception that it raises for HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ...protocol.chat import Failed
from ...protocol.dialects import DIALECTS
from ...protocol.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MESSAGES,
    METHOD_NOT_FOUND,
    OVERLOADED,
)
from ..http import Refusal

__all__ = [
    "Fault",
    "RpcRefusal",
    "from_answer",
    "from_failed",
    "from_refusal",
    "invalid_request",
    "not_initialised",
    "unknown_method",
]

UPSTREAM_ERROR = -32000
UNAUTHENTICATED = -32001
NOT_INITIALISED = -32002
PERMISSION_DENIED = -32003
NOT_FOUND = -32004
RATE_LIMITED = -32005
QUOTA_EXHAUSTED = -32006
TIMED_OUT = -32007
TOO_LARGE = -32009
CONTENT_FILTERED = -32010
SERVER_CANCELLED = -32802
REQUEST_FAILED = -32803

_BY_STATUS: Mapping[int, int] = {
    401: UNAUTHENTICATED,
    402: QUOTA_EXHAUSTED,
    403: PERMISSION_DENIED,
    404: NOT_FOUND,
    408: TIMED_OUT,
    413: TOO_LARGE,
    429: RATE_LIMITED,
    503: OVERLOADED,
    504: TIMED_OUT,
}
_BY_WORD: Mapping[object, int] = {  # in `code` of the error object: it says more than the status
    "context_length_exceeded": TOO_LARGE,
    "exceed_context_size_error": TOO_LARGE,
    "content_filter": CONTENT_FILTERED,
    "content_policy_violation": CONTENT_FILTERED,
    "insufficient_quota": QUOTA_EXHAUSTED,
    "internal_error": INTERNAL_ERROR,
}


class RpcRefusal(Refusal):
    """A refusal for which JSON-RPC has a code of its own."""

    def __init__(self, code: int, message: str, *, status: int = 400, word: str = "invalid_request") -> None:
        super().__init__(Failed(message, status, "invalid_request_error", word))
        self.code = code


class Fault(NamedTuple):
    """What went wrong, as HTTP would have told it; `fixed` is the code where it does not follow from that."""

    status: int
    error: dict[str, Any]
    retry_after_ms: int | None = None
    fixed: int | None = None

    def code(self, *, begun: bool) -> int:
        """JSON-RPC's code. Of an answer that had `begun`, 503 means that it was we who broke it off."""
        if self.fixed is not None:
            return self.fixed
        if begun and self.status == 503:
            return SERVER_CANCELLED
        known = _BY_WORD.get(self.error.get("code")) or _BY_STATUS.get(self.status)
        if known is not None:
            return known
        if self.status < 500:
            return INVALID_PARAMS if self.status in (400, 415, 422) else REQUEST_FAILED
        return UPSTREAM_ERROR if self.status in (500, 502) else REQUEST_FAILED

    def message(self, code: int) -> str:
        """One sentence; of the codes of JSON-RPC itself always the same one."""
        standard = MESSAGES.get(code) if code != OVERLOADED else None
        return standard or str(self.error.get("message") or "The request failed.")

    def data(self, request_id: str) -> dict[str, Any]:
        """What a client needs to rebuild the exception."""
        data: dict[str, Any] = {"http_status": self.status, "error": self.error, "request_id": request_id}
        if self.retry_after_ms is not None:
            data["retry_after_ms"] = self.retry_after_ms
        return data


def from_answer(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Fault:
    """The fault in an HTTP answer of ours: `{"error": …}`."""
    after = None
    for name, value in headers:
        if name == "retry-after-ms" or (name == "retry-after" and after is None):
            after = _milliseconds(value, 1.0 if name == "retry-after-ms" else 1000.0)
    return Fault(status, json.loads(body)["error"], after)


def from_failed(failed: Failed) -> Fault:
    """The fault of an answer that broke off, or that was refused."""
    status, body = DIALECTS["openai"].encode_error(failed)
    after = None if failed.retry_after is None else round(failed.retry_after * 1000)
    return Fault(status, json.loads(body)["error"], after)


def from_refusal(refused: Refusal) -> Fault:
    """The fault of a request that was refused before it was served."""
    fault = from_failed(refused.failed)
    return fault._replace(fixed=refused.code) if isinstance(refused, RpcRefusal) else fault


def invalid_request(message: str) -> RpcRefusal:
    """What JSON-RPC allows, and is not served here."""
    return RpcRefusal(INVALID_REQUEST, message)


def unknown_method(name: str) -> RpcRefusal:
    """A method that is not there."""
    return RpcRefusal(METHOD_NOT_FOUND, f"Unknown method: {name[:200]}", status=404, word="method_not_found")


def not_initialised() -> RpcRefusal:
    """A key is needed, and none was shown."""
    message = "Show a key first: by initialize with auth.token, or by an Authorization header at the upgrade."
    return RpcRefusal(NOT_INITIALISED, message, status=401, word="invalid_api_key")


def _milliseconds(value: str, unit: float) -> int | None:
    try:
        return round(float(value) * unit)
    except (ValueError, OverflowError):  # a date, or for ever
        return None
