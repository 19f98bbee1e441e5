"""What the end of a step sets off in the market where it was taken.

In this order: pairs of which one leg traded or ended lose the stop; stops that the step's trades
reached leave the park and queue up; trailing stops see the trades; pegged orders follow the best
prices; then the first of the queue runs, which is a step of its own, with an end like this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dexcore import pegs, stops
from dexcore.amending import end
from dexcore.market import Market, MarketStatus
from dexcore.results import OrderStatus

if TYPE_CHECKING:
    from dexcore.matching import Matcher
    from dexcore.waiting import Waiting

_OPEN: Final = MarketStatus.OPEN
_CANCELLED: Final = OrderStatus.CANCELLED


def end_step(matcher: Matcher) -> None:
    """Run what the step that ends here set off, market by market, until nothing is left."""
    stirred = matcher.stirred
    while stirred:
        market = stirred.pop(min(stirred))
        waiting = market.waiting
        if waiting is None:
            continue
        _end(matcher, market, waiting)
        while waiting.queue:
            stops.run(matcher, market, waiting.queue.popleft())
            _end(matcher, market, waiting)


def _end(matcher: Matcher, market: Market, waiting: Waiting) -> None:
    broken = waiting.broken
    while broken:
        end(matcher, market, broken[min(broken)], _CANCELLED)
    if waiting.high_ticks:
        if market.status is _OPEN:
            stops.trigger_reached(matcher, market, waiting)
        waiting.triggers.move_marks(waiting.high_ticks, waiting.low_ticks)
        waiting.high_ticks = waiting.low_ticks = 0
    if market.status is _OPEN and waiting.pegged:
        pegs.follow(matcher, market, waiting)
