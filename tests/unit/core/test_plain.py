"""A plain order goes through one piece of code, and the long way does the same with it."""

from __future__ import annotations

import random
from collections import Counter

from dexcore import plain
from dexcore.accounts import Account
from dexcore.amending import cancel
from dexcore.book import BookSide, Order
from dexcore.checkpoint import _order as encode_order
from dexcore.events import Logged
from dexcore.items import ACTION_CANCEL, ACTION_PLACE, FOK, GTC, IOC, POST_ONLY, Item
from dexcore.market import MarketStatus
from dexcore.orders import carry_out
from dexcore.reasons import Reason, Refused
from dexcore.results import Result, refused_item
from tests.unit.core.exchanges import seed_of
from tests.unit.core.seeded import MatcherRun

COMMANDS = 4_000
ACCOUNTS = 6
MONEY_ATOMS = 2_000_000


def long_way(run: MatcherRun, account: Account, item: Item, key: int, log: list[Logged]) -> Result:
    """What `carry_out` does with an order that is not plain."""
    matcher = run.matcher
    matcher.events = log
    try:
        if item[0] == ACTION_PLACE:
            result = matcher.place(account, item, key)
        else:
            result = cancel(matcher, account, item[9], item[8])
    except Refused as refused:
        # A cancel by the owner's number is refused without it, as in a command.
        number = item[8] if item[0] == ACTION_PLACE else 0
        return refused_item(refused.reason, refused.field, number)
    matcher.flush_levels()
    return result


def any_item(chance: random.Random, key: int) -> Item:
    """Mostly a plain order or a cancel; sometimes with something odd about it."""
    if chance.random() < 0.3:
        by_key = chance.randrange(1, key + 1) if chance.random() < 0.7 else 0
        return (ACTION_CANCEL, 0, 0, 0, 0, 0, 0, 0, chance.randrange(30), by_key)
    odd = chance.random
    side = chance.choice((1, 2)) if odd() < 0.99 else chance.choice((0, 3))
    kind = 1 if odd() < 0.97 else chance.choice((0, 2, 7))
    tif = chance.choices((GTC, IOC, FOK, 0, 9), (60, 20, 10, 1, 1))[0]
    flags = POST_ONLY if odd() < 0.2 else 0
    market = 0 if odd() < 0.99 else 1
    price = chance.randint(95, 105) if odd() < 0.98 else chance.choice((0, -1, 100_001))
    lots = chance.randint(1, 20) if odd() < 0.98 else chance.choice((0, -3, 1_001))
    number = chance.randrange(30) if odd() < 0.5 else chance.choice((0, 0, 0, -5))
    return (ACTION_PLACE, side, kind, tif, flags, market, price, lots, number, 0)


def poor(run: MatcherRun) -> MatcherRun:
    """A run whose accounts soon have not enough."""
    for account in run.accounts:
        for cell in run.matcher.funds.cells(account.key, run.matcher.markets[0]):
            cell.available = MONEY_ATOMS
    return run


def state_of(run: MatcherRun) -> list[object]:
    """Everything in the book, and everybody's money."""
    market = run.matcher.markets[0]
    return [
        [encode_order(o) for side in (market.book.bids, market.book.asks) for o in queue(side)],
        [
            (cell.available, cell.held)
            for account in run.accounts[:ACCOUNTS]
            for cell in run.matcher.funds.cells(account.key, market)
        ],
        [(list(a.open_orders), list(a.client_orders)) for a in run.accounts[:ACCOUNTS]],
    ]


def queue(side: BookSide) -> list[Order]:
    return [order for level in side.levels.values() for order in level]


def test_both_ways_do_the_same() -> None:
    chance = random.Random(seed_of("tests/unit/core/test_plain.py"))
    one, other = poor(MatcherRun(None)), poor(MatcherRun(None))
    seen: Counter[object] = Counter()
    for key in range(1, COMMANDS + 1):
        if key % 500 == 0:
            status = chance.choice(list(MarketStatus)[:3]) if key % 1_000 else MarketStatus.OPEN
            for run in (one, other):
                run.matcher.markets[0].status = status
        if key % 10 == 0:
            most = chance.choice((0, 1, 2, 5, 10_000, 10_000))
            one.matcher.meetings_max = other.matcher.meetings_max = most
        owner, item = chance.randrange(ACCOUNTS), any_item(chance, key)
        log: list[Logged] = []
        longer: list[Logged] = []
        result = carry_out(one.matcher, one.accounts[owner], item, key, log)
        expected = long_way(other, other.accounts[owner], item, key, longer)
        assert (result, log) == (expected, longer), (key, item)
        assert one.matcher.spent == other.matcher.spent, (key, item)
        seen[result[6] or result[2]] += 1
        if key % 100 == 0:
            assert state_of(one) == state_of(other), key
    assert len(seen) > 12, seen


def test_what_is_plain_goes_that_way() -> None:
    run = MatcherRun(None)
    buy = (ACTION_PLACE, 1, 1, GTC, 0, 0, 100, 5, 0, 0)
    sell = (ACTION_PLACE, 2, 1, IOC, 0, 0, 100, 2, 7, 0)
    for key, item in ((1, buy), (2, sell)):
        assert plain.place(run.matcher, run.accounts[key], item, key) is not None
    gone = (ACTION_CANCEL, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    assert plain.cancel(run.matcher, run.accounts[1], gone) is not None
    kill = (ACTION_PLACE, 1, 1, FOK, 0, 0, 100, 5, 0, 0)
    refused = plain.place(run.matcher, run.accounts[3], kill, 3)
    assert refused is not None
    assert refused[6] == Reason.FILL_OR_KILL_UNFILLABLE
    post_only = (ACTION_PLACE, 1, 1, FOK, POST_ONLY, 0, 100, 5, 0, 0)
    assert plain.place(run.matcher, run.accounts[3], post_only, 4) is None
