"""The machine under the benchmark: the C programs, cores, and what a process tree costs.

CPU time is the figure that counts here: on a machine that others use too, wall-clock says how busy they were.
A process's CPU clock is read in nanoseconds (`/proc` counts ticks of 10 ms); what its dead children used comes from
`/proc`. Linux only.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = {
    "upstream": ("upstream", "script", "text", "timers", "net"),
    "load": ("load", "loop", "leave", "hold", "client", "reply", "answer", "json", "text", "net"),
}
FLAGS = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]
TICK = os.sysconf("SC_CLK_TCK")


def build() -> None:
    """Compiles what is older than its sources."""
    newest = max(path.stat().st_mtime for path in (HERE / "src").iterdir())
    (HERE / "bin").mkdir(exist_ok=True)
    compiler = os.environ.get("CC") or shutil.which("gcc") or "cc"
    for name, units in SOURCES.items():
        program = HERE / "bin" / name
        if not program.exists() or program.stat().st_mtime < newest:
            sources = [str(HERE / "src" / f"{unit}.c") for unit in units]
            subprocess.run([compiler, *FLAGS, "-o", str(program), *sources], check=True)


class Cores:
    """The gateway alone on one core; upstream, generator and this script on another."""

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.apart = len(cores) > 1
        self.gateway, self.load = ({cores[0]}, {cores[1]}) if self.apart else (set(cores), set(cores))
        os.sched_setaffinity(0, self.load)

    def start(self, command: list[str], *, gateway: bool = False, **options) -> subprocess.Popen:
        core = self.gateway if gateway else self.load
        return subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, core), **options)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found, todo = [], [pid]
    while todo:
        found.append(parent := todo.pop())
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                todo += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree since it began."""
    total = 0.0
    for process in tree(pid):
        try:
            total += time.clock_gettime(~process << 3 | 2)  # the kernel's name for the CPU clock of a process
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) / TICK
        except OSError:
            continue
    return total


def resident_kb(pid: int) -> int:
    total = 0
    for process in tree(pid):
        try:
            status = pathlib.Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
    return total


def machine_busy_seconds() -> float:
    """Core-seconds that anybody on this machine has used."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def stop(process: subprocess.Popen) -> None:
    """Ends the process and every descendant; at most three seconds."""
    members = tree(process.pid)
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        pass
    for pid in members:
        try:
            if pid != process.pid or process.poll() is None:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
    if process.stdout:
        process.stdout.close()
