"""What takers and makers see of requests for quotes, made from durable events.

Theory of operation: a request has a log of what happened to the quotes on it, and an account has a
feed of the requests it may see and of what became of its own quotes. A request for everybody is in
every account's feed. An account that was never told anything alone has the feed of all: its own is
made when somebody first looks, and its numbers are a function of the journal all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, final

from dexcore.limits import QUOTES_PER_REQUEST_MAX
from dexcore.quote_events import (
    QuoteClosed,
    QuoteGiven,
    QuoteMakerNamed,
    QuoteRequestClosed,
    QuoteRequested,
)
from dexcore.quotes import QuoteEnd
from dexcore.results import Outcome
from dexruntime.feed import Feed

# Items of an account's feed; requests of a taker, and quotes of a maker, that are remembered.
FEED_ITEMS: Final = 1_024
REQUESTS_PER_TAKER: Final = 100
QUOTES_PER_MAKER: Final = 1_000
# That a request is there, then each quote on it and its end.
LOG_ITEMS: Final = 1 + 2 * QUOTES_PER_REQUEST_MAX


class QuoteState(NamedTuple):
    """A quote after a command: ``end`` is zero while it is open."""

    quote_key: int
    request_key: int
    taker_key: int
    maker_key: int
    market_index: int
    quantity_lots: int
    bid_price_ticks: int
    ask_price_ticks: int
    expire_time_ns: int
    client_quote_id: int
    end: int
    sequence: int


class RequestState(NamedTuple):
    """What a request asks for; no ``maker_keys``: everybody."""

    request_key: int
    taker_key: int
    market_index: int
    side: int
    quantity_lots: int
    close_time_ns: int
    maker_keys: tuple[int, ...]


@final
class RequestView:
    """A request and all that happened to quotes on it."""

    __slots__ = ("log", "quote_keys", "state")

    def __init__(self, state: RequestState) -> None:
        self.state = state
        self.quote_keys: list[int] = []
        # The first says that the request is there.
        self.log: Feed[QuoteState | None] = Feed(LOG_ITEMS)


class FeedItem(NamedTuple):
    """One item of an account's feed: a request, one that closed, or an own quote that ended."""

    request: RequestState | None
    is_closed: bool
    quote: QuoteState | None


AccountFeed = Feed[FeedItem]


@final
class QuoteViews:
    """The readers' side of requests for quotes of a shard."""

    __slots__ = (
        "_feeds",
        "_of_maker",
        "_of_taker",
        "_open",
        "_public",
        "_stirred",
        "quotes",
        "requests",
    )

    def __init__(self) -> None:
        self.requests: dict[int, RequestView] = {}
        self._open: dict[int, RequestState] = {}
        # The newest state of each quote on them.
        self.quotes: dict[int, QuoteState] = {}
        self._of_taker: dict[int, deque[int]] = {}
        self._of_maker: dict[int, deque[int]] = {}
        self._public: AccountFeed = Feed(FEED_ITEMS)
        self._feeds: dict[int, AccountFeed] = {}
        self._stirred: list[AccountFeed | Feed[QuoteState | None]] = []

    # --- reading

    def feed_of(self, account_key: int) -> AccountFeed:
        """The account's feed."""
        feed = self._feeds.get(account_key)
        if feed is None:
            public = self._public
            feed = self._feeds[account_key] = Feed(FEED_ITEMS, public.oldest_sequence - 1)
            for item in public.held():
                feed.append(item)
        return feed

    def open_requests(self, account_key: int) -> list[RequestState]:
        """What the account could quote on, oldest first."""
        return [
            state
            for state in self._open.values()
            if not state.maker_keys or account_key in state.maker_keys
        ]

    def quotes_of(self, account_key: int) -> list[QuoteState]:
        """Quotes by the account, and on its requests, newest first."""
        keys = set(self._of_maker.get(account_key, ()))
        for request_key in self._of_taker.get(account_key, ()):
            keys.update(self.requests[request_key].quote_keys)
        return [self.quotes[key] for key in sorted(keys, reverse=True) if key in self.quotes]

    def wake(self) -> None:
        """Let the readers see what the moment brought."""
        for log in self._stirred:
            log.wake()
        self._stirred.clear()

    # --- events

    def requested(self, event: QuoteRequested, outcome: Outcome) -> None:
        """A request, and whom it is for."""
        makers = tuple(
            named.account_key for named in outcome.logged if isinstance(named, QuoteMakerNamed)
        )
        state = RequestState(*event, makers)
        view = self.requests[state.request_key] = RequestView(state)
        view.log.append(None)
        self._open[state.request_key] = state
        own = self._of_taker.setdefault(state.taker_key, deque())
        own.append(state.request_key)
        if len(own) > REQUESTS_PER_TAKER:
            self._forget(own.popleft())
        self._tell(state, FeedItem(state, is_closed=False, quote=None))

    def given(self, event: QuoteGiven, outcome: Outcome) -> None:
        """A quote."""
        view = self.requests[event.request_key]
        of_request = (view.state.taker_key, event.account_key, *view.state[2:5:2])
        terms = event[3:]
        state = QuoteState(*event[:2], *of_request, *terms, 0, outcome.sequence)
        view.quote_keys.append(state.quote_key)
        own = self._of_maker.setdefault(state.maker_key, deque(maxlen=QUOTES_PER_MAKER))
        own.append(state.quote_key)
        self.quotes[state.quote_key] = state
        self._note(view, state)

    def quote_closed(self, event: QuoteClosed, outcome: Outcome) -> None:
        """A quote ended: its taker sees it, and its maker if it did not do it itself."""
        state = self.quotes[event.quote_key]._replace(end=event.end, sequence=outcome.sequence)
        self.quotes[state.quote_key] = state
        self._note(self.requests[state.request_key], state)
        if state.end != QuoteEnd.WITHDRAWN:
            self._say(self.feed_of(state.maker_key), FeedItem(None, is_closed=False, quote=state))

    def request_closed(self, event: QuoteRequestClosed, _outcome: Outcome) -> None:
        """A request ended, and its log with it."""
        view = self.requests[event.request_key]
        view.log.is_closed = True
        del self._open[event.request_key]
        self._stirred.append(view.log)
        self._tell(view.state, FeedItem(view.state, is_closed=True, quote=None))

    def jump(self, last_sequence: int) -> None:
        """Let every feed go on after this number: the history is another."""
        for feed in (self._public, *self._feeds.values()):
            feed.jump(last_sequence)

    def _note(self, view: RequestView, state: QuoteState) -> None:
        view.log.append(state)
        self._stirred.append(view.log)

    def _tell(self, request: RequestState, item: FeedItem) -> None:
        """Put an item about a request into the feeds of all who may see it."""
        if request.maker_keys:
            for account_key in request.maker_keys:
                self._say(self.feed_of(account_key), item)
            return
        self._public.append(item)
        for feed in self._feeds.values():
            self._say(feed, item)

    def _say(self, feed: AccountFeed, item: FeedItem) -> None:
        feed.append(item)
        self._stirred.append(feed)

    def _forget(self, request_key: int) -> None:
        view = self.requests.pop(request_key)
        for key in view.quote_keys:
            self.quotes.pop(key, None)

    # --- checkpoint

    def checkpoint(self) -> tuple[Any, ...]:
        """As plain values. What feeds hold is not kept, their sequences are."""
        public = self._public.last_sequence
        requests = [
            (tuple(view.state), view.log.is_closed, [_plain(item) for item in view.log.held()])
            for view in self.requests.values()
        ]
        feeds = [
            (key, feed.last_sequence)
            for key, feed in sorted(self._feeds.items())
            if feed.last_sequence != public
        ]
        return public, feeds, requests

    def restore(self, values: Iterable[Any]) -> None:
        """Fill empty views with what :meth:`checkpoint` gave."""
        public, feeds, requests = values
        self._public = Feed(FEED_ITEMS, public)
        for key, last_sequence in feeds:
            self._feeds[key] = Feed(FEED_ITEMS, last_sequence)
        for row, is_closed, items in requests:
            state = RequestState._make((*row[:-1], tuple(row[-1])))
            view = self.requests[state.request_key] = RequestView(state)
            self._of_taker.setdefault(state.taker_key, deque()).append(state.request_key)
            for item in _states(items):
                view.log.append(item)
                if item is not None:
                    if item.quote_key not in self.quotes:
                        view.quote_keys.append(item.quote_key)
                    self.quotes[item.quote_key] = item
            view.log.is_closed = is_closed
            if not is_closed:
                self._open[state.request_key] = state
        for quote in sorted(self.quotes.values()):
            own = self._of_maker.setdefault(quote.maker_key, deque(maxlen=QUOTES_PER_MAKER))
            own.append(quote.quote_key)


def _plain(item: QuoteState | None) -> list[int]:
    return [] if item is None else [*item]


def _states(rows: Iterable[list[int]]) -> Iterator[QuoteState | None]:
    for row in rows:
        yield QuoteState(*row) if row else None
