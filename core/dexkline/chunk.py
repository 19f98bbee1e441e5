"""A chunk of K-line rows in columns, and the row layout that everything else shares."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dexkline.cell import Cell
from dexkline.kline import Int64, KlineBlock

CHUNK_ROWS: Final = 16_384
# Below this a slice is copied: cheaper than the copy on write that sharing leads to.
COPY_ROWS_MAX: Final = 2_048

# Rows of Chunk.fields, one per int64 column.
(
    OPEN_TIME,
    OPEN,
    HIGH,
    LOW,
    CLOSE,
    VOLUME,
    COUNT,
    FIRST_TIME,
    FIRST_SEQUENCE,
    LAST_TIME,
    LAST_SEQUENCE,
    SEQUENCE,
) = range(12)
FIELD_COUNT: Final = 12
LIMB_MASK: Final = 2**64 - 1


class Chunk:
    """`count` rows: int64 fields (FIELD_COUNT, capacity), turnover limbs (capacity, 2), version."""

    __slots__ = ("count", "fields", "shared", "turnover", "version")

    def __init__(
        self,
        fields: Int64,
        turnover: npt.NDArray[np.uint64],
        version: npt.NDArray[np.int32],
        count: int,
    ) -> None:
        self.fields = fields
        self.turnover = turnover
        self.version = version
        self.count = count
        self.shared = False

    @classmethod
    def empty(cls, capacity: int) -> Chunk:
        """A chunk without rows."""
        return cls(
            np.empty((FIELD_COUNT, capacity), np.int64),
            np.empty((capacity, 2), np.uint64),
            np.empty(capacity, np.int32),
            0,
        )

    @property
    def open_times(self) -> Int64:
        """Open times of the rows, ascending."""
        times: Int64 = self.fields[OPEN_TIME, : self.count]
        return times

    def copy(self, low: int, high: int, capacity: int) -> Chunk:
        """A chunk of its own with rows low to high."""
        new = Chunk.empty(capacity)
        new.put(0, self, low, high)
        return new

    def put(self, at: int, source: Chunk, low: int, high: int) -> None:
        """Write rows low to high of `source` from row `at` on; `count` grows to cover them."""
        end = at + high - low
        self.fields[:, at:end] = source.fields[:, low:high]
        self.turnover[at:end] = source.turnover[low:high]
        self.version[at:end] = source.version[low:high]
        self.count = max(self.count, end)

    def take(self, index: npt.NDArray[np.intp]) -> Chunk:
        """A chunk of its own with the rows at `index`, in that order."""
        return Chunk(self.fields[:, index], self.turnover[index], self.version[index], len(index))

    def read(self, row: int) -> Cell:
        """One row as a cell."""
        cell = Cell()
        (
            cell.open_time_ns,
            cell.open_ticks,
            cell.high_ticks,
            cell.low_ticks,
            cell.close_ticks,
            cell.volume_lots,
            cell.trade_count,
            cell.first_time_ns,
            cell.first_sequence,
            cell.last_time_ns,
            cell.last_sequence,
            cell.sequence,
        ) = self.fields[:, row].tolist()
        low, high = self.turnover[row].tolist()
        cell.turnover_atoms = low | high << 64
        cell.version = int(self.version[row])
        return cell

    def write(self, row: int, cell: Cell) -> None:
        """Set one row; `count` grows to cover it."""
        self.fields[:, row] = (
            cell.open_time_ns,
            cell.open_ticks,
            cell.high_ticks,
            cell.low_ticks,
            cell.close_ticks,
            cell.volume_lots,
            cell.trade_count,
            cell.first_time_ns,
            cell.first_sequence,
            cell.last_time_ns,
            cell.last_sequence,
            cell.sequence,
        )
        self.turnover[row, 0] = cell.turnover_atoms & LIMB_MASK
        self.turnover[row, 1] = cell.turnover_atoms >> 64
        self.version[row] = cell.version
        if row >= self.count:
            self.count = row + 1

    def block(self, low: int, high: int) -> KlineBlock:
        """Read-only views of rows low to high."""
        fields = self.fields[:, low:high]
        fields.flags.writeable = False
        turnover = self.turnover[low:high]
        turnover.flags.writeable = False
        version = self.version[low:high]
        version.flags.writeable = False
        return KlineBlock(
            fields[OPEN_TIME],
            fields[OPEN],
            fields[HIGH],
            fields[LOW],
            fields[CLOSE],
            fields[VOLUME],
            turnover,
            fields[COUNT],
            fields[FIRST_SEQUENCE],
            fields[LAST_SEQUENCE],
            version,
            fields[SEQUENCE],
        )
