"""The whole screen: what is shown where, at any size of terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dexnode.top import text
from dexnode.top.chart_view import ChartView
from dexnode.top.side_views import BookView, TapeView
from dexnode.top.state import MarketState
from dexsdk import Interval, Side

BOOK_WIDTH: Final = 42
TAPE_WIDTH: Final = 38
# Room for a chart beside both columns, beside one, or none at all.
WIDE: Final = BOOK_WIDTH + TAPE_WIDTH + 40
MEDIUM: Final = BOOK_WIDTH + 34
HEADER_HEIGHT: Final = 4
# Below this height there is the header and the book; below the next one the book alone.
TALL: Final = 16
SHORT: Final = 9


@dataclass
class Screen:
    """What does not change while a market is watched."""

    state: MarketState
    interval: Interval | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def frame(self, width: int, height: int, time_ns: int) -> RenderableType:
        """The screen as it is now."""
        book = _panel(BookView(self.state), "order book")
        tape = _panel(TapeView(self.state), "trades")
        if height < SHORT:
            return book
        header = Layout(self._header(width, time_ns), size=HEADER_HEIGHT)
        body = Layout(ratio=1)
        column = Layout(size=BOOK_WIDTH)
        column.split_column(Layout(book, ratio=3), Layout(tape, ratio=2))
        if height < TALL:
            body.update(book)
        elif width >= WIDE:
            body.split_row(
                self._chart(), Layout(book, size=BOOK_WIDTH), Layout(tape, size=TAPE_WIDTH)
            )
        elif width >= MEDIUM:
            body.split_row(self._chart(), column)
        else:
            body = column
            column.size = None
        root = Layout()
        root.split_column(header, body)
        return root

    def _chart(self) -> Layout:
        interval = self.state.chart_interval(self.interval)
        name = "1 minute" if interval == Interval.M1 else "1 second"
        return Layout(_panel(ChartView(self.state, interval), f"candles · {name}"), ratio=1)

    def _header(self, width: int, time_ns: int) -> RenderableType:
        roomy = width >= MEDIUM
        first = Table.grid(expand=True, padding=(0, 1))
        first.add_column(no_wrap=True, overflow="crop", ratio=1)
        first.add_column(no_wrap=True, justify="right")
        first.add_row(self._price_line(roomy=roomy), self._connection(time_ns, roomy=roomy))
        # Inside the frame and its padding.
        lines = Group(first, self._facts(width - 4))
        return Panel(lines, box=box.ROUNDED, border_style=text.DIM_STYLE, padding=(0, 1))

    def _price_line(self, *, roomy: bool) -> Text:
        state = self.state
        line = Text(state.market.market_id, "bold")
        if roomy and self.note:
            line.append(f" · {self.note}", f"not bold {text.DIM_STYLE}")
        line.append("   ")
        last = state.last_ticks()
        if last is None:
            return line.append("no trades yet", text.DIM_STYLE)
        arrow = "▲" if state.last_side() == Side.BUY else "▼"
        style = f"bold {text.side_style(state.last_side())}"
        line.append(f"{text.price(state.market, last)} {arrow}", style)
        day = state.day()
        if day is not None:
            change = day.change_ppm()
            line.append("   ")
            line.append(text.percent(change), text.BUY_STYLE if change >= 0 else text.SELL_STYLE)
            line.append(" 24h", text.DIM_STYLE)
        return line

    def _connection(self, time_ns: int, *, roomy: bool) -> Text:
        live = self.state.connected
        sign, name = ("●", " live") if live else ("○", " reconnecting")
        line = Text(sign, text.BUY_STYLE if live else text.ACCENT_STYLE)
        if roomy or not live:
            line.append(name)
        if roomy:
            line.append(f"   {text.clock(time_ns)} UTC", text.DIM_STYLE)
        return line

    def _facts(self, width: int) -> Text:
        """As many of the numbers and addresses as there is room for."""
        market, day = self.state.market, self.state.day()
        facts = []
        if day is not None:
            facts = [
                ("high", text.price(market, day.high_ticks)),
                ("low", text.price(market, day.low_ticks)),
                ("volume", f"{market.format_quantity(day.volume_lots)} {market.base_asset_id}"),
            ]
        line = Text(no_wrap=True, overflow="crop")
        for name, value in (*facts, *self.addresses.items()):
            fact = Text.assemble(("   " if line else ""), (f"{name} ", text.DIM_STYLE), value)
            if len(line) + len(fact) > width:
                break
            line.append(fact)
        return line


def _panel(content: RenderableType, title: str) -> Panel:
    return Panel(
        content,
        title=Text(title, text.DIM_STYLE),
        title_align="left",
        box=box.ROUNDED,
        border_style="#37474f",
        padding=(0, 1),
    )
