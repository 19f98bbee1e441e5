"""What an order may cost: the worst case it reserves before it may match."""

from __future__ import annotations

from dexcore.amm.router import route
from dexcore.book import BUY, Level, Order
from dexcore.items import STP_CANCEL_BOTH, STP_CANCEL_NEWEST
from dexcore.limits import INT64_MAX, PPM
from dexcore.market import Market
from dexcore.pool import Pool


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
    return order.price_ticks if terms is None or not terms.peg else terms.limit_price_ticks


def takeable(market: Market, order: Order, quantity_lots: int) -> tuple[int, int]:
    """Lots and quote atoms an order would take from book and pool as they stand.

    It takes at its price or better, price zero meaning any. Walks levels, not orders, unless it
    must not trade with its owner's.
    """
    if market.pool is not None:
        return _takeable_with_pool(market, market.pool, order, quantity_lots)
    if order.terms is not None and order.terms.stp:
        return _takeable_from_others(market, order, quantity_lots, order.terms.stp)
    buys = order.side == BUY
    limit_ticks = order.price_ticks
    lots = 0
    notional = 0
    for level in market.book.opposite(order.side).levels.values():
        price_ticks = level.price_ticks
        if limit_ticks and (price_ticks > limit_ticks if buys else price_ticks < limit_ticks):
            break
        taken = min(level.quantity_lots + level.hidden_lots, quantity_lots - lots)
        lots += taken
        notional += taken * price_ticks
        if lots == quantity_lots:
            break
    return lots, notional * market.quote_atoms_per_tick_lot


def _takeable_from_others(
    market: Market, order: Order, quantity_lots: int, stp: int
) -> tuple[int, int]:
    """The same, but lots of the order's own owner count as nothing.

    Where the first of them ends the order, nothing behind it counts.
    """
    buys = order.side == BUY
    limit_ticks = order.price_ticks
    ends = stp in (STP_CANCEL_NEWEST, STP_CANCEL_BOTH)
    lots = 0
    notional = 0
    for level in market.book.opposite(order.side).levels.values():
        price_ticks = level.price_ticks
        if limit_ticks and (price_ticks > limit_ticks if buys else price_ticks < limit_ticks):
            break
        others_lots, ended = _of_others(level, order.account.owner, ends)
        taken = min(others_lots, quantity_lots - lots)
        lots += taken
        notional += taken * price_ticks
        if ended or lots == quantity_lots:
            break
    return lots, notional * market.quote_atoms_per_tick_lot


def _of_others(level: Level, owner: int, ends: bool) -> tuple[int, bool]:
    """Lots of a level that are not the owner's; with ``ends`` only what comes before the first
    that is, and whether there is one."""
    shown_lots = hidden_lots = 0
    for each in level:
        if each.account.owner == owner:
            if ends:
                # What is hidden before it comes to the tail, so behind it.
                return shown_lots, True
            continue
        hidden = 0 if each.terms is None else each.terms.hidden_lots
        hidden_lots += hidden
        shown_lots += each.open_lots - hidden
    return shown_lots + hidden_lots, False


def _takeable_with_pool(
    market: Market, pool: Pool, order: Order, quantity_lots: int
) -> tuple[int, int]:
    """The same where every taker is routed."""
    side = order.side
    limit_ticks = limit_of(market, order)
    stp = 0 if order.terms is None else order.terms.stp
    ends = stp in (STP_CANCEL_NEWEST, STP_CANCEL_BOTH)
    levels: list[tuple[int, int]] = []
    left_lots = quantity_lots
    ended = False
    for level in market.book.opposite(side).levels.values():
        price_ticks = level.price_ticks
        if (price_ticks > limit_ticks) if side == BUY else (price_ticks < limit_ticks):
            break
        offered_lots = level.quantity_lots + level.hidden_lots
        if stp:
            offered_lots, ended = _of_others(level, order.account.owner, ends)
        levels.append((price_ticks, offered_lots))
        left_lots -= offered_lots
        if ended or left_lots <= 0:
            break
    swap = pool.swap(side)
    parts = route(swap, levels, side, limit_ticks, quantity_lots, levels_end_it=ended)
    lots = 0
    notional = 0
    for part in parts:
        lots += part.quantity_lots
        notional += part.quantity_lots * part.price_ticks
    return lots, notional * market.quote_atoms_per_tick_lot


def limit_of(market: Market, order: Order) -> int:
    """The worst price in ticks at which an order takes from a pool; its price zero means any."""
    if order.side == BUY:
        return min(order.price_ticks or INT64_MAX, market.spec.price_ticks_max)
    return order.price_ticks or 1
