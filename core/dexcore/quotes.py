"""Open requests for quotes and the quotes on them.

Theory of operation: a request is open until it is accepted, withdrawn or its time has passed, and
a quote is open no longer than its request. What is not open any more is forgotten here. Times are
in one index, and only a ClockTick looks at what of it is due.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, final

from sortedcontainers import SortedDict

from dexcore.invariant import check

if TYPE_CHECKING:
    from dexcore.accounts import Account
    from dexcore.market import Market


class QuoteEnd(IntEnum):
    """How a quote ended."""

    FILLED = 1
    EXPIRED = 2
    WITHDRAWN = 3
    SESSION_ENDED = 4
    REQUEST_CLOSED = 5


class RequestEnd(IntEnum):
    """How a request ended."""

    FILLED = 1
    TIME_PASSED = 2
    WITHDRAWN = 3


@final
class Request:
    """An open request. FIX message R, tag 131."""

    __slots__ = (
        "account",
        "close_time_ns",
        "given",
        "key",
        "maker_keys",
        "market",
        "quantity_lots",
        "quotes",
        "side",
    )

    def __init__(
        self,
        key: int,
        account: Account,
        market: Market,
        side: int,
        quantity_lots: int,
        close_time_ns: int,
        maker_keys: tuple[int, ...],
    ) -> None:
        self.key = key
        self.account = account
        self.market = market
        # The taker's; zero when it asks for both.
        self.side = side
        self.quantity_lots = quantity_lots
        self.close_time_ns = close_time_ns
        # Accounts that may see it; empty: all.
        self.maker_keys = maker_keys
        # Open quotes on it, oldest first.
        self.quotes: dict[int, Quote] = {}
        # Quotes ever given on it, by maker.
        self.given: dict[int, int] = {}

    def is_for(self, account_key: int) -> bool:
        """Whether the account may see and answer it."""
        return not self.maker_keys or account_key in self.maker_keys


@final
class Quote:
    """An open quote and what it holds of its maker's money. FIX message S, tag 117."""

    __slots__ = (
        "account",
        "ask_price_ticks",
        "bid_price_ticks",
        "client_quote_id",
        "expire_time_ns",
        "held_base_atoms",
        "held_quote_atoms",
        "key",
        "maker_fee_ppm",
        "request",
    )

    def __init__(
        self,
        key: int,
        request: Request,
        account: Account,
        prices_ticks: tuple[int, int],
        expire_time_ns: int,
        client_quote_id: int,
        maker_fee_ppm: int,
    ) -> None:
        self.key = key
        self.request = request
        self.account = account
        self.bid_price_ticks, self.ask_price_ticks = prices_ticks
        self.expire_time_ns = expire_time_ns
        self.client_quote_id = client_quote_id
        # Of the time when it was given, as an order's.
        self.maker_fee_ppm = maker_fee_ppm
        self.held_quote_atoms = 0
        self.held_base_atoms = 0


@final
class QuoteBook:
    """All open requests and quotes of a shard."""

    __slots__ = ("_due", "_of_maker", "_of_taker", "quotes", "requests")

    def __init__(self) -> None:
        self.requests: dict[int, Request] = {}
        self.quotes: dict[int, Quote] = {}
        self._of_taker: dict[int, dict[int, Request]] = {}
        self._of_maker: dict[int, dict[int, Quote]] = {}
        # By (time_ns, key).
        self._due: SortedDict[tuple[int, int], Request | Quote] = SortedDict()

    @property
    def next_due_ns(self) -> int | None:
        """When the next request or quote ends; None when none is open."""
        due = self._due
        if not due:
            return None
        (time_ns, _), _ = due.peekitem(0)
        return int(time_ns)

    def first_due(self, time_ns: int) -> Request | Quote | None:
        """The first that ends by this time, in order of time and key; None when there is none."""
        due = self._due
        if not due or due.peekitem(0)[0][0] > time_ns:
            return None
        first: Request | Quote = due.peekitem(0)[1]
        return first

    def requests_of(self, account_key: int) -> list[Request]:
        """The taker's open requests, oldest first."""
        return list(self._of_taker.get(account_key, {}).values())

    def quotes_of(self, account_key: int) -> list[Quote]:
        """The maker's open quotes, oldest first."""
        return list(self._of_maker.get(account_key, {}).values())

    def add_request(self, request: Request) -> None:
        """Open a request."""
        check(request.key not in self.requests, "a request was opened twice")
        self.requests[request.key] = request
        self._of_taker.setdefault(request.account.key, {})[request.key] = request
        self._due[(request.close_time_ns, request.key)] = request

    def remove_request(self, request: Request) -> None:
        """Forget a request that has no open quote any more."""
        check(not request.quotes, "a request ended before its quotes")
        del self.requests[request.key]
        _remove(self._of_taker, request.account.key, request.key)
        del self._due[(request.close_time_ns, request.key)]

    def add_quote(self, quote: Quote) -> None:
        """Open a quote on its request."""
        check(quote.key not in self.quotes, "a quote was opened twice")
        check(quote.request.key in self.requests, "a quote on a request that is not open")
        self.quotes[quote.key] = quote
        quote.request.quotes[quote.key] = quote
        self._of_maker.setdefault(quote.account.key, {})[quote.key] = quote
        self._due[(quote.expire_time_ns, quote.key)] = quote

    def remove_quote(self, quote: Quote) -> None:
        """Forget a quote that holds nothing any more."""
        check(not quote.held_quote_atoms | quote.held_base_atoms, "a quote ended and holds money")
        del self.quotes[quote.key]
        del quote.request.quotes[quote.key]
        _remove(self._of_maker, quote.account.key, quote.key)
        del self._due[(quote.expire_time_ns, quote.key)]


def _remove(
    table: dict[int, dict[int, Request]] | dict[int, dict[int, Quote]], owner: int, key: int
) -> None:
    """Take one out of an account's, and the account's with its last."""
    own = table[owner]
    del own[key]
    if not own:
        del table[owner]
