"""What the tests with real clients share: a scripted upstream, a gateway before it, an SDK at the gateway."""

from __future__ import annotations

import functools
import inspect
import logging
from pathlib import Path

import pytest
import trio

import scripted
from clients import sdk
from clients.listening import listen
from gateway import provider

HERE = Path(__file__).parent
PATIENCE = 20
"""Seconds after which a test fails by itself: a timeout from outside would leave trio's loop in ruins."""


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents and inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj)


def _bounded(test):
    @functools.wraps(test)
    async def bounded(*args, **kwargs):
        with trio.fail_after(PATIENCE):
            await test(*args, **kwargs)

    return bounded


@pytest.fixture
def start(nursery, caplog):
    """A function from scripts to an upstream that follows them and a gateway that has it as `local`.

    Positional arguments are scripts; `toml` is further configuration, `lines` are further lines of the
    provider's table, `env` is the gateway's environment; the rest goes to the upstream. Both are in this
    process, on real sockets.
    """

    async def start(*scripts, toml="", lines=(), env=None, **options):
        upstream = await scripted.listen(nursery, *scripts, **options)
        return upstream, await listen(nursery, provider(upstream.base_url, *lines) + toml, env or {})

    yield start
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture(params=[sdk.AsyncSdk, sdk.SyncSdk], ids=["async", "sync"])
async def connect(request):
    """A function from a base URL to an SDK client that is closed when the test is over."""
    clients = []

    def connect(base_url, **options):
        clients.append(request.param(base_url, **options))
        return clients[-1]

    yield connect
    for client in clients:
        await client.close()
