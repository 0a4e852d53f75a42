"""For whoever runs the gateway: the keys of the store, and what they used. Needs a key with `admin = true`.

The same as `penstock keys`, over HTTP and without a shell. A key's secret is in the answer that made it, and nowhere
else; what is changed is committed before the answer says so, and holds here at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Meta

from .. import refusal
from ..access import is_origin
from ..key_facts import facts, fault_in_expiry, fault_in_name
from ..store.errors import StoreError
from ..visit import Visit

if TYPE_CHECKING:
    from ..store.store import Store
    from ..store.usage import Total

__all__ = ["change_key", "create_key", "keys", "usage"]

MOST = 2**53
DAY = 86400.0

_Count = Annotated[int, Meta(ge=0, le=MOST)]


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a key."""

    name: str
    user: Annotated[str, Meta(max_length=200)] = ""
    models: Annotated[list[str], Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["*"])
    origins: list[str] = msgspec.field(default_factory=list)
    requests_per_minute: _Count = 0
    tokens_per_minute: _Count = 0
    parallel: _Count = 0
    token_budget: _Count = 0
    budget_period: Literal["day", "month", "total"] = "total"
    expires_at: float | None = None


async def keys(visit: Visit) -> None:
    """GET /admin/keys: all keys, the revoked ones too, without their secrets."""
    store = _store(visit)
    try:
        found = await store.keys.all()
    except StoreError as exc:
        raise _away(exc) from exc
    await visit.answer(200, {"object": "list", "data": [facts(key) for key in found]})


async def create_key(visit: Visit) -> None:
    """POST /admin/keys: a new key. Its secret is in this answer only."""
    store = _store(visit)
    try:
        wanted = msgspec.convert(await visit.read_object(), _Wanted)
    except msgspec.ValidationError as exc:
        raise refusal.bad_request(f"No key can be made of this: {exc}.") from exc
    for origin in wanted.origins:
        if not is_origin(origin):
            raise refusal.bad_request(
                "'origins' must be like https://chat.example.com, without a path.", param="origins"
            )
    if fault := fault_in_name(wanted.name):
        raise refusal.bad_request(fault, param="name")
    if wanted.expires_at is not None and (fault := fault_in_expiry(wanted.expires_at, time.time())):
        raise refusal.bad_request(fault, param="expires_at")
    from ..store.key_rows import Terms

    terms = Terms(
        tuple(wanted.models),
        tuple(origin.lower() for origin in wanted.origins),
        wanted.requests_per_minute,
        wanted.tokens_per_minute,
        wanted.parallel,
        wanted.token_budget,
        wanted.budget_period,
        wanted.expires_at,
    )
    try:
        key, secret = await store.keys.create(wanted.name, terms, user=wanted.user)
    except StoreError as exc:
        raise _away(exc) from exc
    await visit.answer(201, {**facts(key), "key": secret})


async def change_key(visit: Visit) -> None:
    """DELETE /admin/keys/{name}: revoke it. POST /admin/keys/{name}/rotate?grace_seconds=3600: a new secret for it; the
    old one stays good for so long."""
    store = _store(visit)
    name, _, verb = visit.request.path.removeprefix("/admin/keys/").partition("/")
    name = unquote(name)
    if (visit.request.method, verb) not in (("DELETE", ""), ("POST", "rotate")):
        raise refusal.not_found(visit.request.method, visit.request.path)
    try:
        if not verb:
            key = await store.keys.revoke(name)
            told = {} if key is None else facts(key)
        else:
            made = await store.keys.rotate(name, grace=_grace(visit))
            told = {} if made is None else {**facts(made[0]), "key": made[1]}
    except StoreError as exc:
        raise _away(exc) from exc
    if not told:
        raise refusal.missing(f"There is no key named '{name[:100]}'.")
    await visit.answer(200, told)


def _grace(visit: Visit) -> float:
    said = parse_qs(visit.request.query).get("grace_seconds", ["0"])[0]
    if not (said.isascii() and said.isdigit() and len(said) <= 8):
        raise refusal.bad_request("'grace_seconds' must be a whole number of seconds.", param="grace_seconds")
    return float(said)


async def usage(visit: Visit) -> None:
    """GET /admin/usage?by=key|model&days=30: what was used, the most tokens first."""
    store = _store(visit)
    query = parse_qs(visit.request.query)
    by = query.get("by", ["key"])[0]
    days = query.get("days", ["30"])[0]
    if by not in ("key", "model") or not days.isascii() or not days.isdigit() or len(days) > 5:
        raise refusal.bad_request("The query must be like ?by=key&days=30, or by=model.")
    try:
        found = await store.usage.totals("key" if by == "key" else "model", since=time.time() - int(days) * DAY)
    except StoreError as exc:
        raise _away(exc) from exc
    await visit.answer(200, {"object": "list", "by": by, "days": int(days), "data": [_told(total) for total in found]})


def _told(total: Total) -> dict[str, Any]:
    """A line of the accounts: with the key's id where it is a key's, since another may have had its name before."""
    return {name: value for name, value in total._asdict().items() if name != "key_id" or value is not None}


def _store(visit: Visit) -> Store:
    """The store, for an administrator. Raises Refusal for anybody else."""
    if visit.key is None or not visit.key.admin:
        raise refusal.forbidden("This needs a key with admin = true, in a [[keys]] table of the configuration.")
    if visit.gateway.store is None:
        raise refusal.missing("There is no store: add a [store] table to the configuration.")
    return visit.gateway.store


def _away(exc: StoreError) -> Exception:
    if exc.kind == "conflict":
        return refusal.conflict(exc.message)
    return refusal.busy(exc.message)
