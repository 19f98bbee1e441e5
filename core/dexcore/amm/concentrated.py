"""Concentrated liquidity: everybody chooses the prices between which to provide it.

Theory of operation: the mathematics of Uniswap v3 in exact integers. The pool's state is the
square root of its price and its pool tick, which is that root's, or one less where the price came
down to a bound and is in the range below. Its liquidity is the sum of the positions with
``lower_tick <= pool_tick < upper_tick``. Fees are kept beside the liquidity, as a sum per unit that
is split at the bounds, which lets a position work out its part from four numbers. Whatever a
division leaves stays in the pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, final

from sortedcontainers import SortedDict

from dexcore.amm.pool_tick import Q96, pool_tick_at, sqrt_price_at
from dexcore.amm.position import FEE_BITS, Bound, Position, Range
from dexcore.amm.sqrt_price import (
    Step,
    base_between,
    liquidity_of,
    quote_between,
    root_after_base,
    step_in,
    step_out,
)
from dexcore.amm.stretch import Stretch
from dexcore.book import BUY
from dexcore.invariant import InvariantError, check
from dexcore.limits import INT64_MAX, PPM

# Of all positions of a pool: a root that is rounded by 2^-96 moves less than an atom of quote.
LIQUIDITY_MAX: Final = INT64_MAX
# A new root is rounded against the taker, which is worth less than this.
_MARGIN_ATOMS: Final = 1


class _Leg(NamedTuple):
    """A range with liquidity that a swap goes through: where it begins and where it ends."""

    sqrt_price: int
    pool_tick: int
    liquidity: int
    target: int
    target_tick: int


@final
class Concentrated:
    """A pool's price, liquidity, positions, and what it holds in atoms."""

    __slots__ = (
        "base_atoms",
        "bounds",
        "earned_base",
        "earned_quote",
        "fee_ppm",
        "liquidity",
        "liquidity_total",
        "pool_tick",
        "positions",
        "quote_atoms",
        "sqrt_price",
    )

    def __init__(self, fee_ppm: int, sqrt_price: int) -> None:
        self.fee_ppm = fee_ppm
        self.sqrt_price = sqrt_price
        self.pool_tick = pool_tick_at(sqrt_price)
        self.liquidity = 0
        self.liquidity_total = 0
        self.base_atoms = 0
        self.quote_atoms = 0
        # Fees per unit of liquidity since ever, FEE_BITS fractional bits.
        self.earned_base = 0
        self.earned_quote = 0
        self.bounds: SortedDict[int, Bound] = SortedDict()
        self.positions: dict[Range, Position] = {}

    # --- liquidity

    def mint_for(
        self, lower_tick: int, upper_tick: int, base_atoms_max: int, quote_atoms_max: int
    ) -> tuple[int, int, int]:
        """The greatest liquidity for at most these amounts, and what it takes, rounded up.

        Returns:
            (liquidity, base_atoms, quote_atoms)
        """
        low, high = sqrt_price_at(lower_tick), sqrt_price_at(upper_tick)
        liquidity = liquidity_of(self.sqrt_price, low, high, base_atoms_max, quote_atoms_max)
        return liquidity, *self._amounts(low, high, liquidity, up=True)

    def mint(self, key: Range, liquidity: int, base_atoms: int, quote_atoms: int) -> None:
        """Take in what :meth:`mint_for` said; `key.lower_tick` is below `key.upper_tick`."""
        self._begin(key.lower_tick)
        self._begin(key.upper_tick)
        position = self.positions.get(key)
        if position is None:
            position = self.positions[key] = Position()
        position.accrue(*self._inside(key))
        self.change(key, position, liquidity)
        self.base_atoms += base_atoms
        self.quote_atoms += quote_atoms

    def burn_for(self, key: Range, liquidity: int) -> tuple[int, int]:
        """Base and quote atoms of so much of a position, rounded down, without what it is owed."""
        low, high = self.bounds[key.lower_tick].sqrt_price, self.bounds[key.upper_tick].sqrt_price
        return self._amounts(low, high, liquidity, up=False)

    def fees_of(self, key: Range) -> tuple[int, int]:
        """Base and quote atoms of fees that wait for a position: what burning nothing of it and
        :meth:`collect` would pay now."""
        return self.positions[key].owed(*self._inside(key))

    def burn(self, key: Range, liquidity: int) -> None:
        """Move so much of a position, and its fees, to what it is owed; :meth:`collect` pays."""
        base_atoms, quote_atoms = self.burn_for(key, liquidity)
        position = self.positions[key]
        check(0 <= liquidity <= position.liquidity, "more liquidity burnt than owned")
        position.accrue(*self._inside(key))
        self.change(key, position, -liquidity)
        position.owed_base_atoms += base_atoms
        position.owed_quote_atoms += quote_atoms
        for pool_tick in (key.lower_tick, key.upper_tick):
            if not self.bounds[pool_tick].gross:
                del self.bounds[pool_tick]

    def collect(self, key: Range) -> tuple[int, int]:
        """Pay a position what it is owed, and forget it if it has nothing left."""
        position = self.positions[key]
        base_atoms, quote_atoms = position.owed_base_atoms, position.owed_quote_atoms
        position.owed_base_atoms = position.owed_quote_atoms = 0
        if not position.liquidity:
            del self.positions[key]
        self.base_atoms -= base_atoms
        self.quote_atoms -= quote_atoms
        check(self.base_atoms >= 0 <= self.quote_atoms, "a pool owes more than it holds")
        return base_atoms, quote_atoms

    def _amounts(self, low: int, high: int, liquidity: int, *, up: bool) -> tuple[int, int]:
        inside = min(max(self.sqrt_price, low), high)
        return (
            base_between(inside, high, liquidity, up=up),
            quote_between(low, inside, liquidity, up=up),
        )

    def _begin(self, pool_tick: int) -> None:
        """Make a bound on first use, as if all fees so far had been earned below it."""
        bound = self.bounds.get(pool_tick)
        if bound is None:
            bound = self.bounds[pool_tick] = Bound(pool_tick)
            if pool_tick <= self.pool_tick:
                bound.crossed_base = self.earned_base
                bound.crossed_quote = self.earned_quote

    def change(self, key: Range, position: Position, liquidity: int) -> None:
        """Add so much liquidity to a position, or take it, and count it at its bounds."""
        lower_tick, upper_tick = self.bounds[key.lower_tick], self.bounds[key.upper_tick]
        position.liquidity += liquidity
        lower_tick.gross += liquidity
        upper_tick.gross += liquidity
        lower_tick.net += liquidity
        upper_tick.net -= liquidity
        if key.lower_tick <= self.pool_tick < key.upper_tick:
            self.liquidity += liquidity
        self.liquidity_total += liquidity
        check(self.liquidity_total <= LIQUIDITY_MAX, "a pool has too much liquidity")

    def _inside(self, key: Range) -> tuple[int, int]:
        """Fees per unit of liquidity earned between two bounds; only differences mean anything."""
        base, quote = self.earned_base, self.earned_quote
        for pool_tick, is_outside in (
            (key.lower_tick, self.pool_tick < key.lower_tick),
            (key.upper_tick, self.pool_tick >= key.upper_tick),
        ):
            bound = self.bounds[pool_tick]
            if is_outside:
                base -= self.earned_base - bound.crossed_base
                quote -= self.earned_quote - bound.crossed_quote
            else:
                base -= bound.crossed_base
                quote -= bound.crossed_quote
        return base, quote

    # --- trading

    def quote_in(self, side: int, atoms: int) -> int | None:
        """What exactly ``atoms`` bring; None if that is nothing, or the pool cannot take them."""
        steps, left = self._walk(side, atoms, is_in=True)
        return sum(step.amount_out for _, step in steps) or None if not left else None

    def quote_out(self, side: int, atoms: int) -> int | None:
        """What exactly ``atoms`` cost; None if the pool has not so much."""
        steps, left = self._walk(side, atoms, is_in=False)
        return sum(step.amount_in + step.fee for _, step in steps) if not left else None

    def swap_in(self, side: int, atoms: int) -> int | None:
        """Trade exactly ``atoms`` that come in; what :meth:`quote_in` says."""
        steps, left = self._walk(side, atoms, is_in=True)
        out = sum(step.amount_out for _, step in steps)
        if left or not out:
            return None
        self._apply(side, steps, *((out, atoms) if side == BUY else (atoms, out)))
        return out

    def swap_out(self, side: int, atoms: int) -> int | None:
        """Trade exactly ``atoms`` that go out; what :meth:`quote_out` says."""
        steps, left = self._walk(side, atoms, is_in=False)
        if left:
            return None
        paid = sum(step.amount_in + step.fee for _, step in steps)
        self._apply(side, steps, *((atoms, paid) if side == BUY else (paid, atoms)))
        return paid

    def _walk(self, side: int, atoms: int, *, is_in: bool) -> tuple[list[tuple[_Leg, Step]], int]:
        steps: list[tuple[_Leg, Step]] = []
        left = atoms
        act = step_in if is_in else step_out
        for leg in self._legs(side):
            if not left:
                break
            step = act(side, leg.sqrt_price, leg.target, leg.liquidity, left, self.fee_ppm)
            left -= step.amount_in + step.fee if is_in else step.amount_out
            steps.append((leg, step))
        return steps, left

    def _apply(
        self, side: int, steps: list[tuple[_Leg, Step]], base_atoms: int, quote_atoms: int
    ) -> None:
        for leg, step in steps:
            fee = (step.fee << FEE_BITS) // leg.liquidity
            self._move(side, leg, step.sqrt_price, *((0, fee) if side == BUY else (fee, 0)))
        self._hold(side, base_atoms, quote_atoms)

    def stretches(self, side: int) -> Iterator[Stretch]:
        """What the pool offers a taker of this side, range by range, best price first.

        A range that is used up costs and brings what v3 rounds it to.
        """
        base_atoms = quote_atoms = 0
        counted = PPM - self.fee_ppm
        for leg in self._legs(side):
            root, liquidity = leg.sqrt_price, leg.liquidity
            through_base, through_quote, _ = self._whole(side, leg)
            flat = base_atoms + self._flat(side, leg)
            end = base_atoms + through_base
            r = Q96 * root * counted
            if side == BUY:
                p, q = liquidity * root * root * PPM, Q96 * Q96 * liquidity * counted
            else:
                p, q = liquidity * root * root * counted, Q96 * Q96 * liquidity * PPM
            yield Stretch(base_atoms, quote_atoms, flat, end, _MARGIN_ATOMS, p, q, r)
            base_atoms = end
            quote_atoms += through_quote

    def settle(self, side: int, base_atoms: int, quote_atoms: int) -> None:
        """Take in a whole swap along :meth:`stretches`.

        ``quote_atoms`` are at least what the stretches ask of a buyer, at most what they give a
        seller; the difference belongs to the liquidity of the last range.
        """
        left, quote_left = base_atoms, quote_atoms
        for leg in self._legs(side):
            through_base, through_quote, fee = self._whole(side, leg)
            if left <= through_base:
                self._settle_last(side, leg, left, quote_left)
                left = 0
                break
            fee = (fee << FEE_BITS) // leg.liquidity
            self._move(side, leg, leg.target, *((0, fee) if side == BUY else (fee, 0)))
            left -= through_base
            quote_left -= through_quote
        check(not left, "a pool sold what it does not hold")
        self._hold(side, base_atoms, quote_atoms)

    def _settle_last(self, side: int, leg: _Leg, base_atoms: int, quote_atoms: int) -> None:
        """Move the price within a range; what the amounts are better than that are fees."""
        root, liquidity = leg.sqrt_price, leg.liquidity
        counted = PPM - self.fee_ppm
        fee_base = 0
        if side == BUY:
            reached = root_after_base(root, liquidity, -base_atoms)
            if reached is None or reached > leg.target:
                raise InvariantError("a range sold more than it holds")
            fee_quote = (quote_atoms << FEE_BITS) - (liquidity * (reached - root) << FEE_BITS - 96)
        else:
            # The fee is not rounded to atoms, or a small lot would pay a large one.
            moving = min(base_atoms, self._flat(side, leg)) * counted
            whole = liquidity * Q96 * PPM
            reached = -(-whole * root // (whole + moving * root))
            moved_base = -(-(liquidity * Q96 * (root - reached) << FEE_BITS) // (root * reached))
            fee_base = (base_atoms << FEE_BITS) - moved_base
            fee_quote = (liquidity * (root - reached) << FEE_BITS - 96) - (quote_atoms << FEE_BITS)
        if fee_base < 0 or fee_quote < 0 or (side != BUY and reached < leg.target):
            raise InvariantError("a swap is worse for a pool than its price")
        self._move(side, leg, reached, fee_base // liquidity, fee_quote // liquidity)

    def _flat(self, side: int, leg: _Leg) -> int:
        """Base atoms of a range that move its price; see :class:`Stretch`."""
        if side == BUY:
            return base_between(leg.sqrt_price, leg.target, leg.liquidity, up=False)
        inside = base_between(leg.target, leg.sqrt_price, leg.liquidity, up=False)
        return inside * PPM // (PPM - self.fee_ppm)

    def _whole(self, side: int, leg: _Leg) -> tuple[int, int, int]:
        """Base, quote and fee atoms of a range that is used up."""
        root, target, liquidity = leg.sqrt_price, leg.target, leg.liquidity
        counted = PPM - self.fee_ppm
        if side == BUY:
            paid = quote_between(root, target, liquidity, up=True)
            fee = -(-paid * self.fee_ppm // counted)
            return base_between(root, target, liquidity, up=False), paid + fee, fee
        paid = base_between(target, root, liquidity, up=True)
        fee = -(-paid * self.fee_ppm // counted)
        return paid + fee, quote_between(target, root, liquidity, up=False), fee

    def _legs(self, side: int) -> Iterator[_Leg]:
        """The ranges with liquidity that a taker of this side meets, from the price on."""
        root, tick, liquidity = self.sqrt_price, self.pool_tick, self.liquidity
        sign = 1 if side == BUY else -1
        for bound_tick in self._ahead(side, tick):
            bound = self.bounds[bound_tick]
            if liquidity and bound.sqrt_price != root:
                yield _Leg(root, tick, liquidity, bound.sqrt_price, bound_tick)
            liquidity += sign * bound.net
            root = bound.sqrt_price
            tick = bound_tick if side == BUY else bound_tick - 1

    def _ahead(self, side: int, tick: int, end: int | None = None) -> Iterator[int]:
        """Bounds that a price at a pool tick crosses on its way, to that of the way's end."""
        if side == BUY:
            ahead: Iterator[int] = self.bounds.irange(tick + 1, end)
        else:
            ahead = self.bounds.irange(None if end is None else end + 1, tick, reverse=True)
        return ahead

    def _move(self, side: int, leg: _Leg, reached: int, fee_base: int, fee_quote: int) -> None:
        """Go to the leg's beginning, earn there per unit of liquidity, and go on to its end."""
        self._cross_to(side, leg.pool_tick)
        check(self.liquidity == leg.liquidity, "a pool's liquidity is off")
        self.earned_base += fee_base
        self.earned_quote += fee_quote
        self.sqrt_price = reached
        if reached != leg.sqrt_price:
            # Working a pool tick out costs as much as all else of a range.
            whole = reached == leg.target
            self._cross_to(side, leg.target_tick if whole else pool_tick_at(reached))

    def _cross_to(self, side: int, tick: int) -> None:
        sign = 1 if side == BUY else -1
        for bound_tick in self._ahead(side, self.pool_tick, tick):
            bound = self.bounds[bound_tick]
            bound.crossed_base = self.earned_base - bound.crossed_base
            bound.crossed_quote = self.earned_quote - bound.crossed_quote
            self.liquidity += sign * bound.net
        self.pool_tick = tick

    def _hold(self, side: int, base_atoms: int, quote_atoms: int) -> None:
        sign = 1 if side == BUY else -1
        self.base_atoms -= sign * base_atoms
        self.quote_atoms += sign * quote_atoms
        check(self.base_atoms >= 0 <= self.quote_atoms, "a pool paid more than it holds")

    def check_sound(self) -> None:
        """Recount bounds and liquidity, and what is owed against what is held: slow."""
        owed_base = owed_quote = 0
        net: dict[int, int] = {}
        gross: dict[int, int] = {}
        active = 0
        for key, position in self.positions.items():
            liquidity = position.liquidity
            fees = position.owed_base_atoms, position.owed_quote_atoms
            if liquidity:
                fees = self.fees_of(key)
                base_atoms, quote_atoms = self.burn_for(key, liquidity)
                owed_base += base_atoms
                owed_quote += quote_atoms
                for tick, sign in ((key.lower_tick, 1), (key.upper_tick, -1)):
                    net[tick] = net.get(tick, 0) + sign * liquidity
                    gross[tick] = gross.get(tick, 0) + liquidity
                if key.lower_tick <= self.pool_tick < key.upper_tick:
                    active += liquidity
            owed_base += fees[0]
            owed_quote += fees[1]
        check(owed_base <= self.base_atoms, "a pool owes more base than it holds")
        check(owed_quote <= self.quote_atoms, "a pool owes more quote than it holds")
        check(active == self.liquidity, "a pool's liquidity is off")
        known = {tick: (bound.net, bound.gross) for tick, bound in self.bounds.items()}
        check(known == {tick: (net[tick], gross[tick]) for tick in net}, "a pool's bounds are off")
