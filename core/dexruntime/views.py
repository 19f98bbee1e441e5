"""What readers see: trades, K-lines, ledger entries and feeds, made from durable events.

Theory of operation: ``consume`` is called with the outcome of every command, in
journal order, and only once it is durable; on recovery with the same outcomes
again. Everything here, feed sequences included, is therefore a function of the
journal, and a client may resume a stream across a restart of the node.

Commands of one moment, which is one batch of the sequencer, reach books and
K-lines as one change: readers see no more than a durable batch anyway, and under
load a change for each command would cost them more than the orders cost us. Every
batch has its own time, so the moments are in the journal and a replay groups alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, final

import msgspec

from dexcore.events import (
    LEVEL,
    TRADED,
    Deposited,
    EpochBegan,
    ExternalTrade,
    LiquidityAdded,
    LiquidityRemoved,
    Logged,
    MarketCreated,
    PoolCreated,
    PoolSwapped,
    Ticked,
    Transferred,
    WatermarkMoved,
    Withdrawn,
)
from dexcore.exchange import Exchange
from dexcore.market import MarketKind
from dexcore.quote_events import (
    BlockTraded,
    QuoteClosed,
    QuoteGiven,
    QuoteRequestClosed,
    QuoteRequested,
)
from dexcore.results import Outcome
from dexkline import Interval, Kline, KlineBook, TradeChunk, TradeColumns
from dexruntime.feed import Feed
from dexruntime.movements import Movement, Pooled, decode_movement, encode_movement
from dexruntime.quote_views import QuoteViews

# What moved an account's money lately; older movements are in the journal.
MOVEMENTS_PER_ACCOUNT: Final = 10_000
BOOK_FEED_ITEMS: Final = 16_384
TRADE_FEED_ITEMS: Final = 65_536
KLINE_FEED_ITEMS: Final = 4_096
# Changes of a pool that may become durable while a reader of its state waits for its own moment.
POOL_FEED_ITEMS: Final = 64


@final
class BookChange:
    """What one moment changed in a book: the new lots by price."""

    __slots__ = ("asks", "bids", "sequence", "time_ns")

    def __init__(self, sequence: int, time_ns: int) -> None:
        self.sequence = sequence
        self.time_ns = time_ns
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}


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
    """K-lines of one interval that one moment changed."""

    __slots__ = ("klines", "sequence")

    def __init__(self, sequence: int, klines: list[Kline]) -> None:
        self.sequence = sequence
        self.klines = klines


class PoolChange(NamedTuple):
    """The last command of a moment that changed a market's pool."""

    sequence: int
    time_ns: int


@final
class MarketView:
    """The readers' side of one market."""

    __slots__ = (
        "book_change",
        "book_feed",
        "index",
        "kind",
        "kline_feeds",
        "klines",
        "klines_changed",
        "lost_klines",
        "new_trades",
        "pool_changed",
        "pool_feed",
        "pool_key",
        "trade_command",
        "trade_feed",
        "trades",
        "watermark_ns",
    )

    def __init__(
        self,
        index: int,
        kind: int,
        quote_atoms_per_tick_lot: int,
        on_full: Callable[[TradeChunk], None] | None = None,
    ) -> None:
        self.index = index
        self.kind = kind
        self.trades = TradeColumns(on_full)
        self.klines = KlineBook(quote_atoms_per_tick_lot)
        self.book_feed: Feed[BookChange] = Feed(BOOK_FEED_ITEMS)
        self.trade_feed: Feed[PublicTrade] = Feed(TRADE_FEED_ITEMS)
        self.kline_feeds: dict[Interval, Feed[KlineChange]] = {
            interval: Feed(KLINE_FEED_ITEMS) for interval in Interval
        }
        self.watermark_ns = 0
        # Of the running moment, on their way to columns, K-lines and feeds; and the
        # journal position of the last command that traded.
        self.book_change: BookChange | None = None
        self.new_trades: list[PublicTrade] = []
        self.trade_command = 0
        # Whether K-lines have changes that their feeds have not got yet.
        self.klines_changed = False
        # Moments whose trades would have overflowed a day's sums.
        self.lost_klines = 0
        # Account of the market's pool, zero without one; its last change, and that of the running
        # moment.
        self.pool_key = 0
        self.pool_feed: Feed[PoolChange] = Feed(POOL_FEED_ITEMS)
        self.pool_changed = 0

    def pool_change_until(self, sequence: int) -> PoolChange | None:
        """The last change of the market's pool by a command up to this; None if too many came
        after it."""
        changes = reversed(self.pool_feed.held())
        return next((change for change in changes if change.sequence <= sequence), None)

    def jump(self, last_sequence: int) -> None:
        """Let every feed go on after this number."""
        self.book_feed.jump(last_sequence)
        self.trade_feed.jump(last_sequence)
        for feed in self.kline_feeds.values():
            feed.jump(last_sequence)

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
    """All readers' views of a shard. `on_full` may take old trades out of memory."""

    def __init__(
        self, exchange: Exchange, on_full: Callable[[TradeChunk], None] | None = None
    ) -> None:
        self._exchange = exchange
        self._on_full = on_full
        self.applied_sequence = exchange.sequence
        self.markets: list[MarketView] = []
        self.movements: dict[int, deque[Movement]] = {}
        self.quotes = QuoteViews()
        # Markets that the running moment changed, and those whose readers are to be woken.
        self._dirty: dict[int, MarketView] = {}
        self._stirred: dict[int, MarketView] = {}
        self._moment_ns = exchange.time_ns
        self._handlers: dict[type, Callable[[Any, Outcome], None]] = {
            ExternalTrade: self._external_trade,
            WatermarkMoved: self._watermark,
            Ticked: self._tick,
            MarketCreated: self._market,
            Deposited: self._booked,
            Withdrawn: self._booked,
            Transferred: self._transferred,
            BlockTraded: self._block,
            PoolCreated: self._pool_created,
            LiquidityAdded: self._pooled,
            LiquidityRemoved: self._pooled,
            PoolSwapped: self._pooled,
            QuoteRequested: self.quotes.requested,
            QuoteGiven: self.quotes.given,
            QuoteClosed: self.quotes.quote_closed,
            QuoteRequestClosed: self.quotes.request_closed,
            EpochBegan: self._epoch,
        }

    def consume(self, sequence: int, outcome: Outcome) -> None:
        """Take in the outcome of the command at ``sequence``."""
        if sequence != self.applied_sequence + 1:
            raise ValueError(f"outcome {sequence} does not follow {self.applied_sequence}")
        self.applied_sequence = sequence
        if not outcome.logged:
            return
        if outcome.repeated:
            # Its answer has the time of its first time; stops that went on before it have not.
            answer = outcome
            outcome = Outcome(sequence, answer.own_time_ns)
            outcome.logged = answer.logged
        if outcome.time_ns != self._moment_ns:
            self._fold()
            self._moment_ns = outcome.time_ns
        handlers = self._handlers
        for logged in outcome.logged:
            if type(logged) is tuple:
                number = logged[0]
                if number == LEVEL:
                    self._level(logged, outcome)
                elif number == TRADED:
                    self._trade(logged, outcome)
            elif handler := handlers.get(type(logged)):
                handler(logged, outcome)

    def wake(self) -> None:
        """The moment is over: let the readers of every feed see what it brought."""
        self._fold()
        for view in self._stirred.values():
            view.book_feed.wake()
            view.trade_feed.wake()
            view.pool_feed.wake()
            for feed in view.kline_feeds.values():
                feed.wake()
        self._stirred.clear()
        self.quotes.wake()

    def settle(self) -> None:
        """After a replay: the moment is over, and nobody reads yet who is to be woken."""
        self._fold()
        self._stirred.clear()
        self.quotes.wake()

    def due_ns(self) -> int | None:
        """When a clock tick is due next."""
        times = [due for view in self.markets if (due := view.due_ns()) is not None]
        return min(times, default=None)

    def _fold(self) -> None:
        """Bring the moment's levels, trades and closings into columns, K-lines and feeds."""
        for view in self._dirty.values():
            if view.book_change is not None:
                view.book_feed.append(view.book_change)
                view.book_change = None
            if view.new_trades:
                self._fold_trades(view)
            if view.pool_changed:
                view.pool_feed.append(PoolChange(view.pool_changed, self._moment_ns))
                view.pool_changed = 0
            if view.klines_changed:
                view.klines_changed = False
                for interval, feed in view.kline_feeds.items():
                    changes = view.klines.take_changes(interval)
                    if changes:
                        feed.append(KlineChange(feed.last_sequence + 1, changes))
            self._stirred[view.index] = view
        self._dirty.clear()

    def _fold_trades(self, view: MarketView) -> None:
        new = view.new_trades
        view.new_trades = []
        view.klines_changed = True
        view.trades.append_many(new)
        try:
            view.klines.add_trades(view.trade_command, [trade[:4] for trade in new])
        except OverflowError:
            view.lost_klines += 1
        append = view.trade_feed.append
        for trade in new:
            append(trade)

    # --- events

    def _market(self, event: MarketCreated, _outcome: Outcome) -> None:
        spec = self._exchange.markets[event.market_index].spec
        view = MarketView(
            event.market_index, spec.kind, spec.quote_atoms_per_tick_lot, self._on_full
        )
        self.markets.append(view)
        if self._exchange.epochs:
            view.jump(self._exchange.epochs[-1][2])

    def _epoch(self, event: EpochBegan, _outcome: Outcome) -> None:
        self._fold()
        for view in self.markets:
            view.jump(event.first_sequence)
        self.quotes.jump(event.first_sequence)

    def _level(self, row: Logged, outcome: Outcome) -> None:
        _, market_index, side, price_ticks, quantity_lots = row
        view = self.markets[market_index]
        change = view.book_change
        if change is None:
            sequence = view.book_feed.last_sequence + 1
            change = view.book_change = BookChange(sequence, outcome.time_ns)
            self._dirty[view.index] = view
        levels = change.bids if side == 1 else change.asks
        levels[price_ticks] = quantity_lots

    def _trade(self, row: Logged, outcome: Outcome) -> None:
        view = self.markets[row[1]]
        # The time in place of number and market, then as the row has them: half the price of
        # PublicTrade(...).
        trade = (outcome.time_ns, *row[2:8])
        view.new_trades.append(tuple.__new__(PublicTrade, trade))
        view.trade_command = outcome.sequence
        self._dirty[view.index] = view
        maker_account, taker_account = row[8:10]
        if maker_account == view.pool_key:
            view.pool_changed = outcome.sequence
        movement = (outcome.sequence, outcome.time_ns, row)
        self._movements(maker_account).append(movement)
        if taker_account != maker_account:
            self._movements(taker_account).append(movement)

    def _external_trade(self, event: ExternalTrade, outcome: Outcome) -> None:
        view = self.markets[event.market_index]
        if view.trade_command != outcome.sequence and view.new_trades:
            # Recorded trades have times of their own: a K-line that only an earlier command
            # changed keeps that command's position.
            self._fold_trades(view)
        view.trade_command = outcome.sequence
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
            if view.new_trades:
                # Of the same moment, and before the windows that close now.
                self._fold_trades(view)
            until_ns = event.time_ns
            if view.kind == MarketKind.EXTERNAL:
                until_ns = min(until_ns, view.watermark_ns)
            close_ns = view.klines.next_close_ns()
            if close_ns is not None and close_ns <= until_ns:
                view.klines.close_until(until_ns, outcome.sequence)
                view.klines_changed = True
                self._dirty[view.index] = view

    def _booked(self, event: Deposited | Withdrawn, outcome: Outcome) -> None:
        movement = (outcome.sequence, outcome.time_ns, event)
        self._movements(event.account_key).append(movement)

    def _pool_created(self, event: PoolCreated, outcome: Outcome) -> None:
        self.markets[event.market_index].pool_key = event.pool_key
        self._pool_changed(event.market_index, outcome)

    def _pool_changed(self, market_index: int, outcome: Outcome) -> None:
        view = self._dirty[market_index] = self.markets[market_index]
        view.pool_changed = outcome.sequence

    def _pooled(self, event: Pooled, outcome: Outcome) -> None:
        self._pool_changed(event.market_index, outcome)
        movement = (outcome.sequence, outcome.time_ns, event)
        self._movements(event.account_key).append(movement)

    def _transferred(self, event: Transferred, outcome: Outcome) -> None:
        movement = (outcome.sequence, outcome.time_ns, event)
        self._movements(event.from_account_key).append(movement)
        if event.to_account_key != event.from_account_key:
            self._movements(event.to_account_key).append(movement)

    def _block(self, event: BlockTraded, outcome: Outcome) -> None:
        """A block trade moves money and is no trade of the market's."""
        movement = (outcome.sequence, outcome.time_ns, event)
        self._movements(event.maker_account_key).append(movement)
        self._movements(event.taker_account_key).append(movement)

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
                view.pool_feed.held()[-1:],
            )
            for view in self.markets
        ]
        movements = [
            (key, [encode_movement(row) for row in rows]) for key, rows in self.movements.items()
        ]
        quotes = self.quotes.checkpoint()
        return msgspec.msgpack.encode((self.applied_sequence, markets, movements, quotes))

    @classmethod
    def restore(
        cls,
        exchange: Exchange,
        data: bytes,
        on_full: Callable[[TradeChunk], None] | None = None,
    ) -> Views:
        """The views of the exchange as they were checkpointed."""
        views = cls(exchange, on_full)
        # Release 0.1.0 knew no quotes.
        applied_sequence, markets, movements, *quotes = msgspec.msgpack.decode(data)
        if applied_sequence != exchange.sequence:
            raise ValueError("views and state of a snapshot are of different commands")
        for index, row in enumerate(markets):
            view = _restore_market(index, row, on_full)
            pool = exchange.markets[index].pool
            view.pool_key = 0 if pool is None else pool.account_key
            views.markets.append(view)
        for account_key, rows in movements:
            views._movements(account_key).extend(decode_movement(row) for row in rows)
        if quotes:
            views.quotes.restore(quotes[0])
        return views


def _restore_market(
    index: int, row: Iterable[Any], on_full: Callable[[TradeChunk], None] | None
) -> MarketView:
    kind, watermark_ns, lost, quote_atoms, trades, klines, book, trade, kline_feeds, *pool = row
    view = MarketView(index, kind, quote_atoms)
    view.watermark_ns = watermark_ns
    view.lost_klines = lost
    view.trades = TradeColumns.restore(trades, on_full)
    view.klines = KlineBook.restore(klines)
    view.book_feed = Feed(BOOK_FEED_ITEMS, book)
    view.trade_feed = Feed(TRADE_FEED_ITEMS, trade)
    for interval, last_sequence in zip(Interval, kline_feeds, strict=True):
        view.kline_feeds[interval] = Feed(KLINE_FEED_ITEMS, last_sequence)
    # Release 0.1.0 knew no pools.
    for change in pool[0] if pool else ():
        view.pool_feed.append(PoolChange(*change))
    return view
