"""Speech to text, and text to speech: `POST /v1/audio/transcriptions`, `translations` and `speech`.

A recording is kept on the disk and sent from there; a transcript comes whole, or as events where the model streams.
Speech goes to the client as it is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import refusal, upload
from ..call import model_of, read_members
from ..forward import Forward, JsonCargo, forward
from ..serving import Place, expecting
from ..visit import Handler, Visit

if TYPE_CHECKING:
    from ...providers.settings import Operation

__all__ = ["speech", "text_of"]

TEXT = "text/plain; charset=utf-8"
TEXT_TYPES = {"text": TEXT, "srt": TEXT, "vtt": TEXT}
SPEECH_TYPES = {"opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm"}
"""Content types by `response_format`, for upstreams that say none. MP3 is what is made where none is asked for."""


def text_of(operation: Operation) -> Handler:
    """The handler of POST for what makes text of a recording."""

    async def ask(visit: Visit) -> None:
        gateway = visit.gateway
        with Place(gateway), expecting(gateway, visit.key) as expected, upload.receive(gateway) as spool:
            form = await upload.read(visit, spool, json_too=True)
            content_type = TEXT_TYPES.get(form.fields.get("response_format", ""), "application/json")
            work = Forward(operation, form, stream=form.stream, content_type=content_type)
            await forward(visit, form.model, work, expected)

    return ask


async def speech(visit: Visit) -> None:
    """The bytes go out as they come, be they audio or events."""
    with Place(visit.gateway):
        body = await read_members(await visit.read_body(), visit.gateway.config.limits.json_depth)
        model = model_of(body)
        if body.raw("input") in (b"", b"null", b'""'):
            raise refusal.bad_request("Missing required parameter: 'input'.", "missing_required_parameter", "input")
        wanted = body.value("response_format")
        content_type = SPEECH_TYPES.get(wanted, "audio/mpeg") if isinstance(wanted, str) else "audio/mpeg"
        await forward(visit, model, Forward("speech", JsonCargo(body), stream=True, content_type=content_type))
