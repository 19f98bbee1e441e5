"""Cancelling and changing open orders."""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from dexcore.accounts import Account
from dexcore.admission import crosses, known_market
from dexcore.book import SELL, Order
from dexcore.invariant import check
from dexcore.items import NO_MARKET, NO_TERMS, TYPE_STOP, TYPE_STOP_LIMIT, Terms
from dexcore.limits import ICEBERG_PARTS_MAX
from dexcore.market import Market, MarketStatus
from dexcore.matching import Matcher, result_of
from dexcore.parking import change, limit_price_ticks, report_amended
from dexcore.reasons import Reason, Refused
from dexcore.results import OrderStatus, Result

# Looked up once: reading an enumeration's member costs more than comparing it.
_MARKET_OPEN: Final = MarketStatus.OPEN
_HALTED: Final = MarketStatus.HALTED
_OPEN: Final = int(OrderStatus.OPEN)
_PARTIALLY_FILLED: Final = int(OrderStatus.PARTIALLY_FILLED)
_CANCELLED: Final = int(OrderStatus.CANCELLED)


def cancel(matcher: Matcher, account: Account, order_key: int, client_order_id: int) -> Result:
    """Take an open order out and give its reservation back."""
    order = _open_order(account, order_key, client_order_id)
    market = matcher.markets[order.market_index]
    if market.status is _HALTED:
        raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
    return end(matcher, market, order, _CANCELLED)


def end(matcher: Matcher, market: Market, order: Order, status: int) -> Result:
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
) -> list[Result]:
    """Cancel every open order of the account, or those of one market, or of one side, by key."""
    markets = matcher.markets
    if market_index != NO_MARKET:
        known_market(markets, market_index)
    if side > SELL:
        raise Refused(Reason.FIELD_INVALID, "side")
    # The account's own alone: what it costs is bounded by what each may have open.
    every_market, every_side = market_index == NO_MARKET, not side
    chosen = [
        (key, order)
        for key, order in account.open_orders.items()
        if (every_side or order.side == side)
        and (every_market or order.market_index == market_index)
        and (if_halted or markets[order.market_index].status is not _HALTED)
    ]
    # In phases an order may have come in before one with a smaller key.
    chosen.sort(key=itemgetter(0))
    return [end(matcher, markets[order.market_index], order, _CANCELLED) for _, order in chosen]


def amend(
    matcher: Matcher,
    account: Account,
    order_key: int,
    client_order_id: int,
    quantity_lots: int,
    price_ticks: int,
    said: Terms = NO_TERMS,
) -> Result:
    """Change size or price of an open order, or the trigger of a parked stop.

    A smaller size at the same price keeps the place in the queue; anything
    else gives it up and may trade at once. ``quantity_lots`` counts what is
    filled (FIX tag 38 of a replace request).
    """
    order = _open_order(account, order_key, client_order_id)
    market = matcher.markets[order.market_index]
    if market.status is not _MARKET_OPEN and not market.is_call:
        raise Refused(Reason.MARKET_NOT_OPEN, "market_id")
    terms = order.terms
    if terms is not None and terms.other is not None:
        raise Refused(Reason.OCO_BROKEN, "oco")
    trigger_price_ticks = _new_trigger(market, order, said)
    before_ticks = limit_price_ticks(order)
    price_ticks = price_ticks or before_ticks
    if before_ticks:
        market.check_price(price_ticks)
    elif price_ticks:
        # A stop has a trigger, and no limit.
        raise Refused(Reason.FIELD_INVALID, "price_ticks")
    market.check_quantity(quantity_lots)
    if price_ticks:
        market.check_limits(price_ticks, quantity_lots, moves=price_ticks != before_ticks)
    open_lots = quantity_lots - order.filled_lots
    if open_lots <= 0:
        raise Refused(Reason.AMEND_BELOW_FILLED, "quantity_lots")
    keeps = price_ticks == before_ticks and open_lots <= order.open_lots
    if keeps and order.level is not None:
        return _shrink(matcher, market, order, open_lots)
    if terms is not None and (terms.is_parked or terms.peg):
        return change(matcher, market, order, open_lots, price_ticks, trigger_price_ticks)
    return _replace(matcher, market, order, open_lots, price_ticks)


def _new_trigger(market: Market, order: Order, said: Terms) -> int:
    """The trigger that an amend asks for; zero when it leaves that as it is."""
    _, _, trigger_price_ticks, *_ = said
    if any(said[:2]) or any(said[3:]):
        raise Refused(Reason.FIELD_INVALID, "terms")
    if trigger_price_ticks:
        terms = order.terms
        if (
            terms is None
            or not terms.is_parked
            or terms.order_type not in (TYPE_STOP, TYPE_STOP_LIMIT)
        ):
            raise Refused(Reason.FIELD_INVALID, "trigger_price_ticks")
        market.check_price(trigger_price_ticks, "trigger_price_ticks")
    return trigger_price_ticks


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


def _shrink(matcher: Matcher, market: Market, order: Order, open_lots: int) -> Result:
    """Make an order smaller in its place."""
    level = order.level
    if level is None:
        check(False, "amended an order that does not rest")
        raise Refused(Reason.UNKNOWN_ORDER)
    level.shrink(order, open_lots)
    matcher.funds.keep_rest(market, order)
    matcher.touch(level)
    report_amended(matcher, order, 1)
    return result_of(order, (), _PARTIALLY_FILLED if order.filled_lots else _OPEN)


def _replace(
    matcher: Matcher, market: Market, order: Order, open_lots: int, price_ticks: int
) -> Result:
    """Take the order out and bring it in again with new terms."""
    terms = order.terms
    if terms is not None and 0 < terms.display_lots * ICEBERG_PARTS_MAX < open_lots:
        raise Refused(Reason.FIELD_INVALID, "quantity_lots")
    if order.post_only and crosses(market, order.side, price_ticks):
        raise Refused(Reason.POST_ONLY_WOULD_TAKE, "price_ticks")
    meetings_max = matcher.meetings_max
    if not meetings_max and crosses(market, order.side, price_ticks) and not market.may_be_crossed:
        raise Refused(Reason.TOO_MANY_MEETINGS)
    funds = matcher.funds
    needed_atoms = funds.needed_again(market, order, open_lots, price_ticks)
    matcher.take_out(market, order)
    funds.keep_nothing(order)
    order.open_lots = open_lots
    order.price_ticks = price_ticks
    funds.hold(order, needed_atoms)
    report_amended(matcher, order, 0)
    fills = () if market.may_be_crossed else matcher.take(market, order, meetings_max)
    return matcher.settle(market, order, fills, rests=True)
