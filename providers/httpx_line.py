"""One connection by httpx, that serves one request at a time; the part of that transport that imports httpx.

`httpx.AsyncHTTPTransport` is used bare, with room for a single connection: so that the socket of a response
is known, and closing it hits no other. Its generators need care, for trio minds (and Python cannot help) when
one is dropped in its middle: the request's body is none, and those of a response's body are kept when it is
closed, to be run to their end later (`run_out`).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import httpcore
import httpx
import trio

from .connect import connect_error, tls_error
from .transport import LongBody, Origin, UpstreamError, UpstreamRequest
from .writing import MAX_EARLY, is_refused

__all__ = ["Line", "TransportError", "died_before_its_answer", "explain", "run_out"]

SETTLE_SECONDS = 0.05
"""How long a connection that is to be used again is given for the end of its last body."""

SETTLE_BYTES = 65536
CLOSE_SECONDS = 1.0

TransportError = httpx.TransportError


class _Body(httpx.AsyncByteStream):
    """A request's body. (httpx's own is a generator, lost in its middle if writing fails.)

    Of a long one, each piece that is asked for means that the one before was taken. If the upstream has refused it
    by then, there is no use in sending on: the library takes a failure to write for that, and reads the answer.
    """

    def __init__(
        self, body: bytes | LongBody, on_progress: Callable[[], None], is_refused: Callable[[], Awaitable[bool]]
    ) -> None:
        self._body = body
        self._sent = 0
        self._on_progress = on_progress
        self._is_refused = is_refused

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if isinstance(self._body, LongBody):
            if self._sent:
                self._on_progress()
            if await self._is_refused():
                raise httpcore.WriteError
            piece = await self._body.read(self._sent)
        else:
            piece = self._body[self._sent :]
        if not piece:
            raise StopAsyncIteration
        self._sent += len(piece)
        return piece


class Line:
    """One connection to `origin`, made with the first request. `sent`: the last request may have gone out.

    Its methods raise httpx's TransportError, for `explain` to say what it means.
    """

    __slots__ = ("_abandoned", "_body", "_origin", "_plain", "_socket", "_stream", "_transport", "sent")

    def __init__(
        self,
        origin: Origin,
        tls: ssl.SSLContext,
        *,
        proxy: str | None,
        http2: bool,
        abandoned: list[AsyncIterator[bytes]],
    ) -> None:
        through = None
        if proxy is not None:
            through = httpx.Proxy(proxy, ssl_context=tls if proxy.startswith("https:") else None)
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls, trust_env=False, http2=http2, proxy=through, limits=limits
        )
        self._origin = origin
        self._abandoned = abandoned
        self._socket: trio.socket.SocketType | None = None
        self._plain: trio.socket.SocketType | None = None  # the same, from its connecting on, if it is without TLS
        self._stream: httpx.AsyncByteStream | None = None
        self._body: AsyncIterator[bytes] | None = None
        self.sent = False

    async def send(
        self, request: UpstreamRequest, on_progress: Callable[[], None]
    ) -> tuple[int, list[tuple[str, str]]]:
        """Send `request`; status and headers of the response. Whatever is raised, the line is closed."""
        self.sent = False

        async def trace(name: str, info: dict[str, Any]) -> None:
            if name in ("http11.send_request_headers.started", "http2.send_request_headers.started"):
                self.sent = True
                on_progress()
            elif name == "connection.connect_tcp.complete" and self._origin.scheme == "http":
                self._plain = info["return_value"].get_extra_info("socket")
            elif name in ("http11.send_request_body.complete", "http2.send_request_body.complete"):
                on_progress()

        try:
            response = await self._transport.handle_async_request(self._request(request, trace, on_progress))
        except BaseException:
            self.close()
            raise
        self._socket = response.extensions["network_stream"].get_extra_info("socket")
        self._stream = cast("httpx.AsyncByteStream", response.stream)
        headers = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
        return response.status_code, headers

    def _request(
        self, request: UpstreamRequest, trace: Callable[..., Awaitable[None]], on_progress: Callable[[], None]
    ) -> httpx.Request:
        scheme, host, port = self._origin
        url = httpx.URL(scheme=scheme, host=host, port=port, raw_path=request.target.encode("ascii"))
        headers = request.framed(("host", self._origin.authority))
        stream = _Body(request.body, on_progress, self._is_refused)
        return httpx.Request(request.method, url, headers=headers, stream=stream, extensions={"trace": trace})

    async def _is_refused(self) -> bool:
        """Whether the upstream has said already that there is no use in sending on, or is gone: a look at what has
        come, which stays for the library to read. Over TLS it cannot be read, so nothing is known."""
        plain = self._plain
        if plain is None or plain.fileno() < 0 or not plain.is_readable():
            return False
        try:
            early = await plain.recv(MAX_EARLY, trio.socket.MSG_PEEK)
        except OSError:
            return True
        return not early or is_refused(early) is True

    async def receive(self) -> bytes:
        """The next body piece, without content decoding; `b""` at the end, and from then on."""
        if self._stream is None:
            return b""
        if self._body is None:
            self._body = aiter(self._stream)
        async for piece in self._body:
            if piece:
                return piece
        await self._stream.aclose()  # tells the library that its connection is idle
        self._stream = self._body = None
        return b""

    @property
    def ended(self) -> bool:
        """Whether the last response has been read to its end."""
        return self._stream is None

    async def settled(self) -> bool:
        """Whether the last response has ended, or comes to its end within moments."""
        dropped = 0
        with trio.move_on_after(SETTLE_SECONDS):
            try:
                while dropped <= SETTLE_BYTES and (piece := await self.receive()):
                    dropped += len(piece)
            except httpx.TransportError:
                return False
        return self.ended and self.idle_and_open()

    def idle_and_open(self) -> bool:
        """One look. Of a response that has still to end nothing can be said without waiting: see `settled`."""
        if self._socket is None or self._socket.fileno() < 0:
            return False
        return not self.ended or not self._socket.is_readable()

    def close(self) -> None:
        """Close the socket at once, and leave the generators for `run_out`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._body is not None:
            self._abandoned.append(self._body)
        self._stream = self._body = None


async def run_out(abandoned: list[AsyncIterator[bytes]]) -> None:
    """Let the generators of closed responses find that their sockets are closed, and so end.

    Closing them would not do: they are nested, and the inner ones would be left to the garbage collector.
    """
    while abandoned:
        body = abandoned.pop()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_SECONDS):
            try:
                async for _ in body:
                    pass
            except Exception:  # noqa: S110 - the expected end, whatever its name
                pass


def died_before_its_answer(exc: httpx.TransportError) -> bool:
    """Whether a request may be sent once more if its connection had been kept."""
    return isinstance(exc, httpx.ReadError) or (isinstance(exc, httpx.RemoteProtocolError) and _ended_early(exc))


def explain(exc: httpx.TransportError, *, sent: bool, proxied: bool) -> UpstreamError:
    """What an error of httpx means, in our words."""
    if isinstance(exc, httpx.ProxyError):
        return UpstreamError("proxy", "the proxy did not let the request through", sent=False)
    if isinstance(exc, httpx.ConnectError):
        cause = _system_error(exc)
        if isinstance(cause, ssl.SSLError):
            return tls_error(cause)
        if proxied:
            return UpstreamError("proxy", "the proxy cannot be reached", sent=False)
        return connect_error(cause or OSError())
    if isinstance(exc, httpx.LocalProtocolError):
        return UpstreamError("protocol", "the request cannot be written as HTTP", sent=False)
    if isinstance(exc, httpx.RemoteProtocolError):
        if _ended_early(exc):
            return UpstreamError("closed", "the upstream closed the connection too early", sent=sent)
        return UpstreamError("protocol", "the upstream's response is not valid HTTP", sent=sent)
    return UpstreamError("reset", "the upstream broke the connection", sent=sent)


def _ended_early(exc: httpx.RemoteProtocolError) -> bool:
    # httpcore tells an early end from bad HTTP by its words alone.
    return "disconnected" in str(exc) or "closed connection" in str(exc)


def _system_error(exc: BaseException) -> OSError | None:
    """The error of the system beneath the library's own."""
    cause = exc.__cause__ or exc.__context__
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause
