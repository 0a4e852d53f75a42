"""What a streamed and a whole answer have in common: what the upstream really sent, and what is known of it.

The first bytes say what the body is (`detect`), for servers answer JSON where a stream was asked for and the
other way round. Then a pipe is made for it, and everything goes there. What makes the pipes, `Relay` and
`Whole`, knows what the client wants.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from .chat import Ending, Failed, Lifecycle, Usage
from .detect import Detector
from .dialects.source import Stats, empty
from .errors import LocalProtocolError
from .machine import Chunk
from .tags import Structures

__all__ = ["Pipe", "Pipeline"]


class Pipe(Protocol):
    """What lies between detection and the client. `feed_one`: a shorter way than `feed` for what needs no work,
    which does nothing and returns None for everything else."""

    @property
    def feed_one(self) -> Callable[[bytes], bytes | None] | None: ...

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
    """One answer of an upstream. `stats` counts; `life` is where it stands, for whoever looks often; `clean` may
    change what an upstream said of its failure before anybody sees it; `structures` is what to take out of its
    text: without, a text is as it came."""

    __slots__ = ("_closed", "_detector", "_identity", "_limits", "_pipe", "_quick", "_structures", "life", "stats")

    def __init__(
        self,
        *,
        content_type: str | None = None,
        id: str = "",
        created: int = 0,
        model: str = "",
        max_frame_bytes: int = 16 * 1024 * 1024,
        json_depth: int = 128,
        clean: Callable[[Failed], Failed] | None = None,
        structures: Structures | None = None,
    ) -> None:
        self._structures = structures
        self._identity: dict[str, Any] = {"id": id, "created": created, "model": model}
        self._limits: dict[str, Any] = {"max_frame_bytes": max_frame_bytes, "json_depth": json_depth, "clean": clean}
        self._closed = False
        self._detector: Detector | None = Detector(content_type, max_bytes=max_frame_bytes)
        self._pipe: Pipe | None = None
        self._quick: Callable[[bytes], bytes | None] | None = None
        self.life = Lifecycle()
        self.stats = Stats()

    @property
    def started(self) -> bool:
        """Whether something meaningful came."""
        return self.life.started

    @property
    def finished(self) -> bool:
        """Whether each choice has its finish reason, and only the end marker or usage is awaited."""
        return self.life.finished

    @property
    def ending(self) -> Ending | None:
        """How it ended, once it has."""
        ending = self.life.ending
        # The upstream may have said all, and yet it was too much.
        return Ending("failed") if ending == Ending("completed") and self.failed is not None else ending

    @property
    def ended(self) -> bool:
        """Whether the client can be ended now, without waiting for the upstream to close."""
        return self.life.ended

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
        stats = self.stats
        if self._quick is not None and type(chunk) is bytes and (out := self._quick(chunk)) is not None:
            stats.bytes_in += len(chunk)
            stats.bytes_out += len(out)
            return out
        if self._closed:
            raise LocalProtocolError("feed after close")
        stats.bytes_in += len(chunk)
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
        self._quick = None
        assert self._pipe is not None
        return out + self._give(self._pipe.close())

    def cut(self) -> bytes:
        """The upstream's connection broke: as `close`, since in a dialect of chats the upstream declares the end."""
        return self.close()

    def fail(self, failed: Failed) -> bytes:
        """End it from outside: the error for the client, if anything was sent to it. b"" where it has ended."""
        self._closed = True
        self._quick = None
        self._detector = None
        pipe = self._pipe or self._begin("sse")
        return self._give(pipe.fail(failed))

    def _first(self, chunk: Chunk) -> bytes:
        assert self._detector is not None
        framing = self._detector.feed(chunk)
        return b"" if framing is None else self._detected(framing)

    def _detected(self, framing: str) -> bytes:
        assert self._detector is not None
        held, self._detector = self._detector.buffered, None
        return self._give(self._begin(framing).feed(held))

    def _begin(self, framing: str) -> Pipe:
        pipe = self._pipe = self._make(framing)
        self._quick = pipe.feed_one
        self.life = pipe.life
        return pipe
