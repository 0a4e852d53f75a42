"""The limits of a key: rates by the minute, requests at once; C08 and C81 by name."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from penstock.server.key_limits import Admitted, Denied, KeyLimits
from penstock.server.store.key_rows import Terms


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limits(clock):
    return KeyLimits(clock)


def rates(requests=0, tokens=0, parallel=0):
    return Terms(requests_per_minute=requests, tokens_per_minute=tokens, parallel=parallel)


def admitted(limits, terms, **more):
    found = limits.admit(1, terms, **more)
    assert isinstance(found, Admitted)
    return found


def denied(limits, terms, **more):
    found = limits.admit(1, terms, **more)
    assert isinstance(found, Denied)
    return found


def test_without_limits_everything_is_let_in_and_nothing_is_told(limits):
    for _ in range(1000):
        assert admitted(limits, rates(), tokens=10**9).headers == []


def test_a_minute_s_worth_may_come_at_once_and_then_one_by_one(limits, clock):
    for left in range(59, -1, -1):
        assert ("x-ratelimit-remaining-requests", str(left)) in admitted(limits, rates(60)).headers
    refused = denied(limits, rates(60))
    assert refused.limit == "requests"
    assert refused.retry_after == pytest.approx(1)
    assert refused.message == "Rate limit reached for this key: 60 requests per minute. Please try again in 1s."
    assert refused.headers == [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "1m0s"),
    ]
    clock.now += refused.retry_after
    admitted(limits, rates(60))
    denied(limits, rates(60))


def test_over_any_length_of_time_no_more_than_the_rate_and_one_minute_s_worth(limits, clock):
    let_in = 0
    for _ in range(10_000):
        clock.now += 0.1
        let_in += isinstance(limits.admit(1, rates(30)), Admitted)
    assert let_in == pytest.approx(1000 / 60 * 30 + 30, abs=1)


@pytest.mark.parametrize("clients", [1, 7])
def test_waiting_as_long_as_told_is_enough(limits, clock, clients):
    for _ in range(100):
        answer = limits.admit(1, rates(clients, 1000), tokens=300)
        if isinstance(answer, Denied):
            clock.now += answer.retry_after
            admitted(limits, rates(clients, 1000), tokens=300)


def test_tokens_are_estimated_first_and_put_right_afterwards(limits, clock):
    terms = rates(tokens=1000)
    first = admitted(limits, terms, tokens=400)
    first.settle(900)
    assert dict(first.headers)["x-ratelimit-remaining-tokens"] == "100"
    refused = denied(limits, terms, tokens=400)
    assert refused.limit == "tokens"
    assert refused.retry_after == pytest.approx(300 * 60 / 1000)
    first.settle(100)  # the last word counts
    admitted(limits, terms, tokens=400)


def test_what_was_used_beyond_the_bucket_is_owed(limits, clock):
    terms = rates(tokens=60)
    admitted(limits, terms, tokens=1).settle(120)
    assert denied(limits, terms, tokens=1).retry_after == pytest.approx(61)
    assert dict(denied(limits, terms).headers)["x-ratelimit-remaining-tokens"] == "0"
    clock.now += 61
    admitted(limits, terms, tokens=1)


def test_a_request_that_is_larger_than_the_bucket_is_let_in_when_it_is_full(limits, clock):
    terms = rates(tokens=100)
    admitted(limits, terms, tokens=1)
    refused = denied(limits, terms, tokens=5000)
    clock.now += refused.retry_after
    admitted(limits, terms, tokens=5000)


def test_c08_a_place_is_given_back_on_every_path(limits):
    chance = random.Random(8)
    for _ in range(1000):
        one = admitted(limits, rates(parallel=1))
        refused = denied(limits, rates(parallel=1))
        assert (refused.limit, refused.retry_after) == ("parallel", 1.0)
        way = chance.randrange(3)
        if way == 0:
            one.release()
            one.release()
        elif way == 1:
            with one:
                pass
        else:
            with pytest.raises(KeyError), one:
                raise KeyError
    with admitted(limits, rates(parallel=1)):
        denied(limits, rates(parallel=1))


def test_c81_a_refused_request_consumes_nothing(limits, clock):
    terms = rates(requests=2, tokens=1000, parallel=1)
    held = admitted(limits, terms, tokens=10)
    before = held.headers
    for _ in range(50):
        assert denied(limits, terms, tokens=10).limit == "parallel"
    assert held.headers == before
    held.release()
    assert denied(limits, terms, tokens=1000).limit == "tokens"
    admitted(limits, terms, tokens=10).release()
    clock.now += 1
    assert denied(limits, terms, tokens=10).limit == "requests"
    assert denied(limits, rates(requests=3, tokens=1000, parallel=1), tokens=10**6).limit == "tokens"
    admitted(limits, rates(requests=3, tokens=1000, parallel=1), tokens=10)


def test_c81_a_request_that_is_never_settled_is_as_if_it_had_not_come(limits):
    terms = rates(requests=2, tokens=1000, parallel=1)
    for _ in range(5):
        with admitted(limits, terms, tokens=900):
            pass
    with admitted(limits, terms, tokens=900) as settled:
        settled.settle(0)
    assert ("x-ratelimit-remaining-requests", "1") in settled.headers
    assert ("x-ratelimit-remaining-tokens", "1000") in settled.headers


@pytest.mark.parametrize("tokens", [10**30, 10**400])
def test_no_count_is_too_large(limits, clock, tokens):
    terms = rates(requests=10, tokens=1000)
    first = admitted(limits, terms, tokens=tokens)
    assert ("x-ratelimit-reset-tokens", "1m0s") in first.headers
    first.settle(10)
    assert ("x-ratelimit-remaining-tokens", "990") in first.headers
    first.settle(10**30)
    refused = denied(limits, terms, tokens=1)
    assert 3600 < refused.retry_after < 3601
    clock.now += refused.retry_after
    admitted(limits, terms, tokens=1)


def test_keys_do_not_share_their_limits(limits):
    assert isinstance(limits.admit(1, rates(1)), Admitted)
    assert isinstance(limits.admit(2, rates(1)), Admitted)
    assert isinstance(limits.admit(1, rates(1)), Denied)


def test_terms_may_change_under_way(limits, clock):
    for _ in range(100):
        admitted(limits, rates())
    for _ in range(3):
        admitted(limits, rates(3))  # what was done without a limit is no debt
    denied(limits, rates(3))
    admitted(limits, rates(4))  # one more a minute is one more now
    denied(limits, rates(4))
    admitted(limits, rates())
    admitted(limits, rates(1))


def test_who_has_been_idle_for_a_minute_needs_no_memory(limits, clock):
    held = admitted(limits, rates(5, 5, 5))
    limits.admit(2, rates(5)).release()
    clock.now += 60
    limits.forget_idle()
    assert len(limits) == 1
    held.release()
    limits.forget_idle()
    assert len(limits) == 0


@pytest.mark.parametrize(
    ("requests", "wait"), [(1, "1m0s"), (60, "1s"), (40, "1.5s"), (1000, "60ms"), (7, "8.6s"), (100_000, "1ms")]
)
def test_durations_are_written_as_openai_writes_them(limits, requests, wait):
    for _ in range(requests):
        admitted(limits, rates(requests))
    assert denied(limits, rates(requests)).message.endswith(f"try again in {wait}.")


STEP = some.tuples(
    some.floats(0, 30), some.integers(0, 400), some.integers(0, 400), some.sampled_from(["hold", "settle", "release"])
)


@given(some.lists(STEP, max_size=60))
def test_whatever_comes_in_whatever_order(steps):
    """Never more at once than allowed, never more in a stretch than it may have, and a refusal changes nothing."""
    clock = Clock()
    limits, terms, held, times = KeyLimits(clock), rates(5, 600, 3), [], []
    for wait, estimate, used, then in steps:
        clock.now += wait
        before = limits.admit(2, terms)  # a neighbour, who must not matter
        if isinstance(before, Admitted):
            before.release()
        found = limits.admit(1, terms, tokens=estimate)
        if isinstance(found, Denied):
            assert found.retry_after > 0
            again = limits.admit(1, terms, tokens=estimate)
            assert isinstance(again, Denied)
            assert again == found
            if found.limit == "parallel":
                held.pop(0).release()
            continue
        times.append(clock.now)
        if then == "settle":
            found.settle(used)
        if then == "release":
            found.release()
        else:
            held.append(found)
        assert len(held) <= 3
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= 5 + (times[last] - times[first]) * 5 / 60 + 1e-6
