"""KlineQuery: K-lines, listed and streamed."""

from __future__ import annotations

from typing import Final, final

from dex.kline.v1 import kline_query_pb2 as pb
from dexcore.limits import INT64_MAX
from dexkline import Interval
from dexnode import render
from dexnode.pagination import PageTokens
from dexnode.services.matching import find_market
from dexnode.services.streams import SharedMessages, follow
from dexnode.times import time_ns_of
from dexrpc import CallContext, Sender
from dexruntime.shard import Shard
from dexruntime.views import KlineChange

KLINES_PAGE: Final = 500
CHANGES_AT_ONCE: Final = 64


@final
class KlineQueryService:
    """Serves dex.kline.v1.KlineQuery."""

    def __init__(self, shard: Shard, pages: PageTokens) -> None:
        self._shard = shard
        self._pages = pages
        self._shared: SharedMessages[KlineChange, pb.StreamKlinesResponse] = SharedMessages()

    async def list_klines(
        self, request: pb.ListKlinesRequest, _ctx: CallContext
    ) -> pb.ListKlinesResponse:
        """K-lines that traded, oldest first."""
        market = find_market(self._shard, request.market_id)
        interval = Interval(request.interval)
        book = self._shard.views.markets[market.index].klines
        start_ns = time_ns_of(request.start_time, "start_time")
        end_ns = INT64_MAX
        if request.HasField("end_time"):
            end_ns = time_ns_of(request.end_time, "end_time")
        start_ns = self._pages.open(request, int) or start_ns
        size = request.page_size or KLINES_PAGE
        rows = book.rows(interval, start_ns, end_ns, size + 1)
        market_id = market.spec.market_id
        response = pb.ListKlinesResponse(
            klines=[render.kline(market_id, interval, row) for row in rows[:size]]
        )
        if len(rows) > size:
            response.next_page_token = self._pages.seal(request, rows[size].open_time_ns)
        return response

    async def stream_klines(
        self,
        request: pb.StreamKlinesRequest,
        _ctx: CallContext,
        send: Sender[pb.StreamKlinesResponse],
    ) -> None:
        """The current K-line, then every change."""
        market = find_market(self._shard, request.market_id)
        interval = Interval(request.interval)
        view = self._shard.views.markets[market.index]
        feed = view.kline_feeds[interval]
        after = request.after_sequence
        if after == 0:
            after = feed.last_sequence
            current = view.klines.last(interval)
            if current is not None:
                await send.send(
                    pb.StreamKlinesResponse(
                        sequence=after,
                        klines=[render.kline(market.spec.market_id, interval, current)],
                    )
                )

        def make(changes: list[KlineChange]) -> list[pb.StreamKlinesResponse]:
            return [_message(market.spec.market_id, interval, change) for change in changes]

        async def send_changes(after: int, changes: list[KlineChange]) -> None:
            await send.send_many(self._shared.of(feed, after, changes, make))

        await follow(feed, after, CHANGES_AT_ONCE, send_changes)


def _message(market_id: str, interval: Interval, change: KlineChange) -> pb.StreamKlinesResponse:
    return pb.StreamKlinesResponse(
        sequence=change.sequence,
        klines=[render.kline(market_id, interval, row) for row in change.klines],
    )
