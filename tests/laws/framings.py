"""Framings of transports under the laws: HTTP's heads and chunks, and Content-Length as LSP has it."""

from __future__ import annotations

from random import Random
from typing import Any

from laws.law import Broken, retained
from laws.reference import chunked as chunked_reference
from laws.reference import content_length as content_length_reference
from laws.reference import head as head_reference
from laws.reference import response as response_reference
from laws.reference.told import Told
from laws.streams import http, rpc
from laws.subjects import AGREES, Case, Subject, low_limit
from penstock.protocol import chunked, head
from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.jsonrpc import ContentLengthDecoder
from penstock.protocol.response import Response

__all__ = ["SUBJECTS"]

CARRIES = "What came out can be written, and read again: it is the same."


def _chunked(choose: Random) -> Case:
    options = {"max_chunk_line": low_limit(choose, 30), "max_trailer_bytes": low_limit(choose, 40)}
    return Case(http.chunked(choose), options)


def _chunked_state(machine: chunked.Decoder) -> Any:
    """Trailers mean something where all have come."""
    return machine.done, machine.trailers if machine.done else [], machine.unused


def _chunked_again(case: Case, told: Told) -> None:
    data = told.results
    again = chunked.Decoder()
    if b"".join(again.feed(chunked.encode(data) + chunked.LAST)) != data or not again.done:
        raise Broken(CARRIES, data, again)


def _head(choose: Random) -> Case:
    return Case(http.head(choose), {"limit": low_limit(choose, 200)})


def _judged(case: Case, told: Told) -> None:
    if not told.state[0]:
        return
    for kind in ("request", "response"):
        expected = head_reference.judge(told.results, kind)
        try:
            found = tuple(head.check(told.results, kind))  # type: ignore[call-overload]
        except RemoteProtocolError as refused:
            found = None
            if not 0 <= refused.offset <= len(told.results) or refused.status not in (400, 501, 505):
                raise Broken("A refusal has a place and a status.", told.results, refused) from refused
        if found != expected:
            raise Broken(AGREES, expected, found)


def _frames(choose: Random) -> Case:
    return Case(rpc.content_length(choose), {"max_header": low_limit(choose, 80), "max_body": low_limit(choose, 200)})


def _response(choose: Random) -> Case:
    method = "HEAD" if choose.random() < 0.1 else "POST"
    return Case(http.response(choose), {"method": method, "limit": low_limit(choose, 250)})


SUBJECTS = [
    Subject(
        "response",
        _response,
        lambda method, limit: Response(method, max_head_bytes=limit),
        response_reference.decode,
        read=b"".join,
        state=lambda machine: (machine.head and machine.head.status, machine.done, machine.unused),
        room=lambda options: options["limit"] + 1024 + 16 * 1024,
        kept=lambda machine: retained(machine) - len(machine.unused),
    ),
    Subject(
        "chunked",
        _chunked,
        chunked.Decoder,
        lambda data, max_chunk_line, max_trailer_bytes: chunked_reference.decode(
            data, max_chunk_line, max_trailer_bytes
        ),
        read=b"".join,
        state=_chunked_state,
        room=lambda options: options["max_chunk_line"] + options["max_trailer_bytes"],
        kept=lambda machine: retained(machine) - len(machine.unused),
        also=_chunked_again,
    ),
    Subject(
        "head",
        _head,
        lambda limit: head.Scanner(limit),
        head_reference.scan,
        state=lambda machine: (machine.done, machine.unused),
        room=lambda options: options["limit"],
        kept=lambda machine: retained(machine) - len(machine.unused),
        also=_judged,
    ),
    Subject(
        "content-length",
        _frames,
        lambda max_header, max_body: ContentLengthDecoder(max_header, max_body),
        content_length_reference.decode,
        room=lambda options: options["max_header"] + options["max_body"],
    ),
]
