"""What a reader gets: single K-lines, and immutable columns of many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


class Kline(NamedTuple):
    """One K-line of a market and interval known to the caller.

    Fields are those of dex.kline.v1.Kline. A later (version, sequence) replaces an earlier one.
    """

    open_time_ns: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    turnover_atoms: int
    trade_count: int
    first_trade_sequence: int
    last_trade_sequence: int
    closed: bool
    version: int
    sequence: int


class KlineBlock(NamedTuple):
    """Some consecutive K-lines as read-only contiguous columns of equal length n."""

    open_time_ns: Int64
    open_ticks: Int64
    high_ticks: Int64
    low_ticks: Int64
    close_ticks: Int64
    volume_lots: Int64
    # (n, 2): low and high 64 bits of the turnover in atoms of the quote asset. On a
    # little-endian machine these are the bytes of an Arrow decimal128 column.
    turnover_limbs: npt.NDArray[np.uint64]
    trade_count: Int64
    first_trade_sequence: Int64
    last_trade_sequence: Int64
    # 0 while the window is open, so `closed` is version > 0.
    version: npt.NDArray[np.int32]
    sequence: Int64

    @property
    def row_count(self) -> int:
        """Number of K-lines."""
        return len(self.open_time_ns)

    def klines(self) -> Iterator[Kline]:
        """The rows as K-lines, ascending by open time."""
        turnover = [low | high << 64 for low, high in self.turnover_limbs.tolist()]
        version = self.version.tolist()
        return map(
            Kline,
            self.open_time_ns.tolist(),
            self.open_ticks.tolist(),
            self.high_ticks.tolist(),
            self.low_ticks.tolist(),
            self.close_ticks.tolist(),
            self.volume_lots.tolist(),
            turnover,
            self.trade_count.tolist(),
            self.first_trade_sequence.tolist(),
            self.last_trade_sequence.tolist(),
            [value > 0 for value in version],
            version,
            self.sequence.tolist(),
        )


class KlineColumns(NamedTuple):
    """K-lines of one market and interval at one moment, ascending by open time.

    Nothing changes them afterwards, so another thread may read them while the book goes on.
    """

    blocks: tuple[KlineBlock, ...]

    @property
    def row_count(self) -> int:
        """Number of K-lines in all blocks."""
        return sum(block.row_count for block in self.blocks)

    def klines(self) -> Iterator[Kline]:
        """Every row as a K-line, ascending by open time."""
        for block in self.blocks:
            yield from block.klines()
