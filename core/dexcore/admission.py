"""What a new order must fulfil before it is taken in, in the order in which it is refused."""

from __future__ import annotations

from typing import Final

from dexcore.accounts import Account
from dexcore.book import BUY, SELL, Order
from dexcore.items import (
    FOK,
    GTC,
    IOC,
    NO_TERMS,
    POST_ONLY,
    TYPE_LIMIT,
    TYPE_MARKET,
    Item,
    Terms,
)
from dexcore.limits import OPEN_ORDERS_PER_ACCOUNT_MAX
from dexcore.market import Market, MarketStatus
from dexcore.reasons import Reason, Refused
from dexcore.reserve import takeable

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


def check_terms(market: Market, item: Item, said: Terms) -> None:
    """Refuse what the order says if it makes no sense, alone or in this market."""
    _, side, order_type, tif, flags, _, price_ticks, quantity_lots, _, _ = item
    if side != BUY and side != SELL:
        raise Refused(Reason.FIELD_INVALID, "side")
    if order_type != TYPE_LIMIT and order_type != TYPE_MARKET:
        raise Refused(Reason.FIELD_INVALID, "type")
    if tif != GTC and tif != IOC and tif != FOK:
        raise Refused(Reason.FIELD_INVALID, "time_in_force")
    if flags > POST_ONLY or said is not NO_TERMS:
        raise Refused(Reason.FIELD_INVALID, "terms")
    market.check_quantity(quantity_lots)
    if order_type == TYPE_LIMIT:
        market.check_price(price_ticks)
        if flags and tif != GTC:
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "post_only")
    else:
        if price_ticks:
            raise Refused(Reason.FIELD_INVALID, "price_ticks")
        if tif == GTC:
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "time_in_force")
        if flags:
            raise Refused(Reason.TIME_IN_FORCE_INVALID, "post_only")


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
    best = market.book.opposite(side).best
    if best is None:
        return False
    return price_ticks >= best.price_ticks if side == BUY else price_ticks <= best.price_ticks


def check_against_book(market: Market, order: Order, order_type: int, tif: int) -> None:
    """Refuse what the book as it stands makes impossible."""
    if order.post_only and crosses(market, order.side, order.price_ticks):
        raise Refused(Reason.POST_ONLY_WOULD_TAKE, "post_only")
    if order_type == TYPE_MARKET and market.book.opposite(order.side).best is None:
        raise Refused(Reason.NO_LIQUIDITY)
    if tif == FOK:
        lots, _ = takeable(market, order, order.open_lots)
        if lots < order.open_lots:
            raise Refused(Reason.FILL_OR_KILL_UNFILLABLE, "quantity_lots")
