"""What penstock has to reach, and whether it did: a row for each goal that the run measured."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from cells import FLOOR, Cells, level, number, pooled, quantile, ratios, select, values

Figure = Callable[[Cells], float | None]
PEER = "penstock"
HAND_MADE = "fastapi-aiohttp"


@dataclass(frozen=True)
class Goal:
    about: str
    most: float
    unit: str
    figure: Figure  # None: not measured in this run


def ratio(test: str, key: str, floor: str = FLOOR) -> Figure:
    def figure(cells: Cells) -> float | None:
        found = ratios(cells, PEER, floor, test, key)
        return median(found) if found else None

    return figure


def percentile(test: str, key: str, q: float) -> Figure:
    def figure(cells: Cells) -> float | None:
        samples = pooled(cells, PEER, test, key)
        return quantile(samples, q) / 1000 if samples else None

    return figure


def of(summary: Callable[[list[float]], float], test: str | None, key: str, unit: float = 1) -> Figure:
    def figure(cells: Cells) -> float | None:
        found = values(cells, PEER, test, key)
        return summary(found) / unit if found else None

    return figure


def growing(cells: Cells) -> float | None:
    found = select(cells, PEER, "stalled")
    return float(not level(found)) if found else None


def leaving(test: str, about: str) -> list[Goal]:
    return [
        Goal(f"client leaves {about}, seen upstream after, p99", 5, " ms", percentile(test, "seen_after_us", 0.99)),
        Goal(f"client leaves {about}, never seen", 0, "", of(sum, test, "missed")),
    ]


EVENT, REQUEST = "cpu_us_per_event", "cpu_us_per_request"
GOALS = [
    Goal("CPU of a JSON request, to the trio relay", 7, "x", ratio("json", REQUEST)),
    Goal("CPU of a JSON request, to FastAPI and aiohttp", 1, "x", ratio("json", REQUEST, HAND_MADE)),
    Goal("CPU of a paced event", 1.15, "x", ratio("paced", EVENT)),
    Goal("CPU of a flood event", 2, "x", ratio("flood", EVENT)),
    Goal("CPU of a paced event, TLS upstream", 1.15, "x", ratio("paced-tls", EVENT)),
    Goal("CPU of a flood event, TLS upstream", 2, "x", ratio("flood-tls", EVENT)),
    Goal("first token, added, p50", 1, " ms", percentile("paced", "first_added_us", 0.5)),
    *leaving("leave-token", "between tokens"),
    *leaving("leave-silent", "before the first byte"),
    *leaving("leave-whole", "before a whole answer"),
    Goal("streams left open", 0, "", of(max, None, "left_open")),
    Goal("memory of an open slow stream", 30, " KB", of(median, "idle", "kb_per_stream")),
    Goal("memory of a stalled reader", 256, " KB", of(median, "stalled", "kb_per_stream")),
    Goal("stalled readers' memory still grows", 0, "", growing),
    Goal("start to the first right answer", 0.5, " s", of(median, None, "start_s")),
    Goal("resident at rest", 45, " MB", of(median, None, "rest_kb", 1024)),
]


def markdown(cells: Cells) -> list[str]:
    rows = []
    for goal in GOALS:
        figure = goal.figure(cells)
        if figure is not None:
            met = "yes" if figure <= goal.most else "**no**"
            rows.append(f"| {goal.about} | {goal.most:g}{goal.unit} | {number(figure)}{goal.unit} | {met} |")
    return ["", f"| goals of {PEER} | at most | figure | met |", "|---|---:|---:|---|", *rows] if rows else []
