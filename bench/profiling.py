"""Where penstock's CPU time goes under the loads of the table.

With py-spy (if it is installed and may look at the process) the stacks are sampled, at little cost; without, the
standard cProfile counts every call, which makes small functions look dearer than they are: then read the order, not
the figures.
"""

import os
import pathlib
import pstats
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass

import machine
import measure
from peers import PEERS, penstock_program

LOADS = ("json", "paced", "flood")
LINES = 30
WAITING = ("poll", "epoll")  # cProfile's clock runs while the gateway sleeps


@dataclass(frozen=True)
class Line:
    function: str
    own: float  # shares of the busy time
    total: float


def markdown(cores: machine.Cores) -> str:
    why = PEERS["penstock"].missing()
    if why:
        return f"no profile: {why}"
    sampler = shutil.which("py-spy") or shutil.which("py-spy", path=os.path.dirname(sys.executable))
    parts = [f"Profile of penstock with {'py-spy' if sampler else 'cProfile'}."]
    for name in LOADS:
        print(f"profiling {name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            where = pathlib.Path(directory)
            lines = sampled(cores, name, where, sampler) if sampler else counted(cores, name, where)
        parts += ["", f"| {name}: function | own | with callees |", "|---|---:|---:|"]
        parts += [f"| `{line.function}` | {line.own:.1%} | {line.total:.1%} |" for line in lines[:LINES]]
    return "\n".join(parts)


def loaded(cell: measure.Cell) -> None:
    measure.warm_up(cell, cell.test.stream)
    cell.load_once("run", cell.test.model, cell.test.stream, cell.test.options)


def sampled(cores: machine.Cores, name: str, where: pathlib.Path, sampler: str) -> list[Line]:
    cell = measure.Cell(PEERS["penstock"], measure.TESTS[name], cores, where, None)
    stacks = where / "stacks.txt"
    try:
        cell.start()
        command = [sampler, "record", "--format", "raw", "--rate", "500", "--duration", "60", "-o", str(stacks)]
        with open(where / "py-spy.log", "wb") as log:
            recorder = cores.start([*command, "--pid", str(cell.gateway.pid)], stdout=log, stderr=log)
        cell.processes.append(recorder)
        time.sleep(0.5)
        loaded(cell)
        recorder.send_signal(signal.SIGINT)
        recorder.wait(10)
    finally:
        cell.stop()
    return from_stacks(stacks.read_text(encoding="utf-8"))


def without_line(frame: str) -> str:
    """`name (file.py:12)`, for all lines of a function the same."""
    name, colon, _ = frame.rpartition(":")
    return f"{name})" if colon else frame


def from_stacks(text: str) -> list[Line]:
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [without_line(frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            total[frame] += int(count)
    samples = max(1, own.total())
    return [Line(frame, count / samples, total[frame] / samples) for frame, count in own.most_common()]


def interpreter(script: str) -> str:
    """The Python that runs an installed console script."""
    first = pathlib.Path(script).read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#!").strip() if first.startswith("#!") and "python" in first else sys.executable


def counted(cores: machine.Cores, name: str, where: pathlib.Path) -> list[Line]:
    out = where / "profile"
    wrap = (interpreter(penstock_program()), "-m", "cProfile", "-o", str(out))
    cell = measure.Cell(PEERS["penstock"], measure.TESTS[name], cores, where, None, wrap)
    try:
        cell.start()
        loaded(cell)
        cell.gateway.terminate()
        try:
            cell.gateway.wait(20)  # it writes the profile at its end
        except subprocess.TimeoutExpired:
            pass
    finally:
        cell.stop()
    if not out.exists():
        raise measure.CellFailed(f"penstock did not end by itself: {cell.log_tail()}")
    return from_calls(pstats.Stats(str(out)))


def from_calls(stats: pstats.Stats) -> list[Line]:
    calls = {key: row for key, row in stats.stats.items() if not any(word in key[2] for word in WAITING)}
    busy = sum(row[2] for row in calls.values()) or 1.0
    lines = []
    for (path, number, function), (_, _, own, total, _) in calls.items():
        place = f" ({'/'.join(pathlib.Path(path).parts[-2:])}:{number})" if number else ""
        lines.append(Line(f"{function}{place}", own / busy, min(1.0, total / busy)))
    return sorted(lines, key=lambda line: line.own, reverse=True)
