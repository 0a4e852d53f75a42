"""A form with a file, kept while it comes and passed on with nothing changed but the model's id.

The fields may stand in any order, so all of it is kept (`spool`) before anybody is asked. What goes upstream are the
client's own bytes, its boundary, file names and types included, and in the place of the value of `model` the
upstream's own id; only the header that names the boundary is written anew. The strictness that this takes is in
`protocol.multipart`.

Open WebUI can be set to send JSON with the file in base64: that is written as a form first, and is one then.
"""

from __future__ import annotations

import json
import re
import secrets
from binascii import Error as NotBase64
from binascii import a2b_base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from ..protocol.members import Members
from ..protocol.multipart import Part, Parts, boundary_of, content_type
from . import estimate, refusal
from .call import read_members
from .spool import Spliced, Spool

if TYPE_CHECKING:
    from .gateway import Gateway
    from .visit import Visit

__all__ = ["Upload", "read", "receive"]

FIELDS = ("model", "stream", "response_format")
"""The fields that decide something here; none of them may come twice."""

SLICE = 65536  # of base64: a multiple of four
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(?:\[\])?")
_ESCAPES = ((b"\\/", b"/"), (b"\\u002B", b"+"), (b"\\u002b", b"+"), (b"\\u002F", b"/"), (b"\\u002f", b"/"))
"""What writers of JSON escape in base64 without need. Any other escape is no base64."""

_FORMAT = re.compile(r"[A-Za-z0-9]{1,16}")


class Upload:
    """A form that has come. `fields` has the values of `FIELDS`."""

    def __init__(self, spool: Spool, content_type: str, parts: list[Part]) -> None:
        self.content_type = content_type
        self.fields = {part.name: part.value.decode("utf-8", "replace") for part in parts if part.value is not None}
        self._spool = spool
        self._model = next((part for part in parts if part.name == "model"), Part("model", None, 0, 0))

    @property
    def tokens(self) -> int:
        """About how many there are in it, by its size."""
        return estimate.upload(len(self._spool))

    @property
    def model(self) -> str:
        """The model's id. Raises Refusal where there is none."""
        if not (model := self.fields.get("model", "").strip()):
            raise refusal.bad_request("Missing required parameter: 'model'.", "missing_required_parameter", "model")
        return model

    @property
    def stream(self) -> bool:
        """Whether the client asks for a stream."""
        return self.fields.get("stream", "").strip().lower() in ("true", "1")

    def load(self, model: str) -> Spliced:
        """See `forward.Cargo`."""
        before, after = range(self._model.start), range(self._model.end, len(self._spool))
        return Spliced(self._spool, [before, model.encode(), after])


@contextmanager
def receive(gateway: Gateway) -> Iterator[Spool]:
    """One of the places for uploads, and where to put one: `with receive(gateway) as spool`. Raises Refusal."""
    limits = gateway.config.limits
    if gateway.uploads >= limits.uploads:
        raise refusal.busy("The gateway is at its limit of uploads.")
    gateway.uploads += 1
    try:
        with Spool(limits.spool_bytes) as spool:
            yield spool
    finally:
        gateway.uploads -= 1


class _Keeper:
    """Takes a form in pieces: into the spool, and past the eyes of the parser."""

    def __init__(self, spool: Spool, boundary: bytes) -> None:
        self._spool = spool
        self._content_type = content_type(boundary)
        self._parser = Parts(boundary, FIELDS)
        self._parts: list[Part] = []

    async def take(self, piece: bytes) -> None:
        self._parts += self._parser.feed(piece)
        if self._parser.fault is not None:
            raise self._parser.fault
        try:
            await self._spool.write(piece)
        except OSError as exc:
            raise refusal.busy("There is no room to keep this upload.") from exc

    def done(self) -> Upload:
        self._parts += self._parser.close()
        return Upload(self._spool, self._content_type, self._parts)


async def read(visit: Visit, spool: Spool, *, json_too: bool = False) -> Upload:
    """The request's body as a form, or as the JSON that stands for one. Raises Refusal, RemoteProtocolError,
    StreamBroken."""
    request = visit.request
    said = request.header("content-type") or ""
    media = said.partition(";")[0].strip().lower()
    if json_too and media == "application/json":
        return await _read_json(visit, spool)
    if media != "multipart/form-data":
        raise refusal.plain(415, "This endpoint takes multipart/form-data.")
    if (coding := request.header("content-encoding") or "identity").strip().lower() != "identity":
        raise refusal.plain(
            415, f"Content-Encoding '{coding[:40]}' is not taken for uploads: audio is compressed already."
        )
    keeper = _Keeper(spool, boundary_of(said))
    await visit.intake.read_into(keeper.take, visit.gateway.config.limits.upload_bytes)
    return keeper.done()


async def _read_json(visit: Visit, spool: Spool) -> Upload:
    """The request's body, JSON with `input_audio` as Open WebUI sends it, as a form. Raises Refusal."""
    depth = visit.gateway.config.limits.json_depth
    body = await read_members(await visit.read_body(), depth)
    audio = Members(b"", [])
    if body.raw("input_audio")[:1] == b"{":
        audio = await read_members(body.raw("input_audio"), depth)
    data, kind = audio.raw("data"), audio.value("format", "wav")
    if data[:1] != b'"' or not isinstance(kind, str) or not _FORMAT.fullmatch(kind):
        message = "Missing required parameter: 'input_audio' with 'data' in base64 and 'format', as in 'wav'."
        raise refusal.bad_request(message, "missing_required_parameter", "input_audio")
    boundary = secrets.token_hex(16)
    keeper = _Keeper(spool, boundary.encode())

    async def begin(name: str, more: str = "") -> None:
        await keeper.take(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode())

    for name in body.names():
        if name == "input_audio" or not _NAME.fullmatch(name):
            continue
        value = body.value(name)
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                await begin(name + "[]" * (isinstance(value, list) and not name.endswith("[]")))
                await keeper.take(_written(one) + b"\r\n")
    await begin("file", f'; filename="audio.{kind}"')
    await _decode(data, keeper)
    await keeper.take(f"\r\n--{boundary}--\r\n".encode())
    return keeper.done()


def _written(value: Any) -> bytes:
    """A value as a form has it."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


async def _decode(data: bytes, keeper: _Keeper) -> None:
    """Base64 in a JSON string, into the form, slice by slice. Raises Refusal."""
    for escaped, plain in _ESCAPES:
        data = data.replace(escaped, plain)
    start = data.index(b",") + 1 if data.startswith(b'"data:') and b"," in data[:256] else 1
    try:
        for at in range(start, len(data) - 1, SLICE):
            await keeper.take(a2b_base64(data[at : min(at + SLICE, len(data) - 1)], strict_mode=True))
            await trio.lowlevel.checkpoint()
    except NotBase64 as exc:
        raise refusal.bad_request("'input_audio.data' is not base64.", "invalid_value", "input_audio") from exc
