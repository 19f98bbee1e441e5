"""Events: what a command did, in order, and their canonical bytes.

Every event is a flat tuple of integers, texts and bytes, so its encoding
(:mod:`dexcore.codec`, or a fixed struct where all values are integers) is
canonical and the running hash over all events pins the exchange's history.

What happens by the million (accepted, refused, traded, closed, a level's size) is logged as a bare
row: the event's number, then its values. Names cost as much again as the row, and most of these
events are hashed, shown or counted by their place; :func:`named` gives the names to who wants them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple, cast

from dexcore.codec import encode_values
from dexcore.quote_events import (
    BlockTraded,
    QuoteClosed,
    QuoteEvent,
    QuoteGiven,
    QuoteMakerNamed,
    QuoteRequestClosed,
    QuoteRequested,
)


class OrderAccepted(NamedTuple):
    """An order reserved its worst case and enters the book's rules."""

    order_key: int
    account_key: int
    market_index: int
    side: int
    price_ticks: int
    quantity_lots: int
    client_order_id: int


class ItemRefused(NamedTuple):
    """An item of a signed command was refused; ``reason`` is a Reason."""

    account_key: int
    item_index: int
    reason: int


class Trade(NamedTuple):
    """Two orders traded; fees are in atoms of the quote asset."""

    market_index: int
    trade_sequence: int
    price_ticks: int
    quantity_lots: int
    taker_side: int
    maker_order_key: int
    taker_order_key: int
    maker_account_key: int
    taker_account_key: int
    maker_fee_atoms: int
    taker_fee_atoms: int


class OrderClosed(NamedTuple):
    """An order left the exchange; ``status`` is an OrderStatus."""

    order_key: int
    account_key: int
    market_index: int
    status: int
    filled_lots: int
    remaining_lots: int


class OrderAmended(NamedTuple):
    """An open order changed; ``kept_priority`` is 0 or 1."""

    order_key: int
    account_key: int
    market_index: int
    price_ticks: int
    quantity_lots: int
    kept_priority: int


class OrderParked(NamedTuple):
    """An accepted order waits outside the book: a stop for its trigger, or an at-the-close order
    (trigger zero) for its auction; again when an amend changed the trigger."""

    order_key: int
    account_key: int
    market_index: int
    trigger_price_ticks: int


class OrderTriggered(NamedTuple):
    """A parked order's trigger was reached, or its auction began (trigger zero): it is a limit
    order at ``price_ticks`` now, and its fills follow."""

    order_key: int
    account_key: int
    market_index: int
    trigger_price_ticks: int
    price_ticks: int


class AuctionUncrossed(NamedTuple):
    """A call auction found its price; its trades follow.

    ``surplus_lots`` is bid lots at the price or above less ask lots at it or below.
    """

    market_index: int
    price_ticks: int
    quantity_lots: int
    surplus_lots: int


class LevelChanged(NamedTuple):
    """Size of a price level after the command; zero when the level is gone."""

    market_index: int
    side: int
    price_ticks: int
    quantity_lots: int


class CommandRefused(NamedTuple):
    """A command was refused as a whole; ``reason`` is a Reason."""

    account_key: int
    reason: int


class ExternalTrade(NamedTuple):
    """A trade recorded elsewhere entered the market's record."""

    market_index: int
    trade_sequence: int
    external_id: int
    time_ns: int
    price_ticks: int
    quantity_lots: int
    taker_side: int


class WatermarkMoved(NamedTuple):
    """No external trade before this time will follow."""

    market_index: int
    watermark_ns: int


class MarketStatusChanged(NamedTuple):
    """A market's status was set."""

    market_index: int
    status: int


class FeesChanged(NamedTuple):
    """A market's fees were set."""

    market_index: int
    maker_fee_ppm: int
    taker_fee_ppm: int


class TermsAccepted(NamedTuple):
    """What an accepted order says beyond what every order says; flags and terms are its item's."""

    order_key: int
    account_key: int
    market_index: int
    order_type: int
    time_in_force: int
    flags: int
    display_lots: int
    min_lots: int
    trigger_price_ticks: int
    trail_ticks: int
    peg_offset_ticks: int
    expire_time_ns: int
    stp: int
    peg: int


class OrderRepriced(NamedTuple):
    """The exchange gave an order another price than it came with or had; zero: it waits for one."""

    order_key: int
    account_key: int
    market_index: int
    price_ticks: int


class SelfTradePrevented(NamedTuple):
    """Two orders of one owner did not trade; lots are what each lost by the taker's mode."""

    market_index: int
    taker_order_key: int
    maker_order_key: int
    taker_account_key: int
    maker_account_key: int
    stp: int
    taker_lots: int
    maker_lots: int


class MarketLimitsChanged(NamedTuple):
    """A market's limits were set."""

    market_index: int
    protection_ticks: int
    price_band_ppm: int
    notional_min_atoms: int
    notional_max_atoms: int


class StpGroupChanged(NamedTuple):
    """An account was put into a group for self-trade prevention, or taken out of it."""

    account_key: int
    stp_group: int


class MassCancelled(NamedTuple):
    """So many orders were cancelled at once; zero, NO_MARKET and zero name all."""

    account_key: int
    market_index: int
    side: int
    cause: int
    orders_count: int


class DeadMansSwitchSet(NamedTuple):
    """An account's dead man's switch cancels at the deadline, unless set again; zero is never."""

    account_key: int
    deadline_ns: int


class Ticked(NamedTuple):
    """The clock moved; windows that end by ``time_ns`` close."""

    time_ns: int


class MarketCreated(NamedTuple):
    """A market was opened."""

    market_index: int
    market_id: str


class AccountOpened(NamedTuple):
    """An account was opened."""

    account_key: int


class KeyRegistered(NamedTuple):
    """An account got a key."""

    account_key: int
    public_key: bytes


class EpochBegan(NamedTuple):
    """The history before this is a backup's: trades and feeds go on from ``first_sequence``."""

    epoch: int
    first_sequence: int


class Deposited(NamedTuple):
    """Money came in."""

    account_key: int
    asset_index: int
    amount_atoms: int
    reference: str


class Withdrawn(NamedTuple):
    """Money went out."""

    account_key: int
    asset_index: int
    amount_atoms: int
    reference: str


class Transferred(NamedTuple):
    """Money moved between two accounts."""

    from_account_key: int
    to_account_key: int
    asset_index: int
    amount_atoms: int


class KeyLimited(NamedTuple):
    """A key was registered with less than everything, or with a label."""

    account_key: int
    public_key: bytes
    scopes: int
    expire_time_ns: int
    label: str


class KeyRevoked(NamedTuple):
    """A key of an account ended."""

    account_key: int
    public_key: bytes


class OperationRecorded(NamedTuple):
    """An operator asked for something that changes nothing here."""

    operator: str
    method: str


class PoolCreated(NamedTuple):
    """A market got its pool; ``kind`` is a PoolKind."""

    market_index: int
    pool_key: int
    kind: int
    fee_ppm: int
    price_ticks: int


class LiquidityAdded(NamedTuple):
    """An account gave a pool base and quote for liquidity between two pool ticks."""

    market_index: int
    account_key: int
    lower_tick: int
    upper_tick: int
    liquidity: int
    base_atoms: int
    quote_atoms: int


class LiquidityRemoved(NamedTuple):
    """An account took liquidity back; the amounts are with its fees."""

    market_index: int
    account_key: int
    lower_tick: int
    upper_tick: int
    liquidity: int
    base_atoms: int
    quote_atoms: int


class PoolSwapped(NamedTuple):
    """An account traded with a pool alone; ``side`` is the account's."""

    market_index: int
    account_key: int
    side: int
    base_atoms: int
    quote_atoms: int


class SessionOpened(NamedTuple):
    """Orders of this key may follow under a MAC."""

    session_key: int
    account_key: int
    public_key: bytes


class SessionCountersigned(NamedTuple):
    """The session's key signed for everything up to this order."""

    session_key: int
    order_number: int


class SessionEnded(NamedTuple):
    """No order of the session is taken any more; ``reason`` is zero when its stream ended."""

    session_key: int
    reason: int


Event = (
    OrderAccepted
    | ItemRefused
    | Trade
    | OrderClosed
    | OrderAmended
    | LevelChanged
    | CommandRefused
    | ExternalTrade
    | WatermarkMoved
    | MarketStatusChanged
    | FeesChanged
    | Ticked
    | MarketCreated
    | AccountOpened
    | KeyRegistered
    | Deposited
    | Withdrawn
    | Transferred
    | OperationRecorded
    | EpochBegan
    | KeyLimited
    | KeyRevoked
    | TermsAccepted
    | OrderRepriced
    | SelfTradePrevented
    | MarketLimitsChanged
    | StpGroupChanged
    | MassCancelled
    | DeadMansSwitchSet
    | PoolCreated
    | LiquidityAdded
    | LiquidityRemoved
    | PoolSwapped
    | OrderParked
    | OrderTriggered
    | AuctionUncrossed
    | QuoteEvent
    | SessionOpened
    | SessionCountersigned
    | SessionEnded
)

# Of the events that are logged as rows.
ACCEPTED: Final = 1
REFUSED: Final = 2
TRADED: Final = 3
CLOSED: Final = 4
LEVEL: Final = 6

Logged = tuple[Any, ...]
"""An event as it is logged: a row with its number first, if it is one of those, or named."""

# Numbers are part of the hashed bytes and never change. The first are all
# integers and have a fixed layout; the others go through the general codec.
_FIXED: Final[dict[type, int]] = {
    OrderAccepted: ACCEPTED,
    ItemRefused: REFUSED,
    Trade: TRADED,
    OrderClosed: CLOSED,
    OrderAmended: 5,
    LevelChanged: LEVEL,
    CommandRefused: 7,
    ExternalTrade: 8,
    WatermarkMoved: 9,
    MarketStatusChanged: 10,
    FeesChanged: 11,
    Ticked: 12,
    TermsAccepted: 13,
    OrderRepriced: 14,
    SelfTradePrevented: 15,
    MarketLimitsChanged: 16,
    StpGroupChanged: 17,
    MassCancelled: 18,
    DeadMansSwitchSet: 19,
    PoolCreated: 33,
    LiquidityAdded: 34,
    LiquidityRemoved: 35,
    PoolSwapped: 36,
    OrderParked: 23,
    OrderTriggered: 24,
    AuctionUncrossed: 25,
    QuoteRequested: 46,
    QuoteMakerNamed: 47,
    QuoteGiven: 48,
    BlockTraded: 49,
    QuoteClosed: 50,
    QuoteRequestClosed: 51,
    SessionCountersigned: 52,
    SessionEnded: 53,
}
_GENERAL: Final[dict[type, bytes]] = {
    MarketCreated: b"\x40",
    AccountOpened: b"\x41",
    KeyRegistered: b"\x42",
    Deposited: b"\x43",
    Withdrawn: b"\x44",
    Transferred: b"\x45",
    OperationRecorded: b"\x46",
    EpochBegan: b"\x47",
    KeyLimited: b"\x48",
    KeyRevoked: b"\x49",
    SessionOpened: b"\x4a",
}


_ROWS: Final[Mapping[int, type]] = {
    number: kind
    for kind, number in _FIXED.items()
    if number in (ACCEPTED, REFUSED, TRADED, CLOSED, LEVEL)
}


def named(logged: Logged) -> Event:
    """A logged event with the names of its values."""
    if type(logged) is tuple:
        kind: Any = _ROWS[logged[0]]
        event: Event = kind._make(logged[1:])
    else:
        event = cast("Event", logged)
    return event


def _encode_general(number: bytes, *values: int | str | bytes) -> bytes:
    return number + encode_values(values)


# Called with an event's values.
_ENCODE: Final[Mapping[type, Callable[..., bytes]]] = {
    kind: partial(_encode_general, number) for kind, number in _GENERAL.items()
} | {
    kind: partial(struct.Struct(f"<B{len(kind._fields)}q").pack, number)  # type: ignore[attr-defined]
    for kind, number in _FIXED.items()
}
# Called with a row.
_ENCODE_ROW: Final[Mapping[int, Callable[..., bytes]]] = {
    number: struct.Struct(f"<B{len(kind._fields)}q").pack  # type: ignore[attr-defined]
    for number, kind in _ROWS.items()
}
_pack_position: Final = struct.Struct("<qq").pack

HASH_BYTES: Final = 32


def chain_hash(previous: bytes, sequence: int, time_ns: int, log: Iterable[Logged]) -> bytes:
    """BLAKE2b-256 (RFC 7693) over the hash before, the position and the events."""
    parts = [previous, _pack_position(sequence, time_ns)]
    for logged in log:
        if type(logged) is tuple:
            parts.append(_ENCODE_ROW[logged[0]](*logged))
        else:
            parts.append(_ENCODE[type(logged)](*logged))
    return blake2b(b"".join(parts), digest_size=HASH_BYTES).digest()
