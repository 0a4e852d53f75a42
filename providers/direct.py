"""The default transport: HTTP/1.1 on our own streams and our own pool.

Heads are written and read by the core (`protocol.head`), strictly. A body piece costs one wait, one read, and
the transfer coding, and nothing is kept between pieces. h11 would read and write the heads as well, at seven
times the cost, and let pass some of what makes two readers disagree; the tests hold ours against it.
How a request is written, while its upstream may be answering already, is in `writing`.

A connection that was kept may die in the very moment in which it is used again. If it does so before any
byte of a response, the request is sent once more, on a new connection, as every HTTP client does; a new one
that dies so is the upstream's failure.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

from ..protocol.errors import LocalProtocolError, RemoteProtocolError
from ..protocol.head import encode_request
from .body import Body, UntilEnd, drain, framing
from .connect import Connector
from .deadline import Deadline
from .pool import IDLE_SECONDS, MAX_IDLE, Pool
from .response_head import MAX_HEAD_BYTES, NoAnswerError, ResponseHead, read_head
from .stream import ByteStream, StreamBroken
from .transport import Origin, Transport, UpstreamError, UpstreamRequest, UpstreamResponse
from .unpack import unpacked
from .writing import write

__all__ = ["DirectResponse", "DirectTransport"]

Connect = Callable[[], Awaitable[ByteStream]]


class DirectTransport(Transport):
    """Speaks HTTP/1.1 to `origin` (`http://host:port`).

    `tls`: whom an `https` origin's certificate must come from, if not from the system's list
    (`tls.client_context` makes one). `connect`: makes the connections instead of the network, for embedded
    providers and tests; it raises UpstreamError.
    """

    def __init__(
        self,
        origin: str,
        *,
        tls: ssl.SSLContext | None = None,
        connect: Connect | None = None,
        max_idle: int = MAX_IDLE,
        idle_seconds: float = IDLE_SECONDS,
        max_head_bytes: int = MAX_HEAD_BYTES,
    ) -> None:
        self.origin = Origin.parse(origin)
        self._connect = connect or Connector(self.origin, tls)
        self._pool: Pool[_Kept] = Pool(max_idle, idle_seconds)
        self._max_head_bytes = max_head_bytes
        self._host = ("host", self.origin.authority)

    @property
    def idle(self) -> int:
        """How many connections wait for their next request."""
        return len(self._pool)

    async def send(self, request: UpstreamRequest, deadline: Deadline) -> UpstreamResponse:
        head = self._request_head(request)
        kept = self._pool.take()
        if kept is not None:
            try:
                return await self._exchange(kept.stream, head, request, deadline)
            except NoAnswerError:
                pass
        deadline.enter("connect")
        try:
            return await self._exchange(await self._connect(), head, request, deadline)
        except NoAnswerError as exc:
            raise UpstreamError(exc.kind, "the upstream ended the connection without an answer", sent=True) from exc

    def close(self) -> None:
        self._pool.close()

    def expire(self) -> None:
        self._pool.expire()

    def _request_head(self, request: UpstreamRequest) -> bytes:
        """The request's head as bytes."""
        try:
            return encode_request(request.method, request.target, request.framed(self._host))
        except LocalProtocolError as exc:
            raise UpstreamError("protocol", "the request cannot be written as HTTP", sent=False) from exc

    async def _exchange(
        self, stream: ByteStream, head: bytes, request: UpstreamRequest, deadline: Deadline
    ) -> UpstreamResponse:
        """One request, and the head of its response. The stream is ours until the response has it."""
        try:
            # Sending a large body may take longer than connecting may; what counts is that it gets on.
            deadline.enter("first_event")
            whole, early = await write(stream, head, request.body, deadline)
            answer = await read_head(stream, self._max_head_bytes, early)
            body = framing(request.method, answer)
        except BaseException:
            stream.close()
            raise
        reusable = whole and answer.persists and not isinstance(body, UntilEnd)
        return unpacked(DirectResponse(answer, body, stream, self._pool if reusable else None))


class _Kept:
    """An idle connection. The end of its last response's body may still be on its way (see `finish`)."""

    __slots__ = ("_body", "stream")

    def __init__(self, stream: ByteStream, body: Body) -> None:
        self.stream = stream
        self._body: Body | None = None if body.done else body

    def idle_and_open(self) -> bool:
        if self._body is not None and drain(self.stream, self._body) != "done":
            return False
        return self.stream.idle_and_open()

    def close(self) -> None:
        self.stream.close()


class DirectResponse(UpstreamResponse):
    """A response on a stream that it owns until `finish` or `close`; `pool` is None if it cannot be kept."""

    __slots__ = ("_body", "_pool", "_rest", "_stream")

    def __init__(self, head: ResponseHead, body: Body, stream: ByteStream, pool: Pool[_Kept] | None) -> None:
        self.status = head.status
        self.headers = head.headers
        self._rest = head.rest
        self._body = body
        self._stream: ByteStream | None = stream
        self._pool = pool

    async def receive(self) -> bytes:
        stream, body = self._stream, self._body
        if stream is None:
            raise RuntimeError("the response was finished or closed")
        ended = False
        try:
            while not body.done:
                if body.fault is not None:
                    raise body.fault  # kept until the pieces before it had been handed on
                if self._rest:
                    data, self._rest = self._rest, b""
                else:
                    data = await stream.receive()
                    ended = not data
                pieces = body.close() if ended else body.feed(data)
                if pieces:
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        except StreamBroken as exc:
            self.close()
            raise UpstreamError("reset", "the upstream broke the connection", sent=True) from exc
        except RemoteProtocolError as exc:
            self.close()
            if ended:
                message = "the upstream closed the connection before its answer was complete"
                raise UpstreamError("closed", message, sent=True) from exc
            raise UpstreamError("protocol", "the upstream's response body is not valid HTTP", sent=True) from exc
        return b""

    def finish(self, *, settle: bool = False) -> None:
        stream, pool = self._stream, self._pool
        if stream is None:
            return
        state = "no" if pool is None else drain(stream, self._body, self._rest)
        if pool is None or state == "no" or (state == "waiting" and not settle):
            self.close()
            return
        self._stream = None
        pool.give(_Kept(stream, self._body))

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
