"""The screen of `dex top`, drawn into text at many sizes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from dex.kline.v1 import kline_query_pb2 as kline
from dex.matching.v1 import matching_pb2 as matching
from dex.orders.v1 import signed_payload_pb2 as payload
from dexnode.top import text
from dexnode.top.chart_view import ChartView, Scale, glyph
from dexnode.top.screen import Screen
from dexnode.top.state import DAY_NS, Candle, MarketState
from dexnode.top.watcher import plain_line
from dexsdk import Interval, Market, timestamp_of

MINUTE_NS = 60 * 10**9
NOON_NS = 1_723_161_600 * 10**9 + 12 * 3_600 * 10**9
MARKET = Market.define("BTC-USDC.eth", base_scale=8, quote_scale=8, tick_size="0.01", lot_size="1")


def level(price_ticks: int, quantity_lots: int) -> matching.BookLevel:
    return matching.BookLevel(price_ticks=price_ticks, quantity_lots=quantity_lots)


def line(minute: int, prices: Sequence[int], volume_lots: int = 5) -> kline.Kline:
    opened, high, low, closed = prices
    return kline.Kline(
        open_time=timestamp_of(NOON_NS + minute * MINUTE_NS),
        open_ticks=opened,
        high_ticks=high,
        low_ticks=low,
        close_ticks=closed,
        volume_lots=volume_lots,
    )


def full_state() -> MarketState:
    state = MarketState(MARKET)
    bids = [level(6_100_000 - 10 * n, n + 1) for n in range(40)]
    asks = [level(6_100_050 + 10 * n, n + 1) for n in range(40)]
    book = matching.Book(sequence=1, bids=bids, asks=asks)
    state.take_book(matching.StreamBookResponse(snapshot=book))
    for number in range(60):
        low = 6_100_000 + 7 * number
        state.take_kline(Interval.M1, line(number, (low + 5, low + 30, low, low + 20)))
    state.take_trade(
        matching.Trade(
            trade_sequence=1,
            time=timestamp_of(NOON_NS),
            price_ticks=6_100_433,
            quantity_lots=3,
            taker_side=payload.SIDE_BUY,
        )
    )
    return state


def drawn(state: MarketState, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    frame = Screen(state, addresses={"gRPC": "127.0.0.1:7400"}).frame(width, height, NOON_NS)
    console.print(frame, height=height, no_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("state", [full_state(), MarketState(MARKET)], ids=["full", "empty"])
@pytest.mark.parametrize("height", [3, 8, 9, 12, 16, 24, 50])
@pytest.mark.parametrize("width", [10, 25, 40, 75, 80, 119, 121, 250])
def test_it_fits_any_terminal(state: MarketState, width: int, height: int) -> None:
    lines = drawn(state, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_a_wide_screen_shows_everything() -> None:
    shown = "\n".join(drawn(full_state(), 160, 40))
    for part in ("61,004.33 ▲", "+0.01 % 24h", "● live", "12:00:00 UTC", "gRPC 127.0.0.1:7400"):
        assert part in shown
    for part in ("candles · 1 minute", "order book", "trades", "spread 0.50 · 0.08 bp"):
        assert part in shown
    assert "12:00:00 ▲ 61,004.33 3" in shown


def test_a_lost_node_is_said_at_any_width() -> None:
    state = full_state()
    state.set_connected(False)
    assert "○ reconnecting" in "\n".join(drawn(state, 160, 40))
    assert "○ reconnecting" in "\n".join(drawn(state, 60, 30))


def test_best_prices_stand_beside_the_spread() -> None:
    lines = [row for row in drawn(full_state(), 60, 15) if "│" in row]
    (spread,) = (index for index, row in enumerate(lines) if "spread" in row)
    assert "61,000.50 1 " in lines[spread - 1]
    assert "61,000.00 1 " in lines[spread + 1]


def test_glyphs_of_a_candle() -> None:
    """Ten half rows for the prices 0 to 9: body 4 to 5, wick 2 to 8."""
    scale = Scale(0, 9, 5)
    candle = Candle(0, 4, 8, 2, 5, 1)
    assert [glyph(candle, scale, row) for row in range(5)] == ["╷", "│", "┃", "│", " "]
    flat = Candle(0, 3, 3, 3, 3, 1)
    assert [glyph(flat, scale, row) for row in range(5)] == [" ", " ", " ", "╹", " "]


@pytest.mark.parametrize("rows", [1, 2, 7, 30])
@pytest.mark.parametrize(("low", "high"), [(5, 5), (100, 101), (6_000_000, 6_123_457)])
def test_scale_ends_at_its_ends(low: int, high: int, rows: int) -> None:
    scale = Scale(low, high, rows)
    assert scale.half_row(low) == 0
    assert scale.row(low) == rows - 1
    if high > low:
        assert scale.half_row(high) == rows * 2 - 1
    halves = [scale.half_row(price) for price in range(low, high + 1, max(1, (high - low) // 99))]
    assert halves == sorted(halves)


def test_a_chart_of_one_flat_candle_is_drawn() -> None:
    state = MarketState(MARKET)
    state.take_kline(Interval.M1, line(0, (100, 100, 100, 100)))
    console = Console(width=60, height=12, file=io.StringIO(), color_system=None)
    console.print(ChartView(state, Interval.M1), height=12)
    assert isinstance(console.file, io.StringIO)
    assert "╹" in console.file.getvalue() or "╻" in console.file.getvalue()
    assert "├1.00" in console.file.getvalue()


def test_the_day_is_the_newest_24_hours() -> None:
    state = MarketState(MARKET)
    state.take_kline(Interval.M1, line(-24 * 60 - 1, (1, 1, 1, 1), 1_000))
    state.take_kline(Interval.M1, line(-24 * 60 + 1, (200, 300, 100, 250)))
    state.take_kline(Interval.M1, line(0, (250, 260, 240, 300)))
    day = state.day()
    assert day is not None
    assert (day.first_ticks, day.high_ticks, day.low_ticks, day.volume_lots) == (200, 300, 100, 10)
    assert (day.last_ticks, day.change_ppm()) == (300, 500_000)


def test_a_day_of_seconds_is_not_kept() -> None:
    state = MarketState(MARKET)
    for number in range(3_000):
        state.take_kline(Interval.S1, line(number, (1, 1, 1, 1)))
    kept = state.candles(Interval.S1, 10_000)
    assert (len(kept), kept[-1].open_time_ns) == (1_440, NOON_NS + 2_999 * MINUTE_NS)
    assert kept[0].open_time_ns > NOON_NS + DAY_NS


def test_seconds_are_drawn_until_there_are_minutes() -> None:
    state = MarketState(MARKET)
    assert state.chart_interval(None) == Interval.S1
    assert state.chart_interval(Interval.M1) == Interval.M1
    assert full_state().chart_interval(None) == Interval.M1


def test_numbers_for_people() -> None:
    assert text.thousands("1234567.50") == "1,234,567.50"
    assert [text.percent(ppm) for ppm in (0, -1_234, 56_789)] == ["+0.00 %", "-0.12 %", "+5.68 %"]
    assert text.clock(NOON_NS + 3_661 * 10**9) == "13:01:01"
    assert [text.bar(value, 16, 2) for value in (0, 1, 8, 9, 16)] == ["", "▏", "█", "█▏", "██"]
    assert plain_line(full_state(), NOON_NS).startswith(
        "12:00:00 BTC-USDC.eth bid 61000.00 ask 61000.50 last 61004.33 +0.01 % volume"
    )
