"""Ollama's `/api/chat` and `/api/generate`: like every door, but for what asks for no answer.

A request without messages, or with an empty prompt, wants the model put into memory or, with a `keep_alive` of 0, taken
out of it. An upstream of Ollama's kind does that; for others there is nothing to do, and it is answered at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ...protocol.dialects import ollama, ollama_generate
from ...protocol.errors import RemoteProtocolError
from ...protocol.members import Members
from .. import refusal
from ..call import call_for, call_of, model_of, read_members
from ..doors import Door
from ..http import Refusal
from ..serving import Place, serve
from ..visit import JSON, Handler, Visit
from ..work import Chat

__all__ = ["at", "in_its_words"]

_EMPTY = {"messages": re.compile(rb"null|\[[ \t\r\n]*\]"), "prompt": re.compile(rb'null|""')}
_MODULES = {"ollama": ollama, "ollama_generate": ollama_generate}
_UNKNOWN = re.compile(r"The model '(.*)' does not exist", re.DOTALL)


@contextmanager
def in_its_words() -> Iterator[None]:
    """An unknown model is refused in the words that Ollama has for it: there are clients that look for them."""
    try:
        yield
    except Refusal as exc:
        said = _UNKNOWN.fullmatch(exc.failed.message)
        if said is None:
            raise
        raise Refusal(exc.failed._replace(message=f"model '{said[1]}' not found"), exc.headers) from exc


def at(door: Door) -> Handler:
    """The handler of POST at this door."""

    async def ask(visit: Visit) -> None:
        gateway, key = visit.gateway, visit.key
        with Place(gateway), in_its_words():
            body = await read_members(await visit.read_body(), gateway.config.limits.json_depth)
            if door.needs not in body or body.looks(door.needs, _EMPTY[door.needs]):
                await _load(visit, body, door)
                return
            call = await call_of(gateway, visit.request, body, key, door)
            await serve(gateway, key, call, visit.reply, visit.intake)

    return ask


async def _load(visit: Visit, body: Members, door: Door) -> None:
    """Have the model loaded or unloaded where that means something. Raises Refusal."""
    gateway, key = visit.gateway, visit.key
    encoding = door.encoding(body)
    work = Chat(door, body, stream=False, include_usage=True, encoding=encoding)
    call = await call_for(gateway, visit.request, key, model_of(body), work)
    own = [target for target in call.targets if target.provider.dialect == "ollama"]
    if own:
        await serve(gateway, key, call._replace(targets=own, session=""), visit.reply, visit.intake)
        return
    dialect = _MODULES[door.dialect]
    try:
        request = dialect.decode_request(body.body)
    except RemoteProtocolError as exc:
        raise refusal.from_protocol(exc) from exc
    reason = dialect.load_reason(request) or "load"
    loaded = dialect.encode_load(request, reason, created_at=encoding["times"].stamp())
    await visit.reply.send(200, [JSON], loaded)
