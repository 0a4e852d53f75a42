"""What the connection driver hands to the endpoints: one request, read whole, and the way to refuse it.

The target is kept raw, because an id in a path may carry encoded slashes that must be decoded exactly once,
after routing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import copy
from functools import lru_cache

from ..protocol.chat import Failed
from ..protocol.head import RequestHead
from ..providers.headers import NEVER, may_travel
from .access import KEY_HEADERS, shown_keys

__all__ = ["Refusal", "Request", "api_path"]

Headers = list[tuple[str, str]]

MAX_CLIENT_ID = 512

LEAST_KEY = 8
"""Characters of a key that is looked for in other headers: `none` and the like are dummies, and words as well."""

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_USUAL = ("", "keep-alive", "close")
_SLASHES = re.compile("/+")


class Request:
    """The head of one HTTP request, as the core has read it; its body is the intake's to read."""

    __slots__ = (
        *("_headers", "_shown", "http10", "keep_alive", "method", "path", "peer", "query", "request_id", "target"),
    )

    def __init__(self, head: RequestHead, *, peer: str, request_id: str) -> None:
        self.method = head.method
        self.target = head.target
        self.http10 = head.version == "1.0"
        self.keep_alive = head.keep_alive
        self.peer = peer
        self.request_id = request_id
        self._headers = dict(head.headers)
        if len(self._headers) < len(head.headers):
            self._headers = _joined(head.headers)
        self._shown = self._given_id()
        raw, _, self.query = head.target.partition("?")
        self.path = api_path(raw)

    def header(self, name: str) -> str | None:
        """The value of the header of this (lower-case) name, or None; repeated ones are joined by ", "."""
        value = self._headers.get(name.encode())  # a few of many are looked at, so they are decoded one by one
        return None if value is None else value.decode("latin-1")

    def again(self, request_id: str, changes: Mapping[str, str]) -> Request:
        """The same request once more, by another id and with these headers changed: for a message on a WebSocket,
        which comes with what its connection was opened by."""
        other = copy(self)
        other.request_id = request_id
        changed = {name.encode(): value.encode() for name, value in changes.items()}
        other._headers = self._headers | changed
        if "x-request-id" not in changes:
            other._headers.pop(b"x-request-id", None)  # it was the connection's
        other._shown = other._given_id()
        return other

    def chosen(self, names: Iterable[str]) -> dict[str, str]:
        """Those headers out of `names` that were sent."""
        return {name: value for name in names if (value := self.header(name)) is not None}

    def travelling(self) -> list[tuple[str, str]]:
        """Those headers that may go further than to us. Which of them do, each upstream's policy says; none of them is
        a credential, nor has one in it, nor concerns this connection only (RFC 9110, section 7.6.1)."""
        options = (self.header("connection") or "").lower()
        own = () if options in _USUAL else {option.strip() for option in options.split(",")}
        travels = []
        for raw, value in self._headers.items():
            if (
                raw not in _STAY
                and (name := _travels(raw))
                and name not in own
                and (name != "x-request-id" or self._shown)
            ):
                travels.append((name, value.decode("latin-1")))
        if travels:
            keys = [key for key in shown_keys(self.chosen(KEY_HEADERS)) if len(key) >= LEAST_KEY]
            travels = [header for header in travels if not any(key in header[1] for key in keys)]
        return travels

    @property
    def shown_id(self) -> str:
        """The request's id as its client and the upstream see it: the client's `X-Request-Id`, so that one id leads
        through all that stands in a row, else ours."""
        return self._shown or self.request_id

    def _given_id(self) -> str:
        """The client's own id for the request; "" if it gives none that may be shown."""
        said = self.header("x-request-id")
        return said if said is not None and said != self.request_id and _ID.fullmatch(said) else ""

    @property
    def ids(self) -> Headers:
        """The headers that say, on any answer, which request it is for."""
        ids = [("x-request-id", self.shown_id)]
        if self._shown:
            ids.append(("x-penstock-request-id", self.request_id))
        if said := self._client_id():
            ids.append(("x-client-request-id", said))
        return ids

    @property
    def client_id(self) -> str:
        """What the client calls this request (`X-Client-Request-Id`, or its own `X-Request-Id`), for the log; "" if it
        says nothing, or what is nothing for a log line."""
        return self._client_id() or self._shown

    def _client_id(self) -> str:
        said = self.header("x-client-request-id") or ""
        return said if len(said) <= MAX_CLIENT_ID and said.isascii() and said.isprintable() else ""


_STAY = frozenset(name.encode() for name in NEVER)


@lru_cache(maxsize=256)
def _travels(raw: bytes) -> str:
    """The header's name if there may be a policy that lets it through, else ""."""
    name = raw.decode("latin-1")
    return name if may_travel(name) else ""


def _joined(fields: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """RFC 9110 section 5.3: repeated fields mean their values "in order, separated by a comma"."""
    joined: dict[bytes, bytes] = {}
    for name, value in fields:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


@lru_cache(maxsize=64)
def api_path(raw: str) -> str:
    """The path by which an endpoint is found: without scheme and host, `/v1`, doubled or trailing slashes.

    It stays percent-encoded. Clients join a base URL and a path with zero, one or two slashes, and some
    have `/v1` in their base URL where others do not: all of them mean the same.
    """
    if not raw.startswith("/"):  # absolute-form, RFC 9112 section 3.2.2: a server MUST accept it
        _, scheme, rest = raw.partition("://")
        if not scheme:
            return raw  # `*`, or the host of a CONNECT: no path
        raw = rest.partition("/")[2]
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
