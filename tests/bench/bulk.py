"""A Flight pull of K-lines from a running node beside raw TCP.

Trades in distinct seconds are recorded into an external market through Admin.RecordTrades, which
makes one K-line of one second each, as `dex market import` does. Then flight_pull's client pulls
the same number of bytes, in turns, from the node and by raw TCP from this process.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Final

from dexsdk import Interval, Market, MarketKind, Side
from dexsdk.types import ExternalTrade
from tests.bench import flight_pull
from tests.bench.bench_node import BenchNode
from tests.bench.report import Limit, Peer, Row

MARKET_ID: Final = flight_pull.MARKET.market_id
START_NS: Final = flight_pull.START_NS
TRADES_PER_CALL: Final = 10_000
RATIO_MIN: Final = 0.7


def measure(*, quick: bool) -> list[Row]:
    """Record, pull, compare."""
    row_count, rounds = (200_000, 3) if quick else (2_000_000, 9)
    with BenchNode("flight") as node:
        recorded_per_second = _record(node, row_count)
        flight_port = int(node.process.flight_address.rpartition(":")[2])
        with node.process.client() as client:
            table = client.pull_klines(MARKET_ID, Interval.S1)
        buffers = [
            memoryview(buffer)
            for column in table.columns
            for chunk in column.chunks
            for buffer in chunk.buffers()
            if buffer is not None
        ]

        def columns() -> Iterator[memoryview]:
            return itertools.cycle(buffers)

        found = flight_pull.compare(flight_port, columns, row_count, rounds)
    size = f"{row_count} rows of one second, {found['bytes'] / 1e6:.0f} MB"
    conditions = f"{size}, plaintext loopback, one stream, {rounds} interleaved rounds, medians"
    same = Peer("raw TCP of the same bytes", found["columns_mb_per_s"])
    cached = Peer("raw TCP of one cached block", found["raw_mb_per_s"])
    pulled, table_pulled = found["stream_mb_per_s"], found["table_mb_per_s"]
    limit = Limit("ratio", False, RATIO_MIN)
    pull = "Flight pull from the node"
    return [
        Row(f"{pull}, batch by batch", pulled, "MB/s", conditions, same, limit),
        Row(f"{pull}, batch by batch, once more", pulled, "MB/s", conditions, cached),
        Row(f"{pull}, into a table", table_pulled, "MB/s", conditions, same),
        Row("Flight rows", found["stream_rows_per_s"], "rows/s", conditions),
        Row(
            "trades recorded (Admin.RecordTrades)",
            recorded_per_second,
            "trades/s",
            f"{TRADES_PER_CALL} a call, one caller, journaled and synced, K-lines made",
        ),
    ]


def _record(node: BenchNode, row_count: int) -> float:
    """Record one trade a second; returns trades recorded per second."""
    started = time.monotonic()
    with node.process.operator() as operator:
        market = Market.define(
            MARKET_ID,
            base_scale=8,
            quote_scale=8,
            tick_size="0.01",
            lot_size="0.00001",
            kind=MarketKind.EXTERNAL,
        )
        operator.admin.create_market(market)
        for first in range(0, row_count, TRADES_PER_CALL):
            end = min(first + TRADES_PER_CALL, row_count)
            trades = [
                ExternalTrade(
                    number + 1,
                    START_NS + number * 10**9,
                    6_000_000 + (number * 7_919) % 10_007,
                    1 + number % 1_009,
                    Side.BUY,
                )
                for number in range(first, end)
            ]
            operator.admin.record_trades(MARKET_ID, trades, START_NS + end * 10**9)
    return row_count / (time.monotonic() - started)
