"""What a streamed and a whole answer have in common: what the upstream really sent, and what is known of it.

The first bytes say what the body is (`detect`), for servers answer JSON where a stream was asked for and the
other way round. Then a pipe is made for it, and everything goes there. What makes the pipes, `Relay` and
`Whole`, knows what the client wants.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from .chat import Ending, Failed, Lifecycle, Usage
from .detect import Detector
from .dialects.source import Stats, empty
from .errors import LocalProtocolError
from .machine import Chunk

__all__ = ["Pipe", "Pipeline"]

_BOM = b"\xef\xbb\xbf"


class Pipe(Protocol):
    """What lies between detection and the client."""

    @property
    def life(self) -> Lifecycle: ...
    @property
    def failed(self) -> Failed | None: ...
    @property
    def usage(self) -> Usage | None: ...

    def feed(self, data: Chunk) -> list[bytes]: ...
    def close(self) -> list[bytes]: ...
    def fail(self, failed: Failed) -> list[bytes]: ...


class Pipeline(ABC):
    """One answer of an upstream. `stats` counts, `alive` moves whenever the upstream sent anything, comments too."""

    __slots__ = ("_closed", "_detector", "_identity", "_limits", "_pipe", "alive", "stats")

    def __init__(
        self,
        *,
        content_type: str | None = None,
        id: str = "",
        created: int = 0,
        model: str = "",
        max_frame_bytes: int = 16 * 1024 * 1024,
        json_depth: int = 128,
    ) -> None:
        self._identity: dict[str, Any] = {"id": id, "created": created, "model": model}
        self._limits = {"max_frame_bytes": max_frame_bytes, "json_depth": json_depth}
        self._closed = False
        self._detector: Detector | None = Detector(content_type, max_bytes=max_frame_bytes)
        self._pipe: Pipe | None = None
        self.alive = 0
        self.stats = Stats()

    @property
    def started(self) -> bool:
        """Whether something meaningful came."""
        return self._pipe is not None and self._pipe.life.started

    @property
    def finished(self) -> bool:
        """Whether each choice has its finish reason, and only the end marker or usage is awaited."""
        return self._pipe is not None and self._pipe.life.finished

    @property
    def ending(self) -> Ending | None:
        """How it ended, once it has."""
        return self._pipe.life.ending if self._pipe is not None else None

    @property
    def ended(self) -> bool:
        """Whether the client can be ended now, without waiting for the upstream to close."""
        return self._pipe is not None and self._pipe.life.ended

    @property
    def failed(self) -> Failed | None:
        """What went wrong, if something did."""
        return self._pipe.failed if self._pipe is not None else None

    @property
    def usage(self) -> Usage | None:
        """What the upstream counted, as far as it has said."""
        return self._pipe.usage if self._pipe is not None else None

    @abstractmethod
    def _make(self, framing: str) -> Pipe:
        """A pipe for what was detected: `sse`, `ndjson` or `json`."""

    def _give(self, results: list[bytes]) -> bytes:
        """What may go to the client of what the pipe gave."""
        if not self.started or not results:
            return b""
        out = results[0] if len(results) == 1 else b"".join(results)
        self.stats.bytes_out += len(out)
        return out

    def feed(self, chunk: Chunk) -> bytes:
        """Take the next bytes of the upstream's answer; return the frames that are ready for the client."""
        if self._closed:
            raise LocalProtocolError("feed after close")
        if chunk:
            self.alive += 1
            self.stats.bytes_in += len(chunk)
        pipe = self._pipe
        if pipe is None:
            return self._first(chunk)
        return self._give(pipe.feed(chunk))

    def close(self) -> bytes:
        """The upstream's answer is over: decides the ending, and returns the last bytes. Twice is once."""
        if self._closed:
            return b""
        out = b""
        if self._detector is not None:
            framing = self._detector.close()
            if framing is None:
                return self.fail(empty())
            out = self._detected(framing)
        self._closed = True
        assert self._pipe is not None
        return out + self._give(self._pipe.close())

    def fail(self, failed: Failed) -> bytes:
        """End it from outside: the error for the client, if anything was sent to it. b"" where it has ended."""
        self._closed = True
        if self._pipe is None:
            self._detector = None
            self._pipe = self._make("sse")
        return self._give(self._pipe.fail(failed))

    def _first(self, chunk: Chunk) -> bytes:
        assert self._detector is not None
        framing = self._detector.feed(chunk)
        return b"" if framing is None else self._detected(framing)

    def _detected(self, framing: str) -> bytes:
        assert self._detector is not None
        held, self._detector = self._detector.buffered, None
        if framing != "sse":
            held = held.removeprefix(_BOM)
        self._pipe = self._make(framing)
        return self._give(self._pipe.feed(held))
