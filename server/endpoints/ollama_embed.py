"""Ollama's `/api/embed` and the older `/api/embeddings`: of texts, by any upstream that has embeddings."""

from __future__ import annotations

import time

from ...protocol.dialects.ollama import Times
from .. import refusal
from ..call import model_of, read_members
from ..forward import forward
from ..ollama_embed import EmbedLikeOllama, answer
from ..serving import Place
from ..visit import JSON, Handler, Visit
from .models import find_model
from .ollama_chat import in_its_words

__all__ = ["at"]


def at(name: str) -> Handler:
    """The handler of POST where the texts are the member `name`: `input`, or `prompt` for one text."""

    async def ask(visit: Visit) -> None:
        times = Times(time.monotonic_ns, time.time_ns())
        with Place(visit.gateway), in_its_words():
            body = await read_members(await visit.read_body(), visit.gateway.config.limits.json_depth)
            model = model_of(body)
            texts = body.value(name) if name in body else None
            if not texts:  # nothing to embed asks for nothing, as with an empty prompt
                await find_model(visit, model)
                await visit.reply.send(200, [JSON], answer(model, [], 0, times, single=name == "prompt"))
                return
            listed = texts if isinstance(texts, list) and name == "input" else [texts]
            if not all(isinstance(text, str) for text in listed):
                raise refusal.bad_request("invalid input type", "invalid_value", name)
            await forward(visit, model, EmbedLikeOllama(body, name, times))

    return ask
