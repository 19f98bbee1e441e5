"""Cancelling and changing open orders."""

from __future__ import annotations

from typing import Final

from dexcore.accounts import Account
from dexcore.admission import crosses, known_market
from dexcore.book import SELL, Order
from dexcore.events import OrderAmended
from dexcore.invariant import check
from dexcore.items import NO_MARKET
from dexcore.market import Market, MarketStatus
from dexcore.matching import Matcher, result_of
from dexcore.reasons import Reason, Refused
from dexcore.results import ItemResult, OrderStatus

# Looked up once: reading an enumeration's member costs more than comparing it.
_MARKET_OPEN: Final = MarketStatus.OPEN
_HALTED: Final = MarketStatus.HALTED
_OPEN: Final = OrderStatus.OPEN
_PARTIALLY_FILLED: Final = OrderStatus.PARTIALLY_FILLED
_CANCELLED: Final = OrderStatus.CANCELLED


def cancel(matcher: Matcher, account: Account, order_key: int, client_order_id: int) -> ItemResult:
    """Take an open order out and give its reservation back."""
    order = _open_order(account, order_key, client_order_id)
    market = matcher.markets[order.market_index]
    if market.status is _HALTED:
        raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
    return end(matcher, market, order, _CANCELLED)


def end(matcher: Matcher, market: Market, order: Order, status: OrderStatus) -> ItemResult:
    """End an open order, wherever it is."""
    matcher.take_out(market, order)
    return matcher.close(market, order, (), status)


def cancel_all(
    matcher: Matcher,
    account: Account,
    market_index: int,
    side: int = 0,
    *,
    if_halted: bool = False,
) -> list[ItemResult]:
    """Cancel every open order of the account, or those of one market, or of one side, by key."""
    markets = matcher.markets
    if side > SELL:
        raise Refused(Reason.FIELD_INVALID, "side")
    if market_index != NO_MARKET:
        known_market(markets, market_index)
    chosen = [
        key
        for key, order in account.open_orders.items()
        if market_index in (NO_MARKET, order.market_index)
        and side in (0, order.side)
        and (if_halted or markets[order.market_index].status is not _HALTED)
    ]
    # In phases an order may have come in before one with a smaller key.
    chosen.sort()
    orders = [account.open_orders[key] for key in chosen]
    return [end(matcher, markets[order.market_index], order, _CANCELLED) for order in orders]


def amend(
    matcher: Matcher,
    account: Account,
    order_key: int,
    client_order_id: int,
    quantity_lots: int,
    price_ticks: int,
) -> ItemResult:
    """Change size or price of an open order.

    A smaller size at the same price keeps the place in the queue; anything
    else gives it up and may trade at once. ``quantity_lots`` counts what is
    filled (FIX tag 38 of a replace request).
    """
    order = _open_order(account, order_key, client_order_id)
    market = matcher.markets[order.market_index]
    if market.status is not _MARKET_OPEN:
        raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
    price_ticks = price_ticks or order.price_ticks
    market.check_price(price_ticks)
    market.check_quantity(quantity_lots)
    market.check_limits(price_ticks, quantity_lots, moves=price_ticks != order.price_ticks)
    open_lots = quantity_lots - order.filled_lots
    if open_lots <= 0:
        raise Refused(Reason.AMEND_BELOW_FILLED, "quantity_lots")
    if price_ticks == order.price_ticks and open_lots <= order.open_lots:
        return _shrink(matcher, market, order, open_lots)
    return _replace(matcher, market, order, open_lots, price_ticks)


def _open_order(account: Account, order_key: int, client_order_id: int) -> Order:
    if order_key:
        order = account.open_orders.get(order_key)
        field = "order_id"
    else:
        order = account.client_orders.get(client_order_id)
        field = "client_order_id"
    if order is None:
        raise Refused(Reason.UNKNOWN_ORDER, field)
    return order


def _shrink(matcher: Matcher, market: Market, order: Order, open_lots: int) -> ItemResult:
    """Make an order smaller in its place."""
    level = order.level
    if level is None:
        check(False, "amended an order that does not rest")
        raise Refused(Reason.UNKNOWN_ORDER)
    level.shrink(order, open_lots)
    matcher.funds.keep_rest(market, order)
    matcher.touched[(market.index, order.side, order.price_ticks)] = None
    _report(matcher, market, order, kept_priority=1)
    return result_of(order, (), _PARTIALLY_FILLED if order.filled_lots else _OPEN)


def _replace(
    matcher: Matcher, market: Market, order: Order, open_lots: int, price_ticks: int
) -> ItemResult:
    """Take the order out and bring it in again with new terms."""
    if order.post_only and crosses(market, order.side, price_ticks):
        raise Refused(Reason.POST_ONLY_WOULD_TAKE, "price_ticks")
    funds = matcher.funds
    needed_atoms = funds.needed_again(market, order, open_lots, price_ticks)
    matcher.take_out(market, order)
    funds.keep_nothing(order)
    order.open_lots = open_lots
    order.price_ticks = price_ticks
    funds.hold(order, needed_atoms)
    _report(matcher, market, order, kept_priority=0)
    fills = matcher.take(market, order)
    return matcher.settle(market, order, fills, rests=True)


def _report(matcher: Matcher, market: Market, order: Order, kept_priority: int) -> None:
    matcher.events.append(
        OrderAmended(
            order.key,
            order.account.key,
            market.index,
            order.price_ticks,
            order.quantity_lots,
            kept_priority,
        )
    )
