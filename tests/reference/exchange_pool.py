"""The naive twin's pools: what a taker gets from book and pool, one lot increment at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.reference.exchange_rules import BUY
from tests.reference.pool_curves import Product, Ranges
from tests.reference.pools import Market as Units
from tests.reference.pools import pool_price, spread

if TYPE_CHECKING:
    from tests.reference.exchange_orders import Market, Order


@dataclass(eq=False)
class Pool:
    """A market's pool: its account, and what it was created as."""

    key: int
    kind: int
    curve: Product | Ranges
    first_price: int


class Swap:
    """What one step of a taker gets from the pool: one swap, from the pool as it was before."""

    def __init__(self, market: Market, side: int) -> None:
        self.market = market
        self.side = side
        lots, ticks = int(market.spec["quantity_increment_lots"]), market.increment
        unit = market.spec["quote_atoms_per_tick_lot"] * lots * ticks
        self.units = Units(lots, ticks, market.spec["base_atoms_per_lot"] * lots, unit)
        pool = market.pool
        trades = pool is not None and market.status == "OPEN"
        self.total = pool.curve.total_of(side) if pool and trades else None
        # Lot increments taken so far, and money for them, in price increments.
        self.steps = 0
        self.money = 0

    def next_price(self, ahead: int = 0) -> int | None:
        """Of the next lot increment, or of one behind it; None if there is none."""
        return pool_price(self.total, self.steps + ahead, self.side, self.units)

    def lots_before(self, level: int | None, limit: int, most: int) -> int:
        """Lots, counted one by one, that are better than a level of the book and in the limit.

        A limit of zero is the market's worst price.
        """
        sign = 1 if self.side == BUY else -1
        if not limit:
            limit = int(self.market.spec["price_ticks_max"]) if self.side == BUY else 1
        found = 0
        while (found + 1) * self.units.step_lots <= most:
            price = self.next_price(found)
            if price is None or sign * price > sign * limit:
                break
            if level is not None and sign * price >= sign * level:
                break
            found += 1
        return found * self.units.step_lots

    def take(self, lots: int) -> list[tuple[int, int]]:
        """Price and lots of each trade for so many lots more."""
        run = lots // self.units.step_lots
        if not run or self.total is None:
            return []
        self.steps += run
        terms = (self.total, self.steps, run, self.money, self.side, self.units)
        self.money, prices = spread(*terms)
        return [(p, prices.count(p) * self.units.step_lots) for p in dict.fromkeys(prices)]

    def settle(self) -> None:
        """The pool takes the whole swap in."""
        if self.steps and self.market.pool:
            base = self.steps * self.units.step_base_atoms
            self.market.pool.curve.settle(self.side, base, self.money * self.units.unit_quote_atoms)


def best_met(order: Order) -> int | None:
    """The best price that a taker meets in book and pool."""
    market = order.market
    found = [market.best(order.other_side), Swap(market, order.side).next_price()]
    prices = [price for price in found if price is not None]
    if not prices:
        return None
    return min(prices) if order.side == BUY else max(prices)
