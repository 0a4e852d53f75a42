"""Figures for Prometheus: counted as requests end, and written out when somebody asks.

Counting is a few additions in plain dicts when a request's record is closed, so that it costs a request a few
microseconds and a token nothing. The format is prometheus_client's to know; it is imported, in a thread, when
`/metrics` is first asked for.

Labels are bounded: a model has a label of its own while there are fewer than `MAX_SERIES` of them and its upstream
has answered for it; any other is `other`, so that a client cannot make series by making up names. No key, user or
session is ever a label.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from .. import __version__

if TYPE_CHECKING:
    from .gateway import Gateway
    from .ledger import Record

__all__ = ["MAX_SERIES", "Metrics"]

MAX_SERIES = 200
"""Models, of all upstreams together, that have a label of their own."""

FEW = 20
"""Up to so many series of a histogram are written out where they are, in a few milliseconds; more in a thread."""

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
EACH = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""Bounds in seconds, as OpenTelemetry's conventions for generative AI have them."""

_OUTCOMES = {"completed": "ok", "truncated": "truncated", "client_gone": "cancelled", "timed_out": "timeout"}
Labels = tuple[str, ...]


class _Histogram:
    """Counts of values up to each bound, by labels."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.series: dict[Labels, list[float]] = {}  # a count for each bound, one for the rest, and the sum

    def add(self, labels: Labels, value: float) -> None:
        series = self.series.get(labels)
        if series is None:
            series = self.series[labels] = [0.0] * (len(self.bounds) + 2)
        series[bisect_left(self.bounds, value)] += 1
        series[-1] += value

    def cumulative(self, labels: Labels) -> tuple[list[tuple[str, float]], float]:
        """What Prometheus wants of one series: (bound, count up to it), and the sum."""
        *counts, total = self.series[labels]
        buckets, so_far = [], 0.0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
            so_far += count
            buckets.append((bound, so_far))
        return buckets, total


class Metrics:
    """Reads the records of requests that have ended."""

    def __init__(self) -> None:
        self._models: set[Labels] = set()
        self._requests: Counter[Labels] = Counter()
        self._tokens: Counter[Labels] = Counter()
        self._errors: Counter[Labels] = Counter()
        self._disconnects: Counter[Labels] = Counter()
        self._retries: Counter[Labels] = Counter()
        self._durations = _Histogram(SECONDS)
        self._first = _Histogram(FIRST)
        self._each = _Histogram(EACH)

    def read(self, record: Record) -> None:
        """Count one request."""
        ending = record.ending
        assert ending is not None
        attempt = record.attempts[-1] if record.attempts else None
        upstream = attempt.provider if attempt else ""
        where = (record.endpoint, upstream, self._model(record))
        outcome = _OUTCOMES.get(ending.kind) or ("client_error" if 400 <= record.status < 500 else "upstream_error")
        status = f"{record.status // 100}xx" if record.status else "none"
        self._requests[(*where, status, "true" if record.stream else "false", outcome)] += 1
        for tried in record.attempts:
            if tried.failure:
                self._errors[tried.provider, tried.failure] += 1
        if len(record.attempts) > 1:
            self._retries[(record.endpoint,)] += len(record.attempts) - 1
        if outcome in ("cancelled", "truncated"):
            self._disconnects[("client" if outcome == "cancelled" else "upstream",)] += 1
        self._time(record, where)
        usage = record.usage
        if usage is not None:
            for kind, count in (
                ("input", usage.prompt),
                ("output", usage.completion),
                ("cached", usage.cached),
                ("reasoning", usage.reasoning),
            ):
                if count:
                    self._tokens[(*where, kind)] += count

    def _time(self, record: Record, where: Labels) -> None:
        now = trio.current_time()
        self._durations.add(where, now - record.started_at)
        if record.first_at:
            self._first.add(where, record.first_at - record.started_at)
            if record.frames > 1:
                self._each.add(where, (now - record.first_at) / (record.frames - 1))

    def _model(self, record: Record) -> str:
        if not record.attempts:
            return "other"
        attempt = record.attempts[-1]
        label = (attempt.provider, attempt.model)
        if label not in self._models:
            if record.status != 200 or len(self._models) >= MAX_SERIES:
                return "other"
            self._models.add(label)
        return attempt.model

    async def expose(self, gateway: Gateway) -> tuple[str, bytes]:
        """All figures, as content type and body."""
        if "prometheus_client" not in sys.modules:
            await trio.to_thread.run_sync(_library)
        library = _library()
        families = []
        for family in self.families(gateway, library):
            families.append(family)
            await trio.lowlevel.checkpoint()  # each is counted at once, and streams go on between them
        registry = library.CollectorRegistry(auto_describe=False)
        registry.register(_Collected(families))
        write = partial(library.generate_latest, registry)
        few = len(self._durations.series) <= FEW
        return library.CONTENT_TYPE_LATEST, write() if few else await trio.to_thread.run_sync(write)

    def families(self, gateway: Gateway, library: Any) -> Iterator[Any]:
        """The figures as prometheus_client's families."""
        core = library.core
        yield core.InfoMetricFamily("gateway", "Which penstock this is.", value={"version": __version__})
        for name, about, labels, counts in (
            ("gateway_requests", "Requests that ended.", _WHERE + _HOW, self._requests),
            ("gateway_tokens", "Tokens, as the upstreams counted them.", (*_WHERE, "type"), self._tokens),
            ("gateway_upstream_errors", "Attempts that failed.", ("upstream", "kind"), self._errors),
            ("gateway_upstream_retries", "Attempts after the first.", ("route",), self._retries),
            ("gateway_stream_disconnects", "Streams that one side left.", ("side",), self._disconnects),
        ):
            family = core.CounterMetricFamily(name, about, labels=labels)
            for values, count in counts.items():
                family.add_metric(values, count)
            yield family
        for name, about, histogram in (
            ("gateway_request_duration_seconds", "From the request to its ending.", self._durations),
            ("gateway_time_to_first_token_seconds", "From the request to its first event.", self._first),
            ("gateway_time_per_output_token_seconds", "Between two frames of a stream, on average.", self._each),
        ):
            family = core.HistogramMetricFamily(name, about, labels=_WHERE)
            for values in histogram.series:
                buckets, total = histogram.cumulative(values)
                family.add_metric(values, buckets, total)
            yield family
        for name, about, value in (
            ("gateway_inflight_requests", "Requests under way.", gateway.ledger.in_flight),
            ("gateway_connections", "Clients' connections.", gateway.connections),
            ("gateway_ws_connections", "Those of them that are WebSockets.", len(gateway.sockets)),
            ("gateway_draining", "Whether the gateway is shutting down.", int(gateway.draining)),
        ):
            yield core.GaugeMetricFamily(name, about, value=value)
        up = core.GaugeMetricFamily("gateway_upstream_up", "Whether it answered when last asked.", labels=("upstream",))
        for name in gateway.catalog.providers:
            if (state := gateway.upstreams.state(name)) is not None:
                up.add_metric((name,), int(state.ok))
        yield up


_WHERE = ("route", "upstream", "model")
_HOW = ("status_class", "stream", "outcome")


class _Collected:
    """What prometheus_client asks for families: here they are."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families


def _library() -> Any:
    import prometheus_client
    import prometheus_client.core

    return prometheus_client
