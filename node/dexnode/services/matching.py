"""Matching: markets, books and trades."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from dex.errors.v1 import errors_pb2
from dex.matching.v1 import matching_pb2 as pb
from dex.matching.v1 import swap_pb2
from dexcore.market import Market
from dexnode import render
from dexnode.authz import require_account
from dexnode.errors import refuse
from dexnode.ids import IdFormat
from dexnode.instant_swap import quote_swap
from dexnode.intake import Intake
from dexnode.pagination import PageTokens
from dexnode.services.quotes import QuoteMethods
from dexnode.services.streams import SharedMessages, follow, gone
from dexrpc import CallContext, Sender
from dexruntime.feed import SequenceGone
from dexruntime.shard import Shard
from dexruntime.views import BookChange, MarketView, PublicTrade

MARKETS_PAGE: Final = 100
BOOK_DEPTH: Final = 50
BOOK_DEPTH_STREAM: Final = 1_000_000
TRADES_PAGE: Final = 100
TRADES_PER_MESSAGE: Final = 256
CHANGES_AT_ONCE: Final = 256


@final
class MatchingService(QuoteMethods):
    """Serves dex.matching.v1.Matching; its methods of quotes are QuoteMethods."""

    def __init__(
        self,
        shard: Shard,
        intake: Intake,
        ids: IdFormat,
        pages: PageTokens,
        is_stopping: Callable[[], bool],
    ) -> None:
        super().__init__(shard, intake, ids, pages, is_stopping)
        # By market index: what its auction would give, and the sequence of the state that is of.
        self._indicatives: dict[int, tuple[int, pb.IndicativeUncross]] = {}
        self._book_messages: SharedMessages[BookChange, pb.StreamBookResponse] = SharedMessages()
        self._trade_messages: SharedMessages[PublicTrade, pb.StreamTradesResponse] = (
            SharedMessages()
        )

    async def list_markets(
        self, request: pb.ListMarketsRequest, _ctx: CallContext
    ) -> pb.ListMarketsResponse:
        """List the markets by id."""
        after = self._pages.open(request, str) or ""
        size = request.page_size or MARKETS_PAGE
        markets = self._shard.exchange.markets_by_id
        names = sorted(name for name in markets if name > after)
        response = pb.ListMarketsResponse(
            markets=[render.market(markets[name]) for name in names[:size]]
        )
        await self._shard.sequencer.settled()
        if len(names) > size:
            response.next_page_token = self._pages.seal(request, names[size - 1])
        return response

    async def get_book(self, request: pb.GetBookRequest, _ctx: CallContext) -> pb.GetBookResponse:
        """The best levels of a book."""
        market = find_market(self._shard, request.market_id)
        return pb.GetBookResponse(book=await self._book(market, request.depth or BOOK_DEPTH))

    async def stream_book(
        self,
        request: pb.StreamBookRequest,
        _ctx: CallContext,
        send: Sender[pb.StreamBookResponse],
    ) -> None:
        """A snapshot, then every change."""
        market = find_market(self._shard, request.market_id)
        view = self._shard.views.markets[market.index]
        after = request.after_sequence
        if after == 0:
            snapshot = await self._book(market, BOOK_DEPTH_STREAM)
            after = snapshot.sequence
            await send.send(pb.StreamBookResponse(snapshot=snapshot))

        async def send_changes(after: int, changes: list[BookChange]) -> None:
            indicative = self._indicative(market)
            if indicative is None:
                items = self._book_messages.of(view.book_feed, after, changes, _book_items)
            else:
                # It may have changed since others got theirs.
                items = _book_items(changes)
                for item in items:
                    item.delta.indicative.CopyFrom(indicative)
            await send.send_many(items)

        await follow(view.book_feed, after, CHANGES_AT_ONCE, send_changes)

    async def stream_trades(
        self,
        request: pb.StreamTradesRequest,
        _ctx: CallContext,
        send: Sender[pb.StreamTradesResponse],
    ) -> None:
        """Trades as they become durable."""
        market = find_market(self._shard, request.market_id)
        view = self._shard.views.markets[market.index]
        after = view.trade_feed.last_sequence
        if request.start_sequence:
            after = await self._catch_up(market, view, request.start_sequence, send)

        def make(trades: list[PublicTrade]) -> list[pb.StreamTradesResponse]:
            return [self._trades_message(market, trades)]

        async def send_trades(after: int, trades: list[PublicTrade]) -> None:
            await send.send_many(self._trade_messages.of(view.trade_feed, after, trades, make))

        await follow(view.trade_feed, after, TRADES_PER_MESSAGE, send_trades)

    async def list_trades(
        self, request: pb.ListTradesRequest, _ctx: CallContext
    ) -> pb.ListTradesResponse:
        """Past trades, oldest first."""
        market = find_market(self._shard, request.market_id)
        view = self._shard.views.markets[market.index]
        start = self._pages.open(request, int) or max(1, request.start_sequence)
        size = request.page_size or TRADES_PAGE
        rows = past_trades(view, start, size)
        response = pb.ListTradesResponse()
        render.add_trades(self._ids, response.trades, market.spec.market_id, rows)
        if rows and rows[-1].trade_sequence < view.trades.last_trade_sequence:
            response.next_page_token = self._pages.seal(request, rows[-1].trade_sequence + 1)
        return response

    async def quote_swap(
        self, request: swap_pb2.QuoteSwapRequest, ctx: CallContext
    ) -> swap_pb2.QuoteSwapResponse:
        """What a whole size would cost or bring, by an order and by a quote."""
        require_account(ctx, request.account_id)
        market = find_market(self._shard, request.market_id)
        account = self._shard.exchange.accounts.by_key.get(
            self._ids.key_of(request.account_id) or 0
        )
        if account is None:
            raise refuse(errors_pb2.ERROR_REASON_UNKNOWN_ACCOUNT, field="account_id")
        exchange, lots = self._shard.exchange, request.quantity_lots
        response = quote_swap(exchange, self._ids, market, account, request.side, lots)
        await self._shard.sequencer.settled()
        return response

    # --- parts

    async def _book(self, market: Market, depth: int) -> pb.Book:
        """The book as it is when everything in it is durable."""
        view = self._shard.views.markets
        while True:
            await self._shard.sequencer.settled()
            exchange = self._shard.exchange
            # Nothing was applied since: live state and durable feed are at one point.
            if self._shard.views.applied_sequence == exchange.sequence:
                sequence = view[market.index].book_feed.last_sequence
                message = render.book(market, depth, sequence, exchange.time_ns)
                indicative = self._indicative(market)
                if indicative is not None:
                    message.indicative.CopyFrom(indicative)
                return message

    def _indicative(self, market: Market) -> pb.IndicativeUncross | None:
        """What the market's auction would give now, in one sweep for all who ask; None without one.

        While something is applied that is not durable it is that of the moment before.
        """
        if not market.is_call:
            self._indicatives.pop(market.index, None)
            return None
        known = self._indicatives.get(market.index)
        sequence = self._shard.exchange.sequence
        if self._shard.views.applied_sequence == sequence and (
            known is None or known[0] < sequence
        ):
            known = self._indicatives[market.index] = sequence, render.indicative(market)
        return None if known is None else known[1]

    async def _catch_up(
        self,
        market: Market,
        view: MarketView,
        start_sequence: int,
        send: Sender[pb.StreamTradesResponse],
    ) -> int:
        """Send stored trades until the feed's window takes over; returns the last one sent."""
        first = view.trades.first_from(start_sequence)
        # Neither the first of all, nor one there is, nor the next: ahead of this market, or of a
        # history that a restore took back.
        if start_sequence not in (1, first, view.trade_feed.last_sequence + 1):
            newest = view.trades.last_trade_sequence
            raise gone(SequenceGone(start_sequence - 1, 1, newest))
        after = start_sequence - 1
        while after < view.trade_feed.oldest_sequence - 1:
            trades = past_trades(view, after + 1, TRADES_PER_MESSAGE)
            if not trades:
                return view.trade_feed.oldest_sequence - 1
            await send.send(self._trades_message(market, trades))
            after = trades[-1].trade_sequence
        return after

    def _trades_message(self, market: Market, trades: list[PublicTrade]) -> pb.StreamTradesResponse:
        message = pb.StreamTradesResponse()
        render.add_trades(self._ids, message.trades, market.spec.market_id, trades)
        return message


def find_market(shard: Shard, market_id: str) -> Market:
    """The market of that id.

    Raises:
        RpcError: there is none.
    """
    market = shard.exchange.markets_by_id.get(market_id)
    # A market that is not durable yet is not there yet.
    if market is None or market.index >= len(shard.views.markets):
        raise refuse(
            errors_pb2.ERROR_REASON_UNKNOWN_MARKET,
            f"no market {market_id!r}",
            field="market_id",
        )
    return market


def past_trades(view: MarketView, start_sequence: int, count: int) -> list[PublicTrade]:
    """Stored trades from start_sequence on, at most so many; fewer before an epoch's gap."""
    first = view.trades.first_from(start_sequence)
    rows: list[PublicTrade] = []
    for block in view.trades.slice(first, first + count if first else 0):
        columns = [column.tolist() for column in block]
        rows.extend(PublicTrade(*values) for values in zip(*columns, strict=True))
    return rows


def _book_items(changes: list[BookChange]) -> list[pb.StreamBookResponse]:
    return [pb.StreamBookResponse(delta=render.book_delta(change)) for change in changes]
