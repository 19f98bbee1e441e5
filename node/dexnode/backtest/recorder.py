"""What a run did: the sums for the summary, and rows for the files of results."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Final, final

from dexcore.events import Logged
from dexcore.market import Market
from dexnode.backtest.results import Results

# Best bid's price and size, best ask's price and size; None for a side that is empty.
Top = tuple[int | None, int | None, int | None, int | None]
_NO_TOP: Final[Top] = (None, None, None, None)


@final
class MarketSums:
    """Sums of one market, in ticks, lots and nanoseconds."""

    __slots__ = (
        "fill_count",
        "lot_unit",
        "lots",
        "market",
        "price_unit",
        "spread_ns",
        "tick_lots",
        "ticks_ns",
        "top",
        "top_time_ns",
    )

    def __init__(self, market: Market, price_unit: Decimal, lot_unit: Decimal) -> None:
        self.market = market
        self.price_unit = price_unit
        self.lot_unit = lot_unit
        self.fill_count = 0
        self.lots = 0
        self.tick_lots = 0
        self.top = _NO_TOP
        self.top_time_ns = 0
        # How long both sides had a price, and the sum of spread times time.
        self.spread_ns = 0
        self.ticks_ns = 0


@final
class Recorder:
    """Is told by an engine what happened, in its order."""

    def __init__(self, results: Results | None, owed: Counter[tuple[int, int]] | None) -> None:
        """Writes rows to ``results``; takes fills of resting orders from what is ``owed`` them."""
        self.markets: list[MarketSums] = []
        self.first_time_ns = 0
        self.last_time_ns = 0
        self._results = results
        self._owed = owed

    @property
    def market_count(self) -> int:
        """How many markets were opened."""
        return len(self.markets)

    def open_market(self, market: Market, price_unit: Decimal, lot_unit: Decimal) -> None:
        """Know a market: the next index, and what a tick and a lot of it are."""
        self.markets.append(MarketSums(market, price_unit, lot_unit))
        if self._results is not None:
            self._results.open_market(market.spec.market_id, price_unit, lot_unit)

    def span(self, first_time_ns: int, last_time_ns: int) -> None:
        """The times of a chunk's first and last command."""
        self.first_time_ns = self.first_time_ns or first_time_ns
        self.last_time_ns = max(self.last_time_ns, last_time_ns)

    def fill(self, time_ns: int, trade: Logged, maker_id: int, taker_id: int) -> None:
        """A Trade event's row, and what the file calls its two orders."""
        _, index, _, price_ticks, lots, *_ = trade
        sums = self.markets[index]
        sums.fill_count += 1
        sums.lots += lots
        sums.tick_lots += price_ticks * lots
        owed = self._owed
        if owed is not None:
            place = index, maker_id
            left = owed[place] - lots
            if left:
                owed[place] = left
            else:
                del owed[place]
        if self._results is not None:
            self._results.fills.add((time_ns, *trade[1:6], maker_id, taker_id, *trade[8:10]))

    def close(self, time_ns: int, closed: Logged, order_id: int) -> None:
        """An OrderClosed event's row, and what the file calls the order."""
        if self._results is not None:
            self._results.closes.add((time_ns, closed[3], order_id, closed[2], *closed[4:]))

    def top(self, time_ns: int, market: Market) -> None:
        """The book after a command; counts only if its best changed."""
        sums = self.markets[market.index]
        bid, ask = market.book.bids.best, market.book.asks.best
        top = (
            *((None, None) if bid is None else (bid.price_ticks, bid.quantity_lots)),
            *((None, None) if ask is None else (ask.price_ticks, ask.quantity_lots)),
        )
        before = sums.top
        if top == before:
            return
        self._keep_spread(sums, time_ns)
        sums.top = top
        if self._results is not None:
            self._results.tops.add((time_ns, market.index, *top))

    def end(self) -> None:
        """Nothing more happens: what stands, stood until the last command."""
        for sums in self.markets:
            self._keep_spread(sums, self.last_time_ns)

    def _keep_spread(self, sums: MarketSums, time_ns: int) -> None:
        bid, _, ask, _ = sums.top
        if bid is not None and ask is not None:
            stood_ns = time_ns - sums.top_time_ns
            sums.spread_ns += stood_ns
            sums.ticks_ns += stood_ns * (ask - bid)
        sums.top_time_ns = time_ns
