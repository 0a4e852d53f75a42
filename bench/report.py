"""From cells to one Markdown table: measures down, peers across.

A figure is the median over the rounds. Beside a CPU figure stands its ratio to the trio relay: the median of the ratios
of each round, and in brackets the least and the most of them. Latencies of first tokens and of clients' leaving are
pooled over all rounds. A dagger says that upstream and generator had more than 85 % of their core: the figure is then
theirs as much as the gateway's (CPU time stays the gateway's own).
"""

from collections.abc import Callable
from statistics import median

import goals
from cells import FLOOR, Cells, growth, level, number, pooled, quantile, ratios, select, values
from peers import PEERS

BUSY = 0.85


def cpu(test: str, key: str) -> Callable[[Cells, str], str]:
    def cell(cells: Cells, peer: str) -> str:
        found = values(cells, peer, test, key)
        if not found:
            return "–"
        text = f"**{number(median(found))}**"
        over = ratios(cells, peer, FLOOR, test, key) if peer != FLOOR else []
        if over:
            text += f" · {median(over):.2f}x ({min(over):.2f}–{max(over):.2f})"
        return text

    return cell


def rate(test: str, key: str) -> Callable[[Cells, str], str]:
    def cell(cells: Cells, peer: str) -> str:
        found = values(cells, peer, test, key)
        if not found:
            return "–"
        limited = median(values(cells, peer, test, "load_busy")) > BUSY
        return number(median(found)) + (" †" if limited else "")

    return cell


def percentiles(test: str, key: str, unit: float) -> Callable[[Cells, str], str]:
    def cell(cells: Cells, peer: str) -> str:
        samples = pooled(cells, peer, test, key)
        missed, trials = (sum(values(cells, peer, test, name)) for name in ("missed", "trials"))
        parts = []
        if samples:
            parts.append(f"{number(quantile(samples, 0.5) / unit)} / {number(quantile(samples, 0.99) / unit)}")
        if missed:
            parts.append(f"**not seen in {missed:.0f} of {trials:.0f}**")
        limited = values(cells, peer, test, "load_busy")
        return ("; ".join(parts) or "–") + (" †" if limited and median(limited) > BUSY else "")

    return cell


def leaving(test: str) -> Callable[[Cells, str], str]:
    return percentiles(test, "seen_after_us", 1000)


def middle(test: str | None, key: str, unit: float = 1) -> Callable[[Cells, str], str]:
    def cell(cells: Cells, peer: str) -> str:
        found = values(cells, peer, test, key)
        return number(median(found) / unit) if found else "–"

    return cell


def two(test: str, first: str, second: str) -> Callable[[Cells, str], str]:
    def cell(cells: Cells, peer: str) -> str:
        return f"{middle(test, first)(cells, peer)} / {middle(test, second)(cells, peer)}"

    return cell


def memory(test: str) -> Callable[[Cells, str], str]:
    def cell(cells: Cells, peer: str) -> str:
        found = select(cells, peer, test)
        if not found:
            return "–"
        text = number(median(c["kb_per_stream"] for c in found))
        held, wanted = min(c["held"] for c in found), found[0]["wanted"]
        if held < wanted:
            text += f" (held {held} of {wanted})"
        if test == "stalled":
            text += ", level" if level(found) else f", **growing** {number(growth(found))} in 1.5 s"
        return text

    return cell


def left_open(cells: Cells, peer: str) -> str:
    worst = {}
    for cell in select(cells, peer, None):
        if cell.get("left_open"):
            worst[cell["test"]] = max(worst.get(cell["test"], 0), cell["left_open"])
    measured = any("left_open" in cell for cell in select(cells, peer, None))
    return ", ".join(f"**{count}** ({test})" for test, count in worst.items()) or ("0" if measured else "–")


def wrong(cells: Cells, peer: str) -> str:
    kinds: dict[str, int] = {}
    for cell in select(cells, peer, None):
        for kind, count in cell.get("faults", {}).items():
            kinds[kind] = kinds.get(kind, 0) + count
    failed = sum("failed" in c for c in cells if c["peer"] == peer)
    parts = [f"{count} {kind}" for kind, count in kinds.items()] + ([f"{failed} cells failed"] if failed else [])
    return ", ".join(parts) or "0"


ROWS: list[tuple[str, set[str], Callable[[Cells, str], str]]] = [
    ("CPU, us a JSON request (32 connections)", {"json"}, cpu("json", "cpu_us_per_request")),
    ("CPU, us an event, paced (50 streams, 20 ms)", {"paced"}, cpu("paced", "cpu_us_per_event")),
    ("CPU, us an event, flood (32 streams)", {"flood"}, cpu("flood", "cpu_us_per_event")),
    ("CPU, us an event, paced, TLS upstream", {"paced-tls"}, cpu("paced-tls", "cpu_us_per_event")),
    ("CPU, us an event, flood, TLS upstream", {"flood-tls"}, cpu("flood-tls", "cpu_us_per_event")),
    ("requests/s (32 connections)", {"json"}, rate("json", "requests_per_s")),
    ("events/s, flood", {"flood"}, rate("flood", "events_per_s")),
    ("first token, added, us p50 / p99", {"paced"}, percentiles("paced", "first_added_us", 1)),
    ("each token, added, us p50 / p99", {"paced"}, two("paced", "token_added_p50_us", "token_added_p99_us")),
    ("client leaves between tokens, seen after ms p50 / p99", {"leave-token"}, leaving("leave-token")),
    ("… before the first byte", {"leave-silent"}, leaving("leave-silent")),
    ("… before a whole answer", {"leave-whole"}, leaving("leave-whole")),
    ("streams left open upstream", {"leave-token", "leave-silent", "leave-whole", "idle", "stalled"}, left_open),
    ("KB for each of many open slow streams", {"idle"}, memory("idle")),
    ("KB for each of 20 stalled readers", {"stalled"}, memory("stalled")),
    ("share of a core used while they stall", {"stalled"}, middle("stalled", "held_busy")),
    ("RSS at rest, MB", set(), middle(None, "rest_kb", 1024)),
    ("start to first right answer, s", set(), middle(None, "start_s")),
    ("answers not right", set(), wrong),
]


def markdown(results: dict) -> str:
    cells, peers = results["cells"], results["peers"]
    measured = {cell["test"] for cell in cells}
    lines = [about(results["conditions"], cells), ""]
    lines += ["| | " + " | ".join(peers) + " |", "|---|" + "---:|" * len(peers)]
    for title, tests, cell in ROWS:
        if not tests or tests & measured:
            lines.append(f"| {title} | " + " | ".join(cell(cells, peer) for peer in peers) + " |")
    lines += ["", *(f"- {name}: {PEERS[name].about}." for name in peers)]
    lines += [f"- ratios (x) are to {FLOOR}: median of the rounds' ratios (least–most)."] if FLOOR in peers else []
    lines += limits(cells, peers) + failures(cells)
    lines += goals.markdown(cells)
    return "\n".join(lines)


def about(known: dict, cells: Cells) -> str:
    others = [cell["others"] for cell in cells if "others" in cell]
    taken = f"others took a median {median(others):.0%} of the machine, at most {max(others):.0%}" if others else ""
    where = "gateway alone on one core, upstream and generator on another" if known["apart"] else "ALL ON ONE CORE"
    software = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    return (
        f"{known['rounds']} interleaved rounds{' (quick: a smoke test)' if known['quick'] else ''}, {known['when']}; "
        f"{known['cpu']}, {known['cores']} cores, Linux {known['kernel']}, Python {known['python']}; {where}; {taken}. "
        f"{software}. `{known['command']}`"
    )


def limits(cells: Cells, peers: list[str]) -> list[str]:
    """Where the generator's core was the limit, and who used it."""
    notes = []
    for test in dict.fromkeys(cell["test"] for cell in cells):
        for peer in peers:
            busy = values(cells, peer, test, "load_busy")
            if busy and median(busy) > BUSY:
                share = median(values(cells, peer, test, "upstream_share"))
                gateway = median(values(cells, peer, test, "gateway_busy"))
                notes.append(
                    f"- † {test}, {peer}: the generator's core was {median(busy):.0%} busy (upstream {share:.0%} "
                    f"of that, generator {1 - share:.0%}), the gateway's {gateway:.0%}."
                )
    return notes


def failures(cells: Cells) -> list[str]:
    return [f"- FAILED {c['test']}, {c['peer']}, round {c['round'] + 1}: {c['failed']}" for c in cells if "failed" in c]
