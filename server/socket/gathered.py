"""What a stream has said so far, put together beside it: the result that follows the deltas.

`Gathered` keeps the bytes as they go out and reads them only now and then, many at once: a delta costs an append, and
what waits to be read is bounded. Nearly all chunks of a stream are alike but for their text, so that of a run of these
only the texts are cut out, joined, and read as one string: a twentieth of the cost of reading each. What is not just
like the chunk before is read in full. `LastWord` is for a dialect whose streams end with the whole response.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from ...protocol.chat import Accumulator, Event, Failed, Text
from ...protocol.dialects import DIALECTS, failures
from ...protocol.dialects.openai_stream import encode_usage
from ...protocol.dialects.source import Source, truncated
from ...protocol.errors import LimitExceeded
from ...protocol.jsontext import dumps, loads
from . import small

if TYPE_CHECKING:
    from ...protocol.members import Members
    from ..config import Limits

__all__ = ["Gathered", "Gathering", "LastWord", "asking_for_usage", "decoder_of", "payloads"]

_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_CHUNK = re.compile(rb'(data: .*?"delta":\{"content":")' + _STRING.pattern + rb'("\}.*)\n\n')

FOLD_BYTES = 16384
"""So much of a stream may wait to be read: some eighty deltas, a millisecond's work."""


class Gathering(Protocol):
    """The sum of a stream. `keep` may raise LimitExceeded, `result` is asked for at the end: a body, or the failure."""

    def keep(self, data: bytes) -> None: ...
    def result(self, *, summary: bool) -> bytes | Failed: ...
    def so_far(self) -> dict[str, Any]: ...


class Gathered:
    """Sums up a stream of chunks, of not more than `limits.message_bytes` of text."""

    __slots__ = ("_after", "_before", "_choice", "_decoder", "_dialect", "_held", "_sum")

    def __init__(self, dialect: str, limits: Limits) -> None:
        self._dialect = DIALECTS[dialect]
        self._decoder = decoder_of(dialect, limits)
        self._sum = Accumulator(limits.message_bytes)
        self._held = bytearray()
        self._before = self._after = b""  # what stands around the text in chunks like the one read last
        self._choice = 0

    def keep(self, data: bytes) -> None:
        """Bytes that went out. Raises LimitExceeded."""
        self._held += data
        if len(self._held) > FOLD_BYTES:
            self._fold()

    def _fold(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        texts: list[bytes] = []
        for frame in held.removesuffix(b"\n\n").split(b"\n\n"):
            text = self._text_of(frame)
            if text is None:
                self._add(texts)
                texts = []
                self._read(frame + b"\n\n")
            else:
                texts.append(text)
        self._add(texts)

    def _text_of(self, frame: bytes) -> bytes | None:
        """The text of a chunk like the one read last, as it is in JSON."""
        before, after = self._before, self._after
        if not before or not frame.startswith(before) or not frame.endswith(after):
            return None
        text = frame[len(before) : len(frame) - len(after)]
        return text if len(frame) >= len(before) + len(after) and _STRING.fullmatch(text) else None

    def _add(self, texts: list[bytes]) -> None:
        if texts:
            self._sum.feed([Text(json.loads(b'"%b"' % b"".join(texts)), self._choice)])

    def _read(self, frame: bytes) -> None:
        events = self._decoder.feed(frame)
        self._sum.feed(events)
        parts = _CHUNK.fullmatch(frame) if frame.count(b'"delta":') == 1 and b'"finish_reason":"' not in frame else None
        match events:
            case [Text(_, choice)] if parts is not None:
                self._before, self._after, self._choice = parts[1], parts[2], choice

    def result(self, *, summary: bool) -> bytes | Failed:
        """The whole answer, or with `summary` only what it came to; or the failure with which the stream ended. Raises
        LimitExceeded."""
        self._fold()
        if self._decoder.failed is not None:
            return self._decoder.failed
        answer = self._sum.answer()
        if not summary:
            return self._dialect.encode_response(answer)
        value: dict[str, Any] = {"id": answer.id, "finish_reasons": [choice.reason for choice in answer.choices]}
        if answer.usage is not None:
            value["usage"] = encode_usage(answer.usage)
        return json.dumps(value).encode()

    def so_far(self) -> dict[str, Any]:
        """`partial`, of an answer that was not completed; nothing if nothing had come."""
        with suppress(LimitExceeded):
            self._fold()
        answer = self._sum.answer()
        if not answer.choices:
            return {}
        partial = json.loads(self._dialect.encode_response(answer._replace(usage=None)))
        return {"partial": partial} | ({"usage": encode_usage(answer.usage)} if answer.usage is not None else {})


class LastWord:
    """Takes the response out of the event that ends a stream of the Responses API."""

    __slots__ = ("_depth", "_last")

    def __init__(self, limits: Limits) -> None:
        self._depth = limits.json_depth
        self._last = b""

    def keep(self, data: bytes) -> None:
        """Bytes that went out: only the last ones count."""
        self._last = data

    def result(self, *, summary: bool) -> bytes | Failed:
        """The response, or the failure with which the stream ended."""
        response = None
        for payload in payloads(self._last):
            event, _ = loads(payload, self._depth + 1)
            response = event.get("response") or response
            if (failed := _failure(event)) is not None:
                return failed
        return truncated() if response is None else dumps(response)

    def so_far(self) -> dict[str, Any]:
        """The events have said it all."""
        return {}


def _failure(event: dict[str, Any]) -> Failed | None:
    if event.get("type") == "error":
        return failures.find({"error": event.get("error") or event})
    if event.get("type") == "response.failed":
        return failures.find({"error": event["response"].get("error")})
    return None


def decoder_of(dialect: str, limits: Limits) -> Source[Event]:
    """What reads a stream that has been written here, whatever its frames may hold."""
    decoder: Source[Event] = DIALECTS[dialect].decoder(
        "sse", max_frame_bytes=limits.frame_bytes, json_depth=limits.json_depth
    )
    return decoder


def asking_for_usage(body: Members) -> dict[str, bytes | None]:
    """The change to a request that streams by which its stream tells the usage: the result has it, asked for or not.
    Raises Refusal."""
    options = small.value(body, "stream_options")
    if options is not None and not isinstance(options, dict):
        return {}  # which will be refused
    return {"stream_options": dumps({**(options or {}), "include_usage": True})}


def payloads(data: bytes) -> Iterator[bytes]:
    """The data of each event in canonical frames: one line of JSON, or `[DONE]`. Comments have none."""
    for block in data.split(b"\n\n"):
        if block.startswith(b"data: "):
            yield block[6:]
        elif (place := block.find(b"\ndata: ")) >= 0:
            yield block[place + 7 :]
