"""The plain form: `{"type": "chat", "prompt": "Hi"}`, for pages and scripts that want no more than text.

    chat        -> delta ..., chat        ask a model
    history     -> history                what a session remembers
    cancel                                stop the request of that id
    ping        -> pong

An `id` of the client's choice comes back in everything that answers the message; anything that goes wrong is an
`error`. docs/websocket.md has the members.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...protocol.chat import Accumulator, Failed, Reasoning, Text
from ...protocol.dialects import DIALECTS
from ...protocol.jsontext import dumps
from .. import aside, refusal
from ..http import Refusal
from ..simple import DEFAULT_MODEL, as_chat
from . import faults, small
from .asked import Asked
from .faults import Fault
from .gathered import asking_for_usage, decoder_of
from .methods import METHODS, endpoint
from .voice import Voice

if TYPE_CHECKING:
    from ...protocol.members import Members
    from ..config import Limits
    from .asked import Handler
    from .socket import Socket

__all__ = ["Plain"]

_OURS = ("type", "id", "prompt", "message", "context")
"""Members of a chat that are not members of the request made of it."""
_HISTORY = {"session_id": "sessionId", "limit": "limit", "cursor": "cursor"}


class PlainVoice(Voice):
    """Answers in the plain form. Text is what is wanted here, so that each delta is read."""

    def __init__(self, kind: object, id: object, request_id: str, limits: Limits) -> None:
        self._kind = kind
        self._common: dict[str, Any] = {} if id is None else {"id": id}
        self._request_id = request_id
        self._decoder = decoder_of("openai", limits)
        self._sum = Accumulator(limits.message_bytes)

    def deltas(self, data: bytes) -> list[bytes]:
        """One message for each piece of text; tool calls come whole, at the end."""
        events = self._decoder.feed(data)
        self._sum.feed(events)
        return [self._delta(event) for event in events if isinstance(event, Text | Reasoning) and event.text]

    def _delta(self, event: Text | Reasoning) -> bytes:
        member = "text" if isinstance(event, Text) else "reasoning"
        return self._message("delta", {member: event.text} | ({"index": event.choice} if event.choice else {}))

    def finish(self, data: bytes) -> list[bytes]:
        """The rest, and then all of it once more."""
        messages = self.deltas(data)
        failed: Failed | None = self._decoder.failed
        if failed is not None:
            return messages + self.fault(faults.from_failed(failed), begun=True)
        return messages + self.whole(DIALECTS["openai"].encode_response(self._sum.answer()))

    def whole(self, body: bytes) -> list[bytes]:
        """The answer: of a chat its first choice, else what there is."""
        value = json.loads(body)
        kind = str(self._kind)
        return [self._message(kind, _said(value) if kind == "chat" else value)]

    def fault(self, fault: Fault, *, begun: bool = False) -> list[bytes]:
        """An error, with what there is of the answer."""
        text = self._so_far() if begun else ""
        value = {"error": fault.error, "status": fault.status, "request_id": self._request_id}
        value |= {"retry_after_ms": fault.retry_after_ms} if fault.retry_after_ms is not None else {}
        return [self._message("error", value | ({"text": text} if text else {}))]

    def cancelled(self) -> list[bytes]:
        """The end of a request that the client has cancelled."""
        error = {"message": "Request cancelled", "type": "cancelled", "param": None, "code": "cancelled"}
        return self.fault(Fault(499, error), begun=True)

    def _so_far(self) -> str:
        return "".join(choice.text for choice in self._sum.answer().choices[:1])

    def _message(self, kind: str, value: dict[str, Any]) -> bytes:
        return dumps({"type": kind, **self._common, **value})


def _said(answer: dict[str, Any]) -> dict[str, Any]:
    """What a chat's answer comes to."""
    choice = answer["choices"][0]
    message = choice["message"]
    value = {"text": message.get("content") or message.get("refusal") or "", "done": True}
    for name in ("tool_calls", "reasoning_content"):
        if message.get(name):
            value[name.removesuffix("_content")] = message[name]
    value |= {"finish_reason": choice["finish_reason"], "model": answer["model"]}
    return value | ({"usage": answer["usage"]} if answer.get("usage") else {})


class Plain:
    """This form's side of one socket."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._asked: dict[Any, Asked] = {}

    async def take(self, message: Members) -> None:
        """Deal with one message. Raises StreamBroken, ClientStalled."""
        socket = self._socket
        request = socket.new_request()
        voice = PlainVoice("error", None, request.request_id, socket.gateway.config.limits)
        try:
            id, kind, session = _id_of(message), small.value(message, "type"), small.value(message, "session_id")
            voice = PlainVoice(kind, id, request.request_id, socket.gateway.config.limits)
            if isinstance(session, str):
                request = socket.new_request(session, request.request_id)
            key = await socket.identify()
            if kind == "ping":
                await socket.wire.say([dumps({"type": "pong"} | ({} if id is None else {"id": id}))])
            elif kind == "cancel":
                socket.cancel(self._asked.get(id))
            else:
                if id in self._asked:
                    raise refusal.bad_request("The id is that of a request under way.", "invalid_value", "id")
                params, handler = await _asked_for(socket, kind, message)
                asked = Asked(socket, request, key, params, voice, self._asked, id)
                socket.start(asked, handler, in_turn=kind == "chat")
        except Refusal as exc:
            await socket.wire.say(voice.fault(faults.from_refusal(exc)))


def _id_of(message: Members) -> str | int | None:
    """The id, None where there is none that counts. Raises Refusal."""
    if len(message.raw("id")) > small.ID_BYTES:
        raise refusal.bad_request(f"An id has {small.ID_BYTES} bytes at most.", "invalid_value", "id")
    id = message.value("id")
    return id if isinstance(id, str | int) and not isinstance(id, bool) else None


async def _asked_for(socket: Socket, kind: object, message: Members) -> tuple[bytes, Handler]:
    """The params and the handler. Raises Refusal."""
    if kind == "chat":
        return await _chat(socket, message), endpoint("POST", "/chat/completions")
    history = METHODS.get("sessions.history")
    if kind == "history":
        if history is None or not history.there(socket):
            raise refusal.plain(501, "Sessions are not kept here.")
        return dumps({_HISTORY[name]: small.value(message, name) for name in _HISTORY if name in message}), history.run
    raise refusal.bad_request("'type' must be one of chat, history, cancel, ping.", "invalid_value", "type")


async def _chat(socket: Socket, message: Members) -> bytes:
    """The request that a chat comes to: what is not of this form goes along as it is. Raises Refusal."""
    changes: dict[str, bytes | None] = {name: None for name in _OURS if name in message}
    if isinstance(small.value(message, "session_id"), str):
        changes["session_id"] = None  # what is none stays, and is refused
    if "messages" not in message:
        changes["messages"] = await aside.run(len(message.body), _messages, message)
    if "stream" not in message:
        changes["stream"] = b"true"
    if small.value(message, "stream", True) is True:
        changes |= asking_for_usage(message)
    if not small.value(message, "model") and DEFAULT_MODEL in socket.gateway.config.aliases:
        changes["model"] = dumps(DEFAULT_MODEL)
    return message.replace(changes)


def _messages(message: Members) -> bytes:
    """What a prompt and its context come to. Raises Refusal."""
    name = "message" if "message" in message else "prompt"
    prompt = message.value(name) if message.raw(name)[:1] == b'"' else None  # all else is refused, parsed or not
    return dumps(as_chat({name: prompt, "context": message.value("context")}, name)["messages"])
