"""What a new order must fulfil before it is taken in, in the order in which it is refused."""

from __future__ import annotations

from typing import Final

from dexcore.accounts import Account
from dexcore.book import BUY, SELL, Order
from dexcore.items import (
    AT_CLOSE,
    FOK,
    GTC,
    POST_ONLY,
    SLIDE,
    TYPE_LIMIT,
    TYPE_MARKET,
    TYPE_PEGGED,
    Item,
    Terms,
)
from dexcore.limits import OPEN_ORDERS_PER_ACCOUNT_MAX
from dexcore.market import Market, MarketStatus
from dexcore.reasons import Reason, Refused
from dexcore.said import LASTING, check_said, check_waiting_prices

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
    if market.status is not _MARKET_OPEN and not market.is_call:
        raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
    return market


def check_terms(
    market: Market, account: Account, item: Item, order_key: int, said: Terms, time_ns: int
) -> None:
    """Refuse what the order says if it makes no sense, alone or in this market."""
    _, side, order_type, tif, flags, _, price_ticks, quantity_lots, _, _ = item
    if side != BUY and side != SELL:
        raise Refused(Reason.FIELD_INVALID, "side")
    if not TYPE_LIMIT <= order_type <= TYPE_PEGGED:
        raise Refused(Reason.FIELD_INVALID, "type")
    if not GTC <= tif <= AT_CLOSE:
        raise Refused(Reason.FIELD_INVALID, "time_in_force")
    if (
        flags > POST_ONLY
        or order_type > TYPE_MARKET
        or tif > FOK
        or market.status is not _MARKET_OPEN
    ):
        check_said(market, account, item, order_key, said, time_ns)
    market.check_quantity(quantity_lots)
    if order_type == TYPE_LIMIT:
        market.check_price(price_ticks)
        if flags & POST_ONLY and tif not in LASTING:
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "post_only")
    elif order_type == TYPE_MARKET:
        if price_ticks:
            raise Refused(Reason.FIELD_INVALID, "price_ticks")
        if tif in LASTING:
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "time_in_force")
        if flags & POST_ONLY:
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "post_only")
    else:
        check_waiting_prices(market, item, said)


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
    of_book: int | None = None if best is None else best.price_ticks
    if market.pool is None or market.status is not _MARKET_OPEN:
        # A pool trades in no other phase.
        return of_book
    of_pool = market.pool.swap(side).next_price_ticks()
    if of_book is None or of_pool is None:
        return of_pool if of_book is None else of_book
    return min(of_book, of_pool) if side == BUY else max(of_book, of_pool)


def check_against_book(market: Market, order: Order, item: Item) -> None:
    """Refuse what the best price as it stands makes impossible, or price the order by it."""
    _, side, order_type, tif, flags, _, price_ticks, _, _, _ = item
    if order.post_only and crosses(market, side, price_ticks):
        if not flags & SLIDE:
            raise Refused(Reason.POST_ONLY_WOULD_TAKE, "post_only")
        _slide(market, order)
    if order_type == TYPE_MARKET and tif <= FOK:
        _protect(market, order)


def check_found(item: Item, said: Terms, lots: int) -> None:
    """Refuse what cannot do with so many lots at once."""
    if item[3] == FOK and lots < item[7]:
        raise Refused(Reason.FILL_OR_KILL_UNFILLABLE, "quantity_lots")
    if lots < said[1]:
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
        order.price_ticks = market.banded(order.side, best_ticks, band_ticks)
