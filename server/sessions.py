"""A request in a session: it waits for its turn, is given what was said before, and what comes of it is kept.

    async with joined(gateway, call, reply, presence) as call: ...     # the call, with the session's messages in it

Requests of one session are served one after the other, in the order in which they came. A turn is kept whole, the
client's messages and the answer, and before the client has the answer's last bytes; or not at all: an answer that
failed, was cut short or had nobody left to take it leaves the session as it was, so that the client can ask again.
That goes for an answer that is read to its end after its client has left (`on_client_gone = "drain"`), too: it is
paid for, but nobody has heard it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, cast

import trio

from ..protocol.chat import Accumulator
from ..protocol.errors import LimitExceeded, RemoteProtocolError
from . import aside, refusal
from .estimate import BYTES_PER_TOKEN
from .http import Refusal
from .session_names import HEADER
from .session_turn import Turn, kept_answer, take_turn
from .store.errors import StoreError
from .witness import Witness

if TYPE_CHECKING:
    from ..protocol.chat import Ending
    from ..providers.catalog import Target
    from .call import Call
    from .exchange import Presence
    from .gateway import Gateway
    from .ledger import Record
    from .reply import Reply
    from .session_memory import MemorySessions
    from .store.session_rows import Recent
    from .store.sessions import Sessions
    from .work import Chat, Reading

__all__ = ["joined", "lost"]

SURELY_FITS = 1024
"""Tokens that fit into every model's window: for fewer no upstream is asked how large its model's is."""

_WINDOWS = ("context_length", "context_window", "max_model_len")


def lost(exc: StoreError) -> Refusal:
    """What is said where sessions or responses cannot be read or written now."""
    if exc.kind == "rejected":
        return refusal.bad_request("The store does not take this.", "invalid_value")
    return refusal.busy("The gateway's store cannot be used now.")


@asynccontextmanager
async def joined(gateway: Gateway, call: Call, reply: Reply, presence: Presence) -> AsyncIterator[Call]:
    """The call as part of its session, which is held meanwhile. Raises Refusal: 409 where the session is in use for
    too long, 503 where it cannot be read."""
    async with AsyncExitStack() as stack:
        seconds = gateway.config.sessions.wait
        with trio.CancelScope(deadline=trio.current_time() + (seconds or math.inf)) as waiting:
            presence.on_gone = waiting.cancel
            if presence.gone:
                waiting.cancel()
            await stack.enter_async_context(gateway.sessions.turn(call.owner, call.session))
        if waiting.cancelled_caught:
            if not presence.gone:
                raise refusal.in_use(f"The session is in use by a request that has taken {seconds:g} s and goes on.")
            yield call  # nobody waits for it: the exchange sees that, and books it
            return
        reply.common.append((HEADER, call.session))
        yield await _join(gateway, call, reply)


async def _join(gateway: Gateway, call: Call, reply: Reply) -> Call:
    from .call import read_members

    work = cast("Chat", call.work)
    dialect, limits = work.door.dialect, gateway.config.limits
    try:
        recent = await gateway.sessions.recent(call.owner, call.session, max_chars=limits.body_bytes // 2)
    except StoreError as exc:
        raise lost(exc) from exc
    try:
        size = len(work.body.body) + (recent.size if recent is not None else 0)
        window = await _window(gateway, call, recent)
        turn = await aside.run(size, take_turn, dialect, work.body, recent, window)
    except RemoteProtocolError as exc:
        raise refusal.from_protocol(exc) from exc
    if turn.changes:
        body = await read_members(work.body.replace(turn.changes), limits.json_depth)
        call = call._replace(work=work.with_body(body))
    keeper = _Keeper(gateway.sessions, call, reply, turn, work.reader(call), new=recent is None)
    # Before what keeps a response: one that says that it was completed belongs to a turn that is kept.
    return call._replace(witnesses=(keeper, *call.witnesses))


async def _window(gateway: Gateway, call: Call, recent: Recent | None) -> int:
    """The smallest window among the models that may be asked; what the configuration says for those unknown."""
    usual = gateway.config.sessions.window_tokens
    before = recent.size // BYTES_PER_TOKEN if recent is not None else 0
    if before + call.work.tokens[0] < SURELY_FITS:
        return usual
    return min([await _window_of(target) or usual for target in call.targets])


async def _window_of(target: Target) -> int | None:
    provider = target.provider
    if not provider.model_list.asked:  # once: what it says of a model hardly ever changes, and it may be slow
        await provider.models()
    known = provider.models_known.get(target.model)
    if known is None:
        return None
    sizes = [known.extras.get(name) for name in _WINDOWS]
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)


class _Keeper(Witness):
    """Reads the answer along, and keeps the turn when it is complete."""

    def __init__(
        self,
        sessions: Sessions | MemorySessions,
        call: Call,
        reply: Reply,
        turn: Turn,
        reader: Reading,
        *,
        new: bool,
    ) -> None:
        self._sessions = sessions
        self._reply = reply
        self._owner, self._name = call.owner, call.session
        self._said = turn.new
        self._reader = reader
        self._whole = Accumulator(call.limits.message_bytes)
        self._new = new
        self._too_large = False

    def saw(self, data: bytes) -> None:
        """See `Witness`."""
        try:
            if not self._too_large:
                self._whole.feed(self._reader.feed(data))
        except LimitExceeded:
            self._too_large = True

    async def settle(self, ending: Ending, record: Record) -> None:
        """See `Witness`."""
        if ending.kind != "completed" or self._reply.muted:
            return
        if not self._too_large:
            self._whole.feed(self._reader.close())
        if self._too_large or self._reader.failed is not None:
            raise refusal.busy("The answer cannot be kept in the session.")
        messages = [*self._said, kept_answer(self._whole.answer())]
        try:
            await self._sessions.append(self._owner, self._name, messages, new=self._new)
        except StoreError as exc:
            if exc.kind != "conflict":  # that is: deleted meanwhile, and whoever did it wanted nothing kept
                raise lost(exc) from exc
