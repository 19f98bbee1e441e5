"""Amounts between two prices, and prices after an amount, at one liquidity (Uniswap v3).

All square roots of prices are Q64.96, quote atoms per base atom; base is v3's token0, quote its
token1. Liquidity ``L`` between roots ``a < b`` holds ``L * (1/a - 1/b)`` of base and
``L * (b - a)`` of quote.
"""

from __future__ import annotations

from typing import NamedTuple

from dexcore.amm.pool_tick import Q96
from dexcore.book import BUY
from dexcore.limits import PPM


def base_between(low: int, high: int, liquidity: int, *, up: bool) -> int:
    """Base atoms of the liquidity between two roots, rounded up or down."""
    numerator = liquidity * Q96 * (high - low)
    return -(-numerator // (low * high)) if up else numerator // (low * high)


def quote_between(low: int, high: int, liquidity: int, *, up: bool) -> int:
    """Quote atoms of the liquidity between two roots, rounded up or down."""
    product = liquidity * (high - low)
    return -(-product >> 96) if up else product >> 96


def liquidity_of(sqrt_price: int, low: int, high: int, base_atoms: int, quote_atoms: int) -> int:
    """The greatest liquidity between two roots that costs at most these amounts now."""
    inside = min(max(sqrt_price, low), high)
    limits = []
    if inside < high:
        limits.append(base_atoms * inside * high // (Q96 * (high - inside)))
    if inside > low:
        limits.append(quote_atoms * Q96 // (inside - low))
    return min(limits)


def root_after_base(sqrt_price: int, liquidity: int, base_atoms: int) -> int | None:
    """The root after base came in (positive) or went out (negative), rounded up.

    None if the liquidity does not hold that much at any price.
    """
    denominator = liquidity * Q96 + base_atoms * sqrt_price
    if denominator <= 0:
        return None
    return -(-liquidity * Q96 * sqrt_price // denominator)


def root_after_quote(sqrt_price: int, liquidity: int, quote_atoms: int) -> int:
    """The root after quote came in (positive) or went out (negative), rounded down."""
    return sqrt_price + (quote_atoms * Q96 // liquidity)


class Step(NamedTuple):
    """What one stretch of a swap did: the root at its end, and atoms."""

    sqrt_price: int
    amount_in: int
    amount_out: int
    fee: int


def step_in(
    side: int, sqrt_price: int, target: int, liquidity: int, amount: int, fee_ppm: int
) -> Step:
    """Trade up to ``amount`` that comes in, fee included, as far as the target root.

    ``side`` is the taker's: a buyer brings quote and moves the root up.
    """
    buys = side == BUY
    counted = amount * (PPM - fee_ppm) // PPM
    if buys:
        needed = quote_between(sqrt_price, target, liquidity, up=True)
    else:
        needed = base_between(target, sqrt_price, liquidity, up=True)
    if counted >= needed:
        reached, paid = target, needed
        fee = -(-paid * fee_ppm // (PPM - fee_ppm))
    else:
        if buys:
            reached = root_after_quote(sqrt_price, liquidity, counted)
            paid = quote_between(sqrt_price, reached, liquidity, up=True)
        else:
            root = root_after_base(sqrt_price, liquidity, counted)
            reached = target if root is None else root
            paid = base_between(reached, sqrt_price, liquidity, up=True)
        # The target was not reached, so all that is left is spent.
        fee = amount - paid
    if buys:
        got = base_between(sqrt_price, reached, liquidity, up=False)
    else:
        got = quote_between(reached, sqrt_price, liquidity, up=False)
    return Step(reached, paid, got, fee)


def step_out(
    side: int, sqrt_price: int, target: int, liquidity: int, amount: int, fee_ppm: int
) -> Step:
    """Trade up to ``amount`` that goes out, as far as the target root."""
    buys = side == BUY
    if buys:
        held = base_between(sqrt_price, target, liquidity, up=False)
    else:
        held = quote_between(target, sqrt_price, liquidity, up=False)
    reached = target
    got = min(amount, held)
    if amount < held:
        if buys:
            root = root_after_base(sqrt_price, liquidity, -amount)
            reached = target if root is None else root
        else:
            reached = root_after_quote(sqrt_price, liquidity, -amount)
    if buys:
        paid = quote_between(sqrt_price, reached, liquidity, up=True)
    else:
        paid = base_between(reached, sqrt_price, liquidity, up=True)
    return Step(reached, paid, got, -(-paid * fee_ppm // (PPM - fee_ppm)))
