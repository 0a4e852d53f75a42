"""What can be asked for: OpenAI's list of models, and one of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote

from ...providers.catalog import Model, ModelError
from .. import refusal
from ..visit import Visit

__all__ = ["find_model", "list_models", "models", "one_model"]

_PERMISSION = {
    "id": "modelperm-penstock",
    "object": "model_permission",
    "created": 0,
    "allow_create_engine": False,
    "allow_sampling": True,
    "allow_logprobs": True,
    "allow_search_indices": False,
    "allow_view": True,
    "allow_fine_tuning": False,
    "organization": "*",
    "group": None,
    "is_blocking": False,
}
"""What OpenAI's model objects had until 2023; clients of that time look into the first one."""


async def list_models(visit: Visit) -> list[Model]:
    """What can be asked for, as far as the key may use it."""
    return [model for model in await visit.gateway.catalog.models() if _visible(visit, model)]


async def find_model(visit: Visit, name: str) -> Model:
    """One model, if the key may use it. Raises Refusal: to others it is not there."""
    try:
        model = await visit.gateway.catalog.model(name)
    except ModelError as exc:
        raise refusal.unknown_model(str(exc)) from exc
    if not _visible(visit, model):
        raise refusal.unknown_model(f"The model '{name}' does not exist")
    return model


async def models(visit: Visit) -> None:
    """GET /v1/models.

    Codex, which says its `client_version`, looks for a list by another name: of models that it has prompts and tools
    of its own for. Of those there are none here, and an empty list leaves it to those that it knows.
    """
    value: dict[str, Any] = {"object": "list", "data": [_object(model) for model in await list_models(visit)]}
    if "client_version" in parse_qs(visit.request.query, keep_blank_values=True):
        value["models"] = []
    await visit.answer(200, value)


async def one_model(visit: Visit) -> None:
    """GET /v1/models/{id}; ids may hold slashes, raw or encoded."""
    await visit.answer(200, _object(await find_model(visit, unquote(visit.request.path.removeprefix("/models/")))))


def _visible(visit: Visit, model: Model) -> bool:
    """Whether the key may use the model, by what would really be called."""
    return visit.key is None or any(visit.may_use(target.id) for target in model.targets)


def _object(model: Model) -> dict[str, Any]:
    """OpenAI's model object, with what the upstream says of the model."""
    info = model.info
    return {
        "id": model.id,
        "object": "model",
        "created": info.created,
        "owned_by": info.owned_by or model.provider.name,
        "permission": [{**_PERMISSION, "created": info.created}],
        "root": model.id,
        "parent": None,
        **info.extras,
    }
