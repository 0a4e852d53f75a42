"""The older, simple forms of a chat: `POST /v1/chat` with a `prompt`, `POST /api/v1/chat/` with a `message`.

Each is read into an ordinary chat and served as one; `simple` has the shapes. Errors are OpenAI's objects.
"""

from __future__ import annotations

import json

from ...providers.catalog import UnknownModel
from .. import aside, refusal
from ..call import call_for, read_members
from ..serving import Place, serve
from ..simple import DEFAULT_MODEL, Simple, as_chat
from ..visit import Handler, Visit, as_object

__all__ = ["at"]


def at(name: str) -> Handler:
    """The handler of POST for the form whose prompt is the member `name`."""

    async def ask(visit: Visit) -> None:
        gateway, key = visit.gateway, visit.key
        with Place(gateway):
            raw = await visit.read_body()
            said = await as_object(raw)
            chat = as_chat(said, name)
            stream = said.get("stream") or False
            if not isinstance(stream, bool):
                raise refusal.bad_request("'stream' must be true or false.", "invalid_value", "stream")
            model = chat["model"]
            if not isinstance(model, str):
                raise refusal.bad_request("'model' must be a string.", "invalid_value", "model")
            if model == DEFAULT_MODEL:
                await _default(visit)
            limits = gateway.config.limits
            written = await aside.run(len(raw), json.dumps, chat)
            body = await read_members(written.encode(), limits.json_depth)
            call = await call_for(gateway, visit.request, key, model, Simple(body, stream=stream))
            await serve(gateway, key, call, visit.reply, visit.intake)

    return ask


async def _default(visit: Visit) -> None:
    """Say what to do where a request names no model and there is none by default. Raises Refusal."""
    try:
        await visit.gateway.catalog.resolve(DEFAULT_MODEL)
    except UnknownModel as exc:
        message = f"'model' is required, as this gateway has no alias '{DEFAULT_MODEL}'."
        raise refusal.bad_request(message, "missing_required_parameter", "model") from exc
