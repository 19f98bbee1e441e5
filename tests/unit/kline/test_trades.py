"""The store of trades against a plain list."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexkline import TradeBlock, TradeColumns, TradeRow


def listed(blocks: tuple[TradeBlock, ...]) -> list[tuple[int, ...]]:
    return [row for block in blocks for row in zip(*(col.tolist() for col in block), strict=True)]


def trade(sequence: int) -> TradeRow:
    return (sequence * 10, sequence, 5, 6, 1 + sequence % 2, sequence * 4_096, sequence * 4_097)


steps = st.lists(st.lists(st.integers(1, 3), max_size=5), max_size=12)


@settings(max_examples=100, deadline=None)
@given(batches=steps, low=st.integers(-2, 60), high=st.integers(-2, 60))
def test_slices_equal_the_list(batches: list[list[int]], low: int, high: int) -> None:
    with patch("dexkline.trades._CHUNK_ROWS", 4):
        store = TradeColumns()
        single = TradeColumns()
        kept: list[TradeRow] = []
        snapshots = []
        sequence = 0
        for batch in batches:
            rows = []
            for step in batch:
                sequence += step
                rows.append(trade(sequence))
                single.append_many([rows[-1]])
            store.append_many(rows)
            kept += rows
            snapshots.append((store.slice(low, high), list(kept)))
        for blocks, then in snapshots:
            assert listed(blocks) == [row for row in then if low <= row[1] < high]
        assert store.row_count == len(kept)
        assert store.last_trade_sequence == sequence
        data = store.checkpoint()
        assert data == single.checkpoint()
        again = TradeColumns.restore(data)
        again.append_many([trade(sequence + 1)])
        assert listed(again.slice(0, 2**63 - 1)) == [*kept, trade(sequence + 1)]


@pytest.mark.parametrize("sequences", [(0,), (2, 2), (3, 2), (-1,)])
def test_trade_sequences_rise(sequences: tuple[int, ...]) -> None:
    store = TradeColumns()
    with pytest.raises(ValueError, match="trade_sequence"):
        store.append_many([trade(sequence) for sequence in sequences])
    assert store.row_count == 0
    store.append_many([trade(1), trade(2)])
    with pytest.raises(ValueError, match="trade_sequence 2 after 2"):
        store.append_many([trade(2)])
    assert listed(store.slice(0, 9)) == [trade(1), trade(2)]


def test_large_appends_cross_chunks() -> None:
    store = TradeColumns()
    rows = [trade(sequence) for sequence in range(1, 150_001)]
    store.append_many(rows[:1])
    store.append_many(rows[1:])
    blocks = store.slice(0, 2**63 - 1)
    assert len(blocks) == 3
    assert all(left[1][-1] < right[1][0] for left, right in pairwise(blocks))
    assert listed(blocks) == rows
    assert listed(store.slice(65_536, 65_538)) == rows[65_535:65_537]
    assert not blocks[0].time_ns.flags.writeable


def test_a_damaged_checkpoint_is_refused() -> None:
    store = TradeColumns()
    store.append_many([trade(1), trade(2)])
    data = store.checkpoint()
    for damaged in (data[:-1], data + b"\0", b"x" + data[1:]):
        with pytest.raises(ValueError, match="checkpoint"):
            TradeColumns.restore(damaged)
    assert TradeColumns.restore(TradeColumns().checkpoint()).row_count == 0
