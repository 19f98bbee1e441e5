"""Stops, stop limits and trailing stops: taken in, triggered and run.

Theory of operation: while it is parked, the price of a stop is the worst at which it may trade, so
that it reserves like any limit order. When a trade reaches its trigger it is due, and stays parked
until its turn comes: of all that are due the one with the smallest key leaves the park, the other
leg of its pair is cancelled, and it runs, which is a step of its own. A command runs so many; then
the market keeps the range of prices that made stops due, and the next command goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dexcore.book import BUY, Order
from dexcore.events import OrderTriggered
from dexcore.invariant import InvariantError
from dexcore.items import FOK, IOC, TYPE_STOP_LIMIT, TYPE_TRAILING_STOP
from dexcore.limits import Bounds
from dexcore.market import Market, MarketStatus
from dexcore.reasons import Reason, Refused
from dexcore.reserve import takeable
from dexcore.results import OrderStatus
from dexcore.terms import OrderTerms

if TYPE_CHECKING:
    from dexcore.matching import Matcher
    from dexcore.waiting import Waiting

_MARKET_OPEN: Final = MarketStatus.OPEN
_CANCELLED: Final = int(OrderStatus.CANCELLED)
_EXPIRED: Final = int(OrderStatus.EXPIRED)


def prepare_stop(market: Market, order: Order, terms: OrderTerms, bounds: Bounds) -> None:
    """Give a new stop its trigger and its worst price.

    Raises:
        Refused: PROTECTION_REQUIRED, NO_REFERENCE_PRICE, TOO_MANY_PARKED or STOP_WOULD_TRIGGER.
    """
    last_ticks = market.last_price_ticks
    if terms.order_type == TYPE_TRAILING_STOP and market.waiting is not None:
        check_room(market.waiting.trailing, order, bounds)
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


def check_room(alike: dict[int, Order], order: Order, bounds: Bounds) -> None:
    """Refuse one more of what has to be looked at again and again.

    Raises:
        Refused: TOO_MANY_PARKED, in the market or of the account there.
    """
    if len(alike) >= bounds.followers_per_market:
        raise Refused(Reason.TOO_MANY_PARKED)
    own = sum([1 for other in alike.values() if other.account is order.account])
    if own >= bounds.followers_per_account:
        raise Refused(Reason.TOO_MANY_PARKED)


def check_not_reached(market: Market, side: int, trigger_price_ticks: int) -> None:
    """Refuse a stop that the last price, or one that is not served yet, reaches already."""
    last_ticks, waiting = market.last_price_ticks, market.waiting
    if not last_ticks:
        return
    if side == BUY:
        reached = trigger_price_ticks <= last_ticks
    else:
        reached = trigger_price_ticks >= last_ticks
    if reached or (waiting is not None and waiting.is_due(side, trigger_price_ticks)):
        raise Refused(Reason.STOP_WOULD_TRIGGER, "trigger_price_ticks")


def worst_stop_price(market: Market, order: Order, trigger_price_ticks: int) -> int:
    """The worst price at which a stop that triggers there may trade."""
    terms = order.terms
    if terms is None:
        raise InvariantError("a stop without terms")
    if terms.order_type == TYPE_STOP_LIMIT:
        price_ticks: int = order.price_ticks
        return price_ticks
    return market.banded(order.side, trigger_price_ticks, terms.band_ticks)


def run_next(matcher: Matcher, market: Market, waiting: Waiting) -> bool:
    """Run the due stop with the smallest key, if the command may run one more; whether it did."""
    order = waiting.next_due()
    if order is None or market.status is not _MARKET_OPEN:
        return False
    if matcher.stops_left <= 0 or matcher.met >= matcher.bounds.meetings_before_stops:
        return False
    matcher.stops_left -= 1
    _trigger(matcher, market, waiting, order)
    _run(matcher, market, order)
    return True


def _trigger(matcher: Matcher, market: Market, waiting: Waiting, order: Order) -> None:
    """Take a stop out of the park, with what its pair held for it."""
    trigger_price_ticks = waiting.triggers.trigger_price_ticks(order.key)
    order.price_ticks = worst_stop_price(market, order, trigger_price_ticks)
    matcher.take_out(market, order)
    place = order.key, order.account.key, market.index
    matcher.events.append(OrderTriggered(*place, trigger_price_ticks, order.price_ticks))
    limit = order.terms.other if order.terms is not None else None
    if limit is not None:
        waiting.part(order)
        matcher.take_out(market, limit)
        matcher.close(market, limit, (), _CANCELLED)
        matcher.funds.cover(market, order, None)


def _run(matcher: Matcher, market: Market, order: Order) -> None:
    """Carry a triggered stop out: it takes, and what is left rests or expires."""
    terms = order.terms
    if terms is None:
        raise InvariantError("a stop without terms")
    # Whatever the items of the command that runs it have met: it is somebody else's.
    meetings_max = matcher.bounds.meetings_per_entry
    if terms.time_in_force == FOK:
        found = takeable(market, order, meetings_max)
        matcher.met += found.meetings
        if found.lots < order.open_lots:
            matcher.close(market, order, (), _EXPIRED)
            return
    rests = terms.order_type == TYPE_STOP_LIMIT and terms.time_in_force not in (IOC, FOK)
    fills = matcher.take(market, order, meetings_max)
    matcher.settle(market, order, fills, rests=rests)
