"""Measures gateways against each other and prints one table.

    python bench/run.py                      # nine rounds, all default peers: half an hour
    python bench/run.py --quick              # one short round: under two minutes; a smoke test, not a figure
    python bench/run.py --peers trio-relay,penstock --tests json,paced --rounds 9
    python bench/run.py --with litellm --out results.json --markdown table.md
    python bench/run.py --profile            # where penstock's time goes
    python bench/run.py --table results.json # the table of an earlier run

Rounds are interleaved: within a round each test goes through all peers before the next test begins, so that the two
sides of a ratio stand seconds apart. README.md says how to read the result.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import tempfile
import time

import machine
import measure
import profiling
import report
from peers import PEERS


def names(text: str) -> list[str]:
    return [name for name in text.replace(",", " ").split() if name]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=names, help=f"which, of {', '.join(PEERS)}")
    parser.add_argument("--with", dest="extra", type=names, default=[], help="peers besides the default ones")
    parser.add_argument("--tests", type=names, help=f"which, of {', '.join(measure.TESTS)}")
    parser.add_argument("--rounds", type=int, default=None, help="9, with --quick 1")
    parser.add_argument("--quick", action="store_true", help="a smoke test of less than two minutes")
    parser.add_argument("--out", type=pathlib.Path, help="every cell, as JSON")
    parser.add_argument("--markdown", type=pathlib.Path, help="the table, besides on the screen")
    parser.add_argument("--table", type=pathlib.Path, help="measure nothing; print the table of such a JSON file")
    parser.add_argument("--profile", action="store_true", help="profile penstock under json, paced and flood")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 9)
    chosen.tests = chosen.tests or list(measure.QUICK if chosen.quick else measure.TESTS)
    if chosen.peers is None:
        chosen.peers = [peer.name for peer in PEERS.values() if peer.default]
        if chosen.quick:
            chosen.peers.remove("fastapi-httpx")
    chosen.peers += [name for name in chosen.extra if name not in chosen.peers]
    for kind, given, known in (("peer", chosen.peers, PEERS), ("test", chosen.tests, measure.TESTS)):
        for name in given:
            if name not in known:
                parser.error(f"no {kind} named {name!r}; there are {', '.join(known)}")
    return chosen


def conditions(chosen: argparse.Namespace, cores: machine.Cores) -> dict:
    model = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "when": time.strftime("%Y-%m-%d %H:%M %Z"),
        "cpu": model[0].partition(": ")[2] if model else platform.machine(),
        "cores": os.cpu_count(),
        "apart": cores.apart,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "rounds": chosen.rounds,
        "quick": chosen.quick,
        "versions": versions(),
        "command": " ".join(["python", "bench/run.py", *sys.argv[1:]]),
    }


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("penstock", "trio", "h11", "fastapi", "uvicorn", "uvloop", "httpx", "aiohttp", "litellm"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def available(chosen: list[str]) -> list[str]:
    usable = []
    for name in chosen:
        why = PEERS[name].missing()
        if why:
            print(f"{name} is left out: {why}", file=sys.stderr)
        else:
            usable.append(name)
    return usable


def progress(done: int, total: int, begun: float, row: dict) -> None:
    spent = time.monotonic() - begun
    left = spent / done * (total - done)
    verdict = f"FAILED {row['failed']}" if "failed" in row else "ok"
    line = f"[{done}/{total}] {row['test']} {row['peer']} {verdict}; about {left / 60:.0f} min left"
    print(line, file=sys.stderr, flush=True)


def run(chosen: argparse.Namespace, cores: machine.Cores) -> dict:
    peers = available(chosen.peers)
    tests = [measure.TESTS[name].hurried() if chosen.quick else measure.TESTS[name] for name in chosen.tests]
    plan = [
        (number, test, name)
        for number in range(chosen.rounds)
        for position, test in enumerate(tests)
        if number < test.most_rounds
        for name in rotated(peers, number + position)
        if not (test.tls and PEERS[name].command is None)
    ]
    results = {"conditions": conditions(chosen, cores), "peers": peers, "cells": []}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as directory:
        tls = any(test.tls for test in tests)
        certificates = measure.Certificates(pathlib.Path(directory)) if tls else None
        for done, (number, test, name) in enumerate(plan, 1):
            row = {"round": number} | measure.measure(PEERS[name], test, cores, certificates)
            results["cells"].append(row)
            progress(done, len(plan), begun, row)
            if chosen.out:
                chosen.out.write_text(json.dumps(results), encoding="utf-8")
    return results


def rotated(peers: list[str], by: int) -> list[str]:
    """Whoever goes first finds a machine that has just rested: everybody has to be first sometimes."""
    start = by % len(peers) if peers else 0
    return peers[start:] + peers[:start]


def main() -> int:
    chosen = arguments()
    if chosen.table:
        print(report.markdown(json.loads(chosen.table.read_text(encoding="utf-8"))))
        return 0
    machine.build()
    cores = machine.Cores()
    if chosen.profile:
        try:
            print(profiling.markdown(cores))
        except measure.CellFailed as error:
            sys.exit(f"no profile: {error}")
        return 0
    results = run(chosen, cores)
    text = report.markdown(results)
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text + "\n", encoding="utf-8")
    return 1 if any("failed" in cell for cell in results["cells"] if cell["peer"] == "penstock") else 0


if __name__ == "__main__":
    sys.exit(main())
