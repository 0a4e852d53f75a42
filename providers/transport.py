"""What every transport to an upstream is: one request out, one response back, its body piece by piece.

The interface is as narrow as a relay's needs. `send` returns when the response's head is there; the body
comes plain (no transfer coding, no content coding) from `receive`; the caller says how it parts: `finish`
when the answer is over, `close` when nobody wants it any more. Both are plain calls, so that they work in
any `finally`, under any cancellation, and the upstream sees a close when it is called and not later.

Every fault of the way to the upstream is an `UpstreamError`. Its `kind` is one of a closed set, its `sent`
says whether the upstream may have begun to work (and to charge), and its message may be shown to a client:
no address, no credential, nothing that the upstream wrote.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from .deadline import Deadline

__all__ = [
    "ErrorKind",
    "LongBody",
    "Origin",
    "Transport",
    "UpstreamError",
    "UpstreamRequest",
    "UpstreamResponse",
]

ErrorKind = Literal[
    "dns", "refused", "unreachable", "tls", "proxy", "reset", "closed", "protocol", "too_large"
]  # fmt: skip

_DEFAULT_PORTS = {"http": 80, "https": 443}


class UpstreamError(Exception):
    """The upstream could not be reached, or broke off, or did not speak HTTP.

    `kind`: `dns` (no such name), `refused`, `unreachable` (no route, or no reply to connecting), `tls`,
    `proxy` (a proxy on the way failed), `reset` (the connection broke), `closed` (it ended before the
    answer did), `protocol` (what came is not HTTP as we take it), `too_large` (a head over the limit).
    `sent`: whether bytes of the request may have reached the upstream.
    """

    def __init__(self, kind: ErrorKind, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.kind = kind
        self.sent = sent


class Origin(NamedTuple):
    """Scheme, host and port: what a connection is made to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Origin:
        """The origin of an `http` or `https` URL. Raises ValueError, without quoting the URL."""
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            scheme, host, port = "", "", None
        if scheme not in _DEFAULT_PORTS or not host or port == 0:
            # Not `from exc`: what urlsplit says quotes what may be a password.
            raise ValueError("an origin is http:// or https://, a host, and if need be a port")
        return cls(scheme, host, port or _DEFAULT_PORTS[scheme])

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them: brackets around IPv6, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class LongBody(ABC):
    """A request's body that is not held in memory: of a known length, and to be read as often as it is sent."""

    @abstractmethod
    def __len__(self) -> int:
        """How many bytes it has."""

    @abstractmethod
    async def read(self, start: int) -> bytes:
        """Some of it from there on: a piece of a size that is good to send, b"" at its end."""


class UpstreamRequest(NamedTuple):
    """A request without its origin. `target` is path and query. The transport adds `host`,
    `content-length` and `accept-encoding: identity`; `headers` name none of what frames a message.

    A long body is read as fast as the upstream takes it. An upstream that refuses it on the way is listened to.
    """

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes | LongBody

    def framed(self, host: tuple[str, str]) -> list[tuple[str, str]]:
        """The headers with those that a transport adds; `host` is the origin's."""
        headers = [host, *self.headers]
        if "accept-encoding" not in dict(self.headers):
            headers.append(("accept-encoding", "identity"))
        if self.body or self.method not in ("GET", "HEAD"):
            headers.append(("content-length", str(len(self.body))))
        return headers


class UpstreamResponse(ABC):
    """A response whose head has come. Whoever holds it calls `finish` or `close`; calling both is fine."""

    __slots__ = ("headers", "status")

    status: int
    headers: list[tuple[str, str]]
    """Names in lower case."""

    def header(self, name: str) -> str | None:
        """The first header of this (lower-case) name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @abstractmethod
    async def receive(self) -> bytes:
        """Wait for body bytes; `b""` is the clean end of the body, again and again.

        Raises UpstreamError if the connection breaks, or ends before the body does, and RuntimeError if
        the response was closed or finished before. Cancelled, it leaves the response as it was, to be closed.
        """

    @abstractmethod
    def finish(self, *, settle: bool = False) -> None:
        """The answer is over: keep the connection if it can serve again, else close it at once.

        It can if the end of the body is already here, read or not. With `settle` (the caller has seen the
        dialect's end marker, so that nothing but the end of the body is still to come) the end may also
        come later: it is looked for when the connection is needed next.
        """

    @abstractmethod
    def close(self) -> None:
        """The answer is not wanted any more: the upstream sees its connection closed now. Never raises,
        and does nothing after `finish`."""


class Transport(ABC):
    """The way to one origin."""

    @abstractmethod
    async def send(self, request: UpstreamRequest, deadline: Deadline) -> UpstreamResponse:
        """Send `request` and wait for the head of the response (1xx ones are skipped).

        The deadline's scope is the caller's to enter; here its phases are entered: `connect` if there is
        anything to connect, then `first_event`, which begins again with all progress in sending. Raises
        UpstreamError. Cancelled, it leaves nothing open.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the idle connections. Responses under way are their holders' to close."""

    def expire(self) -> None:  # noqa: B027 - a transport that keeps nothing has nothing to expire
        """Close idle connections whose time is over; for a housekeeping task that calls now and then."""
