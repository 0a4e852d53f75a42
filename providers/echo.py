"""An upstream inside the process: it serves OpenAI's API over real HTTP/1.1, on one end of a socket pair.

It makes the first command work with no key and no network, and it is a test bench for whatever is plugged
into the gateway. Nothing knows that it is special: what it says goes through the same sockets, transport,
relay and deadlines as any other upstream's answer. `Echo.connect` stands where a transport would connect by
TCP; each connection is served by a task in the nursery that was handed in, and ends with its connection.

While it waits (a pause that the request asked for) it watches for its peer to leave, as a model server
should. What it answers is decided in `echo_answer` and `echo_embeddings`.
"""

from __future__ import annotations

import itertools
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import h11
import trio

from . import echo_embeddings
from .echo_answer import Answer, BadRequest, dumps, error_body, read_request
from .stream import READ_SIZE, ByteStream, SocketStream, StreamBroken
from .transport import UpstreamError

__all__ = ["Echo"]

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a request's body: more than the gateway lets pass."""

_log = logging.getLogger("penstock.echo")


class Echo:
    """The upstream. `nursery` holds its connections; `clock` gives seconds since the epoch."""

    def __init__(self, nursery: trio.Nursery, *, clock: Callable[[], float] = time.time) -> None:
        self._nursery = nursery
        self._clock = clock
        self._numbers = itertools.count(1)

    async def connect(self) -> ByteStream:
        """A new connection to the upstream. Raises UpstreamError where the system has no descriptors left."""
        try:
            near, far = socket.socketpair()
        except OSError as exc:
            raise UpstreamError("unreachable", "no connection can be made to the echo", sent=False) from exc
        self._nursery.start_soon(self.serve, SocketStream(far))
        return SocketStream(near)

    async def serve(self, stream: ByteStream) -> None:
        """Answer the requests that come on a connection, until it ends; then it is closed."""
        try:
            connection = _Connection(stream)
            while request := await connection.next_request():
                await self._answer(connection, *request)
        except StreamBroken:
            pass  # whoever asked has left
        except Exception:
            # A bug here must not take the gateway down with it: the nursery is not ours.
            _log.exception("the echo failed on a request")
        finally:
            stream.close()

    async def _answer(self, connection: _Connection, method: str, path: str, body: bytes) -> None:
        if (method, path) == ("GET", "/v1/models"):
            model = {"id": "echo", "object": "model", "created": int(self._clock()), "owned_by": "penstock"}
            await connection.reply(200, {"object": "list", "data": [model]})
        elif (method, path) == ("POST", "/v1/chat/completions"):
            try:
                request = read_request(body)
            except BadRequest as exc:
                await connection.reply(400, error_body(str(exc), code="invalid_value"))
                return
            await self._chat(connection, Answer(request, next(self._numbers), int(self._clock())))
        elif (method, path) == ("POST", "/v1/embeddings"):
            try:
                await connection.send(200, await trio.to_thread.run_sync(echo_embeddings.answer, body))
            except BadRequest as exc:
                await connection.reply(400, error_body(str(exc), code="invalid_value"))
        else:
            await connection.reply(404, error_body(f"Unknown request URL: {method} {path}", code="unknown_url"))

    async def _chat(self, connection: _Connection, answer: Answer) -> None:
        knobs = answer.knobs
        await connection.pause(knobs.ttft_ms)
        if knobs.fail.status:
            kind = "server_error" if knobs.fail.status >= 500 else "invalid_request_error"
            await connection.reply(knobs.fail.status, error_body("The echo fails, as it was asked to.", kind))
        elif answer.stream:
            await self._stream(connection, answer)
        else:
            await self._whole(connection, answer)

    async def _stream(self, connection: _Connection, answer: Answer) -> None:
        knobs = answer.knobs
        await connection.begin(200, [("content-type", "text/event-stream"), ("cache-control", "no-cache")])
        for number, event in enumerate(answer.events()):
            if number:
                await connection.pause(knobs.gap_ms)
            await connection.write(event, knobs.cut)
        if answer.fails == "error":
            await connection.write(answer.failure(), knobs.cut)
        await self._end(connection, answer, answer.failure())

    async def _whole(self, connection: _Connection, answer: Answer) -> None:
        if answer.fails == "error":
            await connection.reply(500, error_body("The echo fails, as it was asked to.", "server_error"))
            return
        body = answer.whole()
        await connection.pause(answer.knobs.gap_ms * answer.length)
        await connection.begin(200, [("content-type", "application/json"), ("content-length", str(len(body)))])
        half = len(body) // 2 if answer.fails in ("reset", "close", "stall") else len(body)
        await connection.write(body[:half], answer.knobs.cut)
        await self._end(connection, answer, body[half:])

    async def _end(self, connection: _Connection, answer: Answer, rest: bytes) -> None:
        """End an answer as it was asked for; `rest` is what could still be said, to break off in."""
        match answer.fails:
            case "stall":
                await connection.pause(float("inf"))
            case "reset":
                await connection.write(rest[: len(rest) // 2])
                raise StreamBroken("asked for")
            case "close":
                raise StreamBroken("asked for")
            case _:
                await connection.end()


class _Connection:
    """One connection as a server sees it: h11 for the rules, a stream for the bytes."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)

    async def next_request(self) -> tuple[str, str, bytes] | None:
        """Method, path and body of the next request; None if there is to be no other."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        try:
            return await self._read_request()
        except h11.RemoteProtocolError as exc:
            await self.reply(exc.error_status_hint, error_body(str(exc)))
            return None

    async def _read_request(self) -> tuple[str, str, bytes] | None:
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    await self.reply(413, error_body("The request is too large."))
                    return None
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                path = request.target.decode("ascii").partition("?")[0]
                return request.method.decode("ascii"), path, bytes(body)
            elif isinstance(event, h11.ConnectionClosed):
                return None
            elif event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                self._http.receive_data(await self._stream.receive())

    async def reply(self, status: int, value: dict[str, Any]) -> None:
        """A whole JSON answer."""
        await self.send(status, dumps(value))

    async def send(self, status: int, body: bytes) -> None:
        """A whole answer, of JSON that was written already."""
        await self.begin(status, [("content-type", "application/json"), ("content-length", str(len(body)))])
        await self.write(body)
        await self.end()

    async def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        """The head of an answer; without a length its body is chunked."""
        await self._send(h11.Response(status_code=status, headers=headers))

    async def write(self, data: bytes, cut: int = 0) -> None:
        """Some of the body, in pieces of at most `cut` bytes if that is not 0: each a chunk and a write."""
        step = cut or len(data) or 1
        for at in range(0, len(data), step):
            await self._send(h11.Data(data=data[at : at + step]))
            # A send that does not have to wait gives nobody else a turn, and an echo can be very fast.
            await trio.lowlevel.checkpoint()

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def pause(self, millis: float) -> None:
        """Wait, but for no peer that has left: raises StreamBroken if it closes its end meanwhile."""
        if not millis:
            return
        with trio.move_on_after(millis / 1000):
            while True:
                early = await self._stream.receive()
                if not early or len(self._http.trailing_data[0]) > READ_SIZE:
                    raise StreamBroken("the peer has left, or talks instead of listening")
                self._http.receive_data(early)

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send_all(data)
