"""The accounts: one record for each request that called a model, one ending in each record.

Everything that is told about a request afterwards (the log line, the counters of /health, later metrics and
usage rows) derives from its record, so that none of them can tell a different story. A record is closed
exactly once, whatever happened; closing is plain counting and never waits.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import trio

from ..protocol.chat import Ending, Usage

__all__ = ["Attempt", "Ledger", "Record"]

log = logging.getLogger("penstock.requests")


class Attempt:
    """One call of one upstream. `failure` is a short fixed word; "" if it answered, or was not to blame. `status` is
    what it answered with, 0 if it did not; `asked` is whether it was connected to, so that it may have begun."""

    __slots__ = ("asked", "failure", "model", "provider", "status")

    def __init__(self, provider: str, model: str = "") -> None:
        self.provider = provider
        self.model = model
        self.asked = False
        self.failure = ""
        self.status = 0

    @property
    def took_it(self) -> bool:
        """Whether it took the request on, and will want to be paid for the prompt: it answered, or was waited for."""
        return self.status == 200 or (self.asked and not self.status)


class Record:
    """What is known of one request. Times are on trio's clock, in seconds; `owner` is who is billed, by the store's
    id; `asked` estimates the tokens of the prompt, `first_at` is when the answer began to go out, and `frames` counts
    what came of it, where streamed; `said` has the bytes of an answer in one piece.
    """

    __slots__ = (
        "asked",
        "attempts",
        "bytes_out",
        "client_id",
        "ending",
        "endpoint",
        "first_at",
        "frames",
        "key",
        "model",
        "owner",
        "peer",
        "request_id",
        "said",
        "started_at",
        "status",
        "stream",
        "usage",
    )

    def __init__(
        self,
        request_id: str,
        model: str,
        *,
        stream: bool,
        key: str,
        client_id: str = "",
        peer: str = "",
        endpoint: str = "openai",
        owner: int = 0,
        asked: int = 0,
    ) -> None:
        self.request_id = request_id
        self.peer = peer
        self.client_id = client_id
        self.model = model
        self.stream = stream
        self.key = key
        self.started_at = trio.current_time()
        self.endpoint = endpoint
        self.owner = owner
        self.asked = asked
        self.frames = 0
        self.said = 0
        self.first_at = 0.0
        self.attempts: list[Attempt] = []
        self.ending: Ending | None = None
        self.usage: Usage | None = None
        self.status = 0
        self.bytes_out = 0


class Ledger:
    """Counts what is under way and how everything ended."""

    def __init__(self) -> None:
        self.readers: list[Callable[[Record], None]] = []
        """Called with each record that is closed; must be quick, and not raise."""
        self.in_flight = 0
        self.endings: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()

    def open(self, record: Record) -> None:
        """A request begins to be served."""
        self.in_flight += 1

    def close(self, record: Record, ending: Ending) -> None:
        """The request is over. A second call for the same record is a bug and is refused."""
        if record.ending is not None:
            raise RuntimeError(f"{record.request_id} ended twice: {record.ending}, then {ending}")
        record.ending = ending
        self.in_flight -= 1
        self.endings[str(ending)] += 1
        for attempt in record.attempts:
            if attempt.failure:
                self.failures[attempt.provider, attempt.failure] += 1
        for reader in self.readers:
            reader(record)
        level = logging.INFO if ending.kind in ("completed", "client_gone") else logging.WARNING
        if log.isEnabledFor(level):
            log.log(level, "%s", _line(record, ending))


def _line(record: Record, ending: Ending) -> str:
    tried = ",".join(f"{a.provider}{':' + a.failure if a.failure else ''}" for a in record.attempts) or "-"
    tokens = f"{record.usage.prompt}+{record.usage.completion}" if record.usage else "-"
    status = 499 if ending.kind == "client_gone" else record.status
    took = trio.current_time() - record.started_at
    client_id = f" client_id={record.client_id!r}" if record.client_id else ""
    key = f" key={record.key!r}" if record.key else ""
    return (
        f"{record.request_id} {status} {ending} model={record.model!r} stream={record.stream} tried={tried} "
        f"tokens={tokens} bytes={record.bytes_out} seconds={took:.3f} peer={record.peer or '-'}{key}{client_id}"
    )
