"""What an order may cost: the worst case it reserves before it may match."""

from __future__ import annotations

from dexcore.amm.router import route
from dexcore.book import BUY, Level, Order
from dexcore.items import STP_CANCEL_BOTH, STP_CANCEL_NEWEST, STP_CANCEL_OLDEST, STP_DECREMENT
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
    must not trade with its owner's: those lots count as nothing, where the first of them ends the
    order nothing behind it counts, and where they shrink it, it takes less of what is behind them.
    """
    if market.pool is not None:
        return _takeable_with_pool(market, market.pool, order, quantity_lots)
    buys = order.side == BUY
    limit_ticks = order.price_ticks
    stp = 0 if order.terms is None else order.terms.stp
    left_lots = order.open_lots
    lots = 0
    notional = 0
    for level in market.book.opposite(order.side).levels.values():
        price_ticks = level.price_ticks
        if limit_ticks and (price_ticks > limit_ticks if buys else price_ticks < limit_ticks):
            break
        offered_lots = level.quantity_lots + level.hidden_lots
        if stp:
            offered_lots, left_lots = _of_others(level, order.account.owner, stp, left_lots)
        taken = min(offered_lots, quantity_lots - lots)
        lots += taken
        notional += taken * price_ticks
        if not left_lots or lots == quantity_lots:
            break
    return lots, notional * market.quote_atoms_per_tick_lot


def _of_others(level: Level, owner: int, stp: int, left_lots: int) -> tuple[int, int]:
    """Lots of a level that an order of the owner takes from others, and what it has left then.

    The queue is shown lots first, in order; what icebergs hide comes behind all of them.
    """
    lots = hidden_lots = 0
    for each in level:
        if each.account.owner == owner:
            if stp in (STP_CANCEL_NEWEST, STP_CANCEL_BOTH):
                return lots, 0
            if stp == STP_DECREMENT:
                left_lots -= min(left_lots, each.open_lots)
            continue
        hidden = 0 if each.terms is None else each.terms.hidden_lots
        taken = min(each.open_lots - hidden, left_lots)
        hidden_lots += hidden
        lots += taken
        left_lots -= taken
    taken = min(hidden_lots, left_lots)
    return lots + taken, left_lots - taken


def _takeable_with_pool(
    market: Market, pool: Pool, order: Order, quantity_lots: int
) -> tuple[int, int]:
    """The same where every taker is routed."""
    side = order.side
    limit_ticks = limit_of(market, order)
    stp = 0 if order.terms is None else order.terms.stp
    if stp == STP_DECREMENT:
        # What the pool gives between own orders changes how far they shrink it: counted as if not.
        stp = STP_CANCEL_OLDEST
    levels: list[tuple[int, int]] = []
    wanted_lots = quantity_lots
    ended = False
    for level in market.book.opposite(side).levels.values():
        price_ticks = level.price_ticks
        if (price_ticks > limit_ticks) if side == BUY else (price_ticks < limit_ticks):
            break
        offered_lots = level.quantity_lots + level.hidden_lots
        if stp:
            offered_lots, left_lots = _of_others(level, order.account.owner, stp, INT64_MAX)
            ended = not left_lots
        levels.append((price_ticks, offered_lots))
        wanted_lots -= offered_lots
        if ended or wanted_lots <= 0:
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
