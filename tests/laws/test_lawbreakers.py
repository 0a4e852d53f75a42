"""The laws can be broken: each spoilt machine is found, and its finding made small; and the long run tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from laws import law, run
from laws.law import Broken, retained
from laws.machines import MACHINES
from laws.shrink import broken_by, shrunk
from laws.subjects import Case, Subject, executions
from penstock.protocol import ndjson, sse, utf8
from penstock.protocol.errors import LocalProtocolError, RemoteProtocolError

LINES = MACHINES["lines"]


class Forgets(ndjson.Lines):
    """Loses what it held when a chunk ends in CR."""

    def feed(self, data: Any) -> Any:
        found = super().feed(data)
        if data[-1:] == b"\r":
            self._held.clear()
        return found


class Late(ndjson.Lines):
    """Gives its results one call later."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.kept: list[bytes] = []

    def feed(self, data: Any) -> Any:
        kept, self.kept = self.kept, super().feed(data)
        return kept

    def close(self) -> Any:
        kept, self.kept = self.kept, []
        return kept + super().close()


class Hoards(ndjson.Lines):
    """Keeps all that ever came."""

    def feed(self, data: Any) -> Any:
        self.all = getattr(self, "all", b"") + bytes(data)
        return super().feed(data)


class Crashes(ndjson.Lines):
    """Raises what it should not."""

    def feed(self, data: Any) -> Any:
        return [line.decode("ascii").encode() for line in super().feed(data)]


class Repeats(ndjson.Lines):
    """Gives its last results again when it is closed again."""

    def close(self) -> Any:
        self.last = getattr(self, "last", None) or super().close()
        return self.last


class Reopens(ndjson.Lines):
    """May be fed after it was closed."""

    def feed(self, data: Any) -> Any:
        try:
            return super().feed(data)
        except LocalProtocolError:
            return []


class Forgives(ndjson.Lines):
    """Raises a new fault each time."""

    def feed(self, data: Any) -> Any:
        try:
            return super().feed(data)
        except RemoteProtocolError as fault:
            raise RemoteProtocolError("again", kind=fault.kind, offset=fault.offset) from None


class Miscounts(utf8.Decoder):
    """Counts a replacement in each chunk anew."""

    def feed(self, data: Any) -> Any:
        self.replaced += self._held != b""
        return super().feed(data)


BREAKERS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "forgets": (Forgets, "lines", law.EARLY),
    "late": (Late, "lines", law.EARLY),
    "hoards": (Hoards, "lines", law.BOUNDED),
    "crashes": (Crashes, "lines", law.ERRORS),
    "repeats": (Repeats, "lines", law.CLOSED),
    "reopens": (Reopens, "lines", law.CLOSED),
    "forgives": (Forgives, "lines", law.FAULT),
    "miscounts": (Miscounts, "utf8", law.STATE),
}


def broken(subject: Subject, laws: str) -> Iterator[tuple[Case, list[bytes], Broken]]:
    for number in range(300):
        for case, chunks, found in executions(subject, Random(f"breakers/{number}"), 6):
            if found is not None and found.law == laws:
                yield case, chunks, found


@pytest.mark.parametrize(("make", "of", "said"), BREAKERS.values(), ids=BREAKERS)
def test_a_spoilt_machine_is_found_and_its_finding_is_made_small(make: Callable[..., Any], of: str, said: str) -> None:
    subject = MACHINES[of]._replace(make=lambda **options: make(*options.values()))
    case, chunks, found = next(broken(subject, said))
    small, again = shrunk(subject, case, chunks, found, tries=2000)
    assert again.law == said
    assert len(b"".join(small)) <= len(case.data)
    assert len(b"".join(small)) <= 40 or make in (Hoards, Forgives)  # which show beyond a limit only
    repeated = broken_by(subject, case._replace(data=b"".join(small)), small)
    assert repeated is not None
    assert "expected" in str(repeated)


def test_a_finding_of_the_cut_is_shrunk_to_the_cut() -> None:
    subject = LINES._replace(make=lambda limit: Forgets(limit))
    case = Case(b'{"a":1}\r\n{"b":2}\r\n', {"limit": 1000})
    chunks = [b'{"a"', b":1}\r", b'\n{"b":2}\r\n']
    found = broken_by(subject, case, chunks)
    assert found is not None
    small, _ = shrunk(subject, case, chunks, found)
    assert small == [b"}\r", b"\n"]


def test_a_reference_that_is_wrong_is_found_too() -> None:
    subject = MACHINES["sse"]
    assert subject.reference is not None
    told = subject.reference(b"data: a\n\n", 100, "discard")
    with pytest.raises(Broken, match="same for every cut"):
        subject._replace().hold(
            Case(b"data: a\n\n", {"limit": 100, "incomplete": "discard"}), [b"data: a\n\n"], told._replace(results=[()])
        )


def test_retained_counts_what_is_kept_once() -> None:
    machine = sse.Decoder()
    machine.feed(b"\n")
    empty = retained(machine)
    machine.feed(b"data: " + b"x" * 1000)
    assert retained(machine) - empty == 1006
    text = "x" * 500
    assert retained([text, text, [text], {"a": b"12"}]) == 503


def test_the_same_seed_makes_the_same_executions() -> None:
    first, second = (
        [(case, chunks) for case, chunks, _ in executions(MACHINES["ndjson"], Random("7"))] for _ in range(2)
    )
    assert first == second
    assert len(first) == run.CUTS


def test_the_long_run_says_that_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--seed", "2", "--executions", "64", "--machine", "sse*"]) == 0
    said = capsys.readouterr()
    assert "0 findings" in said.out
    assert "64 of 64 executions" in said.err


def test_the_long_run_tells_of_a_finding_and_how_to_have_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MACHINES, "lines", LINES._replace(make=lambda limit: Late(limit)))
    assert run.main(["--seed", "2", "--executions", "64", "--machine", "lines"]) == 1
    said = capsys.readouterr().out
    assert law.EARLY in said
    assert "--seed 2 --machine lines --case 0" in said
    assert run.main(["--seed", "2", "--machine", "lines", "--case", "0"]) == 1
    assert "16" in capsys.readouterr().out


def test_the_long_run_knows_its_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--machine", "nothing"]) == 2
    assert run.main(["--list"]) == 0
    assert capsys.readouterr().out.split("\n").count("sse") == 2
    total = sum(count for _, _, count in run.batches(["a", "b"], 10_000)) * run.CUTS
    assert 10_000 <= total < 10_000 + 2 * run.CUTS
