"""Open orders that end by time, the next one first."""

from __future__ import annotations

from typing import Final, final

from sortedcontainers import SortedDict

from dexcore.book import Order

DAY_NS: Final = 86_400 * 10**9


def end_of_day_ns(time_ns: int) -> int:
    """The next midnight UTC after ``time_ns``."""
    return (time_ns // DAY_NS + 1) * DAY_NS


@final
class Expiries:
    """Orders by (time at which they end, key)."""

    __slots__ = ("_orders",)

    def __init__(self) -> None:
        self._orders: SortedDict[tuple[int, int], Order] = SortedDict()

    def add(self, expire_time_ns: int, order: Order) -> None:
        """Know when an open order ends; again is no change."""
        self._orders[(expire_time_ns, order.key)] = order

    def remove(self, expire_time_ns: int, order: Order) -> None:
        """Forget an order that ended; it need not have been open."""
        self._orders.pop((expire_time_ns, order.key), None)

    def next_ns(self) -> int | None:
        """When the next one ends."""
        orders = self._orders
        return orders.peekitem(0)[0][0] if orders else None

    def due(self, time_ns: int) -> list[Order]:
        """What ends at ``time_ns`` or before, in the order in which it ends."""
        orders = self._orders
        return [orders[key] for key in orders.irange(maximum=(time_ns + 1, 0))]
