"""Open and close of a candle belong to its first and last trade, whenever they arrived."""

from __future__ import annotations

import itertools

from dexkline import Interval, KlineBook

# time_ns, trade_sequence, price_ticks, quantity_lots
TRADES = ((10, 1, 100, 1), (20, 2, 130, 1), (30, 3, 90, 1), (30, 4, 110, 1))


def test_open_and_close_do_not_depend_on_arrival() -> None:
    for order in itertools.permutations(TRADES):
        book = KlineBook(1)
        for sequence, trade in enumerate(order, 1):
            book.add_trades(sequence, [trade])
        [candle] = book.rows(Interval.SECOND_1, 0, 10**9, 10)
        assert (candle.open_ticks, candle.close_ticks) == (100, 110), order


def test_open_and_close_do_not_depend_on_the_order_in_one_command() -> None:
    for order in itertools.permutations(TRADES):
        book = KlineBook(1)
        book.add_trades(1, list(order))
        [candle] = book.rows(Interval.SECOND_1, 0, 10**9, 10)
        assert (candle.open_ticks, candle.close_ticks) == (100, 110), order
