"""What all connections share: configuration, models, keys, accounts, and whether we are going down."""

from __future__ import annotations

import itertools
import secrets
import time
from typing import TYPE_CHECKING

import trio

from ..providers.settings import DEFAULT_TIMEOUTS
from .access import Access
from .accounts import Accounts
from .forwarded import TrustedProxies
from .gate import Gate
from .ledger import Ledger
from .metrics import Metrics
from .redaction import Redactor
from .session_memory import MemorySessions
from .upstreams import Upstreams

if TYPE_CHECKING:
    from ..providers.catalog import Catalog
    from .config import Config
    from .exchange import Exchange
    from .intake import Intake
    from .socket.socket import Socket
    from .store.sessions import Sessions
    from .store.store import Store
    from .stored_responses import Answering

__all__ = ["Gateway"]


class Gateway:
    """One running gateway. Plain data and a few counters; whoever changes them does so without awaiting."""

    def __init__(self, config: Config, catalog: Catalog, store: Store | None = None) -> None:
        self.config = config
        self.catalog = catalog
        self.store = store
        self.access = Access(config)
        self.gate = Gate(config, store)
        self.answering: dict[tuple[int, str], Answering] = {}
        """The responses under way that will be kept, by owner and id."""
        self.sessions: Sessions | MemorySessions = MemorySessions() if store is None else store.sessions
        self.accounts = Accounts(store) if store is not None else None
        self.proxies = TrustedProxies(config.server.trusted_proxies)
        self.redactor = Redactor(config.secrets.values())
        self.ledger = Ledger()
        self.metrics = Metrics()
        self.upstreams = Upstreams()
        self.ledger.readers += [self.metrics.read, self.upstreams.read]
        if self.accounts is not None:
            self.ledger.readers.append(self.accounts.book)
        self.timeouts = DEFAULT_TIMEOUTS.with_changes(config.timeouts.upstream)
        self.exchanges: set[Exchange] = set()
        self.idle: set[Intake] = set()
        self.sockets: set[Socket] = set()
        self.connections = 0
        self.admitted = 0
        self.uploads = 0
        self.draining = False
        self._quiet = trio.Event()
        self._deserted = trio.Event()
        self.started_at = time.time()
        # Ids need to be unique, not secret: a random start for each process, then a count.
        self._run = secrets.token_hex(6)
        self._count = itertools.count(1)

    def next_request_id(self) -> str:
        """An id for a request: unique across processes and restarts, short, fit for a header."""
        return f"req_{self._run}{next(self._count):08x}"

    def begin_drain(self) -> None:
        """Take no new work, and let go of the connections on which nothing is under way."""
        self.draining = True
        for intake in list(self.idle):
            intake.stop_waiting()
        for socket in list(self.sockets):
            socket.drain()
        self.note_change()

    def note_change(self) -> None:
        """To be called when an exchange or a connection has ended."""
        if self.draining and not self.exchanges:
            self._quiet.set()
            if not self.connections:
                self._deserted.set()

    async def until_quiet(self) -> None:
        """Wait, while draining, until no exchange is under way."""
        await self._quiet.wait()

    async def until_nobody_is_connected(self) -> None:
        """Wait, while draining, until the last connection is closed."""
        await self._deserted.wait()
