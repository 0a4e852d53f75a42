"""What can be asked for: OpenAI's list of models, and one of it."""

from __future__ import annotations

from urllib.parse import unquote

from ...providers.catalog import ModelError
from .. import refusal
from ..visit import Visit

__all__ = ["models", "one_model"]


async def models(visit: Visit) -> None:
    """GET /v1/models: what can be asked for, as far as the key may use it."""
    listed = await visit.gateway.catalog.models()
    if visit.key is not None:
        listed = [model for model in listed if await _visible(visit, model["id"])]
    await visit.answer(200, {"object": "list", "data": listed})


async def one_model(visit: Visit) -> None:
    """GET /v1/models/{id}; ids may hold slashes, raw or encoded."""
    name = unquote(visit.request.path.removeprefix("/models/"))
    try:
        found = await visit.gateway.catalog.model(name)
    except ModelError as exc:
        raise refusal.unknown_model(str(exc)) from exc
    if not await _visible(visit, name):
        raise refusal.unknown_model(f"The model '{name}' does not exist")
    await visit.answer(200, found)


async def _visible(visit: Visit, name: str) -> bool:
    """Whether the key may use the model, by what would really be called."""
    return visit.key is None or any(visit.may_use(target.id) for target in await visit.gateway.catalog.resolve(name))
