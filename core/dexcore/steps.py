"""What the end of a step, and of a command, sets off in the market where it was taken.

At the end of a step, in this order: pairs of which one leg traded or ended lose the stop; stops
that the step's trades reached are due; trailing stops see the trades; then the due stop with the
smallest key runs, which is a step of its own, with an end like this one. At the end of a command
pegged orders follow the best prices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dexcore import pegs, stops
from dexcore.amending import end
from dexcore.events import Logged
from dexcore.market import Market, MarketStatus
from dexcore.results import OrderStatus

if TYPE_CHECKING:
    from dexcore.matching import Matcher
    from dexcore.waiting import Waiting

_OPEN: Final = MarketStatus.OPEN
_CANCELLED: Final = int(OrderStatus.CANCELLED)


def begin_command(matcher: Matcher, log: list[Logged]) -> None:
    """Before a command's own work: go on with stops that those before it left.

    ``log`` takes what the command does. It may run so many stops, these included.
    """
    matcher.events = log
    matcher.stops_left = matcher.bounds.stops_per_command
    matcher.met = 0
    if matcher.overdue:
        matcher.stirred.update(matcher.overdue)
        end_step(matcher)


def end_step(matcher: Matcher) -> None:
    """Run what the step that ends here set off, market by market, as far as the command may."""
    stirred = matcher.stirred
    while stirred:
        market = stirred.pop(min(stirred))
        waiting = market.waiting
        if waiting is None:
            continue
        _end(matcher, market, waiting)
        while stops.run_next(matcher, market, waiting):
            _end(matcher, market, waiting)
        if waiting.due and market.status is _OPEN:
            matcher.overdue[market.index] = market
        else:
            matcher.overdue.pop(market.index, None)
        if waiting.pegged:
            matcher.moved[market.index] = market


def end_command(matcher: Matcher) -> None:
    """After a command's last step: price pegged orders anew, and report the changed levels."""
    moved = matcher.moved
    if moved:
        for index in sorted(moved):
            market = moved[index]
            if market.waiting is not None and market.status is _OPEN:
                pegs.follow(matcher, market, market.waiting)
        moved.clear()
        # They never trade: what they change sets off nothing more.
        matcher.stirred.clear()
    matcher.flush_levels()


def _end(matcher: Matcher, market: Market, waiting: Waiting) -> None:
    if waiting.broken:
        # The end of a stop breaks nothing more, and forgets that it was broken.
        for _, order in sorted(waiting.broken.items()):
            end(matcher, market, order, _CANCELLED)
    if waiting.high_ticks:
        if market.status is _OPEN:
            waiting.reach(waiting.high_ticks, waiting.low_ticks)
        waiting.triggers.move_marks(waiting.high_ticks, waiting.low_ticks)
        waiting.high_ticks = waiting.low_ticks = 0
