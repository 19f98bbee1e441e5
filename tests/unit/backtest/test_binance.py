"""Depth and trades through the matcher: a stream with a known outcome, and the recorded one."""

from __future__ import annotations

import gzip
import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dexnode.backtest.model import BacktestError
from dexnode.backtest.runner import Wanted, run_backtest
from dexnode.recorded.binance import RecordingError
from tests.support import recordings
from tests.support.pythons import ROOT

RECORDED = ROOT.parent / "shared" / "data" / "binance-spot-btcusdt-20240809.jsonl.gz"
EXCERPT_LINES = 6_000
T = 1_723_161_601_000_000


def messages() -> list[dict[str, Any]]:
    return [
        recordings.depth(T, [("99.50", "1.00")], [("101.00", "2.00"), ("102.00", "1.00")]),
        recordings.trade(T + 1, 1, "101.00", "0.50", buyer_is_maker=False),
        # Takes 1.5 at 101, 1 at 102, and 0.5 that nothing in the stream shows.
        recordings.trade(T + 2, 2, "103.00", "3.00", buyer_is_maker=False),
        recordings.trade(T + 3, 3, "99.50", "0.25", buyer_is_maker=True),
        recordings.depth(T + 4, [("99.50", "0.75"), ("98.00", "0.10")], [("100.50", "4.00")]),
        # An ask where the bid was: the bid is stale.
        recordings.depth(T + 5, [], [("99.50", "0.10")]),
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_levels_rest_and_trades_take(tmp_path: Path, name: str) -> None:
    path = recordings.write(tmp_path / name, messages())
    report = run_backtest(Wanted([path], output=tmp_path / "out"))
    rows = pq.read_table(tmp_path / "out" / "fills.parquet").to_pylist()
    assert [
        (row["taker_order_id"], str(row["price"].normalize() + 0), row["taker_side"])
        for row in rows
    ] == [
        (1, "101", "buy"),
        (2, "101", "buy"),
        (2, "102", "buy"),
        (2, "103", "buy"),
        (3, "99.5", "sell"),
    ]
    assert [row["quantity"] for row in rows] == [
        Decimal(x) for x in ("0.5", "1.5", "1", "0.5", "0.25")
    ]
    assert {row["maker_account"] for row in rows} == {None}
    assert report["format"] == "binance"
    assert report["refused_count"] == 0
    assert report["source"] == {"recorded_trade_count": 3, "synthetic_count": 1, "stale_count": 1}
    (market,) = report["markets"]
    assert market["market"] == "BTCUSDT"
    assert market["end"] == {
        "bid_price": "98",
        "bid_quantity": "0.1",
        "ask_price": "99.5",
        "ask_quantity": "0.1",
        "level_count": 3,
        "order_count": 3,
    }


def test_a_bad_number_is_named_with_its_line(tmp_path: Path) -> None:
    bad = recordings.trade(T + 9, 9, "1.0000000001", "1", buyer_is_maker=True)
    path = recordings.write(tmp_path / "a.jsonl", [*messages(), bad])
    with pytest.raises(BacktestError) as error:
        run_backtest(Wanted([path]))
    said = f"{path}, line 7, field p, q: 1.0000000001 has more than 9 decimals"
    assert error.value.message == said


def test_another_type_and_another_symbol_are_named(tmp_path: Path) -> None:
    first, second = messages()[:2]
    second["data"]["p"] = 5
    path = recordings.write(tmp_path / "a.jsonl", [first, second])
    with pytest.raises(RecordingError, match=r"a.jsonl, line 2: .*\$\.p"):
        run_backtest(Wanted([path]))
    ours = recordings.write(tmp_path / "a.jsonl", messages())
    other = messages()
    for each in other:
        each["data"]["s"] = "ETHUSDT"
    theirs = recordings.write(tmp_path / "b.jsonl", other)
    with pytest.raises(BacktestError, match="line 1, field s: ETHUSDT after BTCUSDT"):
        run_backtest(Wanted([ours, theirs]))


def test_a_recorded_excerpt_trades_what_was_traded(tmp_path: Path) -> None:
    if not RECORDED.exists():
        pytest.skip(f"no recording here: {RECORDED.name} is no part of the repository")
    with gzip.open(RECORDED) as file:
        lines = list(itertools.islice(file, EXCERPT_LINES))
    path = tmp_path / "excerpt.jsonl"
    path.write_bytes(b"".join(lines))
    decoded = [json.loads(line.partition(b" ")[2])["data"] for line in lines]
    trades = [data for data in decoded if data.get("e") == "trade"]
    report = run_backtest(Wanted([path]))
    assert report["refused"] == {}
    assert report["source"]["recorded_trade_count"] == len(trades) > 500
    quantity = sum(Decimal(data["q"]) for data in trades)
    assert Decimal(report["markets"][0]["quantity"]) == quantity


@pytest.mark.parametrize(
    "line",
    ["time_ns,account,action,order_id,side,price,quantity", '{"e": "trade"}', "1 2", "x {}"],
)
def test_a_file_of_another_format_is_told_in_words(tmp_path: Path, line: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(f"{line}\n")
    with pytest.raises(RecordingError) as refused:
        run_backtest(Wanted([path], format_name="binance"))
    told = refused.value.message
    assert "line 1: expected a Binance stream message after its local time in ns" in told
    assert f"found {line!r}" in told
