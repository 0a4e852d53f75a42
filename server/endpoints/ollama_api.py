"""Ollama's API beside the chat: whether there is an Ollama, which models it has, and what they are.

To Ollama's clients this gateway is one. What upstreams of that kind say of their own models is passed on, by the names
that the models have here; they are asked with a deadline, while the client is there, and within the limits that chats
have. Where one does not answer, or is of another kind, the list of models has to do (`ollama_cards`). What would change
an upstream's models is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from ...protocol.chat import Failed
from ...providers.models import ListUnavailable
from .. import ollama_cards, refusal
from ..http import Refusal
from ..serving import Place
from ..visit import Visit
from .models import find_model, list_models
from .ollama_chat import in_its_words

if TYPE_CHECKING:
    from ...providers.provider import Provider

__all__ = ["VERSION", "not_supported", "root", "running", "show", "tags", "version"]

VERSION = "0.12.6"
"""The version of Ollama whose API this is. Only numbers and dots: Open WebUI makes an `int` of each part."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


async def root(visit: Visit) -> None:
    """GET /: by this text Ollama's tools know that one is there."""
    await visit.reply.send(200, [("content-type", "text/plain; charset=utf-8")], b"Ollama is running")


async def version(visit: Visit) -> None:
    """GET /api/version."""
    await visit.answer(200, {"version": VERSION})


async def tags(visit: Visit) -> None:
    """GET /api/tags: the models."""
    created = int(visit.gateway.started_at)
    await visit.answer(200, {"models": [ollama_cards.tag(model, created) for model in await list_models(visit)]})


async def show(visit: Visit) -> None:
    """POST /api/show: one model, by `model` or by the older `name`."""
    with Place(visit.gateway):
        asked = await visit.read_object()
        with _while_there(visit):
            await visit.answer(200, await _shown(visit, asked))


async def _shown(visit: Visit, asked: Mapping[str, Any]) -> dict[str, Any]:
    name = asked.get("model") or asked.get("name")
    if not isinstance(name, str):
        raise refusal.bad_request("model is required", "missing_required_parameter", "model")
    with in_its_words():
        model = await find_model(visit, name)
    found = ollama_cards.card(model, int(visit.gateway.started_at))
    for target in model.targets:
        if target.provider.dialect == "ollama" and visit.may_use(target.id):
            question = {"model": target.model, "verbose": asked.get("verbose") is True}
            if said := await _ask(target.provider, "/api/show", question):
                found |= {key: value for key, value in said.items() if value is not None}
                break
    return found


async def running(visit: Visit) -> None:
    """GET /api/ps: the models that upstreams of Ollama's kind have in memory; of others nobody knows."""
    found: list[dict[str, Any]] = []

    async def look(provider: Provider) -> None:
        entries = (await _ask(provider, "/api/ps")).get("models")
        for entry in entries if isinstance(entries, list) else ():
            name = entry.get("model") or entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str) and visit.may_use(id := f"{provider.name}/{name}"):
                found.append({**entry, "name": ollama_cards.name_of(id), "model": ollama_cards.name_of(id)})

    with Place(visit.gateway), _while_there(visit):
        async with trio.open_nursery() as nursery:
            for provider in visit.gateway.catalog.providers.values():
                if provider.dialect == "ollama":
                    nursery.start_soon(look, provider)
        await visit.answer(200, {"models": found})


async def not_supported(visit: Visit) -> None:
    """What would change an upstream's models is its owner's to do."""
    raise Refusal(Failed("not supported by this gateway", 403, "invalid_request_error", "not_supported"))


async def _ask(provider: Provider, path: str, value: object = None) -> Mapping[str, Any]:
    """What an upstream of Ollama's kind says; nothing if it says nothing that can be read, or not in time, or is at
    its limit."""
    if not provider.slots.try_acquire():
        return {}
    try:
        said = _decode(await provider.ask(provider.question(path, value)))
    except (ListUnavailable, msgspec.DecodeError, RecursionError):
        return {}
    finally:
        provider.slots.release()
    return {} if "error" in said else said


def _while_there(visit: Visit) -> trio.CancelScope:
    """A scope for what is to end when the client leaves."""
    scope = trio.CancelScope()
    visit.intake.on_gone = scope.cancel
    if visit.intake.gone:
        scope.cancel()
    return scope
