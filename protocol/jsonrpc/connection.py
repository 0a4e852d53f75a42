"""A JSON-RPC connection, the same for both roles: each side may ask, and each answers what it is asked.

`receive` takes one message of the peer and returns what it holds; `request`, `notify`, `reply` and `fail` say
something to the peer; `data_to_send` returns what has become ready for it, in order. The driver moves the messages,
and drains after each call: that is all the memory there is, besides the requests in flight.

Guaranteed: each request of the peer is answered once. Those that cannot be read, that repeat an id in flight or
that are too many are answered here, and come out as `Invalid`; a batch is answered in one array, in its own order,
when its last answer is there, and not at all if nothing in it wants one. A response is never answered, not
even a broken one. A response that nobody asked for comes out as `Invalid` with `.response` set; the late answer to
a request that was abandoned is one of those, to be ignored. A `Failure` whose id is null is no answer to a
request but the peer's complaint about a message of ours that it could not read; it comes out as it is.

Not here: batches of requests of our own (encode a `Batch` of notifications where it must be), and what to do when
the transport ends: fail whatever is in `waiting`, stop whatever is in `unanswered`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from ..errors import LocalProtocolError
from ..jsontext import dumps
from .codec import MAX_BATCH, MAX_DEPTH, decode, encode
from .conventions import Cancel, Progress, Style, Token, notification
from .exchanges import Exchanges, Sign
from .messages import (
    INVALID_REQUEST,
    MESSAGES,
    OVERLOADED,
    Batch,
    Failure,
    Id,
    Invalid,
    Notification,
    Params,
    Request,
    Single,
    Success,
    is_id,
)

__all__ = ["Connection"]


class _Answers:
    """The answers to one message of the peer, kept until the last is there."""

    __slots__ = ("_batch", "_open", "_slots")

    def __init__(self, *, batch: bool) -> None:
        self._batch = batch
        self._slots: list[bytes] = []
        self._open = 1  # the message itself is still being read

    def promise(self) -> int:
        """An answer will come: its place."""
        self._open += 1
        self._slots.append(b"")
        return len(self._slots) - 1

    def add(self, answer: bytes) -> None:
        """An answer that is there already."""
        self._slots.append(answer)

    def keep(self, place: int, answer: bytes) -> list[bytes]:
        """A promised answer, or b"" if there will be none; returns the message that is complete now, if any."""
        self._slots[place] = answer
        return self.release()

    def release(self) -> list[bytes]:
        """One thing less to wait for."""
        self._open -= 1
        if self._open:
            return []
        answers = [answer for answer in self._slots if answer]
        # Section 6: "the server MUST NOT return an empty Array and should return nothing at all."
        return [b"[" + b",".join(answers) + b"]"] if self._batch and answers else answers


class _Owed(NamedTuple):
    """An answer that we owe."""

    id: Id
    """As the peer wrote it: the answer repeats `1.0` where the request had it."""
    answers: _Answers
    place: int


class Connection:
    """One connection, seen from either side.

    At most `max_in_flight` requests in each direction wait for their answers: a further one of the peer is answered
    with -32008, a further one of ours is a LocalProtocolError. The default is far above what a client has open,
    and keeps what a hostile one can pile up to about a thousand entries; a server that works on each request
    sets what it can bear. `max_depth` and `max_batch` are those of `decode`. `extensions` are the method names
    beginning with `rpc.` that both sides agreed on; other such names cannot be sent, "reserved for rpc-internal
    methods and extensions" (section 4) as they are.

    Narrower than the 2.0 text, which says nothing of it: a request whose id, null included, is that of one still
    unanswered is refused with -32600, for nobody could tell their answers apart.
    """

    def __init__(
        self,
        *,
        max_in_flight: int = 1024,
        max_depth: int = MAX_DEPTH,
        max_batch: int = MAX_BATCH,
        extensions: Collection[str] = (),
    ) -> None:
        self._max_depth = max_depth
        self._max_batch = max_batch
        self._extensions = frozenset(extensions)
        self._ours = Exchanges(max_in_flight)
        self._theirs = Exchanges(max_in_flight)
        self._owed: dict[Id, _Owed] = {}
        self._last_id = 0
        self._outbox: list[bytes] = []

    @property
    def waiting(self) -> list[Id]:
        """The ids of our requests that have no answer yet, oldest first."""
        return self._ours.ids

    @property
    def unanswered(self) -> list[Id]:
        """The ids of the peer's requests that we have not answered yet, oldest first."""
        return self._theirs.ids

    def data_to_send(self) -> list[bytes]:
        """What is ready for the peer: complete messages, in order, each once."""
        ready, self._outbox = self._outbox, []
        return ready

    # --- what the peer says ---

    def receive(self, message: bytes | str) -> list[Single]:
        """What one message of the peer holds, in order. Never raises for what a peer sent.

        Each `Request` is to be answered once, by `reply` or `fail` (or let go, by `abandon`); each `Success` and
        `Failure` answers a request of ours; an `Invalid` is dealt with already.
        """
        decoded = decode(message, max_depth=self._max_depth, max_batch=self._max_batch)
        batch = isinstance(decoded, Batch)
        answers = _Answers(batch=batch)
        items = decoded.items if isinstance(decoded, Batch) else [decoded]
        found = [self._judge(item, answers) for item in items]
        self._outbox += answers.release()
        return found

    def _judge(self, item: Single, answers: _Answers) -> Single:
        if isinstance(item, Request):
            item = self._admit(item, answers)
        elif isinstance(item, (Success, Failure)):
            item = self._match(item)
        elif isinstance(item, Invalid) and item.response and self._ours.allows(item.id, Sign.ANSWER):
            self._ours.move(item.id, Sign.ANSWER)  # a broken answer is one too: nothing better will come
        if isinstance(item, Invalid) and not item.response:
            answers.add(encode(item))
        return item

    def _admit(self, request: Request, answers: _Answers) -> Request | Invalid:
        if not self._theirs.allows(request.id, Sign.REQUEST):
            return Invalid(INVALID_REQUEST, MESSAGES[INVALID_REQUEST], request.id, "the id is in flight")
        if self._theirs.full:
            return Invalid(OVERLOADED, MESSAGES[OVERLOADED], request.id, "too many requests in flight")
        self._theirs.move(request.id, Sign.REQUEST)
        self._owed[request.id] = _Owed(request.id, answers, answers.promise())
        return request

    def _match(self, response: Success | Failure) -> Success | Failure | Invalid:
        if self._ours.allows(response.id, Sign.ANSWER):
            self._ours.move(response.id, Sign.ANSWER)
            return response
        if isinstance(response, Failure) and response.id is None:
            return response
        return Invalid(
            INVALID_REQUEST, MESSAGES[INVALID_REQUEST], response.id, "nobody asked for this response", response=True
        )

    # --- what we say ---

    def request(self, method: str, params: Params = None) -> int:
        """Ask the peer; returns the id that its answer will have. Ids count from 1 and are never used again.

        Raises LocalProtocolError if too many requests are in flight, or for what cannot be sent, as `encode`.
        """
        if self._ours.full:
            raise LocalProtocolError("too many requests in flight")
        id = self._last_id + 1
        self._call(Request(method, params, id))
        self._last_id = id
        self._ours.move(id, Sign.REQUEST)
        return id

    def notify(self, method: str, params: Params = None) -> None:
        """Tell the peer something that has no answer. Raises LocalProtocolError as `encode`."""
        self._call(Notification(method, params))

    def reply(self, id: Id, result: Any) -> None:
        """Answer a request of the peer. Raises LocalProtocolError if none of this id waits for an answer, or if
        `result` cannot be sent, as `encode`; then the request is still to be answered."""
        owed = self._owed_for(id)
        self._settle(owed, encode(Success(result, owed.id)))

    def reply_json(self, id: Id, result: bytes) -> None:
        """Answer a request of the peer with a result that is JSON already, and is taken as it is. Raises
        LocalProtocolError if none of this id waits for an answer."""
        owed = self._owed_for(id)
        self._settle(owed, b'{"jsonrpc":"2.0","result":%b,"id":%b}' % (result, dumps(owed.id)))

    def fail(self, id: Id, code: int, message: str, data: Any = None) -> None:
        """Answer a request of the peer with an error. Raises as `reply`."""
        owed = self._owed_for(id)
        self._settle(owed, encode(Failure(code, message, data, owed.id)))

    def _call(self, call: Request | Notification) -> None:
        encoded = encode(call)
        if call.method.startswith("rpc.") and call.method not in self._extensions:
            raise LocalProtocolError(f"a reserved method name: {call.method}")
        self._outbox.append(encoded)

    def _owed_for(self, id: Id) -> _Owed:
        if not is_id(id) or not self._theirs.allows(id, Sign.ANSWER):
            raise LocalProtocolError(f"no request of the id {id!r} waits for an answer")
        return self._owed[id]

    def _settle(self, owed: _Owed, answer: bytes) -> None:
        self._theirs.move(owed.id, Sign.ANSWER if answer else Sign.ABANDON)
        del self._owed[owed.id]
        self._outbox += owed.answers.keep(owed.place, answer)

    # --- conventions above the 2.0 text ---

    def cancel(self, id: Id, style: Style = "lsp", reason: str | None = None) -> bool:
        """Ask the peer to stop working on a request of ours; returns False, and says nothing, if it is too late.

        `"lsp"`: the request still has an answer, often with -32800. `"mcp"`: it has none, and is over at once.
        """
        cancellation = notification(Cancel(id, style, reason))
        encoded = encode(cancellation)
        changed = self._ours.move(id, Sign.CANCEL if style == "lsp" else Sign.ABANDON)
        if changed:
            self._outbox.append(encoded)
        return changed

    def abandon(self, id: Id) -> bool:
        """Let go of a request of the peer, which it cancelled as MCP does: it will not be answered.

        Returns False if there is nothing to let go: a cancellation may come too late.
        """
        owed = self._owed.get(id) if is_id(id) else None
        if owed is not None:
            self._settle(owed, b"")
        return owed is not None

    def progress(self, token: Token, value: Any, style: Style = "lsp") -> None:
        """Tell the peer how far a request of its has come; see `Progress`."""
        report = notification(Progress(token, value, style))
        self.notify(report.method, report.params)
