"""A request, read and judged: what is asked, of whom, by whom, and within what time.

Making a `Call` is everything that can be refused before an upstream is troubled: the body is JSON with one
`model` and what its door needs, the model resolves to targets, the key may use them. The body itself stays as
it came; a target gets it with its own model id spliced in.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import trio

from ..protocol import members
from ..protocol.dialects.responses_request import to_chat
from ..protocol.errors import RemoteProtocolError
from ..protocol.members import Members
from ..providers.catalog import AmbiguousModel, Target, UnknownModel
from ..providers.settings import Timeouts, TimeoutSettings
from . import aside, refusal
from .access import Key
from .config import Limits
from .doors import Door
from .session_names import session_of
from .session_turn import CONVERSATIONS
from .work import Chat, Work

if TYPE_CHECKING:
    from ..providers.provider import Provider
    from .gateway import Gateway
    from .http import Request
    from .witness import Witness

__all__ = ["Call", "call_for", "call_of", "make_call", "model_of", "read_members"]

SMALL_BODY = aside.SMALL
"""Up to so many bytes a body is parsed in one go (well under a millisecond); larger ones in slices."""

SLICE = 8192  # of nothing but brackets, the costliest: 5 ms

TIMEOUTS_HEADER = "x-penstock-timeouts"

LEAST_KEEPALIVE = 0.01
"""Seconds. Whoever asks for less is served as if they had asked for this: a comment costs a write."""


class Call(NamedTuple):
    """One request that may be served: the `work`, who does it and who wants it, and the session that it is part of."""

    work: Work
    model: str
    targets: list[Target]
    key_name: str
    owner: int
    request_id: str
    client_id: str
    peer: str
    created: int
    limits: Limits
    timeouts: TimeoutSettings
    forward: Collection[tuple[str, str]]
    witnesses: tuple[Witness, ...] = ()
    session: str = ""

    @property
    def keepalive(self) -> float:
        """Seconds of silence that are filled; the first target's word counts for all of them. 0 for none."""
        seconds = self.timeouts_for(self.targets[0].provider).keepalive
        return max(seconds, LEAST_KEEPALIVE) if seconds and self.work.stream and self.work.silence(self) else 0.0

    def timeouts_for(self, provider: Provider) -> Timeouts:
        """The provider's timeouts, with what this request's own header changes."""
        if self.timeouts is _NOTHING_SAID:
            return provider.timeouts
        return provider.timeouts.with_changes(self.timeouts)


async def make_call(gateway: Gateway, request: Request, raw: bytes, key: Key | None, door: Door) -> Call:
    """Read and judge a request for a model's answer in the dialect of its door, of which `raw` is the body. Raises
    Refusal."""
    return await call_of(gateway, request, await read_members(raw, gateway.config.limits.json_depth), key, door)


async def call_of(gateway: Gateway, request: Request, body: Members, key: Key | None, door: Door) -> Call:
    """The same for a body that was read. Raises Refusal."""
    model = model_of(body)
    if door.dialect == "openai" and "messages" not in body and "input" in body:
        body = await aside.run(len(body.body), _with_messages, body, gateway.config.limits.json_depth)
    _check_needs(body, door)
    stream = _flag(body, "stream", door.streams)
    options = body.value("stream_options") if "stream_options" in body else None
    if options is not None and not isinstance(options, dict):
        raise refusal.bad_request("'stream_options' must be an object.", "invalid_value", "stream_options")
    include_usage = bool(options and options.get("include_usage")) or door.dialect not in _ASK_FOR_USAGE
    work = Chat(door, body, stream=stream, include_usage=include_usage, encoding=door.encoding(body))
    return await call_for(gateway, request, key, model, work)


async def call_for(gateway: Gateway, request: Request, key: Key | None, model: str, work: Work) -> Call:
    """The call for a work that was read: whom the model leads to, and whether the key may go there. Raises Refusal."""
    said = _timeouts(request.header(TIMEOUTS_HEADER))
    if key is not None and not key.opens_all and isinstance(work, Chat) and "models" in work.body:
        # OpenRouter's list of models to fall back on.
        raise refusal.forbidden("This key opens certain models only, and may not name others by 'models'.", "models")
    session = ""
    if isinstance(work, Chat) and work.door.dialect in CONVERSATIONS:
        session, rest = session_of(request, work.body)
        if rest is not None:
            work = work.with_body(await read_members(rest, gateway.config.limits.json_depth))
    return Call(
        work=work,
        model=model,
        targets=await _targets(gateway, model, key),
        key_name=key.name if key else "",
        owner=gateway.gate.owner(key),
        request_id=request.request_id,
        client_id=request.client_id,
        peer=request.peer,
        created=int(time.time()),
        limits=gateway.config.limits,
        timeouts=said,
        forward=request.travelling(),
        session=session,
    )


def model_of(body: Members) -> str:
    """What the body calls its model. Raises Refusal."""
    for name in body.names():
        if len(name) == 5 and name != "model" and name.casefold() == "model":
            # Go's JSON takes any case for the name, and the last one counts: what is judged must be what is called.
            raise refusal.bad_request("'model' must be written in lower case, and once.", "invalid_value", "model")
    model = body.value("model") if "model" in body else None
    if model is None:
        raise refusal.bad_request("Missing required parameter: 'model'.", "missing_required_parameter", "model")
    if not isinstance(model, str) or not model:
        raise refusal.bad_request("'model' must be a non-empty string.", "invalid_value", "model")
    return model


async def read_members(body: bytes, max_depth: int) -> Members:
    """The body's members; a large body is looked at in slices, so that other streams go on meanwhile."""
    try:
        if len(body) <= SMALL_BODY:
            return members.split(body, max_depth=max_depth)
        splitter = members.Splitter(max_depth=max_depth)
        found = []
        for start in range(0, len(body), SLICE):
            found += splitter.feed(body[start : start + SLICE])
            await trio.lowlevel.checkpoint()
        return Members(body, found + splitter.close())
    except RemoteProtocolError as exc:
        raise refusal.from_protocol(exc) from exc


def _with_messages(body: Members, max_depth: int) -> Members:
    """The body, made a chat: some clients post the form of the Responses API here and expect a chat's answer."""
    try:
        chat = to_chat({name: body.value(name) for name in body.names()})
    except RemoteProtocolError as exc:
        raise refusal.bad_request(str(exc), exc.kind) from exc
    return members.split(json.dumps(chat, ensure_ascii=False).encode("utf-8", "replace"), max_depth=max_depth + 2)


def _check_needs(body: Members, door: Door) -> None:
    """That the member is there which such a request cannot do without."""
    needs = door.needs
    if needs not in body:
        raise refusal.bad_request(f"Missing required parameter: '{needs}'.", "missing_required_parameter", needs)
    if door.of_messages and not body.looks(needs, _ARRAY):
        raise refusal.bad_request(f"'{needs}' must be an array.", "invalid_value", needs)
    if door.of_messages and body.looks(needs, _EMPTY_ARRAY):
        raise refusal.bad_request(f"'{needs}' must have at least one message.", "invalid_value", needs)


def _flag(body: Members, name: str, default: bool) -> bool:
    value = body.value(name) if name in body else None
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    raise refusal.bad_request(f"'{name}' must be true or false.", "invalid_value", name)


async def _targets(gateway: Gateway, model: str, key: Key | None) -> list[Target]:
    """Where the model is to be had, in order, as far as the key may go: judged on what is really called."""
    try:
        targets = await gateway.catalog.resolve(model)
    except UnknownModel as exc:
        raise refusal.unknown_model(str(exc)) from exc
    except AmbiguousModel as exc:
        raise refusal.bad_request(str(exc), "invalid_value", "model") from exc
    if key is None:
        return targets
    allowed = [target for target in targets if key.may_use(target.id)]
    if not allowed:
        raise refusal.forbidden(f"This key may not use the model '{model}'.", "model")
    return allowed


def _timeouts(header: str | None) -> TimeoutSettings:
    """What the request's own header says, as in `idle=5, total=60`; seconds, 0 for none."""
    if header is None:
        return _NOTHING_SAID
    said: dict[str, float] = {}
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if name not in _PHASES or not 0 <= seconds < 1e9:
            raise refusal.bad_request(
                f"Header {TIMEOUTS_HEADER}: '{part.strip()}' is not NAME=SECONDS with a name out of "
                f"{', '.join(_PHASES)}."
            )
        said[name] = seconds
    return msgspec.convert(said, TimeoutSettings)


_ASK_FOR_USAGE = ("openai", "completions")  # in the others a stream always tells it
_ARRAY = re.compile(rb"\[")
_EMPTY_ARRAY = re.compile(rb"\[[ \t\r\n]*\]")
_NOTHING_SAID = TimeoutSettings()
_PHASES = TimeoutSettings.__struct_fields__
