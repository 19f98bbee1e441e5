"""Old trades in a file without a name: they answer as if they were in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dexkline import TradeChunk, TradeColumns, TradeRow, trades
from dexruntime.cold_trades import ColdTrades
from tests.support.waiting import wait_until

ROWS = 4_096
COUNT = 5 * ROWS + 100


def trade(sequence: int) -> TradeRow:
    return (sequence * 10, sequence, 5, 6, 1 + sequence % 2, sequence * 4_096, sequence * 4_097)


def listed(store: TradeColumns, low: int, high: int) -> list[tuple[int, ...]]:
    return [
        row
        for block in store.slice(low, high)
        for row in zip(*(column.tolist() for column in block), strict=True)
    ]


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[TradeChunk]:
    monkeypatch.setattr(trades, "_CHUNK_ROWS", ROWS)
    return []


def filled(cold: ColdTrades, chunks: list[TradeChunk]) -> TradeColumns:
    def full(chunk: TradeChunk) -> None:
        chunks.append(chunk)
        cold.take(chunk)

    store = TradeColumns(full)
    for first in range(1, COUNT + 1, 1_000):
        store.append_many([trade(n) for n in range(first, min(first + 1_000, COUNT + 1))])
    store.slice(0, 1)  # what is pending reaches the chunks
    return store


def test_old_trades_are_read_from_the_file(tmp_path: Path, chunks: list[TradeChunk]) -> None:
    store = filled(ColdTrades(tmp_path), chunks)
    before = store.slice(1, 3)
    wait_until(lambda: all(chunk.is_cold for chunk in chunks), "cooling")
    assert len(chunks) == COUNT // ROWS
    assert not list(tmp_path.iterdir())
    for low, high in ((1, 3), (ROWS - 1, ROWS + 3), (2 * ROWS, 4 * ROWS), (0, COUNT + 9)):
        expected = [trade(n) for n in range(max(low, 1), min(high, COUNT + 1))]
        assert listed(store, low, high) == expected, "old trades answer otherwise than before"
    assert before[0].trade_sequence.tolist() == [1, 2]
    assert not before[0].trade_sequence.flags.writeable
    # A checkpoint has them all, and what is restored from it cools again.
    again_chunks: list[TradeChunk] = []
    again = TradeColumns.restore(store.checkpoint(), again_chunks.append)
    assert len(again_chunks) == len(chunks)
    assert listed(again, 0, COUNT + 1) == [trade(n) for n in range(1, COUNT + 1)]


def test_a_full_disk_leaves_them_in_memory(
    tmp_path: Path, chunks: list[TradeChunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def no_space(_descriptor: int, _data: memoryview, offset: int) -> int:
        tried.append(offset)
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "pwrite", no_space)
    store = filled(ColdTrades(tmp_path), chunks)
    wait_until(lambda: len(tried) == COUNT // ROWS, "attempts")
    assert not any(chunk.is_cold for chunk in chunks), "trades were let go and written nowhere"
    assert listed(store, 0, COUNT + 1) == [trade(n) for n in range(1, COUNT + 1)]
