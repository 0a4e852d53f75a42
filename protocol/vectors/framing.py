"""How the framing machines answer a vector: bytes in, in some cut, and the members of `expect` out.

Each function here drives one machine as any caller would, by `feed` and `close`, and says what came in the words of
the vectors: byte strings as text of the same numbers (ISO 8859-1), faults as kind and offset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .. import chunked, detect, head, members, ndjson, sse, utf8
from ..errors import RemoteProtocolError
from ..jsonrpc import ContentLengthDecoder
from ..machine import Machine
from .files import Vector

__all__ = ["MACHINES", "Chunks", "fault_of"]

Chunks = list[bytes]
Answer = dict[str, Any]
Results = TypeVar("Results")


def _drive(machine: Machine[Results], chunks: Chunks, take: Callable[[Results, int, int], None]) -> None:
    """Feed all chunks and close; `take` gets what each call gives, and between which offsets it came."""
    before = after = 0
    try:
        for chunk in chunks:
            before, after = after, after + len(chunk)
            take(machine.feed(chunk), before, after)
            if machine.fault is not None:
                return
        take(machine.close(), after, after)
    except RemoteProtocolError:
        pass  # it is in `machine.fault` too


def _all(machine: Machine[Results], chunks: Chunks) -> list[Results]:
    """What the calls gave, one after the other."""
    found: list[Results] = []
    _drive(machine, chunks, lambda results, *_: found.append(results))
    return found


def fault_of(fault: RemoteProtocolError | None) -> Answer | None:
    """A fault in the words of the vectors."""
    return None if fault is None else {"kind": fault.kind, "offset": fault.offset, "status": fault.status}


def _bytes(raw: bytes) -> str:
    return raw.decode("latin-1")


def _utf8(vector: Vector, chunks: Chunks) -> Answer:
    lenient, strict = utf8.Decoder("replace"), utf8.Decoder("strict")
    text = "".join(_all(lenient, chunks))
    told = {"text": "".join(_all(strict, chunks)), "fault": fault_of(strict.fault)}
    return {
        "text": text,
        "replaced": lenient.replaced,
        "strict": told,
        "boundary": utf8.boundary(b"".join(chunks)),
    }


def _sse(vector: Vector, chunks: Chunks) -> Answer:
    decoder = sse.Decoder(comments=True, **vector.get("options", {}))
    results: list[Any] = []
    places: list[tuple[int, int]] = []

    def take(found: list[sse.Event | sse.Comment], before: int, after: int) -> None:
        results.extend({"comment": one.text} if isinstance(one, sse.Comment) else one._asdict() for one in found)
        places.extend([(before, after)] * len(found))

    _drive(decoder, chunks, take)
    expected = vector["expect"].get("at", [])
    at = [_place(place, *span) for place, span in zip(expected, places, strict=False)]
    return {
        "results": results,
        "last_event_id": decoder.last_event_id,
        "retry": decoder.retry,
        "dropped": decoder.dropped,
        "fault": fault_of(decoder.fault),
        "at": at,
    }


def _place(expected: int, before: int, after: int) -> int:
    """`expected` where it lies within the chunk that a result came with, else the chunk's end."""
    return expected if before < expected <= after else after


def _ndjson(vector: Vector, chunks: Chunks) -> Answer:
    decoder = ndjson.Decoder(**vector.get("options", {}))
    found = [one for results in _all(decoder, chunks) for one in results]
    results = [_bad_line(one) if isinstance(one, ndjson.BadLine) else {"value": one} for one in found]
    return {"results": results, "fault": fault_of(decoder.fault)}


def _bad_line(bad: ndjson.BadLine) -> Answer:
    return {"bad": {"line": bad.number, "raw": _bytes(bad.raw), "reason": bad.reason}}


def _json(vector: Vector, chunks: Chunks) -> Answer:
    try:
        value = ndjson.parse(b"".join(chunks), **vector.get("options", {}))
    except RemoteProtocolError as refusal:
        return {"accept": False, "reason": refusal.kind}
    only = value[0] if isinstance(value, list) and value else None
    return {"accept": True, "value": value, **_exact(only)}


_DOUBLES = {float("inf"): "Infinity", float("-inf"): "-Infinity", 0.0: "0"}


def _exact(value: Any) -> Answer:
    """What the value of a vector's own JSON could not say exactly, in every reader of it."""
    if type(value) is int:
        return {"integer": str(value)}
    if type(value) is float:
        return {"double": _DOUBLES.get(value)}
    return {"utf16": value.encode("utf-16-be", "surrogatepass").hex(" ", 2)} if isinstance(value, str) else {}


def _members(vector: Vector, chunks: Chunks) -> Answer:
    options = vector.get("options", {})
    splitter = members.Splitter(**options)
    found = [member for part in _all(splitter, chunks) for member in part]
    if splitter.fault is not None:
        return {"members": None, "fault": fault_of(splitter.fault)}
    try:
        names = members.split(b"".join(chunks), **options).names()  # the quick way must come to the same verdict
    except RemoteProtocolError as refusal:
        return {"members": "refused by the quick way", "fault": fault_of(refusal)}
    if names != [member.name for member in found]:
        return {"members": names, "fault": None}
    return {"members": [member._asdict() for member in found], "fault": None}


def _detect(vector: Vector, chunks: Chunks) -> Answer:
    detector = detect.Detector(**vector.get("options", {}))
    expected, after = vector["expect"]["at"], 0
    for chunk in chunks:
        before, after = after, after + len(chunk)
        if verdict := detector.feed(chunk):
            return {"verdict": verdict, "at": _place(expected or 0, before, after)}
    return {"verdict": detector.close(), "at": None}


def _chunked(vector: Vector, chunks: Chunks) -> Answer:
    decoder = chunked.Decoder(**vector.get("options", {}))
    body = b"".join(piece for pieces in _all(decoder, chunks) for piece in pieces)
    return {
        "body": _bytes(body),
        "done": decoder.done,
        "trailers": [[_bytes(name), _bytes(value)] for name, value in decoder.trailers],
        "unused": _bytes(decoder.unused),
        "fault": fault_of(decoder.fault),
    }


def _head(vector: Vector, chunks: Chunks) -> Answer:
    options = dict(vector["options"])
    kind = options.pop("kind")
    scanner = head.Scanner(**options)
    heads: list[bytes] = _all(scanner, chunks)
    raw = b"".join(heads)
    fault: RemoteProtocolError | None = scanner.fault
    found: Answer | None = None
    if raw:
        try:
            found = head.check(raw, kind)._asdict()
            found["headers"] = [[_bytes(name), _bytes(value)] for name, value in found["headers"]]
            if kind == "response":
                found["reason"] = _bytes(found["reason"])
        except RemoteProtocolError as refusal:
            fault = refusal
    return {"head": found, "unused": _bytes(scanner.unused), "fault": fault_of(fault)}


def _content_length(vector: Vector, chunks: Chunks) -> Answer:
    decoder = ContentLengthDecoder(**vector.get("options", {}))
    bodies = [_bytes(body) for found in _all(decoder, chunks) for body in found]
    return {"bodies": bodies, "fault": fault_of(decoder.fault)}


MACHINES: dict[str, Callable[[Vector, Chunks], Answer]] = {
    "utf8": _utf8,
    "sse": _sse,
    "ndjson": _ndjson,
    "json": _json,
    "members": _members,
    "detect": _detect,
    "chunked": _chunked,
    "head": _head,
    "content-length": _content_length,
}
"""By the name of the file."""
