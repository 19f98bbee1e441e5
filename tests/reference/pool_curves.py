"""The two kinds of pools of the naive twin, in exact fractions; imports nothing of the product.

A concentrated pool keeps for each position what a unit of its liquidity has earned, and adds to all
that a swap goes through: no sums that are split at bounds, no state but price and positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor, isqrt
from typing import NamedTuple

from tests.reference.pools import (
    BUY,
    MILLION,
    Q96,
    Piece,
    Total,
    Way,
    product_total,
    ranges_total,
    root_of,
    ways,
)

LOCKED = 1_000
MOST = 2**63 - 1
UNIT = 2**128

Place = tuple[int, int, int]
"""Who, from which pool tick, to which."""


@dataclass
class Product:
    """Two reserves."""

    fee_ppm: int
    base: int = 0
    quote: int = 0
    shares: dict[int, int] = field(default_factory=dict)
    total: int = 0

    def total_of(self, side: int) -> Total:
        return product_total(self.base, self.quote, self.fee_ppm, side)

    def settle(self, side: int, base: int, quote: int) -> None:
        sign = 1 if side == BUY else -1
        self.base -= sign * base
        self.quote += sign * quote

    def offer(self, place: Place, base: int, quote: int) -> tuple[int, int, int]:
        """Liquidity for at most these amounts, and what it takes."""
        if not self.total:
            return isqrt(base * quote) - LOCKED, base, quote
        needed = floor(Fraction(base * self.quote, self.base))
        if needed <= quote:
            quote = needed
        else:
            base = floor(Fraction(quote * self.base, self.quote))
        parts = Fraction(base, self.base), Fraction(quote, self.quote)
        return floor(self.total * min(parts)), base, quote

    def fits(self, liquidity: int) -> bool:
        return 0 < liquidity <= MOST - self.total

    def add(self, place: Place, liquidity: int, base: int, quote: int) -> None:
        self.total = (self.total or LOCKED) + liquidity
        self.shares[place[0]] = self.shares.get(place[0], 0) + liquidity
        self.base += base
        self.quote += quote

    def owned(self, place: Place) -> int | None:
        return self.shares.get(place[0])

    def worth(self, place: Place, liquidity: int) -> tuple[int, int]:
        part = Fraction(liquidity, self.total)
        return floor(self.base * part), floor(self.quote * part)

    def take_back(self, place: Place, liquidity: int) -> tuple[int, int]:
        base, quote = self.worth(place, liquidity)
        self.shares[place[0]] -= liquidity
        if not self.shares[place[0]]:
            del self.shares[place[0]]
        self.total -= liquidity
        self.base -= base
        self.quote -= quote
        return base, quote

    def swap(self, side: int, atoms: int, *, is_in: bool) -> tuple[int, int, Callable[[], None]]:
        """What comes in, what goes out, and how it is done; nothing out if it cannot be."""
        into, out_of = (self.quote, self.base) if side == BUY else (self.base, self.quote)
        kept = Fraction(MILLION - self.fee_ppm, MILLION)
        paid, got = atoms, 0
        if is_in and into:
            got = floor(out_of - Fraction(into * out_of) / (into + atoms * kept))
        elif not is_in and atoms < out_of:
            got = atoms
            paid = ceil((Fraction(into * out_of, out_of - atoms) - into) / kept)
        base, quote = (got, paid) if side == BUY else (paid, got)
        return paid, got, lambda: self.settle(side, base, quote)


@dataclass
class Position:
    """Liquidity, and per unit of it: earned ever, and paid up to."""

    liquidity: int = 0
    earned: list[int] = field(default_factory=lambda: [0, 0])
    paid: list[int] = field(default_factory=lambda: [0, 0])
    owed: list[int] = field(default_factory=lambda: [0, 0])

    def accrue(self) -> None:
        for index in (0, 1):
            news = self.earned[index] - self.paid[index]
            self.owed[index] += floor(Fraction(news * self.liquidity, UNIT))
        self.paid = list(self.earned)


class Step(NamedTuple):
    """What a swap did in one range."""

    way: Way
    after: int
    paid: int
    got: int
    fee: int


@dataclass
class Ranges:
    """Positions between pool ticks; `root_at` gives a tick's Q64.96 root."""

    fee_ppm: int
    root: int
    root_at: Callable[[int], int]
    positions: dict[Place, Position] = field(default_factory=dict)
    base: int = 0
    quote: int = 0

    @property
    def kept(self) -> Fraction:
        return Fraction(MILLION - self.fee_ppm, MILLION)

    def piece(self, place: Place, liquidity: int) -> Piece:
        low, high = (root_of(self.root_at(tick)) for tick in place[1:])
        return Piece(low, high, liquidity)

    def pieces(self) -> list[Piece]:
        return [self.piece(place, p.liquidity) for place, p in self.positions.items()]

    def total_of(self, side: int) -> Total:
        return ranges_total(self.pieces(), root_of(self.root), self.fee_ppm, side)

    def ends(self) -> set[int]:
        """Pool ticks where liquidity begins or ends."""
        return {tick for place, p in self.positions.items() if p.liquidity for tick in place[1:]}

    # --- liquidity

    def _amounts(self, place: Place, liquidity: int) -> tuple[Fraction, Fraction]:
        low, high, _ = self.piece(place, 0)
        here = min(max(root_of(self.root), low), high)
        return liquidity * (1 / here - 1 / high), liquidity * (here - low)

    def offer(self, place: Place, base: int, quote: int) -> tuple[int, int, int]:
        of_one = self._amounts(place, 1)
        limits = [have / need for have, need in zip((base, quote), of_one, strict=True) if need]
        liquidity = floor(min(limits))
        needed = self._amounts(place, liquidity)
        return liquidity, ceil(needed[0]), ceil(needed[1])

    def fits(self, liquidity: int) -> bool:
        return 0 < liquidity <= MOST - sum(p.liquidity for p in self.positions.values())

    def add(self, place: Place, liquidity: int, base: int, quote: int) -> None:
        position = self.positions.setdefault(place, Position())
        position.accrue()
        position.liquidity += liquidity
        self.base += base
        self.quote += quote

    def owned(self, place: Place) -> int | None:
        return self.positions[place].liquidity if place in self.positions else None

    def worth(self, place: Place, liquidity: int) -> tuple[int, int]:
        base, quote = self._amounts(place, liquidity)
        return floor(base), floor(quote)

    def take_back(self, place: Place, liquidity: int) -> tuple[int, int]:
        position = self.positions[place]
        base, quote = self.worth(place, liquidity)
        position.accrue()
        position.liquidity -= liquidity
        base, quote = base + position.owed[0], quote + position.owed[1]
        position.owed = [0, 0]
        if not position.liquidity:
            del self.positions[place]
        self.base -= base
        self.quote -= quote
        return base, quote

    # --- trading

    def settle(self, side: int, base: int, quote: int) -> None:
        """Take in a swap of lots; what it is better than the price is a fee of the last range."""
        left, money = base, quote
        for way in ways(self.pieces(), root_of(self.root), side):
            if side == BUY:
                through, fee = floor(way.base), ceil(ceil(way.quote) * (1 - self.kept) / self.kept)
                price = ceil(way.quote) + fee
            else:
                fee = ceil(ceil(way.base) * (1 - self.kept) / self.kept)
                through, price = ceil(way.base) + fee, floor(way.quote)
            if left <= through:
                self._settle_last(side, way, left, money)
                break
            self._earn(way, side == BUY, Fraction(fee))
            left -= through
            money -= price
        sign = 1 if side == BUY else -1
        self.base -= sign * base
        self.quote += sign * quote

    def _settle_last(self, side: int, way: Way, base: int, quote: int) -> None:
        liquidity = way.liquidity
        if side == BUY:
            self.root = ceil(Q96 / (1 / way.here - Fraction(base, liquidity)))
            after = root_of(self.root)
            self._earn(way, True, quote - liquidity * (after - way.here))
            return
        moving = min(base, floor(floor(way.base) / self.kept)) * self.kept
        self.root = ceil(Q96 / (1 / way.here + moving / liquidity))
        after = root_of(self.root)
        self._earn(way, False, base - liquidity * (1 / after - 1 / way.here))
        self._earn(way, True, liquidity * (way.here - after) - quote)

    def _earn(self, way: Way, is_quote: bool, fee: Fraction) -> None:
        assert fee >= 0, "a swap is worse for a pool than its price"
        low, high = min(way.here, way.there), max(way.here, way.there)
        for place, position in self.positions.items():
            piece = self.piece(place, position.liquidity)
            if piece.low <= low and high <= piece.high:
                position.earned[is_quote] += floor(fee * UNIT / way.liquidity)

    def swap(self, side: int, atoms: int, *, is_in: bool) -> tuple[int, int, Callable[[], None]]:
        """What comes in, what goes out, and how it is done; nothing out if it cannot be."""
        steps = list(self._steps(side, atoms, is_in))
        paid = sum(step.paid + step.fee for step in steps)
        got = sum(step.got for step in steps)
        if (paid if is_in else got) != atoms:
            got = 0

        def carry_out() -> None:
            for step in steps:
                self._earn(step.way, side == BUY, Fraction(step.fee))
                self.root = step.after
            self.base += -got if side == BUY else paid
            self.quote += paid if side == BUY else -got

        return paid, got, carry_out

    def _steps(self, side: int, atoms: int, is_in: bool) -> Iterator[Step]:
        left = atoms
        for way in ways(self.pieces(), root_of(self.root), side):
            if not left:
                return
            step = self._step(side, way, left, is_in)
            left -= step.paid + step.fee if is_in else step.got
            yield step

    def _step(self, side: int, way: Way, left: int, is_in: bool) -> Step:
        liquidity = way.liquidity
        needed, held = (way.quote, way.base) if side == BUY else (way.base, way.quote)
        counted = floor(left * self.kept) if is_in else 0
        ends = counted >= ceil(needed) if is_in else left >= floor(held)
        after = int(way.there * Q96)
        if not ends and is_in and side == BUY:
            after = int(way.here * Q96) + floor(Fraction(counted * Q96, liquidity))
        elif not ends and is_in:
            after = ceil(Q96 / (1 / way.here + Fraction(counted, liquidity)))
        elif not ends and side == BUY:
            after = ceil(Q96 / (1 / way.here - Fraction(left, liquidity)))
        elif not ends:
            after = int(way.here * Q96) - ceil(Fraction(left * Q96, liquidity))
        done = Way(way.here, root_of(after), liquidity)
        into, out_of = (done.quote, done.base) if side == BUY else (done.base, done.quote)
        paid, got = ceil(into), floor(out_of)
        if is_in and not ends:
            return Step(way, after, paid, got, left - paid)
        if not is_in:
            got = min(left, floor(held))
        return Step(way, after, paid, got, ceil(paid * (1 - self.kept) / self.kept))
