"""A market's trades in columns, ascending by trade_sequence."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, NamedTuple, final

import numpy as np
import numpy.typing as npt

from dexkline.checkpoint import Reader, integer
from dexkline.kline import Int64

TradeRow = tuple[int, int, int, int, int, int, int]

_MAGIC: Final = b"dexkline.trade.1"
_CHUNK_ROWS: Final = 65_536
_WIDTH: Final = 7
_TIME, _SEQUENCE, _PRICE, _QUANTITY, _SIDE, _MAKER, _TAKER = range(_WIDTH)


class TradeBlock(NamedTuple):
    """Some consecutive trades as read-only contiguous columns of equal length."""

    time_ns: Int64
    trade_sequence: Int64
    price_ticks: Int64
    quantity_lots: Int64
    # Number of dex.orders.v1.Side.
    taker_side: npt.NDArray[np.int8]
    # 0 for an external trade.
    maker_order_key: Int64
    taker_order_key: Int64

    @property
    def row_count(self) -> int:
        """Number of trades."""
        return len(self.time_ns)

    def part(self, low: int, high: int) -> TradeBlock:
        """Trades low to high, without copying."""
        return TradeBlock._make(column[low:high] for column in self)


Arrays = tuple[Int64, npt.NDArray[np.int8]]
"""Seven columns of trades (the side among them, unused), and the sides."""


@final
class TradeChunk:
    """CHUNK_ROWS trades: in memory, or wherever ``cool`` says they can be had again."""

    __slots__ = ("_cold", "_held")

    def __init__(self) -> None:
        self._held: Arrays | None = (
            np.empty((_WIDTH, _CHUNK_ROWS), np.int64),
            np.empty(_CHUNK_ROWS, np.int8),
        )
        self._cold: Callable[[], Arrays] | None = None

    @property
    def is_cold(self) -> bool:
        """Whether it holds no memory any more."""
        return self._held is None

    def arrays(self) -> Arrays:
        """The columns; safe beside a thread that cools them."""
        held = self._held
        if held is not None:
            return held
        if self._cold is None:
            raise RuntimeError("cooled without a place")
        return self._cold()

    def cool(self, read: Callable[[], Arrays]) -> None:
        """Let the memory go: from now on `read` gives the same columns. For any thread."""
        # In this order: whoever finds no memory must find the place.
        self._cold = read
        self._held = None


class TradeColumns:
    """Growable store of one market's trades. Not thread-safe; the blocks it hands out may cross
    threads, for a trade never changes.

    `on_full` is told of every chunk that will not change any more and may cool it, soon or later;
    without it everything stays in memory.
    """

    __slots__ = ("_chunks", "_counts", "_last_sequence", "_on_full", "_pending", "_starts")

    def __init__(self, on_full: Callable[[TradeChunk], None] | None = None) -> None:
        self._on_full = on_full
        # Appends gather here and reach the columns together.
        self._pending: list[TradeRow] = []
        self._chunks: list[TradeChunk] = []
        self._counts: list[int] = []
        self._starts: list[int] = []
        self._last_sequence = 0

    @property
    def row_count(self) -> int:
        """Number of trades."""
        return sum(self._counts) + len(self._pending)

    @property
    def last_trade_sequence(self) -> int:
        """trade_sequence of the newest trade, 0 without one."""
        return self._last_sequence

    def first_from(self, sequence: int) -> int:
        """The least trade_sequence there is at or after this one; 0 without one. Numbers have a
        gap where an epoch began."""
        self._flush()
        first = max(bisect_right(self._starts, sequence) - 1, 0)
        for index in range(first, min(first + 2, len(self._chunks))):
            fields, _ = self._chunks[index].arrays()
            sequences = fields[_SEQUENCE, : self._counts[index]]
            low = int(sequences.searchsorted(sequence))
            if low < self._counts[index]:
                return int(sequences[low])
        return 0

    def append_many(self, trades: Sequence[TradeRow]) -> None:
        """Append trades (time_ns, trade_sequence, price_ticks, quantity_lots, taker_side,
        maker_order_key, taker_order_key), all int.

        Raises ValueError, and appends nothing, unless trade_sequence rises from trade to trade.
        """
        last = self._last_sequence
        for trade in trades:
            if trade[_SEQUENCE] <= last:
                raise ValueError(f"trade_sequence {trade[_SEQUENCE]} after {last}")
            last = trade[_SEQUENCE]
        self._last_sequence = last
        self._pending += trades
        if len(self._pending) >= 4_096:
            self._flush()

    def slice(self, start_sequence: int, end_sequence: int) -> tuple[TradeBlock, ...]:
        """Trades with trade_sequence in [start_sequence, end_sequence), ascending, as blocks that
        never change."""
        self._flush()
        start_sequence = max(start_sequence, 0)
        end_sequence = min(end_sequence, self._last_sequence + 1)
        blocks = []
        first = max(bisect_right(self._starts, start_sequence) - 1, 0)
        for index in range(first, len(self._chunks)):
            if self._starts[index] >= end_sequence:
                break
            fields, _ = self._chunks[index].arrays()
            sequences = fields[_SEQUENCE, : self._counts[index]]
            low, high = sequences.searchsorted((start_sequence, end_sequence)).tolist()
            if low < high:
                blocks.append(self._block(index, low, high))
        return tuple(blocks)

    def checkpoint(self) -> bytes:
        """All trades: equal trades give equal bytes, however they were appended."""
        blocks = self.slice(0, self._last_sequence + 1)
        parts = [_MAGIC, integer(self.row_count)]
        for field in range(_WIDTH):
            kind = "<i1" if field == _SIDE else "<i8"
            parts += [block[field].astype(kind).tobytes() for block in blocks]
        return b"".join(parts)

    @classmethod
    def restore(
        cls, data: bytes, on_full: Callable[[TradeChunk], None] | None = None
    ) -> TradeColumns:
        """The store of a checkpoint. Raises ValueError for bytes that are not one."""
        reader = Reader(data, _MAGIC)
        count = reader.integer()
        columns = [
            reader.array(count, "<i1" if field == _SIDE else "<i8") for field in range(_WIDTH)
        ]
        reader.end()
        sequences = columns[_SEQUENCE]
        if count and (int(sequences[0]) <= 0 or (sequences[1:] <= sequences[:-1]).any()):
            raise ValueError("trade_sequence of a checkpoint does not rise")
        store = cls(on_full)
        store._extend(np.stack(columns) if count else np.empty((_WIDTH, 0), np.int64))
        store._last_sequence = int(sequences[-1]) if count else 0
        return store

    def _flush(self) -> None:
        if self._pending:
            flat = np.fromiter(
                chain.from_iterable(self._pending), np.int64, _WIDTH * len(self._pending)
            )
            self._pending.clear()
            self._extend(flat.reshape(-1, _WIDTH).T)

    def _extend(self, rows: Int64) -> None:
        at = 0
        total = rows.shape[1]
        while at < total:
            if not self._chunks or self._counts[-1] == _CHUNK_ROWS:
                self._chunks.append(TradeChunk())
                self._counts.append(0)
                self._starts.append(int(rows[_SEQUENCE, at]))
            chunk = self._chunks[-1]
            fields, side = chunk.arrays()
            low = self._counts[-1]
            size = min(total - at, _CHUNK_ROWS - low)
            fields[:, low : low + size] = rows[:, at : at + size]
            side[low : low + size] = rows[_SIDE, at : at + size]
            self._counts[-1] += size
            at += size
            if self._counts[-1] == _CHUNK_ROWS and self._on_full is not None:
                self._on_full(chunk)

    def _block(self, index: int, low: int, high: int) -> TradeBlock:
        fields, side = self._chunks[index].arrays()
        view = fields[:, low:high]
        view.flags.writeable = False
        sides = side[low:high]
        sides.flags.writeable = False
        return TradeBlock(
            view[_TIME],
            view[_SEQUENCE],
            view[_PRICE],
            view[_QUANTITY],
            sides,
            view[_MAKER],
            view[_TAKER],
        )
