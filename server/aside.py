"""Work that would hold up the loop, done in a thread: reading and writing JSON of megabytes.

    found = await aside.run(len(body), decode, body)     # at once if the body is small, else in a thread

What is small is done on the spot, in well under a millisecond, and costs nothing but the comparison. The rest goes to
one of `THREADS` threads. Python's threads take turns, so that the loop goes on meanwhile, only slower: it gets its turn
every five milliseconds, or after one call of `json`, which is not interrupted and takes up to a tenth of a second for
ten megabytes. Whoever is cancelled waits no more; the thread ends in its own time and nobody hears of it. So the job
must be a pure function of what nobody changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

__all__ = ["SMALL", "THREADS", "in_thread", "run"]

SMALL = 65536
"""Bytes of JSON that are read or written in one go on the loop."""

THREADS = 2
"""At once: each of them is one more that the loop waits for before its turn."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_threads: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("penstock.aside")


async def run(size: int, job: Callable[[*Ts], T], *args: *Ts) -> T:
    """What `job` returns, for about `size` bytes."""
    if size <= SMALL:
        return job(*args)
    return await in_thread(job, *args)


async def in_thread(job: Callable[[*Ts], T], *args: *Ts) -> T:
    """What `job` returns, from a thread."""
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(THREADS)
        _threads.set(limiter)
    return await trio.to_thread.run_sync(job, *args, limiter=limiter, abandon_on_cancel=True)
