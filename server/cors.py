"""Cross-origin rules for browsers: who may call from a page, and what a preflight is told.

The headers stand on every answer, errors and streams included: without them a browser shows its user
"network error" in place of the reason. A wildcard would cover neither Authorization nor credentials, so the
origin is echoed, and only if it is allowed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .http import Headers, Request

if TYPE_CHECKING:
    from .gateway import Gateway
    from .reply import Reply

__all__ = ["headers", "preflight"]

METHODS = "GET, POST, DELETE, OPTIONS"
EXPOSED = (
    "x-request-id, x-client-request-id, x-penstock-request-id, x-upstream-request-id, "
    "openai-processing-ms, retry-after, retry-after-ms, x-should-retry, x-penstock-provider, "
    "x-penstock-attempts, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, "
    "x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens, x-session-id"
)
MAX_REQUESTED = 64
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")


def headers(gateway: Gateway, request: Request) -> Headers:
    """The headers for any answer to `request`; none if it does not come from an allowed origin."""
    origin = request.header("origin")
    if origin is None:
        return []
    if not _allows(gateway, origin):
        return [("vary", "Origin")]
    return [
        ("access-control-allow-origin", origin),
        ("vary", "Origin"),
        ("access-control-expose-headers", EXPOSED),
    ]


async def preflight(gateway: Gateway, request: Request, reply: Reply, allowed: str) -> None:
    """Answer OPTIONS: no key needed, on any path; `allowed` is what the path itself would say."""
    answer: Headers = [("allow", allowed)]
    origin = request.header("origin")
    if origin is not None and _allows(gateway, origin):
        wanted = (request.header("access-control-request-headers") or "").split(",")[:MAX_REQUESTED]
        names = [name for name in map(str.strip, wanted) if _TOKEN.fullmatch(name)]
        answer += [
            ("access-control-allow-methods", METHODS),
            ("access-control-allow-headers", ", ".join(names) or "authorization, content-type"),
            ("access-control-max-age", "86400"),
        ]
        if request.header("access-control-request-private-network") == "true":
            answer.append(("access-control-allow-private-network", "true"))
    await reply.send(204, answer, b"")


def _allows(gateway: Gateway, origin: str) -> bool:
    """Whether pages of this origin may call: by the configuration, or because a key names it."""
    return gateway.access.allows_origin(origin) or gateway.gate.allows_origin(origin)
