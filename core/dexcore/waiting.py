"""What in a market waits for a trade, a price or a phase, and what the running step did to it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, final

from dexcore.invariant import InvariantError
from dexcore.items import TYPE_TRAILING_STOP
from dexcore.triggers import Triggers

if TYPE_CHECKING:
    from dexcore.book import Order

# In the place of a best price: pegged orders have not followed it since the market was open.
UNSEEN: Final = -1


@final
class Waiting:
    """Orders of one market that are not in its book, or follow what happens there.

    All by order key. ``parked`` are out of the book, and the stops among them are in ``triggers``
    too; ``pegged`` are all pegged orders, parked or not. ``bid_ticks`` and ``ask_ticks`` are the
    best unpegged prices for which these were priced, zero for none. Of the running step are
    ``high_ticks`` and ``low_ticks``, its highest and lowest trade price, zero when it has not
    traded; ``broken``, stops whose other leg traded or ended; and ``queue``, what it triggered.
    """

    __slots__ = (
        "ask_ticks",
        "bid_ticks",
        "broken",
        "high_ticks",
        "low_ticks",
        "parked",
        "pegged",
        "queue",
        "triggers",
    )

    def __init__(self) -> None:
        self.parked: dict[int, Order] = {}
        self.pegged: dict[int, Order] = {}
        self.triggers = Triggers()
        self.bid_ticks = 0
        self.ask_ticks = 0
        self.high_ticks = 0
        self.low_ticks = 0
        self.broken: dict[int, Order] = {}
        self.queue: deque[Order] = deque()

    def traded(self, first_ticks: int, last_ticks: int) -> None:
        """Take in the first and the last trade of a taking order: all between are there."""
        low, high = sorted((first_ticks, last_ticks))
        self.high_ticks = max(self.high_ticks, high)
        self.low_ticks = min(self.low_ticks or low, low)

    def see(self, bid_ticks: int, ask_ticks: int) -> None:
        """Remember the best unpegged prices for which the pegged orders are priced."""
        self.bid_ticks, self.ask_ticks = bid_ticks, ask_ticks

    def park(self, order: Order, mark_ticks: int = 0) -> None:
        """Keep an order out of the book; of a trailing stop the mark is the best price it saw."""
        terms = order.terms
        if terms is None:
            raise InvariantError("parked an order that waits for nothing")
        terms.is_parked = True
        self.parked[order.key] = order
        if terms.order_type == TYPE_TRAILING_STOP:
            self.triggers.add_trailing(order.key, order.side, terms.trail_ticks, mark_ticks)
        elif terms.is_stop:
            self.triggers.add(order.key, order.side, terms.trigger_price_ticks)

    def mark_ticks(self, order: Order) -> int:
        """The best price a parked trailing stop has seen; zero of any other order."""
        terms = order.terms
        if terms is None or terms.order_type != TYPE_TRAILING_STOP:
            return 0
        return self.triggers.mark_ticks(order.key)

    def unpark(self, order: Order) -> None:
        """Take an order out of what waits; it goes somewhere else or ends."""
        terms = order.terms
        if terms is None or self.parked.pop(order.key, None) is None:
            raise InvariantError("unparked an order that is not parked")
        terms.is_parked = False
        if terms.is_stop:
            self.triggers.remove(order.key)

    def part(self, order: Order) -> None:
        """A leg of a pair traded or ended: the pair ends, and with its limit the parked stop."""
        terms = order.terms
        if terms is None or terms.other is None:
            return
        other = terms.other
        terms.other = None
        if other.terms is not None:
            other.terms.other = None
            if other.terms.is_parked:
                self.broken[other.key] = other

    def ended(self, order: Order) -> None:
        """Forget an order that ended."""
        self.part(order)
        self.pegged.pop(order.key, None)
        self.broken.pop(order.key, None)
