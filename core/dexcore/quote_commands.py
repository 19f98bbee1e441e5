"""Commands of requests for quotes, and their readers; :mod:`dexcore.commands` has all others."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from dexcore.codec import CodecError, ValueReader

# A maker that may see a request; a quote that a session gave.
KEY: Final = struct.Struct("<q")


class RequestQuote(NamedTuple):
    """Signed: ask makers for quotes on one size; ``side`` zero asks for both.

    ``maker_account_keys`` are packed as KEY; none lets everybody see the request.
    """

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    market_index: int
    side: int
    quantity_lots: int
    close_time_ns: int
    maker_account_keys: bytes


class GiveQuote(NamedTuple):
    """Signed: a firm quote on the whole size of a request; a price of zero is none."""

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    request_key: int
    bid_price_ticks: int
    ask_price_ticks: int
    quote_expire_time_ns: int
    client_quote_id: int


class WithdrawQuotes(NamedTuple):
    """Signed: take an open quote back, or with a key of zero all of the account."""

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    quote_key: int


class AcceptQuote(NamedTuple):
    """Signed: trade the whole size of a quote; ``side`` is the taker's."""

    account_key: int
    nonce: int
    expire_time_ns: int
    digest: bytes
    public_key: bytes
    quote_key: int
    side: int
    price_ticks: int


class EndQuoteSession(NamedTuple):
    """Of the node: a maker's session is over, so what it gave and is still open is withdrawn.

    ``quote_keys`` are packed as KEY.
    """

    account_key: int
    quote_keys: bytes


class WithdrawRequest(NamedTuple):
    """Of the node: the taker no longer waits for quotes on its request."""

    account_key: int
    request_key: int


QuoteCommand = (
    RequestQuote | GiveQuote | WithdrawQuotes | AcceptQuote | EndQuoteSession | WithdrawRequest
)


def keys_of(packed: bytes) -> list[int]:
    """The keys that were packed as KEY."""
    return [key for (key,) in KEY.iter_unpack(packed)]


def check_keys(packed: bytes) -> bytes:
    """The same bytes, when they are whole keys.

    Raises:
        CodecError: they are not.
    """
    if len(packed) % KEY.size:
        raise CodecError("packed keys do not fit")
    return packed


def read_request(r: ValueReader) -> RequestQuote:
    """Version 1 of :class:`RequestQuote`."""
    values = (r.integer(), r.integer(), r.integer(), r.data(), r.data())
    terms = (r.integer(), r.integer(), r.integer(), r.integer())
    return RequestQuote(*values, *terms, check_keys(r.data()))


def read_quote(r: ValueReader) -> GiveQuote:
    """Version 1 of :class:`GiveQuote`."""
    values = (r.integer(), r.integer(), r.integer(), r.data(), r.data())
    return GiveQuote(*values, r.integer(), r.integer(), r.integer(), r.integer(), r.integer())


def read_withdrawal(r: ValueReader) -> WithdrawQuotes:
    """Version 1 of :class:`WithdrawQuotes`."""
    values = (r.integer(), r.integer(), r.integer(), r.data(), r.data())
    return WithdrawQuotes(*values, r.integer())


def read_acceptance(r: ValueReader) -> AcceptQuote:
    """Version 1 of :class:`AcceptQuote`."""
    values = (r.integer(), r.integer(), r.integer(), r.data(), r.data())
    return AcceptQuote(*values, r.integer(), r.integer(), r.integer())


def read_session_end(r: ValueReader) -> EndQuoteSession:
    """Version 1 of :class:`EndQuoteSession`."""
    return EndQuoteSession(r.integer(), check_keys(r.data()))


def read_request_withdrawal(r: ValueReader) -> WithdrawRequest:
    """Version 1 of :class:`WithdrawRequest`."""
    return WithdrawRequest(r.integer(), r.integer())
