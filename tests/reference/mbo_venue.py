"""A naive venue that publishes market by order: the reference of the backtest's fills.

It matches by looking through all its orders for the best price and the earliest place, knows whose
orders are whose, cancels the resting one rather than let an owner trade with itself, and tells all
it does in the letters of Databento: A adds, C takes off, M modifies, T is what an aggressor traded
at one price, F the fill of a resting order; the last record of an event is marked. It imports
nothing of the product.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

LAST = 0x80


class Record(NamedTuple):
    """A record of market by order; the price counts 10^-9, `action` and `side` are letters."""

    time_ns: int
    instrument_id: int
    action: str
    side: str
    price: int
    size: int
    order_id: int
    flags: int


class Fill(NamedTuple):
    """What the venue matched: maker, taker, price in 10^-9, lots."""

    maker: int
    taker: int
    price: int
    size: int


@dataclass
class Order:
    """A resting order; the smaller `place` comes first at a price."""

    order_id: int
    owner: int
    side: str
    price: int
    size: int
    place: int


@dataclass
class Venue:
    """One instrument."""

    instrument_id: int = 1
    time_ns: int = 1_718_582_400_000_000_000
    orders: dict[int, Order] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    prevented: int = 0
    partial_by_modify: bool = False
    """A partial fill is followed by M with what is left, rather than by C of what is gone."""
    _places: int = 0
    _event: list[Record] = field(default_factory=list)

    def add(self, order_id: int, owner: int, side: str, price: int, size: int, ioc: bool) -> None:
        """A new order: it takes, and rests with the remainder."""
        left = self._take(order_id, owner, side, price, size)
        if left and not ioc:
            self._rest(Order(order_id, owner, side, price, left, 0))
            self._tell("A", side, price, left, order_id)
        self._end()

    def cancel(self, order_id: int, size: int) -> None:
        """Take so many off an order, all of it if it has no more."""
        order = self.orders[order_id]
        self._tell("C", order.side, order.price, min(size, order.size), order_id)
        self._take_off(order, size)
        self._end()

    def modify(self, order_id: int, price: int, size: int) -> None:
        """New price and size; less at the same price keeps the place, all else loses it."""
        order = self.orders[order_id]
        if price == order.price and size <= order.size:
            order.size = size
            self._tell("M", order.side, price, size, order_id)
        else:
            del self.orders[order_id]
            before = order.size
            left = self._take(order_id, order.owner, order.side, price, size)
            if left:
                self._rest(Order(order_id, order.owner, order.side, price, left, 0))
                self._tell("M", order.side, price, left, order_id)
            else:
                self._tell("C", order.side, order.price, before, order_id)
        self._end()

    def _take(self, order_id: int, owner: int, side: str, price: int, size: int) -> int:
        while size:
            best = self._best(side, price)
            if best is None:
                break
            level = best.price
            told: list[tuple[str, int, int]] = []
            traded = 0
            while size and best is not None and best.price == level:
                if best.owner == owner:
                    self.prevented += 1
                    told.append(("C", best.size, best.order_id))
                    del self.orders[best.order_id]
                else:
                    lots = min(size, best.size)
                    size -= lots
                    traded += lots
                    self.fills.append(Fill(best.order_id, order_id, level, lots))
                    told.append(("F", lots, best.order_id))
                    self._take_off(best, lots)
                    if best.size and self.partial_by_modify:
                        told.append(("M", best.size, best.order_id))
                    else:
                        told.append(("C", lots, best.order_id))
                best = self._best(side, price)
            if traded:
                self._tell("T", side, level, traded, order_id)
            for action, lots, maker in told:
                self._tell(action, "A" if side == "B" else "B", level, lots, maker)
        return size

    def _best(self, side: str, price: int) -> Order | None:
        """The order that one of `side` with this limit would trade with first."""
        sign = 1 if side == "B" else -1
        able = [
            order
            for order in self.orders.values()
            if order.side != side and sign * order.price <= sign * price
        ]
        return min(able, key=lambda order: (sign * order.price, order.place), default=None)

    def _rest(self, order: Order) -> None:
        self._places += 1
        order.place = self._places
        self.orders[order.order_id] = order

    def _take_off(self, order: Order, size: int) -> None:
        order.size = max(0, order.size - size)
        if not order.size:
            del self.orders[order.order_id]

    def _tell(self, action: str, side: str, price: int, size: int, order_id: int) -> None:
        self._event.append(
            Record(self.time_ns, self.instrument_id, action, side, price, size, order_id, 0)
        )

    def _end(self) -> None:
        if self._event:
            self._event[-1] = self._event[-1]._replace(flags=LAST)
            self.records += self._event
            self._event = []
        self.time_ns += 1_000


def busy_day(seed: int, commands: int, instrument_id: int = 1) -> Venue:
    """A venue after so many random commands of eight owners around a price that wanders."""
    chance = random.Random(seed)
    venue = Venue(instrument_id=instrument_id)
    middle = 100
    for number in range(1, commands + 1):
        venue.partial_by_modify = bool(chance.randrange(2))
        middle += chance.choice((-1, 0, 0, 0, 1))
        middle = max(middle, 20)
        kind = chance.randrange(10)
        side = chance.choice("BA")
        price = (middle + chance.randrange(-6, 7)) * 10**9
        if kind < 5 or not venue.orders:
            order_id = number * 7 + (2**63 if number % 5 == 0 else 0)
            owner = chance.randrange(8)
            venue.add(order_id, owner, side, price, chance.randrange(1, 30), kind == 4)
            continue
        order = venue.orders[chance.choice(list(venue.orders))]
        if kind < 7:
            venue.cancel(order.order_id, chance.choice((order.size, 1)))
        elif kind == 7:
            venue.modify(order.order_id, order.price, chance.randrange(1, order.size + 1))
        elif kind == 8:
            venue.modify(order.order_id, order.price, order.size + chance.randrange(1, 9))
        else:
            venue.modify(order.order_id, price, chance.randrange(1, 30))
    return venue
