"""Positions of a concentrated pool, and the ticks where they begin and end."""

from __future__ import annotations

from typing import Final, NamedTuple, final

from dexcore.amm.pool_tick import sqrt_price_at

# Fees per unit of liquidity have 128 fractional bits.
FEE_BITS: Final = 128


class Range(NamedTuple):
    """Whose liquidity, from which pool tick up to which."""

    account_key: int
    lower_tick: int
    upper_tick: int


@final
class Bound:
    """A pool tick at which positions begin or end.

    ``crossed_base`` and ``crossed_quote`` are the fees per unit of liquidity that were earned on
    the side of it where the price is not (v3's feeGrowthOutside).
    """

    __slots__ = ("crossed_base", "crossed_quote", "gross", "net", "sqrt_price")

    def __init__(self, pool_tick: int) -> None:
        self.sqrt_price = sqrt_price_at(pool_tick)
        self.gross = 0
        # What the pool's liquidity grows by when the price goes up through it.
        self.net = 0
        self.crossed_base = 0
        self.crossed_quote = 0


@final
class Position:
    """Liquidity of one range, the fees per unit it has been paid up to, and what it is owed."""

    __slots__ = ("liquidity", "owed_base_atoms", "owed_quote_atoms", "paid_base", "paid_quote")

    def __init__(self) -> None:
        self.liquidity = 0
        self.paid_base = 0
        self.paid_quote = 0
        self.owed_base_atoms = 0
        self.owed_quote_atoms = 0

    def owed(self, inside_base: int, inside_quote: int) -> tuple[int, int]:
        """What is owed with fees earned inside the range since the last time, rounded down."""
        return (
            self.owed_base_atoms + ((inside_base - self.paid_base) * self.liquidity >> FEE_BITS),
            self.owed_quote_atoms + ((inside_quote - self.paid_quote) * self.liquidity >> FEE_BITS),
        )

    def accrue(self, inside_base: int, inside_quote: int) -> None:
        """Move fees earned inside the range since the last time to what is owed."""
        self.owed_base_atoms, self.owed_quote_atoms = self.owed(inside_base, inside_quote)
        self.paid_base = inside_base
        self.paid_quote = inside_quote
