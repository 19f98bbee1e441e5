"""Requests for quotes: a taker asks, makers answer with firm quotes, and one may be accepted.

Theory of operation: an open quote holds its maker's worst case on both of its sides, so that an
acceptance can be refused for the taker's sake alone. It trades the whole size at the quote's price,
beside the book: a block trade has no number among the market's trades and is neither its last
price nor in its K-lines. The first acceptance closes the request and all other quotes on it. The
rules are in docs/reference/order-semantics.md; FIX messages R, S and Z.
"""

from __future__ import annotations

from typing import final

from dexcore.accounts import Account, Accounts
from dexcore.book import BUY, SELL
from dexcore.invariant import check
from dexcore.ledger import Cell, Ledger
from dexcore.limits import (
    ITEM_INDEX_LIMIT,
    MAKERS_PER_REQUEST_MAX,
    OPEN_QUOTES_PER_ACCOUNT_MAX,
    OPEN_REQUESTS_PER_ACCOUNT_MAX,
    PPM,
    QUOTE_AHEAD_NS_MAX,
    QUOTES_PER_REQUEST_AND_MAKER_MAX,
    QUOTES_PER_REQUEST_MAX,
)
from dexcore.market import Market, MarketStatus
from dexcore.quote_commands import (
    AcceptQuote,
    EndQuoteSession,
    GiveQuote,
    RequestQuote,
    WithdrawQuotes,
    WithdrawRequest,
    keys_of,
)
from dexcore.quote_events import (
    BlockTraded,
    QuoteClosed,
    QuoteGiven,
    QuoteMakerNamed,
    QuoteRequestClosed,
    QuoteRequested,
)
from dexcore.quotes import Quote, QuoteBook, QuoteEnd, Request, RequestEnd
from dexcore.reasons import Reason, Refused
from dexcore.results import OrderStatus, Outcome

SignedQuoteCommand = RequestQuote | GiveQuote | WithdrawQuotes | AcceptQuote


@final
class QuoteDesk:
    """Handles the commands of requests for quotes on the exchange's state."""

    __slots__ = ("_accounts", "_book", "_ledger", "_markets")

    def __init__(
        self, book: QuoteBook, accounts: Accounts, ledger: Ledger, markets: list[Market]
    ) -> None:
        self._book = book
        self._accounts = accounts
        self._ledger = ledger
        self._markets = markets

    def apply(self, account: Account, command: SignedQuoteCommand, outcome: Outcome) -> None:
        """Carry out a signed command of an account that may trade.

        Raises:
            Refused: nothing was changed.
        """
        if isinstance(command, RequestQuote):
            self._request(account, command, outcome)
        elif isinstance(command, GiveQuote):
            self._give(account, command, outcome)
        elif isinstance(command, WithdrawQuotes):
            self._withdraw(account, command, outcome)
        else:
            self._accept(account, command, outcome)

    # --- what is signed

    def _request(self, account: Account, command: RequestQuote, outcome: Outcome) -> None:
        if not 0 <= command.market_index < len(self._markets):
            raise Refused(Reason.UNKNOWN_MARKET, "quote_request.market_id")
        market = self._markets[command.market_index]
        _check_open(market, "quote_request.market_id")
        if command.side not in (0, BUY, SELL):
            raise Refused(Reason.FIELD_INVALID, "quote_request.side")
        _check_quantity(market, command.quantity_lots)
        _check_ahead(command.close_time_ns, outcome.time_ns, "quote_request.close_time")
        makers = self._named_makers(command.maker_account_keys)
        if len(self._book.requests_of(account.key)) >= OPEN_REQUESTS_PER_ACCOUNT_MAX:
            raise Refused(Reason.TOO_MANY_QUOTE_REQUESTS)
        key = outcome.sequence * ITEM_INDEX_LIMIT
        terms = (command.side, command.quantity_lots, command.close_time_ns)
        self._book.add_request(Request(key, account, market, *terms, makers))
        outcome.key = key
        outcome.logged.append(QuoteRequested(key, account.key, market.index, *terms))
        outcome.logged.extend(QuoteMakerNamed(key, maker) for maker in makers)

    def _named_makers(self, packed: bytes) -> tuple[int, ...]:
        makers = tuple(keys_of(packed))
        field = "quote_request.maker_account_ids"
        if len(makers) > MAKERS_PER_REQUEST_MAX or len({*makers}) < len(makers):
            raise Refused(Reason.FIELD_INVALID, field)
        for maker in makers:
            if maker not in self._accounts.by_key:
                raise Refused(Reason.UNKNOWN_ACCOUNT, field)
        return makers

    def _give(self, account: Account, command: GiveQuote, outcome: Outcome) -> None:
        request = self._book.requests.get(command.request_key)
        if (
            request is None
            or outcome.time_ns >= request.close_time_ns
            or not request.is_for(account.key)
        ):
            raise Refused(Reason.UNKNOWN_QUOTE_REQUEST, "quote.quote_request_id")
        market = request.market
        _check_open(market, "quote.quote_request_id")
        _check_other_owner(account, request.account, "quote.quote_request_id")
        prices = (command.bid_price_ticks, command.ask_price_ticks)
        _check_prices(request, *prices)
        _check_ahead(command.quote_expire_time_ns, outcome.time_ns, "quote.expire_time")
        self._check_room(account, request, command.client_quote_id)
        key = outcome.sequence * ITEM_INDEX_LIMIT
        terms = (command.quote_expire_time_ns, command.client_quote_id)
        quote = Quote(key, request, account, prices, *terms, market.maker_fee_ppm)
        self._hold(quote)
        self._book.add_quote(quote)
        request.given[account.key] = request.given.get(account.key, 0) + 1
        outcome.key = key
        outcome.logged.append(QuoteGiven(key, request.key, account.key, *prices, *terms))

    def _check_room(self, account: Account, request: Request, client_quote_id: int) -> None:
        own = self._book.quotes_of(account.key)
        if client_quote_id < 0:
            raise Refused(Reason.FIELD_INVALID, "quote.client_quote_id")
        if client_quote_id and any(quote.client_quote_id == client_quote_id for quote in own):
            raise Refused(Reason.CLIENT_QUOTE_ID_IN_USE, "quote.client_quote_id")
        if (
            len(own) >= OPEN_QUOTES_PER_ACCOUNT_MAX
            or request.given.get(account.key, 0) >= QUOTES_PER_REQUEST_AND_MAKER_MAX
            or sum(request.given.values()) >= QUOTES_PER_REQUEST_MAX
        ):
            raise Refused(Reason.TOO_MANY_QUOTES)

    def _withdraw(self, account: Account, command: WithdrawQuotes, outcome: Outcome) -> None:
        chosen = self._book.quotes_of(account.key)
        if command.quote_key:
            chosen = [quote for quote in chosen if quote.key == command.quote_key]
            if not chosen:
                raise Refused(Reason.UNKNOWN_QUOTE, "quote_cancel.quote_id")
        for quote in chosen:
            self._end(quote, QuoteEnd.WITHDRAWN, outcome)
        outcome.key = command.quote_key

    def _accept(self, account: Account, command: AcceptQuote, outcome: Outcome) -> None:
        quote = self._book.quotes.get(command.quote_key)
        if quote is None or quote.request.account is not account:
            raise Refused(Reason.UNKNOWN_QUOTE, "quote_acceptance.quote_id")
        request = quote.request
        # Its end may be due and not have come: the time decides, not the tick.
        if outcome.time_ns >= min(quote.expire_time_ns, request.close_time_ns):
            raise Refused(Reason.UNKNOWN_QUOTE, "quote_acceptance.quote_id")
        _check_open(request.market, "quote_acceptance.quote_id")
        _check_other_owner(account, quote.account, "quote_acceptance.quote_id")
        side = command.side
        if side not in (BUY, SELL):
            raise Refused(Reason.FIELD_INVALID, "quote_acceptance.side")
        price_ticks = quote.ask_price_ticks if side == BUY else quote.bid_price_ticks
        if not price_ticks:
            raise Refused(Reason.QUOTE_MISMATCH, "quote_acceptance.side")
        if price_ticks != command.price_ticks:
            raise Refused(Reason.QUOTE_MISMATCH, "quote_acceptance.price_ticks")
        maker_fee, taker_fee = self._trade(quote, account, side, price_ticks)
        lots = request.quantity_lots
        owners = (quote.account.key, account.key)
        terms = (price_ticks, lots, side)
        outcome.logged.append(
            BlockTraded(request.market.index, quote.key, *terms, *owners, maker_fee, taker_fee)
        )
        self._end(quote, QuoteEnd.FILLED, outcome)
        self._close(request, RequestEnd.FILLED, outcome)
        outcome.key = quote.key
        fills = ((0, price_ticks, lots, taker_fee),)
        filled = (int(OrderStatus.FILLED), lots, 0, fills)
        outcome.results = ((quote.key, 0, *filled, int(Reason.NONE), ""),)

    # --- what the node says, and time

    def end_session(self, command: EndQuoteSession, outcome: Outcome) -> None:
        """Withdraw of the account's quotes those that a session gave."""
        if command.account_key not in self._accounts.by_key:
            raise Refused(Reason.UNKNOWN_ACCOUNT, "account_id")
        given = {*keys_of(command.quote_keys)}
        for quote in self._book.quotes_of(command.account_key):
            if quote.key in given:
                self._end(quote, QuoteEnd.SESSION_ENDED, outcome)
        outcome.key = command.account_key

    def withdraw_request(self, command: WithdrawRequest, outcome: Outcome) -> None:
        """Close an open request of the account."""
        request = self._book.requests.get(command.request_key)
        if request is None or request.account.key != command.account_key:
            raise Refused(Reason.UNKNOWN_QUOTE_REQUEST, "quote_request_id")
        self._close(request, RequestEnd.WITHDRAWN, outcome)
        outcome.key = request.key

    def expire(self, outcome: Outcome) -> None:
        """End what is due, in order of (time, key)."""
        while (due := self._book.first_due(outcome.time_ns)) is not None:
            if isinstance(due, Request):
                self._close(due, RequestEnd.TIME_PASSED, outcome)
            else:
                self._end(due, QuoteEnd.EXPIRED, outcome)

    def _close(self, request: Request, end: RequestEnd, outcome: Outcome) -> None:
        """End a request, its open quotes first."""
        for quote in list(request.quotes.values()):
            self._end(quote, QuoteEnd.REQUEST_CLOSED, outcome)
        self._book.remove_request(request)
        outcome.logged.append(QuoteRequestClosed(request.key, end))

    def _end(self, quote: Quote, end: QuoteEnd, outcome: Outcome) -> None:
        """End a quote; what it still holds goes back to its maker."""
        base_cell, quote_cell = self._cells(quote.account, quote.request.market)
        base_cell.release(quote.held_base_atoms)
        quote_cell.release(quote.held_quote_atoms)
        quote.held_base_atoms = quote.held_quote_atoms = 0
        self._book.remove_quote(quote)
        outcome.logged.append(QuoteClosed(quote.key, end))

    # --- money

    def _cells(self, account: Account, market: Market) -> tuple[Cell, Cell]:
        return self._ledger.cells_of(account.key, market.base, market.quote)

    def _hold(self, quote: Quote) -> None:
        """Reserve what each side of the quote may cost its maker: only one will trade."""
        base_atoms, quote_atoms = worst_case(quote)
        base_cell, quote_cell = self._cells(quote.account, quote.request.market)
        if quote_atoms > quote_cell.available:
            raise Refused(Reason.INSUFFICIENT_FUNDS, "quote.bid_price_ticks")
        if base_atoms > base_cell.available:
            raise Refused(Reason.INSUFFICIENT_FUNDS, "quote.ask_price_ticks")
        quote_cell.hold(quote_atoms)
        base_cell.hold(base_atoms)
        quote.held_base_atoms, quote.held_quote_atoms = base_atoms, quote_atoms

    def _trade(
        self, quote: Quote, taker: Account, taker_side: int, price_ticks: int
    ) -> tuple[int, int]:
        """Move the whole size at the price, and the fees: the maker's and the taker's."""
        check(
            (quote.held_base_atoms, quote.held_quote_atoms) == worst_case(quote),
            "a quote does not hold its worst case",
        )
        market = quote.request.market
        lots = quote.request.quantity_lots
        base_atoms = lots * market.base_atoms_per_lot
        notional_atoms = lots * price_ticks * market.quote_atoms_per_tick_lot
        maker_fee = _fee_atoms(notional_atoms, quote.maker_fee_ppm)
        taker_fee = _fee_atoms(notional_atoms, market.taker_fee_ppm)
        maker_base, maker_quote = self._cells(quote.account, market)
        taker_base, taker_quote = self._cells(taker, market)
        if taker_side == BUY:
            if notional_atoms + taker_fee > taker_quote.available:
                raise Refused(Reason.INSUFFICIENT_FUNDS, "quote_acceptance.side")
            taker_quote.debit_available(notional_atoms + taker_fee)
            maker_base.debit_held(base_atoms)
            quote.held_base_atoms -= base_atoms
            taker_base.credit(base_atoms)
            maker_quote.credit(notional_atoms - maker_fee)
        else:
            if base_atoms > taker_base.available:
                raise Refused(Reason.INSUFFICIENT_FUNDS, "quote_acceptance.side")
            taker_base.debit_available(base_atoms)
            maker_quote.debit_held(notional_atoms + maker_fee)
            quote.held_quote_atoms -= notional_atoms + maker_fee
            maker_base.credit(base_atoms)
            taker_quote.credit(notional_atoms - taker_fee)
        market.fee_cell.credit(maker_fee + taker_fee)
        return maker_fee, taker_fee


def worst_case(quote: Quote) -> tuple[int, int]:
    """Base and quote atoms that a quote may cost its maker: its ask the one, its bid the other."""
    request = quote.request
    market, lots = request.market, request.quantity_lots
    base_atoms = lots * market.base_atoms_per_lot if quote.ask_price_ticks else 0
    notional_atoms = lots * quote.bid_price_ticks * market.quote_atoms_per_tick_lot
    return base_atoms, notional_atoms + _fee_atoms(notional_atoms, quote.maker_fee_ppm)


def _fee_atoms(notional_atoms: int, fee_ppm: int) -> int:
    """The fee of a block, rounded up; it is the only trade of its quote."""
    return -(-notional_atoms * fee_ppm // PPM)


def _check_open(market: Market, field: str) -> None:
    if market.is_external:
        raise Refused(Reason.MARKET_IS_EXTERNAL, field)
    if market.status is not MarketStatus.OPEN:
        raise Refused(Reason.MARKET_NOT_OPEN, field)


def _check_other_owner(account: Account, other: Account, field: str) -> None:
    if account.owner == other.owner:
        raise Refused(Reason.SELF_TRADE, field)


def _check_quantity(market: Market, quantity_lots: int) -> None:
    try:
        market.check_quantity(quantity_lots)
    except Refused as refused:
        raise Refused(refused.reason, f"quote_request.{refused.field}") from None


def _check_ahead(end_time_ns: int, now_ns: int, field: str) -> None:
    if end_time_ns <= now_ns:
        raise Refused(Reason.FIELD_INVALID, field)
    if end_time_ns > now_ns + QUOTE_AHEAD_NS_MAX:
        raise Refused(Reason.EXPIRY_TOO_FAR, field)


def _check_prices(request: Request, bid_price_ticks: int, ask_price_ticks: int) -> None:
    """A price for what is asked and for nothing else, each a price of the market."""
    for price_ticks, takers_side, name in (
        (bid_price_ticks, SELL, "bid_price_ticks"),
        (ask_price_ticks, BUY, "ask_price_ticks"),
    ):
        if not price_ticks:
            continue
        if request.side not in (0, takers_side):
            raise Refused(Reason.QUOTE_PRICES_INVALID, f"quote.{name}")
        try:
            request.market.check_price(price_ticks)
        except Refused as refused:
            raise Refused(refused.reason, f"quote.{name}") from None
    neither = not bid_price_ticks and not ask_price_ticks
    if neither or (ask_price_ticks and bid_price_ticks >= ask_price_ticks):
        raise Refused(Reason.QUOTE_PRICES_INVALID, "quote.bid_price_ticks")
