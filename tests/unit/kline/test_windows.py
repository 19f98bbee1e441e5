"""Golden cases: window edges, ties, late trades, versions, refusals. Numbers worked out by hand."""

from __future__ import annotations

import pytest

from dexkline import INTERVALS_NS, Interval, Kline, KlineBook, open_time_ns

SECOND = 1_000_000_000
# 2024-02-29 23:59:59.999999999 UTC: the last nanosecond of a leap day.
LEAP_NS = 1_709_251_199_999_999_999
EVER_NS = 2**63 - 1


def only(book: KlineBook, interval: Interval) -> Kline:
    (kline,) = book.rows(interval, 0, EVER_NS, 10)
    return kline


@pytest.mark.parametrize(
    ("interval", "number", "length_ns", "open_ns"),
    [
        (Interval.SECOND_1, 1, 1_000_000_000, 1_709_251_199_000_000_000),
        (Interval.MINUTE_1, 2, 60_000_000_000, 1_709_251_140_000_000_000),
        (Interval.MINUTE_5, 3, 300_000_000_000, 1_709_250_900_000_000_000),
        (Interval.HOUR_1, 4, 3_600_000_000_000, 1_709_247_600_000_000_000),
        (Interval.DAY_1, 5, 86_400_000_000_000, 1_709_164_800_000_000_000),
    ],
)
def test_grid(interval: Interval, number: int, length_ns: int, open_ns: int) -> None:
    assert interval == number
    assert interval.length_ns == INTERVALS_NS[number - 1] == length_ns
    assert open_time_ns(LEAP_NS, interval) == open_ns
    assert open_time_ns(open_ns, interval) == open_ns
    assert open_time_ns(LEAP_NS + 1, interval) == LEAP_NS + 1


def test_a_trade_at_the_edge_opens_the_next_window() -> None:
    book = KlineBook(1)
    book.add_trades(1, [(LEAP_NS, 1, 100, 1), (LEAP_NS + 1, 2, 200, 1)])
    for interval in Interval:
        before, after = book.rows(interval, 0, EVER_NS, 10)
        assert (before.close_ticks, after.open_ticks) == (100, 200)
        assert before.open_time_ns + interval.length_ns == after.open_time_ns == LEAP_NS + 1


def test_a_window_closes_at_its_end_and_not_before() -> None:
    book = KlineBook(1)
    book.add_trades(1, [(5 * SECOND, 1, 100, 1)])
    assert book.next_close_ns() == 6 * SECOND
    book.close_until(6 * SECOND - 1, 2)
    assert not only(book, Interval.SECOND_1).closed
    book.close_until(6 * SECOND, 3)
    second = only(book, Interval.SECOND_1)
    assert (second.closed, second.version, second.sequence) == (True, 1, 3)
    minute = only(book, Interval.MINUTE_1)
    assert (minute.closed, minute.version, minute.sequence) == (False, 0, 1)
    assert book.next_close_ns() == 60 * SECOND
    book.close_until(EVER_NS, 4)
    assert book.next_close_ns() is None
    assert only(book, Interval.DAY_1).sequence == 4


def test_open_and_close_go_by_time_then_trade_sequence() -> None:
    book = KlineBook(2)
    book.add_trades(1, [(50, 7, 30, 1), (50, 3, 10, 2), (50, 9, 20, 4)])
    assert only(book, Interval.SECOND_1) == Kline(0, 10, 30, 10, 20, 7, 260, 3, 3, 9, False, 0, 1)
    book.add_trades(2, [(49, 8, 15, 1)])
    book.add_trades(2, [(51, 1, 25, 1)])
    assert only(book, Interval.SECOND_1) == Kline(0, 15, 30, 10, 25, 9, 340, 5, 8, 1, False, 0, 2)


def test_versions_count_commands_not_trades() -> None:
    book = KlineBook(1)
    book.add_trades(1, [(10, 1, 100, 1)])
    book.close_until(SECOND, 2)
    book.add_trades(3, [(11, 2, 101, 1), (12, 3, 102, 1)])
    book.add_trades(3, [(13, 4, 103, 1)])
    second = only(book, Interval.SECOND_1)
    assert (second.version, second.sequence, second.closed) == (2, 3, True)
    assert (second.close_ticks, second.trade_count) == (103, 4)
    minute = only(book, Interval.MINUTE_1)
    assert (minute.version, minute.sequence) == (0, 3)
    # The command that closes a window may add to it: that is no correction.
    book.add_trades(4, [(61 * SECOND, 5, 104, 1)])
    book.close_until(62 * SECOND, 5)
    book.add_trades(5, [(61 * SECOND, 6, 105, 1)])
    last = book.rows(Interval.SECOND_1, SECOND, EVER_NS, 1)[0]
    assert (last.version, last.sequence, last.trade_count) == (1, 5, 2)


def test_a_late_trade_opens_a_past_window_until_the_next_close() -> None:
    book = KlineBook(1)
    book.add_trades(1, [(10 * SECOND, 1, 100, 1)])
    book.close_until(11 * SECOND, 2)
    book.add_trades(3, [(4 * SECOND, 2, 90, 1)])
    late, _ = book.rows(Interval.SECOND_1, 0, EVER_NS, 10)
    assert (late.open_time_ns, late.closed, late.version) == (4 * SECOND, False, 0)
    assert book.next_close_ns() == 5 * SECOND
    book.close_until(11 * SECOND, 4)
    late, first = book.rows(Interval.SECOND_1, 0, EVER_NS, 10)
    assert (late.version, late.sequence, first.version, first.sequence) == (1, 4, 1, 2)


def test_quiet_windows_have_no_row_and_limits_hold() -> None:
    book = KlineBook(1)
    book.add_trades(1, [(0, 1, 1, 1), (7 * SECOND, 2, 1, 1), (9 * SECOND, 3, 1, 1)])
    opens = [kline.open_time_ns // SECOND for kline in book.rows(Interval.SECOND_1, 0, EVER_NS, 9)]
    assert opens == [0, 7, 9]
    assert len(book.rows(Interval.SECOND_1, 1, 9 * SECOND, 9)) == 1
    assert len(book.rows(Interval.SECOND_1, 0, EVER_NS, 2)) == 2
    assert book.rows(Interval.SECOND_1, 0, EVER_NS, 0) == []
    assert book.rows(Interval.SECOND_1, 9 * SECOND, 7 * SECOND, 9) == []
    assert book.rows(Interval.SECOND_1, -5, 2**70, 1)[0].open_time_ns == 0


def test_turnover_is_exact_past_64_bits() -> None:
    book = KlineBook(1_000_000)
    size = 10**12
    book.add_trades(1, [(1, 1, size, size), (2, 2, size - 1, size)])
    exact = (size * size + (size - 1) * size) * 1_000_000
    assert exact > 2**64
    assert only(book, Interval.DAY_1).turnover_atoms == exact
    limbs = book.columns(Interval.DAY_1, 0, EVER_NS).blocks[0].turnover_limbs[0]
    assert int(limbs[0]) + (int(limbs[1]) << 64) == exact


def test_vectorised_sums_carry_past_64_bits() -> None:
    count = 1_000
    side = 2**31  # a turnover of 2**62 each: the fourth carries
    book = KlineBook(1)
    for call in (0, 1):
        trades = [(index, call * count + index + 1, side, side) for index in range(count)]
        book.add_trades(1, trades)
        assert only(book, Interval.SECOND_1).turnover_atoms == (call + 1) * count * side * side
        assert only(book, Interval.DAY_1).turnover_atoms == (call + 1) * count * side * side


@pytest.mark.parametrize("count", [1, 1_000])
@pytest.mark.parametrize(
    ("field", "trade"),
    [
        ("time_ns", (-1, 1, 1, 1)),
        ("time_ns", (2**63 - 1, 1, 1, 1)),
        ("trade_sequence", (1, 0, 1, 1)),
        ("price_ticks", (1, 1, 0, 1)),
        ("quantity_lots", (1, 1, 1, -3)),
    ],
)
def test_a_bad_trade_changes_nothing(
    count: int, field: str, trade: tuple[int, int, int, int]
) -> None:
    book = KlineBook(1)
    book.add_trades(1, [(5, 1, 1, 1)])
    before = book.checkpoint()
    good = [(index, index + 2, 1, 1) for index in range(count)]
    with pytest.raises(ValueError, match=field):
        book.add_trades(2, [*good, trade])
    with pytest.raises(ValueError, match=r"leaves int64|out of range"):
        book.add_trades(2, [*good, (1, 1, 2**63, 1)])
    assert book.checkpoint() == before


@pytest.mark.parametrize("count", [1, 1_000])
def test_a_day_that_overflows_changes_nothing(count: int) -> None:
    book = KlineBook(1)
    book.add_trades(1, [(5, 1, 1, 2**63 - 1 - count)])
    book.add_trades(1, [(index, index + 2, 1, 1) for index in range(count)])
    before = book.checkpoint()
    with pytest.raises(OverflowError, match="volume_lots"):
        book.add_trades(2, [(index, index + 9_999, 1, 1) for index in range(count)])
    with pytest.raises(OverflowError, match="turnover_atoms"):
        KlineBook(10**6).add_trades(1, [(1, 1, 10**16, 10**16)])
    assert book.checkpoint() == before


def test_the_journal_position_never_falls() -> None:
    book = KlineBook(1)
    book.add_trades(5, [(5, 1, 1, 1)])
    with pytest.raises(ValueError, match="sequence 4 after 5"):
        book.add_trades(4, [(5, 2, 1, 1)])
    with pytest.raises(ValueError, match="sequence 4 after 5"):
        book.close_until(EVER_NS, 4)
    book.close_until(SECOND, 7)
    with pytest.raises(ValueError, match="sequence 6 after 7"):
        book.add_trades(6, [(5, 2, 1, 1)])
    with pytest.raises(ValueError, match="sequence 0"):
        KlineBook(1).add_trades(0, [(5, 1, 1, 1)])
    again = KlineBook.restore(book.checkpoint())
    with pytest.raises(ValueError, match="sequence 4 after 7"):
        again.close_until(EVER_NS, 4)


@pytest.mark.parametrize("damage", ["cut", "longer", "magic", "order", "count"])
def test_a_damaged_checkpoint_is_refused(damage: str) -> None:
    book = KlineBook(1)
    book.add_trades(1, [(0, 1, 1, 1), (SECOND, 2, 1, 1)])
    data = bytearray(book.checkpoint())
    rows_at = len(b"dexkline.book.1\n") + 8
    if damage == "cut":
        del data[-1]
    elif damage == "longer":
        data.append(0)
    elif damage == "magic":
        data[0] ^= 1
    elif damage == "order":
        data[rows_at + 8 : rows_at + 24] = (
            data[rows_at + 16 : rows_at + 24] + data[rows_at + 8 : rows_at + 16]
        )
    else:
        data[rows_at : rows_at + 8] = (2**40).to_bytes(8, "little")
    with pytest.raises(ValueError, match="checkpoint"):
        KlineBook.restore(bytes(data))


def test_discarded_changes_do_not_come_back() -> None:
    book = KlineBook(1)
    book.add_trades(1, [(0, 1, 1, 1)])
    book.discard_changes()
    assert all(book.take_changes(interval) == [] for interval in Interval)
    book.close_until(SECOND, 2)
    assert [kline.closed for kline in book.take_changes(Interval.SECOND_1)] == [True]
    assert book.take_changes(Interval.MINUTE_1) == []
