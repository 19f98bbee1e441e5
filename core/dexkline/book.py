"""The K-lines of one market, in all five intervals.

A trade belongs to the window that holds its time, whenever it arrives. What a K-line says of its
trades does not depend on the order or batching of arrival; `version` and `sequence` follow the
journal: 0 while open, 1 when a close reaches the window, then one more for every later command
that adds a trade to it. Windows without trades have no K-line.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Final

import numpy as np
import numpy.typing as npt

from dexkline.cell import INT64_MAX, TURNOVER_ATOMS_MAX, Trade, fold_seconds
from dexkline.checkpoint import decode_book, encode_book
from dexkline.chunk import SEQUENCE, VOLUME, Chunk
from dexkline.interval import INTERVALS_NS, Interval
from dexkline.kline import Int64, Kline, KlineColumns
from dexkline.level import Level
from dexkline.partial import all_levels, check_columns, trade_rows
from dexkline.rows import RowStore

# Measured: below 128 trades a call the scalar path always wins; in calls of this size it is ahead
# only when the trades share a few seconds, and by little.
VECTOR_TRADES_MIN: Final = 512
# More open windows than this under way at once are kept as rows, not as cells.
HOT_CELLS_MAX: Final = 64
_DAY_NS: Final = INTERVALS_NS[-1]


class KlineBook:
    """K-lines of one market. Not thread-safe; what `columns` returns may cross threads.

    `quote_atoms_per_tick_lot` is the market's: a trade's turnover in atoms of the quote asset is
    price_ticks * quantity_lots * quote_atoms_per_tick_lot.
    """

    __slots__ = ("_levels", "_sequence", "quote_atoms_per_tick_lot")

    def __init__(self, quote_atoms_per_tick_lot: int) -> None:
        if not 0 < quote_atoms_per_tick_lot <= INT64_MAX:
            raise ValueError(f"quote_atoms_per_tick_lot out of range: {quote_atoms_per_tick_lot}")
        self.quote_atoms_per_tick_lot = quote_atoms_per_tick_lot
        self._sequence = 0  # of the last command that changed anything
        self._levels = [Level(interval, RowStore()) for interval in Interval]

    def add_trades(self, sequence: int, trades: Sequence[Trade]) -> None:
        """Add trades (time_ns, trade_sequence, price_ticks, quantity_lots), all int, in any order.

        `sequence` is the journal position of the command that made them; it never falls. One
        command may come in several calls. A trade must come once only: the caller keeps
        trade_sequence unique. Raises ValueError for a field out of range and OverflowError when a
        day's volume would leave int64 or its turnover 38 digits; then nothing has changed.
        """
        if not trades:
            return
        if len(trades) >= VECTOR_TRADES_MIN:
            try:
                flat = np.fromiter(chain.from_iterable(trades), np.int64, 4 * len(trades))
            except OverflowError as error:
                raise ValueError("a field of a trade leaves int64") from error
            time_ns, trade_sequence, price_ticks, quantity_lots = flat.reshape(-1, 4).T.copy()
            self.add_trade_columns(sequence, time_ns, trade_sequence, price_ticks, quantity_lots)
            return
        self._check_sequence(sequence)
        self._add_scalar(sequence, trades)

    def add_trade_columns(
        self,
        sequence: int,
        time_ns: Int64,
        trade_sequence: Int64,
        price_ticks: Int64,
        quantity_lots: Int64,
    ) -> None:
        """`add_trades` for int64 columns of equal length: the bulk path."""
        self._check_sequence(sequence)
        if not len(time_ns):
            return
        check_columns(time_ns, trade_sequence, price_ticks, quantity_lots)
        columns = (time_ns, trade_sequence, price_ticks, quantity_lots)
        rows = trade_rows(*columns, self.quote_atoms_per_tick_lot)
        if rows is None:
            trades = zip(*(column.tolist() for column in columns), strict=True)
            self._add_scalar(sequence, list(trades))
            return
        levels = all_levels(rows, sequence)
        self._check_days(_day_sums(levels[-1]))
        self._sequence = sequence
        for level, part in zip(self._levels, levels, strict=True):
            level.add_rows(part, sequence)

    def _add_scalar(self, sequence: int, trades: Sequence[Trade]) -> None:
        parts = fold_seconds(trades, self.quote_atoms_per_tick_lot)
        sums: dict[int, tuple[int, int]] = {}
        for part in parts:
            day_ns = part.open_time_ns - part.open_time_ns % _DAY_NS
            volume_lots, turnover_atoms = sums.get(day_ns, (0, 0))
            sums[day_ns] = volume_lots + part.volume_lots, turnover_atoms + part.turnover_atoms
        self._check_days(sums)
        self._sequence = sequence
        for level in self._levels:
            for part in parts:
                level.add(part, sequence)
            if len(level.hot) > HOT_CELLS_MAX:
                level.cool()

    def close_until(self, time_ns: int, sequence: int) -> None:
        """Close every open window that ends at or before `time_ns`.

        `sequence` is the journal position of the command (ClockTick or an import's watermark). A
        late trade may have opened a window that is long over: it closes here too.
        """
        self._check_sequence(sequence)
        for level in self._levels:
            if level.close_until(time_ns, sequence):
                self._sequence = sequence

    def next_close_ns(self) -> int | None:
        """End of the earliest open window, in the past after a late trade; None without one."""
        ends = [level.next_close_ns() for level in self._levels]
        return min((end for end in ends if end is not None), default=None)

    def take_changes(self, interval: Interval) -> list[Kline]:
        """Every K-line that changed since the last take, ascending by open time."""
        return self._levels[interval - 1].take_changes()

    def discard_changes(self) -> None:
        """Forget what changed in every interval: after a replay nobody waits for it."""
        for level in self._levels:
            level.changed.clear()

    def rows(self, interval: Interval, start_ns: int, end_ns: int, limit: int) -> list[Kline]:
        """The first `limit` K-lines that open in [start_ns, end_ns), ascending."""
        level = self._levels[interval - 1]
        level.flush()
        klines: list[Kline] = []
        for chunk, low, high in level.store.slices(*_range(start_ns, end_ns)):
            room = limit - len(klines)
            if room <= 0:
                break
            klines += islice(chunk.block(low, min(high, low + room)).klines(), room)
        return klines

    def last(self, interval: Interval) -> Kline | None:
        """The K-line of the newest window that traded; None without one."""
        level = self._levels[interval - 1]
        level.flush()
        if not level.store.row_count:
            return None
        open_time_ns = level.store.last_open_time_ns
        return self.rows(interval, open_time_ns, open_time_ns + 1, 1)[0]

    def columns(self, interval: Interval, start_ns: int, end_ns: int) -> KlineColumns:
        """The K-lines that open in [start_ns, end_ns) as columns that never change afterwards.

        Costs microseconds per 16,384 rows: long ranges are views, and the book copies a block
        before it next writes to it.
        """
        level = self._levels[interval - 1]
        level.flush()
        return KlineColumns(level.store.snapshot(*_range(start_ns, end_ns)))

    def row_count(self, interval: Interval) -> int:
        """Number of K-lines of an interval."""
        level = self._levels[interval - 1]
        level.flush()
        return level.store.row_count

    def checkpoint(self) -> bytes:
        """The exact state, versions included: equal state gives equal bytes.

        Changes not yet taken are not part of it.
        """
        for level in self._levels:
            level.flush()
        return encode_book(self.quote_atoms_per_tick_lot, [level.store for level in self._levels])

    @classmethod
    def restore(cls, data: bytes) -> KlineBook:
        """The book of a checkpoint. Raises ValueError for bytes that are not one."""
        quote_atoms_per_tick_lot, stores = decode_book(data)
        book = cls(quote_atoms_per_tick_lot)
        book._levels = [
            Level(interval, store) for interval, store in zip(Interval, stores, strict=True)
        ]
        book._sequence = max(
            (
                int(part.fields[SEQUENCE, : part.count].max())
                for store in stores
                for part in store.chunks
            ),
            default=0,
        )
        return book

    def _check_sequence(self, sequence: int) -> None:
        if not max(self._sequence, 1) <= sequence <= INT64_MAX:
            raise ValueError(f"sequence {sequence} after {self._sequence}")

    def _check_days(self, sums: dict[int, tuple[int, int]]) -> None:
        """A day holds the greatest sums of any window, so checking it covers all intervals."""
        for day_ns, (volume_lots, turnover_atoms) in sums.items():
            day = self._levels[-1].cell(day_ns)
            if volume_lots + (day.volume_lots if day else 0) > INT64_MAX:
                raise OverflowError(f"volume_lots of the day at {day_ns} leaves int64")
            if turnover_atoms + (day.turnover_atoms if day else 0) > TURNOVER_ATOMS_MAX:
                raise OverflowError(f"turnover_atoms of the day at {day_ns} leaves 38 digits")


def _day_sums(days: Chunk) -> dict[int, tuple[int, int]]:
    turnover: npt.NDArray[np.uint64] = days.turnover
    return {
        day_ns: (volume_lots, low | high << 64)
        for day_ns, volume_lots, (low, high) in zip(
            days.open_times.tolist(), days.fields[VOLUME].tolist(), turnover.tolist(), strict=True
        )
    }


def _range(start_ns: int, end_ns: int) -> tuple[int, int]:
    """The range within int64, so that any Python int may be asked for."""
    return min(max(start_ns, 0), INT64_MAX), min(max(end_ns, 0), INT64_MAX)
