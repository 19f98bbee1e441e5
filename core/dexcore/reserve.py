"""What an order may cost: the worst case it reserves before it may match."""

from __future__ import annotations

from dexcore.book import BUY, Order
from dexcore.limits import PPM
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


def takeable(
    market: Market, side: int, limit_price_ticks: int | None, quantity_lots: int
) -> tuple[int, int]:
    """Lots and quote atoms an order would take from the book as it stands.

    ``limit_price_ticks`` None takes at any price. Walks levels, not orders.
    """
    lots = 0
    notional = 0
    for level in market.book.opposite(side).levels.values():
        price_ticks = level.price_ticks
        if limit_price_ticks is not None and (
            price_ticks > limit_price_ticks if side == BUY else price_ticks < limit_price_ticks
        ):
            break
        taken = min(level.quantity_lots, quantity_lots - lots)
        lots += taken
        notional += taken * price_ticks
        if lots == quantity_lots:
            break
    return lots, notional * market.quote_atoms_per_tick_lot
