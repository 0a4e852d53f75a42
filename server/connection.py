"""One client connection, HTTP/1.1: requests in order, each answered before the next is looked at.

The driver is thin: `Intake` reads heads and bodies under their limits and deadlines, `dispatch` answers,
and here is decided what a fault means for the connection. A refusal in the middle of a request ends the
connection after the answer; after a whole request it does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ..protocol.errors import RemoteProtocolError
from ..providers.stream import ByteStream, StreamBroken
from . import refusal
from .gateway import Gateway
from .http import Request
from .intake import Intake
from .reply import ClientStalled, Reply
from .routes import dispatch

__all__ = ["Connection"]

LINGER_SECONDS = 2.0
LINGER_BYTES = 64 << 20
"""How long, and for how much, a closing connection is read on: twice the default limit of a body."""


class Connection:
    """Serves one connected client until either side has had enough. `peer` is the client's address."""

    __slots__ = ("_gateway", "_intake", "_stream")

    def __init__(self, gateway: Gateway, stream: ByteStream, peer: str) -> None:
        self._gateway = gateway
        self._stream = stream
        self._intake = Intake(gateway, stream, peer)

    async def serve(self) -> None:
        """Answer requests until the connection is over, then close it. Raises nothing that is not a bug."""
        gateway = self._gateway
        gateway.connections += 1
        try:
            await self._run(self._serve_all)
        finally:
            gateway.connections -= 1
            gateway.note_change()

    async def turn_away(self) -> None:
        """Say that there are too many connections, whatever is asked, and close this one."""
        await self._run(self._refuse)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._intake.pump)
                try:
                    await work()
                except (StreamBroken, ClientStalled):
                    pass  # nobody is there to be told; what was under way has been booked
                nursery.cancel_scope.cancel()
        finally:
            self._stream.close()

    async def _refuse(self) -> None:
        await refusal.send(self._reply(None), refusal.busy("The gateway is at its limit of connections.").failed)
        await self._linger()

    async def _serve_all(self) -> None:
        while await self._serve_one():
            pass

    async def _serve_one(self) -> bool:
        """Read and answer one request; return whether another may follow."""
        intake = self._intake
        reply: Reply | None = None
        try:
            request = await intake.next_request()
            if request is None:
                return False
            reply = self._reply(request)
            await dispatch(self._gateway, request, reply, intake)
        except (StreamBroken, ClientStalled):
            raise
        except Exception as exc:
            reply = reply or self._reply(None)
            refused = refusal.refusal_for(exc, dict(reply.common)["x-request-id"])
            if reply.committed:
                return False  # without the terminator: the client must not take this for the end
            if not intake.discard_body() or isinstance(exc, RemoteProtocolError):
                reply.keep_alive = False
            await refusal.send(reply, refused.failed, refused.headers)
        if not reply.ended:
            return False
        if reply.keep_alive and intake.may_go_on():
            return True
        await self._linger()
        return False

    def _reply(self, request: Request | None) -> Reply:
        keep_alive = request is not None and request.keep_alive and not self._gateway.draining
        reply = Reply(self._stream, request, self._gateway.timeouts.write, keep_alive=keep_alive)
        reply.common = request.ids if request else [("x-request-id", self._gateway.next_request_id())]
        return reply

    async def _linger(self) -> None:
        """Close so that the client can still read the answer.

        Closing a socket with unread bytes in it makes the kernel send a reset, which may overtake the
        answer (RFC 9112 section 9.6). So only our side is closed first, and what comes is read away, for a
        short time and up to a bound.
        """
        self._stream.end_sending()
        with trio.move_on_after(LINGER_SECONDS):
            await self._intake.discard_all(LINGER_BYTES)
