"""From a client's model id to the providers that are called, and the list of what there is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
import trio.testing

from penstock.providers.catalog import AmbiguousModel, Catalog, CatalogError, UnknownModel
from penstock.providers.direct import DirectTransport
from penstock.providers.models import ModelInfo
from penstock.providers.provider import LIST_TIMEOUT, Provider
from penstock.providers.settings import ProviderSettings, RouteSettings, RouteTarget
from shelf import Shelf


def provider(name: str, *models: str, preset: str = "openai") -> Provider:
    """A provider whose models were written down."""
    settings = ProviderSettings(preset=preset, base_url="http://127.0.0.1:9/v1", models=list(models))
    return Provider(name, settings, make_transport=lambda origin, _: DirectTransport(origin))


def route(*steps: str) -> RouteSettings:
    """A route, from steps like `local` or `backup/other`."""
    parted = [step.partition("/") for step in steps]
    return RouteSettings(
        providers=[RouteTarget(provider=name, model=model) if model else name for name, _, model in parted]
    )


def catalog(routes: Mapping[str, RouteSettings] = {}, aliases: Mapping[str, str] = {}) -> Catalog:
    providers = [
        provider("local", "tiny", "both", "org/a:free", "v1.2@x"),
        provider("backup", "other", "both"),
        provider("router", "local/tiny", "qwen/qwen3:free"),
        provider("echo", "echo"),
    ]
    return Catalog(providers, routes, aliases)


async def ids(made: Catalog, model_id: str) -> list[str]:
    return [target.id for target in await made.resolve(model_id)]


# -- names that can be --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routes", "aliases", "words"),
    [
        ({"local": route("backup")}, {}, "route name 'local' is taken"),
        ({}, {"local": "backup/other"}, "alias name 'local' is taken"),
        ({"safe": route("local")}, {"safe": "local/tiny"}, "alias name 'safe' is taken"),
        ({}, {"local/tiny": "backup/other"}, "alias name 'local/tiny' is taken"),
        ({"a/b": route("local")}, {}, "must not be empty or have a slash"),
        ({}, {"": "local/tiny"}, "must not be empty"),
        ({"safe": route()}, {}, "route 'safe' has no providers"),
        ({"safe": route("local", "nowhere")}, {}, "'nowhere', which does not exist"),
        ({"safe": route("local"), "loop": route("safe")}, {}, "'safe', which does not exist"),
        ({}, {"a": "b", "b": "c", "c": "a"}, "alias 'a' goes in circles: a -> b -> c -> a"),
        ({}, {"a": "a"}, "a -> a"),
        ({}, {"x": "a", "a": "b", "b": "a"}, "goes in circles"),
        ({}, {"a": ""}, "alias 'a' has no target"),
    ],
)
def test_what_cannot_be_is_said_at_the_start(
    routes: dict[str, RouteSettings], aliases: dict[str, str], words: str
) -> None:
    with pytest.raises(CatalogError, match=words):
        catalog(routes, aliases)


def test_two_providers_of_one_name() -> None:
    with pytest.raises(CatalogError, match="provider name 'a' is taken"):
        Catalog([provider("a"), provider("a")])


# -- from an id to targets ----------------------------------------------------------------------------------

ROUTES = {
    "safe": route("local", "backup"),
    "mixed": route("local", "backup/other"),
    "pinned": route("local/tiny", "backup/other"),
}
ALIASES = {
    "fast": "local/tiny",
    "faster": "fast",
    "gpt-4o": "safe/both",
    "vendor/model": "pinned",
    "bare": "qwen/qwen3:free",
    "lost": "gone",
}


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("local/tiny", ["local/tiny"]),
        ("local/never-heard-of:it@1.0", ["local/never-heard-of:it@1.0"]),
        ("local/a/b/c", ["local/a/b/c"]),
        ("router/qwen/qwen3:free", ["router/qwen/qwen3:free"]),
        ("safe/tiny", ["local/tiny", "backup/tiny"]),
        ("safe/org/a:free", ["local/org/a:free", "backup/org/a:free"]),
        ("mixed/tiny", ["local/tiny", "backup/other"]),
        ("pinned", ["local/tiny", "backup/other"]),
        ("pinned/anything", ["local/tiny", "backup/other"]),
        ("fast", ["local/tiny"]),
        ("faster", ["local/tiny"]),
        ("gpt-4o", ["local/both", "backup/both"]),
        ("vendor/model", ["local/tiny", "backup/other"]),
        ("bare", ["router/qwen/qwen3:free"]),
        ("tiny", ["local/tiny"]),
        ("other", ["backup/other"]),
        ("org/a:free", ["local/org/a:free"]),
        ("v1.2@x", ["local/v1.2@x"]),
        ("qwen/qwen3:free", ["router/qwen/qwen3:free"]),
        ("echo", ["echo/echo"]),
        ("echo/echo", ["echo/echo"]),
    ],
)
async def test_what_an_id_means(model_id: str, expected: list[str]) -> None:
    assert await ids(catalog(ROUTES, ALIASES), model_id) == expected


TAGGED = {
    "local/tiny:latest": ["local/tiny"],
    "local/odd:latest": ["local/odd:latest"],
    "local/odd": ["local/odd"],  # the provider knows its own names
    "local/unheard:latest": ["local/unheard:latest"],
    "safe/tiny:latest": ["local/tiny", "backup/tiny:latest"],
    "pinned:latest": ["local/tiny", "backup/other"],
    "fast:latest": ["local/tiny"],
    "vendor/model:latest": ["local/tiny", "backup/other"],
    "tiny:latest": ["local/tiny"],
    "odd": ["local/odd:latest"],
    "odd:latest": ["local/odd:latest"],
    "twin": ["backup/twin"],
    "twin:latest": ["local/twin:latest"],
}


@pytest.mark.parametrize(("model_id", "expected"), TAGGED.items(), ids=TAGGED)
async def test_ollama_s_tag_says_nothing_where_nobody_has_it(model_id: str, expected: list[str]) -> None:
    providers = [provider("local", "tiny", "odd:latest", "twin:latest"), provider("backup", "other", "twin")]
    assert await ids(Catalog(providers, ROUTES, ALIASES), model_id) == expected


@pytest.mark.parametrize("model_id", ["both:latest", "both"])
async def test_a_tag_does_not_choose_between_providers(model_id: str) -> None:
    with pytest.raises(AmbiguousModel, match=f"'{model_id}' is served by several providers: say 'local/both'"):
        await catalog().resolve(model_id)


async def test_the_list_says_what_a_tag_means(nursery: trio.Nursery, autojump_clock: object) -> None:
    shelf = Shelf(nursery, "tiny")
    made = Catalog([shelf.provider("far")])
    for _ in range(3):
        assert await ids(made, "far/tiny:latest") == ["far/tiny"]
    assert len(shelf.requests) == 1


@pytest.mark.parametrize(
    "model_id", ["", "/", "x", "local", "local/", "gone/tiny", "tiny/", "lost", "fast/tiny", "Tiny"]
)
async def test_an_id_that_nobody_knows(model_id: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        await catalog(ROUTES, ALIASES).resolve(model_id)
    assert str(caught.value) == f"The model '{model_id}' does not exist"


async def test_a_very_long_id_is_not_repeated_whole() -> None:
    with pytest.raises(UnknownModel) as caught:
        await catalog().resolve("x" * 100_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("model_id", ["safe", "safe/", "mixed"])
async def test_a_route_that_needs_a_model_says_so(model_id: str) -> None:
    with pytest.raises(UnknownModel, match=r"needs a model: '(safe|mixed)/<model>'"):
        await catalog(ROUTES).resolve(model_id)


async def test_a_bare_id_that_several_know_lists_them() -> None:
    with pytest.raises(AmbiguousModel) as caught:
        await catalog().resolve("both")
    assert str(caught.value) == "The model 'both' is served by several providers: say 'local/both', 'backup/both'"


# -- lists that have to be asked for ------------------------------------------------------------------------


async def test_a_known_id_asks_nobody(nursery: trio.Nursery, autojump_clock: object) -> None:
    shelf = Shelf(nursery, "tiny")
    made = Catalog([shelf.provider("far")], {"r": route("far")}, {"a": "far/tiny"})
    for model_id in ("far/tiny", "r/tiny", "a"):
        assert await ids(made, model_id) == ["far/tiny"]
    assert shelf.requests == []
    assert await ids(made, "tiny") == ["far/tiny"]
    await trio.sleep(3600)
    assert await ids(made, "tiny") == ["far/tiny"]
    assert len(shelf.requests) == 1


async def test_a_bare_id_waits_for_every_list_once(nursery: trio.Nursery, autojump_clock: object) -> None:
    shelves = [Shelf(nursery, "tiny"), Shelf(nursery, "tiny")]
    shelves[1].delay = 3
    made = Catalog([shelf.provider(f"p{number}") for number, shelf in enumerate(shelves)])
    with pytest.raises(AmbiguousModel):
        await made.resolve("tiny")
    assert trio.current_time() == pytest.approx(3)


async def test_a_model_that_was_just_pulled_is_there_soon(nursery: trio.Nursery, autojump_clock: object) -> None:
    shelf = Shelf(nursery)
    made = Catalog([shelf.provider("far")])
    for _ in range(5):
        with pytest.raises(UnknownModel):
            await made.resolve("new")
    assert len(shelf.requests) == 1
    shelf.models.append("new")
    await trio.sleep(11)
    assert await ids(made, "new") == ["far/new"]


async def test_lists_are_asked_for_at_the_same_time_and_not_waited_for_long(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    shelves = [Shelf(nursery, f"m{number}") for number in range(5)]
    for shelf in shelves[:3]:
        shelf.delay = 3600
    shelves[3].refuses = True
    made = Catalog([shelf.provider(f"p{number}") for number, shelf in enumerate(shelves)])
    assert [model.id for model in await made.models()] == ["p4/m4"]
    assert trio.current_time() == pytest.approx(LIST_TIMEOUT)
    nursery.cancel_scope.cancel()


# -- what there is ------------------------------------------------------------------------------------------


async def test_the_list_has_providers_models_then_routes_then_aliases() -> None:
    models = await catalog(ROUTES, ALIASES).models()
    assert [model.id for model in models] == [
        *("local/tiny", "local/both", "local/org/a:free", "local/v1.2@x"),
        *("backup/other", "backup/both", "router/local/tiny", "router/qwen/qwen3:free", "echo/echo"),
        *("safe/both", "mixed/tiny", "mixed/both", "mixed/org/a:free", "mixed/v1.2@x", "pinned"),
        *("fast", "faster", "gpt-4o", "vendor/model", "bare"),
    ]
    assert all(model.targets for model in models)


async def test_every_id_that_is_listed_can_be_asked_for_and_called() -> None:
    made = catalog(ROUTES, ALIASES)
    for model in await made.models():
        assert await made.resolve(model.id)
        assert await made.model(model.id) == model


async def test_what_an_upstream_says_of_a_model_is_passed_on(nursery: trio.Nursery) -> None:
    shelf = Shelf(nursery)
    shelf.body = b'{"data":[{"id":"m","created":17,"owned_by":"org","max_model_len":8192,"permission":[{}]}]}'
    made = Catalog([shelf.provider("far")], {}, {"short": "far/m"})
    said = ModelInfo("m", 17, "org", {"max_model_len": 8192})
    assert [(model.id, model.info) for model in await made.models()] == [("far/m", said), ("short", said)]
    assert (await made.model("m")).info == said


async def test_a_step_whose_provider_is_down_keeps_nothing_out(nursery: trio.Nursery, autojump_clock: object) -> None:
    up, down = Shelf(nursery, "m"), Shelf(nursery)
    down.refuses = True
    made = Catalog([up.provider("up"), down.provider("down")], {"safe": route("down", "up")})
    assert [model.id for model in await made.models()] == ["up/m", "safe/m"]
    assert (await made.model("down/anything")).info == ModelInfo("anything")


@pytest.mark.parametrize("model_id", ["local/never-heard-of", "safe/never-heard-of", "nothing"])
async def test_a_model_that_is_not_listed_has_no_object(model_id: str) -> None:
    with pytest.raises(UnknownModel, match=f"The model '{model_id}' does not exist"):
        await catalog(ROUTES).model(model_id)


async def test_no_provider_has_a_list() -> None:
    assert await Catalog([]).models() == []
    with pytest.raises(UnknownModel):
        await Catalog([]).resolve("x")
