"""Reading the cells of a run: who was measured, in which test, and what came out."""

from statistics import median

FLOOR = "trio-relay"
Cells = list[dict]


def select(cells: Cells, peer: str, test: str | None) -> Cells:
    return [c for c in cells if c["peer"] == peer and test in (None, c["test"]) and "failed" not in c]


def values(cells: Cells, peer: str, test: str | None, key: str) -> list[float]:
    return [c[key] for c in select(cells, peer, test) if c.get(key) is not None]


def pooled(cells: Cells, peer: str, test: str, key: str) -> list[float]:
    return sorted(sample for cell in select(cells, peer, test) for sample in cell.get(key, ()))


def quantile(samples: list[float], q: float) -> float:
    return samples[round(q * (len(samples) - 1))]


def number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratios(cells: Cells, peer: str, floor: str, test: str, key: str) -> list[float]:
    """One for each round in which both were measured."""
    below = {c["round"]: c[key] for c in select(cells, floor, test)}
    return [c[key] / below[c["round"]] for c in select(cells, peer, test) if below.get(c["round"])]


def growth(found: Cells) -> float:
    return median(c["growing_kb_per_stream"] for c in found)


def level(found: Cells) -> bool:
    """Whether memory stands still: less than 16 KB a stream and less than a twentieth more in a second and a half."""
    return growth(found) < max(16.0, 0.05 * median(c["kb_per_stream"] for c in found))
