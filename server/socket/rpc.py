"""JSON-RPC 2.0 on one socket: the rules by `protocol.jsonrpc`, the methods by `methods`.

The params are not parsed here: what the rules need to see is the envelope, so they get one that was made anew of its
few members, with empty params, and the endpoint gets the bytes as they came. Only a batch is read whole, and it may
not be large.

Narrower than the 2.0 text: a fractional id is refused, and so is a long one, which each delta would repeat; a null id
or a place in a batch cannot stream; `initialize` cannot stand in a batch, which might try many keys; and a notification
never makes work whose result nobody would see.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ...protocol import jsonrpc
from ...protocol.jsonrpc.messages import is_id
from ...protocol.jsontext import dumps
from .. import refusal
from ..call import read_members
from ..http import Refusal
from . import faults, small
from .asked import Asked
from .faults import invalid_request, unknown_method
from .gathered import Gathered, LastWord, asking_for_usage
from .methods import METHODS
from .voice import RpcVoice

if TYPE_CHECKING:
    from ...protocol.members import Members
    from .methods import Method
    from .socket import Socket

__all__ = ["Rpc"]

BATCH_BYTES = 1 << 20
"""A batch is read in one go, between two turns of the event loop: some ten milliseconds."""

_CANCELS = frozenset({"cancel", "$/cancelRequest", "notifications/cancelled"})

_LONGEST = {"jsonrpc": small.VALUE_BYTES, "method": small.VALUE_BYTES, "id": small.ID_BYTES}
_WRONG = b"true"  # is none of these, nor what stands for params


class _Wanted(NamedTuple):
    """What a request asks for, besides its method. `params` are what the endpoint gets."""

    params: bytes
    streams: bool = False
    token: str | int | None = None
    summary: bool = False
    session: str | None = None


class Rpc:
    """JSON-RPC's side of one socket."""

    def __init__(self, socket: Socket) -> None:
        limits = socket.gateway.config.limits
        self._socket = socket
        self._peer = jsonrpc.Connection(max_depth=limits.json_depth, max_batch=limits.websocket_requests)
        self._asked: dict[Any, Asked] = {}

    async def take(self, message: Members) -> None:
        """Deal with one message that is an object. Raises StreamBroken, ClientStalled."""
        params = message.raw("params")
        await self._judge(_envelope(message), params if params[:1] in (b"{", b"[") else b"{}")

    async def take_batch(self, message: bytes) -> None:
        """Deal with a message that is no object: a batch, or nothing. Raises StreamBroken, ClientStalled."""
        if len(message) > BATCH_BYTES:
            await self._complain(refusal.plain(413, f"A batch has {BATCH_BYTES} bytes at most."))
        else:
            await self._judge(message, None)

    async def take_invalid(self, why: Refusal) -> None:
        """Deal with a message that begins as an object does, and is none. Raises StreamBroken, ClientStalled."""
        code = jsonrpc.INVALID_REQUEST if why.failed.code == "duplicate_key" else jsonrpc.PARSE_ERROR
        await self._socket.wire.say([jsonrpc.encode(jsonrpc.Invalid(code, jsonrpc.MESSAGES[code]))])

    async def _judge(self, envelope: bytes, params: bytes | None) -> None:
        """Let the rules look at it, then serve what is left. `params` is None for a batch, whose items have theirs."""
        items = self._peer.receive(envelope)
        await self._socket.wire.say(self._peer.data_to_send())
        for item in items:
            if isinstance(item, jsonrpc.Request):
                given = dumps(item.params or {}) if params is None else params
                await self._ask(item, given, alone=params is not None)
            elif isinstance(item, jsonrpc.Notification) and item.method in _CANCELS:
                self._cancel_for(item if params is None else item._replace(params=_of_cancel(params)))

    async def _ask(self, item: jsonrpc.Request, params: bytes, *, alone: bool) -> None:
        socket = self._socket
        request = socket.new_request()
        voice = RpcVoice(self._peer, item.id, request.request_id)
        try:
            if isinstance(item.id, float) and not item.id.is_integer():
                raise invalid_request("An id must not be fractional.")
            if not alone:
                _check_place(item)
            method = METHODS.get(item.method)
            if method is None or not method.there(socket):
                raise unknown_method(item.method)
            key = None if method.open else await socket.identify()
            wanted = await self._wanted(method, params)
            if wanted.session is not None:
                request = socket.new_request(wanted.session, request.request_id)
            if wanted.streams:
                if not alone or item.id is None:
                    raise invalid_request("A request without an id, or in a batch, cannot stream.")
                voice = self._streaming(method, item.id, wanted, request.request_id)
            asked = Asked(socket, request, key, wanted.params, voice, self._asked, item.id)
            if method.inline:
                await asked.run(method.run)
            else:
                socket.start(asked, method.run, in_turn=method.stream is not None)
        except Refusal as exc:
            await socket.wire.say(voice.fault(faults.from_refusal(exc)))

    def _streaming(self, method: Method, id: jsonrpc.Id, wanted: _Wanted, request_id: str) -> RpcVoice:
        limits = self._socket.gateway.config.limits
        return RpcVoice(
            self._peer,
            id,
            request_id,
            stream=method.stream,
            gathering=LastWord(limits) if method.dialect == "responses" else Gathered(method.dialect, limits),
            token=wanted.token,
            summary=wanted.summary,
        )

    async def _wanted(self, method: Method, params: bytes) -> _Wanted:
        """Take out of the params what is meant for us. Raises Refusal."""
        if method.stream is None:
            return _Wanted(params)
        body = await read_members(params, self._socket.gateway.config.limits.json_depth)
        meta = small.value(body, "_meta")
        meta = meta if isinstance(meta, dict) else {}
        changes: dict[str, bytes | None] = {"_meta": None} if "_meta" in body else {}
        session = small.value(body, "sessionId")
        if isinstance(session, str):
            changes["sessionId"] = None  # what is none stays, and is refused
        streams = small.value(body, "stream") is True
        if streams and method.dialect != "responses":
            changes |= asking_for_usage(body)
        return _Wanted(
            body.replace(changes) if changes else params,
            streams,
            _token(meta),
            meta.get("final") == "summary",
            session if isinstance(session, str) else None,
        )

    def cancel(self, id: object) -> bool:
        """Stop the request of this id; False if there is none, or it has been answered."""
        return is_id(id) and self._socket.cancel(self._asked.get(id))

    def _cancel_for(self, item: jsonrpc.Notification) -> None:
        params = item.params if isinstance(item.params, dict) else {}
        self.cancel(params.get("id" if item.method == "$/cancelRequest" else "requestId"))

    def status(self, params: dict[str, Any]) -> list[bytes]:
        """The notification that tells of the gateway's state."""
        self._peer.notify("server.status", params)
        return self._peer.data_to_send()

    async def _complain(self, refused: Refusal) -> None:
        """About a message whose ids nobody has read."""
        fault = faults.from_refusal(refused)
        code = fault.code(begun=False)
        failure = jsonrpc.Failure(code, fault.message(code), fault.data(self._socket.new_request().request_id))
        await self._socket.wire.say([jsonrpc.encode(failure)])


def _envelope(message: Members) -> bytes:
    """A message as the rules need to see it: without what is in it, and with something wrong for what is too long."""
    shown = {name: message.raw(name) for name in ("jsonrpc", "method", "id", "params") if name in message}
    for name, longest in _LONGEST.items():
        if len(shown.get(name, b"")) > longest:
            shown[name] = _WRONG
    if "params" in shown:
        shown["params"] = {b"{": b"{}", b"[": b"[]"}.get(shown["params"][:1], _WRONG)
    shown |= {name: b"null" for name in ("result", "error") if name in message}  # we ask nothing: it is never answered
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), raw) for name, raw in shown.items())


def _check_place(item: jsonrpc.Request) -> None:
    """Whether it may stand in a batch. Raises Refusal."""
    if item.method == "initialize":
        raise invalid_request("initialize cannot stand in a batch.")
    if len(dumps(item.id)) > small.ID_BYTES:
        raise invalid_request(f"An id has {small.ID_BYTES} bytes at most.")


def _of_cancel(params: bytes) -> Any:
    return json.loads(params) if len(params) <= small.VALUE_BYTES else None


def _token(meta: dict[str, Any]) -> str | int | None:
    """The progress token. Raises Refusal."""
    token = meta.get("progressToken")
    if not isinstance(token, str | int) or isinstance(token, bool):
        return None
    if len(dumps(token)) > small.ID_BYTES:
        raise invalid_request(f"A progressToken has {small.ID_BYTES} bytes at most.")
    return token
