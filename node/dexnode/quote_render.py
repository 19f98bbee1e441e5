"""Requests for quotes and quotes as messages of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dex.matching.v1 import quote_pb2 as pb
from dexcore.market import Market
from dexcore.quotes import Quote, QuoteEnd
from dexnode import render
from dexnode.ids import IdFormat, split_key
from dexruntime.quote_views import QuoteState, RequestState

_STATUSES: Final = {
    0: pb.QUOTE_STATUS_OPEN,
    QuoteEnd.FILLED: pb.QUOTE_STATUS_FILLED,
    QuoteEnd.EXPIRED: pb.QUOTE_STATUS_EXPIRED,
}


def status_of(end: int) -> pb.QuoteStatus.ValueType:
    """What a quote that ended so is; zero for one that did not."""
    return _STATUSES.get(end, pb.QUOTE_STATUS_CANCELLED)


def quote(ids: IdFormat, markets: Sequence[Market], state: QuoteState, reader_key: int) -> pb.Quote:
    """A quote as this account sees it."""
    return pb.Quote(
        quote_id=ids.format(state.quote_key),
        quote_request_id=ids.format(state.request_key),
        maker_account_id=ids.format(state.maker_key),
        market_id=markets[state.market_index].spec.market_id,
        quantity_lots=state.quantity_lots,
        bid_price_ticks=state.bid_price_ticks,
        ask_price_ticks=state.ask_price_ticks,
        expire_time=render.timestamp(state.expire_time_ns),
        status=status_of(state.end),
        client_quote_id=state.client_quote_id if reader_key == state.maker_key else 0,
        sequence=state.sequence,
    )


def open_quote(ids: IdFormat, source: Quote) -> pb.Quote:
    """An open quote as its taker sees it; nothing has changed it since it was given."""
    return pb.Quote(
        quote_id=ids.format(source.key),
        quote_request_id=ids.format(source.request.key),
        maker_account_id=ids.format(source.account.key),
        market_id=source.request.market.spec.market_id,
        quantity_lots=source.request.quantity_lots,
        bid_price_ticks=source.bid_price_ticks,
        ask_price_ticks=source.ask_price_ticks,
        expire_time=render.timestamp(source.expire_time_ns),
        status=pb.QUOTE_STATUS_OPEN,
        sequence=split_key(source.key)[0],
    )


def notice(
    ids: IdFormat, markets: Sequence[Market], request: RequestState
) -> pb.QuoteRequestNotice:
    """What makers see of a request."""
    return pb.QuoteRequestNotice(
        quote_request_id=ids.format(request.request_key),
        market_id=markets[request.market_index].spec.market_id,
        side=request.side,  # type: ignore[arg-type]
        quantity_lots=request.quantity_lots,
        close_time=render.timestamp(request.close_time_ns),
    )
