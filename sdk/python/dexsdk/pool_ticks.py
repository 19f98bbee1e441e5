"""Prices and the pool ticks of concentrated pools: tick t is the price 1.0001^t in quote atoms for
one base atom. For people and their ranges: what a pool computes with is its own, in integers."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Context, Decimal
from typing import Final

from dexsdk.errors import CallerError
from dexsdk.market import Market

POOL_TICK_MAX: Final = 887_272
_BASE: Final = Decimal("1.0001")
_CONTEXT: Final = Context(prec=50)
_SHOWN: Final = Context(prec=12)


def price_at(market: Market, pool_tick: int) -> Decimal:
    """The price at a pool tick, in quote units for one base unit, rounded to 12 digits."""
    return _SHOWN.plus(_CONTEXT.power(_BASE, pool_tick).scaleb(_shift(market), _CONTEXT))


def pool_tick(market: Market, price: Decimal | str, spacing: int = 1, *, up: bool = False) -> int:
    """The pool tick at or below a price, or with `up` at or above; a multiple of `spacing`.

    CallerError (FIELD_INVALID) for a price that no pool has.
    """
    atoms = Decimal(price)
    if atoms.is_finite() and atoms > 0:
        atoms = atoms.scaleb(-_shift(market), _CONTEXT)
        exact = _CONTEXT.divide(_CONTEXT.ln(atoms), _CONTEXT.ln(_BASE))
        tick = int(exact.to_integral_value(ROUND_FLOOR))
        # A logarithm is rounded: what is exactly a tick must come out as that tick.
        while _CONTEXT.power(_BASE, tick + 1) <= atoms:
            tick += 1
        if up and _CONTEXT.power(_BASE, tick) != atoms:
            tick += 1
        tick = -(-tick // spacing) * spacing if up else tick // spacing * spacing
        if abs(tick) <= POOL_TICK_MAX:
            return tick
    raise CallerError("FIELD_INVALID", f"no pool has the price {price}", field="price")


def _shift(market: Market) -> int:
    """Decimal places from atoms for an atom to units for a unit."""
    return market.message.base_asset.scale - market.message.quote_asset.scale
