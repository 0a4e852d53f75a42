"""Endpoints that are passed on as they are: moderations, images, rerank. An upstream has them, or it is a 404."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import refusal, upload
from ..call import model_of, read_members
from ..forward import Forward, JsonCargo, forward
from ..serving import Place, expecting
from ..visit import Handler, Visit

if TYPE_CHECKING:
    from ...providers.settings import Operation

__all__ = ["at", "form_at"]

USUAL_MODELS = {"moderations": "omni-moderation-latest"}
"""The model where the request names none, as OpenAI documents it; an alias of that name leads wherever you like."""


def at(operation: Operation, needs: str) -> Handler:
    """The handler of a POST of JSON that cannot do without the member `needs`."""

    async def ask(visit: Visit) -> None:
        with Place(visit.gateway):
            body = await read_members(await visit.read_body(), visit.gateway.config.limits.json_depth)
            unnamed = body.raw("model") in (b"", b"null") and operation in USUAL_MODELS
            model = USUAL_MODELS[operation] if unnamed else model_of(body)
            if body.raw(needs) in (b"", b"null"):
                raise refusal.bad_request(
                    f"Missing required parameter: '{needs}'.", "missing_required_parameter", needs
                )
            await forward(visit, model, Forward(operation, JsonCargo(body), stream=body.raw("stream") == b"true"))

    return ask


def form_at(operation: Operation) -> Handler:
    """The handler of a POST of a form with files."""

    async def ask(visit: Visit) -> None:
        gateway = visit.gateway
        with Place(gateway), expecting(gateway, visit.key) as expected, upload.receive(gateway) as spool:
            form = await upload.read(visit, spool)
            await forward(visit, form.model, Forward(operation, form, stream=form.stream), expected)

    return ask
