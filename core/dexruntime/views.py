"""What readers see: trades, K-lines, ledger entries and feeds, made from durable events.

Theory of operation: ``consume`` is called with the outcome of every command, in
journal order, and only once it is durable; on recovery with the same outcomes
again. Everything here, feed sequences included, is therefore a function of the
journal, and a client may resume a stream across a restart of the node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, final

import msgspec

from dexcore.events import (
    Deposited,
    Event,
    ExternalTrade,
    LevelChanged,
    MarketCreated,
    Ticked,
    Trade,
    Transferred,
    WatermarkMoved,
    Withdrawn,
)
from dexcore.exchange import Exchange
from dexcore.market import MarketKind
from dexcore.results import Outcome
from dexkline import Interval, Kline, KlineBook, TradeColumns
from dexruntime.feed import Feed
from dexruntime.movements import Movement, decode_movement, encode_movement

# What moved an account's money lately; older movements are in the journal.
MOVEMENTS_PER_ACCOUNT: Final = 10_000
BOOK_FEED_ITEMS: Final = 16_384
TRADE_FEED_ITEMS: Final = 65_536
KLINE_FEED_ITEMS: Final = 4_096


@final
class BookChange:
    """What one command changed in a book. ``encoded`` is room for a reader's bytes."""

    __slots__ = ("asks", "bids", "encoded", "sequence", "time_ns")

    def __init__(self, sequence: int, time_ns: int) -> None:
        self.sequence = sequence
        self.time_ns = time_ns
        self.bids: list[tuple[int, int]] = []
        self.asks: list[tuple[int, int]] = []
        self.encoded: bytes | None = None


class PublicTrade(NamedTuple):
    """One trade as readers see it; order keys are zero for external trades."""

    time_ns: int
    trade_sequence: int
    price_ticks: int
    quantity_lots: int
    taker_side: int
    maker_order_key: int
    taker_order_key: int


@final
class KlineChange:
    """K-lines of one interval that one command changed."""

    __slots__ = ("encoded", "klines", "sequence")

    def __init__(self, sequence: int, klines: list[Kline]) -> None:
        self.sequence = sequence
        self.klines = klines
        self.encoded: bytes | None = None


@final
class MarketView:
    """The readers' side of one market."""

    __slots__ = (
        "book_feed",
        "index",
        "kind",
        "kline_feeds",
        "klines",
        "lost_klines",
        "new_trades",
        "trade_feed",
        "trades",
        "watermark_ns",
    )

    def __init__(self, index: int, kind: int, quote_atoms_per_tick_lot: int) -> None:
        self.index = index
        self.kind = kind
        self.trades = TradeColumns()
        self.klines = KlineBook(quote_atoms_per_tick_lot)
        self.book_feed: Feed[BookChange] = Feed(BOOK_FEED_ITEMS)
        self.trade_feed: Feed[PublicTrade] = Feed(TRADE_FEED_ITEMS)
        self.kline_feeds: dict[Interval, Feed[KlineChange]] = {
            interval: Feed(KLINE_FEED_ITEMS) for interval in Interval
        }
        self.watermark_ns = 0
        # Trades of the running command, on their way to columns and K-lines.
        self.new_trades: list[PublicTrade] = []
        # Commands whose trades would have overflowed a day's sums.
        self.lost_klines = 0

    def due_ns(self) -> int | None:
        """When the next window can close; None when no window is open.

        A recorded market closes by its watermark, a market of ours by the clock.
        """
        close_ns = self.klines.next_close_ns()
        if close_ns is None or self.kind == MarketKind.ORDER_BOOK:
            return close_ns
        return close_ns if close_ns <= self.watermark_ns else None


@final
class Views:
    """All readers' views of a shard."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.applied_sequence = exchange.sequence
        self.markets: list[MarketView] = []
        self.movements: dict[int, deque[Movement]] = {}
        self._dirty: dict[int, MarketView] = {}
        self._stirred: dict[int, MarketView] = {}
        self._handlers: dict[type, Callable[[Any, Outcome], None]] = {
            Trade: self._trade,
            LevelChanged: self._level,
            ExternalTrade: self._external_trade,
            WatermarkMoved: self._watermark,
            Ticked: self._tick,
            MarketCreated: self._market,
            Deposited: self._booked,
            Withdrawn: self._booked,
            Transferred: self._transferred,
        }
        self._change: BookChange | None = None
        self._change_market = -1

    def consume(self, sequence: int, outcome: Outcome) -> None:
        """Take in the outcome of the command at ``sequence``."""
        if sequence != self.applied_sequence + 1:
            raise ValueError(f"outcome {sequence} does not follow {self.applied_sequence}")
        self.applied_sequence = sequence
        handlers = self._handlers
        event: Event
        for event in outcome.events:
            handler = handlers.get(type(event))
            if handler is not None:
                handler(event, outcome)
        self._change = None
        self._change_market = -1
        if self._dirty:
            self._fold(sequence)

    def wake(self) -> None:
        """Wake the readers of every feed that got something since the last call."""
        for view in self._stirred.values():
            view.book_feed.wake()
            view.trade_feed.wake()
            for feed in view.kline_feeds.values():
                feed.wake()
        self._stirred.clear()

    def settle(self) -> None:
        """After a replay: nobody reads yet, so nobody is to be woken."""
        self._stirred.clear()

    def due_ns(self) -> int | None:
        """When a clock tick is due next."""
        times = [due for view in self.markets if (due := view.due_ns()) is not None]
        return min(times, default=None)

    def _fold(self, sequence: int) -> None:
        """Bring the command's trades and closings into columns, K-lines and feeds."""
        for view in self._dirty.values():
            new = view.new_trades
            if new:
                view.trades.append_many(new)
                try:
                    view.klines.add_trades(sequence, [trade[:4] for trade in new])
                except OverflowError:
                    view.lost_klines += 1
                for trade in new:
                    view.trade_feed.append(trade)
                view.new_trades = []
            for interval, feed in view.kline_feeds.items():
                changes = view.klines.take_changes(interval)
                if changes:
                    feed.append(KlineChange(feed.last_sequence + 1, changes))
            self._stirred[view.index] = view
        self._dirty.clear()

    # --- events

    def _market(self, event: MarketCreated, _outcome: Outcome) -> None:
        spec = self._exchange.markets[event.market_index].spec
        self.markets.append(
            MarketView(event.market_index, spec.kind, spec.quote_atoms_per_tick_lot)
        )

    def _level(self, event: LevelChanged, outcome: Outcome) -> None:
        change = self._change
        if change is None or self._change_market != event.market_index:
            # Levels of one command come market by market.
            view = self.markets[event.market_index]
            change = self._change = BookChange(view.book_feed.last_sequence + 1, outcome.time_ns)
            self._change_market = event.market_index
            view.book_feed.append(change)
            self._stirred[view.index] = view
        levels = change.bids if event.side == 1 else change.asks
        levels.append((event.price_ticks, event.quantity_lots))

    def _trade(self, event: Trade, outcome: Outcome) -> None:
        view = self.markets[event.market_index]
        view.new_trades.append(
            PublicTrade(
                outcome.time_ns,
                event.trade_sequence,
                event.price_ticks,
                event.quantity_lots,
                event.taker_side,
                event.maker_order_key,
                event.taker_order_key,
            )
        )
        self._dirty[view.index] = view
        movement = (outcome.sequence, outcome.time_ns, event)
        self._movements(event.maker_account_key).append(movement)
        if event.taker_account_key != event.maker_account_key:
            self._movements(event.taker_account_key).append(movement)

    def _external_trade(self, event: ExternalTrade, _outcome: Outcome) -> None:
        view = self.markets[event.market_index]
        view.new_trades.append(
            PublicTrade(
                event.time_ns,
                event.trade_sequence,
                event.price_ticks,
                event.quantity_lots,
                event.taker_side,
                0,
                0,
            )
        )
        self._dirty[view.index] = view

    def _watermark(self, event: WatermarkMoved, _outcome: Outcome) -> None:
        self.markets[event.market_index].watermark_ns = event.watermark_ns

    def _tick(self, event: Ticked, outcome: Outcome) -> None:
        for view in self.markets:
            until_ns = event.time_ns
            if view.kind == MarketKind.EXTERNAL:
                until_ns = min(until_ns, view.watermark_ns)
            close_ns = view.klines.next_close_ns()
            if close_ns is not None and close_ns <= until_ns:
                view.klines.close_until(until_ns, outcome.sequence)
                self._dirty[view.index] = view

    def _booked(self, event: Deposited | Withdrawn, outcome: Outcome) -> None:
        movement = (outcome.sequence, outcome.time_ns, event)
        self._movements(event.account_key).append(movement)

    def _transferred(self, event: Transferred, outcome: Outcome) -> None:
        movement = (outcome.sequence, outcome.time_ns, event)
        self._movements(event.from_account_key).append(movement)
        if event.to_account_key != event.from_account_key:
            self._movements(event.to_account_key).append(movement)

    def _movements(self, account_key: int) -> deque[Movement]:
        movements = self.movements.get(account_key)
        if movements is None:
            movements = self.movements[account_key] = deque(maxlen=MOVEMENTS_PER_ACCOUNT)
        return movements

    # --- checkpoint

    def checkpoint(self) -> bytes:
        """The views as bytes, for a snapshot. Feed windows are not kept, their sequences are."""
        markets = [
            (
                view.kind,
                view.watermark_ns,
                view.lost_klines,
                view.klines.quote_atoms_per_tick_lot,
                view.trades.checkpoint(),
                view.klines.checkpoint(),
                view.book_feed.last_sequence,
                view.trade_feed.last_sequence,
                [feed.last_sequence for feed in view.kline_feeds.values()],
            )
            for view in self.markets
        ]
        movements = [
            (key, [encode_movement(row) for row in rows]) for key, rows in self.movements.items()
        ]
        return msgspec.msgpack.encode((self.applied_sequence, markets, movements))

    @classmethod
    def restore(cls, exchange: Exchange, data: bytes) -> Views:
        """The views of the exchange as they were checkpointed."""
        views = cls(exchange)
        applied_sequence, markets, movements = msgspec.msgpack.decode(data)
        if applied_sequence != exchange.sequence:
            raise ValueError("views and state of a snapshot are of different commands")
        for index, row in enumerate(markets):
            views.markets.append(_restore_market(index, row))
        for account_key, rows in movements:
            views._movements(account_key).extend(decode_movement(row) for row in rows)
        return views


def _restore_market(index: int, row: Iterable[Any]) -> MarketView:
    kind, watermark_ns, lost, quote_atoms, trades, klines, book, trade, kline_feeds = row
    view = MarketView(index, kind, quote_atoms)
    view.watermark_ns = watermark_ns
    view.lost_klines = lost
    view.trades = TradeColumns.restore(trades)
    view.klines = KlineBook.restore(klines)
    view.book_feed = Feed(BOOK_FEED_ITEMS, book)
    view.trade_feed = Feed(TRADE_FEED_ITEMS, trade)
    for interval, last_sequence in zip(Interval, kline_feeds, strict=True):
        view.kline_feeds[interval] = Feed(KLINE_FEED_ITEMS, last_sequence)
    return view
