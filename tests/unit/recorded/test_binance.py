from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dexnode.recorded.binance import DepthUpdate, Recording, RecordingError, Trade
from dexnode.recorded.survey import decimals, market_name, survey
from dexsdk import Side
from tests.support import recordings

T_US = 1_723_161_601_437_005


def write(path: Path, *lines: str) -> Recording:
    path.write_text("".join(f"{line}\n" for line in lines))
    return Recording(path)


def test_a_trade_and_a_depth_update_keep_their_text(tmp_path: Path) -> None:
    recording = write(
        tmp_path / "one.jsonl",
        '5 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161601438,"s":"BTCUSDT",'
        '"t":7,"p":"61685.99000000","q":"0.00017000","T":1723161601437,"m":true,"M":true}}',
        '6 {"e":"depthUpdate","E":1723161601500,"s":"BTCUSDT","U":1,"u":2,'
        '"b":[["61685.99000000","0.00000000"]],"a":[]}',
        '7 {"stream":"btcusdt@bookTicker","data":{"u":3,"s":"BTCUSDT","b":"1","B":"1",'
        '"a":"2","A":"1"}}',
    )
    trade, depth = recording
    assert trade == Trade(
        5,
        1_723_161_601_438_000_000,
        1_723_161_601_437_000_000,
        7,
        "61685.99000000",
        "0.00017000",
        Side.SELL,
    )
    assert isinstance(depth, DepthUpdate)
    assert [tuple(level) for level in depth.bids] == [("61685.99000000", "0.00000000")]
    assert recording.symbol == "BTCUSDT"


def test_microseconds_survive(tmp_path: Path) -> None:
    message = recordings.trade(T_US, 1, "1.0", "1.0", buyer_is_maker=False)
    (trade,) = Recording(recordings.write(tmp_path / "us.jsonl.gz", [message]))
    assert isinstance(trade, Trade)
    assert (trade.time_ns, trade.taker_side) == (T_US * 1_000, Side.BUY)


def test_survey_finds_decimals_times_and_counts(tmp_path: Path) -> None:
    messages = [
        recordings.depth(T_US, [("9.50000000", "1.00000000")], [("10.12500000", "2.00000000")]),
        recordings.trade(T_US + 1, 5, "10.10000000", "0.00300000", buyer_is_maker=False),
        recordings.trade(T_US + 2, 6, "10.00000000", "4.00000000", buyer_is_maker=True),
        recordings.depth(T_US + 9, [("9.50000000", "0.00000000")], []),
    ]
    found = survey(Recording(recordings.write(tmp_path / "a.jsonl", messages)))
    assert (found.symbol, found.message_count, found.trade_count) == ("BTCUSDT", 4, 2)
    assert (found.price_decimals, found.quantity_decimals) == (3, 3)
    times_ns = (found.first_trade_time_ns, found.last_trade_time_ns, found.end_time_ns)
    assert times_ns == tuple((T_US + us) * 1_000 for us in (1, 2, 9))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("5 {", "line 2"),
        ('5 {"e":"trade","s":"BTCUSDT","E":1,"T":1,"t":2,"p":"1","q":"1"}', "m"),
        ('5 {"e":"trade","s":"BTCUSDT","E":1,"T":1,"t":1,"p":"1","q":"1","m":true}', "trade 1"),
        ('5 {"e":"trade","s":"ETHUSDT","E":1,"T":1,"t":2,"p":"1","q":"1","m":true}', "ETHUSDT"),
        ('x {"e":"trade","s":"BTCUSDT","E":1,"T":1,"t":2,"p":"1","q":"1","m":true}', "line 2"),
        ('5 {"e":"trade","s":"BTCUSDT","E":1,"T":1,"t":2,"p":1.5,"q":"1","m":true}', "$.p"),
        ('5 {"e":"depthUpdate","s":"BTCUSDT","E":1,"b":[["1"]],"a":[]}', "$.b"),
        ("5 [1]", "found '5 [1]'"),
        ('5 {"e":"trade","data":5}', "line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    good = '4 {"e":"trade","s":"BTCUSDT","E":1,"T":1,"t":1,"p":"1","q":"1","m":true}'
    with pytest.raises(RecordingError, match="line 2") as caught:
        list(write(tmp_path / "bad.jsonl", good, line))
    assert problem in str(caught.value)


def test_a_cut_archive_and_a_file_without_trades_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.gz"
    messages = [recordings.trade(T_US, n, "1", "1", buyer_is_maker=True) for n in range(1, 400)]
    recordings.write(whole, messages)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(RecordingError, match="damaged"):
        list(Recording(cut))
    empty = tmp_path / "empty.gz"
    empty.write_bytes(gzip.compress(b""))
    with pytest.raises(RecordingError, match="no trade"):
        list(Recording(empty))


def test_assets_carry_the_venue_and_unknown_symbols_ask_for_a_name() -> None:
    assert market_name("BTCUSDT", "BINANCE") == "BINANCE.BTC-BINANCE.USDT"
    assert market_name("BTCFDUSD", "BINANCE") == "BINANCE.BTC-BINANCE.FDUSD"
    assert market_name("ETHBTC", "REPLAY") == "REPLAY.ETH-REPLAY.BTC"
    for symbol in ("XYZ", "USDT", "AVERYLONGNAMEUSDT"):
        with pytest.raises(RecordingError, match="--market"):
            market_name(symbol, "BINANCE")


def test_decimals() -> None:
    assert [decimals(text) for text in ("1", "1.0", "1.50000000", "0.00000001")] == [0, 0, 1, 8]
