"""What a caller says: enums and actions. What the exchange answers are the generated messages.

Enums are IntEnums with the contract's numbers, so they compare equal to the messages' fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias, cast

from dex.admin.v1 import admin_pb2
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk.times import timestamp_of


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


class LedgerEntryKind(WireEnum):
    """Why money moved."""

    DEPOSIT = 1
    WITHDRAWAL = 2
    TRANSFER = 3
    TRADE = 4
    FEE = 5


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A new order. `price_ticks` is zero for a market order, `client_order_id` zero for none."""

    market: str
    side: Side
    quantity_lots: int
    price_ticks: int = 0
    type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    client_order_id: int = 0

    def message(self) -> wire.NewOrder:
        """The order as the contract says it."""
        return wire.NewOrder(
            market_id=self.market,
            side=cast("wire.Side.ValueType", self.side),
            type=cast("wire.OrderType.ValueType", self.type),
            time_in_force=cast("wire.TimeInForce.ValueType", self.time_in_force),
            price_ticks=self.price_ticks,
            quantity_lots=self.quantity_lots,
            post_only=self.post_only,
            client_order_id=self.client_order_id,
        )


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
    """Changes one open order. `quantity_lots` is the new total, what is filled included."""

    quantity_lots: int
    price_ticks: int = 0
    order_id: str = ""
    client_order_id: int = 0


@dataclass(frozen=True, slots=True)
class CancelAll:
    """Cancels every open order of the account, or those in one market."""

    market: str | None = None


BatchAction: TypeAlias = Place | NewOrder | Cancel | Amend
Action: TypeAlias = BatchAction | CancelAll


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
