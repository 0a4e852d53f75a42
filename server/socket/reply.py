"""The reply to one request on a socket, in the place of HTTP's.

An exchange, a delivery and a refusal say to it what they say to a `Reply`; a `Voice` makes messages of that, and the
wire takes them in turn. There is one answer, and nothing after it: whoever has it ready first takes the right to it
(`claim`), at once and before any waiting, so that a cancellation and a completion that cross cannot both speak.

A request has at most what one write made of it waiting for the wire: while it waits, its upstream is not read, and
its deadline does not run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...protocol.dialects.source import malformed
from ...protocol.errors import LimitExceeded
from .. import refusal
from ..reply import Reply
from . import faults

if TYPE_CHECKING:
    from ..http import Headers
    from .voice import Voice
    from .wire import Wire

__all__ = ["SocketReply"]

log = logging.getLogger("penstock")


class SocketReply(Reply):
    """See `Reply`. `overflow` is called where an answer outgrew its limit, to end the work on it."""

    __slots__ = ("_overflow", "_unsent", "_voice", "_wire", "answered")

    def __init__(self, wire: Wire, voice: Voice, overflow: Callable[[], None]) -> None:
        super().__init__(wire.stream, None, wire.write_timeout, keep_alive=True)
        self._wire = wire
        self._voice = voice
        self._overflow = overflow
        self._unsent: list[bytes] = []
        self.answered = False
        """Whether the one answer is there; it may still be on its way."""

    def claim(self) -> bool:
        """Take the right to answer, if nobody has it."""
        if self.answered:
            return False
        self.answered = True
        return True

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer, or an error."""
        if not self.answered:
            voice = self._voice
            words = voice.whole(body) if status < 400 else voice.fault(faults.from_answer(status, headers, body))
            self.claim()  # not before: where words fail there is still an error to be told
            self.status = status
            self.committed = self.ended = True
            self._unsent += words
            await self.flush()

    def begin(self, status: int, headers: Headers) -> None:
        """An answer that streams begins. There is no head to it, but from here on nothing can be tried again."""
        self.status = status
        self.committed = True

    async def write(self, data: bytes) -> None:
        """Frames of a stream. Raises StreamBroken, ClientStalled."""
        if self.answered or self.muted:
            return
        try:
            self._unsent += self._voice.deltas(data)
        except LimitExceeded as exc:
            words = self._outgrown(exc)
            self.claim()
            self._unsent += words
        await self.flush()

    def remark(self, data: bytes) -> None:
        """Silence is filled by the socket's own pings."""

    async def end(self, data: bytes = b"") -> None:
        """The last frames of a stream, and with them the answer; a second call sends what a first one left."""
        if not (self.answered or self.muted):
            try:
                words = self._voice.finish(data)
            except LimitExceeded as exc:
                words = self._outgrown(exc)
            self.claim()
            self._unsent += words
        self.ended = True
        if not self.muted:
            await self.flush()

    async def cancel(self) -> None:
        """Answer that the request was cancelled; the right to do so has been claimed."""
        try:
            self._unsent = self._voice.cancelled()
        except Exception:
            log.exception("bug in putting together what a cancelled request had come to")
            self._unsent = self._voice.fault(faults.from_failed(refusal.internal()))
        await self.flush()

    def _outgrown(self, exc: LimitExceeded) -> list[bytes]:
        self._overflow()
        return self._voice.fault(faults.from_failed(malformed(str(exc))), begun=True)

    async def flush(self) -> None:
        """Send what there is to be sent. One who is cancelled while waiting for a turn leaves it here."""
        wire = self._wire
        if not self._unsent and wire.clear:
            return
        if wire.send_now(self._unsent):
            self._take()
            if wire.clear:
                return
        if self.deadline is not None:
            self.deadline.suspend()  # while the client is slow, the upstream owes us nothing
        await wire.send(self._take)

    def _take(self) -> list[bytes]:
        taken, self._unsent = self._unsent, []
        self.bytes_out += sum(map(len, taken))
        return taken
