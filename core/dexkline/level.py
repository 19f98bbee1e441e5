"""One interval of a book: stored rows, and open windows held as cells while trades reach them.

Theory of operation. An open window that trades is a *hot* cell; the hot cell is the truth and the
stored row, if there is one, may lag behind until `flush`. A closed window is a stored row only.
`open_times` lists every open window, hot or stored, in order; `changed` every window that changed
since the last take.
"""

from __future__ import annotations

from bisect import bisect_right, insort

import numpy as np

from dexkline.cell import Cell
from dexkline.chunk import Chunk
from dexkline.interval import INTERVALS_NS, Interval
from dexkline.kline import Kline
from dexkline.rows import RowStore


class Level:
    """K-lines of one market and interval."""

    __slots__ = ("changed", "dirty", "hot", "length_ns", "newest_ns", "open_times", "store")

    def __init__(self, interval: Interval, store: RowStore) -> None:
        self.length_ns = INTERVALS_NS[interval - 1]
        self.store = store
        self.hot: dict[int, Cell] = {}
        self.dirty = False  # some hot cell is ahead of its stored row
        self.newest_ns = store.last_open_time_ns  # greatest open time of any row or cell
        self.changed: set[int] = set()
        self.open_times: list[int] = []
        for chunk in store.chunks:
            self.open_times += chunk.open_times[chunk.version[: chunk.count] == 0].tolist()

    def add(self, part: Cell, sequence: int) -> None:
        """Merge a cell of trades of one second."""
        open_time_ns = part.open_time_ns
        open_time_ns -= open_time_ns % self.length_ns
        self.changed.add(open_time_ns)
        cell = self.hot.get(open_time_ns)
        if cell is not None:
            cell.merge(part, sequence)
            self.dirty = True
            return
        at = None if open_time_ns > self.newest_ns else self.store.find(open_time_ns)
        if at is None:
            self.hot[open_time_ns] = part.copy_to_window(open_time_ns, sequence)
            self.dirty = True
            if open_time_ns > self.newest_ns:
                self.newest_ns = open_time_ns
                self.open_times.append(open_time_ns)
            else:
                insort(self.open_times, open_time_ns)
            return
        cell = self.store.chunks[at[0]].read(at[1])
        cell.merge(part, sequence)
        if cell.version:
            self.store.owned(at[0]).write(at[1], cell)
        else:
            self.hot[open_time_ns] = cell
            self.dirty = True

    def add_rows(self, rows: Chunk, sequence: int) -> None:
        """Merge open rows of this interval, ascending by open time."""
        self.cool()
        new = self.store.merge(rows, sequence).tolist()
        self.changed.update(rows.open_times.tolist())
        self.open_times += new
        self.open_times.sort()
        self.newest_ns = self.store.last_open_time_ns

    def close_until(self, time_ns: int, sequence: int) -> bool:
        """Close every open window that ends at or before `time_ns`; False when none does."""
        count = bisect_right(self.open_times, time_ns - self.length_ns)
        if not count:
            return False
        due = self.open_times[:count]
        del self.open_times[:count]
        self.changed.update(due)
        cells = []
        stored = []
        for open_time_ns in due:
            cell = self.hot.pop(open_time_ns, None)
            if cell is None:
                stored.append(open_time_ns)
            else:
                cell.version = 1
                cell.sequence = sequence
                cells.append(cell)
        self.store.put(cells)
        if stored:
            self.store.close(np.array(stored, np.int64), sequence)
        return True

    def next_close_ns(self) -> int | None:
        """End of the earliest open window."""
        return self.open_times[0] + self.length_ns if self.open_times else None

    def flush(self) -> None:
        """Bring the stored rows up to date."""
        if self.dirty:
            self.store.put([self.hot[open_time_ns] for open_time_ns in sorted(self.hot)])
            self.dirty = False

    def cool(self) -> None:
        """Flush and hold no cell."""
        self.flush()
        self.hot.clear()

    def cell(self, open_time_ns: int) -> Cell | None:
        """The window that starts at `open_time_ns`, to read only."""
        cell = self.hot.get(open_time_ns)
        if cell is None and (at := self.store.find(open_time_ns)) is not None:
            cell = self.store.chunks[at[0]].read(at[1])
        return cell

    def take_changes(self) -> list[Kline]:
        """Every window that changed since the last take, ascending by open time."""
        if not self.changed:
            return []
        times = sorted(self.changed)
        self.changed.clear()
        klines = []
        for open_time_ns in times:
            cell = self.cell(open_time_ns)
            if cell is None:
                raise LookupError(f"the changed window at {open_time_ns} has no row")
            klines.append(_kline(cell))
        return klines


def _kline(cell: Cell) -> Kline:
    # Half the price of Kline(...).
    values = (
        cell.open_time_ns,
        cell.open_ticks,
        cell.high_ticks,
        cell.low_ticks,
        cell.close_ticks,
        cell.volume_lots,
        cell.turnover_atoms,
        cell.trade_count,
        cell.first_sequence,
        cell.last_sequence,
        cell.version > 0,
        cell.version,
        cell.sequence,
    )
    return tuple.__new__(Kline, values)
