"""What in a market waits for a trade, a price or a phase, and what the running step did to it."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, final

from dexcore.book import BUY
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
    too; ``pegged`` are all pegged orders, parked or not, and ``trailing`` all trailing stops.
    ``bid_ticks`` and ``ask_ticks`` are the best unpegged prices for which the pegged were priced,
    zero for none. ``due_high_ticks`` and ``due_low_ticks`` are the highest and lowest price since
    when parked stops are reached and have not run, zero while there are none, and ``due`` a heap of
    their keys, which may hold others. Of the running step are ``high_ticks`` and ``low_ticks``, its
    highest and lowest trade price, zero when it has not traded, and ``broken``, stops whose other
    leg traded or ended.
    """

    __slots__ = (
        "ask_ticks",
        "bid_ticks",
        "broken",
        "due",
        "due_high_ticks",
        "due_low_ticks",
        "high_ticks",
        "low_ticks",
        "parked",
        "pegged",
        "trailing",
        "triggers",
    )

    def __init__(self) -> None:
        self.parked: dict[int, Order] = {}
        self.pegged: dict[int, Order] = {}
        self.trailing: dict[int, Order] = {}
        self.triggers = Triggers()
        self.bid_ticks = 0
        self.ask_ticks = 0
        self.due_high_ticks = 0
        self.due_low_ticks = 0
        self.due: list[int] = []
        self.high_ticks = 0
        self.low_ticks = 0
        self.broken: dict[int, Order] = {}

    def traded(self, first_ticks: int, last_ticks: int) -> None:
        """Take in the first and the last trade of a taking order: all between are there."""
        low, high = sorted((first_ticks, last_ticks))
        self.high_ticks = max(self.high_ticks, high)
        self.low_ticks = min(self.low_ticks or low, low)

    def reach(self, high_ticks: int, low_ticks: int) -> None:
        """Let the stops that a step's trades reached be due; trailing ones trail no more."""
        for key in self.triggers.freeze(high_ticks, low_ticks):
            terms = self.parked[key].terms
            if terms is not None:
                terms.trigger_price_ticks = self.triggers.trigger_price_ticks(key)
            heappush(self.due, key)
        self.make_due(high_ticks, low_ticks)

    def make_due(self, high_ticks: int, low_ticks: int) -> None:
        """Let the stops that do not trail and that these prices reach be due."""
        before = self.due_high_ticks, self.due_low_ticks
        self.due_high_ticks = max(self.due_high_ticks, high_ticks)
        self.due_low_ticks = min(self.due_low_ticks or low_ticks, low_ticks)
        for key in self.triggers.reached(self.due_high_ticks, self.due_low_ticks, *before):
            heappush(self.due, key)

    def next_due(self) -> Order | None:
        """The due stop with the smallest key; without one nothing is due any more."""
        due = self.due
        while due:
            order = self.parked.get(due[0])
            if order is not None and self.is_due(order.side, self.triggers.plain_ticks(due[0])):
                return order
            heappop(due)
        self.due_high_ticks = self.due_low_ticks = 0
        return None

    def is_due(self, side: int, trigger_price_ticks: int) -> bool:
        """Whether prices that are not served yet reach a trigger; zero is none."""
        if side == BUY:
            return 0 < trigger_price_ticks <= self.due_high_ticks
        return 0 < self.due_low_ticks <= trigger_price_ticks

    def see(self, bid_ticks: int, ask_ticks: int) -> None:
        """Remember the best unpegged prices for which the pegged orders are priced."""
        self.bid_ticks, self.ask_ticks = bid_ticks, ask_ticks

    def park(self, order: Order, mark_ticks: int = 0) -> None:
        """Keep an order out of the book.

        Of a trailing stop the mark is the best price it saw; zero when it trails no more.
        """
        terms = order.terms
        if terms is None:
            raise InvariantError("parked an order that waits for nothing")
        terms.is_parked = True
        self.parked[order.key] = order
        if terms.order_type == TYPE_TRAILING_STOP:
            self.trailing[order.key] = order
        if mark_ticks:
            self.triggers.add_trailing(order.key, order.side, terms.trail_ticks, mark_ticks)
        elif terms.is_stop:
            self.triggers.add(order.key, order.side, terms.trigger_price_ticks)

    def mark_ticks(self, order: Order) -> int:
        """The best price a parked stop that trails has seen; zero of any other order."""
        return self.triggers.mark_ticks(order.key) if order.key in self.trailing else 0

    def unpark(self, order: Order) -> None:
        """Take an order out of what waits; it goes somewhere else or ends."""
        terms = order.terms
        if terms is None or self.parked.pop(order.key, None) is None:
            raise InvariantError("unparked an order that is not parked")
        terms.is_parked = False
        self.trailing.pop(order.key, None)
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
