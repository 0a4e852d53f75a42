"""What the connection driver hands to the endpoints: one request, read whole, and the way to refuse it.

The target is kept raw, because an id in a path may carry encoded slashes that must be decoded exactly once,
after routing.
"""

from __future__ import annotations

import re

from ..protocol.chat import Failed

__all__ = ["Refusal", "Request", "api_path"]

Headers = list[tuple[str, str]]

MAX_CLIENT_ID = 512
_SLASHES = re.compile("/+")


class Request:
    """The head of one HTTP request; its body is the intake's to read.

    `headers` maps lower-case names to values, repeated ones joined by ", ".
    """

    __slots__ = (
        "headers",
        "http10",
        "keep_alive",
        "method",
        "path",
        "peer",
        "query",
        "request_id",
        "target",
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        *,
        http10: bool,
        keep_alive: bool,
        peer: str,
        request_id: str,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.http10 = http10
        self.keep_alive = keep_alive
        self.peer = peer
        self.request_id = request_id
        raw, _, self.query = target.partition("?")
        self.path = api_path(raw)

    def header(self, name: str) -> str | None:
        """The header's value, or None if it was not sent."""
        return self.headers.get(name)

    @property
    def client_id(self) -> str:
        """What the client calls this request (`X-Client-Request-Id`); "" if that is nothing for a log line."""
        said = self.headers.get("x-client-request-id", "")
        return said if len(said) <= MAX_CLIENT_ID and said.isascii() and said.isprintable() else ""


def api_path(raw: str) -> str:
    """The path by which an endpoint is found: without scheme and host, `/v1`, doubled or trailing slashes.

    It stays percent-encoded. Clients join a base URL and a path with zero, one or two slashes, and some
    have `/v1` in their base URL where others do not: all of them mean the same.
    """
    if not raw.startswith("/"):  # absolute-form, RFC 9112 section 3.2.2: a server MUST accept it
        raw = raw.partition("://")[2].partition("/")[2]
    path = "/" + raw.strip("/")
    if path == "/v1" or path.startswith("/v1/"):
        path = "/" + path[3:].lstrip("/")
    if path.startswith("/models/"):  # the rest is an id, and an id may hold anything
        return path
    return _SLASHES.sub("/", path)


class Refusal(Exception):
    """A request that is answered with an error of our own, before or instead of an upstream's answer."""

    def __init__(self, failed: Failed, headers: Headers | None = None) -> None:
        super().__init__(failed.message)
        self.failed = failed
        self.headers = headers or []
