"""Events of requests for quotes; :mod:`dexcore.events` has their numbers and all others."""

from __future__ import annotations

from typing import NamedTuple


class QuoteRequested(NamedTuple):
    """A taker asked for quotes; ``side`` is zero for both."""

    request_key: int
    account_key: int
    market_index: int
    side: int
    quantity_lots: int
    close_time_ns: int


class QuoteMakerNamed(NamedTuple):
    """The request just made is for this account, and others that are named; follows it."""

    request_key: int
    account_key: int


class QuoteGiven(NamedTuple):
    """A maker gave a firm quote and reserved its worst case."""

    quote_key: int
    request_key: int
    account_key: int
    bid_price_ticks: int
    ask_price_ticks: int
    expire_time_ns: int
    client_quote_id: int


class BlockTraded(NamedTuple):
    """A quote was accepted; fees are in atoms of the quote asset. No trade of the market."""

    market_index: int
    quote_key: int
    price_ticks: int
    quantity_lots: int
    taker_side: int
    maker_account_key: int
    taker_account_key: int
    maker_fee_atoms: int
    taker_fee_atoms: int


class QuoteClosed(NamedTuple):
    """A quote left the exchange; ``end`` is a :class:`dexcore.quotes.QuoteEnd`."""

    quote_key: int
    end: int


class QuoteRequestClosed(NamedTuple):
    """A request left the exchange; ``end`` is a :class:`dexcore.quotes.RequestEnd`."""

    request_key: int
    end: int


QuoteEvent = (
    QuoteRequested | QuoteMakerNamed | QuoteGiven | BlockTraded | QuoteClosed | QuoteRequestClosed
)
