"""What holds for pools and routing, whatever the amounts; against fractions and lot by lot."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dexcore.amm.concentrated import Concentrated
from dexcore.amm.constant_product import MINIMUM_LIQUIDITY, ConstantProduct, amount_in, amount_out
from dexcore.amm.pool_tick import sqrt_price_at
from dexcore.amm.position import Range
from dexcore.amm.router import Grid, LotSwap, route
from tests.reference.pools import (
    Market,
    Piece,
    Total,
    exact_out,
    lot_by_lot,
    product_total,
    ranges_total,
    root_of,
    ways,
)

BUY, SELL = 1, 2
Pool = ConstantProduct | Concentrated

sides = st.sampled_from((BUY, SELL))
fees = st.sampled_from((0, 1, 100, 500, 3_000, 10_000, 100_000, 333_333))
reserves = st.integers(1, 10**6) | st.integers(10**3, 10**12)
amounts = st.integers(1, 10**4) | st.integers(1, 10**12)
shapes = st.lists(
    st.tuples(
        st.integers(-40, 40),
        st.integers(1, 40),
        st.integers(1, 10**5) | st.integers(10**4, 10**9),
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def products(draw: st.DrawFn) -> ConstantProduct:
    pool = ConstantProduct(draw(fees))
    base, quote = draw(reserves), draw(reserves)
    shares, *taken = pool.mint_for(base, quote)
    assume(shares > 0)
    pool.mint(7, shares, *taken)
    return pool


@st.composite
def concentrates(draw: st.DrawFn) -> Concentrated:
    """Positions of a few hundredths to a few hundred percent around a price of about one."""
    wide = draw(st.sampled_from((1, 10, 200)))
    pool = Concentrated(draw(fees), sqrt_price_at(draw(st.integers(-50, 50)) * wide))
    pool.sqrt_price += draw(st.integers(0, 10**20))
    for lower, width, liquidity in draw(shapes):
        key = Range(7, lower * wide, (lower + width) * wide)
        low, high = sqrt_price_at(key.lower_tick), sqrt_price_at(key.upper_tick)
        taken = pool._amounts(low, high, liquidity, up=True)
        pool.mint(key, liquidity, *taken)
    pool.check_sound()
    return pool


pools = products() | concentrates()


def copied(pool: Pool) -> Any:
    """The same pool once more."""
    if isinstance(pool, ConstantProduct):
        other = ConstantProduct(pool.fee_ppm)
        other.mint(7, pool.shares[7], pool.base_atoms, pool.quote_atoms)
        return other
    twin = Concentrated(pool.fee_ppm, pool.sqrt_price)
    for key, position in pool.positions.items():
        twin.mint(key, position.liquidity, 0, 0)
    twin.base_atoms, twin.quote_atoms = pool.base_atoms, pool.quote_atoms
    return twin


def guarded(pool: Pool) -> int:
    """What must never fall: the product, or the fees that a unit of liquidity has earned."""
    if isinstance(pool, ConstantProduct):
        return pool.base_atoms * pool.quote_atoms
    return pool.earned_base + pool.earned_quote


@given(amounts, reserves, reserves, fees)
@settings(deadline=None)
def test_what_an_amount_buys_costs_at_most_that_amount(
    paid: int, reserve_in: int, reserve_out: int, fee_ppm: int
) -> None:
    out = amount_out(paid, reserve_in, reserve_out, fee_ppm)
    assert 0 <= out < reserve_out
    least = amount_in(out, reserve_in, reserve_out, fee_ppm)
    assert least is not None
    assert least <= paid
    # It is enough, and nothing less is.
    assert amount_out(least, reserve_in, reserve_out, fee_ppm) >= out
    if least:
        assert amount_out(least - 1, reserve_in, reserve_out, fee_ppm) < out


@given(pools, sides, amounts)
@settings(deadline=None)
def test_a_swap_never_costs_the_pool(pool: Any, side: int, atoms: int) -> None:
    before = guarded(pool)
    if pool.swap_in(side, atoms) is not None:
        assert guarded(pool) >= before
    if pool.swap_out(side, atoms) is not None:
        assert guarded(pool) >= before
    pool.check_sound()


@given(pools, sides, amounts)
@settings(deadline=None)
def test_no_round_trip_is_free(pool: Any, side: int, atoms: int) -> None:
    got = pool.swap_in(side, atoms)
    assume(got is not None)
    back = pool.swap_in(3 - side, got)
    assert back is None or back <= atoms
    pool.check_sound()


@given(pools, sides, amounts, amounts)
@settings(deadline=None)
def test_splitting_a_swap_never_pays_more(pool: Any, side: int, first: int, second: int) -> None:
    whole = copied(pool).swap_in(side, first + second)
    parts = pool.swap_in(side, first), pool.swap_in(side, second)
    assume(whole is not None)
    assert sum(part or 0 for part in parts) <= whole


@given(pools, sides, amounts, amounts)
@settings(deadline=None)
def test_splitting_what_is_bought_never_costs_less(
    pool: Any, side: int, first: int, second: int
) -> None:
    whole = copied(pool).swap_out(side, first + second)
    parts = pool.swap_out(side, first), pool.swap_out(side, second)
    assume(None not in parts and whole is not None)
    assert sum(parts) >= whole


@given(products(), reserves, reserves)
@settings(deadline=None)
def test_shares_are_rounded_for_the_others(pool: ConstantProduct, base: int, quote: int) -> None:
    others = pool.burn_for(pool.shares[7])
    shares, base_atoms, quote_atoms = pool.mint_for(base, quote)
    assume(shares > 0)
    assert base_atoms <= base
    assert quote_atoms <= quote
    pool.mint(8, shares, base_atoms, quote_atoms)
    got = pool.burn(8, shares)
    assert got[0] <= base_atoms
    assert got[1] <= quote_atoms
    after = pool.burn_for(pool.shares[7])
    assert after[0] >= others[0]
    assert after[1] >= others[1]
    pool.check_sound()
    pool.burn(7, pool.shares[7])
    assert pool.shares_total == MINIMUM_LIQUIDITY
    assert pool.base_atoms
    assert pool.quote_atoms


@given(concentrates(), shapes, st.lists(st.tuples(sides, amounts), max_size=4), st.randoms())
@settings(max_examples=100, deadline=None)
def test_everybody_can_leave_a_concentrated_pool(
    pool: Concentrated, more: list[Any], swaps: list[tuple[int, int]], chance: Any
) -> None:
    """Whatever happened in between, it holds what all positions and their fees are owed."""
    for side, atoms in swaps:
        pool.swap_in(side, atoms)
        for lower, width, _ in more:
            key = Range(8, lower, lower + width)
            liquidity, base_atoms, quote_atoms = pool.mint_for(
                key.lower_tick, key.upper_tick, 10**6, 10**6
            )
            if 0 < liquidity <= 10**15:
                assert max(base_atoms, quote_atoms) <= 10**6
                pool.mint(key, liquidity, base_atoms, quote_atoms)
        pool.swap_out(3 - side, atoms // 2 + 1)
        pool.check_sound()
    keys = list(pool.positions)
    chance.shuffle(keys)
    for key in keys:
        pool.burn(key, pool.positions[key].liquidity)
        pool.collect(key)
    assert not pool.positions
    assert not pool.bounds
    assert not pool.liquidity
    assert pool.base_atoms >= 0 <= pool.quote_atoms


def pieces_of(pool: Concentrated) -> list[Piece]:
    return [
        Piece(
            root_of(sqrt_price_at(key.lower_tick)),
            root_of(sqrt_price_at(key.upper_tick)),
            position.liquidity,
        )
        for key, position in pool.positions.items()
    ]


def exact_pool(pool: Pool, side: int) -> Total:
    if isinstance(pool, ConstantProduct):
        return product_total(pool.base_atoms, pool.quote_atoms, pool.fee_ppm, side)
    return ranges_total(pieces_of(pool), root_of(pool.sqrt_price), pool.fee_ppm, side)


@given(concentrates(), sides, amounts)
@settings(deadline=None)
def test_concentrated_swaps_are_the_exact_ones_less_a_few_atoms(
    pool: Concentrated, side: int, atoms: int
) -> None:
    pieces, root = pieces_of(pool), root_of(pool.sqrt_price)
    exact = exact_out(pieces, root, pool.fee_ppm, side, atoms)
    met = len(ways(pieces, root, side))
    # Each range may round up what it takes in, and down what it gives.
    least = exact_out(pieces, root, pool.fee_ppm, side, max(0, atoms - 3 * met)) - met
    got = pool.swap_in(side, atoms)
    if got is not None:
        assert least - 1 <= got <= exact


grids = st.builds(
    Grid,
    st.sampled_from((1, 5)),
    st.sampled_from((1, 10)),
    st.integers(1, 20) | st.integers(100, 10**5),
    st.integers(1, 20) | st.integers(100, 10**5),
)


@given(
    pools,
    sides,
    grids,
    st.lists(st.tuples(st.integers(-6, 12), st.integers(1, 4)), max_size=4),
    st.integers(-6, 20),
    st.integers(1, 25),
)
@settings(max_examples=300, deadline=None)
def test_the_router_is_the_one_that_goes_lot_by_lot(
    pool: Any,
    side: int,
    grid: Grid,
    steps: list[tuple[int, int]],
    limit: int,
    quantity: int,
) -> None:
    sign = 1 if side == BUY else -1
    best = LotSwap(pool.stretches(side), side, grid).next_price_ticks()
    around = (best or grid.increment_ticks) // grid.increment_ticks
    prices = {max(1, around + sign * step) * grid.increment_ticks: lots for step, lots in steps}
    levels = [
        (p, lots * grid.step_lots) for p, lots in sorted(prices.items(), reverse=side == SELL)
    ]
    limit_ticks = max(1, around + sign * limit) * grid.increment_ticks
    lots = quantity * grid.step_lots
    swap = LotSwap(pool.stretches(side), side, grid)
    routed = [tuple(part) for part in route(swap, levels, side, limit_ticks, lots)]
    total = exact_pool(pool, side)
    assert routed == lot_by_lot(total, levels, side, limit_ticks, lots, Market(*grid))
    check_routed(pool, side, grid, routed, swap, limit_ticks)
    check_against_the_book_alone(side, levels, limit_ticks, lots, routed)


def check_routed(
    pool: Any, side: int, grid: Grid, routed: list[Any], swap: LotSwap, limit_ticks: int
) -> None:
    """Within the limit, the sum is what the pool is told, and the pool is sound after it."""
    atoms = 0
    for from_pool, price, lots in routed:
        assert 0 < price <= limit_ticks if side == BUY else price >= limit_ticks
        atoms += from_pool * price * lots
    unit = Fraction(grid.unit_quote_atoms, grid.increment_ticks * grid.step_lots)
    assert swap.quote_atoms == atoms * unit
    if swap.base_atoms:
        before = guarded(pool)
        pool.settle(side, swap.base_atoms, swap.quote_atoms)
        assert guarded(pool) >= before
        pool.check_sound()


def check_against_the_book_alone(
    side: int, levels: list[tuple[int, int]], limit_ticks: int, lots: int, routed: list[Any]
) -> None:
    """At least as many lots, and what the book alone would have sold costs no more."""
    sign = 1 if side == BUY else -1
    alone = list(route(None, levels, side, limit_ticks, lots))
    wanted = sum(part.quantity_lots for part in alone)
    left, money = wanted, 0
    for _, price, size in sorted(routed, key=lambda part: sign * part[1]):
        taken = min(left, size)
        money += taken * price
        left -= taken
    assert not left
    assert sign * money <= sign * sum(part.price_ticks * part.quantity_lots for part in alone)


@given(pools, sides, grids, st.integers(1, 10), st.integers(1, 10))
@settings(deadline=None)
def test_splitting_an_order_never_pays(
    pool: Any, side: int, grid: Grid, first: int, second: int
) -> None:
    most = (first + second) * grid.step_lots
    whole = taken(copied(pool), side, grid, most)
    money = sum(
        taken(pool, side, grid, part * grid.step_lots).quote_atoms for part in (first, second)
    )
    assert money >= whole.quote_atoms if side == BUY else money <= whole.quote_atoms


@given(pools, sides, grids, st.integers(1, 20), st.booleans())
@settings(deadline=None)
def test_no_round_trip_of_lots_is_free(
    pool: Any, side: int, grid: Grid, steps: int, alone: bool
) -> None:
    """There as a taker of lots; back as one, or with the pool alone."""
    there = taken(pool, side, grid, steps * grid.step_lots)
    if not alone:
        back = taken(pool, 3 - side, grid, steps * grid.step_lots).quote_atoms
    elif side == BUY:
        back = pool.swap_in(SELL, there.base_atoms) or 0
    else:
        back = pool.swap_out(BUY, there.base_atoms)
        assume(back is not None)
    assert back <= there.quote_atoms if side == BUY else back >= there.quote_atoms
    pool.check_sound()


def taken(pool: Any, side: int, grid: Grid, lots: int) -> LotSwap:
    """So many lots as one step, at any price, if the pool has them."""
    swap = LotSwap(pool.stretches(side), side, grid)
    assume(swap.lots_within(10**15 if side == BUY else 1, lots) == lots)
    swap.take(lots)
    pool.settle(side, swap.base_atoms, swap.quote_atoms)
    return swap


@given(st.integers(10**9, 10**18), st.integers(10**9, 10**18), sides, st.integers(1, 10**12))
@example(10**18, 10**12, BUY, 10**11)
@settings(deadline=None)
def test_the_last_of_very_many_lots_is_within_and_the_next_is_not(
    base: int, quote: int, side: int, most: int
) -> None:
    """They are found in closed form: lot by lot this would not end."""
    pool = ConstantProduct(3_000)
    pool.mint(7, 1, base, quote)
    swap = LotSwap(pool.stretches(side), side, Grid(1, 1, 1, 1))
    price = swap.next_price_ticks()
    if price is None or price >= 10**15:
        return
    limit = price * 2 if side == BUY else (price + 1) // 2
    found = swap.lots_within(limit, most)
    total = product_total(base, quote, 3_000, side)

    def is_within(lot: int) -> bool:
        after, before = total(lot), total(lot - 1)
        if after is None or before is None:
            return False
        return after - before <= limit if side == BUY else after - before >= limit

    assert 0 < found <= most
    assert is_within(found)
    assert found == most or not is_within(found + 1)
