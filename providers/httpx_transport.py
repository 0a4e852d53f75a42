"""The other transport: httpx, for what `direct` leaves out. Proxies (HTTP, HTTPS, SOCKS), and HTTP/2.

Two things of httpx do not suit a gateway, and are why this is more than a call of its client:

* Its pool walks all connections at each request, and an abandoned HTTP/2 stream is not told to the
  upstream. So each connection is a httpx transport of its own (`httpx_line`), which serves one request at a
  time, and idle ones wait in our own pool.
* Closing is a coroutine there, and a plain call here. So `close` closes the socket, at once, and what the
  library has to do about it is done by the next `send`, or by `reap`: it waits for no network.

Redirects, cookies and time-outs are of httpx's client, which is left out. httpx is imported
when the first request is sent. The head of a response is checked by h11 or h2 alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import trio

from .deadline import Deadline
from .pool import IDLE_SECONDS, MAX_IDLE, Pool
from .response_head import MAX_HEAD_BYTES, MAX_HEADERS
from .tls import client_context
from .transport import Origin, Transport, UpstreamError, UpstreamRequest, UpstreamResponse
from .unpack import unpacked

if TYPE_CHECKING:
    from .httpx_line import Line

__all__ = ["HttpxResponse", "HttpxTransport"]


class HttpxTransport(Transport):
    """Speaks HTTP to `origin`, through `proxy` (a URL, perhaps with a password) if there is one.

    `ca_file`: the only authority trusted, if given. HTTP/2 is offered if the `h2` package is installed.
    """

    def __init__(
        self,
        origin: str,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        max_idle: int = MAX_IDLE,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.origin = Origin.parse(origin)
        self._proxy = proxy
        self._ca_file = ca_file
        self._http2 = importlib.util.find_spec("h2") is not None
        self._pool: Pool[Line] = Pool(max_idle, idle_seconds)
        self._abandoned: list[AsyncIterator[bytes]] = []

    @property
    def idle(self) -> int:
        """How many connections wait for their next request."""
        return len(self._pool)

    async def send(self, request: UpstreamRequest, deadline: Deadline) -> UpstreamResponse:
        from .httpx_line import TransportError, died_before_its_answer, explain

        deadline.enter("connect")
        await self.reap()
        line = await self._kept_line()
        kept = line is not None
        while True:
            if line is None:
                line = await self._new_line()
            try:
                return await self._exchange(line, request, deadline)
            except TransportError as exc:
                if not (kept and died_before_its_answer(exc)):
                    raise explain(exc, sent=line.sent, proxied=self._proxy is not None) from exc
            # It died while it was kept: once more, on a new one.
            line, kept = None, False
            deadline.enter("connect")

    def close(self) -> None:
        self._pool.close()

    def expire(self) -> None:
        self._pool.expire()

    async def reap(self) -> None:
        """Clear away what httpx keeps of responses that were closed; their sockets are closed already."""
        if self._abandoned:
            from .httpx_line import run_out

            await run_out(self._abandoned)

    async def _kept_line(self) -> Line | None:
        while (line := self._pool.take()) is not None:
            try:
                if await line.settled():
                    return line
            except BaseException:
                line.close()
                raise
            line.close()
        return None

    async def _new_line(self) -> Line:
        from .httpx_line import Line

        alpn = ("h2", "http/1.1") if self._http2 else ("http/1.1",)
        tls = await trio.to_thread.run_sync(client_context, self._ca_file, alpn)  # reads files, the first time
        return Line(self.origin, tls, proxy=self._proxy, http2=self._http2, abandoned=self._abandoned)

    async def _exchange(self, line: Line, request: UpstreamRequest, deadline: Deadline) -> UpstreamResponse:
        status, headers = await line.send(request, lambda: deadline.enter("first_event"))
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
            line.close()
            raise UpstreamError("too_large", "the head of the upstream's response is too large", sent=True)
        return unpacked(HttpxResponse(status, headers, line, self._pool))


class HttpxResponse(UpstreamResponse):
    """A response on a line that it owns until `finish` or `close`."""

    __slots__ = ("_line", "_pool")

    def __init__(self, status: int, headers: list[tuple[str, str]], line: Line, pool: Pool[Line]) -> None:
        self.status = status
        self.headers = headers
        self._line: Line | None = line
        self._pool = pool

    async def receive(self) -> bytes:
        from .httpx_line import TransportError, explain

        if self._line is None:
            raise RuntimeError("the response was finished or closed")
        try:
            return await self._line.receive()
        except TransportError as exc:
            self.close()
            raise explain(exc, sent=True, proxied=False) from exc

    def finish(self, *, settle: bool = False) -> None:
        if self._line is not None and (settle or self._line.ended):
            self._pool.give(self._line)
            self._line = None
        self.close()

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
