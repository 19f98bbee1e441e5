"""Mass cancels by account, market and side, and batches in phases."""

from __future__ import annotations

from dexcore.commands import CAUSE_DISCONNECT, CAUSE_OPERATOR, MassCancel, SetMarketStatus
from dexcore.events import ItemRefused, MassCancelled, OrderAccepted, OrderAmended, OrderClosed
from dexcore.items import ACTION_CANCEL_ALL, NO_MARKET, Item
from dexcore.market import MarketStatus
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SELL,
    Trader,
    World,
    amend,
    cancel,
    place,
    small_world,
)


def all_of(market: int = NO_MARKET, side: int = 0) -> Item:
    return (ACTION_CANCEL_ALL, side, 0, 0, 0, market, 0, 0, 0, 0)


def quoting_world() -> tuple[World, dict[Trader, list[int]]]:
    """Two traders with a bid and an ask in each of two markets."""
    world = small_world()
    keys: dict[Trader, list[int]] = {}
    for away, trader in enumerate(world.traders[:2]):
        outcome = world.order(
            trader,
            *(place(BUY, 90 - away, 10), place(SELL, 110 + away, 10)),
            *(place(BUY, 90, 10, market=2), place(SELL, 110, 10, market=2)),
        )
        keys[trader] = [result.order_key for result in outcome.items]
    return world, keys


def cancelled(outcome: Outcome) -> list[int]:
    return [event.order_key for event in outcome.events if isinstance(event, OrderClosed)]


def test_all_of_a_market_and_a_side() -> None:
    world, keys = quoting_world()
    trader = world.traders[0]
    mine = keys[trader]
    assert cancelled(world.order(trader, all_of(2, SELL))) == [mine[3]]
    assert cancelled(world.order(trader, all_of(side=BUY))) == [mine[0], mine[2]]
    assert cancelled(world.order(trader, all_of())) == [mine[1]]
    [result] = world.order(trader, all_of(side=3)).items
    assert (result.reason, result.field) == (Reason.FIELD_INVALID, "side")


def test_an_operator_cancels_for_anybody() -> None:
    world, keys = quoting_world()
    first, second = world.traders[:2]
    one = world.do(MassCancel(OPERATOR, first.account_key, 0, BUY, CAUSE_OPERATOR))
    assert (cancelled(one), one.counts) == (keys[first][:1], (1, 0))
    asks = world.do(MassCancel(OPERATOR, 0, 2, SELL, CAUSE_OPERATOR))
    assert cancelled(asks) == [keys[first][3], keys[second][3]]
    rest = world.do(MassCancel(OPERATOR, 0, NO_MARKET, 0, CAUSE_OPERATOR))
    assert rest.events[5] == MassCancelled(0, NO_MARKET, 0, CAUSE_OPERATOR, 5)
    assert not any(account.open_orders for account in world.exchange.accounts.by_key.values())
    world.exchange.ledger.audit()


def test_only_an_operator_cancels_in_a_halt() -> None:
    world, keys = quoting_world()
    trader = world.traders[0]
    world.do(SetMarketStatus(OPERATOR, 0, MarketStatus.HALTED))
    left = world.do(MassCancel("", trader.account_key, NO_MARKET, 0, CAUSE_DISCONNECT))
    assert cancelled(left) == keys[trader][2:]
    halted = world.do(MassCancel(OPERATOR, 0, 0, 0, CAUSE_OPERATOR))
    assert len(cancelled(halted)) == 4


def test_a_mass_cancel_must_make_sense() -> None:
    world, _ = quoting_world()
    account_key = world.traders[0].account_key
    for fields, wanted in (
        ((99, NO_MARKET, 0, CAUSE_OPERATOR), ("UNKNOWN_ACCOUNT", "account_id")),
        ((0, NO_MARKET, 0, CAUSE_DISCONNECT), ("UNKNOWN_ACCOUNT", "account_id")),
        ((account_key, 9, 0, CAUSE_OPERATOR), ("UNKNOWN_MARKET", "market_id")),
        ((account_key, -1, 0, CAUSE_OPERATOR), ("UNKNOWN_MARKET", "market_id")),
        ((account_key, 0, 3, CAUSE_OPERATOR), ("FIELD_INVALID", "side")),
        ((account_key, 0, 0, 3), ("FIELD_INVALID", "cause")),
    ):
        outcome = world.do(MassCancel(OPERATOR, *fields))
        assert (outcome.reason.name, outcome.field) == wanted


def test_phases_put_cancels_before_amends_before_makers_before_takers() -> None:
    world = small_world()
    trader, other = world.traders[:2]
    world.order(other, place(SELL, 105, 5))
    kept, dropped = (
        result.order_key
        for result in world.order(trader, place(BUY, 95, 5), place(BUY, 94, 5)).items
    )
    outcome = world.order(
        trader,
        place(BUY, 105, 5),
        place(SELL, 106, 5, post_only=True),
        amend(4, order_key=kept),
        cancel(order_key=dropped),
        cancel(order_key=1),
        phased=True,
    )
    kinds = (OrderClosed, ItemRefused, OrderAmended, OrderAccepted)
    steps = [event for event in outcome.events if isinstance(event, kinds)]
    assert [type(event).__name__ for event in steps] == [
        *("OrderClosed", "ItemRefused", "OrderAmended", "OrderAccepted", "OrderAccepted"),
        *("OrderClosed", "OrderClosed"),
    ]
    first_key = outcome.sequence * 4_096
    # Results stand as sent, and keys count as sent.
    assert [(result.status, result.order_key) for result in outcome.items] == [
        (OrderStatus.FILLED, first_key),
        (OrderStatus.OPEN, first_key + 1),
        (OrderStatus.OPEN, kept),
        (OrderStatus.CANCELLED, dropped),
        (OrderStatus.REJECTED, 0),
    ]
    assert steps[3][0] == first_key + 1


def test_without_phases_items_go_as_sent() -> None:
    world = small_world(traders=1)
    trader = world.traders[0]
    [resting] = world.order(trader, place(SELL, 100, 5)).items
    items = (place(BUY, 100, 5), cancel(order_key=resting.order_key))
    taken = world.order(trader, *items)
    assert taken.items[1].reason == Reason.UNKNOWN_ORDER
    [resting] = world.order(trader, place(SELL, 100, 5)).items
    items = (place(BUY, 100, 5), cancel(order_key=resting.order_key))
    phased = world.order(trader, *items, phased=True)
    assert [result.status for result in phased.items] == [OrderStatus.OPEN, OrderStatus.CANCELLED]
