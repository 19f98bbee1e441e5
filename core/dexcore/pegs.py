"""Pegged orders: the price each should have now.

A pegged order follows the best prices of orders that are not pegged, so that pegged orders never
chase each other, and never takes: it stays outside whatever is on the other side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dexcore.book import BUY, Book, BookSide, Order
from dexcore.events import OrderRepriced
from dexcore.invariant import InvariantError
from dexcore.items import PEG_MARKET, PEG_PRIMARY, TYPE_PEGGED
from dexcore.market import Market

if TYPE_CHECKING:
    from dexcore.matching import Matcher
    from dexcore.waiting import Waiting

WAITS: Final = 0
"""In the place of a price: the order has none now, and waits."""


def best_unpegged(book: Book) -> tuple[int, int]:
    """Best bid and best ask of orders that are not pegged, in ticks; zero when there is none."""
    return _best_unpegged(book.bids), _best_unpegged(book.asks)


def _best_unpegged(side: BookSide) -> int:
    for level in side.levels.values():
        for order in level:
            if order.terms is None or order.terms.order_type != TYPE_PEGGED:
                price_ticks: int = level.price_ticks
                return price_ticks
    return 0


def reference_ticks(side: int, peg: int, bid_ticks: int, ask_ticks: int, increment: int) -> int:
    """What a pegged order follows: FIX tag 1094, PRIMARY 5, MARKET 4, MIDPOINT 2.

    Args:
        side: of the order.
        peg: PEG_PRIMARY, PEG_MARKET or PEG_MIDPOINT.
        bid_ticks: best bid that is not pegged, zero without one.
        ask_ticks: best ask that is not pegged, zero without one.
        increment: the market's ``price_increment_ticks``.

    Returns:
        Ticks on the increment, the middle rounded away from the market; zero without one.
    """
    if peg == PEG_PRIMARY:
        return bid_ticks if side == BUY else ask_ticks
    if peg == PEG_MARKET:
        return ask_ticks if side == BUY else bid_ticks
    if not bid_ticks or not ask_ticks:
        return 0
    sum_ticks = bid_ticks + ask_ticks
    if side == BUY:
        return sum_ticks // (2 * increment) * increment
    return -(-sum_ticks // (2 * increment)) * increment


def peg_price(
    side: int,
    reference: int,
    offset_ticks: int,
    limit_ticks: int,
    opposite_ticks: int,
    increment: int,
    price_ticks_max: int,
) -> int:
    """The price of a pegged order, or WAITS.

    Args:
        side: of the order.
        reference: from :func:`reference_ticks`; zero without one.
        offset_ticks: away from the market: at most zero for a buy, at least zero for a sell.
        limit_ticks: price it never goes beyond.
        opposite_ticks: best price of the other side, pegged or not; zero without one.
        increment: the market's ``price_increment_ticks``.
        price_ticks_max: the market's.
    """
    if not reference:
        return WAITS
    price = reference + offset_ticks
    if side == BUY:
        price = min(price, limit_ticks)
        if opposite_ticks:
            price = min(price, opposite_ticks - increment)
    else:
        price = max(price, limit_ticks)
        if opposite_ticks:
            price = max(price, opposite_ticks + increment)
    return price if 0 < price <= price_ticks_max else WAITS


def price_now(market: Market, order: Order, bid_ticks: int, ask_ticks: int) -> int:
    """The price of a pegged order in the book as it stands, or WAITS.

    ``bid_ticks`` and ``ask_ticks`` are the best that are not pegged, zero without one.
    """
    terms = order.terms
    if terms is None:
        raise InvariantError("a pegged order without terms")
    increment = market.spec.price_increment_ticks
    opposite = market.book.opposite(order.side).best
    return peg_price(
        order.side,
        reference_ticks(order.side, terms.peg, bid_ticks, ask_ticks, increment),
        terms.peg_offset_ticks,
        terms.limit_price_ticks,
        0 if opposite is None else opposite.price_ticks,
        increment,
        market.spec.price_ticks_max,
    )


def put(matcher: Matcher, market: Market, order: Order, price_ticks: int) -> None:
    """Rest a pegged order that is nowhere at its price, or park it when it has none."""
    order.price_ticks = price_ticks
    if price_ticks:
        if not market.may_be_crossed:
            matcher.funds.keep_rest(market, order)
        matcher.touch(market.book.side(order.side).add(order))
    else:
        market.waiting_orders().park(order)


def follow(matcher: Matcher, market: Market, waiting: Waiting) -> None:
    """Price the market's pegged orders anew if a best unpegged price changed, or one came in.

    One after the other in order of keys: each is held against the book that the ones before it
    left, and one whose price is another is taken out and put back at the tail.
    """
    bid_ticks, ask_ticks = best_unpegged(market.book)
    if (bid_ticks, ask_ticks) == (waiting.bid_ticks, waiting.ask_ticks):
        return
    waiting.see(bid_ticks, ask_ticks)
    for key, order in sorted(waiting.pegged.items()):
        price_ticks = price_now(market, order, bid_ticks, ask_ticks)
        if price_ticks != order.price_ticks:
            matcher.take_out(market, order)
            put(matcher, market, order, price_ticks)
            matcher.events.append(OrderRepriced(key, order.account.key, market.index, price_ticks))
