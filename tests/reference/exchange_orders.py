"""The naive twin's markets and orders: lists in the order of arrival, sums made anew each time."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.reference.exchange_pool import Pool
from tests.reference.exchange_rules import (
    BUY,
    CALLS,
    PEGGED,
    SELL,
    STOP,
    STOPS,
    TRAILING,
    Result,
    Spec,
)

MILLION = 1_000_000
Fill = tuple[int, int, int, int]
Trade = tuple[int, ...]


@dataclass(eq=False)
class Market:
    """A market as it was asked for, and how it is."""

    index: int
    spec: Spec
    maker_ppm: int
    taker_ppm: int
    status: str = "OPEN"
    trade_sequence: int = 0
    last_external: int = 0
    watermark_ns: int = 0
    # Limits that an operator set; zero is none.
    protection: int = 0
    band_ppm: int = 0
    notional_min: int = 0
    notional_max: int = 0
    # Of the market's last trade; zero before the first.
    last: int = 0
    # A call phase began, and no uncross was held since.
    uncross_due: bool = False
    # Who came first stands first, whatever the price.
    resting: list[Order] = field(default_factory=list)
    parked: list[Order] = field(default_factory=list)
    pool: Pool | None = None
    # Prices of the running step's trades; below, the best unpegged prices when pegs last looked,
    # none if all must look again.
    step_prices: list[int] = field(default_factory=list)
    # Prices that triggered stops which have not run yet.
    due_prices: list[int] = field(default_factory=list)
    pegs_saw: tuple[int | None, int | None] | None = (None, None)

    @property
    def increment(self) -> int:
        return int(self.spec["price_increment_ticks"])

    @property
    def is_call(self) -> bool:
        return self.status in CALLS

    def banded(self, side: int, price: int, band: int) -> int:
        """The worst price an order may trade at that starts from a price: a valid one.

        Off the increment it is rounded toward where it starts.
        """
        step, top = self.increment, int(self.spec["price_ticks_max"])
        if side == SELL:
            return max(-(-(price - band) // step) * step, step)
        return min((price + band) // step * step, top // step * step)

    def is_due(self, side: int, trigger: int) -> bool:
        """Whether a price that is not served yet reaches a trigger."""
        if not self.due_prices:
            return False
        return trigger <= max(self.due_prices) if side == BUY else trigger >= min(self.due_prices)

    def queue(self, side: int) -> list[Order]:
        """Resting orders of a side: best price first, first come first at a price."""
        sign = -1 if side == BUY else 1
        orders = [o for o in self.resting if o.side == side]
        return sorted(orders, key=lambda order: sign * order.price)

    def best(self, side: int, unpegged: bool = False) -> int | None:
        """The best price of a side, or the best of orders that are not pegged."""
        prices = [
            o.price for o in self.resting if o.side == side and not (unpegged and o.kind == PEGGED)
        ]
        if not prices:
            return None
        return max(prices) if side == BUY else min(prices)


@dataclass(eq=False)
class Order:
    """An order; its fee is worked out from all its fills each time it is asked for.

    `price` is its limit and where it rests; a pegged order's limit is `limit`.
    """

    key: int
    owner: int
    market: Market
    side: int
    kind: int
    tif: int
    price: int
    size: int
    client_id: int
    post_only: bool
    maker_ppm: int
    taker_ppm: int
    stp: int = 0
    display: int = 0
    trigger: int = 0
    # The trigger that its reservation is for: a trailing buy's goes down, what it holds does not.
    held_trigger: int = 0
    trail: int = 0
    # A trailing stop that was triggered keeps the trigger at which it was.
    stuck: bool = False
    # How far from its trigger a stop may trade.
    band: int = 0
    peg: int = 0
    offset: int = 0
    limit: int = 0
    ends_ns: float = float("inf")
    partner: Order | None = None
    filled: int = 0
    # What an iceberg has left to show of its present part.
    part: int = 0
    # Whether it can only be a maker from now on.
    made: bool = False
    # Self-trade prevention ended it.
    prevented: bool = False
    # Notional and rate of each fill so far.
    charges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Open lots."""
        return self.size - self.filled

    @property
    def shown(self) -> int:
        return min(self.part, self.left) if self.display else self.left

    @property
    def is_stop(self) -> bool:
        return self.kind in STOPS

    @property
    def other_side(self) -> int:
        return SELL if self.side == BUY else BUY

    @property
    def is_due(self) -> bool:
        """Whether it is a stop that was triggered and has not run."""
        trails = self.kind == TRAILING and not self.stuck
        return self.is_stop and not trails and self.market.is_due(self.side, self.trigger)

    def crosses(self, price: int) -> bool:
        """Whether it trades at this price of the other side; a price of zero is any."""
        if not self.price:
            return True
        return price <= self.price if self.side == BUY else price >= self.price

    def fee(self, *more: tuple[int, int]) -> int:
        """The fee of all fills, and of some more, rounded up once."""
        return -(-sum(n * rate for n, rate in [*self.charges, *more]) // MILLION)

    def cost(self, lots: int, price: int) -> int:
        """Quote atoms of so many lots at a price."""
        return int(lots * price * self.market.spec["quote_atoms_per_tick_lot"])

    def worst_price(self) -> int:
        """The highest price a buy may pay."""
        if self.kind in (STOP, TRAILING):
            return self.market.banded(self.side, self.held_trigger, self.band)
        return self.limit if self.kind == PEGGED else self.price

    def needs(self, notional: int, rate: int) -> int:
        """What its open lots may still cost, a buy's for this notional at this rate."""
        if self.side == SELL:
            return int(self.left * self.market.spec["base_atoms_per_lot"])
        return notional + self.fee((notional, rate)) - self.fee()

    def worst(self, notional: int | None = None) -> int:
        """What it may cost before it has met the book: the higher rate counts."""
        if notional is None:
            notional = self.cost(self.left, self.worst_price())
        return self.needs(notional, max(self.maker_ppm, self.taker_ppm))

    def reserve(self) -> int:
        """What it may still cost, as if it were alone."""
        if not self.made:
            return self.worst()
        return self.needs(self.cost(self.left, self.worst_price()), self.maker_ppm)

    def holds(self) -> int:
        """What it holds; of a pair the stop holds what the limit does not."""
        if self.is_stop and self.partner:
            return max(0, self.reserve() - self.partner.reserve())
        return self.reserve()

    def asset(self) -> str:
        """What it reserves."""
        side = "quote" if self.side == BUY else "base"
        return str(self.market.spec[f"{side}_asset_id"])

    def result(self, status: str, fills: tuple[Fill, ...] = ()) -> Result:
        return Result(self.key, self.client_id, status, self.filled, self.left, fills, "NONE", "")

    def open_result(self, fills: tuple[Fill, ...] = ()) -> Result:
        """The result of an order that stays open."""
        if self in self.market.parked:
            return self.result("PARKED", fills)
        return self.result("PARTIALLY_FILLED" if self.filled else "OPEN", fills)
