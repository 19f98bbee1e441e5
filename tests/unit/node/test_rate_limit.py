"""Budgets are exact, fair, and worth obeying."""

from __future__ import annotations

import heapq
import math
import random

import pytest

from dexnode.rate_limit import NS, SWEEP_EVERY, Bucket, BucketTable, Budget
from tests.reference.rate_limit import NaiveBudget

MINUTE_NS = 60 * NS


def ask(bucket: Bucket, items: int, now_ns: int) -> int:
    """Take the items if they fit; how long to wait for them otherwise."""
    wait_ns = bucket.wait_ns(items, now_ns)
    if not wait_ns:
        bucket.take(items)
    return wait_ns


@pytest.mark.parametrize("seed", range(12))
def test_a_bucket_agrees_with_a_naive_one(seed: int) -> None:
    """Replay: pytest tests/unit/node/test_rate_limit.py -k 'naive_one and SEED'."""
    chance = random.Random(seed)
    rate, burst = chance.randint(1, 7_777), chance.randint(1, 300)
    bucket, naive = Bucket(Budget(rate, burst), 0), NaiveBudget(rate, burst)
    now_ns = 0
    for step in range(100):
        now_ns += chance.choice((0, 1, chance.randrange(NS // rate + 2), chance.randrange(NS)))
        items = chance.randint(1, burst)
        expected_ns = naive.wait_ns(items, now_ns)
        wait_ns = ask(bucket, items, now_ns)
        told = (seed, step)
        assert wait_ns == math.ceil(expected_ns), told
        assert (wait_ns == 0) == naive.ask(items, now_ns), told
        standing = bucket.standing()
        assert standing.remaining == math.floor(naive.left(now_ns)), told
        assert standing.reset_ns == math.ceil(naive.full_in_ns(now_ns)), told
        assert standing.limit == burst


@pytest.mark.parametrize("rate", [1, 7, 333])
def test_a_minute_of_pressure_gets_its_budget_within_one(rate: int) -> None:
    burst = 2 * rate
    bucket = Bucket(Budget(rate, burst), 0)
    granted, now_ns = 0, 0
    step_ns = NS // rate // 5
    while now_ns <= MINUTE_NS:
        if ask(bucket, 1, now_ns):
            now_ns += step_ns
        else:
            granted += 1
    assert abs(granted - (burst + 60 * rate)) <= 1


def test_who_waits_as_told_gets_the_whole_budget() -> None:
    rate, burst = 50, 100
    bucket = Bucket(Budget(rate, burst), 0)
    granted = asked = now_ns = 0
    while now_ns < MINUTE_NS:
        asked += 1
        wait_ns = ask(bucket, 5, now_ns)
        granted += 0 if wait_ns else 5
        now_ns += wait_ns
    budget = burst + 60 * rate
    assert granted >= budget * 95 // 100, "who obeys RetryInfo is short-changed"
    assert asked <= 2 * granted // 5 + 1, "the wait that was told was not long enough"


def test_an_abuser_takes_nothing_from_fifty_honest_ones() -> None:
    """Honest accounts ask for nine tenths of their budget, at random; one asks for a hundred
    times its own. Replay: the seed is 18."""
    chance = random.Random(18)
    rate = 20
    table = BucketTable(Budget(rate, rate))
    arrivals = [(chance.randrange(NS), owner) for owner in range(51)]
    heapq.heapify(arrivals)
    granted, asked = [0] * 51, [0] * 51
    while arrivals[0][0] < MINUTE_NS:
        now_ns, owner = heapq.heappop(arrivals)
        bucket = table.bucket(owner, now_ns)
        assert bucket is not None
        asked[owner] += 1
        granted[owner] += not ask(bucket, 1, now_ns)
        pace = 100 * rate if owner == 50 else rate * 0.9
        heapq.heappush(arrivals, (now_ns + round(chance.uniform(0.5, 1.5) * NS / pace), owner))
    served = [granted[owner] / asked[owner] for owner in range(50)]
    assert min(served) >= 0.99, "honest accounts pay for the abuser"
    assert granted[50] <= rate + 60 * rate + 1


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = Bucket(Budget(10, 10), 5 * NS)
    assert ask(bucket, 10, 5 * NS) == 0
    assert ask(bucket, 1, NS) == NS // 10
    assert ask(bucket, 1, 5 * NS + NS // 10) == 0


def test_full_budgets_are_forgotten() -> None:
    table = BucketTable(Budget(1_000, 1_000))
    for owner in range(3 * SWEEP_EVERY):
        bucket = table.bucket(owner, owner * NS)
        assert bucket is not None
        ask(bucket, 1, owner * NS)
    assert len(table) <= SWEEP_EVERY + 1


def test_no_limit_has_no_bucket() -> None:
    assert BucketTable(Budget(0, 1)).bucket("anyone", 0) is None
