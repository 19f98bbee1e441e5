"""What the screen knows of a market, fed by the SDK's streams. Whole numbers; no I/O, no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dex.kline.v1 import kline_query_pb2 as kline
from dex.matching.v1 import matching_pb2 as matching
from dexsdk import Interval, LocalBook, Market, time_ns_of

DAY_NS: Final = 86_400_000_000_000
TRADES_KEPT: Final = 500
# A day of minutes, which the day's change is made of; seconds fill the widest screen.
CANDLES_KEPT: Final = 1_440
# With fewer minutes than this a chart of seconds says more.
MINUTES_WORTH_DRAWING: Final = 20


class Candle(NamedTuple):
    """A K-line as the screen needs it."""

    open_time_ns: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int


class DayStats(NamedTuple):
    """The last 24 hours, or as much of them as there is."""

    first_ticks: int
    high_ticks: int
    low_ticks: int
    last_ticks: int
    volume_lots: int

    def change_ppm(self) -> int:
        """Last against first price in parts per million."""
        return (self.last_ticks - self.first_ticks) * 1_000_000 // self.first_ticks


@dataclass
class MarketState:
    """One market as last heard of."""

    market: Market
    book: LocalBook = field(default_factory=LocalBook)
    trades: deque[matching.Trade] = field(default_factory=lambda: deque(maxlen=TRADES_KEPT))
    connected: bool = True
    changed: bool = True
    _candles: dict[Interval, dict[int, Candle]] = field(
        default_factory=lambda: {Interval.S1: {}, Interval.M1: {}}
    )

    def take_book(self, item: matching.StreamBookResponse) -> None:
        """A snapshot or a delta of the book."""
        self.book.apply(item)
        self.changed = True

    def take_trade(self, trade: matching.Trade) -> None:
        """The next trade."""
        self.trades.append(trade)
        self.changed = True

    def take_kline(self, interval: Interval, line: kline.Kline) -> None:
        """A new or changed K-line; the oldest beyond a day's worth is forgotten."""
        candles = self._candles[interval]
        open_time_ns = time_ns_of(line.open_time)
        candles[open_time_ns] = Candle(
            open_time_ns,
            line.open_ticks,
            line.high_ticks,
            line.low_ticks,
            line.close_ticks,
            line.volume_lots,
        )
        while len(candles) > CANDLES_KEPT:
            del candles[min(candles)]
        self.changed = True

    def set_connected(self, connected: bool) -> None:
        """Whether the node answers."""
        self.changed = self.changed or connected != self.connected
        self.connected = connected

    def last_ticks(self) -> int | None:
        """Price of the last trade; None before the first."""
        if self.trades:
            return self.trades[-1].price_ticks
        minutes = self._candles[Interval.M1]
        return minutes[max(minutes)].close_ticks if minutes else None

    def last_side(self) -> int:
        """Taker side of the last trade; 0 before the first."""
        return self.trades[-1].taker_side if self.trades else 0

    def day(self) -> DayStats | None:
        """The newest 24 hours of minutes; None without any."""
        minutes = self._candles[Interval.M1]
        last = self.last_ticks()
        if not minutes or last is None:
            return None
        newest = max(minutes)
        day = [minutes[at] for at in sorted(minutes) if at > newest - DAY_NS]
        return DayStats(
            day[0].open_ticks,
            max(candle.high_ticks for candle in day),
            min(candle.low_ticks for candle in day),
            last,
            sum(candle.volume_lots for candle in day),
        )

    def candles(self, interval: Interval, count: int) -> list[Candle]:
        """The newest `count` candles, oldest first."""
        candles = self._candles[interval]
        return [candles[at] for at in sorted(candles)[-count:]] if count > 0 else []

    def chart_interval(self, wanted: Interval | None) -> Interval:
        """The interval to draw: as wanted, else minutes once there are enough of them."""
        if wanted is not None:
            return wanted
        enough = len(self._candles[Interval.M1]) >= MINUTES_WORTH_DRAWING
        return Interval.M1 if enough else Interval.S1
