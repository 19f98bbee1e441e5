"""Which lots a taker gets from the pool before the next level of the book.

Theory of operation: one taker's step is one swap, however often the book comes in between. Its
total after ``n`` steps of the lot increment is exact; the price of the next step is the difference
of two totals, rounded to the price increment against the taker, and the pool is taken while that is
better than the level of the book: at the same price the book is first. The lots are found range by
range in closed form (:mod:`dexcore.amm.stretch`). Money moves in whole increments: the total,
rounded up for a buyer and down for a seller, so that a fill is at most two trades at neighbouring
prices whose sum is exact, no fill is worse than the price it was taken for, and splitting pays
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, final

from dexcore.amm.stretch import Stretch
from dexcore.book import BUY
from dexcore.invariant import check


class Grid(NamedTuple):
    """The units in which a market trades, and what they are in atoms.

    ``step_base_atoms`` are those of ``step_lots`` lots; ``unit_quote_atoms`` those of one price
    increment of ``increment_ticks`` times ``step_lots`` lots.
    """

    step_lots: int
    increment_ticks: int
    step_base_atoms: int
    unit_quote_atoms: int


Piece = tuple[int, int]
"""price_ticks, quantity_lots"""


@final
class LotSwap:
    """One taker's swap: what it took so far, and what the next lots cost or bring.

    The pool itself is changed by its ``settle`` with ``base_atoms`` and ``quote_atoms`` at the end.
    """

    __slots__ = ("_grid", "_rest", "_side", "_steps", "_stretches", "_totals", "_units")

    def __init__(self, stretches: Iterator[Stretch], side: int, grid: Grid) -> None:
        self._rest = stretches
        self._stretches: list[Stretch] = []
        self._side = side
        self._grid = grid
        self._steps = 0
        self._units = 0
        # Level after level asks for the same few.
        self._totals: dict[int, tuple[int, int] | None] = {0: (0, 1)}

    @property
    def base_atoms(self) -> int:
        """Base atoms taken so far."""
        return self._steps * self._grid.step_base_atoms

    @property
    def quote_atoms(self) -> int:
        """Quote atoms paid or got for them."""
        return self._units * self._grid.unit_quote_atoms

    def next_price_ticks(self) -> int | None:
        """Price of the next lots, rounded against the taker; None if there are none."""
        price = self._price(self._steps + 1)
        if price is None:
            return None
        numerator, denominator = price
        unit = denominator * self._grid.unit_quote_atoms
        units = -(-numerator // unit) if self._side == BUY else numerator // unit
        return units * self._grid.increment_ticks if units > 0 else None

    def lots_before(self, price_ticks: int, most_lots: int) -> int:
        """Lots whose price is better than that of a level of the book."""
        better = price_ticks - 1 if self._side == BUY else price_ticks + 1
        return self.lots_within(better, most_lots)

    def lots_within(self, limit_ticks: int, most_lots: int) -> int:
        """Lots, at most so many, whose price is a limit or better."""
        grid = self._grid
        if self._side == BUY:
            increments = limit_ticks // grid.increment_ticks
        else:
            increments = max(1, -(-limit_ticks // grid.increment_ticks))
        price_atoms = increments * grid.unit_quote_atoms
        steps = self._steps
        most = steps + most_lots // grid.step_lots
        while price_atoms > 0 and steps < most and self._is_within(steps + 1, price_atoms):
            steps += 1
            # The rest of the range this step ended in, if the next begins and ends there.
            stretch = self._stretch_at(steps * grid.step_base_atoms)
            if stretch is not None:
                reach = stretch.reach(self._side, grid.step_base_atoms, price_atoms)
                steps = max(steps, min(most, reach // grid.step_base_atoms))
        return (steps - self._steps) * grid.step_lots

    def take(self, lots: int) -> list[Piece]:
        """Take so many lots, which :meth:`lots_within` has found; the better price first."""
        grid = self._grid
        steps = lots // grid.step_lots
        total = self._total(self._steps + steps)
        check(total is not None and steps * grid.step_lots == lots, "lots a pool does not offer")
        numerator, denominator = total or (0, 1)
        unit = denominator * grid.unit_quote_atoms
        if self._side == BUY:
            # Nothing is sold for less than an increment.
            units = max(-(-numerator // unit), self._units + steps)
        else:
            units = numerator // unit
        price, dearer = divmod(units - self._units, steps)
        self._steps += steps
        self._units = units
        pieces = [(price, steps - dearer), (price + 1, dearer)]
        if self._side != BUY:
            pieces.reverse()
        return [(p * grid.increment_ticks, n * grid.step_lots) for p, n in pieces if n]

    def _is_within(self, steps: int, price_atoms: int) -> bool:
        price = self._price(steps)
        if price is None:
            return False
        numerator, denominator = price
        if self._side == BUY:
            return numerator <= price_atoms * denominator
        return numerator >= price_atoms * denominator

    def _price(self, steps: int) -> tuple[int, int] | None:
        """Exact quote atoms of the last of so many steps; None if the pool has not so many."""
        after = self._total(steps)
        before = self._total(steps - 1)
        if after is None or before is None:
            return None
        return after[0] * before[1] - before[0] * after[1], after[1] * before[1]

    def _total(self, steps: int) -> tuple[int, int] | None:
        """Exact quote atoms of so many steps as a fraction; None if the pool has not so many."""
        totals = self._totals
        if steps not in totals:
            base_atoms = steps * self._grid.step_base_atoms
            stretch = self._stretch_at(base_atoms)
            totals[steps] = None if stretch is None else stretch.quote(self._side, base_atoms)
        return totals[steps]

    def _stretch_at(self, base_atoms: int) -> Stretch | None:
        """The stretch on which so many atoms end; it is among the last."""
        known = self._stretches
        while not known or known[-1].end_base_atoms < base_atoms:
            stretch = next(self._rest, None)
            if stretch is None:
                return None
            known.append(stretch)
        index = len(known) - 1
        while known[index].start_base_atoms >= base_atoms:
            index -= 1
        return known[index]


class Routed(NamedTuple):
    """A part of what a taker gets: from the pool or from a level of the book."""

    from_pool: bool
    price_ticks: int
    quantity_lots: int


def route(
    swap: LotSwap | None,
    levels: Iterable[tuple[int, int]],
    side: int,
    limit_ticks: int,
    quantity_lots: int,
) -> Iterator[Routed]:
    """What a taker gets from book and pool, step by step; changes neither.

    Args:
        swap: a new swap with the market's pool, None without a pool.
        levels: (price_ticks, lots) of the other side, best first.
        side: the taker's.
        limit_ticks: the worst price it takes.
        quantity_lots: what it wants.
    """
    sign = 1 if side == BUY else -1
    left = quantity_lots
    for price_ticks, level_lots in levels:
        if not left or sign * price_ticks > sign * limit_ticks:
            break
        if swap is not None and (lots := swap.lots_before(price_ticks, left)):
            yield from (Routed(True, *piece) for piece in swap.take(lots))
            left -= lots
        lots = min(left, level_lots)
        if lots:
            yield Routed(False, price_ticks, lots)
            left -= lots
    if left and swap is not None and (lots := swap.lots_within(limit_ticks, left)):
        yield from (Routed(True, *piece) for piece in swap.take(lots))
