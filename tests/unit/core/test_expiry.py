"""Orders end and dead man's switches cancel by clock ticks, and by nothing else."""

from __future__ import annotations

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import (
    CAUSE_DEAD_MANS_SWITCH,
    ClockTick,
    SetDeadMansSwitch,
    SetMarketStatus,
)
from dexcore.events import DeadMansSwitchSet, MassCancelled, OrderClosed, Ticked
from dexcore.items import DAY, GTD, IOC, NO_MARKET, POST_ONLY, TYPE_MARKET, Item
from dexcore.market import MarketStatus
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SECOND_NS,
    SELL,
    START_NS,
    Trader,
    WithTerms,
    World,
    amend,
    cancel,
    place,
    small_world,
    with_terms,
)

DAY_NS = 86_400 * SECOND_NS
MIDNIGHT_NS = (START_NS // DAY_NS + 1) * DAY_NS


def until(end_ns: int, side: int = BUY, price: int = 90, lots: int = 5) -> WithTerms:
    """An item that places an order which ends then."""
    return with_terms(place(side, price, lots, tif=GTD), expire_time_ns=end_ns)


def tick(world: World, time_ns: int) -> Outcome:
    world.time_ns = time_ns
    return world.do(ClockTick())


def due(world: World) -> int | None:
    return world.exchange.next_due_ns


def ended(outcome: Outcome) -> list[tuple[int, str]]:
    return [
        (event.order_key, OrderStatus(event.status).name)
        for event in outcome.events
        if isinstance(event, OrderClosed)
    ]


def switch(world: World, trader: Trader, timeout_ns: int) -> Outcome:
    world.nonce += 1
    head = (trader.account_key, world.nonce, world.time_ns + SECOND_NS, bytes(16))
    return world.do(SetDeadMansSwitch(*head, trader.public_key, timeout_ns))


def keys(world: World, trader: Trader, *items: Item | WithTerms) -> list[int]:
    return [result.order_key for result in world.order(trader, *items).items]


def test_an_order_ends_at_the_first_tick_at_its_time() -> None:
    world = small_world()
    end_ns = START_NS + 10 * SECOND_NS
    [key] = keys(world, world.traders[0], until(end_ns))
    assert due(world) == end_ns
    assert ended(tick(world, end_ns - 1)) == []
    assert ended(tick(world, end_ns)) == [(key, "EXPIRED")]
    assert due(world) is None
    assert world.order(world.traders[0], cancel(order_key=key)).items[0].reason == (
        Reason.UNKNOWN_ORDER
    )


def test_time_alone_ends_nothing_between_two_ticks() -> None:
    """Or a replay whose ticks fall elsewhere would end an order elsewhere."""
    world = small_world()
    maker, taker = world.traders[:2]
    end_ns = START_NS + 10 * SECOND_NS
    [key] = keys(world, maker, until(end_ns, SELL, 100))
    world.time_ns = end_ns + SECOND_NS
    taken = world.order(taker, place(BUY, 100, 2, tif=IOC))
    assert taken.items[0].filled_lots == 2, "an order ended without a tick"
    assert ended(tick(world, world.time_ns)) == [(key, "EXPIRED")]


def test_what_ends_at_once_ends_by_time_and_key() -> None:
    world = small_world()
    late, early = START_NS + 3 * SECOND_NS, START_NS + 2 * SECOND_NS
    trader, other = world.traders[:2]
    first = keys(world, trader, until(late), until(early), until(late))
    second = keys(world, other, until(early), place(BUY, 90, 5))
    outcome = tick(world, late)
    assert ended(outcome) == [(key, "EXPIRED") for key in (first[1], second[0], first[0], first[2])]
    # Before anything else of the tick.
    assert isinstance(outcome.events[-1], Ticked)
    world.exchange.ledger.audit()


def test_a_day_order_ends_at_midnight() -> None:
    world = small_world()
    trader = world.traders[0]
    [key] = keys(world, trader, place(BUY, 90, 5, tif=DAY))
    assert due(world) == MIDNIGHT_NS
    assert ended(tick(world, MIDNIGHT_NS - 1)) == []
    assert ended(tick(world, MIDNIGHT_NS)) == [(key, "EXPIRED")]
    [key] = keys(world, trader, place(BUY, 90, 5, tif=DAY))
    assert due(world) == MIDNIGHT_NS + DAY_NS


def test_an_amended_order_ends_when_it_would_have() -> None:
    world = small_world()
    trader = world.traders[0]
    end_ns = START_NS + 10 * SECOND_NS
    [key] = keys(world, trader, until(end_ns))
    world.order(trader, amend(9, 91, order_key=key))
    assert ended(tick(world, end_ns)) == [(key, "EXPIRED")]


def test_what_ended_otherwise_does_not_end_again() -> None:
    world = small_world()
    trader = world.traders[0]
    end_ns = START_NS + 10 * SECOND_NS
    filled, cancelled = keys(world, trader, until(end_ns, SELL, 100), until(end_ns))
    world.order(trader, cancel(order_key=cancelled))
    world.order(world.traders[1], place(BUY, 100, 5))
    assert due(world) is None
    assert ended(tick(world, end_ns)) == []
    assert filled < cancelled


def test_orders_end_in_a_halt_too() -> None:
    world = small_world()
    [key] = keys(world, world.traders[0], until(START_NS + SECOND_NS))
    world.do(SetMarketStatus(OPERATOR, 0, MarketStatus.HALTED))
    assert ended(tick(world, START_NS + SECOND_NS)) == [(key, "EXPIRED")]


def test_an_end_must_be_ahead_and_said_by_who_has_one() -> None:
    world = small_world()
    for item, wanted in (
        (until(START_NS), ("FIELD_INVALID", "expire_time")),
        (until(0), ("FIELD_INVALID", "expire_time")),
        (with_terms(place(tif=DAY), expire_time_ns=2**62), ("FIELD_INVALID", "expire_time")),
        (
            place(BUY, 0, order_type=TYPE_MARKET, tif=DAY),
            ("TIME_IN_FORCE_INVALID", "time_in_force"),
        ),
        (until(START_NS + 1), ("NONE", "")),
        (with_terms(place(BUY, 90, 5, tif=DAY), POST_ONLY, display_lots=2), ("NONE", "")),
    ):
        [result] = world.order(world.traders[0], item).items
        assert (Reason(result.reason).name, result.field) == wanted


def test_a_restart_ends_the_same() -> None:
    world = small_world()
    trader = world.traders[0]
    end_ns = START_NS + 10 * SECOND_NS
    [key] = keys(world, trader, until(end_ns))
    switch(world, world.traders[1], 20 * SECOND_NS)
    state = encode_state(world.exchange)
    again = World(decode_state(state))
    assert encode_state(again.exchange) == state
    assert due(again) == end_ns
    assert ended(tick(again, end_ns)) == [(key, "EXPIRED")]
    assert due(again) == START_NS + 20 * SECOND_NS
    assert tick(again, START_NS + 20 * SECOND_NS).events[0] == MassCancelled(
        world.traders[1].account_key, NO_MARKET, 0, CAUSE_DEAD_MANS_SWITCH, 0
    )


def test_a_switch_that_is_not_set_again_cancels() -> None:
    world = small_world()
    trader, other = world.traders[:2]
    mine = keys(world, trader, place(BUY, 90, 5), place(SELL, 110, 5, market=2))
    keys(world, other, place(BUY, 90, 5))
    armed = switch(world, trader, 10 * SECOND_NS)
    assert armed.events == [DeadMansSwitchSet(trader.account_key, START_NS + 10 * SECOND_NS)]
    world.time_ns += 9 * SECOND_NS
    switch(world, trader, 10 * SECOND_NS)
    assert ended(tick(world, START_NS + 10 * SECOND_NS)) == []
    fired = tick(world, START_NS + 19 * SECOND_NS)
    assert ended(fired) == [(key, "CANCELLED") for key in mine]
    # It fires once.
    mine = keys(world, trader, place(BUY, 90, 5))
    assert ended(tick(world, START_NS + 90 * SECOND_NS)) == []
    assert due(world) is None


def test_a_switch_leaves_halted_markets_alone_and_is_done() -> None:
    world = small_world()
    trader = world.traders[0]
    mine = keys(world, trader, place(BUY, 90, 5), place(SELL, 110, 5, market=2))
    world.do(SetMarketStatus(OPERATOR, 0, MarketStatus.HALTED))
    switch(world, trader, SECOND_NS)
    assert ended(tick(world, START_NS + SECOND_NS)) == [(mine[1], "CANCELLED")]
    world.do(SetMarketStatus(OPERATOR, 0, MarketStatus.OPEN))
    assert ended(tick(world, START_NS + 5 * SECOND_NS)) == []


def test_a_switch_is_disarmed_by_zero_and_has_bounds() -> None:
    world = small_world()
    trader = world.traders[0]
    [key] = keys(world, trader, place(BUY, 90, 5))
    switch(world, trader, SECOND_NS)
    assert switch(world, trader, 0).events == [DeadMansSwitchSet(trader.account_key, 0)]
    assert ended(tick(world, START_NS + SECOND_NS)) == []
    for timeout_ns in (-1, 1, SECOND_NS - 1, DAY_NS + 1):
        outcome = switch(world, trader, timeout_ns)
        assert (outcome.reason, outcome.field) == (Reason.FIELD_INVALID, "timeout")
    assert switch(world, trader, DAY_NS).reason == Reason.NONE
    assert key in world.exchange.accounts.by_key[trader.account_key].open_orders
