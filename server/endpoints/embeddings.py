"""POST /v1/embeddings: of texts or of token ids, as numbers or as base64."""

from __future__ import annotations

from .. import refusal
from ..call import model_of, read_members
from ..forward import Embed, forward
from ..serving import Place
from ..visit import Visit

__all__ = ["embeddings"]


async def embeddings(visit: Visit) -> None:
    """The answer comes in the form that is asked for; without a word, as numbers."""
    with Place(visit.gateway):
        body = await read_members(await visit.read_body(), visit.gateway.config.limits.json_depth)
        model = model_of(body)
        if body.raw("input") in (b"", b"null"):
            raise refusal.bad_request("Missing required parameter: 'input'.", "missing_required_parameter", "input")
        form = body.value("encoding_format") or "float"
        if not isinstance(form, str):
            raise refusal.bad_request("'encoding_format' must be a string.", "invalid_value", "encoding_format")
        await forward(visit, model, Embed(body, form))
