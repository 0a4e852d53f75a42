"""What finds events under the laws: SSE, runs of any framing, and what tells which framing a body has."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from laws.law import Broken, tell_twice
from laws.reference import detect as detect_reference
from laws.reference import ndjson as ndjson_reference
from laws.reference import sse as sse_reference
from laws.reference.told import Telling, Told
from laws.streams import json, sse, trouble
from laws.subjects import AGREES, Case, Subject, low_limit
from penstock.protocol import detect
from penstock.protocol import sse as machines_of_sse
from penstock.protocol.blocks import Blocks, fields
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.runs import runs

__all__ = ["SUBJECTS"]

_BOM = b"\xef\xbb\xbf"


# --- event streams ---


def _sse(choose: Random) -> Case:
    incomplete = "dispatch" if choose.random() < 0.5 else "discard"
    return Case(sse.stream(choose), {"limit": low_limit(choose), "incomplete": incomplete})


def _events(results: list[Any]) -> list[tuple[str, ...]]:
    return [("event", *one) if type(one) is machines_of_sse.Event else ("comment", *one) for one in results]


def _without_comments(data: bytes, limit: int, incomplete: str) -> Told:
    """The reference, its comments taken out: the machine's short ways are then open to it."""
    told = sse_reference.events(data, limit, incomplete)
    before = [0]
    for result in told.results:
        before.append(before[-1] + (result[0] == "event"))
    events = [result for result in told.results if result[0] == "event"]
    return told._replace(results=events, due=[before[count] for count in told.due])


def _encoded_again(case: Case, told: Told) -> None:
    for result in told.results:
        if result[0] == "event":
            tell_twice(machines_of_sse.encode, _decoded, machines_of_sse.Event(*result[1:]))


def _decoded(data: bytes) -> Any:
    (event,) = machines_of_sse.Decoder().feed(data)
    return event


def _blocks(run: bytes) -> list[Any]:
    """A run as the reference has it: events as tuples of lines, comments between them as lines."""
    found: list[Any] = []
    block: list[bytes] = []
    for line in run.split(b"\n"):
        if not line:
            found += [tuple(block)] if block else []
            block = []
        elif block or line[:1] != b":":
            block.append(line)
        else:
            found.append(line)
    return found + ([tuple(block)] if block else [])


def _fields_agree(case: Case, told: Told) -> None:
    for block in told.results:
        if isinstance(block, tuple):
            found = fields(b"\n".join(block))
            if found is None or tuple(found) != sse_reference.fields(block):
                raise Broken(AGREES, sse_reference.fields(block), found)


# --- any framing as events ---


class _Placed:
    """Runs, taken apart: what each event says, and where in the stream it ended (None with the end of input)."""

    def __init__(self, framing: str, limit: int) -> None:
        self._runs = runs(framing, limit)

    @property
    def fault(self) -> RemoteProtocolError | None:
        return self._runs.fault

    def feed(self, chunk: bytes) -> list[Any]:
        found, place = [], 0
        for block in self._runs.feed(chunk).split(b"\n\n"):
            place += len(block) + 2
            if (said := fields(block)) is not None:
                found.append((tuple(said), self._runs.end_of(place)))
        return found

    def close(self) -> list[Any]:
        said = fields(self._runs.close())
        return [] if said is None else [(tuple(said), None)]

    def _nothing(self) -> list[Any]:
        return []


def _runs(choose: Random) -> Case:
    framing = choose.choice(["sse", "ndjson", "json"])
    if framing == "sse":
        data = sse.stream(choose)
    else:
        mark = b"\xef\xbb\xbf" if choose.random() < 0.1 else b""
        data = mark + (
            json.lines(choose) if framing == "ndjson" else trouble.mutated(choose, json.document(choose) + b"\n")
        )
    return Case(data, {"framing": framing, "limit": low_limit(choose)})


def _runs_told(data: bytes, framing: str, limit: int) -> Told:
    """Events as they are; each line as an event; the whole as one."""
    if framing == "json":
        telling = Telling([])
        if len(data) > limit:
            return telling.told(len(data))._replace(fault=("answer_too_large", limit), known=limit + 1)
        if body := data.strip():
            telling.add(len(data) + 1, [_as_data(body.removeprefix(_BOM))])
        told = telling.told(len(data))
    elif framing == "ndjson":
        told = ndjson_reference.lines(data, limit, mark=_BOM)
        told = told._replace(results=[_as_data(line) for line in told.results])
    else:
        told = sse_reference.blocks(data, limit)
    telling, places = Telling([]), [place for place in range(len(data) + 1) for _ in range(_new(told.due, place))]
    for block, place in zip(told.results, [*places, None], strict=False):
        if isinstance(block, tuple):
            telling.add(len(data) + 1 if place is None else place, [(sse_reference.fields(block), place)])
    return telling.told(len(data))._replace(fault=told.fault, known=told.known)


def _new(due: list[int], place: int) -> int:
    return due[place] - (due[place - 1] if place else 0)


def _as_data(text: bytes) -> tuple[bytes]:
    return (b"data: " + bytes(0x20 if byte in b"\r\n" else byte for byte in text),)


# --- what a body is ---

_TYPES = {None: None, "text/event-stream": "sse", "application/x-ndjson": "ndjson", "application/json": "json"}


class _Detected:
    """A detector that gives its verdict once, as a result."""

    fault = None

    def __init__(self, hint: str | None, limit: int) -> None:
        header = next(header for header, kind in _TYPES.items() if kind == hint)
        self._detector = detect.Detector(header, max_bytes=limit)
        self._told = False

    def feed(self, chunk: bytes) -> list[str]:
        return self._once(self._detector.feed(chunk))

    def close(self) -> list[str]:
        return self._once(self._detector.close())

    def _once(self, verdict: str | None) -> list[str]:
        if verdict is None or self._told:
            return []
        self._told = True
        return [verdict]


def _body(choose: Random) -> Case:
    what = choose.random()
    data = sse.stream(choose) if what < 0.3 else json.lines(choose) if what < 0.7 else json.document(choose)
    space = trouble.some(choose, (b"", b"", b"\n", b" ", b"\r\n", b"\xef\xbb\xbf"), 4)
    return Case(space + data, {"hint": choose.choice(list(_TYPES.values())), "limit": low_limit(choose, 40)})


def _body_told(data: bytes, hint: str | None, limit: int) -> Told:
    verdict, place = detect_reference.decide(data, hint, limit)
    telling = Telling([])
    if verdict is not None:
        telling.add(place, [verdict])
    return telling.told(len(data))


def _whole_id(options: Mapping[str, Any]) -> int:
    """An event, and the two ids that stay beside it, each of an event's bytes: two of text for one that was read
    where it was ill-formed, and what Python adds to a text beyond ASCII."""
    return int(options["limit"]) * (1 + 2 * 2) + 200


SUBJECTS = [
    Subject(
        "sse",
        _sse,
        lambda limit, incomplete: machines_of_sse.Decoder(limit, incomplete, comments=True),
        sse_reference.events,
        read=_events,
        state=lambda machine: (machine.last_event_id, machine.retry, machine.dropped),
        room=_whole_id,
        also=_encoded_again,
    ),
    Subject(
        "sse-plain",
        _sse,
        lambda limit, incomplete: machines_of_sse.Decoder(limit, incomplete),
        _without_comments,
        read=_events,
        state=lambda machine: (machine.last_event_id, machine.retry, machine.dropped),
        room=_whole_id,
    ),
    Subject(
        "blocks",
        lambda choose: Case(sse.stream(choose), {"limit": low_limit(choose)}),
        lambda limit: Blocks(limit),
        sse_reference.blocks,
        read=_blocks,
        room=lambda options: options["limit"],
        also=_fields_agree,
    ),
    Subject("runs", _runs, _Placed, _runs_told),
    Subject("detect", _body, _Detected, _body_told),
]
