"""The small tables: what is known of models, and settings that are changed while the gateway runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa

from . import schema
from .desk import Desk
from .statements import upsert

__all__ = ["KnownModel", "Models", "Settings"]


class KnownModel(NamedTuple):
    """A model that was called or heard of, and the size of its window if that is known."""

    provider: str
    name: str
    context_tokens: int | None
    seen_at: float


class Models:
    """What is known of models, in the store at `desk`."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._clock = clock

    async def learn(self, provider: str, name: str, context_tokens: int | None) -> None:
        """Remember the size of a model's window. Raises StoreError."""
        model = KnownModel(provider, name, context_tokens, self._clock())
        await self._desk.write(partial(_learn, model=model))

    async def all(self) -> list[KnownModel]:
        """All models that are known, by provider and name. Raises StoreError."""
        return await self._desk.read(_models)


class Settings:
    """Values of JSON by name, in the store at `desk`."""

    def __init__(self, desk: Desk, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._clock = clock

    async def get(self, name: str) -> Any:
        """The value of this name; None if there is none. Raises StoreError."""
        return await self._desk.read(partial(_setting, name=name))

    async def put(self, name: str, value: Any) -> None:
        """Keep a value; committed on return. Raises StoreError."""
        await self._desk.write(partial(_put_setting, name=name, value=value, now=self._clock()))


def _learn(connection: sa.Connection, model: KnownModel) -> None:
    insert = upsert(connection, schema.models).values(model._asdict())
    newer = {"context_tokens": model.context_tokens, "seen_at": model.seen_at}
    connection.execute(insert.on_conflict_do_update(index_elements=["provider", "name"], set_=newer))


def _models(connection: sa.Connection) -> list[KnownModel]:
    models = schema.models
    found = connection.execute(sa.select(models).order_by(models.c.provider, models.c.name))
    return [KnownModel(**row._mapping) for row in found]


def _setting(connection: sa.Connection, name: str) -> Any:
    return connection.execute(sa.select(schema.settings.c.value).where(schema.settings.c.name == name)).scalar()


def _put_setting(connection: sa.Connection, name: str, value: Any, now: float) -> None:
    insert = upsert(connection, schema.settings).values(name=name, value=value, updated_at=now)
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"value": value, "updated_at": now}))
