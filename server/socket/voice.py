"""How one request is answered on a socket: the words, without sending them.

A `Voice` turns what an endpoint says in HTTP (a body, the frames of a stream, an error) into messages. It is told
each thing once, and never more after an answer; `SocketReply` sees to that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from ...protocol import jsonrpc
from ...protocol.chat import Failed
from ...protocol.jsontext import dumps
from . import faults
from .gathered import Gathering, payloads

if TYPE_CHECKING:
    from .faults import Fault

__all__ = ["RpcVoice", "Stream", "Voice"]

_DONE = b"[DONE]"
_ERROR = b'{"error":'
_ONLY_USAGE = (b'"choices":[]', b'"usage":{')  # within a text their quotes would be escaped


class Voice(ABC):
    """One request's words. Each method returns whole messages."""

    @abstractmethod
    def deltas(self, data: bytes) -> list[bytes]:
        """Frames of a stream. Raises LimitExceeded."""

    @abstractmethod
    def finish(self, data: bytes) -> list[bytes]:
        """The last frames of a stream, and the answer. Raises LimitExceeded."""

    @abstractmethod
    def whole(self, body: bytes) -> list[bytes]:
        """The answer to what does not stream: a body of JSON."""

    @abstractmethod
    def fault(self, fault: Fault, *, begun: bool = False) -> list[bytes]:
        """An error is the answer; `begun`: deltas may have been sent."""

    @abstractmethod
    def cancelled(self) -> list[bytes]:
        """The client wanted no more of it."""


class Stream(NamedTuple):
    """How a method streams: the notification, and the member of its params that holds what came."""

    notification: str
    member: str


class RpcVoice(Voice):
    """JSON-RPC 2.0. A delta is one splice: nothing of it is parsed."""

    __slots__ = ("_before", "_gathering", "_id", "_member", "_peer", "_request_id", "_seq", "_summary")

    def __init__(
        self,
        peer: jsonrpc.Connection,
        id: jsonrpc.Id,
        request_id: str,
        *,
        stream: Stream | None = None,
        gathering: Gathering | None = None,
        token: str | int | None = None,
        summary: bool = False,
    ) -> None:
        self._peer = peer
        self._id = id
        self._request_id = request_id
        self._gathering = gathering
        self._summary = summary
        self._seq = 0
        self._before = self._member = b""
        if stream is not None:
            params = {"requestId": id} | ({"progressToken": token} if token is not None else {})
            head = dumps({"jsonrpc": "2.0", "method": stream.notification, "params": params})
            self._before = head.removesuffix(b"}}") + b',"seq":'
            self._member = b',"%b":' % stream.member.encode()

    def deltas(self, data: bytes) -> list[bytes]:
        """One notification for each frame."""
        assert self._gathering is not None  # whoever streams has one
        self._gathering.keep(data)
        return [self._notification(payload) for payload in payloads(data)]

    def _notification(self, payload: bytes) -> bytes:
        seq, self._seq = self._seq, self._seq + 1
        return b"%b%d%b%b}}" % (self._before, seq, self._member, payload)

    def finish(self, data: bytes) -> list[bytes]:
        """The last notifications, then the response: no end marker, no error and no usage on their own."""
        gathering = self._gathering
        assert gathering is not None
        gathering.keep(data)
        result = gathering.result(summary=self._summary)
        failed = isinstance(result, Failed)
        messages = [
            self._notification(payload)
            for payload in payloads(data)
            if payload != _DONE and not _says_only_usage(payload) and not (failed and payload.startswith(_ERROR))
        ]
        if isinstance(result, Failed):
            return messages + self.fault(faults.from_failed(result), begun=True)
        return messages + self.whole(result)

    def whole(self, body: bytes) -> list[bytes]:
        """The result is the body as it is."""
        self._peer.reply_json(self._id, body)
        return self._peer.data_to_send()

    def fault(self, fault: Fault, *, begun: bool = False) -> list[bytes]:
        """An error, with what HTTP would have said and what there is of the answer."""
        code = fault.code(begun=begun)
        data = fault.data(self._request_id) | (self._gathering.so_far() if begun and self._gathering else {})
        self._peer.fail(self._id, code, fault.message(code), data)
        return self._peer.data_to_send()

    def cancelled(self) -> list[bytes]:
        """LSP's way: the request is answered all the same."""
        code = jsonrpc.REQUEST_CANCELLED
        data = {"request_id": self._request_id} | (self._gathering.so_far() if self._gathering else {})
        self._peer.fail(self._id, code, jsonrpc.MESSAGES[code], data)
        return self._peer.data_to_send()


def _says_only_usage(payload: bytes) -> bool:
    return all(words in payload for words in _ONLY_USAGE)
