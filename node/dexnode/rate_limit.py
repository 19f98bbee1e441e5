"""Rate limits, exact: a token bucket in whole numbers on a clock that is handed in.

Theory of operation. A bucket holds up to `burst_items` items and is refilled at `items` in every
`period_ns`. Its level is counted in parts of an item, one part being what refills in a nanosecond,
so that nothing is ever rounded: over any time T a bucket lets through at most
`burst_items + items * T / period_ns` items, and exactly that when asked without pause. The
behaviour is GCRA's (ATM Forum TM 4.0, I.5.2), kept as a level since the level is what callers are
told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, final

NS: Final = 10**9
# Buckets of a table between two looks for those that are full again and need not be kept.
SWEEP_EVERY: Final = 4_096

ClockNs = Callable[[], int]


class Budget(NamedTuple):
    """What a bucket may hold and how fast it is refilled."""

    items: int
    """Refilled in each period; zero: no limit."""
    burst_items: int
    """Held at most."""
    period_ns: int = NS


class Standing(NamedTuple):
    """What is left of a budget, in the terms of the RateLimit header fields (IETF draft
    httpapi-ratelimit-headers)."""

    limit: int
    """Items the budget holds when it is full."""
    remaining: int
    """Whole items left."""
    reset_ns: int
    """Until it is full again; zero when it is."""


@final
class Bucket:
    """One budget's state."""

    __slots__ = ("_at_ns", "_budget", "_capacity", "_level", "_period_ns", "_rate", "is_short")

    def __init__(self, budget: Budget, now_ns: int) -> None:
        self._budget = budget
        # Asked for with every order, and cheaper here.
        self._rate, self._period_ns = budget.items, budget.period_ns
        self._capacity = budget.burst_items * budget.period_ns
        self._level = self._capacity
        self._at_ns = now_ns
        self.is_short = False
        """Whether the last request did not fit: the next is then worth a look before any work."""

    @property
    def burst_items(self) -> int:
        """Items it holds when it is full."""
        return self._budget.burst_items

    def wait_ns(self, items: int, now_ns: int) -> int:
        """How long until `items` fit: zero when they do now. More than the budget holds never fit;
        the answer is then when it is full."""
        self._refill(now_ns)
        missing = min(items * self._budget.period_ns, self._capacity) - self._level
        if missing <= 0:
            return 0 if items <= self._budget.burst_items else 1
        return -(-missing // self._budget.items)

    def fits(self, items: int, now_ns: int) -> bool:
        """Whether `wait_ns` would be zero."""
        if now_ns > self._at_ns:
            level = self._level + (now_ns - self._at_ns) * self._rate
            self._level = min(self._capacity, level)
            self._at_ns = now_ns
        return items * self._period_ns <= self._level

    def take(self, items: int) -> int:
        """Take what fits; returns the whole items that are left."""
        level = self._level = self._level - items * self._period_ns
        assert level >= 0, "taken without asking"
        self.is_short = False
        return level // self._period_ns

    def standing(self) -> Standing:
        """What is left, as of the last `wait_ns` or `fits`."""
        budget = self._budget
        missing = self._capacity - self._level
        return Standing(
            budget.burst_items, self._level // budget.period_ns, -(-missing // budget.items)
        )

    def is_full(self, now_ns: int) -> bool:
        """Whether it is as good as a new one."""
        self._refill(now_ns)
        return self._level == self._capacity

    def _refill(self, now_ns: int) -> None:
        # A clock that steps back gives nothing and takes nothing.
        if now_ns > self._at_ns:
            gained = (now_ns - self._at_ns) * self._budget.items
            self._level = min(self._capacity, self._level + gained)
            self._at_ns = now_ns


@final
class BucketTable:
    """The buckets of one budget, by whom they belong to. Full ones are forgotten now and then, so
    it holds no more than have asked lately."""

    __slots__ = ("_buckets", "_budget", "_sweep_at")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._buckets: dict[object, Bucket] = {}
        self._sweep_at = SWEEP_EVERY

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, owner: object, now_ns: int) -> Bucket | None:
        """The owner's bucket; None when there is no limit."""
        if not self._budget.items:
            return None
        bucket = self._buckets.get(owner)
        if bucket is None:
            if len(self._buckets) >= self._sweep_at:
                self._sweep(now_ns)
            bucket = self._buckets[owner] = Bucket(self._budget, now_ns)
        return bucket

    def is_short(self, owner: object) -> bool:
        """Whether the owner's last request did not fit."""
        known = self._buckets.get(owner)
        return known is not None and known.is_short

    def _sweep(self, now_ns: int) -> None:
        kept = {owner: b for owner, b in self._buckets.items() if not b.is_full(now_ns)}
        self._buckets = kept
        self._sweep_at = len(kept) + SWEEP_EVERY
