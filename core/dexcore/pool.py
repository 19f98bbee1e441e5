"""A market's pool: an account of the ledger that trades by a formula."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, final

from dexcore.amm.concentrated import Concentrated
from dexcore.amm.constant_product import ConstantProduct
from dexcore.amm.router import Grid, LotSwap
from dexcore.invariant import check
from dexcore.ledger import Cell

if TYPE_CHECKING:
    from dexcore.market import MarketSpec


class PoolKind(IntEnum):
    """By which formula a pool trades."""

    CONSTANT_PRODUCT = 1
    CONCENTRATED = 2


# Fee tiers in parts per million, and the distance of the pool ticks where positions may end.
TICK_SPACING_OF_FEE: Final = {100: 1, 500: 10, 3_000: 60, 10_000: 200}

Curve = ConstantProduct | Concentrated


@final
class Pool:
    """The formula, its account's cells, and the units in which takers of the book meet it.

    The curve counts what it holds by itself; ``check_cells`` compares.
    """

    __slots__ = ("account_key", "base_cell", "curve", "grid", "kind", "price_ticks", "quote_cell")

    def __init__(
        self,
        account_key: int,
        kind: PoolKind,
        curve: Curve,
        price_ticks: int,
        grid: Grid,
        cells: tuple[Cell, Cell],
    ) -> None:
        self.account_key = account_key
        self.kind = kind
        self.curve = curve
        # The price it was created at; zero for a constant product.
        self.price_ticks = price_ticks
        self.grid = grid
        self.base_cell, self.quote_cell = cells

    def swap(self, side: int) -> LotSwap:
        """A new swap for a taker of this side."""
        return LotSwap(self.curve.stretches(side), side, self.grid)

    def bound_count(self) -> int:
        """Pool ticks where positions end, each of which a taker may have to go through."""
        curve = self.curve
        return len(curve.bounds) if isinstance(curve, Concentrated) else 0

    def check_cells(self) -> None:
        """Check that the ledger's cells hold what the formula counts."""
        held = self.base_cell.available, self.quote_cell.available
        check(held == (self.curve.base_atoms, self.curve.quote_atoms), "a pool's cells are off")


def grid_of(spec: MarketSpec) -> Grid:
    """The units in which takers of a market meet its pool."""
    step_lots = spec.quantity_increment_lots
    return Grid(
        step_lots,
        spec.price_increment_ticks,
        spec.base_atoms_per_lot * step_lots,
        spec.quote_atoms_per_tick_lot * spec.price_increment_ticks * step_lots,
    )
