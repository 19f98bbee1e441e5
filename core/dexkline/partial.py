"""The vectorised path: many trades into rows of one interval, and rows into stored rows.

A trade is a row of a window of no length, so one reduction serves all levels: trades into
seconds, seconds into minutes and so on. Gives the same rows as the scalar path of cell.py.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dexkline.cell import INT64_MAX
from dexkline.chunk import (
    CLOSE,
    COUNT,
    FIELD_COUNT,
    FIRST_SEQUENCE,
    FIRST_TIME,
    HIGH,
    LAST_SEQUENCE,
    LAST_TIME,
    LOW,
    OPEN,
    OPEN_TIME,
    SEQUENCE,
    VOLUME,
    Chunk,
)
from dexkline.interval import INTERVALS_NS, TIME_NS_MAX
from dexkline.kline import Int64

UInt64 = npt.NDArray[np.uint64]
_HALF: Final = np.uint64(32)
_HALF_MASK: Final = np.uint64(2**32 - 1)


def check_columns(
    time_ns: Int64, trade_sequence: Int64, price_ticks: Int64, quantity_lots: Int64
) -> None:
    """Raise ValueError naming the first field that is out of range in some trade."""
    if int(time_ns.min()) < 0 or int(time_ns.max()) > TIME_NS_MAX:
        raise ValueError("time_ns out of range")
    for name, column in (
        ("trade_sequence", trade_sequence),
        ("price_ticks", price_ticks),
        ("quantity_lots", quantity_lots),
    ):
        if int(column.min()) <= 0:
            raise ValueError(f"{name} out of range: {int(column.min())}")


def trade_rows(
    time_ns: Int64,
    trade_sequence: Int64,
    price_ticks: Int64,
    quantity_lots: Int64,
    quote_atoms_per_tick_lot: int,
) -> Chunk | None:
    """One row per trade, ascending by (time, trade_sequence); at least one trade.

    None when a turnover or the sum of volumes might leave int64: the caller takes the scalar path.
    """
    count = len(time_ns)
    quantity_max = int(quantity_lots.max())
    atoms_max = int(price_ticks.max()) * quantity_max * quote_atoms_per_tick_lot
    if quantity_max * count > INT64_MAX or atoms_max > INT64_MAX:
        return None
    step = np.diff(time_ns)
    if bool(((step < 0) | ((step == 0) & (np.diff(trade_sequence) < 0))).any()):
        order = np.lexsort((trade_sequence, time_ns))
        time_ns, trade_sequence = time_ns[order], trade_sequence[order]
        price_ticks, quantity_lots = price_ticks[order], quantity_lots[order]
    fields = np.empty((FIELD_COUNT, count), np.int64)
    for field in (OPEN_TIME, FIRST_TIME, LAST_TIME):
        fields[field] = time_ns
    for field in (OPEN, HIGH, LOW, CLOSE):
        fields[field] = price_ticks
    for field in (FIRST_SEQUENCE, LAST_SEQUENCE):
        fields[field] = trade_sequence
    fields[VOLUME] = quantity_lots
    fields[COUNT] = 1
    turnover = np.zeros((count, 2), np.uint64)
    turnover[:, 0] = price_ticks * quantity_lots * quote_atoms_per_tick_lot
    return Chunk(fields, turnover, np.zeros(count, np.int32), count)


def roll_up(rows: Chunk, length_ns: int, sequence: int) -> Chunk:
    """Rows of finer windows, ascending, into open rows of windows of `length_ns`."""
    source = rows.fields
    opens = rows.open_times - rows.open_times % length_ns
    starts = np.flatnonzero(np.concatenate(([True], opens[1:] != opens[:-1])))
    ends = np.append(starts[1:], rows.count) - 1
    fields = np.empty((FIELD_COUNT, len(starts)), np.int64)
    fields[OPEN_TIME] = opens[starts]
    for field in (OPEN, FIRST_TIME, FIRST_SEQUENCE):
        fields[field] = source[field, starts]
    for field in (CLOSE, LAST_TIME, LAST_SEQUENCE):
        fields[field] = source[field, ends]
    fields[HIGH] = np.maximum.reduceat(source[HIGH], starts)
    fields[LOW] = np.minimum.reduceat(source[LOW], starts)
    fields[VOLUME] = np.add.reduceat(source[VOLUME], starts)
    fields[COUNT] = np.add.reduceat(source[COUNT], starts)
    fields[SEQUENCE] = sequence
    turnover = _sum_limbs(rows.turnover, starts)
    return Chunk(fields, turnover, np.zeros(len(starts), np.int32), len(starts))


def all_levels(trades: Chunk, sequence: int) -> list[Chunk]:
    """The rows of all five intervals, shortest first."""
    levels = []
    rows = trades
    for length_ns in INTERVALS_NS:
        rows = roll_up(rows, length_ns, sequence)
        levels.append(rows)
    return levels


def merge_rows(chunk: Chunk, at: npt.NDArray[np.intp], rows: Chunk, sequence: int) -> None:
    """Merge `rows` into the rows of `chunk` at the distinct positions `at`.

    The same rule as Cell.merge.
    """
    old = chunk.fields[:, at]
    add = rows.fields
    first = _before(add, old, FIRST_TIME, FIRST_SEQUENCE)
    for field in (OPEN, FIRST_TIME, FIRST_SEQUENCE):
        np.copyto(old[field], add[field], where=first)
    last = _before(old, add, LAST_TIME, LAST_SEQUENCE)
    for field in (CLOSE, LAST_TIME, LAST_SEQUENCE):
        np.copyto(old[field], add[field], where=last)
    np.maximum(old[HIGH], add[HIGH], out=old[HIGH])
    np.minimum(old[LOW], add[LOW], out=old[LOW])
    old[VOLUME] += add[VOLUME]
    old[COUNT] += add[COUNT]
    version = chunk.version[at]
    version += (old[SEQUENCE] != sequence) & (version > 0)
    old[SEQUENCE] = sequence
    turnover = chunk.turnover[at]
    low = turnover[:, 0] + rows.turnover[:, 0]
    turnover[:, 1] += rows.turnover[:, 1] + (low < turnover[:, 0])
    turnover[:, 0] = low
    chunk.fields[:, at] = old
    chunk.version[at] = version
    chunk.turnover[at] = turnover


def _before(left: Int64, right: Int64, time: int, sequence: int) -> npt.NDArray[np.bool_]:
    """Where the key (time, sequence) of `left` is less than that of `right`."""
    tie = (left[time] == right[time]) & (left[sequence] < right[sequence])
    before: npt.NDArray[np.bool_] = (left[time] < right[time]) | tie
    return before


def _sum_limbs(limbs: UInt64, starts: npt.NDArray[np.intp]) -> UInt64:
    """Exact sums of 128-bit numbers by group: 32-bit halves leave room for 2**32 rows."""
    low_half = np.add.reduceat(limbs[:, 0] & _HALF_MASK, starts)
    high_half = np.add.reduceat(limbs[:, 0] >> _HALF, starts) + (low_half >> _HALF)
    total = np.empty((len(starts), 2), np.uint64)
    total[:, 0] = (high_half << _HALF) | (low_half & _HALF_MASK)
    total[:, 1] = np.add.reduceat(limbs[:, 1], starts) + (high_half >> _HALF)
    return total
