"""The endpoints at which an answer of a model is asked for, in every dialect: one handler, told by its `Door`."""

from __future__ import annotations

from .. import refusal
from ..call import make_call
from ..doors import Door
from ..exchange import Exchange
from ..visit import Handler, Visit

__all__ = ["at"]


def at(door: Door) -> Handler:
    """The handler of POST at this door."""

    async def ask(visit: Visit) -> None:
        gateway = visit.gateway
        visit.refuse_if_draining()
        if gateway.admitted >= gateway.config.limits.requests:
            raise refusal.busy("The gateway is at its limit of requests in flight.")
        gateway.admitted += 1  # from here on: a body that is being read takes its place too
        try:
            call = await make_call(gateway, visit.request, await visit.read_body(), visit.key, door)
            visit.refuse_if_draining()  # it may have begun while the body came
            exchange = Exchange(gateway, call, visit.reply, visit.intake)
            del call  # the exchange lets go of it when nothing can be asked again
            await exchange.run()
        finally:
            gateway.admitted -= 1

    return ask
