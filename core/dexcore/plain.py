"""The way of a plain order, in one piece.

Theory of operation: nearly every order is a limit order that says nothing but its time in force, in
an open market without pool where nothing waits. What it goes through is what
:class:`~dexcore.matching.Matcher` and :mod:`dexcore.amending` do, less every question whose answer
is known by then. Whatever is not plain is given back as None before anything changed, and goes the
long way, which alone knows how things are refused; but three refusals, which come by the thousand,
are answered here without the price of an exception. tests/unit/core/test_plain.py sends the same
commands both ways.
"""

from __future__ import annotations

from typing import Final

from dexcore.accounts import Account
from dexcore.book import BUY, SELL, Boxed, Order
from dexcore.events import ACCEPTED, CLOSED
from dexcore.invariant import InvariantError
from dexcore.items import FOK, GTC, POST_ONLY, TYPE_LIMIT, Item
from dexcore.limits import OPEN_ORDERS_PER_ACCOUNT_MAX
from dexcore.market import NO_LIMITS, Market, MarketStatus
from dexcore.matching import Matcher
from dexcore.reasons import Reason
from dexcore.reserve import takeable
from dexcore.results import Fill, OrderStatus, Result, refused_item

# Looked up once: reading an enumeration's member costs more than comparing it.
_MARKET_OPEN: Final = MarketStatus.OPEN
_HALTED: Final = MarketStatus.HALTED
_OPEN: Final = int(OrderStatus.OPEN)
_PARTIALLY_FILLED: Final = int(OrderStatus.PARTIALLY_FILLED)
_FILLED: Final = int(OrderStatus.FILLED)
_CANCELLED: Final = int(OrderStatus.CANCELLED)
_EXPIRED: Final = int(OrderStatus.EXPIRED)
_NONE: Final = int(Reason.NONE)
_WOULD_TAKE: Final = Reason.POST_ONLY_WOULD_TAKE
_UNFILLABLE: Final = Reason.FILL_OR_KILL_UNFILLABLE
_UNKNOWN_ORDER: Final = Reason.UNKNOWN_ORDER


def place(matcher: Matcher, account: Account, item: Item, order_key: Boxed) -> Result | None:
    """Take a new order in; None when it is not plain.

    Raises:
        Refused: INSUFFICIENT_FUNDS; nothing was changed.
    """
    # What is counted with as a number, what is handed on as the object that came.
    _, side, order_type, tif, flags, index, price_ticks, quantity_lots, _, _ = item
    values: tuple[Boxed, ...] = item
    client_id = values[8]
    if index >= len(matcher.markets):
        return None
    market = matcher.markets[index]
    if (
        order_type != TYPE_LIMIT
        or not GTC <= tif <= FOK
        or (flags and tif != GTC)
        or flags > POST_ONLY
        or not _takes_plain(market, side, price_ticks, quantity_lots)
        or not _may_place(account, client_id)
    ):
        return None
    takes = _takes(market, side, price_ticks)
    if flags and takes:
        return refused_item(_WOULD_TAKE, "post_only", client_id)
    meetings_max = matcher.meetings_max
    if not meetings_max and (takes or tif == FOK):
        return None
    funds = matcher.funds
    base_cell, quote_cell = funds.cells(account.key, market)
    order = Order(
        order_key,
        account,
        index,
        side,
        values[6],
        quantity_lots,
        client_id,
        flags != 0,
        market.maker_fee_ppm,
        market.taker_fee_ppm,
        base_cell,
        quote_cell,
    )
    if tif == FOK and not _is_fillable(matcher, market, order):
        return refused_item(_UNFILLABLE, "quantity_lots", client_id)
    if matcher.counts_money:
        funds.hold(order, funds.needed(market, order))
    matcher.events.append(
        (ACCEPTED, order_key, account.key, values[5], values[1], values[6], values[7], client_id)
    )
    fills: tuple[Fill, ...] = ()
    if takes:
        fills = matcher.take(market, order, meetings_max)
        if not order.open_lots:
            return matcher.close(market, order, fills, _FILLED)
        if matcher.is_cut_off:
            matcher.is_cut_off = False
            return matcher.close(market, order, fills, _EXPIRED)
    if tif != GTC:
        return matcher.close(market, order, fills, _EXPIRED)
    return _rest(matcher, market, order, fills)


def _takes(market: Market, side: int, price_ticks: int) -> bool:
    """Whether an order of this price takes from the book at once."""
    buys = side == BUY
    best = market.book.asks.best if buys else market.book.bids.best
    if best is None:
        return False
    best_ticks: int = best.price_ticks
    return price_ticks >= best_ticks if buys else price_ticks <= best_ticks


def _is_fillable(matcher: Matcher, market: Market, order: Order) -> bool:
    """Whether all of an order is there to take; the command pays for the dry run."""
    found = takeable(market, order, matcher.meetings_max)
    matcher.spent += found.meetings
    return found.lots >= order.open_lots


def _rest(matcher: Matcher, market: Market, order: Order, fills: tuple[Fill, ...]) -> Result:
    """Bring what is open into the book."""
    if order.side == BUY:
        if matcher.counts_money:
            matcher.funds.keep_rest(market, order)
        matcher.touch(market.book.bids.add(order))
    else:
        matcher.touch(market.book.asks.add(order))
    key, client_id, account = order.key, order.client_order_id, order.account
    account.open_orders[key] = order
    if client_id:
        account.client_orders[client_id] = order
    status = _PARTIALLY_FILLED if fills else _OPEN
    return (key, client_id, status, order.filled_lots, order.open_lots, fills, _NONE, "")


def _takes_plain(market: Market, side: int, price_ticks: int, quantity_lots: int) -> bool:
    """Whether a plain order of this price and size meets nothing here but the book."""
    return (
        side in (BUY, SELL)
        and market.status is _MARKET_OPEN
        and market.limits is NO_LIMITS
        and market.pool is None
        and market.waiting is None
        and not (market.is_external or market.may_be_crossed)
        and 0 < price_ticks <= market.price_ticks_max
        and 0 < quantity_lots <= market.quantity_lots_max
        and not price_ticks % market.price_increment_ticks
        and not quantity_lots % market.quantity_increment_lots
    )


def _may_place(account: Account, client_id: Boxed) -> bool:
    """Whether the account may have one more open order, by this number of its own."""
    return len(account.open_orders) < OPEN_ORDERS_PER_ACCOUNT_MAX and (
        not client_id or (client_id > 0 and client_id not in account.client_orders)
    )


def cancel(matcher: Matcher, account: Account, item: Item) -> Result | None:
    """Take an open order out and give its reservation back; None when it is not plain."""
    values: tuple[Boxed, ...] = item
    key = values[9]
    order = account.open_orders.get(key) if key else account.client_orders.get(values[8])
    if order is None:
        return refused_item(_UNKNOWN_ORDER, "order_id" if key else "client_order_id")
    market = matcher.markets[order.market_index]
    level = order.level
    if (
        level is None
        or order.terms is not None
        or market.waiting is not None
        or market.status is _HALTED
    ):
        return None
    matcher.touch(level)
    (market.book.bids if order.side == BUY else market.book.asks).remove(order)
    if matcher.counts_money:
        matcher.funds.keep_nothing(order)
    key, client_id = order.key, order.client_order_id
    del account.open_orders[key]
    if client_id:
        del account.client_orders[client_id]
    filled_lots, open_lots = order.filled_lots, order.open_lots
    if not open_lots:
        raise InvariantError("a filled order rests")
    matcher.events.append(
        (CLOSED, key, account.key, market.index, _CANCELLED, filled_lots, open_lots)
    )
    return (key, client_id, _CANCELLED, filled_lots, open_lots, (), _NONE, "")
