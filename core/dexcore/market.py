"""A market: its assets, units, limits, fees and status."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, final

from dexcore.book import Book
from dexcore.ledger import Asset, Cell
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
        "maker_fee_ppm",
        "may_be_crossed",
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
        self.is_external = spec.kind == MarketKind.EXTERNAL
        self.base = base
        self.quote = quote
        self.fee_cell = fees
        self.maker_fee_ppm = spec.maker_fee_ppm
        self.taker_fee_ppm = spec.taker_fee_ppm
        self.status = MarketStatus.OPEN
        self.book = Book()
        # While orders are collected for a call auction, and until it is held.
        self.may_be_crossed = False
        self.trade_sequence = 0
        self.last_external_id = 0
        # Of the last trade of this market's own orders; zero before the first.
        self.last_price_ticks = 0
        self.watermark_ns = 0
        # What waits for something else to happen here; None while nothing ever did.
        self.waiting: Waiting | None = None

    def check_price(self, price_ticks: int) -> None:
        """Refuse a limit price outside the range or off the increment."""
        spec = self.spec
        if not 0 < price_ticks <= spec.price_ticks_max:
            raise Refused(Reason.PRICE_OUT_OF_RANGE, "price_ticks")
        if price_ticks % spec.price_increment_ticks:
            raise Refused(Reason.PRICE_OFF_TICK, "price_ticks")

    def check_quantity(self, quantity_lots: int) -> None:
        """Refuse a size outside the range or off the increment."""
        spec = self.spec
        if not 0 < quantity_lots <= spec.quantity_lots_max:
            raise Refused(Reason.QUANTITY_OUT_OF_RANGE, "quantity_lots")
        if quantity_lots % spec.quantity_increment_lots:
            raise Refused(Reason.QUANTITY_OFF_LOT, "quantity_lots")
