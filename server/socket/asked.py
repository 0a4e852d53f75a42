"""One request on a socket: a task, from the message that asked to the one answer.

It is to an endpoint what a connection's intake is: it has the body, and says whether the client is there. Here the
client is gone for a request when the socket is, or when the request is cancelled: either way its exchange ends at
once, by the same code as over HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from ...providers.stream import StreamBroken
from .. import refusal
from ..alarm import Alarm
from ..reply import ClientStalled
from ..visit import as_json
from . import small
from .reply import SocketReply

if TYPE_CHECKING:
    from ..access import Key
    from ..http import Request
    from .socket import Socket
    from .voice import Voice

__all__ = ["Asked", "Handler"]

log = logging.getLogger("penstock")

Handler = Callable[["Asked"], Awaitable[object]]
"""Serves one request. What it returns is the result; None where it has answered through `asked.reply`."""

_decode = msgspec.json.Decoder().decode


class Asked:
    """What a handler gets: `params` as JSON, the `request` by which the socket was opened with an id of its own, the
    `key` of whoever asks, and the `reply`. A `Presence`, and the intake of an endpoint. While it runs it stands in
    `table` under its `id`, where cancellations look for it; an id of None is no id.
    """

    __slots__ = (
        *("_id", "_scope", "_table", "after", "alarm", "gone", "key", "on_gone", "over", "params", "reply", "request"),
        "socket",
    )

    def __init__(
        self,
        socket: Socket,
        request: Request,
        key: Key | None,
        params: bytes,
        voice: Voice,
        table: dict[Any, Asked],
        id: object,
    ) -> None:
        self.socket = socket
        self.request = request
        self.key = key
        self.params = params
        self.reply = SocketReply(socket.wire, voice, self.leave)
        self._table = table
        self._id = id
        self.after: trio.Event | None = None
        """What it waits for: the request before it in the same session."""
        self.over = trio.Event()
        self.alarm = Alarm()
        self.gone = False
        self._scope = trio.CancelScope()
        self.on_gone: Callable[[], None] = self._scope.cancel

    def object(self) -> dict[str, Any]:
        """The params, for methods whose params are small. Raises Refusal."""
        if len(self.params) > small.PARAMS_BYTES:
            raise refusal.bad_request(f"The params have more than {small.PARAMS_BYTES} bytes.")
        try:
            value = _decode(self.params)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise refusal.bad_request("The params are not valid JSON.", "invalid_value") from exc
        if not isinstance(value, dict):
            raise refusal.bad_request("The params must be an object.", "not_an_object")
        return value

    async def read_body(self) -> bytes:
        """The params, where an endpoint asks for a body: once, as a stream need not hold what was asked."""
        params, self.params = self.params, b""
        return params

    def discard_body(self) -> bool:
        """There is nothing on its way."""
        return True

    def enter(self) -> None:
        """From now on it can be found by its id."""
        if self._id is not None:
            self._table[self._id] = self

    def leave(self) -> None:
        """Nobody wants the answer any more."""
        if not self.gone:
            self.gone = True
            self.on_gone()

    async def run(self, handler: Handler) -> None:
        """Serve it. Raises nothing."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.alarm.run, trio.sleep_forever)
                try:
                    await self._serve(handler)
                    await self.reply.flush()
                except (StreamBroken, ClientStalled):
                    self.socket.left()
                nursery.cancel_scope.cancel()
        finally:
            self.over.set()
            if self._table.get(self._id) is self:
                del self._table[self._id]
            self.socket.done(self)

    async def _serve(self, handler: Handler) -> None:
        reply = self.reply
        try:
            with self._scope:
                if self.after is not None:
                    await self.after.wait()
                result = await handler(self)
                if result is not None:
                    await reply.send(200, [], as_json(result))
        except (StreamBroken, ClientStalled):
            raise
        except Exception as exc:
            refused = refusal.refusal_for(exc, self.request.request_id)
            await refusal.send(reply, refused.failed, refused.headers)
        if not (reply.answered or self.gone):  # it was broken off, which over HTTP would show as such
            await refusal.send(reply, refusal.internal())
