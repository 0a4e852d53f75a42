"""The long run: `python tests/laws/run.py --seed 1 --executions 1000000`.

One execution is one byte string, cut in one way, through one machine and all its oracles. The same seed makes the
same executions, however many processes share them. A finding is shown as small as it can be made, and the command
that makes it again; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from random import Random
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from laws.machines import MACHINES
from laws.shrink import shrunk
from laws.subjects import executions

CUTS = 16  # of one byte string
_BATCH = 100  # byte strings
_SHOWN = 2  # findings of one law in one machine


class Finding(NamedTuple):
    """A broken law: which case it was, and its smallest form."""

    machine: str
    case: int
    law: str
    options: str
    chunks: list[bytes]
    says: str


class Batch(NamedTuple):
    """What came of some cases."""

    machine: str
    executions: int
    bytes: int
    seconds: float
    findings: list[Finding]


def run_batch(machine: str, seed: str, first: int, count: int) -> Batch:
    """Run `count` cases of one machine, the one numbered `first` and those after it."""
    subject, begun = MACHINES[machine], time.process_time()
    done = size = 0
    findings: dict[str, Finding] = {}
    for number in range(first, first + count):
        for case, chunks, broken in executions(subject, Random(f"{seed}/{machine}/{number}"), CUTS):
            done += 1
            size += len(case.data)
            if broken is not None and broken.law not in findings:
                chunks, broken = shrunk(subject, case, list(chunks), broken)
                findings[broken.law] = Finding(machine, number, broken.law, repr(case.options), chunks, str(broken))
    return Batch(machine, done, size, time.process_time() - begun, list(findings.values()))


def batches(machines: Sequence[str], total: int) -> Iterator[tuple[str, int, int]]:
    """Machine, first case and count; all machines in turn, so that a run that is broken off has seen them all."""
    cases = -(-total // (CUTS * len(machines)))
    for first in range(0, cases, _BATCH):
        for machine in machines:
            yield machine, first, min(_BATCH, cases - first)


class Report:
    """Counts, the line that shows how far it is, and the table at the end."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.begun = self.shown = time.monotonic()
        self.counts: dict[str, tuple[int, int, float]] = {}
        self.findings: list[Finding] = []

    def add(self, batch: Batch) -> None:
        done, size, seconds = self.counts.get(batch.machine, (0, 0, 0.0))
        self.counts[batch.machine] = (done + batch.executions, size + batch.bytes, seconds + batch.seconds)
        known = [(finding.machine, finding.law) for finding in self.findings]
        self.findings += [found for found in batch.findings if known.count((found.machine, found.law)) < _SHOWN]
        if time.monotonic() - self.shown > 1:
            self.shown = time.monotonic()
            self.line()

    def line(self) -> None:
        done = sum(count[0] for count in self.counts.values())
        rate = done / max(time.monotonic() - self.begun, 0.001)
        filled = min(done * 30 // max(self.total, 1), 30)
        bar = "#" * filled + "." * (30 - filled)
        end = "\r" if sys.stderr.isatty() else "\n"
        said = f"[{bar}] {done:,} of {self.total:,} executions, {rate:,.0f} a second, {len(self.findings)} findings"
        print(said, end=end, file=sys.stderr, flush=True)

    def table(self) -> None:
        print(f"{'machine':32} {'executions':>12} {'bytes each':>11} {'a second':>10}")
        rows = [*self.counts.items(), ("all", tuple(map(sum, zip(*self.counts.values(), strict=True))))]
        for name, (done, size, seconds) in rows:
            print(f"{name:32} {done:>12,} {size // max(done, 1):>11,} {done / max(seconds, 1e-9):>10,.0f}")
        print(f"{len(self.findings)} findings in {time.monotonic() - self.begun:,.0f} s (rates: of one core)")

    def show(self, seed: str) -> None:
        for finding in self.findings:
            print(f"\n--- {finding.machine}, case {finding.case}\n{finding.says}")
            print(f"  options:  {finding.options}\n  chunks:   {finding.chunks!r}")
            print(f"  again:    python {sys.argv[0]} --seed {seed} --machine {finding.machine} --case {finding.case}")


def run(seed: str, machines: Sequence[str], total: int, processes: int) -> Report:
    """All executions, in this process or in several."""
    report, todo = Report(total), batches(machines, total)
    if processes == 1:
        for batch in todo:
            report.add(run_batch(batch[0], seed, *batch[1:]))
        return report
    with ProcessPoolExecutor(processes) as pool:
        running: set[Future[Batch]] = set()
        for machine, first, count in todo:
            running.add(pool.submit(run_batch, machine, seed, first, count))
            if len(running) >= 2 * processes:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    report.add(future.result())
        for future in wait(running).done:
            report.add(future.result())
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. 0: all laws hold; 1: they do not; 2: there is no such machine."""
    parser = argparse.ArgumentParser(description="Holds machines against their laws.")
    parser.add_argument("--seed", default="1", help="any word")
    parser.add_argument("--executions", type=int, default=100_000, metavar="N")
    parser.add_argument("--machine", action="append", metavar="NAME", help="or a pattern; all if it is not given")
    parser.add_argument("--processes", type=int, default=1, metavar="N")
    parser.add_argument("--case", type=int, metavar="N", help="only this byte string of each machine, in all its cuts")
    parser.add_argument("--list", action="store_true", help="name the machines")
    options = parser.parse_args(arguments)
    patterns = options.machine or ["*"]
    machines = [name for name in MACHINES if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if options.list or not machines:
        print("\n".join(machines or MACHINES))
        return 0 if machines else 2
    if options.case is not None:
        report = Report(CUTS * len(machines))
        for machine in machines:
            report.add(run_batch(machine, options.seed, options.case, 1))
    else:
        report = run(options.seed, machines, options.executions, options.processes)
    report.line()
    report.table()
    report.show(options.seed)
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
