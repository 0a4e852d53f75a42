"""What a model id means here: which providers are called, in which order, for which of their models.

Names of providers, routes and aliases share one space, and an id is read in this order:

1. an alias, whole: `fast`. Its target is an id again, read by the same rules.
2. `route/model`: the route's steps in order, each for `model` unless the step names one of its own. The bare
   `route` does where every step names one.
3. `provider/anything`: that provider, known or not; the upstream decides. Only the first slash divides, since
   ids have slashes of their own (`openrouter/qwen/qwen3:free`).
4. anything else is a bare id, and exactly one provider must know it.

Ollama writes the same model as `name` and as `name:latest`, and its clients add the tag to what has none. So an id
that nobody knows as it is written is read the other way too.

A known id costs no I/O. The providers' lists are asked for when nobody knows an id, or when one of them was
never asked; all at once, and in bounded time (`provider.LIST_TIMEOUT`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import trio
from msgspec import UNSET

from .models import ModelInfo
from .provider import Provider
from .settings import RouteSettings, RouteTarget

__all__ = ["LATEST", "AmbiguousModel", "Catalog", "CatalogError", "Model", "ModelError", "Target", "UnknownModel"]

MAX_AGE = 60.0
"""Seconds for which a list of models is good for listing."""

MISS_MAX_AGE = 10.0
"""The same when an id is not found: a model that was just pulled should be there."""

LATEST = ":latest"
"""The tag that Ollama's clients put where a model's name has none."""

_SHOWN = 200
"""Characters of a client's model id that an error repeats."""


class CatalogError(ValueError):
    """The configuration cannot be: names that collide, that mean nothing, or that go in circles."""


class ModelError(LookupError):
    """A client's model id leads nowhere. The message is for that client."""


class UnknownModel(ModelError):
    """Nobody here knows the id."""


class AmbiguousModel(ModelError):
    """Several providers know the bare id; the message lists what would do instead."""


class Target(NamedTuple):
    """Whom to call, and for which model."""

    provider: Provider
    model: str

    @property
    def id(self) -> str:
        """The id that says exactly this: what access is judged on."""
        return f"{self.provider.name}/{self.model}"


class Model(NamedTuple):
    """An id that can be asked for, whom it leads to, and what the first of them that knows its model says of it."""

    id: str
    targets: list[Target]

    @property
    def provider(self) -> Provider:
        """The first that is tried."""
        return self.targets[0].provider

    @property
    def info(self) -> ModelInfo:
        """What is known; of a model that nobody lists, nothing but its id."""
        return next(filter(None, map(_listed, self.targets)), ModelInfo(self.targets[0].model))


class Catalog:
    """All providers, routes and aliases of one gateway. Raises CatalogError where they cannot be."""

    def __init__(
        self,
        providers: Iterable[Provider],
        routes: Mapping[str, RouteSettings] = {},
        aliases: Mapping[str, str] = {},
    ) -> None:
        self.providers: dict[str, Provider] = {}
        for provider in providers:
            _claim(provider.name, "provider", self.providers)
            self.providers[provider.name] = provider
        self.routes: dict[str, list[RouteTarget]] = {}
        for name, route in routes.items():
            _claim(name, "route", self.providers, self.routes)
            self.routes[name] = self._steps(name, route)
        for name in aliases:
            _claim(name, "alias", self.providers, self.routes)
        self.aliases = {name: _follow(name, aliases) for name in aliases}

    def _steps(self, name: str, route: RouteSettings) -> list[RouteTarget]:
        steps = [RouteTarget(provider=step) if isinstance(step, str) else step for step in route.providers]
        if not steps:
            raise CatalogError(f"route '{name}' has no providers")
        for step in steps:
            if step.provider not in self.providers:
                raise CatalogError(f"route '{name}' names the provider '{step.provider}', which does not exist")
        return steps

    # From an id to targets

    async def resolve(self, model_id: str) -> list[Target]:
        """The targets of an id, in the order in which they are to be tried; at least one.

        Raises UnknownModel or AmbiguousModel.
        """
        id = self._own_name(model_id)
        targets = self._named(id)
        if targets is None and not self._sure_of(id):
            await self._refresh(MISS_MAX_AGE)
        elif targets is not None and id.endswith(LATEST):  # only its list says what such a name means to a provider
            unasked = [target.provider for target in targets if not target.provider.model_list.asked]
            await self._refresh(MISS_MAX_AGE, unasked)
            targets = self._named(id)
        return targets or [self._bare(id, model_id)]

    def _own_name(self, model_id: str) -> str:
        """The id without the names that only this gateway knows: what an alias stands for, a route without a tag."""
        for id in (model_id, model_id.removesuffix(LATEST)):
            if id in self.aliases:
                return self.aliases[id]
            if id in self.routes:
                return id
        return model_id

    def _named(self, id: str) -> list[Target] | None:
        """The targets of an id that begins with a name of ours; None if it is a bare one."""
        name, _, model = id.partition("/")
        if name in self.routes:
            steps = self.routes[name]
            if not model and any(step.model is UNSET for step in steps):
                raise UnknownModel(f"The route '{name}' needs a model: '{name}/<model>'")
            return [
                _target(self.providers[step.provider], model if step.model is UNSET else step.model) for step in steps
            ]
        if name in self.providers and model:
            return [_target(self.providers[name], model)]
        return None

    def _sure_of(self, id: str) -> bool:
        """Whether the lists at hand settle who knows a bare id."""
        lists = [provider.model_list for provider in self.providers.values()]
        names = _names(id)
        return all(known.asked for known in lists) and any(name in known.known for known in lists for name in names)

    def _bare(self, id: str, model_id: str) -> Target:
        for name in _names(id):
            who = [provider for provider in self.providers.values() if name in provider.models_known]
            if len(who) == 1:
                return Target(who[0], name)
            if who:
                candidates = ", ".join(f"'{provider.name}/{name}'" for provider in who)
                raise AmbiguousModel(
                    f"The model '{model_id[:_SHOWN]}' is served by several providers: say {candidates}"
                )
        raise _unknown(model_id)

    async def _refresh(self, max_age: float, providers: Iterable[Provider] | None = None) -> None:
        """Ask those providers for their lists whose last one is too old, all at the same time."""
        asked = self.providers.values() if providers is None else providers
        stale = [provider for provider in asked if not provider.model_list.fresh(max_age)]
        if stale:
            async with trio.open_nursery() as nursery:
                for provider in stale:
                    nursery.start_soon(provider.models, max_age)

    # What there is

    async def models(self) -> list[Model]:
        """What can be asked for: of every provider (`provider/model`), then routes, then aliases."""
        await self._refresh(MAX_AGE)
        ids = [f"{name}/{model}" for name, provider in self.providers.items() for model in provider.models_known]
        ids += [id for name, steps in self.routes.items() for id in self._route_ids(name, steps)]
        found = []
        for id in [*ids, *self.aliases]:
            try:
                found.append(Model(id, self._targets_at_hand(id)))
            except ModelError:
                continue  # an alias to a model that is not there now
        return found

    async def model(self, model_id: str) -> Model:
        """One id, bare ones too, as it was asked for.

        Raises UnknownModel or AmbiguousModel. A model that its provider does not list is unknown here,
        though it may be called; unless the provider never gave a list.
        """
        targets = await self.resolve(model_id)
        if not any(map(_listed, targets)):
            await self._refresh(MISS_MAX_AGE, [target.provider for target in targets])
            targets = await self.resolve(model_id)
        if not any(map(_listed, targets)) and all(target.provider.models_known for target in targets):
            raise _unknown(model_id)
        return Model(model_id, targets)

    def _targets_at_hand(self, model_id: str) -> list[Target]:
        id = self.aliases.get(model_id, model_id)
        return self._named(id) or [self._bare(id, model_id)]

    def _route_ids(self, name: str, steps: list[RouteTarget]) -> list[str]:
        """The ids under which a route is listed: by the models that all its steps can serve.

        A step whose provider has no list keeps nothing out.
        """
        free = [self.providers[step.provider].models_known for step in steps if step.model is UNSET]
        if not free:
            return [name]
        lists = [known for known in free if known]
        return [f"{name}/{model}" for model in lists[0] if all(model in other for other in lists)] if lists else []


def _claim(name: str, kind: str, *taken: Mapping[str, object]) -> None:
    """Check a name against the one space that all of them share.

    An alias may have slashes in it, if it does not begin like an id of ours.
    """
    first, slash, _ = name.partition("/")
    if not first or (slash and kind != "alias"):
        raise CatalogError(f"the {kind} name '{name}' must not be empty or have a slash in it")
    if any(first in names for names in taken):
        raise CatalogError(f"the {kind} name '{name}' is taken: providers, routes and aliases share one space")


def _follow(name: str, aliases: Mapping[str, str]) -> str:
    """Where an alias leads in the end, which is no alias."""
    seen = [name]
    while (target := aliases[seen[-1]]) in aliases:
        if target in seen:
            raise CatalogError(f"alias '{name}' goes in circles: {' -> '.join([*seen, target])}")
        seen.append(target)
    if not target:
        raise CatalogError(f"alias '{name}' has no target")
    return target


def _unknown(model_id: str) -> UnknownModel:
    return UnknownModel(f"The model '{model_id[:_SHOWN]}' does not exist")


def _listed(target: Target) -> ModelInfo | None:
    """What the provider's list says of the target's model, if it is there."""
    known = target.provider.models_known
    return next((known[name] for name in _names(target.model) if name in known), None)


def _names(id: str) -> tuple[str, ...]:
    """The ways in which Ollama may write a name, the one that was written first."""
    return (id, id.removesuffix(LATEST) if id.endswith(LATEST) else id + LATEST)


def _target(provider: Provider, model: str) -> Target:
    """The provider and its model, without a tag that only clients have put there."""
    known = provider.models_known
    plain = model.removesuffix(LATEST)
    return Target(provider, plain if plain in known and model not in known else model)
