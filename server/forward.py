"""Work that is no chat: what is asked is passed on to an upstream that has the operation, in the client's own form.

Nothing is translated: what is said differs from what the client wrote only in the model's id. Two exceptions are
made for embeddings: an answer comes in the form (numbers or base64) that the client asked for, whichever the upstream
knows, and token ids go to no upstream that takes text alone. An upstream's word for the type of its answer is passed
on if it is one of data; a page it cannot make of it in a browser.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Protocol

from ..protocol.chat import Failed
from ..protocol.errors import RemoteProtocolError
from ..protocol.members import Members
from ..protocol.passing import Copy, Document, Events
from . import estimate, refusal
from .call import call_for
from .serving import serve
from .work import Passing, Work

if TYPE_CHECKING:
    from ..providers.catalog import Target
    from ..providers.provider import Provider
    from ..providers.settings import Operation
    from ..providers.transport import LongBody, UpstreamRequest
    from .call import Call
    from .key_limits import Admitted
    from .visit import Visit

__all__ = ["Cargo", "Embed", "Forward", "JsonCargo", "forward"]

JSON = "application/json"


_DATA = re.compile(
    r"audio/[a-z0-9.+-]+|text/(?:plain|vtt|srt|event-stream)|application/(?:json|x-ndjson|x-subrip|ogg|octet-stream)"
)
_NO_SNIFFING = ("x-content-type-options", "nosniff")


class Cargo(Protocol):
    """What the client sent, whatever its type: `load` makes of it the body for an upstream that has `model`."""

    @property
    def content_type(self) -> str: ...
    @property
    def tokens(self) -> int: ...

    def load(self, model: str) -> bytes | LongBody: ...


class JsonCargo:
    """A JSON object, of which only the member `model` changes."""

    content_type = JSON

    def __init__(self, body: Members) -> None:
        self._body = body

    @property
    def tokens(self) -> int:
        """About how many there are in it."""
        return estimate.prompt(self._body.body)

    def load(self, model: str) -> bytes:
        """See `Cargo`."""
        return self._body.replace({"model": encode_basestring_ascii(model).encode("ascii")})


_NOTHING = JsonCargo(Members(b"{}", []))


class Forward(Work):
    """One request to pass on. `content_type` is that of the answer, where the upstream says none that is of data."""

    __slots__ = ("cargo", "content_type", "endpoint", "operation", "stream")

    form = ""
    """The form of embeddings that the client reads."""

    def __init__(self, operation: Operation, cargo: Cargo, *, stream: bool = False, content_type: str = JSON) -> None:
        self.operation = self.endpoint = operation
        self.cargo = cargo
        self.stream = stream
        self.content_type = content_type

    @property
    def tokens(self) -> tuple[int, int]:
        """See `Work`."""
        return self.cargo.tokens, 0

    def source(self, provider: Provider) -> str:
        """The operation itself."""
        return self.operation

    def request(self, call: Call, target: Target) -> UpstreamRequest:
        """What the client sent, with the target's own model id in it and no credential of the client's."""
        return target.provider.request(
            self.operation,
            self.cargo.load(target.model),
            self.cargo.content_type,
            request_id=call.request_id,
            headers=call.forward,
        )

    def passing(self, call: Call, source: str, content_type: str | None, clean: Callable[[Failed], Failed]) -> Passing:
        """Events, or bytes as they come, where the client streams; else a document."""
        media = (content_type or "").partition(";")[0].strip().lower()
        kind = content_type if content_type and _DATA.fullmatch(media) else self.content_type
        limits = call.limits
        reading: dict[str, Any] = {"json_depth": limits.json_depth, "clean": clean}
        if not self.stream:
            return Document(kind, form=self.form, max_message_bytes=limits.message_bytes, **reading)
        if media == Events.content_type:
            return Events(content_type=kind, max_frame_bytes=limits.frame_bytes, **reading)
        return Copy(kind)

    def let_go(self) -> None:
        """See `Work`."""
        self.cargo = _NOTHING


_TOKEN_IDS = re.compile(rb"\[[ \t\r\n]*(?:\[[ \t\r\n]*)?-?[0-9]")


class Embed(Forward):
    """Embeddings. `form` is the one that the client reads: `float`, `base64`, or another that passes as it comes."""

    __slots__ = ("form", "has_token_ids")

    deadline = "embeddings"

    def __init__(self, body: Members, form: str) -> None:
        super().__init__("embeddings", JsonCargo(body))
        self.form = form
        self.has_token_ids = body.looks("input", _TOKEN_IDS)

    def request(self, call: Call, target: Target) -> UpstreamRequest:
        """Raises RemoteProtocolError where token ids are asked of an upstream that embeds text only."""
        if self.has_token_ids and not target.provider.preset.token_ids:
            message = (
                f"Provider '{target.provider.name}' embeds text, and 'input' holds token ids. Where LangChain made "
                "them, OpenAIEmbeddings(check_embedding_ctx_length=False) sends text."
            )
            raise RemoteProtocolError(message, kind="invalid_value")
        return super().request(call, target)


async def forward(visit: Visit, model: str, work: Forward, expected: Admitted | None = None) -> None:
    """Serve the work by those upstreams of the model that have the operation. Raises Refusal, also where none has.

    `expected` is the key's place that was taken while the body came (`serving.expecting`); here it is given back, for
    the request to take its own.
    """
    gateway, key = visit.gateway, visit.key
    visit.reply.common.append(_NO_SNIFFING)
    call = await call_for(gateway, visit.request, key, model, work)
    able = [target for target in call.targets if work.source(target.provider) in target.provider.operations]
    if not able:
        names = ", ".join(f"'{name}'" for name in dict.fromkeys(target.provider.name for target in call.targets))
        message = (
            f"The model '{model}' is with {names}, which is not known to have '{work.operation}'. "
            f"If it does, say so in the provider's setting 'speaks'."
        )
        raise refusal.missing(message, "unsupported_endpoint")
    if expected is not None:
        expected.end()  # nothing waits from here to the limits of the key, so nobody else gets this place
    await serve(gateway, key, call._replace(targets=able), visit.reply, visit.intake)
