"""What the end of a step sets off in the market where it was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dexcore.market import Market

if TYPE_CHECKING:
    from dexcore.matching import Matcher


def end_step(matcher: Matcher) -> None:
    """Run what the step that ends here set off, market by market, until nothing is left.

    Each order that is triggered or priced anew is a step of its own, which stirs its market again.
    """
    stirred = matcher.stirred
    while stirred:
        _after_step(stirred.pop(min(stirred)))


def _after_step(market: Market) -> None:
    waiting = market.waiting
    if waiting is not None:
        waiting.high_ticks = waiting.low_ticks = 0
