"""Self-trade prevention: what happens instead of a trade between two orders of one owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dexcore.book import Order
from dexcore.events import SelfTradePrevented
from dexcore.invariant import check
from dexcore.items import STP_CANCEL_BOTH, STP_CANCEL_NEWEST, STP_CANCEL_OLDEST
from dexcore.market import Market
from dexcore.results import OrderStatus

if TYPE_CHECKING:
    from dexcore.matching import Matcher

_CANCELLED: Final = int(OrderStatus.CANCELLED)


def prevent(matcher: Matcher, market: Market, maker: Order, taker: Order, stp: int) -> bool:
    """Do what the taker's mode says (FIX tag 2964); whether the taker is ended by it.

    The first three modes cancel the taker's remainder, the resting order, or both. The fourth
    takes the smaller of the two open quantities off both, and cancels what has nothing left.
    """
    taker_lots = maker_lots = 0
    if stp in (STP_CANCEL_NEWEST, STP_CANCEL_BOTH):
        taker_lots = taker.open_lots
    if stp in (STP_CANCEL_OLDEST, STP_CANCEL_BOTH):
        maker_lots = maker.open_lots
    if not taker_lots and not maker_lots:
        taker_lots = maker_lots = min(taker.open_lots, maker.open_lots)
        _decrement(matcher, market, maker, taker, maker_lots)
    matcher.events.append(
        SelfTradePrevented(
            market.index,
            taker.key,
            maker.key,
            taker.account.key,
            maker.account.key,
            stp,
            taker_lots,
            maker_lots,
        )
    )
    if stp in (STP_CANCEL_OLDEST, STP_CANCEL_BOTH) or not maker.open_lots:
        matcher.take_out(market, maker)
        matcher.close(market, maker, (), _CANCELLED, decremented=True)
    ended = stp in (STP_CANCEL_NEWEST, STP_CANCEL_BOTH) or not taker.open_lots
    if taker.terms is not None:
        taker.terms.is_prevented = ended
    return ended


def _decrement(matcher: Matcher, market: Market, maker: Order, taker: Order, lots: int) -> None:
    level = maker.level
    if level is None:
        check(False, "prevented a trade with an order that does not rest")
        return
    taker.open_lots -= lots
    level.shrink(maker, maker.open_lots - lots)
    matcher.funds.keep_rest(market, maker)
    if maker.terms is not None and maker.terms.other is not None:
        # What the limit of a pair gives up, its stop may still need.
        matcher.funds.cover(market, maker.terms.other, maker)
