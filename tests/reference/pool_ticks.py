"""Roots of prices at pool ticks for the naive twin, by Uniswap v3's recipe in decimal fractions."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from functools import cache
from math import ceil

LOWEST, HIGHEST = -887_272, 887_272
DIGITS = 400
BITS_OF_A_TICK = 20


def _factors() -> list[int]:
    """1.0001^(-2^i / 2) for each bit of a tick, with 128 fractional bits, to the nearest."""
    with localcontext() as context:
        context.prec = DIGITS
        root = (1 / Decimal("1.0001")).sqrt()
        found = [root ** (2**bit) * 2**128 for bit in range(BITS_OF_A_TICK)]
        return [int(each.quantize(Decimal(1), ROUND_HALF_EVEN)) for each in found]


FACTORS = _factors()


@cache
def root_at(tick: int) -> int:
    """The Q64.96 root of 1.0001^tick: of the factors of its bits, each product cut off."""
    ratio = 2**128
    for bit, factor in enumerate(FACTORS):
        if abs(tick) >> bit & 1:
            ratio = ratio * factor // 2**128
    if tick > 0:
        ratio = (2**256 - 1) // ratio
    return ceil(Fraction(ratio, 2**32))
