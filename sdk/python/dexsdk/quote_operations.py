"""Requests for quotes (dex.matching.v1.Matching): a taker's calls, and what a maker signs.

A request's feed survives a broken connection only as far as the node does not see it: a connection
that is lost withdraws the request, as leaving the block does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from dex.matching.v1 import quote_pb2 as quotes
from dex.orders.v1 import signed_payload_pb2 as wire
from dexsdk import methods
from dexsdk.effects import Backoff, Emit, Feed, Open, Operation, Read, ask, decode
from dexsdk.errors import Unavailable, checked_fields
from dexsdk.order_operations import page_size
from dexsdk.session import Session, Signed
from dexsdk.times import NS_PER_SECOND, timestamp_of
from dexsdk.types import Side


def request_quote(
    session: Session,
    market: str,
    quantity_lots: int,
    *,
    side: Side | None = None,
    seconds: float = 60.0,
    makers: Sequence[str] = (),
) -> Feed[quotes.RequestQuoteResponse]:
    """Asks makers for firm quotes on one size, and gives every change of them until it closes.

    Without a `side` it is hidden and makers quote both. `makers` are the accounts that may see the
    request; without any all may. The first item has no quote: the request is there. Leaving the
    feed withdraws the request.
    """
    close_ns = session.now_ns() + int(seconds * NS_PER_SECOND)
    payload = session.payload()
    payload.quote_request.CopyFrom(
        wire.QuoteRequest(
            market_id=market,
            side=cast("wire.Side.ValueType", side or 0),
            quantity_lots=quantity_lots,
            close_time=timestamp_of(close_ns),
            maker_account_ids=makers,
        )
    )
    request = quotes.RequestQuoteRequest(envelope=session.sign(payload).envelope)
    data = request.SerializeToString()
    seen = 0
    outage: Backoff | None = None
    while True:
        try:
            yield Open(methods.REQUEST_QUOTE.path, (data,), ())
            while (answer := (yield Read())) is not None:
                item = decode(methods.REQUEST_QUOTE, answer)
                outage = None
                # The same envelope gets all again.
                if item.sequence > seen:
                    seen = item.sequence
                    yield Emit(item)
        except Unavailable as error:
            outage = outage or Backoff(session, close_ns)
            yield outage.after(error)
        else:
            return


def accept_quote(
    session: Session, quote_id: str, side: Side, price_ticks: int
) -> Operation[quotes.AcceptQuoteResponse]:
    """Trades the whole size of a quote: a buy at its ask, a sell at its bid."""
    payload = session.payload()
    with checked_fields():
        payload.quote_acceptance.CopyFrom(
            wire.QuoteAcceptance(
                quote_id=quote_id,
                side=cast("wire.Side.ValueType", side),
                price_ticks=price_ticks,
            )
        )
    signed = session.sign(payload)
    request = quotes.AcceptQuoteRequest(envelope=signed.envelope)
    return (yield from ask(session, methods.ACCEPT_QUOTE, request, signed.expire_time_ns))


def list_quotes(
    session: Session,
    account_id: str | None = None,
    *,
    quote_request_id: str = "",
    limit: int | None = None,
) -> Operation[list[quotes.Quote]]:
    """Quotes that the account gave and those on its requests, newest first; at most `limit`."""
    found: list[quotes.Quote] = []
    request = quotes.ListQuotesRequest(
        account_id=session.require_account(account_id),
        quote_request_id=quote_request_id,
        page_size=page_size(limit, 1_000),
    )
    while True:
        page = yield from ask(session, methods.LIST_QUOTES, request)
        found += page.quotes
        request.page_token = page.next_page_token
        if not request.page_token or (limit is not None and len(found) >= limit):
            return found[:limit]


def sign_quote(
    session: Session,
    quote_request_id: str,
    *,
    bid_price_ticks: int = 0,
    ask_price_ticks: int = 0,
    seconds: float = 30.0,
    client_quote_id: int = 0,
) -> Signed:
    """A firm quote on the whole size of a request."""
    payload = session.payload()
    with checked_fields():
        payload.quote.CopyFrom(
            wire.NewQuote(
                quote_request_id=quote_request_id,
                bid_price_ticks=bid_price_ticks,
                ask_price_ticks=ask_price_ticks,
                expire_time=timestamp_of(session.now_ns() + int(seconds * NS_PER_SECOND)),
                client_quote_id=client_quote_id,
            )
        )
    return session.sign(payload)


def sign_quote_cancel(session: Session, quote_id: str = "") -> Signed:
    """The end of one open quote, or of all that the account has."""
    payload = session.payload()
    payload.quote_cancel.CopyFrom(wire.QuoteCancel(quote_id=quote_id))
    return session.sign(payload)


def open_session(session: Session, after_sequence: int, *, keep_quotes: bool) -> Open:
    """Opens a maker's session."""
    first = quotes.QuoteStreamRequest(
        session=quotes.QuoteSession(
            account_id=session.require_account(None),
            after_sequence=after_sequence,
            keep_quotes=keep_quotes,
        )
    )
    metadata = session.authorization()
    return Open(methods.QUOTE_STREAM.path, (first.SerializeToString(),), metadata, duplex=True)


def message_of(signed: Signed) -> bytes:
    """An envelope as a message of a session."""
    return quotes.QuoteStreamRequest(envelope=signed.envelope).SerializeToString()


def receive() -> Operation[quotes.QuoteStreamResponse]:
    """The next item of a session; it does not come back by itself, for its quotes are gone."""
    data = yield Read()
    if data is None:
        raise Unavailable("UNAVAILABLE", "the node ended the session")
    return decode(methods.QUOTE_STREAM, data)
