"""How fast a queue is worked off, and so how long what waits in it will take."""

from __future__ import annotations

from typing import Final, final

# Long enough to hold several batches, short enough to follow the load.
WINDOW_NS: Final = 100 * 10**6
# Bounds of what a refused sender is asked to wait. A rate that was just measured says nothing
# about the next seconds, and everyone coming back at once would be the next overload.
DELAY_NS_MIN: Final = 50 * 10**6
DELAY_NS_MAX: Final = 5 * 10**9
# What is asked before anything was measured.
DELAY_NS_UNKNOWN: Final = 100 * 10**6
_NS: Final = 10**9


@final
class DrainRate:
    """Measured only over windows in which something waited: an idle queue is not a slow one."""

    __slots__ = ("_count", "_start_ns", "_was_busy", "items_per_second")

    def __init__(self) -> None:
        self._count = 0
        self._start_ns = 0
        self._was_busy = False
        self.items_per_second = 0

    def drained(self, count: int, now_ns: int, *, is_busy: bool) -> None:
        """``count`` items left the queue; ``is_busy`` says whether more wait."""
        self._count += count
        span_ns = now_ns - self._start_ns
        if self._was_busy and is_busy and span_ns < WINDOW_NS:
            return
        if self._was_busy and span_ns > 0:
            sample = self._count * _NS // span_ns
            known = self.items_per_second
            self.items_per_second = max(1, (3 * known + sample) // 4 if known else sample)
        self._count = 0
        self._start_ns = now_ns
        self._was_busy = is_busy

    def delay_ns(self, waiting_count: int) -> int:
        """How long until ``waiting_count`` items are through, within the bounds above."""
        if not self.items_per_second:
            return DELAY_NS_UNKNOWN
        expected_ns = waiting_count * _NS // self.items_per_second
        return min(max(expected_ns, DELAY_NS_MIN), DELAY_NS_MAX)
