"""What an order may cost: the worst case it reserves before it may match."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from dexcore.book import BUY, Level, Order
from dexcore.items import STP_CANCEL_BOTH, STP_CANCEL_NEWEST, STP_DECREMENT
from dexcore.limits import INT64_MAX, PPM
from dexcore.market import Market


def buy_worst_case(order: Order, notional_atoms: int) -> int:
    """Quote atoms a buy of ``notional_atoms`` more can cost, fees rounded up.

    The order may take, rest, or both, so the higher of its two rates counts.
    """
    rate_ppm = max(order.maker_fee_ppm, order.taker_fee_ppm)
    return notional_atoms + _fee_still_due(order, notional_atoms * rate_ppm)


def maker_remainder(order: Order, notional_atoms: int) -> int:
    """Quote atoms a resting buy must keep: from now on it can only be a maker."""
    return notional_atoms + _fee_still_due(order, notional_atoms * order.maker_fee_ppm)


def _fee_still_due(order: Order, fee_ppm_atoms: int) -> int:
    total_atoms = -(-(order.fee_accrued_ppm_atoms + fee_ppm_atoms) // PPM)
    return total_atoms - order.fee_charged_atoms


def worst_price_ticks(order: Order) -> int:
    """The price at which a buy costs the most: its own, or a pegged order's limit."""
    terms = order.terms
    price_ticks: int = order.price_ticks
    return price_ticks if terms is None or not terms.peg else terms.limit_price_ticks


class Takeable(NamedTuple):
    """What an order would take: lots, their quote atoms, and how many it met for them."""

    lots: int
    notional_atoms: int
    meetings: int


NOTHING: Final = Takeable(0, 0, 0)


def takeable(market: Market, order: Order, meetings_max: int) -> Takeable:
    """What an order would take from book and pool as they stand: a dry run of ``Matcher.take``.

    It takes at its price or better, price zero meaning any, and meets what it would meet, in the
    same order: own lots count as nothing, end it or make it smaller, as its self-trade prevention
    says, and icebergs show one part after the other. It ends when it is filled or has met so many.
    """
    swap = None if market.pool is None else market.pool.swap(order.side)
    stp = 0 if order.terms is None else order.terms.stp
    buys = order.side == BUY
    limit_ticks: int = order.price_ticks
    owner = order.account.owner
    left_lots = order.open_lots
    lots = notional = met = 0
    ended = False
    for level in market.book.opposite(order.side).levels.values():
        price_ticks: int = level.price_ticks
        if limit_ticks and (price_ticks > limit_ticks if buys else price_ticks < limit_ticks):
            break
        if swap is not None and (pool_lots := swap.lots_before(price_ticks, left_lots)):
            if met == meetings_max:
                ended = True
                break
            met += 1
            notional += sum([price * piece for price, piece in swap.take(pool_lots)])
            lots += pool_lots
            left_lots -= pool_lots
            if not left_lots:
                ended = True
                break
        taken, left_lots, met, ended = _of_level(level, owner, stp, left_lots, met, meetings_max)
        lots += taken
        notional += taken * price_ticks
        if ended:
            break
    if swap is not None and not ended and met < meetings_max:
        pool_lots = swap.lots_within(limit_of(market, order), left_lots)
        if pool_lots:
            met += 1
            notional += sum([price * piece for price, piece in swap.take(pool_lots)])
            lots += pool_lots
    return Takeable(lots, notional * market.quote_atoms_per_tick_lot, met)


def _of_level(
    level: Level,
    owner: int,
    stp: int,
    left_lots: int,
    met: int,
    meetings_max: int,
) -> tuple[int, int, int, bool]:
    """Lots of a level for an order that has so many left.

    Also what it has left then, what it has met, and whether it goes no further.
    """
    lots = 0
    # What icebergs hide comes to the tail, a part after the other: (hidden lots, shown at a time).
    later: deque[tuple[int, int]] = deque()
    maker = level.head
    while maker is not None:
        if met == meetings_max:
            return lots, left_lots, met, True
        met += 1
        if stp and maker.account.owner == owner:
            if stp in (STP_CANCEL_NEWEST, STP_CANCEL_BOTH):
                return lots, left_lots, met, True
            if stp == STP_DECREMENT:
                left_lots -= min(left_lots, maker.open_lots)
                if not left_lots:
                    return lots, 0, met, True
            maker = maker.next
            continue
        shown_lots = maker.open_lots
        terms = maker.terms
        if terms is not None and terms.hidden_lots:
            shown_lots -= terms.hidden_lots
            later.append((terms.hidden_lots, terms.display_lots))
        taken = min(shown_lots, left_lots)
        lots += taken
        left_lots -= taken
        if not left_lots:
            return lots, left_lots, met, True
        maker = maker.next
    while later:
        if met == meetings_max:
            return lots, left_lots, met, True
        met += 1
        hidden_lots, display_lots = later.popleft()
        taken = min(hidden_lots, display_lots, left_lots)
        lots += taken
        left_lots -= taken
        if not left_lots:
            return lots, left_lots, met, True
        if hidden_lots > taken:
            later.append((hidden_lots - taken, display_lots))
    return lots, left_lots, met, False


def limit_of(market: Market, order: Order) -> int:
    """The worst price in ticks at which an order takes from a pool; its price zero means any."""
    price_ticks: int = order.price_ticks
    if order.side == BUY:
        return min(price_ticks or INT64_MAX, market.spec.price_ticks_max)
    return price_ticks or 1
