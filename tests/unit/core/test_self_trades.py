"""Self-trade prevention: four modes, by account or group, chosen by the order that comes in."""

from __future__ import annotations

import pytest

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import SetStpGroup
from dexcore.events import OrderClosed, SelfTradePrevented, Trade
from dexcore.items import (
    FOK,
    IOC,
    STP_CANCEL_BOTH,
    STP_CANCEL_NEWEST,
    STP_CANCEL_OLDEST,
    STP_DECREMENT,
    STP_NONE,
)
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SELL,
    Trader,
    World,
    amend,
    place,
    small_world,
    with_terms,
)

MODES = (STP_CANCEL_NEWEST, STP_CANCEL_OLDEST, STP_CANCEL_BOTH, STP_DECREMENT)


def trades(outcome: Outcome) -> list[int]:
    """Lots of each trade."""
    return [event.quantity_lots for event in outcome.events if isinstance(event, Trade)]


def prevented(outcome: Outcome) -> list[tuple[int, int]]:
    """(taker's lots, maker's lots) of each self-trade that was prevented."""
    return [event[6:8] for event in outcome.events if isinstance(event, SelfTradePrevented)]


def closed(outcome: Outcome) -> list[tuple[int, str, int, int]]:
    """(order key, status, filled, remaining) of what ended."""
    return [
        (event.order_key, OrderStatus(event.status).name, event.filled_lots, event.remaining_lots)
        for event in outcome.events
        if isinstance(event, OrderClosed)
    ]


def rest(world: World, trader: Trader, lots: int, price: int = 100) -> int:
    """Rest a sell and return its key."""
    return world.order(trader, place(SELL, price, lots)).items[0].order_key


def held(world: World, trader: Trader) -> int:
    """Atoms held in all assets."""
    cells = world.exchange.ledger.cells[trader.account_key].values()
    return sum(cell.held for cell in cells)


def test_without_a_mode_an_account_trades_with_itself() -> None:
    world = small_world()
    rest(world, world.traders[0], 5)
    outcome = world.order(world.traders[0], with_terms(place(BUY, 100, 5), stp=STP_NONE))
    assert trades(outcome) == [5]


def test_no_mode_lets_an_owner_trade_with_itself() -> None:
    for mode in MODES:
        world = small_world()
        mine, other = world.traders[:2]
        rest(world, mine, 5)
        rest(world, other, 5)
        outcome = world.order(mine, with_terms(place(BUY, 100, 20), stp=mode))
        both = [event[6:10] for event in outcome.events if isinstance(event, Trade)]
        assert all(maker != taker for *_, maker, taker in both), "an owner traded with itself"


def test_cancel_newest_ends_what_came_in() -> None:
    world = small_world()
    mine, other = world.traders[:2]
    rest(world, other, 3)
    resting = rest(world, mine, 5)
    rest(world, other, 7)
    outcome = world.order(mine, with_terms(place(BUY, 100, 10), stp=STP_CANCEL_NEWEST))
    [result] = outcome.items
    assert (trades(outcome), prevented(outcome)) == ([3], [(7, 0)])
    assert (result.status, result.filled_lots, result.remaining_lots) == (
        OrderStatus.CANCELLED,
        3,
        7,
    )
    assert resting in world.exchange.accounts.by_key[mine.account_key].open_orders
    assert held(world, mine) == 5 * 1_000


def test_cancel_oldest_ends_what_rests() -> None:
    world = small_world()
    mine, other = world.traders[:2]
    resting = rest(world, mine, 5)
    rest(world, other, 7)
    outcome = world.order(mine, with_terms(place(BUY, 100, 10), stp=STP_CANCEL_OLDEST))
    [result] = outcome.items
    assert (trades(outcome), prevented(outcome)) == ([7], [(0, 5)])
    assert (result.status, result.filled_lots, result.remaining_lots) == (
        OrderStatus.PARTIALLY_FILLED,
        7,
        3,
    )
    assert (resting, "CANCELLED", 0, 5) in closed(outcome)


def test_cancel_both_ends_both() -> None:
    world = small_world()
    mine, other = world.traders[:2]
    resting = rest(world, mine, 5)
    rest(world, other, 7)
    outcome = world.order(mine, with_terms(place(BUY, 100, 10), stp=STP_CANCEL_BOTH))
    assert (trades(outcome), prevented(outcome)) == ([], [(10, 5)])
    taken = outcome.items[0].order_key
    assert closed(outcome) == [(resting, "CANCELLED", 0, 5), (taken, "CANCELLED", 0, 10)]
    assert held(world, mine) == 0


@pytest.mark.parametrize("side", [BUY, SELL])
def test_decrement_takes_the_smaller_off_both(side: int) -> None:
    world = small_world()
    mine, other = world.traders[:2]
    away = BUY + SELL - side
    small = world.order(mine, place(away, 100, 5)).items[0].order_key
    world.order(other, place(away, 100, 2))
    large = world.order(mine, place(away, 100, 9)).items[0].order_key
    outcome = world.order(mine, with_terms(place(side, 100, 10), stp=STP_DECREMENT))
    [result] = outcome.items
    assert (trades(outcome), prevented(outcome)) == ([2], [(5, 5), (3, 3)])
    of_mine = [row for row in closed(outcome) if row[1] != "FILLED"]
    assert of_mine == [(small, "CANCELLED", 0, 0), (result.order_key, "CANCELLED", 2, 0)]
    left = world.exchange.accounts.by_key[mine.account_key].open_orders[large]
    assert (left.open_lots, left.quantity_lots) == (6, 6)
    assert held(world, mine) == left.reserved_atoms


def test_a_decremented_order_rests_with_what_it_needs() -> None:
    for side in (BUY, SELL):
        world = small_world()
        mine = world.traders[0]
        world.order(mine, place(BUY + SELL - side, 100, 4))
        outcome = world.order(mine, with_terms(place(side, 100, 10), stp=STP_DECREMENT))
        [result] = outcome.items
        assert (result.status, result.remaining_lots) == (OrderStatus.OPEN, 6)
        plain = small_world()
        plain.order(plain.traders[0], place(side, 100, 6))
        assert held(world, mine) == held(plain, plain.traders[0])


def test_a_group_is_one_owner() -> None:
    world = small_world()
    first, second, stranger = world.traders
    for trader in (first, second):
        world.do(SetStpGroup(OPERATOR, trader.account_key, 7))
    world = World(decode_state(encode_state(world.exchange)))
    world.nonce = 100
    rest(world, first, 5)
    stopped = world.order(second, with_terms(place(BUY, 100, 5), stp=STP_CANCEL_NEWEST))
    assert (trades(stopped), prevented(stopped)) == ([], [(5, 0)])
    world.do(SetStpGroup(OPERATOR, second.account_key, 0))
    traded = world.order(second, with_terms(place(BUY, 100, 2), stp=STP_CANCEL_NEWEST))
    assert trades(traded) == [2]
    assert trades(world.order(stranger, with_terms(place(BUY, 100, 1), stp=STP_CANCEL_BOTH)))


def test_a_group_must_be_a_number_and_the_account_known() -> None:
    world = small_world()
    account_key = world.traders[0].account_key
    assert world.do(SetStpGroup(OPERATOR, account_key, -1)).field == "stp_group"
    assert world.do(SetStpGroup(OPERATOR, 99, 1)).reason == Reason.UNKNOWN_ACCOUNT


def test_fill_or_kill_counts_what_may_be_traded() -> None:
    fills = {
        # Queue: 3 of another, 5 own, 4 of another. Lots that may be traded, by mode.
        STP_NONE: 12,
        STP_CANCEL_NEWEST: 3,
        STP_CANCEL_OLDEST: 7,
        STP_CANCEL_BOTH: 3,
        # The own five would shrink what is left of a larger one to nothing.
        STP_DECREMENT: 3,
    }
    for mode, lots in fills.items():
        for size, reason in ((lots, Reason.NONE), (lots + 1, Reason.FILL_OR_KILL_UNFILLABLE)):
            world = small_world()
            mine, other = world.traders[:2]
            rest(world, other, 3)
            rest(world, mine, 5)
            rest(world, other, 4)
            item = with_terms(place(BUY, 100, size, tif=FOK), stp=mode)
            [result] = world.order(mine, item).items
            assert result.reason == reason, (mode, size)


def test_an_amended_order_keeps_its_mode() -> None:
    world = small_world()
    mine = world.traders[0]
    item = with_terms(place(BUY, 90, 5), stp=STP_CANCEL_OLDEST)
    key = world.order(mine, item).items[0].order_key
    resting = rest(world, mine, 5)
    outcome = world.order(mine, amend(5, 100, order_key=key))
    assert (trades(outcome), closed(outcome)) == ([], [(resting, "CANCELLED", 0, 5)])


def test_an_ended_taker_that_never_rests_is_cancelled_not_expired() -> None:
    world = small_world()
    mine = world.traders[0]
    rest(world, mine, 5)
    item = with_terms(place(BUY, 100, 8, tif=IOC), stp=STP_CANCEL_NEWEST)
    [result] = world.order(mine, item).items
    assert result.status == OrderStatus.CANCELLED
