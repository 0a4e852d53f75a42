"""How a call is served, by whatever door it came: HTTP's endpoints and the WebSocket both end here.

Places are taken before the upstream is asked and given back on every path: one of `limits.requests` while a request
is read and served. A body that is long in coming holds a place of its key's as well (`expecting`), so that nobody's
uploads take more than their own. What a key may spend, and what a session remembers, joins the call here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from . import refusal
from .exchange import Exchange
from .sessions import joined
from .stored_responses import remembered

if TYPE_CHECKING:
    from .access import Key
    from .call import Call
    from .exchange import Presence
    from .gateway import Gateway
    from .key_limits import Admitted
    from .reply import Reply
    from .store.key_rows import Terms
    from .witness import Witness

__all__ = ["Place", "expecting", "refuse_if_draining", "serve"]


def refuse_if_draining(gateway: Gateway) -> None:
    """Raise Refusal (503) where no new work is taken."""
    if gateway.draining:
        raise refusal.busy("The gateway is shutting down.")


class Place:
    """One of the requests that may be in flight, from before its body is read: `with Place(gateway): ...`.

    Raises Refusal (503) where there is none left, or where the gateway is shutting down.
    """

    __slots__ = ("_gateway",)

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def __enter__(self) -> None:
        refuse_if_draining(self._gateway)
        if self._gateway.admitted >= self._gateway.config.limits.requests:
            raise refusal.busy("The gateway is at its limit of requests in flight.")
        self._gateway.admitted += 1

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._gateway.admitted -= 1


def expecting(gateway: Gateway, key: Key | None) -> AbstractContextManager[Admitted | None]:
    """The key's place for a request whose body is still to come: `with expecting(gateway, key) as expected: ...`.

    Whoever serves the request ends it right before. Raises Refusal (429, 503).
    """
    accounts, terms = gateway.accounts, _terms(key)
    if accounts is None or terms is None:
        return nullcontext()
    accounts.refuse()
    return accounts.admit(gateway.gate.owner(key), terms, 0)


def _terms(key: Key | None) -> Terms | None:
    return getattr(key, "terms", None)  # a key of the store has some


async def serve(gateway: Gateway, key: Key | None, call: Call, reply: Reply, presence: Presence) -> None:
    """Serve `call` to its end on `reply`. Raises Refusal for what is refused before an upstream was asked.

    The key's own limits come first: whoever has reached them waits for nothing, and holds no place of others.
    """
    refuse_if_draining(gateway)  # it may have begun while the body came
    accounts = gateway.accounts
    if accounts is not None:
        accounts.refuse()
    terms = _terms(key)
    if accounts is None or terms is None:
        await _serve_remembering(gateway, call, reply, presence, None)
        return
    with accounts.admit(call.owner, terms, sum(call.work.tokens)) as admitted:
        reply.common += admitted.headers
        await _serve_remembering(gateway, call, reply, presence, partial(accounts.settling, terms, admitted, presence))


Settling = Callable[["Call"], Awaitable["Witness"]]


async def _serve_remembering(
    gateway: Gateway, call: Call, reply: Reply, presence: Presence, settling: Settling | None
) -> None:
    """With what was said before, where the call belongs to a conversation."""
    if call.work.endpoint == "responses":
        call = await remembered(gateway, call)
    if not call.session:
        await _serve_within_budget(gateway, call, reply, presence, settling)
        return
    async with joined(gateway, call, reply, presence) as call:
        refuse_if_draining(gateway)  # or while it waited for its turn
        await _serve_within_budget(gateway, call, reply, presence, settling)


async def _serve_within_budget(
    gateway: Gateway, call: Call, reply: Reply, presence: Presence, settling: Settling | None
) -> None:
    """Reserved now that it is known how long the prompt is, and settled before anything else is kept."""
    if settling is not None:
        call = call._replace(witnesses=(await settling(call), *call.witnesses))
    await Exchange(gateway, call, reply, presence).run()
