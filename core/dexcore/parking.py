"""New orders that may have to wait: what they need of the market, and where they go.

A stop waits for its trigger, a pegged order for a price to follow, an at-the-close order for its
auction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dexcore import pegs
from dexcore.book import Order
from dexcore.events import OrderAmended, OrderParked, OrderRepriced
from dexcore.invariant import InvariantError
from dexcore.items import (
    AT_CLOSE,
    AT_OPEN,
    GTC,
    NO_TERMS,
    TYPE_LIMIT,
    TYPE_MARKET,
    TYPE_PEGGED,
    TYPE_STOP,
    TYPE_TRAILING_STOP,
)
from dexcore.limits import Bounds
from dexcore.market import Market
from dexcore.reasons import Reason, Refused
from dexcore.results import OrderStatus, Result
from dexcore.stops import check_not_reached, check_room, prepare_stop
from dexcore.terms import OrderTerms
from dexcore.waiting import UNSEEN

if TYPE_CHECKING:
    from dexcore.matching import Matcher

_OPEN: Final = int(OrderStatus.OPEN)
_PARTIALLY_FILLED: Final = int(OrderStatus.PARTIALLY_FILLED)
_PARKED: Final = int(OrderStatus.PARKED)


def prepare(market: Market, order: Order, terms: OrderTerms, min_lots: int, bounds: Bounds) -> None:
    """Give a new order that may wait the price at which it costs the most.

    Raises:
        Refused: the market has not what it needs, or has too many of its kind.
    """
    if terms.is_stop:
        prepare_stop(market, order, terms, bounds)
    elif terms.order_type == TYPE_PEGGED:
        if market.waiting is not None:
            check_room(market.waiting.pegged, order, bounds)
    elif terms.order_type == TYPE_MARKET and terms.time_in_force in (AT_OPEN, AT_CLOSE):
        if not market.last_price_ticks or not market.limits.protection_ticks:
            raise Refused(Reason.NO_REFERENCE_PRICE, "type")
        order.price_ticks = market.banded(
            order.side, market.last_price_ticks, market.limits.protection_ticks
        )
    if min_lots and waits(market, terms):
        raise Refused(Reason.MIN_QUANTITY_UNFILLABLE, "min_lots")


def waits(market: Market, terms: OrderTerms) -> bool:
    """Whether a new order goes where :func:`bring_in` puts it, and not to the book at once."""
    if terms.is_stop or terms.order_type == TYPE_PEGGED:
        return True
    return terms.time_in_force == AT_CLOSE and not market.is_call


def bring_in(
    matcher: Matcher, market: Market, order: Order, terms: OrderTerms, limit: Order | None
) -> Result:
    """Park an accepted order, or rest a pegged one that has a price.

    ``limit`` is the other leg of the pair whose stop it is.
    """
    waiting = market.waiting_orders()
    matcher.stirred[market.index] = market
    if terms.order_type == TYPE_PEGGED:
        waiting.pegged[order.key] = order
        return _price(matcher, market, order)
    if limit is not None:
        if limit.terms is None:
            limit.terms = OrderTerms(TYPE_LIMIT, GTC, limit.price_ticks, NO_TERMS)
        terms.other = limit
        limit.terms.other = order
    trails = terms.order_type == TYPE_TRAILING_STOP
    waiting.park(order, market.last_price_ticks if trails else 0)
    _report_parked(matcher, order, terms)
    return matcher.keep_open(order, (), _PARKED)


def change(
    matcher: Matcher,
    market: Market,
    order: Order,
    open_lots: int,
    price_ticks: int,
    trigger_price_ticks: int,
) -> Result:
    """Change what waits, or a pegged order that does not keep its place.

    ``price_ticks`` is the new limit, zero for a stop without one; a trigger of zero stays.

    Raises:
        Refused: STOP_WOULD_TRIGGER or INSUFFICIENT_FUNDS.
    """
    terms, waiting = order.terms, market.waiting
    if terms is None or waiting is None:
        raise InvariantError("nothing waits in this market")
    mark_ticks = 0
    if terms.is_stop:
        before_ticks = waiting.triggers.trigger_price_ticks(order.key)
        trigger_price_ticks = trigger_price_ticks or before_ticks
        if trigger_price_ticks != before_ticks:
            check_not_reached(market, order.side, trigger_price_ticks)
        mark_ticks = waiting.mark_ticks(order)
    worst_ticks = price_ticks or market.banded(order.side, trigger_price_ticks, terms.band_ticks)
    funds = matcher.funds
    needed_atoms = funds.needed_again(market, order, open_lots, worst_ticks)
    matcher.take_out(market, order)
    funds.keep_nothing(order)
    order.open_lots = open_lots
    order.price_ticks = worst_ticks
    terms.limit_price_ticks = price_ticks
    terms.trigger_price_ticks = trigger_price_ticks
    funds.hold(order, needed_atoms)
    if terms.peg:
        report_amended(matcher, order, 0)
        return _price(matcher, market, order)
    waiting.park(order, mark_ticks)
    report_amended(matcher, order, 1)
    if terms.is_stop:
        _report_parked(matcher, order, terms)
    return matcher.keep_open(order, (), _PARKED)


def limit_price_ticks(order: Order) -> int:
    """The limit that an order's owner set; zero for a stop that has none."""
    terms = order.terms
    price_ticks: int = order.price_ticks
    if terms is None:
        return price_ticks
    if terms.order_type in (TYPE_STOP, TYPE_TRAILING_STOP):
        return 0
    return terms.limit_price_ticks if terms.peg else price_ticks


def report_amended(matcher: Matcher, order: Order, kept_priority: int) -> None:
    """Report an order's limit and quantity as they are now."""
    values = (limit_price_ticks(order), order.quantity_lots, kept_priority)
    matcher.events.append(OrderAmended(order.key, order.account.key, order.market_index, *values))


def _report_parked(matcher: Matcher, order: Order, terms: OrderTerms) -> None:
    matcher.events.append(
        OrderParked(order.key, order.account.key, order.market_index, terms.trigger_price_ticks)
    )


def _price(matcher: Matcher, market: Market, order: Order) -> Result:
    """Put a pegged order that is nowhere where it belongs, and report where that is.

    At the end of the command all of the market are priced with it.
    """
    market.waiting_orders().see(UNSEEN, UNSEEN)
    price_ticks = pegs.price_now(market, order, *pegs.best_unpegged(market.book))
    pegs.put(matcher, market, order, price_ticks)
    matcher.events.append(OrderRepriced(order.key, order.account.key, market.index, price_ticks))
    if not price_ticks:
        return matcher.keep_open(order, (), _PARKED)
    return matcher.keep_open(order, (), _PARTIALLY_FILLED if order.filled_lots else _OPEN)
