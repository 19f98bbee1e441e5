"""`dex market import` against candles that DuckDB computes from the file by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import trio

from dexnode.recorded.importer import ImportReport, import_stream
from dexsdk import INTERVAL_NS, Interval, Market, time_ns_of
from tests.reference import stream8d
from tests.support import recordings
from tests.support.node_process import NodeProcess
from tests.support.waiting import wait_until

SEED = int(os.environ.get("IMPORT_SEED", "20240809"))
MARKET_ID = "BINANCE.BTC-BINANCE.USDT"

# The product's parser has no part in this: DuckDB reads the lines and their JSON itself. Prices
# and sizes have eight decimals in the file, so their product has sixteen and fits 38 digits.
CANDLES_SQL = """
WITH messages AS (
  SELECT json(substr(line, strpos(line, ' ') + 1)) -> 'data' AS data
  FROM read_csv(?, columns = {'line': 'VARCHAR'}, header = false, delim = '\x01', quote = '',
                escape = '', auto_detect = false)
), trades AS (
  SELECT (data ->> 'T')::BIGINT * CASE WHEN length(data ->> 'T') = 16 THEN 1000 ELSE 1000000 END
           AS time_ns,
         (data ->> 't')::BIGINT AS id,
         (data ->> 'p')::DECIMAL(19, 8) AS price,
         (data ->> 'q')::DECIMAL(19, 8) AS quantity
  FROM messages WHERE data ->> 'e' = 'trade'
)
SELECT time_ns - time_ns % ? AS open_time_ns,
       arg_min(price, (time_ns, id)), max(price), min(price), arg_max(price, (time_ns, id)),
       sum(quantity), sum(price * quantity), count(*)
FROM trades GROUP BY 1 ORDER BY 1
"""


class Row(NamedTuple):
    """A candle in decimals."""

    open_time_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    turnover: Decimal
    trade_count: int


def truth(file: Path, interval: Interval) -> list[Row]:
    rows = duckdb.execute(CANDLES_SQL, [str(file), INTERVAL_NS[interval]]).fetchall()
    return [Row(*row) for row in rows]


def decimals(market: Market, line: Any) -> Row:
    turnover = Decimal(line.turnover_atoms).scaleb(-market.message.quote_asset.scale)
    return Row(
        time_ns_of(line.open_time),
        market.price(line.open_ticks),
        market.price(line.high_ticks),
        market.price(line.low_ticks),
        market.price(line.close_ticks),
        market.quantity(line.volume_lots),
        turnover,
        line.trade_count,
    )


def flat(line: Any) -> dict[str, Any]:
    """A K-line as a row of the Flight table."""
    names = ("open_ticks", "high_ticks", "low_ticks", "close_ticks", "volume_lots", "trade_count")
    more = ("first_trade_sequence", "last_trade_sequence", "closed", "version", "sequence")
    row = {name: getattr(line, name) for name in (*names, *more)}
    turnover = Decimal(line.turnover_atoms)
    return {"open_time": time_ns_of(line.open_time), **row, "turnover_atoms": turnover}


def check_all_intervals(node: NodeProcess, file: Path, watermark_ns: int) -> None:
    """gRPC equals DuckDB, Flight equals gRPC, and closed is what the watermark says."""
    with node.client() as client:
        market = client.get_market(MARKET_ID)
        for interval in Interval:
            expected = truth(file, interval)
            assert expected, "the file has trades"
            done = [row.open_time_ns + INTERVAL_NS[interval] <= watermark_ns for row in expected]

            def closed_as_due(
                interval: Interval = interval, done: list[bool] = done
            ) -> list[Any] | None:
                lines: list[Any] = client.list_klines(MARKET_ID, interval)
                return lines if [line.closed for line in lines] == done else None

            lines = wait_until(closed_as_due, f"closing of {interval.name}") or []
            assert [decimals(market, line) for line in lines] == expected
            assert [line.version for line in lines] == [int(closed) for closed in done]
            table = client.pull_klines(MARKET_ID, interval)
            columns = {name: table[name] for name in table.column_names}
            columns["open_time"] = columns["open_time"].cast("int64")
            rows = list(zip(*(columns[name].to_pylist() for name in columns), strict=True))
            assert [dict(zip(columns, row, strict=True)) for row in rows] == [*map(flat, lines)]


def messages_of_eight_days() -> list[dict[str, Any]]:
    """The seeded stream; the last message is after the end, so that every window is over."""
    messages = [
        recordings.trade(
            time_ns // 1_000,
            10 * sequence,
            f"{price_ticks / 100:.8f}",
            f"{quantity_lots / 100_000:.8f}",
            buyer_is_maker=bool(sequence % 3),
        )
        for time_ns, sequence, price_ticks, quantity_lots in stream8d.stream(SEED)
    ]
    end_us = (stream8d.START_NS + 8 * stream8d.DAY_NS) // 1_000
    return [*messages, recordings.depth(end_us, [("1.00000000", "0.00000000")], [])]


def run_import(node: NodeProcess, file: Path) -> ImportReport:
    return trio.run(import_stream, recordings.target(node), file)


def test_recorded_stream(recording: Callable[[str], Path], node: NodeProcess) -> None:
    file = recording("binance-spot-btcusdt-20240809.jsonl.gz")
    command = [sys.executable, "-m", "dexnode", "market", "import", str(file), "--json"]
    command += ["--address", node.grpc_address, "--network-id", node.network_id]
    command += ["--operator-key", str(node.operator_key_path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    report = json.loads(printed)
    assert (report["market_id"], report["recorded_count"]) == (MARKET_ID, 10_147)
    assert report["first_time"] == "2024-08-09T00:00:01.437Z"
    assert report["watermark_time"] == "2024-08-09T00:05:05.809Z"
    check_all_intervals(node, file, 1_723_161_905_809_000_000)


def test_eight_days_in_two_goes(node: NodeProcess, tmp_path: Path) -> None:
    """Interrupted by a crash of the node and run again: as if imported once."""
    print(f"seed {SEED}: IMPORT_SEED={SEED} pytest {__file__}")
    messages = messages_of_eight_days()
    part = recordings.write(tmp_path / "part.jsonl", messages[: len(messages) // 3])
    whole = recordings.write(tmp_path / "whole.jsonl.gz", messages)

    first = run_import(node, part)
    assert (first.recorded_count, first.skipped_count) == (len(messages) // 3, 0)
    node.kill()
    node.start()
    second = run_import(node, whole)
    assert second.skipped_count == first.recorded_count
    assert second.recorded_count + second.skipped_count == len(messages) - 1
    assert run_import(node, whole).recorded_count == 0
    check_all_intervals(node, whole, stream8d.START_NS + 8 * stream8d.DAY_NS)
    with node.client() as client:
        trades = client.list_trades(MARKET_ID)
    times_ns = [time_ns_of(trade.time) for trade in trades]
    assert times_ns == [message["data"]["T"] * 1_000 for message in messages[:-1]]
