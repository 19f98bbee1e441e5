"""Pairs of orders of which one cancels the other."""

from __future__ import annotations

import pytest

from dexcore.items import FOK, IOC, STP_DECREMENT, TYPE_MARKET
from dexcore.market import MarketStatus
from dexcore.reasons import Reason
from dexcore.results import OrderStatus
from tests.unit.core.exchanges import (
    BUY,
    SELL,
    Trader,
    WithTerms,
    World,
    amend,
    cancel,
    cancel_all,
    place,
    with_terms,
)
from tests.unit.core.parked import (
    ends,
    held,
    pair,
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


def placed(world: World, trader: Trader, *items: object) -> tuple[int, int]:
    """Keys of a pair that is taken in: the limit's and the stop's."""
    limit, second = world.order(trader, *items).items  # type: ignore[arg-type]
    assert (limit.status, second.status) == (OrderStatus.OPEN, OrderStatus.PARKED)
    return limit.order_key, second.order_key


def bracket(world: World, trader: Trader) -> tuple[int, int]:
    """Sell ten at 110, or when 95 trades."""
    return placed(world, trader, *pair(place(SELL, 110, 10), stop(SELL, 95, lots=10)))


def open_keys(world: World, trader: Trader) -> list[int]:
    return list(world.exchange.accounts.by_key[trader.account_key].open_orders)


def test_a_pair_holds_the_larger_worst_case_once() -> None:
    world = world_at(100)
    seller, buyer = world.traders[:2]
    bracket(world, seller)
    assert held(world, seller, "AAA") == 10 * 1_000
    limit, second = placed(world, buyer, *pair(place(BUY, 90, 10), stop(BUY, 105, lots=10)))
    notional_atoms = 10 * 115 * 7
    assert held(world, buyer) == notional_atoms - (-notional_atoms * 56_789 // 1_000_000)
    world = restart(world)
    world.order(buyer, cancel(second))
    notional_atoms = 10 * 90 * 7
    assert held(world, buyer) == notional_atoms - (-notional_atoms * 1_234 // 1_000_000)
    assert open_keys(world, buyer) == [limit], "the end of the stop leaves the limit"


def test_the_first_fill_of_the_limit_cancels_the_stop() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    limit, second = bracket(world, trader)
    world = restart(world)
    outcome = world.order(other, place(BUY, 110, 1))
    assert ends(outcome).get(second) == "CANCELLED", "both legs stay after a fill"
    assert open_keys(world, trader) == [limit]
    assert held(world, trader, "AAA") == 9 * 1_000


def test_the_end_of_the_limit_cancels_the_stop() -> None:
    world = world_at(100)
    trader = world.traders[0]
    limit, second = bracket(world, trader)
    outcome = world.order(trader, cancel(limit))
    assert ends(outcome) == {limit: "CANCELLED", second: "CANCELLED"}
    assert held(world, trader, "AAA") == 0
    limit, second = bracket(world, trader)
    assert ends(world.order(trader, cancel_all())) == {limit: "CANCELLED", second: "CANCELLED"}


def test_the_trigger_of_the_stop_cancels_the_limit() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 93, 20))
    limit, second = bracket(world, trader)
    outcome = trade(world, 95)
    assert triggered(outcome) == [second]
    assert ends(outcome)[limit] == "CANCELLED", "both legs of a pair trade"
    assert trades(outcome) == [(95, 1), (93, 10)]
    assert held(world, trader, "AAA") == 0


def test_a_step_that_fills_the_limit_does_not_trigger_the_stop() -> None:
    """A buy that sweeps from 95 to 110 reaches both: the limit traded, so the stop is gone."""
    world = world_at(100)
    trader, other, third = world.traders[:3]
    limit, second = bracket(world, trader)
    world.order(other, place(SELL, 95, 1))
    outcome = world.order(third, place(BUY, 110, 5))
    assert (ends(outcome)[second], triggered(outcome)) == ("CANCELLED", [])
    assert open_keys(world, trader) == [limit]


def test_a_triggered_buy_holds_its_own_worst_case() -> None:
    world = world_at(100)
    trader = world.traders[0]
    placed(world, trader, *pair(place(BUY, 90, 10), stop_limit(BUY, 105, 108, lots=10)))
    outcome = trade(world, 105)
    assert len(triggered(outcome)) == 1
    notional_atoms = 10 * 108 * 7
    assert held(world, trader) == notional_atoms - (-notional_atoms * 1_234 // 1_000_000)


def test_a_decremented_limit_leaves_the_stop_what_it_needs() -> None:
    world = world_at(100)
    trader = world.traders[0]
    placed(world, trader, *pair(place(SELL, 110, 10), stop(SELL, 95, lots=10)))
    taker = with_terms(place(BUY, 110, 4, tif=IOC), stp=STP_DECREMENT)
    world.order(trader, taker)
    assert held(world, trader, "AAA") == 10 * 1_000
    trade(world, 95)
    assert held(world, trader, "AAA") == 0


def test_the_uncross_fills_a_leg_like_any_order() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    phase(world, MarketStatus.OPENING_AUCTION)
    limit, second = placed(world, trader, *pair(place(BUY, 105, 10), stop(BUY, 120, lots=10)))
    world.order(other, place(SELL, 101, 4))
    outcome = phase(world, MarketStatus.OPEN)
    assert trades(outcome) == [(101, 4)]
    assert ends(outcome)[second] == "CANCELLED"
    assert open_keys(world, trader) == [limit]


def test_legs_refuse_changes() -> None:
    world = world_at(100)
    trader = world.traders[0]
    for key in bracket(world, trader):
        assert refusal(world, trader, amend(5, order_key=key)) == ("OCO_BROKEN", "oco")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Not a limit that rests whole.
        (place(SELL, 110, 10, tif=IOC), stop(SELL, 95, lots=10)),
        (place(SELL, 0, 10, order_type=TYPE_MARKET, tif=FOK), stop(SELL, 95, lots=10)),
        (place(SELL, 100, 10), stop(SELL, 95, lots=10)),
        # Not of one side, market or quantity.
        (place(BUY, 90, 10), stop(SELL, 95, lots=10)),
        (place(SELL, 110, 10), stop(SELL, 95, lots=9)),
        (place(SELL, 110, 10, market=2), stop(SELL, 95, lots=10)),
        # Not a stop.
        (place(SELL, 110, 10), with_terms(place(SELL, 120, 10))),
        # Refused, or nothing that was placed.
        (place(SELL, 110, 0), stop(SELL, 95, lots=10)),
        (cancel(1), stop(SELL, 95, lots=10)),
    ],
)
def test_what_is_no_pair(first: tuple[int, ...], second: WithTerms) -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    world.order(other, place(BUY, 100, 1))
    limit, leg = world.order(trader, *pair(first, second)).items
    assert (leg.reason, leg.field) == (Reason.OCO_BROKEN, "oco")
    if limit.status == OrderStatus.OPEN:
        assert open_keys(world, trader)[0] == limit.order_key, "the first stays by itself"


def test_a_refused_stop_leaves_the_limit_by_itself() -> None:
    world = world_at(100)
    trader = world.traders[0]
    limit, leg = world.order(trader, *pair(place(SELL, 110, 10), stop(SELL, 100, lots=10))).items
    assert (limit.status, leg.status) == (OrderStatus.OPEN, OrderStatus.REJECTED)
    [result] = world.order(trader, amend(5, order_key=limit.order_key)).items
    assert result.status == OrderStatus.OPEN


def test_a_trailing_stop_may_be_the_leg_and_a_pair_takes_no_third() -> None:
    world = world_at(100)
    trader = world.traders[0]
    first, second = pair(place(SELL, 110, 10), trailing(SELL, 5, lots=10))
    third = pair(place(SELL, 110, 10), stop(SELL, 90, lots=10))[1]
    outcome = world.order(trader, first, second, third)
    assert [result.status for result in outcome.items] == [
        OrderStatus.OPEN,
        OrderStatus.PARKED,
        OrderStatus.REJECTED,
    ]
