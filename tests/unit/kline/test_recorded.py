"""K-lines of a recorded Binance stream against DuckDB's reading of the same file: every interval,
exact decimals."""

from __future__ import annotations

import gzip
import json
import os
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from dexkline import Interval, KlineBook

_NAME = "binance-spot-btcusdt-20240809.jsonl.gz"
_DATA = Path(os.environ.get("TRIODEX_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
TICK = Decimal("0.01")
LOT = Decimal("0.00001")
ATOM = Decimal("0.00000001")
ATOMS_PER_TICK_LOT = int(TICK * LOT / ATOM)

# Every line is "<receive time, ns> <JSON>"; the delimiter occurs nowhere.
_QUERY = """
with lines as (
    select substr(line, strpos(line, ' ') + 1)::json as message
    from read_csv(?, columns = {'line': 'VARCHAR'}, delim = '\x01', quote = '', escape = '',
                  header = false, auto_detect = false)
), trades as (
    select (message->>'$.data.T')::bigint as ms, (message->>'$.data.t')::bigint as id,
           (message->>'$.data.p')::decimal(38, 8) as p, (message->>'$.data.q')::decimal(38, 8) as q
    from lines where message->>'$.data.e' = 'trade'
)
select ms // $ms * $ms as open_ms, first(p order by ms, id), max(p), min(p),
       last(p order by ms, id), sum(q), sum(p * q), count(*)
from trades group by open_ms order by open_ms
"""


def whole(value: Decimal, unit: Decimal) -> int:
    units = value / unit
    assert units == int(units), f"{value} is not a whole number of {unit}"
    return int(units)


@pytest.mark.skipif(
    not (_DATA / _NAME).exists(), reason=f"{_NAME} is not here: set TRIODEX_SHARED_DATA"
)
@pytest.mark.parametrize("batch", [3, 4_000])
def test_equals_duckdb(batch: int) -> None:
    recorded = []
    with gzip.open(_DATA / _NAME, "rt") as file:
        for line in file:
            data = json.loads(line.partition(" ")[2])["data"]
            if data.get("e") == "trade":
                price_ticks = whole(Decimal(data["p"]), TICK)
                recorded.append(
                    (data["T"] * 10**6, data["t"], price_ticks, whole(Decimal(data["q"]), LOT))
                )
    book = KlineBook(ATOMS_PER_TICK_LOT)
    for start in range(0, len(recorded), batch):
        book.add_trades(start + 1, recorded[start : start + batch])
    assert len(recorded) > 10_000
    for interval in Interval:
        query = _QUERY.replace("$ms", str(interval.length_ns // 10**6))
        expected = duckdb.execute(query, [str(_DATA / _NAME)]).fetchall()
        found = [
            (
                kline.open_time_ns // 10**6,
                kline.open_ticks * TICK,
                kline.high_ticks * TICK,
                kline.low_ticks * TICK,
                kline.close_ticks * TICK,
                kline.volume_lots * LOT,
                kline.turnover_atoms * ATOM,
                kline.trade_count,
            )
            for kline in book.rows(interval, 0, 2**63 - 1, 10**6)
        ]
        assert found == expected, interval.label
        assert all(isinstance(value, Decimal) for value in expected[0][1:7])
