"""The pool of idle connections: last in, first out, bounded in number and in age, one look on taking."""

import trio

from penstock.providers.memory import memory_pair
from penstock.providers.pool import Pool


class Counted:
    """A connection that counts how often anyone looked at it."""

    def __init__(self, good=True):
        self.good = good
        self.closed = False
        self.looks = 0

    def idle_and_open(self):
        self.looks += 1
        return self.good

    def close(self):
        self.closed = True


async def test_the_last_given_is_taken_first():
    pool, one, other = Pool(), Counted(), Counted()
    pool.give(one)
    pool.give(other)
    assert pool.take() is other
    assert pool.take() is one
    assert pool.take() is None


async def test_an_expired_one_is_closed_and_not_taken(autojump_clock):
    pool, old, young = Pool(idle_seconds=10), Counted(), Counted()
    pool.give(old)
    await trio.sleep(6)
    pool.give(young)
    await trio.sleep(6)
    pool.expire()
    assert old.closed
    assert len(pool) == 1
    assert pool.take() is young
    assert not young.closed


async def test_it_is_bounded_and_the_oldest_goes():
    pool = Pool(max_idle=2)
    given = [Counted() for _ in range(5)]
    for connection in given:
        pool.give(connection)
    assert [connection.closed for connection in given] == [True, True, True, False, False]
    assert len(pool) == 2


async def test_dead_ones_are_skipped_and_closed():
    pool, good, bad = Pool(), Counted(), Counted(good=False)
    pool.give(good)
    pool.give(bad)
    assert pool.take() is good
    assert bad.closed


async def test_closing_closes_all():
    pool, one, other = Pool(), Counted(), Counted()
    pool.give(one)
    pool.give(other)
    pool.close()
    assert one.closed
    assert other.closed
    assert pool.take() is None


async def test_taking_and_giving_look_at_one_connection_however_many_there_are():
    pool = Pool(max_idle=1000)
    given = [Counted() for _ in range(1000)]
    for connection in given:
        pool.give(connection)
    for _ in range(100):
        pool.give(pool.take())
    assert sum(connection.looks for connection in given) == 100


async def test_real_streams_are_looked_at_for_their_end():
    pool = Pool()
    (one, far_one), (other, far_other) = memory_pair(), memory_pair()
    pool.give(one)
    pool.give(other)
    far_other.close()
    assert pool.take() is one
    assert other.closed
    far_one.close()
