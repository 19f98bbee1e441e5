"""Open requests for quotes as rows of the canonical state, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dexcore.accounts import Account
from dexcore.invariant import check
from dexcore.ledger import Ledger
from dexcore.market import Market
from dexcore.quotes import Quote, QuoteBook, Request
from dexcore.rfq import worst_case


def encode_quotes(book: QuoteBook) -> list[list[Any]]:
    """Every open request with the quotes on it, oldest first."""
    return [
        [
            request.key,
            request.account.key,
            request.market.index,
            request.side,
            request.quantity_lots,
            request.close_time_ns,
            list(request.maker_keys),
            [[*row] for row in request.given.items()],
            [_quote(quote) for quote in request.quotes.values()],
        ]
        for request in book.requests.values()
    ]


def _quote(quote: Quote) -> list[int]:
    return [
        quote.key,
        quote.account.key,
        quote.bid_price_ticks,
        quote.ask_price_ticks,
        quote.expire_time_ns,
        quote.client_quote_id,
        quote.maker_fee_ppm,
    ]


def restore_quotes(
    book: QuoteBook,
    ledger: Ledger,
    accounts: Mapping[int, Account],
    markets: Sequence[Market],
    rows: Sequence[Any],
) -> None:
    """Fill the book of a restored exchange; what quotes hold is held in its ledger already.

    Raises:
        InvariantError: the rows contradict the rest of the state.
    """
    quotes: list[Quote] = []
    for key, owner, market_index, side, lots, close_time_ns, makers, given, offers in rows:
        terms = (side, lots, close_time_ns, tuple(makers))
        request = Request(key, accounts[owner], markets[market_index], *terms)
        request.given = dict(given)
        book.add_request(request)
        for quote_key, maker, bid, ask, *rest in offers:
            quotes.append(Quote(quote_key, request, accounts[maker], (bid, ask), *rest))
    # A maker has its quotes in the order in which it gave them, whatever the requests.
    for quote in sorted(quotes, key=lambda quote: quote.key):
        quote.held_base_atoms, quote.held_quote_atoms = worst_case(quote)
        book.add_quote(quote)
    _check_held(quotes, ledger)


def _check_held(quotes: Sequence[Quote], ledger: Ledger) -> None:
    """Check that the accounts hold at least what their quotes hold."""
    left: dict[tuple[int, int], int] = {}
    for quote in quotes:
        market = quote.request.market
        for asset, atoms in (
            (market.base, quote.held_base_atoms),
            (market.quote, quote.held_quote_atoms),
        ):
            place = (quote.account.key, asset.index)
            held = ledger.cell(quote.account.key, asset).held
            left[place] = left.get(place, held) - atoms
            check(left[place] >= 0, "an account holds less than its quotes")
