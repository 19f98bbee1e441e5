"""Arrow schemas of K-lines and trades, and record batches over dexkline's columns.

Zero-copy: an Arrow column is the numpy column's own memory; only `closed`, a bit per row, is made
for the batch. docs/reference/flight.md documents the columns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dexflight.source import MarketInfo
from dexkline import Interval, KlineBlock, TradeBlock

# Measured between 10k and 65k rows a batch the rate is flat, and a message stays well under the
# 4 MiB that gRPC clients accept by default.
BATCH_ROWS = 16_384

_TIME = pa.timestamp("ns", tz="UTC")
_TURNOVER = pa.decimal128(38, 0)

_KLINE_FIELDS = (
    ("open_time", _TIME),
    ("open_ticks", pa.int64()),
    ("high_ticks", pa.int64()),
    ("low_ticks", pa.int64()),
    ("close_ticks", pa.int64()),
    ("volume_lots", pa.int64()),
    ("turnover_atoms", _TURNOVER),
    ("trade_count", pa.int64()),
    ("first_trade_sequence", pa.int64()),
    ("last_trade_sequence", pa.int64()),
    ("closed", pa.bool_()),
    ("version", pa.int32()),
    ("sequence", pa.int64()),
)
_TRADE_FIELDS = (
    ("time", _TIME),
    ("trade_sequence", pa.int64()),
    ("price_ticks", pa.int64()),
    ("quantity_lots", pa.int64()),
    ("taker_side", pa.int8()),
    ("maker_order_key", pa.int64()),
    ("taker_order_key", pa.int64()),
)


def kline_schema(network_id: str, market: MarketInfo, interval: Interval) -> pa.Schema:
    """Schema of K-lines, with what the numbers mean in its metadata."""
    return _schema(_KLINE_FIELDS, network_id, market, {"interval": interval.label})


def trade_schema(network_id: str, market: MarketInfo) -> pa.Schema:
    """Schema of trades, with what the numbers mean in its metadata."""
    prefixes = {str(key): prefix for key, prefix in market.order_id_prefixes.items()}
    more = {
        "order_id_prefix": market.order_id_prefix,
        "order_id_prefixes": json.dumps(prefixes),
    }
    return _schema(_TRADE_FIELDS, network_id, market, more)


def kline_batches(schema: pa.Schema, blocks: Iterable[KlineBlock]) -> Iterator[pa.RecordBatch]:
    """K-lines as record batches, one a block: dexkline's blocks have at most 16,384 rows."""
    for block in blocks:
        closed = np.packbits(block.version > 0, bitorder="little")
        yield _batch(schema, (*block[:10], closed, *block[10:]), block.row_count)


def trade_batches(schema: pa.Schema, blocks: Iterable[TradeBlock]) -> Iterator[pa.RecordBatch]:
    """Trades as record batches of at most BATCH_ROWS rows."""
    for block in blocks:
        for low in range(0, block.row_count, BATCH_ROWS):
            part = block.part(low, low + BATCH_ROWS)
            yield _batch(schema, part, part.row_count)


def _schema(
    fields: tuple[tuple[str, pa.DataType], ...],
    network_id: str,
    market: MarketInfo,
    more: dict[str, str],
) -> pa.Schema:
    metadata = {
        "network_id": network_id,
        "market_id": market.market_id,
        "base_asset": market.base_asset,
        "base_scale": str(market.base_scale),
        "base_atoms_per_lot": str(market.base_atoms_per_lot),
        "quote_asset": market.quote_asset,
        "quote_scale": str(market.quote_scale),
        "quote_atoms_per_tick_lot": str(market.quote_atoms_per_tick_lot),
        "tick_size": market.tick_size,
        "lot_size": market.lot_size,
        **more,
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields], metadata)


def _batch(
    schema: pa.Schema, columns: Iterable[npt.NDArray[Any]], row_count: int
) -> pa.RecordBatch:
    # Arrow's columns are little-endian, and so are the memory of numpy's and the order of limbs.
    assert sys.byteorder == "little", "Flight needs a little-endian machine"
    arrays = [
        pa.Array.from_buffers(kind, row_count, [None, pa.py_buffer(column)])
        for kind, column in zip(schema.types, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
