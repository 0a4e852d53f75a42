"""Lists of models: what servers call one, and one list remembered for many callers."""

from __future__ import annotations

import json

import pytest
import trio

from penstock.providers.models import MAX_ID_LENGTH, ListUnavailable, ModelInfo, ModelList, parse


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"object":"list","data":[{"id":"a"},{"id":"org/b:free@v1.2"}]}', ["a", "org/b:free@v1.2"]),
        (b'[{"id":"a"},{"id":"b"}]', ["a", "b"]),
        (b'["a","b"]', ["a", "b"]),
        (b'{"models":[{"id":"a"},"b"]}', ["a", "b"]),
        (b'{"data":[{"id":"models/gemini-2.5-pro"}]}', ["gemini-2.5-pro"]),
        (b'{"models":[{"name":"llama3:8b","model":"llama3:8b"}]}', ["llama3:8b"]),
        (b'{"data":[{"id":"a"},{"id":"a","owned_by":"twice"}]}', ["a"]),
        (b'{"data":[{"id":3},{"id":""},{"id":null},{},{"id":"a"}]}', ["a"]),
        (b'{"data":[{"id":"%s"},{"id":"a"}]}' % (b"x" * (MAX_ID_LENGTH + 1)), ["a"]),
        (b'{"data":[]}', []),
        (b'{"data":null}', []),
        (b'\n\n {"models":null} ', []),
    ],
)
def test_lists_of_all_sorts_of_servers(body: bytes, ids: list[str]) -> None:
    assert [info.id for info in parse(body)] == ids


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"3",
        b"{}",
        b'{"error":"Unexpected endpoint or method. (GET /models)"}',
        b'{"data":{"id":"a"}}',
        b"[" * 200_000,
        b'{"data":[{"id":"\xff"}]}',
    ],
)
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(ListUnavailable):
        parse(body)


def test_what_clients_use_is_kept_and_the_rest_is_not() -> None:
    known = b'"id":"a","created":1.7e9,"owned_by":"x","context_length":4096,"name":"A"'
    assert parse(b'{"data":[{%s,"pricing":{"prompt":"1"}}]}' % known) == [
        ModelInfo("a", 1700000000, "x", {"context_length": 4096, "name": "A"})
    ]
    assert parse(b'[{"id":"a","max_model_len":null,"created":"soon","owned_by":7}]') == [ModelInfo("a")]


def test_what_only_ollama_s_clients_use_is_kept_apart() -> None:
    card = b'"size":5,"digest":"d","details":{"family":"f"},"capabilities":["tools"],"architecture":{},"meta":{"n":1}'
    (info,) = parse(b'{"models":[{"name":"a","modified_at":"soon",%s,"expires_at":"x","other":null}]}' % card)
    assert info.extras == {}
    assert info.card == {**json.loads(b"{%s}" % card), "modified_at": "soon"}


def test_a_date_of_ollamas_becomes_seconds() -> None:
    one = b'{"name":"a","modified_at":"2023-11-04T14:56:49.277302595-07:00"}'
    other = b'{"name":"b","modified_at":"yesterday"}'
    assert [info.created for info in parse(b'{"models":[%s,%s]}' % (one, other))] == [1699135009, 0]


class Source:
    """An upstream's list that takes a second to come, and counts how often it was asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False

    async def __call__(self) -> list[ModelInfo]:
        self.asked += 1
        await trio.sleep(1)
        if self.down:
            raise ListUnavailable("down")
        return [ModelInfo(f"model-{self.asked}")]


@pytest.fixture
def source() -> Source:
    return Source()


async def test_a_list_is_good_for_its_age(source: Source, autojump_clock: object) -> None:
    models = ModelList(source)
    assert not models.asked
    assert not models.fresh(60)
    assert list(await models.get(60)) == ["model-1"]
    await trio.sleep(60)
    assert list(await models.get(60)) == ["model-1"]
    await trio.sleep(1)
    assert list(await models.get(60)) == ["model-2"]


async def test_callers_at_the_same_time_share_one_attempt(source: Source, autojump_clock: object) -> None:
    models = ModelList(source)
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(models.get, 60)
    assert source.asked == 1
    assert trio.current_time() == pytest.approx(1)


@pytest.mark.parametrize("down", [False, True])
async def test_when_the_driving_caller_leaves_another_takes_over(
    source: Source, down: bool, autojump_clock: object
) -> None:
    models = ModelList(source)
    source.down = down
    got = []

    async def wait() -> None:
        got.append(list(await models.get(60)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        with trio.move_on_after(0.5):
            await models.get(60)
    # Whichever of the three drove first, nobody hung, and the one that left cost at most one attempt more.
    assert source.asked <= 2
    assert got == ([[], []] if down else [[f"model-{source.asked}"]] * 2)


async def test_the_driver_is_cancelled_in_mid_attempt(source: Source, autojump_clock: object) -> None:
    models = ModelList(source)
    scope = trio.CancelScope()

    async def drive() -> None:
        with scope:
            await models.get(60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive)
        await trio.sleep(0.5)
        nursery.start_soon(models.get, 60)
        await trio.testing.wait_all_tasks_blocked()
        assert source.asked == 1
        scope.cancel()
    assert source.asked == 2
    assert list(models.known) == ["model-2"]


async def test_a_failure_keeps_the_last_list_and_is_remembered_for_a_while(
    source: Source, autojump_clock: object
) -> None:
    models = ModelList(source)
    await models.get(60)
    source.down = True
    await trio.sleep(61)
    assert list(await models.get(60)) == ["model-1"]
    assert models.trouble == "down"
    assert list(await models.get(60)) == ["model-1"]
    assert source.asked == 2
    source.down = False
    await trio.sleep(11)
    assert list(await models.get(60)) == ["model-3"]
    assert models.trouble == ""


async def test_a_list_that_was_written_down_is_never_asked_for() -> None:
    models = ModelList(None, [ModelInfo("a")])
    assert models.asked
    assert models.fresh(0)
    assert list(await models.get(0)) == ["a"]
