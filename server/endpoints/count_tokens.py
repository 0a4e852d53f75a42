"""POST /v1/messages/count_tokens: by the upstream that counts, else about.

Anthropic's clients ask before a long prompt. An upstream of that kind is asked itself; any other model's tokens are
not ours to know, so they are estimated by the bytes, which a header says.
"""

from __future__ import annotations

from .. import estimate, refusal
from ..call import call_for, model_of, read_members
from ..forward import Forward, JsonCargo
from ..serving import Place, serve
from ..visit import JSON, Visit

__all__ = ["ESTIMATED", "count_tokens"]

ESTIMATED = ("x-penstock-estimated", "true")

_COUNTED = ("messages", "system", "tools")


class _Count(Forward):
    """Who counts does not ask to be paid for it."""

    __slots__ = ()

    @property
    def tokens(self) -> tuple[int, int]:
        """None."""
        return 0, 0


async def count_tokens(visit: Visit) -> None:
    """The tokens of the request's prompt, as `{"input_tokens": n}`."""
    gateway, key = visit.gateway, visit.key
    with Place(gateway):
        body = await read_members(await visit.read_body(), gateway.config.limits.json_depth)
        model = model_of(body)
        if "messages" not in body:
            message = "Missing required parameter: 'messages'."
            raise refusal.bad_request(message, "missing_required_parameter", "messages")
        work = _Count("count_tokens", JsonCargo(body))
        call = await call_for(gateway, visit.request, key, model, work)
        able = [target for target in call.targets if "count_tokens" in target.provider.operations]
        if able:
            await serve(gateway, key, call._replace(targets=able), visit.reply, visit.intake)
        else:
            size = sum(len(body.raw(name)) for name in _COUNTED if name in body)
            said = b'{"input_tokens":%d}' % (size // estimate.BYTES_PER_TOKEN + 1)
            await visit.reply.send(200, [JSON, ESTIMATED], said)
