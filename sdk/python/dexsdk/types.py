"""What a caller says: enums and actions. What the exchange answers are the generated messages.

Enums are IntEnums with the contract's numbers, so they compare equal to the messages' fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import TypeAlias, cast

from dex.admin.v1 import admin_pb2
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk.times import optional_timestamp, timestamp_of


class WireEnum(IntEnum):
    """An enum of the contract."""

    # int's own, said again: a type checker then allows a comparison with a message's field.
    __eq__ = int.__eq__
    __hash__ = int.__hash__


class Side(WireEnum):
    """Which side of the book. FIX tag 54."""

    BUY = 1
    SELL = 2


class OrderType(WireEnum):
    """How the price limits the order. FIX tag 40."""

    LIMIT = 1
    MARKET = 2
    STOP = 3
    STOP_LIMIT = 4
    TRAILING_STOP = 5
    PEGGED = 6


class TimeInForce(WireEnum):
    """How long the order lives. FIX tag 59."""

    GTC = 1
    IOC = 2
    FOK = 3
    DAY = 4
    GTD = 5
    AT_OPEN = 6
    AT_CLOSE = 7


class OrderStatus(WireEnum):
    """State of an order after a command."""

    OPEN = 1
    PARTIALLY_FILLED = 2
    FILLED = 3
    CANCELLED = 4
    EXPIRED = 5
    REJECTED = 6
    PARKED = 7


class PegReference(WireEnum):
    """What the price of a pegged order follows. FIX tag 1094."""

    PRIMARY = 1
    MARKET = 2
    MIDPOINT = 3


class SelfTradePrevention(WireEnum):
    """What happens instead of a trade between two orders of one owner. FIX tag 2964."""

    CANCEL_NEWEST = 1
    CANCEL_OLDEST = 2
    CANCEL_BOTH = 3
    DECREMENT = 4


class MarketStatus(WireEnum):
    """What a market lets its users do."""

    OPEN = 1
    CANCEL_ONLY = 2
    HALTED = 3
    OPENING_AUCTION = 4
    CLOSING_AUCTION = 5
    CLOSED = 6


class MarketKind(WireEnum):
    """Where a market's trades come from."""

    ORDER_BOOK = 1
    EXTERNAL = 2


class Interval(WireEnum):
    """Length of a K-line window."""

    S1 = 1
    M1 = 2
    M5 = 3
    H1 = 4
    D1 = 5


class KeyScope(WireEnum):
    """What a key may do."""

    READ = 1
    TRADE = 2
    TRANSFER = 3
    MANAGE_KEYS = 4


class PoolKind(WireEnum):
    """By which formula a pool trades."""

    CONSTANT_PRODUCT = 1
    CONCENTRATED = 2


class SwapExact(WireEnum):
    """Which amount of a swap with a pool is given: what goes in, or what comes out."""

    IN = 1
    OUT = 2


class SwapSource(WireEnum):
    """Who trades a swap: an order on book and pool, or a maker's quote."""

    ORDER = 1
    QUOTE = 2


class LedgerEntryKind(WireEnum):
    """Why money moved."""

    DEPOSIT = 1
    WITHDRAWAL = 2
    TRANSFER = 3
    TRADE = 4
    FEE = 5
    LIQUIDITY = 6
    POOL_SWAP = 7


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A new order. What is left out is said by the rest: see `kind` and `life`.

    docs/reference/order-semantics.md says what everything means; `pair_of` makes two orders of
    which one cancels the other.
    """

    market: str
    side: Side
    quantity_lots: int
    price_ticks: int = 0
    """Limit price; zero for a market order, a stop and a trailing stop."""
    type: OrderType | None = None
    time_in_force: TimeInForce | None = None
    post_only: bool = False
    """Refused rather than take. FIX 18=6."""
    client_order_id: int = 0
    """Your own number for the order; zero for none. FIX tag 11."""
    slide: bool = False
    """Post-only, but priced one increment outside the best opposite price rather than refused."""
    trigger_price_ticks: int = 0
    """Of a stop: the trade price that triggers it, or one beyond. FIX tag 1102."""
    trail_ticks: int = 0
    """Of a trailing stop: how far its trigger stays behind the best price traded."""
    display_lots: int = 0
    """Of an iceberg: lots the book shows at a time; zero shows all. FIX tag 1138."""
    min_lots: int = 0
    """Refused unless so many lots can be taken at once. FIX tag 110."""
    peg: PegReference | None = None
    """What the price follows, never beyond `price_ticks`. FIX tag 1094."""
    peg_offset_ticks: int = 0
    """Added to what it follows: at most zero to buy, at least zero to sell. FIX tag 211."""
    expire_time: int | datetime | None = None
    """When it ends: nanoseconds since the epoch or a datetime with a zone. FIX tag 126."""
    self_trade_prevention: SelfTradePrevention | None = None
    """What happens instead of a trade with the same owner. FIX tag 2964."""
    oco: bool = False
    """In a batch, with the order right before it: one cancels the other."""

    @property
    def kind(self) -> OrderType:
        """`type`, or what the fields make it: a pegged order with `peg`, a trailing stop with
        `trail_ticks`, a stop with `trigger_price_ticks` (a stop limit with a price too), else a
        limit order. A market order is never guessed."""
        if self.type is not None:
            return self.type
        if self.peg is not None:
            return OrderType.PEGGED
        if self.trail_ticks:
            return OrderType.TRAILING_STOP
        if self.trigger_price_ticks:
            return OrderType.STOP_LIMIT if self.price_ticks else OrderType.STOP
        return OrderType.LIMIT

    @property
    def life(self) -> TimeInForce:
        """`time_in_force`, or else GTD with `expire_time`, IOC for a market order, GTC."""
        if self.time_in_force is not None:
            return self.time_in_force
        if self.expire_time is not None:
            return TimeInForce.GTD
        return TimeInForce.IOC if self.type == OrderType.MARKET else TimeInForce.GTC

    def message(self) -> wire.NewOrder:
        """The order as the contract says it."""
        return wire.NewOrder(
            market_id=self.market,
            side=cast("wire.Side.ValueType", self.side),
            type=cast("wire.OrderType.ValueType", self.kind),
            time_in_force=cast("wire.TimeInForce.ValueType", self.life),
            price_ticks=self.price_ticks,
            quantity_lots=self.quantity_lots,
            post_only=self.post_only or self.slide,
            client_order_id=self.client_order_id,
            terms=self._terms(),
        )

    def _terms(self) -> wire.OrderTerms | None:
        """None for a plain order: the node looks no further then."""
        terms = wire.OrderTerms(
            trigger_price_ticks=self.trigger_price_ticks,
            trail_ticks=self.trail_ticks,
            display_lots=self.display_lots,
            min_lots=self.min_lots,
            peg=cast("wire.PegReference.ValueType", self.peg or 0),
            peg_offset_ticks=self.peg_offset_ticks,
            expire_time=optional_timestamp(self.expire_time),
            self_trade_prevention=cast(
                "wire.SelfTradePrevention.ValueType", self.self_trade_prevention or 0
            ),
            slide=self.slide,
            oco=self.oco,
        )
        return terms if terms.ByteSize() else None


def pair_of(limit: NewOrder, stop: NewOrder) -> list[NewOrder]:
    """Two items of a batch of which one cancels the other: `submit_batch([*pair_of(a, b)])`.

    One is a limit order that rests, the other a stop, stop limit or trailing stop, of the same
    market, side and quantity.
    """
    return [limit, replace(stop, oco=True)]


@dataclass(frozen=True, slots=True)
class Place:
    """Places an order."""

    order: NewOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancels one open order, named by either id."""

    order_id: str = ""
    client_order_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Amend:
    """Changes one open order. `quantity_lots` is the new total, what is filled included.

    A zero price or trigger keeps it; only a stop that still waits has a trigger.
    """

    quantity_lots: int
    price_ticks: int = 0
    trigger_price_ticks: int = 0
    order_id: str = ""
    client_order_id: int = 0


@dataclass(frozen=True, slots=True)
class CancelAll:
    """Cancels every open order of the account, or those in one market, or of one side."""

    market: str | None = None
    side: Side | None = None


@dataclass(frozen=True, slots=True)
class DeadMansSwitch:
    """Cancels every open order of the account unless it is set anew within `timeout_ns`: 1 second
    to 24 hours; zero disarms."""

    timeout_ns: int


@dataclass(frozen=True, slots=True)
class Phased:
    """A batch that is applied in phases: cancels, amends, post-only orders, all other orders."""

    actions: Sequence[BatchAction]


BatchAction: TypeAlias = Place | NewOrder | Cancel | Amend
Action: TypeAlias = BatchAction | CancelAll | DeadMansSwitch | Phased


@dataclass(frozen=True, slots=True)
class ExternalTrade:
    """A trade recorded elsewhere; `external_id` ascends within the market."""

    external_id: int
    time_ns: int
    price_ticks: int
    quantity_lots: int
    taker_side: Side

    def message(self) -> admin_pb2.ExternalTrade:
        """The trade as the contract says it."""
        return admin_pb2.ExternalTrade(
            external_id=self.external_id,
            time=timestamp_of(self.time_ns),
            price_ticks=self.price_ticks,
            quantity_lots=self.quantity_lots,
            taker_side=cast("wire.Side.ValueType", self.taker_side),
        )
