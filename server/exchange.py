"""The life of one chat request, from a checked call to one ending.

    targets -> attempt -> (failed before the commit point, and worth another try? -> next) -> ending

All of it happens in the connection's own task. What the upstream sends goes through the relay and to the
client in the same task: no queue, so a slow client slows its upstream and nothing else. Beside it the
connection's pump reads the client's socket: when the client goes away it cancels the attempt's scope, the
same one that the deadlines move, and leaving an attempt closes the upstream's connection at once.

Rules kept here, and tested by name: nothing is tried again after the first byte for the client, or after
the client has gone; a cancellation is nobody's failure; each request is booked once, with one ending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import trio

from ..protocol.chat import Ending, Failed, Usage
from ..protocol.errors import RemoteProtocolError
from ..providers.deadline import Deadline
from ..providers.stream import StreamBroken
from ..providers.transport import UpstreamError, UpstreamResponse
from . import aside, refusal, upstream_answer
from .delivery import Delivery
from .ledger import Attempt, Record
from .reply import ClientStalled, Reply
from .work import Passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..providers.catalog import Target
    from .alarm import Alarm
    from .call import Call
    from .gateway import Gateway

__all__ = ["Exchange", "Presence"]

SLICE = 16384
"""Bytes of an answer in one piece that are looked at between two turns of the loop: they may be many numbers."""

LAST_WORD = 2.0  # seconds for an error to reach a client after a deadline: it may be the slow one
_NEVER = float("inf")
_NOBODYS_FAILURE = ("completed", "client_gone", "shut_down")


class Outcome(NamedTuple):
    """What an attempt came to. With `failed` set nothing has reached the client yet; `again`: try the next;
    `asked`: whether the upstream was asked at all."""

    ending: Ending
    failed: Failed | None = None
    again: bool = False
    asked: bool = True


class Presence(Protocol):
    """Whether the client is there, and a clock for its exchange: an `Intake` is one."""

    alarm: Alarm
    gone: bool
    on_gone: Callable[[], None]


class Exchange:
    """Serves one `call` on one `reply`; `presence` tells when the client leaves."""

    __slots__ = (
        "_cancelled",
        "_deadline",
        "_delivery",
        "_gateway",
        "_interrupted",
        "_passing",
        "_presence",
        "_record",
        "_reply",
        "_target",
        "_targets",
    )

    def __init__(self, gateway: Gateway, call: Call, reply: Reply, presence: Presence) -> None:
        self._gateway = gateway
        self._reply = reply
        self._presence = presence
        self._record = Record(
            call.request_id,
            call.model,
            stream=call.work.stream,
            key=call.key_name,
            client_id=call.client_id,
            peer=call.peer,
            endpoint=call.work.endpoint,
            owner=call.owner,
            asked=call.work.tokens[0] if gateway.accounts is not None else 0,
        )
        self._delivery = Delivery(call, reply, self._record)
        self._targets = call.targets
        self._deadline: Deadline | None = None
        self._passing: Passing | None = None
        self._target: Target | None = None
        self._interrupted: Ending | None = None
        self._cancelled = False

    @property
    def streams(self) -> bool:
        """Whether its answer goes out as it comes."""
        return self._delivery.call.work.stream

    @property
    def _usage(self) -> Usage | None:
        return self._passing.usage if self._passing is not None else None

    @property
    def _frames(self) -> int:
        stats = getattr(self._passing, "stats", None)  # what is passed on unread is not counted
        return stats.frames if stats is not None else 0

    async def run(self) -> None:
        """Serve the call to its end. Raises nothing that is not a bug."""
        gateway, record = self._gateway, self._record
        ending: Ending | None = None
        gateway.ledger.open(record)
        gateway.exchanges.add(self)
        self._presence.on_gone = self._client_left
        if self._presence.gone:
            self._client_left()
        try:
            ending = await (self._serve_and_keep_alive() if self._delivery.interval else self._serve())
        finally:
            record.status, record.bytes_out = self._reply.status, self._reply.bytes_out
            record.usage, record.frames = self._usage, self._frames
            # Without an ending it is a cancellation from outside, or a bug on its way up.
            ending = ending or Ending("shut_down" if gateway.draining else "failed")
            gateway.ledger.close(record, ending)
            try:
                await self._delivery.settle_late(ending, record.usage)
            finally:
                gateway.exchanges.discard(self)
                gateway.note_change()

    def shut_down(self) -> None:
        """The time for draining is over: end the stream with an error that the client can read."""
        self._interrupt(Ending("shut_down"))

    @property
    def request_id(self) -> str:
        """The id of the request that it serves."""
        return self._record.request_id

    def cancel(self) -> None:
        """Whoever asked wants no more of it, and said so elsewhere: end the answer with an error that says that."""
        self._cancelled = self._interrupted is None
        self._interrupt(Ending("client_gone"))

    def _client_left(self) -> None:
        target, deadline = self._target, self._deadline
        asked = target is not None and deadline is not None and deadline.which not in ("", "connect")
        if target is None or deadline is None or not asked or target.provider.on_client_gone == "cancel":
            self._interrupt(Ending("client_gone"))
        else:  # policy "drain": read on for the usage, say nothing more, and not for ever
            self._reply.muted = True
            deadline.limit(trio.current_time() + self._gateway.config.timeouts.drain, "total")

    def _interrupt(self, ending: Ending) -> None:
        """Stop what is under way. The attempt's scope is cancelled, and no further attempt is made."""
        self._interrupted = self._interrupted or ending
        if self._deadline is not None:
            self._deadline.scope.cancel()

    async def _serve_and_keep_alive(self) -> Ending:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._delivery.keep_alive, self._client_left)
            ending = await self._serve()
            nursery.cancel_scope.cancel()
        return ending

    # -- the upstreams -------------------------------------------------------------------------------

    async def _serve(self) -> Ending:
        outcome = Outcome(Ending("shut_down"), refusal.busy("The gateway is shutting down.").failed)
        try:
            for number, target in enumerate(self._targets):
                if self._interrupted is not None:
                    break  # nobody is asked for a client that has left, or when we are going down
                latest = await self._attempt(target)
                if latest.asked or not number:
                    outcome = latest  # of one that could not be asked, nothing is learned that is worth telling
                if not latest.again or self._reply.committed or self._reply.muted:
                    break
            if self._has_left() and outcome.ending.kind != "completed":
                return Ending("client_gone")
            if outcome.failed is not None:
                await self._tell(outcome.failed)
        except StreamBroken:
            return Ending("client_gone")
        except ClientStalled:
            return Ending("timed_out", "write")
        return Ending("client_gone") if self._reply.muted else outcome.ending

    def _has_left(self) -> bool:
        return self._interrupted is not None and self._interrupted.kind == "client_gone" and not self._cancelled

    async def _attempt(self, target: Target) -> Outcome:
        call, provider = self._delivery.call, target.provider
        self._passing, self._delivery.kept = None, []
        try:
            if call.work.size <= aside.SMALL:
                request = call.work.request(call, target)
            else:
                self._target = self._deadline = None
                request = await aside.in_thread(call.work.request, call, target)
                if self._interrupted is not None:
                    return Outcome(self._interrupted, self._why_not())
        except RemoteProtocolError as exc:  # it cannot be said in this upstream's dialect; in another's it may
            return Outcome(Ending("failed"), refusal.from_protocol(exc).failed, again=True, asked=False)
        source, attempt = call.work.source(provider), Attempt(provider.name, target.model)
        self._record.attempts.append(attempt)
        if not provider.slots.try_acquire():
            attempt.failure = "busy"
            refused = refusal.too_many(f"Provider '{provider.name}' is at its limit of parallel requests.")
            return Outcome(Ending("failed"), refused.failed, again=True, asked=False)
        alarm, timeouts = self._presence.alarm, call.timeouts_for(provider)
        until = self._record.started_at + timeouts.total if timeouts.total else _NEVER
        whole = "" if call.work.stream else call.work.deadline
        deadline = Deadline(timeouts, until=until, whole=whole, clock=alarm)
        self._target, self._deadline = target, deadline
        self._reply.deadline = deadline
        self._reply.write_timeout = timeouts.write or _NEVER
        response: UpstreamResponse | None = None
        try:
            with deadline.scope:
                response = await provider.transport.send(request, deadline)
                del request  # an open stream need not hold what was asked
                attempt.status = response.status
                self._delivery.kept = upstream_answer.kept_headers(response, provider.answers)
                outcome = await self._answer(source, response, deadline)
            if deadline.scope.cancelled_caught:
                if response is not None:
                    response.close()  # now: what is left to say to the client may take its time
                outcome = await self._expired(target, deadline)
        except UpstreamError as exc:
            outcome = await self._broken(exc, response)
        finally:
            if response is not None:
                response.close()
            provider.slots.release()
            attempt.asked = deadline.which not in ("", "connect")
            self._reply.deadline = None
            alarm.clear()
        if outcome.ending.kind not in _NOBODYS_FAILURE and not self._reply.muted and self._interrupted is None:
            attempt.failure = str(outcome.ending)
        return outcome

    async def _answer(self, source: str, response: UpstreamResponse, deadline: Deadline) -> Outcome:
        """Pass the upstream's answer on; what is returned has reached the client unless it is `failed`."""
        redactor, call = self._gateway.redactor, self._delivery.call
        if response.status != 200:
            failed = redactor.failed(await upstream_answer.read_error(response))
            return Outcome(Ending("failed"), failed, again=_worth_another_try(failed))
        content_type = response.header("content-type")
        passing = self._passing = call.work.passing(call, source, content_type, redactor.failed)
        passes = self._stream if call.work.stream else self._whole
        last = await passes(response, passing, deadline)
        if passing.ending == Ending("completed"):
            response.finish(settle=True)  # before the client takes it: the connection may serve others
        return await self._deliver(passing, last)

    async def _deliver(self, passing: Passing, last: bytes) -> Outcome:
        """The answer has come to its ending: `last` goes to the client, unless nothing did and it failed."""
        ending = passing.ending or Ending("failed")
        failed = passing.failed
        if failed is not None and not passing.started:
            return Outcome(ending, failed, again=_worth_another_try(failed))
        self._record.frames = self._frames
        kept = await self._delivery.complete(passing, last, ending)
        return Outcome(Ending("failed"), kept) if isinstance(kept, Failed) else Outcome(kept)

    async def _stream(self, response: UpstreamResponse, passing: Passing, deadline: Deadline) -> bytes:
        """The hot path: returns when the stream is over, with the bytes that are to end it."""
        delivery, receive, feed = self._delivery, response.receive, passing.feed
        reply, write = self._reply, delivery.write
        settled = _NEVER
        while True:
            piece = await receive()
            out = feed(piece) if piece else passing.close()
            life = passing.life
            if life.ended:
                return out
            if out:
                if not reply.committed:
                    delivery.commit(passing.content_type)
                try:
                    await write(out)
                except StreamBroken:
                    self._client_left()  # noticed here before the pump has
                    if not reply.muted:
                        raise
            if life.finished:
                if deadline.which != "settle":
                    deadline.enter("settle")
                    settled = deadline.due
                deadline.hold_to(settled)  # what still comes, or is slow to be taken, buys no more time
            elif deadline.which == "idle":
                deadline.extend()  # comments count as life here, but not before the first event
            elif life.started:
                deadline.enter("idle")

    async def _whole(self, response: UpstreamResponse, passing: Passing, deadline: Deadline) -> bytes:
        while not passing.ended and (piece := await response.receive()):
            for at in range(0, len(piece), SLICE):
                if at:
                    await trio.lowlevel.checkpoint()
                passing.feed(piece[at : at + SLICE])
            if passing.finished and deadline.which != "settle":
                deadline.enter("settle")
        return passing.close()

    async def _expired(self, target: Target, deadline: Deadline) -> Outcome:
        """A deadline ran out, or the gateway's own time did."""
        which, passing = deadline.fired, self._passing
        if self._interrupted is not None and self._has_left():
            return Outcome(self._interrupted)
        if self._interrupted is not None:
            failed, ending, again = self._why_not(), self._interrupted, False
        elif which == "settle" and passing is not None:  # every choice has finished: only usage was awaited
            return await self._deliver(passing, passing.close())
        else:
            seconds: float = getattr(self._delivery.call.timeouts_for(target.provider), which)
            failed = refusal.timeout(which, seconds, sent=deadline.which != "connect")
            ending, again = Ending("timed_out", which), which != "total"
        if not self._reply.committed:
            return Outcome(ending, failed, again)
        if self._reply.ended and passing is not None and passing.ending is not None:
            ending = passing.ending  # all is said, and was only slow to be taken
        with trio.move_on_after(LAST_WORD) as scope:
            await self._delivery.end_in_error(self._in_band(failed))
        if scope.cancelled_caught:
            self._reply.keep_alive = False  # it is in the middle of something that will not be completed
        return Outcome(ending)

    def _why_not(self) -> Failed:
        """What is said where it was stopped from outside."""
        return refusal.cancelled() if self._cancelled else refusal.busy("The gateway is shutting down.").failed

    async def _broken(self, exc: UpstreamError, response: UpstreamResponse | None) -> Outcome:
        """The upstream could not be reached, or its connection broke."""
        passing, provider = self._passing, self._record.attempts[-1].provider
        if passing is not None and (passing.started or passing.finished):
            last = passing.cut()  # it knows whether all had been said
            if passing.started:
                return await self._deliver(passing, last)
        kind = "failed" if response is None else "truncated"
        # An upstream that had begun to answer has worked, and would be paid again.
        retry = None if response is None else False
        failed = Failed(self._gateway.redactor.text(f"Provider '{provider}': {exc}"), retry=retry)
        return Outcome(Ending(kind), failed, again=True)

    async def _tell(self, failed: Failed) -> None:
        """The request failed for good."""
        await self._delivery.tell(failed, self._in_band(failed) if self._reply.committed else b"")

    def _in_band(self, failed: Failed) -> bytes:
        passing, call = self._passing, self._delivery.call
        started = passing is not None and passing.started
        return passing.fail(failed) if passing is not None and started else call.work.error_frame(call, failed)


def _worth_another_try(failed: Failed) -> bool:
    """Whether another upstream may do better: nothing was sent, and it was not the request's fault."""
    return failed.status in (408, 429) or failed.status >= 500
