"""Constant-product pools: two reserves whose product never falls.

Theory of operation: the rounding of Uniswap v2. What comes in counts less the fee, but all of it
stays, so every swap raises the product. Who provides liquidity owns a part of both reserves;
the first shares are the root of the product, of which MINIMUM_LIQUIDITY are locked for good so that
a share never becomes dear enough to round others away.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Final, final

from dexcore.amm.stretch import Stretch
from dexcore.book import BUY
from dexcore.invariant import check
from dexcore.limits import INT64_MAX, PPM

MINIMUM_LIQUIDITY: Final = 1_000


def amount_out(amount_in: int, reserve_in: int, reserve_out: int, fee_ppm: int) -> int:
    """Atoms that ``amount_in`` atoms buy, rounded down; always less than the reserve."""
    counted = amount_in * (PPM - fee_ppm)
    return counted * reserve_out // (reserve_in * PPM + counted)


def amount_in(amount_out: int, reserve_in: int, reserve_out: int, fee_ppm: int) -> int | None:
    """The least atoms that buy ``amount_out``; None if the reserve does not hold more than that.

    v2's library adds one where the division leaves nothing, too, and then asks for more than
    what it would have given ``amount_out`` for; this is the exact least.
    """
    if amount_out >= reserve_out:
        return None
    counted = (reserve_out - amount_out) * (PPM - fee_ppm)
    return -(-reserve_in * amount_out * PPM // counted)


@final
class ConstantProduct:
    """A pool's reserves in atoms, and who owns how much of them."""

    __slots__ = ("base_atoms", "fee_ppm", "quote_atoms", "shares", "shares_total")

    def __init__(self, fee_ppm: int) -> None:
        self.fee_ppm = fee_ppm
        self.base_atoms = 0
        self.quote_atoms = 0
        # By account key. MINIMUM_LIQUIDITY of the total is nobody's.
        self.shares: dict[int, int] = {}
        self.shares_total = 0

    # --- liquidity

    def mint_for(self, base_atoms_max: int, quote_atoms_max: int) -> tuple[int, int, int]:
        """Shares for at most these amounts at the pool's ratio, and the amounts.

        Returns:
            (shares, base_atoms, quote_atoms); shares are not positive where the amounts are too
            small to count.
        """
        if not self.shares_total:
            shares = isqrt(base_atoms_max * quote_atoms_max) - MINIMUM_LIQUIDITY
            return shares, base_atoms_max, quote_atoms_max
        base_atoms, quote_atoms = base_atoms_max, quote_atoms_max
        fitting = base_atoms_max * self.quote_atoms // self.base_atoms
        if fitting <= quote_atoms_max:
            quote_atoms = fitting
        else:
            base_atoms = quote_atoms_max * self.base_atoms // self.quote_atoms
        shares = min(
            base_atoms * self.shares_total // self.base_atoms,
            quote_atoms * self.shares_total // self.quote_atoms,
        )
        return shares, base_atoms, quote_atoms

    def mint(self, account_key: int, shares: int, base_atoms: int, quote_atoms: int) -> None:
        """Take in what :meth:`mint_for` said."""
        if not self.shares_total:
            self.shares_total = MINIMUM_LIQUIDITY
        self.shares[account_key] = self.shares.get(account_key, 0) + shares
        self.shares_total += shares
        self.base_atoms += base_atoms
        self.quote_atoms += quote_atoms

    def burn_for(self, shares: int) -> tuple[int, int]:
        """Base and quote atoms of so many shares, rounded down."""
        return (
            shares * self.base_atoms // self.shares_total,
            shares * self.quote_atoms // self.shares_total,
        )

    def burn(self, account_key: int, shares: int) -> tuple[int, int]:
        """Give shares back; the caller has compared them with what the account has."""
        base_atoms, quote_atoms = self.burn_for(shares)
        left = self.shares[account_key] - shares
        check(left >= 0, "more shares burnt than owned")
        if left:
            self.shares[account_key] = left
        else:
            del self.shares[account_key]
        self.shares_total -= shares
        self.base_atoms -= base_atoms
        self.quote_atoms -= quote_atoms
        return base_atoms, quote_atoms

    # --- trading

    def quote_in(self, side: int, atoms: int) -> int | None:
        """What exactly ``atoms`` bring: base for a buyer's quote, quote for a seller's base.

        None if they bring nothing.
        """
        if not self.shares_total:
            return None
        return amount_out(atoms, *self._reserves(side), self.fee_ppm) or None

    def quote_out(self, side: int, atoms: int) -> int | None:
        """What exactly ``atoms`` cost; None if the pool does not hold more than that."""
        return amount_in(atoms, *self._reserves(side), self.fee_ppm)

    def _reserves(self, side: int) -> tuple[int, int]:
        """What comes in and what goes out when a taker of this side trades."""
        x, y = self.base_atoms, self.quote_atoms
        return (y, x) if side == BUY else (x, y)

    def swap_in(self, side: int, atoms: int) -> int | None:
        """Trade exactly ``atoms`` that come in; what :meth:`quote_in` says."""
        out = self.quote_in(side, atoms)
        if out is not None:
            self.settle(side, *((out, atoms) if side == BUY else (atoms, out)))
        return out

    def swap_out(self, side: int, atoms: int) -> int | None:
        """Trade exactly ``atoms`` that go out; what :meth:`quote_out` says."""
        paid = self.quote_out(side, atoms)
        if paid is not None:
            self.settle(side, *((atoms, paid) if side == BUY else (paid, atoms)))
        return paid

    def stretches(self, side: int) -> Iterator[Stretch]:
        """What the pool offers a taker of this side: one stretch."""
        if not self.shares_total:
            return
        x, y = self.base_atoms, self.quote_atoms
        counted = PPM - self.fee_ppm
        if side == BUY:
            yield Stretch(0, 0, x - 1, x - 1, 0, y * PPM, x * counted, counted)
        else:
            yield Stretch(0, 0, INT64_MAX, INT64_MAX, 0, y * counted, x * PPM, counted)

    def settle(self, side: int, base_atoms: int, quote_atoms: int) -> None:
        """Take a whole swap in; checks that the product did not fall."""
        product = self.base_atoms * self.quote_atoms
        sign = 1 if side == BUY else -1
        self.base_atoms -= sign * base_atoms
        self.quote_atoms += sign * quote_atoms
        check(
            self.base_atoms > 0 < self.quote_atoms
            and self.base_atoms * self.quote_atoms >= product,
            "the product of a pool fell",
        )

    def check_sound(self) -> None:
        """Check that all shares are accounted for: slow, for recovery and tests."""
        locked = MINIMUM_LIQUIDITY if self.shares_total else 0
        check(sum(self.shares.values()) + locked == self.shares_total, "a pool's shares are off")
        check(
            bool(self.shares_total) == bool(self.base_atoms) == bool(self.quote_atoms),
            "a pool's shares without reserves",
        )
