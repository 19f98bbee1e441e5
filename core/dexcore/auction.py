"""The call auction: at which price most trades, and who trades with whom.

Theory of operation: between two neighbouring level prices nothing comes or goes, so all prices
there trade the same and leave the same over. One sweep from the lowest ask to the highest bid
weighs each level price, and each gap between two as a whole: how many ticks it has costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from dexcore.invariant import InvariantError

# (price_ticks, quantity_lots) of a level, hidden lots included.
LevelLots = tuple[int, int]
# Compares as the rule does, the least is the best: lots traded, negated; surplus; distance from the
# last price; price. Behind them the surplus with its sign.
_Weight = tuple[int, int, int, int, int]
T = TypeVar("T")


class Uncross(NamedTuple):
    """What an auction gives: its price, the lots that trade there, and what stays over.

    ``surplus_lots`` is bid lots at the price or above less ask lots at it or below.
    """

    price_ticks: int
    quantity_lots: int
    surplus_lots: int


def uncross(
    bids: Sequence[LevelLots],
    asks: Sequence[LevelLots],
    increment_ticks: int,
    last_price_ticks: int,
) -> Uncross | None:
    """The price of a call auction, of all on the increment between lowest ask and highest bid.

    Most executable lots, then least surplus, then nearest the last price (zero: none, then the
    lowest such price), then the lower. Both sides come best first; None when they do not cross.
    """
    if not bids or not asks or bids[0][0] < asks[0][0]:
        return None
    low_ticks, high_ticks = asks[0][0], bids[0][0]
    buying = [level for level in reversed(bids) if level[0] >= low_ticks]
    selling = [level for level in asks if level[0] <= high_ticks]
    bid_lots = sum(lots for _, lots in buying)
    ask_lots = 0
    best: _Weight | None = None
    b = a = 0
    price_ticks = low_ticks
    while True:
        if a < len(selling) and selling[a][0] == price_ticks:
            ask_lots += selling[a][1]
            a += 1
        here = _weigh(price_ticks, bid_lots, ask_lots, last_price_ticks)
        best = here if best is None else min(best, here)
        if price_ticks == high_ticks:
            return Uncross(best[3], -best[0], best[4])
        if buying[b][0] == price_ticks:
            bid_lots -= buying[b][1]
            b += 1
        following = buying[b][0]
        if a < len(selling):
            following = min(following, selling[a][0])
        first, last = price_ticks + increment_ticks, following - increment_ticks
        if first <= last:
            between = _nearest(first, last, increment_ticks, last_price_ticks)
            best = min(best, _weigh(between, bid_lots, ask_lots, last_price_ticks))
        price_ticks = following


def _weigh(price_ticks: int, bid_lots: int, ask_lots: int, last_price_ticks: int) -> _Weight:
    distance_ticks = abs(price_ticks - last_price_ticks) if last_price_ticks else 0
    surplus_lots = bid_lots - ask_lots
    executable_lots = min(bid_lots, ask_lots)
    return -executable_lots, abs(surplus_lots), distance_ticks, price_ticks, surplus_lots


def _nearest(first: int, last: int, increment_ticks: int, last_price_ticks: int) -> int:
    """Of the prices from ``first`` to ``last``, the nearest the last price; of two the lower."""
    if last_price_ticks <= first:
        return first
    if last_price_ticks >= last:
        return last
    over_ticks = (last_price_ticks - first) % increment_ticks
    below = last_price_ticks - over_ticks
    return below if over_ticks * 2 <= increment_ticks else below + increment_ticks


def pair(
    buyers: Iterable[tuple[T, int]], sellers: Iterable[tuple[T, int]], lots: int
) -> list[tuple[T, T, int]]:
    """Who trades how many lots with whom: both queues in price-time order, with open lots.

    Raises:
        InvariantError: a queue ends before the lots have traded.
    """
    trades: list[tuple[T, T, int]] = []
    buying, selling = iter(buyers), iter(sellers)
    buyer_lots = seller_lots = 0
    try:
        while lots:
            if not buyer_lots:
                buyer, buyer_lots = next(buying)
            if not seller_lots:
                seller, seller_lots = next(selling)
            traded_lots = min(buyer_lots, seller_lots, lots)
            trades.append((buyer, seller, traded_lots))
            buyer_lots -= traded_lots
            seller_lots -= traded_lots
            lots -= traded_lots
    except StopIteration:
        raise InvariantError("an auction trades more than there is") from None
    return trades
