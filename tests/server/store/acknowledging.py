"""A program that writes to a store from many tasks and tells, a line each, what was acknowledged.

    python acknowledging.py URL

It ends when it is killed. A test does that.
"""

import itertools
import os
import sys

import trio

from penstock.server.store.key_rows import Terms
from penstock.server.store.location import locate
from penstock.server.store.store import Store

TASKS = 50


def tell(*words):
    """One line, in one piece, gone from this process when it returns."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def write(store, key, task):
    session = f"session{task}"
    await store.sessions.create(key.id, session)
    tell("session", session, 0)
    for number in itertools.count(1):
        length = await store.sessions.append(key.id, session, [{"role": "user", "content": str(number)}])
        tell("session", session, length)
        held = await store.budgets.reserve(key.id, 2, period="total")
        tell("reserved", held.id)
        await store.budgets.settle(held, 1)
        tell("settled", held.id)
        _, secret = await store.keys.create(f"{task}-{number}")
        tell("key", secret)


async def main():
    async with trio.open_nursery() as nursery:
        store = Store(locate(sys.argv[1], {}))
        await nursery.start(store.run)
        key, _ = await store.keys.create("ann", Terms(token_budget=2**40))
        for task in range(TASKS):
            nursery.start_soon(write, store, key, task)


trio.run(main)
