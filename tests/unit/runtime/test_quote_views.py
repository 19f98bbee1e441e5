"""Views of quotes: a snapshot and a reader that looks change nothing of what the journal says."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from dexcore.quote_events import QuoteClosed, QuoteGiven, QuoteRequestClosed, QuoteRequested
from dexcore.results import Outcome
from dexruntime.quote_views import QuoteViews
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import seed_of

COMMANDS = 600


def consume(quotes: QuoteViews, outcome: Outcome) -> None:
    """As dexruntime.views does."""
    handlers: dict[type, Callable[[Any, Outcome], None]] = {
        QuoteRequested: quotes.requested,
        QuoteGiven: quotes.given,
        QuoteClosed: quotes.quote_closed,
        QuoteRequestClosed: quotes.request_closed,
    }
    for event in outcome.events:
        if handler := handlers.get(type(event)):
            handler(event, outcome)


def test_a_snapshot_and_a_reader_change_nothing() -> None:
    seed = seed_of("tests/unit/runtime/test_quote_views.py")
    chance = random.Random(seed)
    pair = Pair()
    pair.compare = False
    maker = CommandMaker(chance, pair.exchange, pair.traders)
    accounts = [trader.account_key for trader in pair.traders]
    plain, looked, restored = QuoteViews(), QuoteViews(), QuoteViews()
    told = dict.fromkeys(accounts, 0)
    for step in range(COMMANDS):
        time_ns, command = maker.next()
        if chance.random() < 0.8:
            command = maker.quotes.next()
        outcome = pair.apply(time_ns, command)
        for quotes in (plain, looked, restored):
            consume(quotes, outcome)
        for key in accounts:
            told[key] = looked.feed_of(key).last_sequence
            if step % 50 == 0:
                # Gap-free: what the feed holds are its last numbers.
                feed = looked.feed_of(key)
                assert feed.last_sequence - len(feed.held()) == feed.oldest_sequence - 1
        if step % 90 == 0:
            state = restored.checkpoint()
            restored = QuoteViews()
            restored.restore(state)
    assert plain.checkpoint() == looked.checkpoint() == restored.checkpoint()
    assert plain.quotes
    for key in accounts:
        assert plain.feed_of(key).held() == looked.feed_of(key).held()
        assert restored.feed_of(key).last_sequence == told[key]
        assert plain.open_requests(key) == restored.open_requests(key)
        assert plain.quotes_of(key) == restored.quotes_of(key)
        live = [quote.key for quote in pair.exchange.quotes.quotes_of(key)]
        shown = [each.quote_key for each in plain.quotes_of(key)]
        assert {*live} <= {*shown}
