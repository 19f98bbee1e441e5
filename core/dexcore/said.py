"""What only some orders say: whether it makes sense, alone, together and in the market's phase.

Orders of release 0.1.0 say none of it and never come here. The order in which things are refused is
part of docs/reference/order-semantics.md.
"""

from __future__ import annotations

from typing import Final

from dexcore.accounts import Account
from dexcore.book import BUY, Order
from dexcore.items import (
    AT_CLOSE,
    AT_OPEN,
    DAY,
    FOK,
    GTC,
    GTD,
    HAS_TERMS,
    IOC,
    OCO,
    PEG_MIDPOINT,
    PEG_PRIMARY,
    POST_ONLY,
    SLIDE,
    STP_DECREMENT,
    TYPE_LIMIT,
    TYPE_MARKET,
    TYPE_PEGGED,
    TYPE_STOP,
    TYPE_STOP_LIMIT,
    TYPE_TRAILING_STOP,
    Item,
    Terms,
)
from dexcore.limits import ICEBERG_PARTS_MAX
from dexcore.market import Market, MarketStatus
from dexcore.reasons import Reason, Refused

_FLAGS: Final = POST_ONLY | SLIDE | HAS_TERMS | OCO
LASTING: Final = (GTC, DAY, GTD)
_BOOK: Final = (TYPE_LIMIT, TYPE_MARKET)
_STOPS: Final = (TYPE_STOP, TYPE_STOP_LIMIT, TYPE_TRAILING_STOP)


def check_said(
    market: Market, account: Account, item: Item, order_key: int, said: Terms, time_ns: int
) -> None:
    """Refuse flags, terms and times in force that make no sense.

    Raises:
        Refused: FIELD_INVALID, TIME_IN_FORCE_INVALID or OCO_BROKEN.
    """
    flags, order_type = item[4], item[2]
    if flags & ~_FLAGS:
        raise Refused(Reason.FIELD_INVALID, "terms")
    if flags & SLIDE and not flags & POST_ONLY:
        raise Refused(Reason.FIELD_INVALID, "slide")
    if flags & POST_ONLY and order_type not in _BOOK:
        raise Refused(Reason.FIELD_INVALID, "post_only")
    _check_fields(market, item, said, time_ns)
    _check_times(market, item, said)
    if flags & OCO and pair_of(account, item, order_key) is None:
        raise Refused(Reason.OCO_BROKEN, "oco")


def _check_fields(market: Market, item: Item, said: Terms, time_ns: int) -> None:
    """A field for which the order has no use must be zero, the others must make sense."""
    _, _, order_type, tif, flags, _, _, quantity_lots, _, _ = item
    display_lots, min_lots, trigger, trail, offset, expire_time_ns, stp, peg = said
    for value, used, field in (
        (display_lots, order_type == TYPE_LIMIT, "display_lots"),
        (min_lots, order_type in _BOOK, "min_lots"),
        (trigger, order_type in (TYPE_STOP, TYPE_STOP_LIMIT), "trigger_price_ticks"),
        (trail, order_type == TYPE_TRAILING_STOP, "trail_ticks"),
        (offset, order_type == TYPE_PEGGED, "peg_offset_ticks"),
        (expire_time_ns, tif == GTD, "expire_time"),
        (peg, order_type == TYPE_PEGGED, "peg"),
    ):
        if value and not used:
            raise Refused(Reason.FIELD_INVALID, field)
    if display_lots and (
        not 0 < display_lots <= quantity_lots
        or display_lots % market.spec.quantity_increment_lots
        or quantity_lots > display_lots * ICEBERG_PARTS_MAX
    ):
        raise Refused(Reason.FIELD_INVALID, "display_lots")
    if min_lots and (not 0 < min_lots <= quantity_lots or tif == FOK or flags & POST_ONLY):
        raise Refused(Reason.FIELD_INVALID, "min_lots")
    if stp > STP_DECREMENT:
        raise Refused(Reason.FIELD_INVALID, "self_trade_prevention")
    if order_type == TYPE_PEGGED and not PEG_PRIMARY <= peg <= PEG_MIDPOINT:
        raise Refused(Reason.FIELD_INVALID, "peg")
    if tif == GTD and expire_time_ns <= time_ns:
        raise Refused(Reason.FIELD_INVALID, "expire_time")


def _check_times(market: Market, item: Item, said: Terms) -> None:
    """Which time in force goes with which type, in which phase."""
    _, _, order_type, tif, flags, _, _, _, _, _ = item
    status = market.status
    in_book = order_type in _BOOK
    if (
        (tif in (AT_OPEN, AT_CLOSE) and not in_book)
        or (tif in (IOC, FOK) and not in_book and order_type != TYPE_STOP_LIMIT)
        or (said[0] and tif not in LASTING)
        or (tif == AT_OPEN and status != MarketStatus.OPENING_AUCTION)
        or (tif == AT_CLOSE and status not in (MarketStatus.OPEN, MarketStatus.CLOSING_AUCTION))
        or (market.is_call and tif in (IOC, FOK) and in_book)
    ):
        raise Refused(Reason.TIME_IN_FORCE_INVALID, "time_in_force")
    if market.is_call and flags & POST_ONLY:
        raise Refused(Reason.TIME_IN_FORCE_INVALID, "post_only")
    if market.is_call and order_type == TYPE_PEGGED:
        raise Refused(Reason.TIME_IN_FORCE_INVALID, "type")


def check_waiting_prices(market: Market, item: Item, said: Terms) -> None:
    """Range and increment of what stops and pegged orders say about prices.

    Raises:
        Refused: PRICE_OUT_OF_RANGE, PRICE_OFF_TICK or FIELD_INVALID.
    """
    _, side, order_type, _, _, _, price_ticks, _, _, _ = item
    _, _, trigger, trail, offset, _, _, _ = said
    if order_type in (TYPE_STOP_LIMIT, TYPE_PEGGED):
        market.check_price(price_ticks)
    elif price_ticks:
        raise Refused(Reason.FIELD_INVALID, "price_ticks")
    if order_type in (TYPE_STOP, TYPE_STOP_LIMIT):
        market.check_price(trigger, "trigger_price_ticks")
    elif order_type == TYPE_TRAILING_STOP:
        market.check_price(trail, "trail_ticks")
    else:
        away = -offset if side == BUY else offset
        if away < 0:
            raise Refused(Reason.FIELD_INVALID, "peg_offset_ticks")
        if away > market.spec.price_ticks_max:
            raise Refused(Reason.PRICE_OUT_OF_RANGE, "peg_offset_ticks")
        if away % market.spec.price_increment_ticks:
            raise Refused(Reason.PRICE_OFF_TICK, "peg_offset_ticks")


def pair_of(account: Account, item: Item, order_key: int) -> Order | None:
    """The limit order of the item before this one, if this item is the stop for it.

    It must rest whole, in the same market and on the same side, with the same quantity.
    """
    _, side, order_type, _, _, market_index, _, quantity_lots, _, _ = item
    limit = account.open_orders.get(order_key - 1)
    if (
        limit is None
        or order_type not in _STOPS
        or limit.level is None
        or limit.filled_lots
        or (limit.side, limit.market_index, limit.open_lots) != (side, market_index, quantity_lots)
    ):
        return None
    terms = limit.terms
    if terms is not None and (terms.other is not None or terms.order_type != TYPE_LIMIT):
        return None
    return limit
