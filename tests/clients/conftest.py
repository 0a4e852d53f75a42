"""What the tests with real clients share: a scripted upstream, a gateway before it, an SDK at the gateway."""

from __future__ import annotations

import functools
import inspect

import pytest
import trio

import scripted
from clients import sdk
from gateway import Gateway, provider

PATIENCE = 20
"""Seconds after which a test fails by itself: a timeout from outside would leave trio's loop in ruins."""


def pytest_collection_modifyitems(items):
    for item in items:
        if inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj)


def _bounded(test):
    @functools.wraps(test)
    async def bounded(*args, **kwargs):
        with trio.fail_after(PATIENCE):
            await test(*args, **kwargs)

    return bounded


@pytest.fixture
async def start(nursery):
    """A function from scripts to an upstream that follows them and a running gateway with it as `local`.

    Positional arguments are scripts; `toml` is further configuration, `lines` are further lines of the
    provider's table, `env` is the gateway's environment; the rest goes to the upstream.
    """
    running = []

    async def start(*scripts, toml="", lines=(), env=None, **options):
        upstream = await scripted.listen(nursery, *scripts, **options)
        gateway = Gateway(provider(upstream.base_url, *lines) + toml, env=env)
        running.append(await gateway.__aenter__())
        return upstream, gateway

    yield start
    for gateway in running:
        await gateway.__aexit__(None, None, None)
        assert gateway.exit_code == 0
        assert "Traceback" not in gateway.output


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
