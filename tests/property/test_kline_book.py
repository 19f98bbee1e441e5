"""The K-line book against the naive twin, over random logs, batches, paths and crashes."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexkline import Interval, Kline, KlineBook, KlineColumns
from tests.reference.candles import LENGTHS_NS, Close, Log, Trades, candles
from tests.reference.stream8d import stream

INTERVALS = list(zip(Interval, LENGTHS_NS.values(), strict=True))
SECOND_NS = 1_000_000_000
EVER_NS = 2**63 - 1

# Close to every edge that there is: a grid of starts plus a little, before or after.
edges_ns = st.builds(
    lambda length_ns, count, offset_ns: max(
        10 * LENGTHS_NS["1d"] + length_ns * count + offset_ns, 0
    ),
    st.sampled_from(list(LENGTHS_NS.values())),
    st.integers(0, 4),
    st.one_of(st.sampled_from([-1, 0, 1]), st.integers(-SECOND_NS, SECOND_NS)),
)
# Small ones collide; middling ones take sums past 64 bits on the vectorised path, and great ones
# leave that path.
sizes = st.one_of(st.integers(1, 5), st.integers(2**29, 2**30), st.integers(1, 2**44))
drawn_trades = st.lists(st.tuples(edges_ns, sizes, sizes), min_size=1, max_size=12)
commands = st.lists(
    st.tuples(st.integers(0, 2), st.one_of(drawn_trades, edges_ns)), min_size=1, max_size=14
)


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """A journal: sequences that sometimes repeat (one command in several calls), trade sequences
    unique but in no order."""
    drawn = draw(commands)
    total = sum(len(body) for _, body in drawn if isinstance(body, list))
    numbers = draw(st.permutations(range(1, total + 1)))
    log: Log = []
    sequence = 1
    for step, body in drawn:
        sequence += step
        if isinstance(body, list):
            trades = [(time_ns, numbers.pop(), price, size) for time_ns, price, size in body]
            log.append(Trades(sequence, trades))
        else:
            log.append(Close(sequence, body))
    return log


def small_limits() -> ExitStack:
    """Limits so small that short logs split chunks, share them and cool cells."""
    stack = ExitStack()
    stack.enter_context(patch("dexkline.rows.CHUNK_ROWS", 4))
    stack.enter_context(patch("dexkline.rows.COPY_ROWS_MAX", 1))
    stack.enter_context(patch("dexkline.book.HOT_CELLS_MAX", 2))
    return stack


def apply(book: KlineBook, command: Trades | Close, *, columns: bool = False) -> None:
    if isinstance(command, Close):
        book.close_until(command.time_ns, command.sequence)
    elif columns:
        values = np.array(command.trades, np.int64).T.copy()
        book.add_trade_columns(command.sequence, *values)
    else:
        book.add_trades(command.sequence, command.trades)


def rows(book: KlineBook, interval: Interval) -> list[Kline]:
    return book.rows(interval, 0, EVER_NS, 10**9)


def expect(log: Log, length_ns: int, quote_atoms_per_tick_lot: int) -> list[Kline]:
    """The twin's candles; the fields of both stand in the contract's order."""
    return [Kline(*candle) for candle in candles(log, length_ns, quote_atoms_per_tick_lot)]


@settings(max_examples=150, deadline=None)
@given(log=logs(), columns=st.lists(st.booleans(), min_size=14, max_size=14))
def test_equals_the_naive_twin(log: Log, columns: list[bool]) -> None:
    with small_limits():
        book = KlineBook(7)
        for command, vectorised in zip(log, columns, strict=False):
            apply(book, command, columns=vectorised)
        for interval, length_ns in INTERVALS:
            expected = expect(log, length_ns, 7)
            assert rows(book, interval) == expected
            assert list(book.columns(interval, 0, EVER_NS).klines()) == expected
            assert book.row_count(interval) == len(expected)
            middle_ns = expected[len(expected) // 2].open_time_ns if expected else 0
            assert (
                book.rows(interval, middle_ns, EVER_NS, 2)
                == [candle for candle in expected if candle.open_time_ns >= middle_ns][:2]
            )
            assert list(book.columns(interval, 0, middle_ns).klines()) == [
                kline for kline in expected if kline.open_time_ns < middle_ns
            ]
        ends = [
            kline.open_time_ns + length_ns
            for _, length_ns in INTERVALS
            for kline in expect(log, length_ns, 7)
            if not kline.closed
        ]
        assert book.next_close_ns() == min(ends, default=None)


@settings(max_examples=80, deadline=None)
@given(log=logs(), data=st.data())
def test_bytes_do_not_depend_on_path_batches_or_order(log: Log, data: st.DataObject) -> None:
    """Scalar, vectorised, one trade a call, shuffled within the command, with and without
    restores: the same checkpoint."""
    scalar = KlineBook(3)
    with small_limits():
        vectorised = KlineBook(3)
        single = KlineBook(3)
        for command in log:
            apply(scalar, command)
            apply(vectorised, command, columns=True)
            if isinstance(command, Trades):
                for trade in data.draw(st.permutations(command.trades)):
                    single.add_trades(command.sequence, [trade])
            else:
                apply(single, command)
            if data.draw(st.booleans()):
                single = KlineBook.restore(single.checkpoint())
            if data.draw(st.booleans()):
                vectorised = KlineBook.restore(vectorised.checkpoint())
        assert vectorised.checkpoint() == scalar.checkpoint() == single.checkpoint()
    assert KlineBook.restore(scalar.checkpoint()).checkpoint() == scalar.checkpoint()


@settings(max_examples=80, deadline=None)
@given(log=logs(), data=st.data())
def test_snapshots_never_change_and_changes_tell_everything(log: Log, data: st.DataObject) -> None:
    with small_limits():
        book = KlineBook(1)
        kept: list[tuple[KlineColumns, list[Kline]]] = []
        follower: dict[Interval, dict[int, Kline]] = {interval: {} for interval in Interval}
        for command in log:
            apply(book, command, columns=data.draw(st.booleans()))
            interval = data.draw(st.sampled_from(Interval))
            if data.draw(st.booleans()):
                columns = book.columns(interval, 0, EVER_NS)
                kept.append((columns, list(columns.klines())))
            if data.draw(st.booleans()):
                follow(follower[interval], book.take_changes(interval))
        for columns, then in kept:
            assert list(columns.klines()) == then
        for interval in Interval:
            follow(follower[interval], book.take_changes(interval))
            assert [kline for _, kline in sorted(follower[interval].items())] == rows(
                book, interval
            )
            assert book.take_changes(interval) == []


def follow(held: dict[int, Kline], changes: list[Kline]) -> None:
    """What a subscriber does: replace when (version, sequence) is not smaller."""
    assert [kline.open_time_ns for kline in changes] == sorted({k.open_time_ns for k in changes})
    for kline in changes:
        old = held.get(kline.open_time_ns)
        assert old is None or (kline.version, kline.sequence) >= (old.version, old.sequence)
        held[kline.open_time_ns] = kline


@pytest.mark.parametrize("seed", [20_240_805, 7])
def test_eight_days_live_and_imported(seed: int) -> None:
    """Live calls of a few trades with closes at once, against an import in blocks of 10,000 closed
    at the end, against the twin: the same candles; versions differ only where they must."""
    trades = list(stream(seed, 20_000))
    live = KlineBook(1)
    log: Log = []
    for sequence, start in enumerate(range(0, len(trades), 37), 1):
        part = trades[start : start + 37]
        live.add_trades(2 * sequence, part)
        live.close_until(part[-1][0], 2 * sequence + 1)
        log += [Trades(2 * sequence, part), Close(2 * sequence + 1, part[-1][0])]
    block = KlineBook(1)
    for sequence, start in enumerate(range(0, len(trades), 10_000), 1):
        block.add_trades(sequence, trades[start : start + 10_000])
    block.close_until(EVER_NS, len(trades))
    for interval, length_ns in INTERVALS:
        expected = expect(log, length_ns, 1)
        found = rows(live, interval)
        assert found == expected, f"seed {seed}"
        imported = [kline[:10] for kline in rows(block, interval)]
        assert imported == [kline[:10] for kline in expected], f"seed {seed}"
        assert all(kline.version == 1 for kline in rows(block, interval))
