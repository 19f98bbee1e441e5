"""What in a market waits for a trade, a price or a phase, and what the running step did to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from dexcore.book import Order


@final
class Waiting:
    """Orders of one market that are not in its book, or follow what happens there.

    ``high_ticks`` and ``low_ticks`` are the highest and lowest trade price of the running step,
    zero when it has not traded.
    """

    __slots__ = ("high_ticks", "low_ticks", "parked")

    def __init__(self) -> None:
        self.parked: dict[int, Order] = {}
        self.high_ticks = 0
        self.low_ticks = 0

    def traded(self, first_ticks: int, last_ticks: int) -> None:
        """Take in the first and the last trade of a taking order: all between are there."""
        low, high = sorted((first_ticks, last_ticks))
        self.high_ticks = max(self.high_ticks, high)
        self.low_ticks = min(self.low_ticks or low, low)
