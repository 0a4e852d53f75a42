"""A PostgreSQL server of the tests' own: a fresh one, in a folder, behind a Unix socket.

The binaries come out of the `pgserver` wheel or from the system. The wheel's own Python is not used: it starts
daemons that outlive a killed test run, and this one is our child.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path


def binaries():
    """The folder with `postgres` and `initdb` that this machine can run; None if there is none."""
    places = []
    if (wheel := find_spec("pgserver")) is not None and wheel.origin:
        places.append(Path(wheel.origin).parent / "pginstall" / "bin")
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        places.append(Path(found).resolve().parent)
    for place in places:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([place / "postgres", "--version"], check=True, capture_output=True, **as_somebody())
            return place
    return None


def as_somebody():
    """PostgreSQL refuses to be run by root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


class Postgres:
    """A server that runs; `make()` makes databases in it."""

    def __init__(self, bin_folder):
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
        self._bin = bin_folder
        self._names = itertools.count()
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody", "nogroup")
        data = self.folder / "data"
        self._run("initdb", "-D", data, "-U", "penstock", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self._server = None
        self.start()

    def start(self):
        """Start the server, and return when it answers."""
        options = [
            "-k",
            self.folder,
            "-h",
            "",
            "-c",
            "max_connections=60",
            "-c",
            "shared_buffers=16MB",
            "-c",
            "fsync=off",
        ]
        self._server = subprocess.Popen(
            [self._bin / "postgres", "-D", self.folder / "data", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            **as_somebody(),
        )
        said = []
        for line in self._server.stderr:
            said.append(line)
            if "ready to accept connections" in line:
                break
        else:
            raise RuntimeError("".join(said))
        self._log = threading.Thread(target=self._server.stderr.read)  # a full pipe would stop the server
        self._log.start()

    def make(self, template="template0"):
        """The name of a new database, empty or a copy."""
        name = f"store{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def url(self, name):
        """The address of a database."""
        return f"postgresql://penstock@/{name}?host={self.folder}"

    def execute(self, statement):
        """Run one statement, as whoever may do everything."""
        import psycopg

        where = {"host": str(self.folder), "user": "penstock", "dbname": "postgres"}
        with psycopg.connect(autocommit=True, **where) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def stop(self):
        """Stop at once, as a server does that an operator restarts; what is committed stays."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(30)
        self._log.join()
        self._server.stderr.close()

    def close(self):
        """Stop, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program, *arguments, check=True):
        run = subprocess.run(
            [self._bin / program, *arguments], capture_output=True, text=True, cwd="/", timeout=60, **as_somebody()
        )
        if check and run.returncode:
            raise RuntimeError(f"{program}: {run.stdout}{run.stderr}")
