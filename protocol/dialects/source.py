"""What the stream decoders of all dialects have in common: framing, JSON, and how a stream ends.

Bytes become blocks (`runs`), blocks become JSON objects, a dialect's `_read` makes results of each. The
rules of the ending are here, once: `life` walks the table of `chat.Lifecycle`, a stream's end is what the
upstream declared, an error ends it at once, and nothing after the end is looked at.

Nothing is raised for what an upstream sends: what went wrong is in `failed`, and the results before it
have been returned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .. import jsontext, sse
from ..chat import Ending, Failed, Lifecycle, Phase, Usage
from ..errors import LocalProtocolError, RemoteProtocolError
from ..machine import Chunk
from ..runs import runs
from . import failures

__all__ = ["MAX_CHOICES", "MAX_TOOL_CALLS", "Source", "Stats", "empty", "malformed", "truncated"]

T = TypeVar("T")

# What is remembered of a stream grows with these, so they have an end.
MAX_CHOICES = 128  # OpenAI's own maximum for `n`
MAX_TOOL_CALLS = 1024  # of one choice; far above what models and clients handle


class Stats:
    """Counts of one stream. A frame is one with JSON in it; comments and end markers are none."""

    __slots__ = ("bytes_in", "bytes_out", "first_event", "frames", "largest_frame", "last_event", "replaced")

    def __init__(self) -> None:
        self.frames = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.largest_frame = 0
        """Bytes of JSON in the largest frame."""
        self.replaced = 0
        """How many U+FFFD stand for bytes that were no UTF-8."""
        self.first_event = 0
        """Where the first frame ended: so many bytes had come with its last one. 0 while there is none."""
        self.last_event = 0
        """Where the last frame ended. What came behind it is comments, an end marker, or a frame cut off."""

    def ended_at(self, offset: int) -> None:
        """The last frame counted ended there."""
        self.first_event = self.first_event or offset
        self.last_event = offset


def empty() -> Failed:
    """The upstream ended and had not said anything."""
    return Failed("the upstream sent an empty answer")


def truncated() -> Failed:
    """The upstream's input ended before it declared the end."""
    return Failed("the upstream closed the connection before its answer was complete")


def malformed(what: str) -> Failed:
    """The upstream sent what is not its dialect."""
    return Failed(f"the upstream sent an invalid answer: {what}")


class Source(ABC, Generic[T]):
    """Base of the decoders. `feed` and `close` return what became complete, in order.

    After the end, declared or not, `ended` is true; `failed` says what went wrong, and is None only
    where the stream is complete. `feed` after `close` raises LocalProtocolError. `clean` may change what an
    upstream said of its failure before anybody sees it.
    """

    __slots__ = ("_clean", "_closed", "_depth", "_max_frame_bytes", "_runs", "failed", "life", "stats", "usage")

    feed_one: Callable[[bytes], bytes | None] | None = None

    def __init__(
        self,
        framing: str = "sse",
        *,
        max_frame_bytes: int = 16 * 1024 * 1024,
        json_depth: int = 128,
        clean: Callable[[Failed], Failed] | None = None,
    ) -> None:
        self._runs = runs(framing, max_frame_bytes)
        self._max_frame_bytes = max_frame_bytes
        self._clean = clean
        self._depth = json_depth
        self._closed = False
        self.life = Lifecycle()
        """Where the stream stands."""
        self.failed: Failed | None = None
        """What went wrong."""
        self.usage: Usage | None = None
        """What the upstream counted, as far as it has said."""
        self.stats = Stats()

    @property
    def ended(self) -> bool:
        """Whether nothing more can come: there is no need to wait for the upstream to close."""
        return self.life.ended

    @property
    def ending(self) -> Ending | None:
        """How it ended, once it has."""
        return self.life.ending

    @abstractmethod
    def _read(self, value: dict[str, Any], raw: bytes) -> list[T]:
        """What one JSON object says. `raw` is its text if that may be passed on, else b"".

        Moves `life`, sets `usage`; calls `_fail` for an error of the dialect's own.
        """

    @abstractmethod
    def _finish(self) -> list[T]:
        """What was held back for the end, and the end; called once, when the end was declared."""

    @abstractmethod
    def _tell(self, failed: Failed) -> list[T]:
        """The failure as a result; called once, in place of `_finish`."""

    def feed(self, data: Chunk) -> list[T]:
        """Take one chunk."""
        if self._closed:
            raise LocalProtocolError("feed after close")
        if self.life.ending is not None:
            return []
        try:
            run = self._runs.feed(data)
        except RemoteProtocolError:
            run = b""
        results = self._take(run) if run else []
        if self._runs.fault is not None and not self.life.ended:
            self._fail(malformed(str(self._runs.fault)))
        if self.life.ended:
            results += self._conclude()
        return results

    def close(self) -> list[T]:
        """End of input: decides the ending, if the upstream has not. A second call returns nothing."""
        if self._closed or self.life.ended:
            self._closed = True
            return []
        self._closed = True
        tail = self._runs.close()
        frames = self.stats.frames
        results = self._block(tail, cut=True) if tail else []
        if self.stats.frames != frames:
            self.stats.ended_at(self._runs.offset)
        if not self.life.ended:
            if tail and not self.life.started:
                self.failed = truncated()
            self._before_eof()
            self.life.eof()
        return results + self._conclude()

    def _done(self) -> None:
        """`[DONE]` came, the end marker of nearly all that is SSE."""
        self.life.marker()

    def _before_eof(self) -> None:
        """The input ends without an end marker: the last chance to move `life`."""

    def fail(self, failed: Failed) -> list[T]:
        """End the stream from outside. The first ending stands: where there is one, nothing happens."""
        if self.life.ended:
            return []
        self._fail(failed)
        return self._conclude()

    def _fail(self, failed: Failed) -> None:
        self.life.fail()
        self.failed = failed if self._clean is None else self._clean(failed)

    def _conclude(self) -> list[T]:
        """The stream is over: the last results, from what its ending was."""
        if self.life.phase is Phase.COMPLETED:
            self.failed = None
            return self._finish()
        if self.failed is None:
            self.failed = truncated() if self.life.started else empty()
        return self._tell(self.failed)

    def _take(self, run: bytes) -> list[T]:
        results: list[T] = []
        stats, place = self.stats, 0
        for block in run.split(b"\n\n"):
            place += len(block) + 2
            if block:
                frames = stats.frames
                results += self._block(block)
                if stats.frames != frames:
                    stats.ended_at(self._runs.end_of(place))
                if self.life.ended:
                    break
        return results

    def _block(self, block: bytes, *, cut: bool = False) -> list[T]:
        """One block; `cut` where the input ended without the blank line after it."""
        if block.startswith(b"data: {") and block.endswith(b"}") and b"\n" not in block:
            return self._json(block[6:], cut)  # nearly always
        found = sse.fields(block.lstrip(b"\n"))
        if found is None:
            return []
        if found.error is not None and not found.data:  # llama.cpp before September 2025: a line `error: {...}`
            return self._error(found.error)
        data = found.data.strip()
        if not data or data[:1] == b":":  # some proxies send `data: : keepalive`
            return []
        if data == b"[DONE]":
            self._done()
            return []
        if found.event == b"error":
            return self._error(data)
        return self._json(data, cut)

    def _json(self, data: bytes, cut: bool) -> list[T]:
        try:
            value, clean = jsontext.loads(data, self._depth)
        except (ValueError, RecursionError):
            if not (cut and data[:1] in b"{["):  # else it is only broken off, and the end of input decides
                self._fail(malformed("a frame that is no JSON"))
            return []
        stats = self.stats
        stats.frames += 1
        if len(data) > stats.largest_frame:
            stats.largest_frame = len(data)
        if not clean:
            stats.replaced += jsontext.replaced(data)
        failed = failures.find(value)
        if failed is not None:
            self._fail(failed)
            return []
        if isinstance(value, list) and len(value) == 1:
            value, clean = value[0], False
        return self._read(value, data if clean else b"") if isinstance(value, dict) else []

    def _error(self, data: bytes) -> list[T]:
        """A frame that its framing calls an error: whatever is in it, the stream has failed."""
        self._fail(failures.decode_error(0, (), data))
        return []
