"""The client's side of an exchange: the commit point, what is written, what fills a silence, and who looks on.

The status line goes out with the first byte of the answer, or with the first filler of a silence; from then on
nothing can be tried again, and the work lets go of its body. Who looks on sees every byte before it is sent, and
has settled before the last ones are (`witness`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from ..providers.stream import StreamBroken
from . import refusal
from .http import Headers, Refusal
from .witness import SETTLE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol.chat import Ending, Failed, Usage
    from .call import Call
    from .ledger import Record
    from .reply import Reply
    from .work import Passing

__all__ = ["Delivery"]


class Delivery:
    """Takes one answer to one client. `kept` are the upstream's headers that the client gets to see."""

    __slots__ = ("_record", "_wrote_at", "call", "interval", "kept", "reply", "settled", "write")

    def __init__(self, call: Call, reply: Reply, record: Record) -> None:
        self.call = call
        self.reply = reply
        self.kept: Headers = []
        self.settled = not call.witnesses
        """Whether those who look on have been told the ending."""
        # Nearly always nobody looks on and no silence is filled: then a write is the reply's own.
        self.interval = call.keepalive
        """Seconds of silence that are filled; 0 for none."""
        self.write = self._write if call.witnesses or self.interval else reply.write
        self._record = record
        self._wrote_at = 0.0

    async def keep_alive(self, gone: Callable[[], None]) -> None:
        """Fill each silence of `interval` seconds, until cancelled; calls `gone` if the client has left."""
        interval = self.interval
        self._wrote_at = trio.current_time()
        while True:
            await trio.sleep_until(self._wrote_at + interval)  # a checkpoint, also when that is past
            if self._wrote_at + interval > trio.current_time():
                continue
            self._wrote_at = trio.current_time()
            try:
                self.commit(self.call.work.content_type)
                self.reply.remark(self.call.work.silence(self.call))
            except StreamBroken:  # half-closed before, so that nobody else has seen it go
                gone()
                return

    async def _write(self, data: bytes) -> None:
        for witness in self.call.witnesses:
            witness.saw(data)
        await self.reply.write(data)
        self._wrote_at = trio.current_time()

    def commit(self, content_type: str) -> None:
        """The status line is decided with the next write. Nothing can be tried again after that."""
        if not self.reply.committed:
            headers = [("content-type", content_type), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
            self._record.first_at = trio.current_time()
            self.reply.begin(200, [*headers, *self._headers()])
            self.call.work.let_go()

    def _headers(self) -> Headers:
        attempts = self._record.attempts
        took = trio.current_time() - self._record.started_at
        headers = [("openai-processing-ms", str(round(took * 1000))), ("x-penstock-attempts", str(len(attempts)))]
        if attempts:
            headers.append(("x-penstock-provider", attempts[-1].provider))
        ours = {name for name, _ in self.reply.common}  # our own word stands, of limits above all
        return headers + [header for header in self.kept if header[0] not in ours]

    async def complete(self, passing: Passing, last: bytes, ending: Ending) -> Ending | Failed:
        """Bring the answer to its end: `last` is the rest of a stream, or a whole body. Returns the ending; or why
        it was not kept, if whoever looks on could not, and nothing has reached the client yet."""
        work = self.call.work
        if not work.stream:
            self._record.said = len(last)
        if not self.settled:
            for witness in self.call.witnesses:
                witness.saw(last)
            try:
                await self.settle(ending, passing.usage)
            except Refusal as exc:
                if not self.reply.committed:
                    return exc.failed
                await self.end_in_error(work.error_frame(self.call, exc.failed))
                return ending._replace(kind="failed")
        if work.stream:
            self.commit(passing.content_type)
            if passing.failed is not None and not last:
                await self.end_in_error(b"")
            else:
                await self.reply.end(last)
        else:
            await self.reply.send(200, [("content-type", passing.content_type), *self._headers()], last)
        return ending

    async def tell(self, failed: Failed, frame: bytes) -> None:
        """The request failed for good: say so, by status where there is still a choice, else by `frame`."""
        if self.reply.committed:
            await self.end_in_error(frame)
        else:
            await refusal.send(self.reply, failed, self._headers())

    async def end_in_error(self, frame: bytes) -> None:
        """The last word of an answer that failed on its way. Without words it is broken off, so that nobody takes it
        for complete."""
        if frame or self.reply.ended:
            await self.reply.end(frame)
        else:
            self.reply.keep_alive = False

    async def settle(self, ending: Ending, usage: Usage | None) -> None:
        """Those who look on write down what they have to: whatever happens meanwhile, but not for ever. Raises Refusal
        where one of them cannot, or not in time; those after it are told that the answer failed."""
        self.settled = True
        self._record.usage = usage
        trouble: Exception | None = None
        for witness in self.call.witnesses:
            failed: Exception | None = None
            with trio.move_on_after(SETTLE_SECONDS, shield=True) as scope:
                try:
                    await witness.settle(ending, self._record)
                except Exception as exc:
                    failed = exc
            if scope.cancelled_caught:
                failed = refusal.busy("What this answer promises could not be written down in time.")
            if failed is not None:
                trouble, ending = trouble or failed, ending._replace(kind="failed")
        if trouble is not None:
            raise trouble

    async def settle_late(self, ending: Ending, usage: Usage | None) -> None:
        """The same when nobody waits for it any more."""
        if not self.settled:
            with suppress(Refusal):
                await self.settle(ending, usage)
