"""A rate limit as anyone would write it down, in fractions, with the whole history at hand."""

from __future__ import annotations

from fractions import Fraction


class NaiveBudget:
    """Items granted so far, and nothing else; what is left is worked out from the beginning."""

    def __init__(self, items_per_second: int, burst_items: int) -> None:
        self._rate = Fraction(items_per_second, 10**9)
        self._burst = Fraction(burst_items)
        self._granted: list[tuple[int, int]] = []

    def left(self, now_ns: int) -> Fraction:
        """Items that are left, by going through everything that was granted."""
        level, at_ns = self._burst, 0
        for granted_ns, items in self._granted:
            level = min(self._burst, level + (granted_ns - at_ns) * self._rate) - items
            at_ns = granted_ns
        return min(self._burst, level + (now_ns - at_ns) * self._rate)

    def ask(self, items: int, now_ns: int) -> bool:
        """Whether the items are granted."""
        if self.left(now_ns) < items:
            return False
        self._granted.append((now_ns, items))
        return True

    def wait_ns(self, items: int, now_ns: int) -> Fraction:
        """How long until they would be."""
        return max(Fraction(0), (items - self.left(now_ns)) / self._rate)

    def full_in_ns(self, now_ns: int) -> Fraction:
        """How long until nothing is missing."""
        return (self._burst - self.left(now_ns)) / self._rate
