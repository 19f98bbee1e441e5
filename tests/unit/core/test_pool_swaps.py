"""Pools in figures that can be worked out on paper."""

from __future__ import annotations

import pytest

from dexcore.amm.concentrated import Concentrated
from dexcore.amm.constant_product import ConstantProduct
from dexcore.amm.pool_tick import sqrt_price_at
from dexcore.amm.position import Range
from dexcore.amm.router import Grid, LotSwap, Routed, route

BUY, SELL = 1, 2
# A lot is 10 base atoms, a tick times a lot one quote atom.
GRID = Grid(step_lots=1, increment_ticks=1, step_base_atoms=10, unit_quote_atoms=1)


def product(fee_ppm: int, base: int = 10_000, quote: int = 10_000) -> ConstantProduct:
    pool = ConstantProduct(fee_ppm)
    shares, *amounts = pool.mint_for(base, quote)
    pool.mint(7, shares, *amounts)
    return pool


def concentrated(fee_ppm: int) -> Concentrated:
    """A price of one, and a million of liquidity between about 0.9 and 1.1."""
    pool = Concentrated(fee_ppm, sqrt_price_at(0))
    liquidity, base, quote = pool.mint_for(-1_000, 1_000, 48_758, 48_758)
    pool.mint(Range(7, -1_000, 1_000), liquidity, base, quote)
    return pool


def test_what_a_swap_brings_is_rounded_down() -> None:
    # 1000 less 0.3 % against 10000 and 10000: 9970000000 / 10997000 = 906.61
    assert product(3_000).swap_in(BUY, 1_000) == 906


def test_what_a_swap_costs_is_rounded_up() -> None:
    # 10000 * 906 / (9094 * 0.997) = 999.25
    assert product(3_000).swap_out(BUY, 906) == 1_000


def test_the_fee_stays_in_the_pool() -> None:
    pool = product(10_000)
    assert pool.swap_in(SELL, 5_000) == 3_311
    assert (pool.base_atoms, pool.quote_atoms) == (15_000, 6_689)
    # Without the fee the product would be what it was.
    assert pool.base_atoms * pool.quote_atoms == 100_335_000


def test_a_pool_is_never_sold_out() -> None:
    pool = product(0)
    assert pool.swap_out(BUY, 10_000) is None
    assert pool.swap_in(BUY, 10**15) == 9_999


@pytest.mark.parametrize("fee_ppm", [0, 3_000])
def test_fees_of_a_range_go_to_who_provides_it(fee_ppm: int) -> None:
    pool = concentrated(fee_ppm)
    key = Range(7, -1_000, 1_000)
    paid = pool.swap_out(BUY, 10_000)
    # L * (1/s - 1) = -10000 gives s = 1/0.99, and L * (s - 1) = 10101.01; the fee on top.
    assert paid == {0: 10_102, 3_000: 10_102 + 31}[fee_ppm]
    pool.burn(key, 0)
    assert pool.collect(key) == (0, {0: 0, 3_000: 30}[fee_ppm])


def test_a_swap_through_a_bound_goes_on_with_the_liquidity_behind_it() -> None:
    pool = Concentrated(3_000, sqrt_price_at(0))
    for lower, upper, liquidity in ((-100, 100, 10**6), (100, 200, 10**9)):
        taken = pool._amounts(sqrt_price_at(lower), sqrt_price_at(upper), liquidity, up=True)
        pool.mint(Range(7, lower, upper), liquidity, *taken)
    # 4988 base up to the bound, for 5013 and the fee; then a thousand times as much at 1.01.
    assert pool.swap_out(BUY, 4_987 + 100_000) is not None
    assert (pool.liquidity, pool.pool_tick) == (10**9, 102)
    assert pool.swap_out(SELL, 103_000) is not None
    assert pool.liquidity == 10**6
    pool.check_sound()


def test_at_the_same_price_the_book_is_first() -> None:
    # Lots of the pool: ceil(10000 * 10 / (9990 - 10 n)) = 11 for many.
    swap = LotSwap(product(0).stretches(BUY), BUY, GRID)
    assert swap.next_price_ticks() == 11
    assert list(route(swap, [(11, 4), (12, 1)], BUY, 12, 6)) == [
        Routed(from_pool=False, price_ticks=11, quantity_lots=4),
        Routed(from_pool=True, price_ticks=10, quantity_lots=1),
        Routed(from_pool=True, price_ticks=11, quantity_lots=1),
    ]


def test_the_better_price_of_book_and_pool_is_first() -> None:
    swap = LotSwap(product(0).stretches(SELL), SELL, GRID)
    assert swap.next_price_ticks() == 9
    assert list(route(swap, [(10, 2), (8, 3)], SELL, 8, 60)) == [
        Routed(from_pool=False, price_ticks=10, quantity_lots=2),
        # 54 lots bring 10000 - 10^8 / 10540 = 512.3; the next one would bring 8.99.
        Routed(from_pool=True, price_ticks=10, quantity_lots=26),
        Routed(from_pool=True, price_ticks=9, quantity_lots=28),
        Routed(from_pool=False, price_ticks=8, quantity_lots=3),
        # With what was left of the 512.3, that is 9.
        Routed(from_pool=True, price_ticks=9, quantity_lots=1),
    ]


def test_a_pool_is_taken_to_the_last_lot_within_the_price() -> None:
    # The n-th lot costs 10^9 / ((10010 - 10 n) (10000 - 10 n)): 47 lots up to 11.
    swap = LotSwap(product(0).stretches(BUY), BUY, GRID)
    assert swap.lots_within(11, 100) == 47
    assert swap.lots_within(11, 45) == 45
    assert swap.lots_within(10, 100) == 0
