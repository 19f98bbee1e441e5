"""K-line rows in columns: a sorted sequence of chunks that readers may hold on to.

Theory of operation. Rows ascend by open time over chunks of at most CHUNK_ROWS rows, so an append
never copies what is stored and an insert moves one chunk. A chunk that a reader was given is
`shared`: the next write to it goes to a copy that takes its place (copy on write), so what the
reader holds never changes and taking a snapshot of millions of rows copies nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dexkline.cell import Cell
from dexkline.chunk import (
    CHUNK_ROWS,
    COPY_ROWS_MAX,
    OPEN_TIME,
    SEQUENCE,
    Chunk,
)
from dexkline.kline import Int64, KlineBlock
from dexkline.partial import merge_rows


class RowStore:
    """Rows of one interval, unique and ascending by open time."""

    __slots__ = ("_chunks", "_starts")

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._starts: list[int] = []  # open time of every chunk's first row

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return sum(chunk.count for chunk in self._chunks)

    @property
    def chunks(self) -> list[Chunk]:
        """The chunks in order, to read only."""
        return self._chunks

    @property
    def last_open_time_ns(self) -> int:
        """Greatest open time, -1 without rows."""
        if not self._chunks:
            return -1
        chunk = self._chunks[-1]
        return int(chunk.fields[OPEN_TIME, chunk.count - 1])

    def find(self, open_time_ns: int) -> tuple[int, int] | None:
        """Position (chunk, row) of a row, or None."""
        index = bisect_right(self._starts, open_time_ns) - 1
        if index < 0:
            return None
        times = self._chunks[index].open_times
        row = int(times.searchsorted(open_time_ns))
        if row == len(times) or times[row] != open_time_ns:
            return None
        return index, row

    def owned(self, index: int) -> Chunk:
        """The chunk at `index`, safe to write: copied first when a reader holds it."""
        chunk = self._chunks[index]
        if chunk.shared:
            chunk = self._chunks[index] = chunk.copy(0, chunk.count, CHUNK_ROWS)
        return chunk

    def find_many(self, open_times: Int64) -> Iterator[tuple[int, npt.NDArray[np.intp], Int64]]:
        """For every chunk that holds some of the ascending `open_times`: the chunk's index, which
        of the open times it holds, and in which of its rows."""
        homes = np.searchsorted(np.array(self._starts, np.int64), open_times, "right") - 1
        for home in np.unique(homes[homes >= 0]).tolist():
            asked = np.flatnonzero(homes == home)
            times = self._chunks[home].open_times
            rows = times.searchsorted(open_times[asked])
            held = rows < len(times)
            held[held] = times[rows[held]] == open_times[asked[held]]
            if held.any():
                yield home, asked[held], rows[held]

    def merge(self, rows: Chunk, sequence: int) -> Int64:
        """Merge rows ascending by open time that one command made; returns which were new."""
        new = np.ones(rows.count, np.bool_)
        if rows.count and int(rows.open_times[0]) <= self.last_open_time_ns:
            for index, asked, at in list(self.find_many(rows.open_times)):
                merge_rows(self.owned(index), at, rows.take(asked), sequence)
                new[asked] = False
        fresh = rows if new.all() else rows.take(np.flatnonzero(new))
        self.insert(fresh)
        return fresh.open_times

    def close(self, open_times: Int64, sequence: int) -> None:
        """Close the stored open rows at the ascending `open_times`."""
        for index, _, at in list(self.find_many(open_times)):
            chunk = self.owned(index)
            chunk.version[at] = 1
            chunk.fields[SEQUENCE, at] = sequence

    def put(self, cells: list[Cell]) -> None:
        """Write cells ascending by open time: each replaces its row or becomes a new one."""
        middle: list[Cell] = []
        last = self.last_open_time_ns
        for cell in cells:
            if cell.open_time_ns > last:
                chunk = self._tail(cell.open_time_ns)
                chunk.write(chunk.count, cell)
                last = cell.open_time_ns
            elif (at := self.find(cell.open_time_ns)) is not None:
                self.owned(at[0]).write(at[1], cell)
            else:
                middle.append(cell)
        if middle:
            rows = Chunk.empty(len(middle))
            for row, cell in enumerate(middle):
                rows.write(row, cell)
            self.insert(rows)

    def insert(self, rows: Chunk) -> None:
        """Add rows ascending by open time, none of which is stored yet."""
        tail = int(rows.open_times.searchsorted(self.last_open_time_ns))
        if tail:
            self._insert_middle(rows, tail)
        while tail < rows.count:
            chunk = self._tail(int(rows.fields[OPEN_TIME, tail]))
            end = min(rows.count, tail + CHUNK_ROWS - chunk.count)
            chunk.put(chunk.count, rows, tail, end)
            tail = end

    def _insert_middle(self, rows: Chunk, count: int) -> None:
        times = rows.open_times[:count]
        homes = np.maximum(np.searchsorted(np.array(self._starts, np.int64), times, "right") - 1, 0)
        # From the last chunk to the first: a split moves only the chunks after it.
        for home in reversed(np.unique(homes).tolist()):
            low = int(np.searchsorted(homes, home, "left"))
            high = int(np.searchsorted(homes, home, "right"))
            old = self._chunks[home]
            both = old.copy(0, old.count, old.count + high - low)
            both.put(old.count, rows, low, high)
            both = both.take(np.argsort(both.open_times, kind="stable"))
            parts = -(-both.count // CHUNK_ROWS)
            size = -(-both.count // parts)
            pieces = [
                both.copy(start, min(both.count, start + size), CHUNK_ROWS)
                for start in range(0, both.count, size)
            ]
            self._chunks[home : home + 1] = pieces
            self._starts[home : home + 1] = [int(piece.open_times[0]) for piece in pieces]

    def _tail(self, open_time_ns: int) -> Chunk:
        """The chunk that takes the next row, which opens at `open_time_ns`."""
        if not self._chunks or self._chunks[-1].count == CHUNK_ROWS:
            self._chunks.append(Chunk.empty(CHUNK_ROWS))
            self._starts.append(open_time_ns)
        return self.owned(len(self._chunks) - 1)

    def slices(self, start_ns: int, end_ns: int) -> Iterator[tuple[Chunk, int, int]]:
        """Non-empty (chunk, low, high) that cover the open times in [start_ns, end_ns)."""
        first = max(bisect_right(self._starts, start_ns) - 1, 0)
        for chunk in self._chunks[first:]:
            times = chunk.open_times
            low, high = times.searchsorted((start_ns, end_ns)).tolist()
            if low < high:
                yield chunk, low, high
            if high < len(times):
                return

    def snapshot(self, start_ns: int, end_ns: int) -> tuple[KlineBlock, ...]:
        """The rows that open in [start_ns, end_ns) as blocks that never change."""
        blocks = []
        for chunk, low, high in self.slices(start_ns, end_ns):
            if high - low <= COPY_ROWS_MAX:
                blocks.append(chunk.copy(low, high, high - low).block(0, high - low))
            else:
                chunk.shared = True
                blocks.append(chunk.block(low, high))
        return tuple(blocks)
