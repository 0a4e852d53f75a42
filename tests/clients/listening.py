"""A gateway in the test's own process that listens on a socket: for clients that need one, at no start-up cost."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import trio

from penstock.server.listen import accept_loop, open_sockets
from rig import Rig

__all__ = ["Listening", "listen"]


class Listening:
    """`base_url` is the one for OpenAI SDKs; `rig` is the gateway behind it."""

    def __init__(self, rig: Rig, base_url: str) -> None:
        self.rig = rig
        self.base_url = base_url


async def listen(nursery: trio.Nursery, toml: str, environ: Mapping[str, str]) -> Listening:
    """Serve what `toml` says on a free port of 127.0.0.1, until the nursery is cancelled."""
    rig = Rig(nursery, toml=toml, environ=environ)
    (sock,) = open_sockets("127.0.0.1", 0)
    await nursery.start(_accept, rig, sock)
    return Listening(rig, f"http://127.0.0.1:{sock.getsockname()[1]}/v1")


async def _accept(rig: Rig, sock: socket.socket, task_status: trio.TaskStatus[None]) -> None:
    try:
        async with trio.open_nursery() as connections:
            task_status.started()
            await accept_loop(rig.gateway, sock, None, connections)
    finally:
        sock.close()
        for provider in rig.gateway.catalog.providers.values():
            provider.transport.close()
