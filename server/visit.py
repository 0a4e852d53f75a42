"""One request at an endpoint: what a handler is given, and what every handler needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

import msgspec

from ..protocol import jsontext
from . import aside, content, refusal

if TYPE_CHECKING:
    from .access import Key
    from .gateway import Gateway
    from .http import Request
    from .intake import Intake
    from .reply import Reply

__all__ = ["JSON", "Handler", "Visit", "as_json", "as_object"]

JSON = ("content-type", "application/json")
MAX_QUERY_FIELDS = 20
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def as_json(value: object) -> bytes:
    """The value as JSON. It may be of a client's own words: half a surrogate pair in them becomes U+FFFD."""
    try:
        return _encode(value)
    except (UnicodeEncodeError, OverflowError):  # the latter for a whole number beyond 64 bits
        return jsontext.dumps(value)


async def as_object(body: bytes) -> dict[str, Any]:
    """A body of JSON as an object. Raises Refusal."""
    try:
        value = await aside.run(len(body), _decode, body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise refusal.bad_request("The body is not valid JSON.", "invalid_json") from exc
    if not isinstance(value, dict):
        raise refusal.bad_request("The body must be a JSON object.", "not_an_object")
    return value


class Visit(NamedTuple):
    """A request, the reply to it, and who asks: `key` is None where no keys are needed."""

    gateway: Gateway
    request: Request
    reply: Reply
    key: Key | None
    intake: Intake

    async def answer(self, status: int, value: object) -> None:
        """Answer with `value` as JSON."""
        await self.reply.send(status, [JSON], as_json(value))

    async def read_body(self) -> bytes:
        """The body, which is to be JSON, unpacked. Raises Refusal for one of another type or over the limit."""
        request, limit = self.request, self.gateway.config.limits.body_bytes
        content.check_type(request.header("content-type"))
        return await content.decode(await self.intake.read_body(), request.header("content-encoding"), limit)

    async def read_object(self) -> dict[str, Any]:
        """The body as an object, where all of it is wanted. Raises Refusal."""
        return await as_object(await self.read_body())

    def query(self) -> dict[str, str]:
        """The query's fields; of one that is said twice the last. Raises Refusal for too many."""
        try:
            said = parse_qs(self.request.query, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError as exc:
            raise refusal.bad_request(f"The query has more than {MAX_QUERY_FIELDS} fields.", "invalid_value") from exc
        return {name: values[-1] for name, values in said.items()}

    def may_use(self, name: str) -> bool:
        """Whether the key may use what is called by this id: `provider/model`."""
        return self.key is None or self.key.may_use(name)


Handler = Callable[[Visit], Awaitable[None]]
