"""The gateway as a process: put together from a configuration, served, and brought down in order.

    listening -> (SIGTERM or SIGINT) draining -> (streams done, or `timeouts.drain` over) closing -> gone

While draining, `/ready` says 503, new work is refused with a 503, idle connections are closed, and streams
go on. When the time is over the streams that are left end with an error that their clients can read. A
second signal ends everything at once.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

import trio

from ..providers.catalog import Catalog, CatalogError
from ..providers.choose import choose_transport
from ..providers.direct import DirectTransport
from ..providers.echo import Echo
from ..providers.presets import PRESETS
from ..providers.provider import Provider
from ..providers.settings import ProviderSettings
from ..providers.transport import Transport
from .access import refusal_to_start
from .banner import banner
from .config import Config, StartError
from .gateway import Gateway
from .listen import accept_loop, open_sockets, tls_context
from .redaction import LogFormatter, Redactor

if TYPE_CHECKING:
    from .store.store import Store

__all__ = ["build", "open_store", "run", "serve"]

log = logging.getLogger("penstock")

CLOSING_SECONDS = 3.0
"""After the drain: for the last words of streams that were cut, and for lingering closes."""

STORE_SECONDS = 10.0
"""For what the store is still to write when all else is down."""

HOUSEKEEPING_SECONDS = 15.0
"""How often idle upstream connections are looked at; each expires by its own age."""


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what the command prints, also into a pipe


def run(config: Config, announce: Callable[[str], None] = _print) -> int:
    """Serve until told to stop; returns the process's exit code. Raises StartError if it cannot begin."""
    _log_to_stderr(config)
    tls = tls_context(config.server.tls_cert, config.server.tls_key) if config.server.tls_cert else None
    sockets = open_sockets(config.server.host, config.server.port)
    try:
        return trio.run(serve, config, sockets, tls, announce)
    finally:
        for sock in sockets:
            sock.close()


def _log_to_stderr(config: Config) -> None:
    """Problems and the steps of going down, one line each; a request that ended well is not one of them."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter(Redactor(config.secrets.values()), "%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    logging.getLogger("penstock.requests").setLevel(logging.WARNING)


async def serve(
    config: Config, sockets: list[socket.socket], tls: ssl.SSLContext | None, announce: Callable[[str], None]
) -> int:
    """Serve on `sockets` until a signal says to stop, and go down in order."""
    failure: StartError | None = None
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as services:
            try:
                store = await open_store(config, services)
                gateway = build(config, services, store=store)
                await _open_gate(gateway)
            except StartError as exc:  # out of a nursery it would come as a group
                failure = exc
            else:
                code = await _serve_until_told(gateway, services, sockets, tls, signals, announce)
                if store is not None:
                    with trio.move_on_after(STORE_SECONDS):
                        await store.aclose()
            services.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return code


async def open_store(config: Config, services: trio.Nursery) -> Store | None:
    """The store, if there is to be one, kept by a task of `services`. Raises StartError."""
    if config.store_location is None:
        return None
    from .store.errors import StoreError  # SQLAlchemy takes its time and its memory: only where it is used
    from .store.store import Store

    settings = config.store
    store = Store(
        config.store_location,
        on_failure=settings.on_failure,
        usage_days=settings.usage_days,
        session_days=settings.session_days,
    )
    try:
        await services.start(store.run)
    except StoreError as exc:
        raise StartError(f"The store cannot be used: {exc.message}") from exc
    return store


async def _open_gate(gateway: Gateway) -> None:
    """Let the store know whom the configuration knows, and look whether anybody could come in. Raises StartError."""
    if gateway.store is not None:
        from .store.errors import StoreError

        try:
            await gateway.gate.open(gateway.config)
        except StoreError as exc:
            raise StartError(f"The store cannot be used: {exc.message}") from exc
    refusal = refusal_to_start(gateway.config, keys=gateway.gate.demands_keys)
    if refusal is not None:
        raise StartError(refusal)


async def _serve_until_told(
    gateway: Gateway,
    services: trio.Nursery,
    sockets: list[socket.socket],
    tls: ssl.SSLContext | None,
    signals: AsyncIterator[int],
    announce: Callable[[str], None],
) -> int:
    services.start_soon(_keep_house, gateway)
    async with trio.open_nursery() as connections:
        for sock in sockets:
            connections.start_soon(accept_loop, gateway, sock, tls, connections)
        url = _url(sockets[0], "https" if tls else "http")
        announce(banner(gateway.config, url, needs_key=gateway.gate.demands_keys))
        gc.collect()
        gc.freeze()  # what is there now stays: it need not be walked again and again
        code = await _until_told(gateway, signals)
        connections.cancel_scope.cancel()
    for provider in gateway.catalog.providers.values():
        provider.transport.close()
    return code


async def _until_told(gateway: Gateway, signals: AsyncIterator[int]) -> int:
    """Wait for the first signal and drain; returns the exit code. A second signal cuts the draining short."""
    await anext(signals)
    code = 1
    async with trio.open_nursery() as nursery:

        async def hurry() -> None:
            await anext(signals)
            nursery.cancel_scope.cancel()

        nursery.start_soon(hurry)
        await drain(gateway, gateway.config.timeouts.drain)
        code = 0
        nursery.cancel_scope.cancel()
    return code


async def drain(gateway: Gateway, seconds: float) -> None:
    """Let what is under way finish, for so long; then end it, with an error that its clients can read."""
    gateway.begin_drain()
    log.info("draining: %d requests under way", len(gateway.exchanges))
    with trio.move_on_after(seconds or float("inf")):
        await gateway.until_quiet()
    if gateway.exchanges:
        log.warning("the time for draining is over: %d requests are ended", len(gateway.exchanges))
        for exchange in list(gateway.exchanges):
            exchange.shut_down()
        with trio.move_on_after(CLOSING_SECONDS):
            await gateway.until_quiet()
    with trio.move_on_after(CLOSING_SECONDS):
        await gateway.until_nobody_is_connected()


def _url(sock: socket.socket, scheme: str) -> str:
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def _keep_house(gateway: Gateway) -> None:
    while True:
        await trio.sleep(HOUSEKEEPING_SECONDS)
        for provider in gateway.catalog.providers.values():
            provider.transport.expire()
        if gateway.accounts is not None:
            gateway.accounts.forget_idle()


def build(
    config: Config,
    services: trio.Nursery,
    environ: Mapping[str, str] = os.environ,
    *,
    transports: Callable[[str, ProviderSettings], Transport | None] = lambda origin, settings: None,
    store: Store | None = None,
) -> Gateway:
    """Put a gateway together; embedded upstreams live in `services`. Raises StartError.

    `transports` may make a provider's way to its upstream itself, as simulation does.
    """

    def make_transport(origin: str, settings: ProviderSettings) -> Transport:
        if (made := transports(origin, settings)) is not None:
            return made
        if PRESETS[settings.preset].embedded:
            return DirectTransport(origin, connect=Echo(services).connect)
        return choose_transport(origin, settings, environ)

    try:
        providers = [
            Provider(
                name,
                settings,
                make_transport=make_transport,
                key=config.secrets.get(name, ""),
                timeouts=config.timeouts.upstream,
                rules_of_all=config.headers,
            )
            for name, settings in config.providers.items()
        ]
        catalog = Catalog(providers, config.routes, config.aliases)
    except (CatalogError, ValueError, OSError) as exc:
        raise StartError(f"{exc}.") from exc
    return Gateway(config, catalog, store)
