"""The price of a pegged order beside a search over all prices."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from dexcore.pegs import WAITS, peg_price, reference_ticks

BUY, SELL = 1, 2
PRIMARY, MARKET, MIDPOINT = 1, 2, 3
PRICES = st.integers(0, 40)
SETTINGS = settings(max_examples=200, deadline=None)


@SETTINGS
@given(st.sampled_from([BUY, SELL]), PRICES, PRICES, st.integers(1, 4))
def test_the_middle_is_rounded_away_from_the_market(
    side: int, bid: int, ask: int, increment: int
) -> None:
    found = reference_ticks(side, MIDPOINT, bid * increment, ask * increment, increment)
    if not bid or not ask:
        assert found == 0
        return
    middle = Fraction(bid + ask, 2) * increment
    steps = range(0, 41 * increment, increment)
    if side == BUY:
        assert found == max(step for step in steps if step <= middle)
    else:
        assert found == min(step for step in steps if step >= middle)


def test_primary_follows_its_own_side_and_market_the_other() -> None:
    assert [reference_ticks(side, PRIMARY, 90, 100, 5) for side in (BUY, SELL)] == [90, 100]
    assert [reference_ticks(side, MARKET, 90, 100, 5) for side in (BUY, SELL)] == [100, 90]


@SETTINGS
@given(
    st.sampled_from([BUY, SELL]),
    PRICES,
    st.integers(0, 10),
    st.integers(1, 40),
    PRICES,
    st.integers(1, 4),
)
def test_a_peg_is_the_best_price_that_every_bound_allows(
    side: int, reference: int, away: int, limit: int, opposite: int, increment: int
) -> None:
    price_max = 30 * increment
    offset = -away * increment if side == BUY else away * increment
    found = peg_price(
        side,
        reference * increment,
        offset,
        limit * increment,
        opposite * increment,
        increment,
        price_max,
    )

    def allowed(price: int) -> bool:
        ticks = price * increment
        wanted = reference * increment + offset
        if side == BUY:
            taking = opposite and ticks >= opposite * increment
            return ticks <= wanted and ticks <= limit * increment and not taking
        taking = opposite and ticks <= opposite * increment
        return ticks >= wanted and ticks >= limit * increment and not taking

    prices = [price * increment for price in range(-20, 120) if allowed(price)]
    best = max(prices) if side == BUY else min(prices)
    expected = best if reference and 0 < best <= price_max else WAITS
    assert found == expected
