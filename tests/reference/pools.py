"""Pools and routing by the book of rules, in exact fractions and lot by lot.

Slow on purpose; imports nothing of the product. Prices are quote per base, as roots; a fee is a
fraction of what comes in. Rounded is only what docs/reference/order-semantics.md says is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

BUY, SELL = 1, 2
MILLION = 1_000_000
Q96 = 2**96

Total = Callable[[int], Fraction | None]
"""What so many base atoms cost a buyer or bring a seller; None if there are not so many."""


def product_total(base: int, quote: int, fee_ppm: int, side: int) -> Total:
    """Of two reserves whose product stays, the fee set aside."""
    kept = Fraction(MILLION - fee_ppm, MILLION)

    def total(atoms: int) -> Fraction | None:
        if not base or not quote:
            return None
        if side == SELL:
            return quote - Fraction(base * quote) / (base + atoms * kept)
        if atoms >= base:
            return None
        return (Fraction(base * quote, base - atoms) - quote) / kept

    return total


class Piece(NamedTuple):
    """Liquidity between two roots of prices."""

    low: Fraction
    high: Fraction
    liquidity: int


def root_of(root: int) -> Fraction:
    """A Q64.96 number as a fraction."""
    return Fraction(root, Q96)


class Way(NamedTuple):
    """A range on the way of a swap: where it begins and ends, and its liquidity."""

    here: Fraction
    there: Fraction
    liquidity: int

    @property
    def base(self) -> Fraction:
        return self.liquidity * abs(1 / self.here - 1 / self.there)

    @property
    def quote(self) -> Fraction:
        return self.liquidity * abs(self.there - self.here)


def ways(pieces: list[Piece], root: Fraction, side: int) -> list[Way]:
    """The ranges with liquidity from a root on, nearest first."""
    bounds = sorted({bound for piece in pieces for bound in (piece.low, piece.high)})
    stops = (
        [b for b in bounds if b > root] if side == BUY else [b for b in bounds if b < root][::-1]
    )
    found, here = [], root
    for there in stops:
        low, high = min(here, there), max(here, there)
        liquidity = sum(p.liquidity for p in pieces if p.low <= low and high <= p.high)
        if liquidity:
            found.append(Way(here, there, liquidity))
        here = there
    return found


def ranges_total(pieces: list[Piece], root: Fraction, fee_ppm: int, side: int) -> Total:
    """Of liquidity in ranges: each that is used up is rounded to atoms, the last costs one atom."""
    kept = Fraction(MILLION - fee_ppm, MILLION)

    def total(atoms: int) -> Fraction | None:
        left, money = atoms, 0
        for way in ways(pieces, root, side):
            if side == BUY:
                if left <= floor(way.base):
                    after = 1 / (1 / way.here - Fraction(left, way.liquidity))
                    return money + 1 + way.liquidity * (after - way.here) / kept
                left -= floor(way.base)
                money += ceil(way.quote) + ceil(ceil(way.quote) * (1 - kept) / kept)
            else:
                needed = ceil(way.base) + ceil(ceil(way.base) * (1 - kept) / kept)
                if left <= needed:
                    moving = min(left, floor(floor(way.base) / kept)) * kept
                    after = 1 / (1 / way.here + moving / way.liquidity)
                    return money - 1 + way.liquidity * (way.here - after)
                left -= needed
                money += floor(way.quote)
        return None

    return total


def exact_out(pieces: list[Piece], root: Fraction, fee_ppm: int, side: int, paid: int) -> Fraction:
    """What so many atoms that come in bring, nothing rounded; the rest is lost where it ends."""
    left = Fraction(paid) * (MILLION - fee_ppm) / MILLION
    got = Fraction(0)
    for way in ways(pieces, root, side):
        needed, offered = (way.quote, way.base) if side == BUY else (way.base, way.quote)
        if left >= needed:
            left -= needed
            got += offered
        elif side == BUY:
            after = way.here + left / way.liquidity
            return got + way.liquidity * (1 / way.here - 1 / after)
        else:
            after = 1 / (1 / way.here + left / way.liquidity)
            return got + way.liquidity * (way.here - after)
    return got


class Market(NamedTuple):
    """Units of a market: lots and ticks of its increments, and what they are in atoms."""

    step_lots: int
    increment_ticks: int
    step_base_atoms: int
    unit_quote_atoms: int


Got = tuple[bool, int, int]
"""from the pool, price_ticks, lots"""


def lot_by_lot(
    total: Total | None,
    levels: Iterable[tuple[int, int]],
    side: int,
    limit_ticks: int,
    quantity_lots: int,
    market: Market,
) -> list[Got]:
    """What a taker gets, one lot increment at a time: the pool if it is better, else the book."""
    book = [price for price, lots in levels for _ in range(lots // market.step_lots)]
    sign = 1 if side == BUY else -1
    taken: list[tuple[bool, int]] = []
    from_pool = units = run = 0
    for _ in range(quantity_lots // market.step_lots + 1):
        is_last = len(taken) + run >= quantity_lots // market.step_lots
        pool = None if is_last else pool_price(total, from_pool, side, market)
        if pool is not None and (book and sign * pool >= sign * book[0]):
            pool = None
        if pool is not None and sign * pool <= sign * limit_ticks:
            from_pool += 1
            run += 1
            continue
        if run and total is not None:
            after, prices = spread(total, from_pool, run, units, side, market)
            taken.extend((True, price) for price in prices)
            units, run = after, 0
        if is_last or pool is not None or not book or sign * book[0] > sign * limit_ticks:
            break
        taken.append((False, book.pop(0)))
    return joined(taken, market.step_lots)


def pool_price(total: Total | None, taken: int, side: int, market: Market) -> int | None:
    """Of the next lot increment, in ticks, rounded against the taker."""
    if total is None:
        return None
    before = total(taken * market.step_base_atoms) if taken else Fraction(0)
    after = total((taken + 1) * market.step_base_atoms)
    if before is None or after is None:
        return None
    price = (after - before) / market.unit_quote_atoms
    rounded = ceil(price) if side == BUY else floor(price)
    return rounded * market.increment_ticks if rounded > 0 else None


def spread(
    total: Total, taken: int, run: int, units: int, side: int, market: Market
) -> tuple[int, list[int]]:
    """Units paid or got after a run, and the prices of its increments, the better ones first."""
    whole = total(taken * market.step_base_atoms)
    assert whole is not None
    whole /= market.unit_quote_atoms
    after = max(ceil(whole), units + run) if side == BUY else floor(whole)
    prices = [(after - units) // run] * run
    for index in range((after - units) % run):
        prices[index] += 1
    prices.sort(reverse=side == SELL)
    return after, [price * market.increment_ticks for price in prices]


def joined(taken: list[tuple[bool, int]], step_lots: int) -> list[Got]:
    """Neighbours of one kind and price as one."""
    result: list[Got] = []
    for from_pool, price in taken:
        if result and result[-1][:2] == (from_pool, price):
            result[-1] = (from_pool, price, result[-1][2] + step_lots)
        else:
            result.append((from_pool, price, step_lots))
    return result
