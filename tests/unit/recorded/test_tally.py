from __future__ import annotations

import pytest

from dex.orders.v1 import order_intake_pb2 as orders
from dexnode.recorded.tally import Tally, percentile, ratio


def fill(price_ticks: int, quantity_lots: int) -> orders.Fill:
    return orders.Fill(price_ticks=price_ticks, quantity_lots=quantity_lots)


def test_divergence_of_three_trades() -> None:
    tally = Tally()
    tally.trade(100, 10, [fill(100, 10)])
    tally.trade(100, 10, [fill(97, 4), fill(100, 6)])
    tally.trade(100, 5, [fill(99, 2)])
    assert (tally.exact_count, tally.away_count, tally.short_count) == (1, 2, 1)
    assert (tally.fill_count, tally.recorded_lots, tally.filled_lots) == (4, 25, 22)
    assert (tally.away_lots, tally.away_ticks_lots, tally.away_ticks_max) == (6, 14, 3)
    assert tally.short_lots_max == 3


@pytest.mark.parametrize(
    ("per_mille", "expected"), [(500, 50), (990, 99), (999, 100), (1_000, 100), (1, 1)]
)
def test_percentile_is_the_nearest_rank(per_mille: int, expected: int) -> None:
    assert percentile(range(100, 0, -1), per_mille) == expected
    assert percentile([], per_mille) == 0


def test_ratio_is_exact_and_rounds_down() -> None:
    assert [ratio(2, 3), ratio(7, 2, 1), ratio(1, 0), ratio(1, 1_000)] == [
        "0.666",
        "3.5",
        "0",
        "0.001",
    ]
