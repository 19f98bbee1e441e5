"""Operations that read markets (dex.matching.v1.Matching) and K-lines (dex.kline.v1.KlineQuery)."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from dex.kline.v1 import kline_query_pb2 as kline
from dex.matching.v1 import matching_pb2 as matching
from dexsdk import methods
from dexsdk.effects import Operation, ask
from dexsdk.errors import CallerError
from dexsdk.market import Market
from dexsdk.order_operations import page_size
from dexsdk.session import Session
from dexsdk.times import optional_timestamp
from dexsdk.types import Interval


def list_markets(session: Session) -> Operation[list[Market]]:
    """Every market, by id."""
    markets: list[Market] = []
    request = matching.ListMarketsRequest(page_size=1_000)
    while True:
        page = yield from ask(session, methods.LIST_MARKETS, request)
        markets += map(Market, page.markets)
        request.page_token = page.next_page_token
        if not request.page_token:
            return markets


def get_market(session: Session, market: str) -> Operation[Market]:
    """One market; CallerError (UNKNOWN_MARKET) when there is none of that id."""
    for found in (yield from list_markets(session)):
        if found.market_id == market:
            return found
    raise CallerError("UNKNOWN_MARKET", f"no market {market!r}", field="market_id")


def get_book(session: Session, market: str, depth: int = 50) -> Operation[matching.Book]:
    """The best `depth` levels of each side at one moment."""
    request = matching.GetBookRequest(market_id=market, depth=depth)
    return (yield from ask(session, methods.GET_BOOK, request)).book


def list_trades(
    session: Session, market: str, *, start_sequence: int = 0, limit: int | None = None
) -> Operation[list[matching.Trade]]:
    """Trades from `start_sequence`, zero for the oldest, in order; at most `limit`, else all."""
    trades: list[matching.Trade] = []
    request = matching.ListTradesRequest(
        market_id=market, start_sequence=start_sequence, page_size=page_size(limit, 10_000)
    )
    while True:
        page = yield from ask(session, methods.LIST_TRADES, request)
        trades += page.trades
        request.page_token = page.next_page_token
        if not request.page_token or (limit is not None and len(trades) >= limit):
            return trades[:limit]


def list_klines(
    session: Session,
    market: str,
    interval: Interval,
    start: int | datetime | None = None,
    end: int | datetime | None = None,
    *,
    limit: int | None = None,
) -> Operation[list[kline.Kline]]:
    """K-lines that open in [start, end), oldest first; at most `limit`, else all.

    Times are nanoseconds since the epoch or datetimes with a zone; None leaves a side open.
    """
    klines: list[kline.Kline] = []
    request = kline.ListKlinesRequest(
        market_id=market,
        interval=cast("kline.Interval.ValueType", interval),
        start_time=optional_timestamp(start),
        end_time=optional_timestamp(end),
        page_size=page_size(limit, 10_000),
    )
    while True:
        page = yield from ask(session, methods.LIST_KLINES, request)
        klines += page.klines
        request.page_token = page.next_page_token
        if not request.page_token or (limit is not None and len(klines) >= limit):
            return klines[:limit]
