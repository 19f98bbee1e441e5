"""A market: its assets, units, limits, fees and status."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, final

from dexcore.book import BUY, Book
from dexcore.ledger import Asset, Cell
from dexcore.limits import PPM
from dexcore.pool import Pool
from dexcore.reasons import Reason, Refused
from dexcore.waiting import Waiting


class MarketStatus(IntEnum):
    """What a market lets its users do; numbers of ``dex.matching.v1.MarketStatus``."""

    OPEN = 1
    CANCEL_ONLY = 2
    HALTED = 3
    OPENING_AUCTION = 4
    CLOSING_AUCTION = 5
    CLOSED = 6


class MarketKind(IntEnum):
    """Where trades come from; numbers of ``dex.matching.v1.MarketKind``."""

    ORDER_BOOK = 1
    EXTERNAL = 2


class MarketSpec(NamedTuple):
    """The parameters a market is created with; they never change but for the fees."""

    market_id: str
    base_asset_id: str
    base_scale: int
    quote_asset_id: str
    quote_scale: int
    quote_atoms_per_tick_lot: int
    base_atoms_per_lot: int
    price_increment_ticks: int
    quantity_increment_lots: int
    price_ticks_max: int
    quantity_lots_max: int
    maker_fee_ppm: int
    taker_fee_ppm: int
    kind: int


class MarketLimits(NamedTuple):
    """What an operator may bound besides; zero is no bound.

    A market order and a triggered stop trade at most ``protection_ticks`` away from where they
    begin, a limit price is at most ``price_band_ppm`` away from the last price, and limit price
    times quantity is between the two notionals.
    """

    protection_ticks: int
    price_band_ppm: int
    notional_min_atoms: int
    notional_max_atoms: int


NO_LIMITS: Final = MarketLimits(0, 0, 0, 0)


@final
class Market:
    """One market of the shard."""

    __slots__ = (
        "base",
        "base_atoms_per_lot",
        "book",
        "fee_cell",
        "index",
        "is_external",
        "last_external_id",
        "last_price_ticks",
        "limits",
        "maker_fee_ppm",
        "may_be_crossed",
        "pool",
        "price_increment_ticks",
        "price_ticks_max",
        "quantity_increment_lots",
        "quantity_lots_max",
        "quote",
        "quote_atoms_per_tick_lot",
        "spec",
        "status",
        "taker_fee_ppm",
        "trade_sequence",
        "waiting",
        "watermark_ns",
    )

    def __init__(self, index: int, spec: MarketSpec, base: Asset, quote: Asset, fees: Cell) -> None:
        self.index = index
        self.spec = spec
        # Also here: every order and fill reads them.
        self.base_atoms_per_lot = spec.base_atoms_per_lot
        self.quote_atoms_per_tick_lot = spec.quote_atoms_per_tick_lot
        self.price_increment_ticks = spec.price_increment_ticks
        self.price_ticks_max = spec.price_ticks_max
        self.quantity_increment_lots = spec.quantity_increment_lots
        self.quantity_lots_max = spec.quantity_lots_max
        self.is_external = spec.kind == MarketKind.EXTERNAL
        self.base = base
        self.quote = quote
        self.fee_cell = fees
        self.maker_fee_ppm = spec.maker_fee_ppm
        self.taker_fee_ppm = spec.taker_fee_ppm
        self.status = MarketStatus.OPEN
        self.book = Book(index)
        # While orders are collected for a call auction, and until it is held.
        self.may_be_crossed = False
        self.limits = NO_LIMITS
        self.trade_sequence = 0
        self.last_external_id = 0
        # Of the last trade of this market's own orders; zero before the first.
        self.last_price_ticks = 0
        self.watermark_ns = 0
        # Trades beside the book; None without one.
        self.pool: Pool | None = None
        # What waits for something else to happen here; None while nothing ever did.
        self.waiting: Waiting | None = None

    @property
    def is_call(self) -> bool:
        """Whether it collects orders for an auction."""
        return self.status in (MarketStatus.OPENING_AUCTION, MarketStatus.CLOSING_AUCTION)

    def waiting_orders(self) -> Waiting:
        """What waits here, from the first time that something does."""
        waiting = self.waiting
        if waiting is None:
            waiting = self.waiting = Waiting()
        return waiting

    def banded(self, side: int, from_ticks: int, band_ticks: int) -> int:
        """The worst price of an order that may trade ``band_ticks`` from where it starts.

        A valid price; one off the increment is rounded toward where it starts.
        """
        increment = self.spec.price_increment_ticks
        if side == BUY:
            highest = min(from_ticks + band_ticks, self.spec.price_ticks_max)
            return highest // increment * increment
        return max(-(-(from_ticks - band_ticks) // increment) * increment, increment)

    def check_price(self, price_ticks: int, field: str = "price_ticks") -> None:
        """Refuse a price outside the range or off the increment."""
        if not 0 < price_ticks <= self.price_ticks_max:
            raise Refused(Reason.PRICE_OUT_OF_RANGE, field)
        if price_ticks % self.price_increment_ticks:
            raise Refused(Reason.PRICE_OFF_TICK, field)

    def check_quantity(self, quantity_lots: int) -> None:
        """Refuse a size outside the range or off the increment."""
        if not 0 < quantity_lots <= self.quantity_lots_max:
            raise Refused(Reason.QUANTITY_OUT_OF_RANGE, "quantity_lots")
        if quantity_lots % self.quantity_increment_lots:
            raise Refused(Reason.QUANTITY_OFF_LOT, "quantity_lots")

    def check_limits(self, price_ticks: int, quantity_lots: int, *, moves: bool = True) -> None:
        """Refuse a limit price and size outside what the operator set.

        A price that stays may be far from the last one by now.
        """
        _, band_ppm, notional_min_atoms, notional_max_atoms = self.limits
        notional_atoms = price_ticks * quantity_lots * self.quote_atoms_per_tick_lot
        if notional_atoms < notional_min_atoms or 0 < notional_max_atoms < notional_atoms:
            raise Refused(Reason.NOTIONAL_OUT_OF_RANGE, "quantity_lots")
        last_ticks = self.last_price_ticks
        if moves and band_ppm and last_ticks:
            away_ticks = abs(price_ticks - last_ticks)
            if away_ticks * PPM > last_ticks * band_ppm:
                raise Refused(Reason.PRICE_OUT_OF_BAND, "price_ticks")
