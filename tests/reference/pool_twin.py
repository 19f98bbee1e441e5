"""A naive exchange of one market with book and pool: sums made from nothing, lots one by one.

Imports nothing of the product. It knows limit and market orders, GTC, IOC, FOK and post-only, and
what accounts do with the pool itself; everything else is in the twin of the exchange.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.reference.pool_curves import Place, Product, Ranges
from tests.reference.pools import BUY, MILLION, SELL, Got, Market, lot_by_lot, pool_price

LIMIT, MARKET = 1, 2
GTC, IOC, FOK = 1, 2, 3
BASE, QUOTE = "base", "quote"


class No(Exception):
    """A refusal: the reason's name."""


@dataclass(eq=False)
class Order:
    """An order; what it may still cost is worked out each time."""

    key: int
    owner: int
    side: int
    price: int
    size: int
    filled: int = 0
    charges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        return self.size - self.filled

    def fee(self, *more: tuple[int, int]) -> int:
        return -(-sum(n * rate for n, rate in [*self.charges, *more]) // MILLION)


@dataclass
class PoolTwin:
    """Book, pool and what everybody owns; units as in the market's specification."""

    spec: dict[str, Any]
    pool: Product | Ranges
    pool_key: int
    owned: dict[tuple[int, str], int]
    resting: list[Order] = field(default_factory=list)
    fees: int = 0
    trade_sequence: int = 0
    trades: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def market(self) -> Market:
        lots, ticks = self.spec["quantity_increment_lots"], self.spec["price_increment_ticks"]
        unit = self.spec["quote_atoms_per_tick_lot"] * lots * ticks
        return Market(lots, ticks, self.spec["base_atoms_per_lot"] * lots, unit)

    def cost(self, lots: int, price: int) -> int:
        return int(lots * price * self.spec["quote_atoms_per_tick_lot"])

    def reserve(self, order: Order) -> int:
        if order.side == SELL:
            return int(order.remaining * self.spec["base_atoms_per_lot"])
        notional = self.cost(order.remaining, order.price)
        return notional + order.fee((notional, self.spec["maker_fee_ppm"])) - order.fee()

    def available(self, owner: int, asset: str) -> int:
        side = BUY if asset == QUOTE else SELL
        orders = [o for o in self.resting if o.owner == owner and o.side == side]
        return self.owned.get((owner, asset), 0) - sum(self.reserve(o) for o in orders)

    def queue(self, side: int) -> list[Order]:
        sign = -1 if side == BUY else 1
        return sorted((o for o in self.resting if o.side == side), key=lambda o: sign * o.price)

    def levels(self, side: int) -> list[tuple[int, int]]:
        found: dict[int, int] = {}
        for order in self.queue(side):
            found[order.price] = found.get(order.price, 0) + order.remaining
        return list(found.items())

    def plan(self, side: int, limit: int, lots: int) -> list[Got]:
        limit = limit or (self.spec["price_ticks_max"] if side == BUY else 1)
        levels = self.levels(3 - side)
        return lot_by_lot(self.pool.total_of(side), levels, side, limit, lots, self.market)

    # --- orders

    def place(
        self,
        key: int,
        owner: int,
        side: int,
        kind: int,
        tif: int,
        post_only: int,
        price: int,
        lots: int,
    ) -> tuple[str, int, int, tuple[tuple[int, int, int, int], ...]]:
        """Status, filled, remaining and fills of a new order."""
        self.trades = []
        best = self._best(side)
        if post_only and best is not None and (price >= best if side == BUY else price <= best):
            raise No("POST_ONLY_WOULD_TAKE")
        if kind == MARKET and best is None:
            raise No("NO_LIQUIDITY")
        plan = self.plan(side, price, lots)
        if tif == FOK and sum(part[2] for part in plan) < lots:
            raise No("FILL_OR_KILL_UNFILLABLE")
        order = Order(key, owner, side, price, lots)
        if side == SELL:
            needed, asset = lots * self.spec["base_atoms_per_lot"], BASE
        else:
            walked = sum(self.cost(part[2], part[1]) for part in plan)
            notional = walked if kind == MARKET else self.cost(lots, price)
            rate = max(self.spec["maker_fee_ppm"], self.spec["taker_fee_ppm"])
            needed, asset = notional + order.fee((notional, rate)), QUOTE
        if needed > self.available(owner, asset):
            raise No("INSUFFICIENT_FUNDS")
        fills = self._carry_out(order, plan)
        if not order.remaining:
            return "FILLED", order.filled, 0, fills
        if tif != GTC:
            return "EXPIRED", order.filled, order.remaining, fills
        self.resting.append(order)
        status = "PARTIALLY_FILLED" if order.filled else "OPEN"
        return status, order.filled, order.remaining, fills

    def cancel(self, owner: int, key: int) -> None:
        for order in self.resting:
            if order.key == key and order.owner == owner:
                self.resting.remove(order)
                return
        raise No("UNKNOWN_ORDER")

    def _best(self, side: int) -> int | None:
        levels = self.levels(3 - side)
        pool = pool_price(self.pool.total_of(side), 0, side, self.market)
        prices = [price for price in (levels[0][0] if levels else None, pool) if price is not None]
        return (min(prices) if side == BUY else max(prices)) if prices else None

    def _carry_out(self, taker: Order, plan: list[Got]) -> tuple[tuple[int, int, int, int], ...]:
        fills = []
        base = quote = 0
        for from_pool, price, lots in plan:
            if from_pool:
                base += lots * self.spec["base_atoms_per_lot"]
                quote += self.cost(lots, price)
                fills.append(self._trade(taker, None, price, lots))
                continue
            for maker in self.queue(3 - taker.side):
                part = min(lots, maker.remaining)
                if not part or maker.price != price:
                    break
                fills.append(self._trade(taker, maker, price, part))
                lots -= part
                if not maker.remaining:
                    self.resting.remove(maker)
        if base:
            self.pool.settle(taker.side, base, quote)
        return tuple(fills)

    def _trade(
        self, taker: Order, maker: Order | None, price: int, lots: int
    ) -> tuple[int, int, int, int]:
        notional, base = self.cost(lots, price), lots * self.spec["base_atoms_per_lot"]
        sign = 1 if taker.side == BUY else -1
        charged = []
        for order, rate, its_sign in (
            (maker, self.spec["maker_fee_ppm"], -sign),
            (taker, self.spec["taker_fee_ppm"], sign),
        ):
            fee, owner = 0, self.pool_key
            if order is not None:
                before = order.fee()
                order.charges.append((notional, rate))
                order.filled += lots
                fee, owner = order.fee() - before, order.owner
            self._own(owner, BASE, its_sign * base)
            self._own(owner, QUOTE, -its_sign * notional - fee)
            charged.append(fee)
        self.fees += sum(charged)
        self.trade_sequence += 1
        keys = (maker.key if maker else self.pool_key), taker.key
        owners = (maker.owner if maker else self.pool_key), taker.owner
        self.trades.append((self.trade_sequence, price, lots, taker.side, *keys, *owners, *charged))
        return self.trade_sequence, price, lots, charged[1]

    def _own(self, owner: int, asset: str, change: int) -> None:
        self.owned[owner, asset] = self.owned.get((owner, asset), 0) + change

    def _pay(self, owner: int, base: int, quote: int) -> None:
        """From the account to the pool; negative amounts the other way."""
        for asset, atoms in ((BASE, base), (QUOTE, quote)):
            self._own(owner, asset, -atoms)
            self._own(self.pool_key, asset, atoms)

    # --- the pool itself

    def add(self, place: Place, most: tuple[int, int], least: tuple[int, int]) -> tuple[int, ...]:
        """Liquidity and amounts."""
        liquidity, base, quote = self.pool.offer(place, *most)
        if not self.pool.fits(liquidity):
            raise No("LIQUIDITY_OUT_OF_RANGE")
        if base < least[0] or quote < least[1]:
            raise No("SLIPPAGE")
        if base > self.available(place[0], BASE) or quote > self.available(place[0], QUOTE):
            raise No("INSUFFICIENT_FUNDS")
        self.pool.add(place, liquidity, base, quote)
        self._pay(place[0], base, quote)
        return liquidity, base, quote

    def remove(self, place: Place, liquidity: int, least: tuple[int, int]) -> tuple[int, ...]:
        owned = self.pool.owned(place)
        if owned is None:
            raise No("UNKNOWN_POSITION")
        lowest = 1 if isinstance(self.pool, Product) else 0
        if not lowest <= liquidity <= owned:
            raise No("LIQUIDITY_OUT_OF_RANGE")
        worth = self.pool.worth(place, liquidity)
        if worth[0] < least[0] or worth[1] < least[1]:
            raise No("SLIPPAGE")
        base, quote = self.pool.take_back(place, liquidity)
        self._pay(place[0], -base, -quote)
        return liquidity, base, quote

    def swap(
        self, owner: int, side: int, atoms: int, limit: int, *, is_in: bool
    ) -> tuple[int, ...]:
        paid, got, carry_out = self.pool.swap(side, atoms, is_in=is_in)
        if not got:
            raise No("NO_LIQUIDITY")
        if got < limit if is_in else paid > limit:
            raise No("SLIPPAGE")
        if paid > self.available(owner, QUOTE if side == BUY else BASE):
            raise No("INSUFFICIENT_FUNDS")
        carry_out()
        base, quote = (got, -paid) if side == BUY else (-paid, got)
        self._pay(owner, -base, -quote)
        return abs(base), abs(quote)
