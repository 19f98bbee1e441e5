"""Where a pool's price moves smoothly: how much of the base asset costs how much.

Theory of operation: on a stretch the pool behaves like a constant product of (real or virtual)
reserves, so what ``base_atoms`` cost or bring is ``p * a / (q -+ r * a)``: minus for a taker that
buys, plus for one that sells. The price of the next so many atoms only gets worse, so
the last of them within a price is found in closed form, with one integer square root.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from dexcore.book import BUY


class Stretch(NamedTuple):
    """A piece of what a pool offers one taker; amounts count from the swap's beginning.

    ``start_base_atoms`` and ``start_quote_atoms`` went through before it, and up to
    ``end_base_atoms`` go through on it; those behind ``flat_base_atoms`` move the price no more,
    since it takes more to go through all of a range than the range is worth.
    ``margin_atoms`` quote atoms are the pool's for rounding its new price.
    """

    start_base_atoms: int
    start_quote_atoms: int
    flat_base_atoms: int
    end_base_atoms: int
    margin_atoms: int
    p: int
    q: int
    r: int

    def quote(self, side: int, base_atoms: int) -> tuple[int, int]:
        """Exact quote atoms of the first ``base_atoms`` of a swap, as a fraction.

        ``side`` is the taker's: what a buyer pays, or what a seller gets. The fraction is
        (numerator, positive denominator).
        """
        a = min(base_atoms, self.flat_base_atoms) - self.start_base_atoms
        if side == BUY:
            denominator = self.q - self.r * a
            fixed = self.start_quote_atoms + self.margin_atoms
        else:
            denominator = self.q + self.r * a
            fixed = self.start_quote_atoms - self.margin_atoms
        return fixed * denominator + self.p * a, denominator

    def reach(self, side: int, step_base_atoms: int, price_atoms: int) -> int:
        """The greatest ``base_atoms`` such that a step ending there is within a price.

        A step is ``step_base_atoms``, all of it on this stretch before it is flat; ``price_atoms``
        is the most a buyer pays for a step, the least a seller takes for it. Below the
        first step's end where not even that is within.
        """
        r_step = self.r * step_base_atoms
        # A step costs or brings p*q*step / (z * (z + r*step)), where z is the denominator
        # above at its end for a buyer, at its beginning for a seller.
        wanted = self.p * self.q * step_base_atoms
        if side == BUY:
            product = -(-wanted // price_atoms)
            root = isqrt(r_step * r_step + 4 * product - 1) + 1
            z = (root - r_step + 1) // 2
            a = (self.q - z) // self.r
        else:
            product = wanted // price_atoms
            z = (isqrt(r_step * r_step + 4 * product) - r_step) // 2
            a = (z - self.q) // self.r + step_base_atoms
        return min(self.start_base_atoms + a, self.flat_base_atoms)
