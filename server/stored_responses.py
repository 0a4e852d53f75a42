"""Answers of the Responses API that are kept: what a request makes of earlier ones, and how its own is kept.

An answer is kept where there is a store and the request does not say `store: false`, before its last bytes go out,
under the id that its client reads in it. `previous_response_id` is followed back through what is kept, and the items
found stand before the request's own: the upstream gets all of them, and needs to remember nothing. So it makes no
difference whether it speaks this API or another.

Items that are known by their id alone (`item_reference`) are looked up where the id says which response had it; others
stay, for an upstream that knows them. What is kept has the items themselves, so that a conversation can be followed
back without looking anything up. A short request may refer to much, and to the same thing often: what is found is
counted before it is put together, and no more than `limits.body_bytes` of it is.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import trio

from ..protocol import jsontext, sse
from . import aside, refusal
from .sessions import lost
from .store.errors import StoreError
from .witness import Witness

if TYPE_CHECKING:
    from ..protocol.chat import Ending
    from ..protocol.members import Members
    from .call import Call
    from .gateway import Gateway
    from .http import Refusal
    from .ledger import Record
    from .store.responses import StoredResponse
    from .store.store import Store
    from .work import Chat

__all__ = ["Answering", "remembered"]

Json = dict[str, Any]

MAX_REFERENCES = 100
"""Responses in which the items of one request are looked up."""

DAY = 86400.0

_REFUSED = {
    "conversation": "Conversations are not kept here: use 'previous_response_id', or a session (X-Session-ID).",
    "prompt": "Prompts are not kept here: send the text itself.",
}
_ITEM = re.compile(r"(?:msg|rs|fc|ctc)_(.+)_\d+")
_NAMED_FREELY = ("message", "function_call", "custom_tool_call")
_LAST_EVENTS = ("response.completed", "response.incomplete")


async def remembered(gateway: Gateway, call: Call) -> Call:
    """The call with the items of earlier responses in it, and what keeps its own. Raises Refusal."""
    from .call import read_members

    work = cast("Chat", call.work)
    body, store = work.body, gateway.store
    _refuse(body)
    previous, wanted = body.value("previous_response_id"), body.value("store")
    if not isinstance(wanted, bool | None):
        raise refusal.bad_request("'store' must be true or false.", "invalid_value", "store")
    if previous is not None and store is None:
        why = "This gateway has no store: send the earlier items in 'input'."
        raise _unsupported("previous_response_id", why)
    if store is None:
        return call
    if previous is not None and (call.session or not isinstance(previous, str)):
        why = "'previous_response_id' must be the id of a response, and cannot be used in a session."
        raise refusal.bad_request(why, "invalid_value", "previous_response_id")
    kept = wanted is not False and store.healthy
    own = _items(await aside.run(len(body.body), body.value, "input"))
    try:
        before = await _chain(store, call, previous) if previous else []
        meant = await _resolved(store, call, own)
    except StoreError as exc:
        raise lost(exc) from exc
    changes: dict[str, bytes | None] = {"previous_response_id": None} if previous else {}
    changes |= {"store": None} if wanted else {}
    if before or meant is not own:
        changes["input"] = await aside.in_thread(jsontext.dumps, [*before, *meant])
    if changes:
        changed = body.replace(changes)
        if len(changed) > call.limits.body_bytes:
            raise _too_long("previous_response_id" if previous else "input")
        body = await read_members(changed, call.limits.json_depth)
        call = call._replace(work=work.with_body(body))
    return _kept(gateway, store, call, meant, previous) if kept else call


def _kept(gateway: Gateway, store: Store, call: Call, own: list[Json], previous: str | None) -> Call:
    work = cast("Chat", call.work)
    # An id of ours: some servers give a new answer that of an old one.
    id = "resp_" + call.request_id.removeprefix("req_")
    work = work.with_body(work.body, own={"id": id, "store": True, "previous_response_id": previous})
    keeper = _Keeper(gateway, store, call, own, previous)
    return call._replace(work=work, witnesses=(*call.witnesses, keeper))


def _refuse(body: Members) -> None:
    for name, why in _REFUSED.items():
        if body.value(name) is not None:
            raise _unsupported(name, why)
    if body.value("background"):
        raise _unsupported("background", "Nothing is answered in the background here: stream the answer.")


def _unsupported(name: str, why: str) -> Refusal:
    return refusal.bad_request(f"Unsupported parameter: '{name}'. {why}", "unsupported_parameter", name)


def _too_long(param: str) -> Refusal:
    why = "What was said before it is more than one request may hold: begin anew."
    return refusal.bad_request(why, "context_length_exceeded", param)


def _items(given: Any) -> list[Json]:
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    if isinstance(given, list) and all(isinstance(item, dict) for item in given):
        return given
    raise refusal.bad_request("'input' must be a string or an array of objects.", "invalid_value", "input")


async def _chain(store: Store, call: Call, previous: str) -> list[Json]:
    """The items of a response and of those before it. Raises Refusal where one of them is missing."""
    chain, whole = await store.responses.chain(call.owner, previous, max_chars=call.limits.body_bytes)
    if whole:
        return [item for response in chain for item in (*response.input, *_spoken(response))]
    missing = chain[0].previous_id if chain else previous
    if missing is not None and await store.responses.get(call.owner, missing) is not None:
        raise _too_long("previous_response_id")
    why = f"Previous response with id '{missing}' not found."
    raise refusal.bad_request(why, "previous_response_not_found", "previous_response_id")


def _spoken(response: StoredResponse) -> list[Json]:
    output = response.body.get("output")
    found = [_as_input(item) for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    return [item for item in found if item is not None]


def _as_input(item: Json) -> Json | None:
    """An item of an answer as one of a request; None for one that nobody takes back.

    Reasoning is of use only to the vendor that can decrypt it. An upstream that finds an id looks for the item among
    what it has kept itself, so most go without.
    """
    if item.get("type") == "reasoning":
        return item if item.get("encrypted_content") else None
    if item.get("type", "message") in _NAMED_FREELY:
        return {name: value for name, value in item.items() if name != "id"}
    return item


async def _resolved(store: Store, call: Call, items: list[Json]) -> list[Json]:
    """The items, and in the place of references what they refer to, as far as it is kept. Raises Refusal where that
    is more than a request may hold."""
    wanted = _referred(items)
    if not wanted:
        return items
    room = call.limits.body_bytes - len(cast("Chat", call.work).body.body)
    known: dict[str, Json | None] = {}
    for response_id, times in wanted.items():
        # One response at a time, and of it no more than is referred to: each of them may be as long as a request.
        for id, item, size in await store.responses.output(call.owner, response_id, times):
            room -= size * times[id]
            if room < 0:
                raise _too_long("input")
            known[id] = _as_input(item)
    found = [known.get(item["id"], item) if _is_reference(item) else item for item in items]
    return [item for item in found if item is not None]


def _referred(items: list[Json]) -> dict[str, Counter[str]]:
    """The responses in which items are to be looked up, and how often which. Raises Refusal for too many."""
    wanted: dict[str, Counter[str]] = {}
    for item in items:
        named = _ITEM.fullmatch(item["id"]) if _is_reference(item) else None
        if named is not None:
            wanted.setdefault("resp_" + named[1], Counter())[item["id"]] += 1
            if len(wanted) > MAX_REFERENCES:
                raise refusal.bad_request(f"'input' refers to more than {MAX_REFERENCES} responses.", param="input")
    return wanted


def _is_reference(item: Json) -> bool:
    return item.get("type") == "item_reference" and isinstance(item.get("id"), str)


class Answering:
    """A response that is being given: `body` is what its client was told first, `done` is set when it has ended."""

    def __init__(self, request_id: str, body: Json) -> None:
        self.request_id = request_id
        self.body = body
        self.cancelled = False
        self.done = trio.Event()


class _Keeper(Witness):
    """Keeps one response: whole, or as far as one can speak of it where it was cancelled."""

    def __init__(self, gateway: Gateway, store: Store, call: Call, own: list[Json], previous: str | None) -> None:
        self._answering = gateway.answering
        self._store = store
        self._days = gateway.config.store.response_days
        self._owner, self._request_id = call.owner, call.request_id
        self._stream = call.work.stream
        self._input = own
        self._previous = previous
        self._last = b""
        self._begun: Answering | None = None

    def saw(self, data: bytes) -> None:
        """See `Witness`. The first event has the id, the last one all of the response."""
        self._last = data
        if self._stream and self._begun is None:
            first = next(iter(_responses_in(data)), None)
            if first is not None:
                self._begun = Answering(self._request_id, first)
                self._answering[self._owner, str(first.get("id"))] = self._begun

    async def settle(self, ending: Ending, record: Record) -> None:
        """See `Witness`."""
        begun = self._begun
        try:
            if ending.kind == "completed":
                await self._keep(await aside.run(len(self._last), _whole, self._last, self._stream))
            elif begun is not None and begun.cancelled:
                await self._keep({**begun.body, "status": "cancelled"})
        finally:
            if begun is not None:
                place = self._owner, str(begun.body.get("id"))
                if self._answering.get(place) is begun:
                    del self._answering[place]
                begun.done.set()

    async def _keep(self, body: Json | None) -> None:
        from .store.responses import StoredResponse

        if body is None:
            return  # it says itself that it has failed
        now = time.time()
        response = StoredResponse(
            id=str(body.get("id")),
            key_id=self._owner,
            status=str(body.get("status")),
            input=self._input,
            body=body,
            created_at=now,
            previous_id=self._previous,
            expires_at=now + self._days * DAY if self._days else None,
        )
        try:
            await self._store.responses.put(response)
        except StoreError as exc:
            raise lost(exc) from exc


def _whole(data: bytes, stream: bool) -> Json | None:
    """The response that these last bytes of an answer have; None if they have none that was completed."""
    if not stream:
        body: Json = json.loads(data)
        return body
    return next((value for value in _responses_in(data, _LAST_EVENTS)), None)


def _responses_in(data: bytes, names: tuple[str, ...] = ()) -> list[Json]:
    """The responses in these whole events, or in those of these names."""
    decoder = sse.Decoder(max_event_bytes=2 * len(data) + 1)
    events = [event for event in [*decoder.feed(data), *decoder.close()] if isinstance(event, sse.Event)]
    chosen = [event for event in events if event.event in names] if names else events[:1]
    found = [json.loads(event.data).get("response") for event in chosen]
    return [response for response in found if isinstance(response, dict)]
