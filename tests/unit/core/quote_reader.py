"""Requests and quotes as a reader of events alone knows them, beside the exchange and its twin."""

from __future__ import annotations

from typing import Any

from dexcore.exchange import Exchange
from dexcore.quote_events import (
    BlockTraded,
    QuoteClosed,
    QuoteGiven,
    QuoteMakerNamed,
    QuoteRequestClosed,
    QuoteRequested,
)
from dexcore.quotes import QuoteEnd, RequestEnd
from dexcore.results import Outcome
from tests.reference.quotes import QuoteTwin


class QuoteReader:
    """Follows the events of quotes."""

    def __init__(self) -> None:
        self.requests: dict[int, tuple[Any, ...]] = {}
        self.makers: dict[int, list[int]] = {}
        self.quotes: dict[int, tuple[Any, ...]] = {}
        self.ended: dict[int, str] = {}
        self.blocks: list[tuple[int, ...]] = []

    def read(self, outcome: Outcome) -> None:
        """Take in one outcome."""
        self.blocks = []
        for event in outcome.events:
            if isinstance(event, QuoteRequested):
                self.requests[event.request_key] = tuple(event)
                self.makers[event.request_key] = []
            elif isinstance(event, QuoteMakerNamed):
                self.makers[event.request_key].append(event.account_key)
            elif isinstance(event, QuoteGiven):
                assert event.request_key in self.requests
                self.quotes[event.quote_key] = tuple(event)
            elif isinstance(event, BlockTraded):
                assert event.quote_key in self.quotes
                self.blocks.append(tuple(event))
            elif isinstance(event, QuoteClosed):
                del self.quotes[event.quote_key]
                self.ended[event.quote_key] = QuoteEnd(event.end).name
            elif isinstance(event, QuoteRequestClosed):
                del self.requests[event.request_key]
                assert all(quote[1] != event.request_key for quote in self.quotes.values())
                self.ended[event.request_key] = RequestEnd(event.end).name

    def compare(self, exchange: Exchange, twin: QuoteTwin) -> None:
        """Events, exchange and twin say the same; AssertionError where they differ."""
        assert self.blocks == twin.blocks
        asked = {
            a.key: (a.key, a.taker, a.market.index, a.side, a.lots, a.close_ns)
            for a in twin.open_requests()
        }
        assert self.requests == asked
        assert list(exchange.quotes.requests) == sorted(asked)
        for a in twin.open_requests():
            assert (
                self.makers[a.key] == a.makers == list(exchange.quotes.requests[a.key].maker_keys)
            )
        offers = {
            o.key: (o.key, o.asked.key, o.maker, o.bid, o.ask, o.expire_ns, o.client_id)
            for o in twin.open_quotes()
        }
        assert self.quotes == offers
        assert list(exchange.quotes.quotes) == sorted(offers)
        for o in twin.open_quotes():
            quote = exchange.quotes.quotes[o.key]
            held = quote.held_base_atoms, quote.held_quote_atoms
            spec = o.asked.market.spec
            assert held == (o.holds(spec["base_asset_id"]), o.holds(spec["quote_asset_id"]))
        ends = [(a.key, a.end) for a in twin.asked] + [(o.key, o.end) for o in twin.offers]
        assert self.ended == {key: end for key, end in ends if end}
        due = [a.close_ns for a in twin.open_requests()]
        due += [o.expire_ns for o in twin.open_quotes()]
        assert exchange.quotes.next_due_ns == min(due, default=None)
