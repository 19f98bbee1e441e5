"""Pegged orders, rule by rule of docs/reference/order-semantics.md."""

from __future__ import annotations

import pytest

from dexcore.events import OrderRepriced
from dexcore.items import FOK, IOC, PEG_MARKET, PEG_MIDPOINT, PEG_PRIMARY, TYPE_PEGGED
from dexcore.limits import FOLLOWERS_PER_ACCOUNT_MAX, FOLLOWERS_PER_MARKET_MAX
from dexcore.market import MarketStatus
from dexcore.results import OrderStatus, Outcome
from tests.unit.core.exchanges import BUY, SELL, amend, cancel, place, with_terms
from tests.unit.core.parked import (
    ends,
    held,
    key_of,
    pegged,
    phase,
    price_of,
    refusal,
    restart,
    stop,
    trades,
    world_at,
)


def repriced(outcome: Outcome) -> list[tuple[int, int]]:
    """(key, price) of each order that got another price."""
    return [
        (event.order_key, event.price_ticks)
        for event in outcome.events
        if isinstance(event, OrderRepriced)
    ]


@pytest.mark.parametrize(
    ("side", "peg", "offset", "price"),
    [
        (BUY, PEG_PRIMARY, 0, 90),
        (SELL, PEG_PRIMARY, 0, 101),
        (BUY, PEG_PRIMARY, -3, 87),
        (SELL, PEG_PRIMARY, 3, 104),
        # One increment outside the best on the other side.
        (BUY, PEG_MARKET, 0, 100),
        (SELL, PEG_MARKET, 0, 91),
        (BUY, PEG_MARKET, -4, 97),
        (SELL, PEG_MARKET, 4, 94),
        # The middle is 95.5.
        (BUY, PEG_MIDPOINT, 0, 95),
        (SELL, PEG_MIDPOINT, 0, 96),
        (BUY, PEG_MIDPOINT, -2, 93),
        (SELL, PEG_MIDPOINT, 2, 98),
    ],
)
def test_a_pegged_order_rests_where_its_reference_says(
    side: int, peg: int, offset: int, price: int
) -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 90), place(SELL, 101))
    limit = 150 if side == BUY else 50
    key = key_of(world, trader, pegged(side, peg, limit, offset))
    assert price_of(world, trader, key) == price
    # Its limit is never passed.
    inside = price - 1 if side == BUY else price + 1
    key = key_of(world, trader, pegged(side, peg, inside, offset))
    assert price_of(world, trader, key) == inside


def test_a_pegged_order_follows_and_loses_its_place() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    bid = key_of(world, other, place(BUY, 90))
    key = key_of(world, trader, pegged(BUY, PEG_PRIMARY, 150))
    behind = world.order(other, place(BUY, 92), place(BUY, 92))
    assert repriced(behind) == [(key, 92)]
    level = world.exchange.markets[0].book.bids.best
    assert level is not None
    keys = [order.key for order in level]
    # Behind both: it moved when their command was done.
    assert keys == [*[result.order_key for result in behind.items], key]
    outcome = world.order(other, *[cancel(result.order_key) for result in behind.items])
    assert repriced(outcome) == [(key, 90)]
    outcome = world.order(other, cancel(bid))
    assert repriced(outcome) == [(key, 0)], "without a reference it waits"
    assert price_of(world, trader, key) == 0
    assert repriced(world.order(other, place(BUY, 80))) == [(key, 80)]


def test_pegged_orders_do_not_follow_each_other() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 90), place(SELL, 100))
    key_of(world, trader, pegged(BUY, PEG_MARKET, 150))
    follows = key_of(world, trader, pegged(BUY, PEG_PRIMARY, 150))
    assert price_of(world, trader, follows) == 90, "it follows a pegged order"


def test_a_pegged_order_never_takes_not_even_from_one() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 90), place(SELL, 100))
    sell = key_of(world, other, pegged(SELL, PEG_MARKET, 50))
    assert price_of(world, other, sell) == 91
    buy = key_of(world, trader, pegged(BUY, PEG_MARKET, 150))
    assert price_of(world, trader, buy) == 90, "it stays below the best ask, pegged or not"
    outcome = world.order(other, place(BUY, 95, 20))
    # The buy took the pegged sell first; what it left is the best bid.
    assert trades(outcome) == [(91, 5)]
    assert price_of(world, trader, buy) == 99


def test_pegged_orders_are_priced_in_order_of_their_keys() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    first = key_of(world, trader, pegged(BUY, PEG_MIDPOINT, 150))
    second = key_of(world, trader, pegged(SELL, PEG_MIDPOINT, 50))
    world.order(other, place(BUY, 90))
    outcome = world.order(other, place(SELL, 100))
    # The middle is 95 for both; the first is there when the second is priced.
    assert repriced(outcome) == [(first, 95), (second, 96)]


def test_what_is_not_a_valid_price_waits() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 3))
    key = key_of(world, trader, pegged(BUY, PEG_PRIMARY, 150, offset=-3))
    assert price_of(world, trader, key) == 0
    world.order(other, place(BUY, 4))
    assert price_of(world, trader, key) == 1
    world.order(other, place(SELL, 999))
    key = key_of(world, trader, pegged(SELL, PEG_PRIMARY, 50, offset=2))
    assert price_of(world, trader, key) == 0


def test_a_pegged_order_holds_the_worth_of_its_limit() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]

    def need(lots: int, rate_ppm: int) -> int:
        notional_atoms = lots * 150 * 7
        return notional_atoms - (-notional_atoms * rate_ppm // 1_000_000)

    key_of(world, trader, pegged(BUY, PEG_PRIMARY, 150))
    assert held(world, trader) == need(5, 56_789), "while it waits it has no rate yet"
    world.order(other, place(BUY, 90, 1))
    assert held(world, trader) == need(5, 1_234), "resting, it can only be a maker"
    world.order(other, place(SELL, 90, 3))
    fee_atoms = -(-2 * 90 * 7 * 1_234 // 1_000_000)
    exact = need(3, 1_234)
    assert exact - fee_atoms <= held(world, trader) <= exact, "a better price frees money"


def test_pegged_orders_survive_a_restart() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    waits = key_of(world, trader, pegged(BUY, PEG_MIDPOINT, 150))
    world.order(other, place(BUY, 90))
    rests = key_of(world, trader, pegged(BUY, PEG_PRIMARY, 150))
    world = restart(world)
    assert repriced(world.order(other, place(BUY, 91))) == [(rests, 91)]
    assert repriced(world.order(other, place(SELL, 101))) == [(waits, 96)]


def test_pegged_orders_follow_in_an_open_market_only() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 90))
    key = key_of(world, trader, pegged(BUY, PEG_PRIMARY, 150))
    phase(world, MarketStatus.OPENING_AUCTION)
    refused = refusal(world, trader, pegged(BUY, PEG_PRIMARY, 150))
    assert refused == ("TIME_IN_FORCE_INVALID", "type")
    assert repriced(world.order(other, place(BUY, 92))) == []
    world = restart(world)
    assert repriced(phase(world, MarketStatus.OPEN)) == [(key, 92)]


def test_pegged_orders_move_when_a_command_is_done() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    bid = key_of(world, other, place(BUY, 98, 1))
    world.order(other, place(BUY, 90, 5))
    peg = key_of(world, other, pegged(BUY, PEG_PRIMARY, 150))
    key = key_of(world, trader, stop(SELL, 98, lots=2))
    outcome = world.order(world.traders[2], place(SELL, 98, 1))
    # What it followed is gone, and still the stop found it there.
    assert trades(outcome) == [(98, 1), (98, 2)]
    assert ends(outcome) == dict.fromkeys((bid, outcome.items[0].order_key, key), "FILLED")
    assert repriced(outcome) == [(peg, 90)]


def test_pegged_orders_do_not_follow_what_a_command_takes_back() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 90))
    key = key_of(world, trader, pegged(BUY, PEG_PRIMARY, 150))
    outcome = world.order(other, place(BUY, 95, client_id=7), cancel(client_id=7))
    assert repriced(outcome) == []
    assert price_of(world, trader, key) == 90


def test_changes_of_a_pegged_order() -> None:
    world = world_at(0)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 90))
    key = key_of(world, trader, pegged(BUY, PEG_PRIMARY, 150))
    world.order(other, place(BUY, 90))
    queue = world.exchange.markets[0].book.bids.best
    assert queue is not None
    place_before = [order.key for order in queue].index(key)
    world.order(trader, amend(3, order_key=key))
    assert [order.key for order in queue].index(key) == place_before, "smaller keeps the place"
    [result] = world.order(trader, amend(3, 85, order_key=key)).items
    assert (result.status, price_of(world, trader, key)) == (OrderStatus.OPEN, 85)
    [result] = world.order(trader, amend(3, 120, order_key=key)).items
    assert price_of(world, trader, key) == 90
    assert [order.key for order in queue][-1] == key


def test_terms_that_a_pegged_order_cannot_have() -> None:
    world = world_at(0)
    trader = world.traders[0]
    for offset, side, reason in ((1, BUY, "FIELD_INVALID"), (-1, SELL, "FIELD_INVALID")):
        item = pegged(side, PEG_PRIMARY, 100, offset)
        assert refusal(world, trader, item) == (reason, "peg_offset_ticks")
    wide = place(BUY, 100, 10, order_type=TYPE_PEGGED, market=1)
    expected = ("PRICE_OFF_TICK", "peg_offset_ticks")
    assert refusal(world, trader, with_terms(wide, peg=1, peg_offset_ticks=-3)) == expected
    assert refusal(world, trader, pegged(BUY, 0, 100)) == ("FIELD_INVALID", "peg")
    assert refusal(world, trader, pegged(BUY, 4, 100)) == ("FIELD_INVALID", "peg")
    assert refusal(world, trader, pegged(BUY, PEG_PRIMARY, 0)) == (
        "PRICE_OUT_OF_RANGE",
        "price_ticks",
    )
    for tif in (IOC, FOK):
        item = with_terms(place(BUY, 100, 5, order_type=TYPE_PEGGED, tif=tif), peg=1)
        assert refusal(world, trader, item) == ("TIME_IN_FORCE_INVALID", "time_in_force")


def test_a_market_keeps_so_many_pegged_orders() -> None:
    world = world_at(0)
    for _ in range(FOLLOWERS_PER_MARKET_MAX // FOLLOWERS_PER_ACCOUNT_MAX):
        trader = world.open_account(10**6)
        items = [pegged(BUY, PEG_PRIMARY, 100, lots=1)] * FOLLOWERS_PER_ACCOUNT_MAX
        results = world.order(trader, *items).items
        assert {result.status for result in results} == {OrderStatus.PARKED}
    refused = refusal(world, world.traders[0], pegged(SELL, PEG_PRIMARY, 100))
    assert refused == ("TOO_MANY_PARKED", "")


def test_an_account_keeps_so_many_pegged_orders_in_a_market() -> None:
    world = world_at(0)
    trader = world.traders[0]
    world.order(trader, *[pegged(BUY, PEG_PRIMARY, 100, lots=1)] * FOLLOWERS_PER_ACCOUNT_MAX)
    assert refusal(world, trader, pegged(SELL, PEG_PRIMARY, 100)) == ("TOO_MANY_PARKED", "")
    key_of(world, world.traders[1], pegged(SELL, PEG_PRIMARY, 100))
