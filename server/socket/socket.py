"""One open socket: who asks, how many requests at once, for how long, and how it ends.

    reader      takes messages one by one, and starts a task for each request
    requests    each in a task of its own; all of them leave when the socket does
    heartbeat   pings, and ends the socket when nothing is heard any more

What ends a socket, and the code that it is closed with: the client (its own code); a broken rule (1002, 1003, 1007,
1009); no key in time, or a wrong one (1008); silence (1011, and whoever is gone will not read it); a bug of ours
(1011); and the gateway's going down (1001), which is announced, and comes when the last request is answered.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from ...protocol.jsontext import dumps
from ...providers.stream import StreamBroken
from .. import refusal
from ..call import read_members
from ..http import Refusal
from ..reply import ClientStalled
from . import faults, small
from .plain import Plain
from .rpc import Rpc
from .upgrade import bearer
from .wire import GOING_AWAY, INTERNAL, POLICY, Closing

if TYPE_CHECKING:
    from ..access import Key
    from ..gateway import Gateway
    from ..http import Request
    from ..intake import Intake
    from ..visit import Handler as Endpoint
    from .asked import Asked, Handler
    from .wire import Wire

__all__ = ["Find", "Socket"]

log = logging.getLogger("penstock")

MISSED_PONGS = 2
"""One may be lost to a slow moment. Silence is noticed within three times `timeouts.websocket_ping`."""

Find = Callable[[str, str], "Endpoint | None"]
"""The endpoint of a method and a path."""

_NEVER = float("inf")
_OBJECT = re.compile(rb"[ \t\r\n]*+\{")


class Socket:
    """One socket, from the handshake's end to its own. `shown` is what was shown as a key, as headers."""

    def __init__(
        self, gateway: Gateway, request: Request, intake: Intake, wire: Wire, handler: Find, shown: dict[str, str]
    ) -> None:
        self.gateway = gateway
        self.wire = wire
        self.handler = handler
        self.asked: set[Asked] = set()
        """The requests under way."""
        self._latest: dict[str, trio.Event] = {}  # of each session, the end of the request that came last
        self.rpc = Rpc(self)
        self._plain = Plain(self)
        self._speaks_plainly = False
        self._request = request
        self._intake = intake
        self._shown = shown
        self._closing: tuple[int, str] | None = None
        self._gone = False
        self._owed = 0  # answers to requests that were cancelled
        self._draining = False
        self._taking = False  # a message, of which more requests may come
        self._patience = trio.CancelScope()
        self._life: trio.Nursery
        self._requests: trio.Nursery

    async def run(self) -> None:
        """Serve it to its end. Raises nothing that is not a cancellation."""
        try:
            async with trio.open_nursery() as self._requests:
                async with trio.open_nursery() as self._life:
                    self.gateway.sockets.add(self)
                    self._intake.on_gone = self.left
                    if self._intake.gone:
                        self.left()
                    if self.gateway.draining:  # since the handshake
                        self.drain()
                    self._life.start_soon(self._beat)
                    await self._read()
                    self._life.cancel_scope.cancel()
                for asked in list(self.asked):
                    asked.leave()
                if self._closing is not None and not self._gone:
                    await self.wire.close(*self._closing)
                self.wire.stream.end_sending()  # now, though some work may go on, for the usage
                self.gateway.sockets.discard(self)
        finally:
            self.gateway.sockets.discard(self)

    def end(self, code: int, reason: str) -> None:
        """Close the socket with this code, unless it is being closed already."""
        self._closing = self._closing or (code, reason)
        self._life.cancel_scope.cancel()

    def left(self) -> None:
        """The client has gone, or takes nothing any more: whatever it asked for ends now."""
        self._gone = True
        self._life.cancel_scope.cancel()
        for asked in list(self.asked):
            asked.leave()

    # -- what comes ------------------------------------------------------------------------------------

    async def _read(self) -> None:
        timeouts = self.gateway.config.timeouts
        try:
            with self._patience:
                if not self._shown and self.gateway.gate.demands_keys:
                    self.wire.limit = min(small.UNSHOWN_BYTES, self._most)
                    if timeouts.websocket_initialize:
                        self._patience.deadline = trio.current_time() + timeouts.websocket_initialize
                while self._closing is None:
                    await self._take(await self.wire.receive())
            if self._patience.cancelled_caught:
                self.end(POLICY, "No key was shown in time.")
        except Closing as closing:
            self.end(closing.code, closing.reason)
        except (StreamBroken, ClientStalled):
            self.left()
        except Exception:
            log.exception("bug on a WebSocket, opened by %s", self._request.request_id)
            self.end(INTERNAL, "The gateway failed to handle this message.")

    async def _take(self, message: bytes) -> None:
        """Deal with one message, by what it is: the plain form has a `type`, all else is JSON-RPC."""
        await trio.lowlevel.checkpoint()  # many messages in one piece are not to keep others waiting
        self._taking = True
        try:
            await self._take_form(message)
        finally:
            self._taking = False
        self._end_if_drained()

    async def _take_form(self, message: bytes) -> None:
        if not _OBJECT.match(message):
            await self.rpc.take_batch(message)
            return
        try:
            body = await read_members(message, self.gateway.config.limits.json_depth)
        except Refusal as exc:
            await self.rpc.take_invalid(exc)
            return
        self._speaks_plainly = "type" in body and "jsonrpc" not in body
        await (self._plain.take(body) if self._speaks_plainly else self.rpc.take(body))

    @property
    def _most(self) -> int:
        return self.gateway.config.limits.websocket_message_bytes

    # -- who asks --------------------------------------------------------------------------------------

    def new_request(self, session: str | None = None, request_id: str = "") -> Request:
        """The request that opened the socket, as one for a message: with its own id, and perhaps a session."""
        # A silence is filled by pings here; a filler would commit to an answer too early.
        timeouts = self._request.header("x-penstock-timeouts")
        changes = {"x-penstock-timeouts": f"{timeouts}, keepalive=0" if timeouts else "keepalive=0"}
        if session is not None:
            changes["x-session-id"] = session
        return self._request.again(request_id or self.gateway.next_request_id(), changes)

    async def identify(self) -> Key | None:
        """Whose key was shown: asked for each message, since a key may be revoked meanwhile. Raises Refusal."""
        gate = self.gateway.gate
        if not gate.demands_keys:
            return None
        if not self._shown:
            raise faults.not_initialised()
        key = await gate.identify(self._shown)
        if key is None:
            raise refusal.unauthenticated()
        if not gate.admits(key, self._request.header("origin")):
            raise refusal.forbidden("This key may not be used from this Origin.")
        return key

    async def may_go_on(self) -> bool:
        """Whether no key is needed, or a good one was shown."""
        try:
            await self.identify()
        except Refusal:
            return False
        return True

    async def authenticate(self, token: str) -> None:
        """Take this key from here on. A wrong one ends the socket, so that guessing costs a connection each. Raises
        Refusal."""
        shown = bearer(token)
        if self.gateway.gate.demands_keys and await self.gateway.gate.identify(shown) is None:
            self._closing = (POLICY, "The key is wrong.")  # after the answer
            raise refusal.unauthenticated()
        self._shown = shown
        self._patience.deadline = _NEVER
        self.wire.limit = self._most

    # -- requests --------------------------------------------------------------------------------------

    def start(self, asked: Asked, handler: Handler, *, in_turn: bool = False) -> None:
        """Serve a request in a task of its own. `in_turn`: those of one session are served in the order in which they
        came. Raises Refusal where there are too many."""
        if len(self.asked) >= self.gateway.config.limits.websocket_requests:
            raise refusal.busy("Too many requests at once on this WebSocket.")
        self.asked.add(asked)
        asked.enter()
        session = asked.request.header("x-session-id") if in_turn else None
        if session is not None:
            asked.after, self._latest[session] = self._latest.get(session), asked.over
        self._requests.start_soon(asked.run, handler)

    def cancel(self, asked: Asked | None) -> bool:
        """Stop a request and answer it; False if there is nothing to stop."""
        if asked is None or not asked.reply.claim():
            return False
        asked.leave()
        for exchange in self.gateway.exchanges:
            if exchange.request_id == asked.request.request_id:
                exchange.cancel()  # whatever is done for those who merely left: this one has said so
        self._owed += 1
        self._requests.start_soon(self._answer_cancelled, asked)
        return True

    async def _answer_cancelled(self, asked: Asked) -> None:
        try:
            await asked.reply.cancel()
        except (StreamBroken, ClientStalled):
            self.left()
        finally:
            self._owed -= 1
            self._end_if_drained()

    def done(self, asked: Asked) -> None:
        """A request is over."""
        self.asked.discard(asked)
        self._latest = {session: over for session, over in self._latest.items() if not over.is_set()}
        self._end_if_drained()

    # -- how long --------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Ask for a sign of life now and then. Anything that comes is one, also what nobody has read yet."""
        wire, interval, missed = self.wire, self.gateway.config.timeouts.websocket_ping or _NEVER, -1
        try:
            while missed < MISSED_PONGS:
                wire.heard = False
                if missed >= 0:
                    await wire.ping()
                await trio.sleep(interval)
                missed = 0 if wire.heard or self._intake.unread else missed + 1
        except (StreamBroken, ClientStalled):
            self.left()
        else:
            self.end(INTERNAL, "Nothing was heard of the client.")

    def drain(self) -> None:
        """The gateway is going down: say so, finish what is under way, and close."""
        self._draining = True
        self._requests.start_soon(self._say_draining)

    async def _say_draining(self) -> None:
        params = {"state": "draining", "closeInMs": round(self.gateway.config.timeouts.drain * 1000)}
        plainly = [dumps({"type": "status", **params})]
        try:
            await self.wire.say(plainly if self._speaks_plainly else self.rpc.status(params))
        except (StreamBroken, ClientStalled):
            self.left()
        self._end_if_drained()

    def _end_if_drained(self) -> None:
        if self._draining and not self.asked and not self._owed and not self._taking:
            self.end(GOING_AWAY, "The gateway is shutting down.")
