"""Candles drawn with box characters: two price steps per row, two columns per candle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from dexnode.top import text
from dexnode.top.state import Candle, MarketState
from dexsdk import Interval

COLUMNS_PER_CANDLE: Final = 2
# Below this a chart is noise.
HEIGHT_MIN: Final = 6
WIDTH_MIN: Final = 24
TIME_LABEL_EVERY: Final = 10
PRICE_LABEL_EVERY: Final = 4

# (upper half, lower half) of a cell: 2 body, 1 wick, 0 nothing.
_GLYPHS: Final = {
    (2, 2): "┃",
    (2, 1): "╿",
    (2, 0): "╹",
    (1, 2): "╽",
    (1, 1): "│",
    (1, 0): "╵",
    (0, 2): "╻",
    (0, 1): "╷",
    (0, 0): " ",
}
_VOLUME: Final = " ▁▂▃▄▅▆▇█"


@dataclass
class Scale:
    """Where prices lie: `rows` text rows, the lowest half row is `low_ticks`."""

    low_ticks: int
    high_ticks: int
    rows: int

    def half_row(self, price_ticks: int) -> int:
        """Half row of a price, 0 at the bottom."""
        span = max(1, self.high_ticks - self.low_ticks)
        top = self.rows * 2 - 1
        return ((price_ticks - self.low_ticks) * top * 2 + span) // (span * 2)

    def row(self, price_ticks: int) -> int:
        """Text row of a price, 0 at the top."""
        return self.rows - 1 - self.half_row(price_ticks) // 2

    def price_at(self, row: int) -> int:
        """Price at the middle of a text row."""
        halves = (self.rows - 1 - row) * 2
        span = self.high_ticks - self.low_ticks
        return self.low_ticks + span * halves // max(1, self.rows * 2 - 1)


def glyph(candle: Candle, scale: Scale, row: int) -> str:
    """The character of a candle in a text row."""
    body_low, body_high = sorted(
        (scale.half_row(candle.open_ticks), scale.half_row(candle.close_ticks))
    )
    low, high = scale.half_row(candle.low_ticks), scale.half_row(candle.high_ticks)
    lower = (scale.rows - 1 - row) * 2
    kinds = [
        2 if body_low <= half <= body_high else 1 if low <= half <= high else 0
        for half in (lower + 1, lower)
    ]
    return _GLYPHS[kinds[0], kinds[1]]


@dataclass
class ChartView:
    """The chart of a market, as large as its place."""

    state: MarketState
    interval: Interval

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw prices, volumes and both axes."""
        width, height = options.max_width, options.height or options.max_height
        last = self.state.last_ticks()
        axis = 2 + max(len(self._label(ticks)) for ticks in (last or 1, 2 * (last or 1)))
        count = (width - axis) // COLUMNS_PER_CANDLE
        candles = self.state.candles(self.interval, count)
        if not candles or height < HEIGHT_MIN or width < WIDTH_MIN:
            yield Segment("no trades yet" if not candles else "", _style(text.DIM_STYLE))
            return
        volume_rows = max(1, height // 7)
        scale = Scale(
            min(candle.low_ticks for candle in candles),
            max(candle.high_ticks for candle in candles),
            height - volume_rows - 1,
        )
        margin = " " * (count - len(candles)) * COLUMNS_PER_CANDLE
        for row in range(scale.rows):
            yield Segment(margin)
            yield from (
                Segment(glyph(candle, scale, row).ljust(COLUMNS_PER_CANDLE), _colour(candle))
                for candle in candles
            )
            yield from self._axis(scale, row, last)
            yield Segment.line()
        yield from _volumes(candles, volume_rows, margin)
        yield Segment(margin + self._times(candles), _style(text.DIM_STYLE))

    def _label(self, price_ticks: int) -> str:
        return text.price(self.state.market, price_ticks)

    def _axis(self, scale: Scale, row: int, last: int | None) -> list[Segment]:
        if last is not None and row == scale.row(last):
            style = _style(f"bold black on {text.side_style(self.state.last_side())}")
            return [Segment("├", _style(text.DIM_STYLE)), Segment(self._label(last), style)]
        if row % PRICE_LABEL_EVERY == 0:
            return [Segment(f"┤{self._label(scale.price_at(row))}", _style(text.DIM_STYLE))]
        return [Segment("│", _style(text.DIM_STYLE))]

    def _times(self, candles: Sequence[Candle]) -> str:
        line = ""
        seconds = self.interval == Interval.S1
        for index in range(0, len(candles), TIME_LABEL_EVERY):
            label = text.clock(candles[index].open_time_ns, seconds=seconds)
            if index * COLUMNS_PER_CANDLE + len(label) <= len(candles) * COLUMNS_PER_CANDLE:
                line = line.ljust(index * COLUMNS_PER_CANDLE) + label
        return line


def _volumes(candles: Sequence[Candle], rows: int, margin: str) -> RenderResult:
    highest = max(candle.volume_lots for candle in candles)
    for row in range(rows):
        yield Segment(margin)
        for candle in candles:
            eighths = max(1, candle.volume_lots * rows * 8 // highest)
            level = max(0, min(8, eighths - (rows - 1 - row) * 8))
            style = f"dim {_COLOURS[candle.close_ticks >= candle.open_ticks]}"
            yield Segment(_VOLUME[level].ljust(COLUMNS_PER_CANDLE), _style(style))
        yield Segment("│", _style(text.DIM_STYLE))
        yield Segment.line()


_COLOURS: Final = {True: text.BUY_STYLE, False: text.SELL_STYLE}


def _colour(candle: Candle) -> Style:
    return _style(_COLOURS[candle.close_ticks >= candle.open_ticks])


def _style(definition: str) -> Style:
    # Parsing is cached by rich.
    return Style.parse(definition)
