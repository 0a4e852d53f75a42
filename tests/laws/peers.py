"""JSON-RPC under the laws: a framing and a connection behind it, as one machine, in each of the three framings.

The peer asked two requests before, and answers each request at once, unless its method is empty: so there are
answers that were asked for and such that were not, ids in flight, and batches that are never answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

from laws.law import Broken, tell_twice
from laws.reference import content_length as content_length_reference
from laws.reference import ndjson as ndjson_reference
from laws.reference.jsonrpc import Peer, is_answered, judge
from laws.reference.told import Telling, Told
from laws.streams import rpc, trouble
from laws.subjects import Case, Subject
from penstock.protocol import jsonrpc, ndjson
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.jsonrpc import Batch, Connection, Failure, Invalid, Notification, Request, Success

__all__ = ["SUBJECTS"]

_ASKED = 2
_NAMES = {Request: "request", Notification: "notification", Success: "success", Failure: "failure"}


def _said(message: Any) -> Any:
    """A message in the reference's words."""
    if isinstance(message, Batch):
        return "batch", [_said(item) for item in message.items]
    if isinstance(message, Invalid):
        return "invalid", message.code, message.message, message.id, message.response
    return (_NAMES[type(message)], *message)


class _Answering:
    """A framing (none: each chunk that comes is a message) and a connection; gives what came, and what it sent."""

    def __init__(self, framing: Any, limits: Mapping[str, int]) -> None:
        self._framing = framing
        self._connection = Connection(**limits)
        for _ in range(_ASKED):
            self._connection.request("ask")
        self._connection.data_to_send()

    @property
    def fault(self) -> RemoteProtocolError | None:
        return self._framing.fault  # type: ignore[no-any-return]

    def feed(self, chunk: bytes) -> list[Any]:
        return self._received(self._framing.feed(chunk))

    def close(self) -> list[Any]:
        return self._received(self._framing.close())

    def _nothing(self) -> list[Any]:
        return []

    def _received(self, messages: list[bytes]) -> list[Any]:
        return [(found, sent) for message in messages for found, sent in [self._one(message)]]

    def _one(self, message: bytes) -> tuple[list[Any], list[Any]]:
        found = self._connection.receive(message)
        for item in found:
            if isinstance(item, Request) and is_answered(item.method):
                self._connection.reply(item.id, item.method)
        return [_said(item) for item in found], [json.loads(sent) for sent in self._connection.data_to_send()]

    @property
    def state(self) -> tuple[Any, ...]:
        return self._connection.waiting, self._connection.unanswered


def _limits(choose: Random) -> dict[str, int]:
    return {"max_in_flight": choose.choice([2, 3, 1024]), "max_depth": choose.choice([2, 3, 128]), "max_batch": 3}


def _case(choose: Random, data: bytes) -> Case:
    return Case(data, {"limits": _limits(choose)})


def _lines(choose: Random) -> Case:
    ends = (b"\n", b"\n", b"\r\n", b"\n\n")
    data = b"".join([rpc.batch(choose) + trouble.one(choose, ends) for _ in range(1 + int(choose.random() * 4))])
    return _case(choose, data)


def _conversation(framed: Told, limits: Mapping[str, int]) -> Told:
    """What a conversation comes to, whose messages the framing's reference found."""
    peer = Peer(_ASKED, **limits)
    results = [peer.receive(message) for message in framed.results]
    return framed._replace(results=results, state=(peer.waiting, peer.unanswered))


class _Whole:
    """The framing of WebSockets, where the transport keeps messages whole: all that came is one."""

    fault = None

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._closed = False

    def feed(self, chunk: bytes) -> list[bytes]:
        if self._closed:
            raise jsonrpc.connection.LocalProtocolError("feed after close")
        self._parts.append(chunk)
        return []

    def close(self) -> list[bytes]:
        closed, self._closed = self._closed, True
        return [] if closed else [b"".join(self._parts)]


def _message_told(data: bytes, limits: Mapping[str, int]) -> Told:
    telling = Telling([])
    telling.add(len(data) + 1, [data])
    return _conversation(telling.told(len(data)), limits)


def _judged(case: Case, told: Told) -> None:
    """A message alone, as bytes and as text; and what can be encoded is the same when it is read again."""
    limits = case.options["limits"]
    expected = judge(case.data, limits["max_depth"], limits["max_batch"])
    decode = {"max_depth": limits["max_depth"], "max_batch": limits["max_batch"]}
    found = jsonrpc.decode(case.data, **decode)
    if repr(_said(found)) != repr(expected):
        raise Broken(_judged.__doc__ or "", expected, found)
    text = case.data.decode("utf-8", "surrogateescape")
    if jsonrpc.decode(text, **decode) != found:
        raise Broken(_judged.__doc__ or "", found, jsonrpc.decode(text, **decode))
    if not isinstance(found, Invalid | Batch):
        tell_twice(jsonrpc.encode, lambda data: jsonrpc.decode(data, max_depth=200), found)


SUBJECTS = [
    Subject(
        "jsonrpc-lines",
        _lines,
        lambda limits: _Answering(ndjson.Lines(), limits),
        lambda data, limits: _conversation(ndjson_reference.lines(data, 1 << 24), limits),
        state=lambda machine: machine.state,
    ),
    Subject(
        "jsonrpc-content-length",
        lambda choose: _case(choose, rpc.content_length(choose)),
        lambda limits: _Answering(jsonrpc.ContentLengthDecoder(), limits),
        lambda data, limits: _conversation(content_length_reference.decode(data, 4096, 1 << 24), limits),
        state=lambda machine: machine.state,
    ),
    Subject(
        "jsonrpc-message",
        lambda choose: _case(choose, rpc.batch(choose)),
        lambda limits: _Answering(_Whole(), limits),
        _message_told,
        state=lambda machine: machine.state,
        also=_judged,
    ),
]
