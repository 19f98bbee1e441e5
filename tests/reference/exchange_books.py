"""The naive twin's books: what everybody owns, all open orders, and what a command did to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.reference.exchange_orders import Market, Order, Trade
from tests.reference.exchange_pool import Pool
from tests.reference.exchange_rules import BUY, Bounds, No, Result
from tests.reference.pool_curves import Ranges


@dataclass
class Deeds:
    """What the running command did: trades, self-trades prevented, triggers, ends of orders."""

    trades: list[Trade] = field(default_factory=list)
    # Market, aggressor, resting, their owners, mode, aggressor's lots ended, resting's.
    prevented: list[tuple[int, ...]] = field(default_factory=list)
    triggered: list[int] = field(default_factory=list)
    # Of each order that ended: status, filled lots, lots left.
    closed: dict[int, tuple[str, int, int]] = field(default_factory=dict)


class Books:
    """Everything that orders and trades touch."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.time_ns = 0
        # Of the running command: triggered stops that it ran, and what all of its orders met.
        self.stops_run = 0
        self.met = 0
        # What the running item may meet at most for its command's sake, and what it spent of that.
        self.left: int | None = None
        self.spent = 0
        self.markets: list[Market] = []
        self.owned: dict[tuple[int, str], int] = {}
        self.fees: dict[str, int] = {}
        self.groups: dict[int, int] = {}
        self.deeds = Deeds()
        # What accounts hold for something else than orders.
        self.also_held: list[Callable[[int, str], int]] = []

    def market(self, index: int) -> Market:
        if not 0 <= index < len(self.markets):
            raise No("UNKNOWN_MARKET", "market_id")
        return self.markets[index]

    def open_orders(self, owner: int | None = None) -> list[Order]:
        """Open orders, wherever they are, oldest first."""
        found = [
            o for m in self.markets for o in [*m.resting, *m.parked] if owner in (None, o.owner)
        ]
        return sorted(found, key=lambda order: order.key)

    def named(self, owner: int, key: int, client_id: int) -> Order:
        for order in self.open_orders(owner):
            if key and order.key == key:
                return order
            if not key and client_id and order.client_id == client_id:
                return order
        raise No("UNKNOWN_ORDER", "order_id" if key else "client_order_id")

    def available(self, owner: int, asset: str) -> int:
        """What is owned and not held by open orders."""
        held = sum(o.holds() for o in self.open_orders(owner) if o.asset() == asset)
        held += sum(holds(owner, asset) for holds in self.also_held)
        return self.owned.get((owner, asset), 0) - held

    def own(self, owner: int, asset: str, change: int) -> None:
        self.owned[(owner, asset)] = self.owned.get((owner, asset), 0) + change

    def same_owner(self, one: int, other: int) -> bool:
        """Whether two accounts are one to self-trade prevention."""
        group = self.groups.get(one, 0)
        if group:
            return group == self.groups.get(other, 0)
        return one == other

    def meetings_max(self) -> int:
        """What an entering order may meet; a stop whatever the items of the command met."""
        most = self.bounds.meetings
        return most if self.left is None else max(0, min(most, self.left))

    def spend(self, market: Market, meetings: int) -> None:
        """What the running item met, and where that was any, each end of a pool's ranges."""
        ends: set[int] = set()
        if market.pool and isinstance(market.pool.curve, Ranges):
            ends = market.pool.curve.ends()
        if meetings:
            self.spent += meetings + len(ends)

    def take_out(self, order: Order) -> None:
        """Take an order out of the book or the park, if it is in either."""
        for orders in (order.market.resting, order.market.parked):
            if order in orders:
                orders.remove(order)

    def rest(self, order: Order) -> None:
        """Put an order at the tail of its level; in a call phase it may still have to take."""
        order.part = min(order.display, order.left)
        order.made = not order.market.is_call
        order.market.resting.append(order)

    def close(self, order: Order, status: str) -> Result:
        """End an order."""
        self.take_out(order)
        self.deeds.closed[order.key] = (status, order.filled, order.left)
        return order.result(status)

    def trade(
        self, maker: Order, taker: Order, price: int, lots: int, taker_ppm: int
    ) -> tuple[int, int, int, int]:
        """Book one trade; the taker's fill."""
        fees = [
            self._fill(order, price, lots, rate)
            for order, rate in ((maker, maker.maker_ppm), (taker, taker_ppm))
        ]
        return self._report(taker, price, lots, (maker.key, maker.owner), (fees[0], fees[1]))

    def trade_with_pool(
        self, pool: Pool, taker: Order, price: int, lots: int
    ) -> tuple[int, int, int, int]:
        """Book one trade with the market's pool, which pays no fee; the taker's fill."""
        fee = self._fill(taker, price, lots, taker.taker_ppm)
        self._move(pool.key, taker.other_side, taker.market, lots, taker.cost(lots, price))
        return self._report(taker, price, lots, (pool.key, pool.key), (0, fee))

    def _fill(self, order: Order, price: int, lots: int, rate: int) -> int:
        """What a trade does to one order and its owner; its fee."""
        notional, before = order.cost(lots, price), order.fee()
        order.charges.append((notional, rate))
        fee = order.fee() - before
        order.filled += lots
        order.part -= min(lots, order.part)
        self._move(order.owner, order.side, order.market, lots, notional)
        quote = order.market.spec["quote_asset_id"]
        self.own(order.owner, quote, -fee)
        self.fees[quote] = self.fees.get(quote, 0) + fee
        return fee

    def _move(self, owner: int, side: int, market: Market, lots: int, notional: int) -> None:
        sign = 1 if side == BUY else -1
        atoms = lots * market.spec["base_atoms_per_lot"]
        self.own(owner, market.spec["base_asset_id"], sign * atoms)
        self.own(owner, market.spec["quote_asset_id"], -sign * notional)

    def _report(
        self, taker: Order, price: int, lots: int, maker: tuple[int, int], fees: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        market = taker.market
        market.trade_sequence += 1
        market.last = price
        market.step_prices.append(price)
        place = (market.trade_sequence, price, lots)
        who = (maker[0], taker.key, maker[1], taker.owner, *fees)
        self.deeds.trades.append((market.index, *place, taker.side, *who))
        return (*place, fees[1])
