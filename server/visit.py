"""One request at an endpoint: what a handler is given, and what every handler needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from . import content, refusal

if TYPE_CHECKING:
    from .access import Key
    from .gateway import Gateway
    from .http import Request
    from .intake import Intake
    from .reply import Reply

__all__ = ["JSON", "Handler", "Visit"]

JSON = ("content-type", "application/json")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Visit(NamedTuple):
    """A request, the reply to it, and who asks: `key` is None where no keys are needed."""

    gateway: Gateway
    request: Request
    reply: Reply
    key: Key | None
    intake: Intake

    async def answer(self, status: int, value: object) -> None:
        """Answer with `value` as JSON."""
        await self.reply.send(status, [JSON], _encode(value))

    async def read_body(self) -> bytes:
        """The body, which is to be JSON, unpacked. Raises Refusal for one of another type or over the limit."""
        request, limit = self.request, self.gateway.config.limits.body_bytes
        content.check_type(request.header("content-type"))
        return await content.decode(await self.intake.read_body(), request.header("content-encoding"), limit)

    async def read_object(self) -> dict[str, Any]:
        """The body as an object, for endpoints whose bodies are small. Raises Refusal."""
        try:
            value = _decode(await self.read_body())
        except (msgspec.DecodeError, RecursionError) as exc:
            raise refusal.bad_request("The body is not valid JSON.", "invalid_json") from exc
        if not isinstance(value, dict):
            raise refusal.bad_request("The body must be a JSON object.", "not_an_object")
        return value

    def may_use(self, name: str) -> bool:
        """Whether the key may use what is called by this id: `provider/model`."""
        return self.key is None or self.key.may_use(name)


Handler = Callable[[Visit], Awaitable[None]]
