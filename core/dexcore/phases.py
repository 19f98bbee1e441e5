"""Market phases: what a change of status sets off, and the call auction (FIX tag 340).

Theory of operation: in a call phase orders only rest, so the book may be crossed; it stays marked
until an uncross has been held, whatever phases lie between. The uncross trades the crossed part at
one price, and is a step of the phase it leads to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from dexcore.amending import end
from dexcore.auction import LevelLots, Uncross, pair, uncross
from dexcore.book import BUY, BookSide, Order
from dexcore.events import AuctionUncrossed, MarketStatusChanged, OrderTriggered
from dexcore.invariant import InvariantError, check
from dexcore.items import AT_CLOSE, AT_OPEN, DAY
from dexcore.market import Market, MarketStatus
from dexcore.results import OrderStatus
from dexcore.steps import end_step
from dexcore.waiting import UNSEEN

if TYPE_CHECKING:
    from dexcore.matching import Matcher

_FILLED: Final = int(OrderStatus.FILLED)
_EXPIRED: Final = int(OrderStatus.EXPIRED)


def set_status(matcher: Matcher, market: Market, status: MarketStatus) -> None:
    """Move a market to a phase, with all that happens on the way there."""
    before = market.status
    market.status = status
    if market.waiting is not None:
        matcher.stirred[market.index] = market
        if status != MarketStatus.OPEN:
            # Pegged orders stay where they are; all are priced when the market opens.
            market.waiting.see(UNSEEN, UNSEEN)
    matcher.events.append(MarketStatusChanged(market.index, status))
    if status in (MarketStatus.OPEN, MarketStatus.CLOSED):
        if market.may_be_crossed:
            _hold_auction(matcher, market)
            # A step of its own: it triggers before anything else of the new phase.
            end_step(matcher)
    elif market.is_call:
        market.may_be_crossed = True
        if status == MarketStatus.CLOSING_AUCTION and before != status:
            _enter_at_close(matcher, market)
    if status == MarketStatus.CLOSED:
        _expire(matcher, market, _open_orders(market), DAY, AT_CLOSE)
    end_step(matcher)


def indicative(market: Market) -> Uncross | None:
    """What an uncross would give now; None when the book is not crossed. Costs crossed levels."""
    bid, ask = market.book.bids.best, market.book.asks.best
    if bid is None or ask is None or bid.price_ticks < ask.price_ticks:
        return None
    bids = list(_crossed(market.book.bids, ask.price_ticks))
    asks = list(_crossed(market.book.asks, bid.price_ticks))
    return uncross(bids, asks, market.spec.price_increment_ticks, market.last_price_ticks)


def _crossed(side: BookSide, opposite_ticks: int) -> Iterator[LevelLots]:
    """Levels that reach the best price of the other side, hidden lots included."""
    for level in side.levels.values():
        beyond_ticks = level.price_ticks - opposite_ticks
        if beyond_ticks < 0 if side.side == BUY else beyond_ticks > 0:
            return
        yield level.price_ticks, level.quantity_lots + level.hidden_lots


def _hold_auction(matcher: Matcher, market: Market) -> None:
    """Trade what is crossed at one price, and end what was for the auction alone."""
    found = indicative(market)
    if found is not None:
        matcher.events.append(AuctionUncrossed(market.index, *found))
        book = market.book
        price_ticks = found.price_ticks
        trades = pair(_queue(book.bids), _queue(book.asks), found.quantity_lots)
        for buyer, seller, lots in trades:
            maker, taker = (buyer, seller) if buyer.key < seller.key else (seller, buyer)
            matcher.fill(market, maker, taker, price_ticks, lots, taker.maker_fee_ppm)
            if market.waiting is not None:
                market.waiting.part(taker)
            for order in (maker, taker):
                _leave(matcher, market, order, lots)
        market.last_price_ticks = price_ticks
        if market.waiting is not None:
            market.waiting.traded(price_ticks, price_ticks)
    market.may_be_crossed = False
    for level in market.book.bids.levels.values():
        for order in level:
            # Nobody can be charged a taker's rate for it any more.
            matcher.funds.keep_rest(market, order)
            if order.terms is not None and order.terms.other is not None:
                matcher.funds.cover(market, order.terms.other, order)
    _expire(matcher, market, _resting(market), AT_OPEN, AT_CLOSE)


def _queue(side: BookSide) -> Iterator[tuple[Order, int]]:
    for level in side.levels.values():
        for order in level:
            yield order, order.open_lots


def _leave(matcher: Matcher, market: Market, order: Order, lots: int) -> None:
    """Take lots that traded out of the order's level, and the order when none are left."""
    level = order.level
    if level is None:
        raise InvariantError("an order of an auction does not rest")
    matcher.touch(level)
    level.quantity_lots -= lots
    terms = order.terms
    if terms is not None and terms.display_lots:
        # It keeps its place and shows the next part.
        hidden_lots = terms.hidden_lots
        terms.hide(order.open_lots)
        level.quantity_lots += hidden_lots - terms.hidden_lots
        level.hidden_lots -= hidden_lots - terms.hidden_lots
    if not order.open_lots:
        market.book.side(order.side).remove(order)
        matcher.close(market, order, (), _FILLED)


def _enter_at_close(matcher: Matcher, market: Market) -> None:
    """Bring at-the-close orders that waited into the auction, in order of keys."""
    waiting = market.waiting
    if waiting is None:
        return
    for key, order in sorted(waiting.parked.items()):
        terms = order.terms
        check(terms is not None, "an order without terms waits")
        if terms is not None and terms.time_in_force == AT_CLOSE:
            matcher.take_out(market, order)
            matcher.events.append(
                OrderTriggered(key, order.account.key, market.index, 0, order.price_ticks)
            )
            matcher.settle(market, order, (), rests=True)


def _resting(market: Market) -> list[Order]:
    book = market.book
    return [o for side in (book.bids, book.asks) for level in side.levels.values() for o in level]


def _open_orders(market: Market) -> list[Order]:
    parked = () if market.waiting is None else market.waiting.parked.values()
    return [*_resting(market), *parked]


def _expire(matcher: Matcher, market: Market, orders: list[Order], *times_in_force: int) -> None:
    """End the orders with these times in force, in order of keys."""
    due = {o.key: o for o in orders if o.terms and o.terms.time_in_force in times_in_force}
    for _, order in sorted(due.items()):
        end(matcher, market, order, _EXPIRED)
