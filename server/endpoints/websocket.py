"""Where a WebSocket is opened: the handshake, and then the connection is a socket's until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import refusal
from ..serving import refuse_if_draining
from ..visit import Handler, Visit

if TYPE_CHECKING:
    from ..socket.socket import Find

__all__ = ["at"]


def at(find: Find) -> Handler:
    """The handler of GET; `find` knows the endpoints to which messages lead."""

    async def open_socket(visit: Visit) -> None:
        from ..socket.socket import Socket  # with wsproto: only for who opens one
        from ..socket.upgrade import shake_hands
        from ..socket.wire import Wire

        gateway, request, intake = visit.gateway, visit.request, visit.intake
        handshake = shake_hands(gateway, request)
        if not intake.discard_body():
            raise refusal.bad_request("A request for a WebSocket has no body.", "bad_handshake")
        refuse_if_draining(gateway)
        if handshake.shown:
            await gateway.gate.require(handshake.shown, request.header("origin"))
        wire = Wire(
            await visit.reply.switch(handshake.headers),
            intake.take,
            limit=gateway.config.limits.websocket_message_bytes,
            write_timeout=gateway.timeouts.write,
            compressed=handshake.compressed,
        )
        await Socket(gateway, request, intake, wire, find, handshake.shown).run()

    return open_socket
