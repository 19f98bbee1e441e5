"""Stops, stop limits and trailing stops, rule by rule of docs/reference/order-semantics.md."""

from __future__ import annotations

import pytest

from dexcore.items import FOK, IOC, TYPE_STOP, TYPE_STOP_LIMIT
from dexcore.limits import FOLLOWERS_PER_ACCOUNT_MAX, FOLLOWERS_PER_MARKET_MAX
from dexcore.market import MarketStatus
from dexcore.results import OrderStatus
from tests.unit.core.exchanges import (
    BUY,
    SELL,
    WithTerms,
    amend,
    cancel,
    place,
    small_world,
    with_terms,
)
from tests.unit.core.parked import (
    ends,
    held,
    key_of,
    phase,
    refusal,
    restart,
    stop,
    stop_limit,
    trade,
    trades,
    trailing,
    triggered,
    world_at,
)


def test_a_stop_triggers_when_its_trigger_is_reached_and_not_before() -> None:
    for side, near, reached in ((BUY, 104, 105), (SELL, 96, 95)):
        world = world_at(100)
        key = key_of(world, world.traders[0], stop(side, reached))
        assert triggered(trade(world, near)) == [], "it triggers before its trigger"
        assert triggered(trade(world, reached)) == [key], "a touched stop does not trigger"


def test_a_step_triggers_by_its_highest_and_lowest_price() -> None:
    world = world_at(100)
    high = key_of(world, world.traders[0], stop(BUY, 104))
    low = key_of(world, world.traders[0], stop(SELL, 97))
    # One step that sells down: its last trade alone would trigger the sell stop only.
    assert triggered(trade(world, 104, 100, 97)) == [high, low]


def test_a_triggered_stop_takes_inside_its_band_and_expires() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    world.order(other, place(SELL, 115, 3), place(SELL, 116, 9))
    key = key_of(world, trader, stop(BUY, 105))
    outcome = trade(world, 105)
    assert (115, 3) in trades(outcome), "105 and a band of 10 reach 115"
    assert ends(outcome)[key] == "EXPIRED", "what a stop leaves expires"
    assert held(world, trader) == 0


def test_a_sell_stop_is_priced_at_one_increment_at_least() -> None:
    world = world_at(5)
    other = world.traders[1]
    world.order(other, place(BUY, 1, 2))
    key = key_of(world, world.traders[0], stop(SELL, 3))
    outcome = trade(world, 3)
    assert triggered(outcome) == [key]
    assert (1, 2) in trades(outcome)


def test_a_stop_reserves_for_its_trigger_and_the_band() -> None:
    world = world_at(100)
    trader = world.traders[0]
    key = key_of(world, trader, stop(BUY, 105, lots=5))
    notional_atoms = 5 * 115 * 7
    fee_atoms = -(-notional_atoms * 56_789 // 1_000_000)
    assert held(world, trader) == notional_atoms + fee_atoms
    assert world.order(trader, cancel(key)).items[0].status == OrderStatus.CANCELLED
    assert held(world, trader) == 0


def test_a_stop_limit_rests_at_its_limit() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    world.order(other, place(SELL, 106, 2))
    key = key_of(world, trader, stop_limit(BUY, 105, 107))
    outcome = trade(world, 105)
    assert trades(outcome) == [(105, 1), (106, 2)]
    order = world.exchange.accounts.by_key[trader.account_key].open_orders[key]
    assert (order.level is not None, order.price_ticks, order.open_lots) == (True, 107, 3)


@pytest.mark.parametrize(("tif", "end"), [(IOC, "EXPIRED"), (FOK, "EXPIRED")])
def test_a_stop_limit_has_its_time_in_force_when_it_runs(tif: int, end: str) -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    world.order(other, place(SELL, 106, 2))
    key = key_of(world, trader, stop_limit(BUY, 105, 107, tif=tif))
    outcome = trade(world, 105)
    assert trades(outcome) == [(105, 1)] + [(106, 2)] * (tif == IOC)
    assert ends(outcome)[key] == end


def test_stops_run_one_after_the_other_in_order_of_keys() -> None:
    """Each is a step that may trigger more, and of all that are due the smallest key is next."""
    world = world_at(100)
    trader, other = world.traders[:2]
    world.order(other, place(SELL, 106, 5), place(SELL, 108, 5), place(SELL, 109, 5))
    first = key_of(world, trader, stop(BUY, 106))
    second = key_of(world, trader, stop(BUY, 105))
    third = key_of(world, trader, stop(BUY, 103))
    outcome = trade(world, 105)
    # The second took 106, which triggered the first.
    assert triggered(outcome) == [second, first, third]
    assert trades(outcome) == [(105, 1), (106, 5), (108, 5), (109, 5)]


def test_a_stop_that_the_last_price_reaches_is_refused() -> None:
    world = world_at(100)
    trader = world.traders[0]
    expected = ("STOP_WOULD_TRIGGER", "trigger_price_ticks")
    for item in (stop(BUY, 100), stop(SELL, 100), stop_limit(BUY, 99, 105)):
        assert refusal(world, trader, item) == expected
    key_of(world, trader, stop(BUY, 101))
    key_of(world, trader, stop(SELL, 99))


def test_a_trailing_stop_follows_the_price_and_never_back() -> None:
    for side, away, back, reached in ((SELL, 110, 104, 103), (BUY, 90, 96, 97)):
        world = world_at(100)
        key = key_of(world, world.traders[0], trailing(side, 7))
        assert triggered(trade(world, away)) == []
        assert triggered(trade(world, back)) == []
        world = restart(world)
        assert triggered(trade(world, reached)) == [key], "it forgot what it has seen"


def test_a_trailing_mark_moves_after_the_check_of_its_step() -> None:
    """Else the step's own high would trigger it by the step's own low."""
    world = world_at(100)
    key = key_of(world, world.traders[0], trailing(SELL, 7))
    assert triggered(trade(world, 105, 97)) == [], "97 is below 105 - 7, and above 100 - 7"
    assert triggered(trade(world, 98)) == [key], "the mark did not move"


def test_a_trailing_trigger_that_is_not_positive_waits() -> None:
    world = world_at(5)
    key = key_of(world, world.traders[0], trailing(SELL, 8))
    assert triggered(trade(world, 1)) == []
    trade(world, 20)
    assert triggered(trade(world, 12)) == [key]


def test_what_a_stop_needs_of_its_market() -> None:
    world = world_at(0, band_ticks=0)
    trader = world.traders[0]
    assert refusal(world, trader, stop(BUY, 105)) == ("PROTECTION_REQUIRED", "type")
    assert refusal(world, trader, trailing(BUY, 5)) == ("PROTECTION_REQUIRED", "type")
    key_of(world, trader, stop_limit(BUY, 105, 105))
    world = world_at(0)
    assert refusal(world, world.traders[0], trailing(BUY, 5)) == ("NO_REFERENCE_PRICE", "type")
    key_of(world, world.traders[0], stop(BUY, 105))


def test_terms_that_a_stop_cannot_have() -> None:
    world = world_at(100)
    trader = world.traders[0]
    item = place(BUY, 0, 5, order_type=TYPE_STOP)
    for terms, expected in (
        ({}, ("PRICE_OUT_OF_RANGE", "trigger_price_ticks")),
        ({"trigger_price_ticks": -1}, ("PRICE_OUT_OF_RANGE", "trigger_price_ticks")),
        ({"trigger_price_ticks": 105, "trail_ticks": 1}, ("FIELD_INVALID", "trail_ticks")),
        ({"trigger_price_ticks": 105, "display_lots": 1}, ("FIELD_INVALID", "display_lots")),
        ({"trigger_price_ticks": 105, "min_lots": 1}, ("FIELD_INVALID", "min_lots")),
        ({"trigger_price_ticks": 105, "peg": 1}, ("FIELD_INVALID", "peg")),
    ):
        assert refusal(world, trader, with_terms(item, **terms)) == expected
    priced = place(BUY, 101, 5, order_type=TYPE_STOP)
    expected = ("FIELD_INVALID", "price_ticks")
    assert refusal(world, trader, with_terms(priced, trigger_price_ticks=105)) == expected
    for tif in (IOC, FOK):
        expected = ("TIME_IN_FORCE_INVALID", "time_in_force")
        assert refusal(world, trader, stop(BUY, 105, tif=tif)) == expected
    limited = place(BUY, 105, 5, order_type=TYPE_STOP_LIMIT, post_only=True)
    expected = ("FIELD_INVALID", "post_only")
    assert refusal(world, trader, with_terms(limited, trigger_price_ticks=105)) == expected


def test_a_market_keeps_so_many_trailing_stops() -> None:
    world = world_at(100)
    for _ in range(FOLLOWERS_PER_MARKET_MAX // FOLLOWERS_PER_ACCOUNT_MAX):
        trader = world.open_account(10**6)
        outcome = world.order(trader, *[trailing(SELL, 7, lots=1)] * FOLLOWERS_PER_ACCOUNT_MAX)
        assert {result.status for result in outcome.items} == {OrderStatus.PARKED}
    assert refusal(world, world.traders[0], trailing(SELL, 7)) == ("TOO_MANY_PARKED", "")
    key_of(world, world.traders[0], stop(SELL, 90))
    # Those that are left after one is gone are the account's own.
    assert refusal(world, trader, trailing(SELL, 7)) == ("TOO_MANY_PARKED", "")
    world.order(trader, cancel(outcome.items[0].order_key))
    key_of(world, trader, trailing(SELL, 7))


def test_an_account_keeps_so_many_trailing_stops_in_a_market() -> None:
    world = world_at(100)
    trader = world.traders[0]
    world.order(trader, *[trailing(SELL, 7, lots=1)] * FOLLOWERS_PER_ACCOUNT_MAX)
    assert refusal(world, trader, trailing(SELL, 7)) == ("TOO_MANY_PARKED", "")
    key_of(world, world.traders[1], trailing(SELL, 7))


def test_stops_wait_while_the_market_is_not_open() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 95, 5))
    key = key_of(world, trader, stop(SELL, 96))
    phase(world, MarketStatus.CLOSING_AUCTION)
    world.order(world.traders[2], place(SELL, 95, 1))
    outcome = phase(world, MarketStatus.CLOSED)
    assert (trades(outcome), triggered(outcome)) == ([(95, 1)], []), "it triggers while closed"
    phase(world, MarketStatus.OPEN)
    assert triggered(trade(world, 96)) == [key]


def change_trigger(item: tuple[int, ...], trigger: int) -> WithTerms:
    return with_terms(item, trigger_price_ticks=trigger)


def test_a_parked_stop_is_changed_in_place() -> None:
    world = world_at(100)
    trader = world.traders[0]
    key = key_of(world, trader, stop(BUY, 105))
    outcome = world.order(trader, change_trigger(amend(3, order_key=key), 110))
    assert [result.status for result in outcome.items] == [OrderStatus.PARKED]
    notional_atoms = 3 * 120 * 7
    assert held(world, trader) == notional_atoms - (-notional_atoms * 56_789 // 1_000_000)
    world = restart(world)
    assert triggered(trade(world, 109)) == []
    assert triggered(trade(world, 110)) == [key]


def test_changes_that_a_stop_refuses() -> None:
    world = world_at(100)
    trader = world.traders[0]
    plain = key_of(world, trader, place(BUY, 90))
    key = key_of(world, trader, stop(BUY, 105))
    follows = key_of(world, trader, trailing(BUY, 5))
    for item, expected in (
        (change_trigger(amend(5, order_key=key), 100), "STOP_WOULD_TRIGGER"),
        (change_trigger(amend(5, order_key=follows), 110), "FIELD_INVALID"),
        (change_trigger(amend(5, order_key=plain), 110), "FIELD_INVALID"),
        (change_trigger(amend(5, order_key=key), 1_001), "PRICE_OUT_OF_RANGE"),
    ):
        assert refusal(world, trader, item) == (expected, "trigger_price_ticks")
    assert refusal(world, trader, amend(5, 101, order_key=key)) == ("FIELD_INVALID", "price_ticks")
    said = with_terms(amend(5, order_key=key), display_lots=1)
    assert refusal(world, trader, said) == ("FIELD_INVALID", "terms")
    before = held(world, trader)
    world.order(trader, change_trigger(amend(5 * 10**6, order_key=key), 110))
    assert held(world, trader) == before, "a refused change leaves something"
    assert triggered(trade(world, 105)) == [key, follows]


def test_a_preview_of_a_stop_takes_nothing() -> None:
    world = world_at(100)
    trader = world.traders[0]
    world.order(world.traders[1], place(SELL, 101, 5))
    item, terms = stop(BUY, 105)
    _, atoms, lots, notional_atoms = world.exchange.preview(trader.account_key, item, terms)
    assert (lots, notional_atoms) == (0, 0)
    key_of(world, trader, WithTerms(item, terms))
    assert held(world, trader) == atoms


def test_a_market_without_stops_keeps_nothing_of_them() -> None:
    world = small_world()
    world.order(world.traders[0], place(SELL, 100, 5))
    assert world.exchange.markets[0].waiting is None
