"""One cell of the table: one peer, one test, once.

Every cell has a gateway and an upstream of its own, started for it and ended after it: no test inherits the memory, the
connections or the forgotten streams of another, and each start is one more sample of the time to the first answer.
A cell is a dict of plain numbers; what a test cannot say is not in it.
"""

import http.client
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace

import machine
from peers import Peer, Setup

PROGRAMS = machine.HERE / "bin"
START_LIMIT, LOAD_LIMIT = 30.0, 120.0
WARM, WARM_STREAM = "sim-tokens20", "sim-tokens40-gap1000"


@dataclass(frozen=True)
class Test:
    name: str
    about: str
    kind: str  # run, leave or hold
    model: str
    options: tuple[str, ...]
    stream: bool = True
    tls: bool = False  # the upstream is reached over TLS
    most_rounds: int = 1000
    quick: tuple[str, ...] | None = None  # other options for --quick

    def hurried(self) -> "Test":
        return self if self.quick is None else replace(self, options=self.quick)


def options(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PACED = "sim-tokens100-gap20000-first100000-stamp"
# 8.4 ms apart, the fifty streams begin in 0.4 s and their events fall evenly into the 20 ms: one wake-up, one event.
PACED_OPTIONS = options("--connections 50 --each 2 --spread 8400 --seconds 6 --grace 8")
FLOOD_OPTIONS = options("--connections 32 --seconds 2 --grace 10")
TESTS = {
    test.name: test
    for test in (
        Test(
            "json",
            "JSON request, 32 connections",
            "run",
            WARM,
            options("--connections 32 --seconds 2 --grace 10"),
            stream=False,
            quick=options("--connections 32 --seconds 1 --grace 10"),
        ),
        Test(
            "paced",
            "streamed event, 50 streams, one every 20 ms each",
            "run",
            PACED,
            PACED_OPTIONS,
            quick=options("--connections 50 --each 1 --spread 8400 --seconds 3 --grace 8"),
        ),
        Test(
            "flood",
            "streamed event, 32 streams, without pause",
            "run",
            "sim-tokens200",
            FLOOD_OPTIONS,
            quick=options("--connections 32 --seconds 1 --grace 10"),
        ),
        Test("paced-tls", "the paced streams, upstream over TLS", "run", PACED, PACED_OPTIONS, tls=True),
        Test("flood-tls", "the flood, upstream over TLS", "run", "sim-tokens200", FLOOD_OPTIONS, tls=True),
        Test(
            "leave-token",
            "client leaves between two tokens",
            "leave",
            "sim-tokens1000-gap50000",
            options("--events 3 --trials 20"),
            quick=options("--events 3 --trials 8"),
        ),
        Test(
            "leave-silent",
            "client leaves before the first byte of a stream",
            "leave",
            "sim-tokens10-first8000000-late",
            options("--events 0 --trials 20"),
            quick=options("--events 0 --trials 8"),
        ),
        Test(
            "leave-whole",
            "client leaves before an answer that is not streamed",
            "leave",
            "sim-tokens10-first8000000",
            options("--events 0 --trials 20"),
            stream=False,
            quick=options("--events 0 --trials 8"),
        ),
        Test(
            "idle",
            "1,000 open streams, an event a second each",
            "hold",
            "sim-tokens1000-gap1000000",
            options("--connections 1000 --seconds 20 --grace 30"),
            most_rounds=3,
            quick=options("--connections 300 --seconds 10 --grace 30"),
        ),
        Test(
            "stalled",
            "20 clients that stop reading while the upstream floods",
            "hold",
            "sim-tokens1000000000-burst16",
            options("--connections 20 --events 3 --stall --seconds 20 --grace 30"),
            most_rounds=3,
            quick=options("--connections 20 --events 3 --stall --seconds 10 --grace 30"),
        ),
    )
}
QUICK = ("json", "paced", "flood", "leave-token", "leave-silent", "leave-whole", "idle", "stalled")
MODELS = tuple(dict.fromkeys([WARM, WARM_STREAM, *(test.model for test in TESTS.values())]))


class CellFailed(Exception):
    """There is no figure, and this is why."""


@dataclass
class Cell:
    """The processes of one measurement."""

    peer: Peer
    test: Test
    cores: machine.Cores
    directory: pathlib.Path
    certificates: "Certificates | None"
    wrap: tuple[str, ...] = ()  # a profiler's command in front of the gateway's
    processes: list[subprocess.Popen] = field(default_factory=list)
    gateway: subprocess.Popen | None = None
    load_cpu: float = 0.0

    def companion(self, command: list[str], **start) -> tuple[subprocess.Popen, int]:
        """A program that prints the port it serves on."""
        process = self.cores.start(command, stdout=subprocess.PIPE, text=True, **start)
        self.processes.append(process)
        return process, int(process.stdout.readline())

    def start(self) -> float:
        """Upstream and gateway; returns the seconds from the gateway's start to its first right answer."""
        upstream = [str(PROGRAMS / "upstream")]
        _, self.upstream_port = self.companion(upstream)
        url, ca_file, environment = f"http://127.0.0.1:{self.upstream_port}", None, dict(os.environ)
        if self.test.tls:
            certificates = self.certificates
            _, port = self.companion(certificates.front(self.upstream_port))
            url, ca_file = f"https://127.0.0.1:{port}", str(certificates.authority)
            environment["SSL_CERT_FILE"] = ca_file
        begun = time.monotonic()
        if self.peer.command is None:
            self.gateway, self.port = self.companion(upstream, gateway=True)
            self.upstream_port = self.port
        else:
            self.port = machine.free_port()
            setup = Setup(self.port, url, ca_file, self.directory, MODELS)
            command = [*self.wrap, *self.peer.command(setup)]
            with open(self.directory / f"{self.peer.name}.log", "wb") as log:
                self.gateway = self.cores.start(
                    command, gateway=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
                )
            self.processes.insert(0, self.gateway)
        self.wait_until_healthy(begun)
        return time.monotonic() - begun

    def wait_until_healthy(self, begun: float) -> None:
        body = json.dumps({"model": self.peer.prefix + WARM, "messages": [{"role": "user", "content": "?"}]})
        headers = dict(header.split(": ", 1) for header in self.peer.headers) | {"content-type": "application/json"}
        last = "no connection"
        while time.monotonic() - begun < START_LIMIT:
            if self.gateway.poll() is not None:
                raise CellFailed(f"the gateway ended with {self.gateway.returncode}: {self.log_tail()}")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                connection.request("POST", "/v1/chat/completions", body, headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 200:
                    return
                last = f"{answer.status} {text[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                last = repr(error)
            finally:
                connection.close()
            time.sleep(0.005)
        raise CellFailed(f"not healthy after {START_LIMIT:.0f} s: {last}; {self.log_tail()}")

    def log_tail(self) -> str:
        log = self.directory / f"{self.peer.name}.log"
        lines = log.read_text(errors="replace").split("\n") if log.exists() else []
        return next((line[-300:] for line in reversed(lines) if any(map(str.isalpha, line))), "nothing in its log")

    def load(self, kind: str, model: str, stream: bool, arguments: tuple[str, ...], **start) -> subprocess.Popen:
        command = [str(PROGRAMS / "load"), kind, "--to", f"127.0.0.1:{self.port}"]
        command += ["--upstream", f"127.0.0.1:{self.upstream_port}", "--model", model]
        command += ["--prefix", self.peer.prefix] if self.peer.prefix else []
        command += [part for header in self.peer.headers for part in ("--header", header)]
        command += ["--stream"] if stream else []
        return self.cores.start([*command, *arguments], stdout=subprocess.PIPE, text=True, **start)

    def load_once(self, *what) -> dict:
        process = self.load(*what)
        try:
            output, _ = process.communicate(timeout=LOAD_LIMIT)
            return json.loads(output)
        except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            raise CellFailed(f"the generator: {error!r}"[:200]) from None
        finally:
            if process.poll() is None:
                machine.stop(process)

    def companions_cpu(self) -> float:
        return sum(machine.cpu_seconds(process.pid) for process in self.processes if process is not self.gateway)

    def stop(self) -> None:
        for process in self.processes:
            machine.stop(process)


class Certificates:
    """A private authority and a certificate for localhost, made for this run and gone with it."""

    def __init__(self, directory: pathlib.Path) -> None:
        import trustme

        authority = trustme.CA()
        self.authority, self.chain = directory / "authority.pem", directory / "localhost.pem"
        authority.cert_pem.write_to_path(self.authority)
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.chain)

    def front(self, upstream_port: int) -> list[str]:
        return [sys.executable, str(machine.HERE / "tls_front.py"), str(upstream_port), *[str(self.chain)] * 2]


def measure(peer: Peer, test: Test, cores: machine.Cores, certificates: Certificates | None) -> dict:
    """Runs the cell; a failure is a row too, with the key `failed`."""
    row: dict = {"peer": peer.name, "test": test.name}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        cell = Cell(peer, test, cores, pathlib.Path(directory), certificates)
        others = machine.machine_busy_seconds()
        ours = sum(os.times()[:4])
        begun = time.monotonic()
        try:
            row["start_s"] = cell.start()
            time.sleep(0.3)
            row["rest_kb"] = machine.resident_kb(cell.gateway.pid)
            row |= {"run": closed_loop, "leave": leaving, "hold": holding}[test.kind](cell)
        except CellFailed as error:
            row["failed"] = str(error)
        finally:
            cell.stop()
        wall = time.monotonic() - begun
        others = machine.machine_busy_seconds() - others - (sum(os.times()[:4]) - ours)
        row["others"] = max(0.0, others) / wall / (os.cpu_count() or 1)
    return row


def warm_up(cell: Cell, stream: bool) -> None:
    cell.load_once("run", WARM_STREAM if stream else WARM, stream, options("--connections 8 --seconds 0.4 --grace 5"))


def closed_loop(cell: Cell) -> dict:
    """CPU of the gateway over the whole of a load, per request and per event that arrived."""
    test = cell.test
    warm_up(cell, test.stream)
    begun, gateway, companions = time.monotonic(), machine.cpu_seconds(cell.gateway.pid), cell.companions_cpu()
    result = cell.load_once("run", test.model, test.stream, test.options)
    wall = time.monotonic() - begun
    gateway, companions = machine.cpu_seconds(cell.gateway.pid) - gateway, cell.companions_cpu() - companions
    if not result["requests"]:
        raise CellFailed(f"not one right answer: {result['faults']}; {cell.log_tail()}")
    return {
        "cpu_us_per_request": gateway * 1e6 / result["requests"],
        "cpu_us_per_event": gateway * 1e6 / result["events"],
        "requests_per_s": result["requests"] / result["seconds"],
        "events_per_s": result["events"] / result["seconds"],
        "gateway_busy": gateway / wall,
        "load_busy": (companions + result["cpu_s"]) / wall,
        "upstream_share": companions / max(1e-9, companions + result["cpu_s"]),
        "first_added_us": result.get("first_added", {}).get("all_us", []),
        "token_added_p50_us": result.get("token_added", {}).get("p50_us"),
        "token_added_p99_us": result.get("token_added", {}).get("p99_us"),
        "answer_p50_us": result.get("answer", {}).get("p50_us"),
        "faults": result["faults"],
    }


def leaving(cell: Cell) -> dict:
    warm_up(cell, cell.test.stream)
    result = cell.load_once("leave", cell.test.model, cell.test.stream, cell.test.options)
    seen = result.get("seen_after", {}).get("all_us", [])
    return {
        "seen_after_us": seen,
        "missed": result["missed"],
        "trials": len(seen) + result["missed"],
        "left_open": result["left_open"],
        "faults": result["faults"],
    }


def holding(cell: Cell) -> dict:
    """Weighs the gateway before the streams and while they are open: twice, to see whether it still grows."""
    test, pid = cell.test, cell.gateway.pid
    warm_up(cell, test.stream)
    time.sleep(0.3)
    before = machine.resident_kb(pid)
    process = cell.load("hold", test.model, test.stream, test.options, stdin=subprocess.PIPE)
    try:
        if not select.select([process.stdout], [], [], 30)[0]:
            raise CellFailed("the streams did not open")
        held = json.loads(process.stdout.readline())["held"]
        time.sleep(1.5)
        early, cpu = machine.resident_kb(pid), machine.cpu_seconds(pid)
        time.sleep(1.5)
        late, cpu = machine.resident_kb(pid), machine.cpu_seconds(pid) - cpu
        output, _ = process.communicate("\n", timeout=30)
        result = json.loads(output)
    except (subprocess.TimeoutExpired, json.JSONDecodeError, BrokenPipeError) as error:
        raise CellFailed(f"the generator: {error!r}"[:200]) from None
    finally:
        if process.poll() is None:
            machine.stop(process)
    if not held:
        raise CellFailed(f"no stream was held: {result['faults']}")
    wanted = int(test.options[test.options.index("--connections") + 1])
    return {
        "held": held,
        "wanted": wanted,
        "kb_per_stream": (max(early, late) - before) / held,
        "growing_kb_per_stream": (late - early) / held,
        "held_busy": cpu / 1.5,
        "left_open": result["left_open"],
        "faults": result["faults"],
    }
