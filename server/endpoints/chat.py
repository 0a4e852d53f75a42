"""The endpoints at which an answer of a model is asked for, in every dialect: one handler, told by its `Door`."""

from __future__ import annotations

from ..call import make_call
from ..doors import Door
from ..serving import Place, serve
from ..visit import Handler, Visit

__all__ = ["at"]


def at(door: Door) -> Handler:
    """The handler of POST at this door."""

    async def ask(visit: Visit) -> None:
        gateway, key = visit.gateway, visit.key
        with Place(gateway):
            call = await make_call(gateway, visit.request, await visit.read_body(), key, door)
            await serve(gateway, key, call, visit.reply, visit.intake)

    return ask
