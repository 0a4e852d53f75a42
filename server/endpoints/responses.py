"""Stored responses over HTTP: one of them, its input, cancelling and deleting it. Making them is `chat`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import trio

from ...protocol.chat import Failed
from .. import aside, refusal
from ..http import Refusal
from ..sessions import lost
from ..store.errors import StoreError
from ..visit import Visit

if TYPE_CHECKING:
    from ..store.responses import StoredResponse

__all__ = ["cancel_response", "delete_response", "one_response"]

Json = dict[str, Any]

CANCEL_SECONDS = 10.0
"""How long an answer that is cancelled may take to end."""

USUAL_PAGE, LARGEST_PAGE = 20, 100
_INPUT_ITEMS, _CANCEL = "/input_items", "/cancel"
_ITEM_BYTES = 100  # of the shortest, about
_ID_PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs", "custom_tool_call": "ctc"}


async def one_response(visit: Visit) -> None:
    """GET /v1/responses/{id}, and its input items below that."""
    path = visit.request.path.removeprefix("/responses/")
    if path.endswith(_CANCEL):
        raise refusal.method_not_allowed("GET", "OPTIONS, POST")
    if path.endswith(_INPUT_ITEMS):
        await _input_items(visit, unquote(path.removesuffix(_INPUT_ITEMS)))
        return
    id = unquote(path)
    if visit.query().get("stream", "false") != "false":
        raise refusal.bad_request("A stored response is not streamed again.", "unsupported_parameter", "stream")
    begun = visit.gateway.answering.get((_owner(visit), id))
    await visit.answer(200, begun.body if begun is not None else (await _stored(visit, id)).body)


async def cancel_response(visit: Visit) -> None:
    """POST /v1/responses/{id}/cancel: one that is being given ends; one that has ended is told as it is."""
    path = visit.request.path.removeprefix("/responses/")
    if not visit.intake.discard_body():
        visit.reply.keep_alive = False
    if not path.endswith(_CANCEL):
        raise refusal.method_not_allowed("POST", "DELETE, GET, HEAD, OPTIONS")
    gateway, id = visit.gateway, unquote(path.removesuffix(_CANCEL))
    begun = gateway.answering.get((_owner(visit), id))
    if begun is not None:
        begun.cancelled = True
        for exchange in gateway.exchanges:
            if exchange.request_id == begun.request_id:
                exchange.cancel()
        with trio.move_on_after(CANCEL_SECONDS):
            await begun.done.wait()
    await visit.answer(200, (await _stored(visit, id)).body)


async def delete_response(visit: Visit) -> None:
    """DELETE /v1/responses/{id}."""
    path = visit.request.path.removeprefix("/responses/")
    if path.endswith((_INPUT_ITEMS, _CANCEL)):
        raise refusal.method_not_allowed("DELETE", "OPTIONS")
    store, id = visit.gateway.store, unquote(path)
    try:
        deleted = store is not None and await store.responses.delete(_owner(visit), id)
    except StoreError as exc:
        raise lost(exc) from exc
    if not deleted:
        raise _missing(id)
    await visit.answer(200, {"id": id, "object": "response", "deleted": True})


async def _input_items(visit: Visit, id: str) -> None:
    query, stored = visit.query(), await _stored(visit, id)
    items = await aside.run(_ITEM_BYTES * len(stored.input), _with_ids, stored.input, id)
    order, limit, after = query.get("order", "desc"), query.get("limit", str(USUAL_PAGE)), query.get("after")
    if order not in ("asc", "desc"):
        raise refusal.bad_request("'order' must be 'asc' or 'desc'.", "invalid_value", "order")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 8 and 1 <= int(limit) <= LARGEST_PAGE):
        raise refusal.bad_request(f"'limit' must be from 1 to {LARGEST_PAGE}.", "invalid_value", "limit")
    if order == "desc":
        items.reverse()
    if after is not None:
        place = next((number for number, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            raise refusal.bad_request("'after' must be the id of an item.", "invalid_value", "after")
        items = items[place + 1 :]
    page = items[: int(limit)]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    more = len(items) > len(page)
    await visit.answer(200, {"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more})


def _with_ids(items: list[Json], response_id: str) -> list[Json]:
    return [_with_id(item, number, response_id) for number, item in enumerate(items)]


def _with_id(item: Json, number: int, response_id: str) -> Json:
    """The item with an id and all that a client may look for in it."""
    kind = item.get("type", "message")
    prefix = _ID_PREFIXES.get(kind, kind.removesuffix("_output"))
    full = {"id": f"{prefix}_{response_id.removeprefix('resp_')}_in{number}", **item, "type": kind}
    if kind == "message" and isinstance(item.get("content"), str):
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        said: Json = {"type": part, "text": item["content"]}
        full["content"] = [said | {"annotations": []} if part == "output_text" else said]
    if kind in ("message", "function_call", "function_call_output"):
        full.setdefault("status", "completed")
    return full


async def _stored(visit: Visit, id: str) -> StoredResponse:
    store = visit.gateway.store
    try:
        found = await store.responses.get(_owner(visit), id) if store is not None else None
    except StoreError as exc:
        raise lost(exc) from exc
    if found is None:
        raise _missing(id)
    return found


def _missing(id: str) -> Refusal:
    why = f"Response with id '{id}' not found."
    return Refusal(Failed(why, 404, "invalid_request_error", "response_not_found", "id"))


def _owner(visit: Visit) -> int:
    return visit.gateway.gate.owner(visit.key)
