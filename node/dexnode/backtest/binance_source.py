"""Binance depth and trades as commands: one order a level, and a taker for each trade.

The orders are made up: nobody sent them, and they stand alone at their price. What that means and
what it cannot say is in docs/reference/backtest.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dexcore.items import (
    ACTION_AMEND,
    ACTION_CANCEL,
    ACTION_PLACE,
    GTC,
    IOC,
    POST_ONLY,
    TYPE_LIMIT,
    Item,
)
from dexnode.backtest.files import BINANCE, Inputs
from dexnode.backtest.model import (
    CHUNK_STEPS,
    INT64_MAX,
    BacktestError,
    OpenMarket,
    Step,
    resting_account,
    taking_account,
    units_of,
)
from dexnode.recorded.binance import Message, Recording, Trade
from dexnode.recorded.mirror import MirrorBook
from dexsdk import Amend, Cancel, NewOrder
from dexsdk.types import BatchAction


class BinanceSource:
    """Recordings of one symbol; a next file continues the book of the one before."""

    format_name: Final = BINANCE

    def __init__(self, inputs: Inputs, open_market: OpenMarket) -> None:
        """Names the files; nothing is read yet."""
        self._inputs = inputs
        self._open_market = open_market
        self._mirror = MirrorBook("")
        self._symbol = ""
        self._market_index = 0
        self._trade_count = self._synthetic_count = 0

    def chunks(self) -> Iterator[list[Step]]:
        """See Source."""
        out: list[Step] = []
        for path in self._inputs.paths:
            recording = Recording(path, self._inputs.open)
            field = ""
            try:
                for message in recording:
                    if not self._symbol:
                        self._symbol = recording.symbol
                        self._market_index = self._open_market(recording.symbol)
                    elif recording.symbol != self._symbol:
                        field = "s"
                        raise ValueError(f"{recording.symbol} after {self._symbol}: one book a run")
                    field = "p, q" if isinstance(message, Trade) else "b, a"
                    self._take(message, out)
                    if len(out) >= CHUNK_STEPS:
                        yield out
                        out = []
            except ValueError as error:
                place = f"line {recording.line}"
                raise BacktestError(path, place, field, str(error)) from error
            except OSError as error:
                raise BacktestError(path, f"after line {recording.line}", "", str(error)) from error
        yield out

    def notes(self) -> dict[str, int | str]:
        """Trades, and what had to be made up or taken away for them."""
        return {
            "recorded_trade_count": self._trade_count,
            "synthetic_count": self._synthetic_count,
            "stale_count": self._mirror.stale_count,
        }

    def _take(self, message: Message, out: list[Step]) -> None:
        mirror, time_ns = self._mirror, message.local_time_ns
        if not 0 <= time_ns <= INT64_MAX:
            raise ValueError(f"{time_ns} is no local time in nanoseconds")
        if not isinstance(message, Trade):
            bids = [(units_of(price), units_of(size)) for price, size in message.bids]
            asks = [(units_of(price), units_of(size)) for price, size in message.asks]
            out.extend(self._step(time_ns, action) for action in mirror.update(bids, asks))
            return
        terms = message.taker_side, units_of(message.price), units_of(message.quantity)
        cancels, synthetic = mirror.make_room(*terms)
        out.extend(self._step(time_ns, cancel) for cancel in cancels)
        if synthetic is not None:
            self._synthetic_count += 1
            out.append(self._step(time_ns, synthetic))
        if not 0 <= message.trade_id <= INT64_MAX:
            raise ValueError(f"{message.trade_id} is no id of a trade")
        self._trade_count += 1
        mirror.take(*terms)
        side, price_ticks, quantity_lots = terms
        index = self._market_index
        item: Item = (
            *(ACTION_PLACE, int(side), TYPE_LIMIT, IOC, 0, index),
            *(price_ticks, quantity_lots, message.trade_id, 0),
        )
        out.append((time_ns, taking_account(index), item, None))

    def _step(self, time_ns: int, action: BatchAction) -> Step:
        """An action of the mirror, which says its order by its own number."""
        index = self._market_index
        item: Item
        match action:
            case NewOrder():
                number = action.client_order_id
                item = (
                    *(ACTION_PLACE, int(action.side), TYPE_LIMIT, GTC, POST_ONLY, index),
                    *(action.price_ticks, action.quantity_lots, number, 0),
                )
            case Amend():
                number = action.client_order_id
                item = (ACTION_AMEND, 0, 0, 0, 0, index, 0, action.quantity_lots, number, 0)
            case Cancel():
                number = action.client_order_id
                item = (ACTION_CANCEL, 0, 0, 0, 0, index, 0, 0, number, 0)
        return time_ns, resting_account(index, number), item, None
