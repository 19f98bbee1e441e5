"""The order book with its depth, and the tape of trades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from dexnode.top import text
from dexnode.top.state import MarketState
from dexsdk import Side, time_ns_of


@dataclass
class BookView:
    """Asks above, bids below, the spread between; a bar shows the size of a level."""

    state: MarketState

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """Fill the height evenly with both sides."""
        width, height = options.max_width, options.height or options.max_height
        depth = max(1, (height - 1) // 2)
        asks, bids = self.state.book.asks(depth), self.state.book.bids(depth)
        largest = max((lots for _, lots in (*asks, *bids)), default=1)
        yield from [Text("")] * (depth - len(asks))
        yield from self._rows(asks[::-1], Side.SELL, largest, width)
        yield self._spread(width)
        yield from self._rows(bids, Side.BUY, largest, width)

    def _rows(
        self, levels: Sequence[tuple[int, int]], side: Side, largest: int, width: int
    ) -> Iterator[Text]:
        market = self.state.market
        prices = [text.price(market, ticks) for ticks, _ in levels]
        sizes = [market.format_quantity(lots) for _, lots in levels]
        price_width = max(map(len, prices), default=0)
        size_width = max(map(len, sizes), default=0)
        bar_width = width - price_width - size_width - 2
        for (_, lots), price, size in zip(levels, prices, sizes, strict=True):
            yield Text.assemble(
                (f"{price:>{price_width}}", text.side_style(side)),
                f" {size:>{size_width}} ",
                (text.bar(lots, largest, bar_width), f"dim {text.side_style(side)}"),
                no_wrap=True,
                overflow="crop",
            )

    def _spread(self, width: int) -> Text:
        bid, ask = self.state.book.best_bid(), self.state.book.best_ask()
        label = " no spread "
        if bid is not None and ask is not None:
            spread = ask[0] - bid[0]
            # Twice the spread over the sum of both prices: the spread over the middle.
            ppm = 2_000_000 * spread // (ask[0] + bid[0])
            price = text.price(self.state.market, spread)
            label = f" spread {price} · {ppm // 100}.{ppm % 100:02d} bp "
        return Text(label.center(width, "─"), text.DIM_STYLE, no_wrap=True, overflow="crop")


@dataclass
class TapeView:
    """Trades, newest first."""

    state: MarketState

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        """A line per trade."""
        market = self.state.market
        height = options.height or options.max_height
        newest = list(self.state.trades)[-height:][::-1]
        sizes = [market.format_quantity(trade.quantity_lots) for trade in newest]
        size_width = max(map(len, sizes), default=0)
        for trade, size in zip(newest, sizes, strict=True):
            arrow = "▲" if trade.taker_side == Side.BUY else "▼"
            yield Text.assemble(
                (text.clock(time_ns_of(trade.time)), text.DIM_STYLE),
                (
                    f" {arrow} {text.price(market, trade.price_ticks)}",
                    text.side_style(trade.taker_side),
                ),
                f" {size:>{size_width}}",
                no_wrap=True,
                overflow="crop",
            )
