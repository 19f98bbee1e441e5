"""K-lines (candles): pure, deterministic aggregation of one market's trades into five intervals.

No clock, randomness, float or I/O; standard library and numpy only. docs/reference/klines.md says
what a K-line means.
"""

from __future__ import annotations

from dexkline.book import KlineBook
from dexkline.interval import INTERVALS_NS, Interval, open_time_ns
from dexkline.kline import Kline, KlineBlock, KlineColumns
from dexkline.trades import TradeBlock, TradeChunk, TradeColumns, TradeRow

__all__ = [
    "INTERVALS_NS",
    "Interval",
    "Kline",
    "KlineBlock",
    "KlineBook",
    "KlineColumns",
    "TradeBlock",
    "TradeChunk",
    "TradeColumns",
    "TradeRow",
    "open_time_ns",
]
