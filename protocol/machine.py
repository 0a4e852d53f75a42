"""What all decoders have in common: two methods, and the laws about faults and the end of input.

A machine says in `_take` what a chunk completes and in `_end` what the end of input completes; when the peer
breaks the rules it sets `fault`, returns what came before, and is not asked again. Everything else about
`feed` and `close` is here, once, so that every decoder behaves alike:

- results come first: a call that has some returns them and leaves the fault in `.fault`;
- the first call with nothing else to give raises the fault, and so does every later `feed`;
- `close` after the fault was raised returns nothing, so that it is safe in a `finally`;
- a second `close` returns nothing; `feed` after `close` is the caller's fault.

Cost: one extra method call for each chunk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from .errors import LocalProtocolError, RemoteProtocolError

__all__ = ["Chunk", "Machine"]

Chunk = bytes | bytearray | memoryview
Results = TypeVar("Results")


class Machine(ABC, Generic[Results]):
    """Base of the decoders. `_empty` makes the result that says "nothing": `list`, `bytes` or `str`."""

    __slots__ = ("_closed", "_raised", "fault")

    _empty: ClassVar[type] = list

    def __init__(self) -> None:
        self.fault: RemoteProtocolError | None = None
        """What the peer did wrong; set at the latest when it is raised. Look here after each `feed`."""
        self._closed = False
        self._raised = False

    @abstractmethod
    def _take(self, chunk: bytes) -> Results:
        """What `chunk` completes; sets `fault` if it breaks the rules after that."""

    @abstractmethod
    def _end(self) -> Results:
        """What the end of input completes; called once, and only while there is no fault."""

    def feed(self, data: Chunk) -> Results:
        """Take one chunk and return what became complete, in order; empty chunks are fine.

        Raises RemoteProtocolError once the peer broke the rules and all that came before was returned,
        LocalProtocolError after `close`.
        """
        if self._closed:
            raise LocalProtocolError("feed after close")
        if self.fault is None:
            results = self._take(data if type(data) is bytes else bytes(memoryview(data)))
            if results or self.fault is None:
                return results
        raise self._refusal()

    def close(self) -> Results:
        """End of input: return what the end completes. Raises like `feed`; a second call returns nothing."""
        if self._closed or self._raised:
            self._closed = True
            return self._nothing()
        self._closed = True
        if self.fault is None:
            results = self._end()
            if results or self.fault is None:
                return results
        raise self._refusal()

    def _nothing(self) -> Results:
        nothing: Results = self._empty()
        return nothing

    def _refusal(self) -> RemoteProtocolError:
        assert self.fault is not None
        self._raised = True
        return self.fault.with_traceback(None)  # the same object each time: its traceback must not grow
