"""Stops, stop limits and trailing stops: taken in, triggered and run.

Theory of operation: while it is parked, the price of a stop is the worst at which it may trade, so
that it reserves like any limit order. When a trade reaches its trigger it leaves the park, the
other leg of its pair is cancelled, and it is queued; its turn comes as a step of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dexcore.book import BUY, Order
from dexcore.events import OrderTriggered
from dexcore.invariant import InvariantError
from dexcore.items import FOK, IOC, TYPE_STOP_LIMIT, TYPE_TRAILING_STOP
from dexcore.limits import PARKED_PER_MARKET_MAX
from dexcore.market import Market
from dexcore.reasons import Reason, Refused
from dexcore.reserve import takeable
from dexcore.results import OrderStatus
from dexcore.terms import OrderTerms

if TYPE_CHECKING:
    from dexcore.matching import Matcher
    from dexcore.waiting import Waiting

_CANCELLED: Final = OrderStatus.CANCELLED
_EXPIRED: Final = OrderStatus.EXPIRED


def prepare_stop(market: Market, order: Order, terms: OrderTerms) -> None:
    """Give a new stop its trigger and its worst price.

    Raises:
        Refused: PROTECTION_REQUIRED, NO_REFERENCE_PRICE, TOO_MANY_PARKED or STOP_WOULD_TRIGGER.
    """
    last_ticks = market.last_price_ticks
    if terms.order_type == TYPE_TRAILING_STOP:
        waiting = market.waiting
        if waiting is not None and waiting.triggers.trailing_count >= PARKED_PER_MARKET_MAX:
            raise Refused(Reason.TOO_MANY_PARKED)
    if terms.order_type != TYPE_STOP_LIMIT and not market.limits.protection_ticks:
        raise Refused(Reason.PROTECTION_REQUIRED, "type")
    if terms.order_type == TYPE_TRAILING_STOP:
        if not last_ticks:
            raise Refused(Reason.NO_REFERENCE_PRICE, "type")
        away_ticks = terms.trail_ticks if order.side == BUY else -terms.trail_ticks
        terms.trigger_price_ticks = last_ticks + away_ticks
    check_not_reached(market, order.side, terms.trigger_price_ticks)
    terms.band_ticks = market.limits.protection_ticks
    order.price_ticks = worst_stop_price(market, order, terms.trigger_price_ticks)


def check_not_reached(market: Market, side: int, trigger_price_ticks: int) -> None:
    """Refuse a stop that the last price reaches already."""
    last_ticks = market.last_price_ticks
    if not last_ticks:
        return
    if side == BUY:
        reached = trigger_price_ticks <= last_ticks
    else:
        reached = trigger_price_ticks >= last_ticks
    if reached:
        raise Refused(Reason.STOP_WOULD_TRIGGER, "trigger_price_ticks")


def worst_stop_price(market: Market, order: Order, trigger_price_ticks: int) -> int:
    """The worst price at which a stop that triggers there may trade."""
    terms = order.terms
    if terms is None:
        raise InvariantError("a stop without terms")
    if terms.order_type == TYPE_STOP_LIMIT:
        return order.price_ticks
    return market.banded(order.side, trigger_price_ticks, terms.band_ticks)


def trigger_reached(matcher: Matcher, market: Market, waiting: Waiting) -> None:
    """Take the stops that the ended step's trades reached out of the park and queue them."""
    for key in waiting.triggers.reached(waiting.high_ticks, waiting.low_ticks):
        order = waiting.parked[key]
        trigger_price_ticks = waiting.triggers.trigger_price_ticks(key)
        order.price_ticks = worst_stop_price(market, order, trigger_price_ticks)
        waiting.unpark(order)
        waiting.queue.append(order)
        matcher.events.append(
            OrderTriggered(
                key, order.account.key, market.index, trigger_price_ticks, order.price_ticks
            )
        )
        limit = order.terms.other if order.terms is not None else None
        if limit is not None:
            waiting.part(order)
            matcher.take_out(market, limit)
            matcher.close(market, limit, (), _CANCELLED)
            matcher.funds.cover(market, order, None)


def run(matcher: Matcher, market: Market, order: Order) -> None:
    """Carry a triggered stop out: it takes, and what is left rests or expires."""
    terms = order.terms
    if terms is None:
        raise InvariantError("a stop without terms")
    if terms.time_in_force == FOK and takeable(market, order, order.open_lots)[0] < order.open_lots:
        matcher.close(market, order, (), _EXPIRED)
        return
    rests = terms.order_type == TYPE_STOP_LIMIT and terms.time_in_force not in (IOC, FOK)
    fills = matcher.take(market, order)
    matcher.settle(market, order, fills, rests=rests)
