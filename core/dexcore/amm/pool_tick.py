"""Pool ticks and square roots of prices, in integers.

Theory of operation: pool tick ``t`` stands for the price 1.0001^t in quote atoms per base atom (a
market's own tick is another thing). A pool works with the square root of its price as a Q64.96
number. ``sqrt_price_at`` multiplies the powers of two in ``t``, each a factor with 128 fractional
bits that is 1.0001^(-2^i / 2) rounded to nearest, cuts each product off, takes the reciprocal
where the tick is positive and rounds up to Q64.96: the function of Uniswap v3's TickMath, bit for
bit, so that its published values are test vectors.
"""

from __future__ import annotations

from math import isqrt
from typing import Final

POOL_TICK_MIN: Final = -887_272
POOL_TICK_MAX: Final = 887_272
Q96: Final = 1 << 96
_Q128: Final = 1 << 128
_UINT256_MAX: Final = (1 << 256) - 1
# Bits of the largest pool tick.
_FACTORS: Final = 20
# So many that squaring twenty times leaves the 128 wanted ones exact.
_EXTRA_BITS: Final = 128


def _factors() -> tuple[int, ...]:
    bits = 128 + _EXTRA_BITS
    factor = isqrt((10_000 << 2 * bits) // 10_001)
    factors = []
    for _ in range(_FACTORS):
        factors.append(((factor >> _EXTRA_BITS - 1) + 1) >> 1)
        factor = factor * factor >> bits
    return tuple(factors)


_FACTOR_OF_BIT: Final = _factors()


def sqrt_price_at(pool_tick: int) -> int:
    """Square root of the price at a pool tick, Q64.96.

    Args:
        pool_tick: from POOL_TICK_MIN to POOL_TICK_MAX; the caller has checked it.
    """
    ratio = _Q128
    distance = abs(pool_tick)
    for factor in _FACTOR_OF_BIT:
        if distance & 1:
            ratio = ratio * factor >> 128
        distance >>= 1
    if pool_tick > 0:
        ratio = _UINT256_MAX // ratio
    return -(-ratio >> 32)


SQRT_PRICE_MIN: Final = sqrt_price_at(POOL_TICK_MIN)
SQRT_PRICE_MAX: Final = sqrt_price_at(POOL_TICK_MAX)


def pool_tick_at(sqrt_price: int) -> int:
    """The greatest pool tick whose square root of a price is not above this one, Q64.96.

    Args:
        sqrt_price: from SQRT_PRICE_MIN to SQRT_PRICE_MAX; the caller has checked it.
    """
    low, high = POOL_TICK_MIN, POOL_TICK_MAX
    while low < high:
        middle = (low + high + 1) // 2
        if sqrt_price_at(middle) <= sqrt_price:
            low = middle
        else:
            high = middle - 1
    return low
