"""Errors of upstreams: any shape in, one `Failed` out, and back to what OpenAI's clients read.

Servers that call themselves compatible disagree most where things go wrong: an object under `error`, a
string there, a list around it, `detail`, `message` at the top, `object: error`, HTML of a load balancer.
Nothing here raises for what an upstream sent, and no text of it is lost; secrets in it are masked by the
server, which knows them.

The status is the upstream's own where it is an HTTP error status; inside a stream it is read from a numeric
code, else from the words that vendors use. Type and code fall back to the usual ones of the status.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from typing import Any

from .. import jsontext
from ..chat import Failed

__all__ = ["ERROR_REASONS", "decode_error", "encode_error", "find"]

ERROR_REASONS = frozenset({"error", "ERROR", "network_error", "insufficient_system_resource"})
"""Finish reasons that are no finish but an error."""

MAX_MESSAGE = 4096
_MAX_PAGE = 4 * MAX_MESSAGE  # of a page, no more is read: most of it is markup

# HTTP status -> OpenAI's type and code for it.
_BY_STATUS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "permission_denied"),
    404: ("invalid_request_error", None),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("timeout_error", "request_timeout"),
    409: ("conflict_error", "conflict"),
    413: ("invalid_request_error", "request_too_large"),
    415: ("invalid_request_error", "unsupported_media_type"),
    422: ("invalid_request_error", "unprocessable_entity"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    501: ("server_error", "not_implemented"),
    503: ("service_unavailable_error", "server_is_overloaded"),
    504: ("server_error", "upstream_timeout"),
}
_CLIENT_ERROR = ("invalid_request_error", None)
_SERVER_ERROR = ("server_error", "upstream_error")

# Words of vendors, lower-case, in `code`, `type` or `status` of an error object -> HTTP status.
_BY_WORD = {
    "invalid_request_error": 400,
    "invalid_request": 400,
    "badrequesterror": 400,
    "bad_request": 400,
    "invalid_argument": 400,
    "failed_precondition": 400,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "content_filter": 400,
    "tool_use_failed": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "billing_error": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "not_found": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "unavailable": 503,
    "unavailable_error": 503,
    "server_is_overloaded": 503,
    "insufficient_system_resource": 503,
    "timeout_error": 504,
    "upstream_timeout": 504,
    "deadline_exceeded": 504,
}
_CONTEXT = re.compile(
    r"maximum context length|context (?:length|window|size) (?:is )?exceed|exceeds? the (?:available )?context"
    r"|prompt is too long"
)
# Each of these is done with a "<" by the time it comes to the next one, however broken the page is.
_TAGS = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|(?=<body\b)|\Z)|<[^<>]*+>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]*+>([^<]*+)", re.IGNORECASE)


def find(value: Any) -> Failed | None:
    """The error that a JSON value of a stream, or of a 200 answer, says; None if it says none."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return None
    if value.get("error"):
        return _failed(value["error"], value, 0)
    if value.get("object") == "error" or value.get("type") == "error":
        return _failed(value, value, 0)
    choices = value.get("choices")
    if not choices:
        return _failed(value["detail"], value, 0) if value.get("detail") and "choices" not in value else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            if choice.get("error"):
                return _failed(choice["error"], value, 0)
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and (reason in ERROR_REASONS or _is_botched(reason, choice)):
                said = {"message": f"the upstream ended the answer with an error ({reason})", "code": reason}
                return _failed(said, value, 0)
    return None


def _is_botched(reason: str, choice: dict[str, Any]) -> bool:
    """Gemini's word for a tool call that the model spoilt; an error where nothing else came with it."""
    said = choice.get("delta") or choice.get("message") or {}
    return reason.upper() == "MALFORMED_FUNCTION_CALL" and not (isinstance(said, dict) and said.get("content"))


Header = tuple[str | bytes, str | bytes]


def decode_error(status: int, headers: Iterable[Header] = (), body: bytes = b"") -> Failed:
    """The error that an HTTP answer says, whatever its body is. Never raises. Headers may be text or, as `head` gives
    them, bytes."""
    after = _retry_after(headers)
    try:
        value, _ = jsontext.loads(body.removeprefix(b"\xef\xbb\xbf").strip())
    except (ValueError, RecursionError):
        text = _visible(body.decode("utf-8", "replace"))
        about = f"the upstream answered with status {status} and no text" if status else ""
        return _failed(text or about, None, status, after)
    if isinstance(value, list) and value:
        value = value[0]
    said = value
    if isinstance(value, dict):
        said = value.get("error") or value.get("detail") or value.get("errors") or value
    return _failed(said, value if isinstance(value, dict) else None, status, after)


def encode_error(failed: Failed) -> tuple[int, bytes]:
    """HTTP status and body, as OpenAI writes them."""
    error = {"message": failed.message, "type": failed.type, "param": failed.param, "code": failed.code}
    return failed.status, jsontext.dumps({"error": error})


def _failed(said: Any, whole: dict[str, Any] | None, http_status: int, after: float | None = None) -> Failed:
    """`said` is the error itself: an object, a text, a list of details; `whole` is the object it stood in."""
    native = said if isinstance(said, dict) else whole
    error = said if isinstance(said, dict) else {}
    if isinstance(error.get("error"), dict):  # {"type": "error", "error": {...}}
        error = error["error"]
    words = [error.get(key) for key in ("code", "type", "status")]
    status = http_status or _status(error, words)
    message = _text(said) or _text(whole) or "the upstream reported an error without saying which"
    kind, code = _BY_STATUS.get(status, _SERVER_ERROR if status >= 500 else _CLIENT_ERROR)
    if isinstance(error.get("type"), str) and error["type"] not in ("", "error"):
        kind = error["type"]
    if isinstance(error.get("code"), str) and error["code"] and not error["code"].isdigit():
        code = error["code"]
    elif _CONTEXT.search(message.lower()) or kind == "exceed_context_size_error":
        code = "context_length_exceeded"
    param = error.get("param")
    retry = False if status in (409, 501, 505) or "insufficient_quota" in (kind, code) else None
    return Failed(
        message[:MAX_MESSAGE],
        status=503 if status == 529 else status if 400 <= status <= 599 else 502,
        type=kind,
        code=code,
        param=param if isinstance(param, str) else None,
        retry=retry,
        retry_after=after,
        native=native,
    )


def _status(error: dict[str, Any], words: list[Any]) -> int:
    """The HTTP status that an error object inside a 200 answer means."""
    for number in (error.get("status_code"), *words):
        if isinstance(number, str) and number.isdigit() and len(number) == 3:
            number = int(number)
        if isinstance(number, int) and 400 <= number <= 599:
            return number
    for word in words:
        if isinstance(word, str) and word.lower() in _BY_WORD:
            return _BY_WORD[word.lower()]
    return 502


def _text(said: Any) -> str:
    """The words in an error of any shape."""
    if isinstance(said, str):
        return said.strip()
    if isinstance(said, list):
        return "; ".join(filter(None, map(_text, said)))
    if not isinstance(said, dict):
        return ""
    for key in ("message", "msg", "error", "detail", "failed_generation"):
        text = _text(said.get(key))
        if text:
            where = said.get("loc")  # FastAPI: {"loc": ["body", "stop"], "msg": "extra fields not permitted"}
            return f"{'.'.join(map(str, where))}: {text}" if isinstance(where, list) and where else text
    return jsontext.dumps(said).decode() if said else ""


def _visible(text: str) -> str:
    """Plain text as it is; of HTML, what a reader would see at its beginning."""
    text = text.strip()[:_MAX_PAGE]
    if "<" not in text:
        return text
    title = _TITLE.search(text)
    words = " ".join(unescape(_TAGS.sub(" ", text)).split())
    head = " ".join(unescape(title[1]).split()) if title else ""
    return words if not head or head in words else f"{head}: {words}".removesuffix(": ")


def _retry_after(headers: Iterable[Header]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after`; dates are not understood, having no clock."""
    found = {_as_text(name).lower(): _as_text(value) for name, value in headers}
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(found[name]) / unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _as_text(said: str | bytes) -> str:
    return said if isinstance(said, str) else said.decode("latin-1")
