"""Pool ticks and amounts against the values that Uniswap v3 publishes."""

from __future__ import annotations

from decimal import Decimal, localcontext
from math import isqrt

import pytest

from dexcore.amm.pool_tick import (
    POOL_TICK_MAX,
    POOL_TICK_MIN,
    SQRT_PRICE_MAX,
    SQRT_PRICE_MIN,
    pool_tick_at,
    sqrt_price_at,
)
from dexcore.amm.sqrt_price import (
    base_between,
    quote_between,
    root_after_base,
    root_after_quote,
    step_in,
    step_out,
)

BUY, SELL = 1, 2
ONE = 1 << 96
E18 = 10**18


def root(numerator: int, denominator: int) -> int:
    return isqrt((numerator << 192) // denominator)


def test_the_ends_of_the_prices_are_the_published_ones() -> None:
    assert SQRT_PRICE_MIN == 4295128739
    assert SQRT_PRICE_MAX == 1461446703485210103287273052203988822378723970342
    assert sqrt_price_at(0) == 79228162514264337593543950336 == ONE


@pytest.mark.parametrize(
    ("pool_tick", "expected"),
    [
        (POOL_TICK_MIN + 1, 4295343490),
        (POOL_TICK_MAX - 1, 1461373636630004318706518188784493106690254656249),
    ],
)
def test_published_roots(pool_tick: int, expected: int) -> None:
    assert sqrt_price_at(pool_tick) == expected


@pytest.mark.parametrize(
    "pool_tick", [50, 100, 250, 500, 1_000, 2_500, 3_000, 4_000, 5_000, 50_000, 150_000, 738_203]
)
def test_roots_are_those_of_powers(pool_tick: int) -> None:
    """Within 2^-72 of the root: v3 promises a hundredth of a basis point, 2^-20."""
    with localcontext() as context:
        context.prec = 120
        exact = Decimal("1.0001") ** pool_tick
        for sign, value in ((1, exact), (-1, 1 / exact)):
            wanted = value.sqrt() * ONE
            error = abs(Decimal(sqrt_price_at(sign * pool_tick)) - wanted) - 1
            assert error <= wanted / Decimal(2**72)


@pytest.mark.parametrize(
    "pool_tick", [POOL_TICK_MIN, -500_000, -60, -1, 0, 1, 59, 123_456, POOL_TICK_MAX - 1]
)
def test_a_root_is_of_the_greatest_tick_not_above(pool_tick: int) -> None:
    here, above = sqrt_price_at(pool_tick), sqrt_price_at(pool_tick + 1)
    assert pool_tick_at(here) == pool_tick_at(above - 1) == pool_tick
    assert pool_tick_at(above) == pool_tick + 1


def test_published_amounts_between_two_roots() -> None:
    low, high = ONE, root(121, 100)
    assert base_between(low, high, E18, up=True) == 90909090909090910
    assert base_between(low, high, E18, up=False) == 90909090909090909
    assert quote_between(low, high, E18, up=True) == 100000000000000000
    assert quote_between(low, high, E18, up=False) == 99999999999999999


def test_published_roots_after_an_amount() -> None:
    tenth = E18 // 10
    assert root_after_quote(ONE, E18, tenth) == 87150978765690771352898345369
    assert root_after_base(ONE, E18, tenth) == 72025602285694852357767227579
    assert root_after_base(ONE, E18, -tenth) == 88031291682515930659493278152
    assert root_after_quote(ONE, E18, -tenth) == 71305346262837903834189555302


def test_published_steps() -> None:
    near, far = root(101, 100), root(1_000, 100)
    capped = (near, 9975124224178055, 9925619580021728, 5988667735148)
    assert step_in(BUY, ONE, near, 2 * E18, E18, 600) == capped
    assert step_out(BUY, ONE, near, 2 * E18, E18, 600) == capped
    spent = step_in(BUY, ONE, far, 2 * E18, E18, 600)
    assert spent[1:] == (999400000000000000, 666399946655997866, 600000000000000)
    got = step_out(BUY, ONE, far, 2 * E18, E18, 600)
    assert got[1:] == (2000000000000000000, E18, 1200720432259356)
    tiny = step_out(
        SELL, 417332158212080721273783715441582, ONE, 159344665391607089467575320103, 1, 1
    )
    assert tiny == (417332158212080721273783715441581, 1, 1, 1)
