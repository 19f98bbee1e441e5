"""What a new order must fulfil before it is taken in, in the order in which it is refused."""

from __future__ import annotations

from typing import Final

from dexcore.accounts import Account
from dexcore.book import BUY, SELL, Order
from dexcore.items import (
    FOK,
    GTC,
    GTD,
    HAS_TERMS,
    IOC,
    POST_ONLY,
    SLIDE,
    STP_DECREMENT,
    TYPE_LIMIT,
    TYPE_MARKET,
    Item,
    Terms,
)
from dexcore.limits import OPEN_ORDERS_PER_ACCOUNT_MAX
from dexcore.market import Market, MarketStatus
from dexcore.reasons import Reason, Refused
from dexcore.reserve import takeable

_FLAGS: Final = POST_ONLY | SLIDE | HAS_TERMS
_WAITS: Final = ("trigger_price_ticks", "trail_ticks", "peg_offset_ticks")
# Looked up once: reading an enumeration's member costs more than comparing it.
_MARKET_OPEN: Final = MarketStatus.OPEN


def known_market(markets: list[Market], market_index: int) -> Market:
    """The market of this index."""
    if market_index >= len(markets):
        raise Refused(Reason.UNKNOWN_MARKET, "market_id")
    return markets[market_index]


def market_of(markets: list[Market], market_index: int) -> Market:
    """The market of a new order, if it takes any now."""
    market = known_market(markets, market_index)
    if market.is_external:
        raise Refused(Reason.MARKET_IS_EXTERNAL, "market_id")
    if market.status is not _MARKET_OPEN:
        raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
    return market


def check_terms(market: Market, item: Item, said: Terms, time_ns: int) -> None:
    """Refuse what the order says if it makes no sense, alone or in this market."""
    _, side, order_type, tif, flags, _, price_ticks, quantity_lots, _, _ = item
    if side != BUY and side != SELL:
        raise Refused(Reason.FIELD_INVALID, "side")
    if order_type != TYPE_LIMIT and order_type != TYPE_MARKET:
        raise Refused(Reason.FIELD_INVALID, "type")
    if not GTC <= tif <= GTD:
        raise Refused(Reason.FIELD_INVALID, "time_in_force")
    if flags > POST_ONLY or tif > FOK:
        _check_flags_and_terms(market, item, said, time_ns)
    market.check_quantity(quantity_lots)
    if order_type == TYPE_LIMIT:
        market.check_price(price_ticks)
        if flags & POST_ONLY and tif in (IOC, FOK):
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "post_only")
    else:
        if price_ticks:
            raise Refused(Reason.FIELD_INVALID, "price_ticks")
        if tif not in (IOC, FOK):
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "time_in_force")
        if flags & POST_ONLY:
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "post_only")


def _check_flags_and_terms(market: Market, item: Item, said: Terms, time_ns: int) -> None:
    """Refuse what does not go together of all that only some orders say."""
    _, _, order_type, tif, flags, _, _, quantity_lots, _, _ = item
    display_lots, min_lots, *waits, expire_time_ns, stp, peg = said
    if flags & ~_FLAGS:
        raise Refused(Reason.FIELD_INVALID, "terms")
    if flags & SLIDE and not flags & POST_ONLY:
        raise Refused(Reason.FIELD_INVALID, "slide")
    if display_lots:
        if order_type != TYPE_LIMIT or not 0 < display_lots <= quantity_lots:
            raise Refused(Reason.FIELD_INVALID, "display_lots")
        if display_lots % market.spec.quantity_increment_lots:
            raise Refused(Reason.FIELD_INVALID, "display_lots")
        if tif in (IOC, FOK):
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "display_lots")
    if min_lots and (not 0 < min_lots <= quantity_lots or tif == FOK or flags & POST_ONLY):
        raise Refused(Reason.FIELD_INVALID, "min_lots")
    for name, value in zip(_WAITS, waits, strict=True):
        if value:
            raise Refused(Reason.FIELD_INVALID, name)
    if (tif == GTD and expire_time_ns <= time_ns) or (tif != GTD and expire_time_ns):
        raise Refused(Reason.FIELD_INVALID, "expire_time")
    if stp > STP_DECREMENT:
        raise Refused(Reason.FIELD_INVALID, "self_trade_prevention")
    if peg:
        raise Refused(Reason.FIELD_INVALID, "peg")


def check_account(account: Account, client_id: int) -> None:
    """Refuse a client id that is in use, and one open order too many."""
    if client_id:
        if client_id < 0:
            raise Refused(Reason.FIELD_INVALID, "client_order_id")
        if client_id in account.client_orders:
            raise Refused(Reason.CLIENT_ORDER_ID_IN_USE, "client_order_id")
    if len(account.open_orders) >= OPEN_ORDERS_PER_ACCOUNT_MAX:
        raise Refused(Reason.TOO_MANY_OPEN_ORDERS)


def crosses(market: Market, side: int, price_ticks: int) -> bool:
    """Whether an order at this price would take at once."""
    best_ticks = best_opposite_ticks(market, side)
    if best_ticks is None:
        return False
    return price_ticks >= best_ticks if side == BUY else price_ticks <= best_ticks


def best_opposite_ticks(market: Market, side: int) -> int | None:
    """The best price an order of this side meets in book and pool; None if there is none."""
    best = market.book.opposite(side).best
    of_book = None if best is None else best.price_ticks
    if market.pool is None:
        return of_book
    of_pool = market.pool.swap(side).next_price_ticks()
    if of_book is None or of_pool is None:
        return of_pool if of_book is None else of_book
    return min(of_book, of_pool) if side == BUY else max(of_book, of_pool)


def check_against_book(market: Market, order: Order, item: Item, said: Terms) -> None:
    """Refuse what the book as it stands makes impossible, or price the order by it."""
    _, side, order_type, tif, flags, _, price_ticks, quantity_lots, _, _ = item
    if order.post_only and crosses(market, side, price_ticks):
        if not flags & SLIDE:
            raise Refused(Reason.POST_ONLY_WOULD_TAKE, "post_only")
        _slide(market, order)
    if order_type == TYPE_MARKET:
        _protect(market, order)
    min_lots = quantity_lots if tif == FOK else said[1]
    if min_lots:
        lots, _ = takeable(market, order, min_lots)
        if lots < min_lots:
            if tif == FOK:
                raise Refused(Reason.FILL_OR_KILL_UNFILLABLE, "quantity_lots")
            raise Refused(Reason.MIN_QUANTITY_UNFILLABLE, "min_lots")


def _slide(market: Market, order: Order) -> None:
    """Price a post-only order that would take one increment outside the best opposite price."""
    best_ticks = best_opposite_ticks(market, order.side)
    spec = market.spec
    if best_ticks is not None:
        away = -spec.price_increment_ticks if order.side == BUY else spec.price_increment_ticks
        order.price_ticks = best_ticks + away
    if not 0 < order.price_ticks <= spec.price_ticks_max:
        raise Refused(Reason.POST_ONLY_WOULD_TAKE, "post_only")


def _protect(market: Market, order: Order) -> None:
    """Limit a market order to the protection band of its market, from the best price."""
    best_ticks = best_opposite_ticks(market, order.side)
    if best_ticks is None:
        raise Refused(Reason.NO_LIQUIDITY)
    band_ticks = market.limits.protection_ticks
    if band_ticks:
        if order.side == BUY:
            order.price_ticks = best_ticks + band_ticks
        else:
            # A price of zero would be none.
            order.price_ticks = max(1, best_ticks - band_ticks)
