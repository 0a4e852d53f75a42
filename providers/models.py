"""Which models an upstream has: reading the lists of all sorts of servers, and remembering them.

`parse` takes what servers really send to `GET /models`: OpenAI's `{"data": [...]}`, a bare list,
`{"models": [...]}`, Gemini's ids with their `models/` in front, Ollama's tags. The members that clients
make use of are kept, the rest (price lists, licences) is skipped by msgspec as it reads.

`ModelList` remembers one upstream's list. It is asked for again when it is older than the caller can bear,
by one caller for all: the first one drives, the others wait for it, and if the driver is cancelled another
takes over. There is no background task. A failure keeps the last known list, and is itself remembered for
a while, so that an upstream that is down is not asked for each request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import trio
from msgspec import UNSET

__all__ = ["MAX_LIST_BYTES", "ListUnavailable", "ModelInfo", "ModelList", "parse"]

MAX_LIST_BYTES = 4 * 1024 * 1024
"""Ten times the longest list known (OpenRouter's): decoding as much takes some milliseconds."""

MAX_MODELS = 10_000
MAX_ID_LENGTH = 512
RETRY_AFTER = 10.0
"""Seconds for which a failure is remembered, if the caller would not have waited longer anyway."""


class ListUnavailable(Exception):
    """The list could not be had. The message is a few plain words, without addresses or secrets."""


class ModelInfo(NamedTuple):
    """One model: its id at the upstream, and what clients may want to know about it."""

    id: str
    created: int = 0
    owned_by: str = ""
    extras: Mapping[str, Any] = MappingProxyType({})
    card: Mapping[str, Any] = MappingProxyType({})
    """What only Ollama's clients ask for, as the upstream says it."""


Ask = Callable[[], Awaitable[list[ModelInfo]]]


class _Entry(msgspec.Struct):
    """An element of any of the lists; of types that nobody can rely on."""

    id: Any = None
    model: Any = None
    name: Any = None
    created: Any = None
    modified_at: Any = None
    owned_by: Any = None
    context_length: Any = UNSET
    context_window: Any = UNSET
    max_model_len: Any = UNSET
    max_completion_tokens: Any = UNSET
    supported_parameters: Any = UNSET
    size: Any = UNSET
    digest: Any = UNSET
    details: Any = UNSET
    capabilities: Any = UNSET
    architecture: Any = UNSET
    meta: Any = UNSET


_EXTRAS = (
    "context_length",
    "context_window",
    "max_model_len",
    "max_completion_tokens",
    "supported_parameters",
)
_CARD = (
    *("modified_at", "size", "digest", "details", "capabilities"),  # Ollama
    "architecture",  # OpenRouter: its modalities
    "meta",  # llama.cpp: the size of its context
)


class _Page(msgspec.Struct):
    """The object around a list, by either of its names."""

    data: list[_Entry | str] | msgspec.UnsetType | None = UNSET
    models: list[_Entry | str] | msgspec.UnsetType | None = UNSET


_decode = msgspec.json.Decoder(_Page | list[_Entry | str]).decode


def parse(body: bytes) -> list[ModelInfo]:
    """The models that a list names, each id once, in the list's order.

    Raises ListUnavailable if it is no list of models. Entries without an id are skipped.
    """
    try:
        page = _decode(body)
    except (ValueError, RecursionError) as exc:
        raise ListUnavailable("the list of models cannot be read") from exc
    entries = page if isinstance(page, list) else page.models if page.data is UNSET else page.data
    if entries is UNSET:
        raise ListUnavailable("the answer has no list of models")
    found: dict[str, ModelInfo] = {}
    for entry in entries or ():
        info = _info(_Entry(id=entry) if isinstance(entry, str) else entry)
        if info is not None and len(found) < MAX_MODELS:
            found.setdefault(info.id, info)
    return list(found.values())


def _info(entry: _Entry) -> ModelInfo | None:
    named = [word.removeprefix("models/") for word in (entry.id, entry.model, entry.name) if isinstance(word, str)]
    name = next(filter(None, named), "")
    if not name or len(name) > MAX_ID_LENGTH:
        return None
    extras, card = _said(entry, _EXTRAS), _said(entry, _CARD)
    if isinstance(entry.name, str) and named[-1] != name:
        extras["name"] = entry.name
    owner = entry.owned_by if isinstance(entry.owned_by, str) else ""
    return ModelInfo(name, _seconds(entry.created, entry.modified_at), owner, extras, card)


def _said(entry: _Entry, names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(entry, name)) not in (UNSET, None)}


def _seconds(created: object, modified_at: object) -> int:
    """Whole seconds since the epoch, from OpenAI's number or Ollama's date; 0 if neither is one."""
    try:
        if isinstance(created, int | float):
            return int(created)
        return int(datetime.fromisoformat(modified_at).timestamp()) if isinstance(modified_at, str) else 0
    except (ValueError, OverflowError):
        return 0


class ModelList:
    """One upstream's list of models, asked for when needed and remembered.

    `ask` fetches it, in bounded time, and raises ListUnavailable where it cannot; without it the list is what
    the user wrote down, `known`, and nobody is asked. What callers see:

    * `known`: the last list that could be had, also while the upstream is down.
    * `asked`: whether there was any answer yet, be it a failure.
    * `trouble`: why the last attempt failed, or "".
    """

    def __init__(self, ask: Ask | None, known: Iterable[ModelInfo] = ()) -> None:
        self._ask = ask
        self._done: trio.Event | None = None
        self._time = float("-inf")
        self.known = {info.id: info for info in known}
        self.trouble = ""

    @property
    def asked(self) -> bool:
        return self._ask is None or self._time != float("-inf")

    def fresh(self, max_age: float) -> bool:
        """Whether `get` would return at once."""
        if self._ask is None:
            return True
        bearable = min(max_age, RETRY_AFTER) if self.trouble else max_age
        return trio.current_time() - self._time <= bearable

    async def get(self, max_age: float) -> Mapping[str, ModelInfo]:
        """The models by id, from an attempt that is at most `max_age` seconds old.

        Never raises for an upstream's fault: then it is the last known list, which may be empty.
        """
        while self._ask is not None and not self.fresh(max_age):
            if self._done is not None:
                # Whoever drives may be cancelled; so look again, and if need be take over.
                await self._done.wait()
                continue
            self._done = trio.Event()
            try:
                await self._refresh(self._ask)
            finally:
                self._done.set()
                self._done = None
        return self.known

    async def _refresh(self, ask: Ask) -> None:
        try:
            self.known = {info.id: info for info in await ask()}
            self.trouble = ""
        except ListUnavailable as exc:
            self.trouble = str(exc)
        self._time = trio.current_time()
