"""What one order and one command may set off is bounded, at the full numbers of the contract."""

from __future__ import annotations

from collections import Counter

from dexcore.commands import RULES_1, ClockTick, CreateMarket, Deposit, SetMarketLimits
from dexcore.events import SelfTradePrevented, Trade
from dexcore.items import (
    FOK,
    IOC,
    OCO,
    STP_CANCEL_OLDEST,
    TYPE_MARKET,
    Item,
)
from dexcore.limits import (
    BATCH_ITEMS_MAX,
    MEETINGS_BEFORE_STOPS_MAX,
    MEETINGS_PER_COMMAND_MAX,
    MEETINGS_PER_ENTRY_MAX,
    STOPS_PER_COMMAND_MAX,
)
from dexcore.market import MarketStatus
from dexcore.pool import PoolKind
from dexcore.pool_commands import AddLiquidity, CreatePool
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from tests.support.work import bytecodes
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SELL,
    START_NS,
    Trader,
    World,
    amend,
    cancel,
    cancel_all,
    orders,
    place,
    spec,
    with_terms,
)
from tests.unit.core.parked import (
    ends,
    key_of,
    phase,
    refusal,
    restart,
    stop,
    stop_limit,
    triggered,
)

MOST = MEETINGS_PER_ENTRY_MAX


def wide_world() -> World:
    """A market where one order may have many thousand lots, with a last price of 100."""
    world = World()
    world.do(CreateMarket(OPERATOR, spec("AAA", "QQQ", quantity_lots_max=10**6)))
    for _ in range(4):
        world.open_account(10**12)
    world.do(SetMarketLimits(OPERATOR, 0, 10, 0, 0, 0))
    world.order(world.traders[3], place(SELL, 100, 1))
    world.order(world.traders[2], place(BUY, 100, 1))
    return world


def rest(
    world: World, trader: Trader, count: int, side: int = SELL, price_ticks: int = 105
) -> None:
    """Rest so many orders of one lot."""
    while count:
        some = min(count, 1_000)
        world.order(trader, *[place(side, price_ticks, 1)] * some)
        count -= some


def last(outcome: Outcome) -> tuple[str, int, int]:
    """State, filled and remaining lots of the last item."""
    result = outcome.items[-1]
    return OrderStatus(result.status).name, result.filled_lots, result.remaining_lots


def trade_count(outcome: Outcome) -> int:
    return sum(isinstance(event, Trade) for event in outcome.events)


def test_an_order_that_would_meet_more_than_it_may_ends() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    rest(world, seller, MOST + 1)
    outcome = world.order(buyer, place(BUY, 105, MOST + 2))
    assert (trade_count(outcome), last(outcome)) == (MOST, ("EXPIRED", MOST, 2))
    market = world.exchange.markets[0]
    assert (market.book.asks.depth(9), market.book.bids.depth(9)) == ([(105, 1)], [])
    cells = world.exchange.ledger.cells[buyer.account_key]
    assert {cell.held for cell in cells.values()} == {0}, "it still holds something"
    assert last(world.order(buyer, place(BUY, 105, 2))) == ("PARTIALLY_FILLED", 1, 1)


def test_an_order_that_meets_as_many_as_it_may_rests() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    rest(world, seller, MOST)
    rest(world, seller, 1, price_ticks=106)
    outcome = world.order(buyer, place(BUY, 105, MOST + 2))
    assert last(outcome) == ("PARTIALLY_FILLED", MOST, 2)


def test_an_amended_order_that_would_meet_more_than_it_may_ends() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    key = key_of(world, buyer, place(BUY, 90, MOST + 2))
    rest(world, seller, MOST + 1)
    outcome = world.order(buyer, amend(MOST + 2, 105, order_key=key))
    assert last(outcome) == ("EXPIRED", MOST, 2)


def test_orders_of_the_first_release_meet_as_many_as_they_did() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    rest(world, seller, MOST + 1)
    command = orders(buyer, 10**6, [place(BUY, 105, MOST + 1, tif=FOK)], now_ns=START_NS)
    assert last(world.do(command._replace(rules=RULES_1))) == ("FILLED", MOST + 1, 0)
    rest(world, seller, MOST + 1)
    assert last(world.order(buyer, place(BUY, 105, MOST + 1, tif=IOC)))[0] == "EXPIRED"


def test_fill_or_kill_and_minimum_quantity_count_what_may_be_met() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    rest(world, seller, MOST + 1)
    too_many = place(BUY, 105, MOST + 1, tif=FOK)
    assert refusal(world, buyer, too_many) == ("FILL_OR_KILL_UNFILLABLE", "quantity_lots")
    least = with_terms(place(BUY, 105, 2 * MOST, tif=IOC), min_lots=MOST + 1)
    assert refusal(world, buyer, least) == ("MIN_QUANTITY_UNFILLABLE", "min_lots")
    assert last(world.order(buyer, place(BUY, 105, MOST, tif=FOK)))[0] == "FILLED"


def test_a_market_order_holds_what_it_may_meet() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    rest(world, seller, 2 * MOST)
    ledger = world.exchange.ledger
    before = ledger.cell(buyer.account_key, ledger.assets_by_id["QQQ"]).available
    item = place(BUY, 0, 2 * MOST, order_type=TYPE_MARKET, tif=IOC)
    _, needed_atoms, lots, _ = world.exchange.preview(buyer.account_key, item)
    assert lots == MOST
    assert last(world.order(buyer, item)) == ("EXPIRED", MOST, MOST)
    after = ledger.cell(buyer.account_key, ledger.assets_by_id["QQQ"]).available
    assert before - after == needed_atoms


def test_self_trades_prevented_count() -> None:
    world = wide_world()
    mine, other = world.traders[:2]
    rest(world, mine, MOST)
    rest(world, other, 1)
    outcome = world.order(mine, with_terms(place(BUY, 105, 5), stp=STP_CANCEL_OLDEST))
    prevented = sum(isinstance(event, SelfTradePrevented) for event in outcome.events)
    assert (prevented, last(outcome)) == (MOST, ("EXPIRED", 0, 5))


def test_each_part_of_an_iceberg_counts() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    world.order(seller, *[with_terms(place(SELL, 105, 100), display_lots=1)] * 11)
    lots = MOST + 1
    refused = refusal(world, buyer, place(BUY, 105, lots, tif=FOK))
    assert refused == ("FILL_OR_KILL_UNFILLABLE", "quantity_lots")
    outcome = world.order(buyer, place(BUY, 105, lots))
    assert (trade_count(outcome), last(outcome)) == (MOST, ("EXPIRED", MOST, 1))


def ladder_world(*, pool: bool = True) -> World:
    """A thousand levels of one lot, with some lots of a pool before each."""
    world = World()
    market = spec("AAA", "QQQ", quantity_lots_max=10**6, price_ticks_max=10**7)
    world.do(CreateMarket(OPERATOR, market))
    seller, _ = world.open_account(10**15), world.open_account(10**15)
    if pool:
        world.do(CreatePool(OPERATOR, 0, PoolKind.CONSTANT_PRODUCT, 3_000, 0))
    head = (seller.account_key, 10**9, START_NS + 10**9, bytes(16), seller.public_key)
    # A price of 100,000 ticks, and some 100,301 with the fee.
    world.do(AddLiquidity(*head, 0, 0, 0, 10**9, 7 * 10**11, 0, 0))
    world.order(seller, *[place(SELL, 100_302 + n, 1) for n in range(MOST)])
    return world


def test_a_run_of_the_pools_lots_counts_and_fill_or_kill_knows() -> None:
    world = ladder_world()
    seller, buyer = world.traders
    outcome = world.order(buyer, place(BUY, 10**6, 10**6, tif=IOC))
    makers = [event[7] for event in outcome.events if isinstance(event, Trade)]
    # One level after each run, which is one or two trades.
    assert makers.count(seller.account_key) == MOST // 2
    assert MOST // 2 <= len(makers) - MOST // 2 <= MOST
    state, filled, _ = last(outcome)
    assert state == "EXPIRED"
    world = ladder_world()
    buyer = world.traders[1]
    refused = refusal(world, buyer, place(BUY, 10**6, filled + 1, tif=FOK))
    assert refused == ("FILL_OR_KILL_UNFILLABLE", "quantity_lots")
    market_order = place(BUY, 0, 10**6, order_type=TYPE_MARKET, tif=IOC)
    assert world.exchange.preview(buyer.account_key, market_order)[2] == filled
    assert last(world.order(buyer, place(BUY, 10**6, filled, tif=FOK)))[0] == "FILLED"


# --- work that is counted


def test_a_cancel_of_all_looks_at_nobody_elses_orders() -> None:
    counted = []
    for strangers in (20, 2_000):
        world = wide_world()
        mine, other = world.traders[:2]
        rest(world, other, strangers)
        world.order(mine, *[place(SELL, 110, 1)] * 10)
        counted.append(bytecodes(lambda: world.order(mine, cancel_all())))  # noqa: B023
        assert not world.exchange.accounts.by_key[mine.account_key].open_orders
    assert counted[1] < 1.1 * counted[0]


def test_a_fill_or_kill_that_is_refused_looks_at_so_much() -> None:
    counted = []
    for orders_there in (MOST, 5 * MOST):
        world = wide_world()
        rest(world, world.traders[0], orders_there)
        item = place(BUY, 105, 10**6, tif=FOK)
        counted.append(bytecodes(lambda: refusal(world, world.traders[1], item)))  # noqa: B023
    assert counted[1] < 1.1 * counted[0]


# --- what the items of one command meet together

ALL = MEETINGS_PER_COMMAND_MAX


def reasons(outcome: Outcome) -> Counter[str]:
    """How many items ended with which reason."""
    return Counter(Reason(result.reason).name for result in outcome.items)


def test_fill_or_kills_of_a_command_are_counted_so_often() -> None:
    world = ladder_world()
    item = place(BUY, 10**6, 10**6, tif=FOK)
    outcome = world.order(world.traders[1], *[item] * BATCH_ITEMS_MAX)
    counted = ALL // MOST
    expected = {"FILL_OR_KILL_UNFILLABLE": counted, "TOO_MANY_MEETINGS": 1_000 - counted}
    assert reasons(outcome) == expected
    assert refusal(world, world.traders[1], item)[0] == "FILL_OR_KILL_UNFILLABLE", "for ever"


def spend(world: World, left: int) -> list[Item]:
    """Items that leave so many meetings of a command, in a world with many orders at 105."""
    whole, rest_lots = divmod(ALL - left, MOST)
    return [place(BUY, 105, lots, tif=IOC) for lots in [MOST] * whole + [rest_lots] * (left > 0)]


def test_an_item_that_takes_is_refused_when_the_command_has_met_so_many() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    rest(world, seller, ALL + 2)
    mine = key_of(world, buyer, place(BUY, 90, 5))
    outcome = world.order(
        buyer,
        *spend(world, 0),
        place(BUY, 105, 1),
        place(BUY, 105, 1, tif=IOC),
        place(BUY, 0, 1, order_type=TYPE_MARKET, tif=IOC),
        place(BUY, 105, 1, tif=FOK),
        with_terms(place(BUY, 90, 1), min_lots=1),
        amend(5, 105, order_key=mine),
        # These take nothing.
        amend(6, 91, order_key=mine),
        place(BUY, 104, 1),
        place(BUY, 104, 1, post_only=True),
        cancel(mine),
    )
    ended = [Reason(result.reason).name for result in outcome.items[ALL // MOST :]]
    assert ended == ["TOO_MANY_MEETINGS"] * 6 + ["NONE"] * 4
    assert trade_count(outcome) == ALL
    assert last(world.order(buyer, place(BUY, 105, 1)))[0] == "FILLED"


def test_an_item_is_cut_off_where_the_budget_of_its_command_ends() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    rest(world, seller, ALL + 5)
    outcome = world.order(buyer, *spend(world, 2), place(BUY, 105, 3))
    assert (trade_count(outcome), last(outcome)) == (ALL, ("EXPIRED", 2, 1))
    rest(world, seller, ALL)
    outcome = world.order(buyer, *spend(world, 2), place(BUY, 105, 3, tif=FOK))
    assert reasons(outcome)["FILL_OR_KILL_UNFILLABLE"] == 1
    # It takes what it was counted to take, though both are charged.
    rest(world, seller, ALL)
    outcome = world.order(buyer, *spend(world, 2), place(BUY, 105, 2, tif=FOK))
    assert last(outcome)[0] == "FILLED"


def test_a_plain_order_is_refused_when_the_command_has_met_so_many() -> None:
    world = ladder_world(pool=False)
    counts = [place(BUY, 10**6, 10**6, tif=FOK)] * (ALL // MOST)
    takes, rests = place(BUY, 100_302, 1), place(BUY, 100_000, 1)
    outcome = world.order(world.traders[1], *counts, takes, rests)
    assert [Reason(item.reason).name for item in outcome.items[-2:]] == [
        "TOO_MANY_MEETINGS",
        "NONE",
    ]


def test_a_stop_is_not_cut_off_by_the_command_that_triggers_it() -> None:
    world = wide_world()
    trader, other, buyer = world.traders[:3]
    rest(world, other, MOST - 1, price_ticks=104)
    rest(world, other, 1)
    rest(world, other, 1, BUY, 99)
    rest(world, other, 5, BUY, 95)
    key = key_of(world, trader, stop(SELL, 99, 5))
    counts = [place(BUY, 105, 10**6, tif=FOK)] * (ALL // MOST - 1)
    # One meeting is left for the sell.
    counts.append(place(BUY, 104, 10**6, tif=FOK))
    outcome = world.order(buyer, *counts, place(SELL, 99, 1), place(SELL, 90, 1))
    assert (triggered(outcome), ends(outcome)[key]) == ([key], "FILLED")
    assert reasons(outcome)["NONE"] == 2


def test_orders_of_the_first_release_have_no_budget() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    rest(world, seller, 10)
    items = [place(BUY, 105, 10**6, tif=FOK)] * BATCH_ITEMS_MAX
    rest(world, seller, ALL // BATCH_ITEMS_MAX)
    command = orders(buyer, 10**6, items, now_ns=START_NS)
    outcome = world.do(command._replace(rules=RULES_1))
    assert reasons(outcome) == {"FILL_OR_KILL_UNFILLABLE": BATCH_ITEMS_MAX}


def test_an_honest_batch_does_not_feel_it() -> None:
    world = wide_world()
    seller, buyer = world.traders[:2]
    rest(world, seller, 2_000)
    outcome = world.order(buyer, *[place(BUY, 105, 20, tif=FOK)] * 100)
    assert {OrderStatus(result.status).name for result in outcome.items} == {"FILLED"}


def test_going_through_a_concentrated_pool_costs_its_bounds() -> None:
    world = World()
    market = spec("AAA", "QQQ", quantity_lots_max=10**6, price_ticks_max=10**7)
    world.do(CreateMarket(OPERATOR, market))
    trader = world.open_account(10**15)
    world.do(CreatePool(OPERATOR, 0, PoolKind.CONCENTRATED, 100, 100_000))
    for number in range(99):
        head = (trader.account_key, 10**9 + number, START_NS + 10**9, bytes(16), trader.public_key)
        # From the pool tick of 700 quote atoms a base atom on.
        tick = 65_515 + number
        world.do(AddLiquidity(*head, 0, tick, tick + 1, 10**6, 10**12, 0, 0))
    pool = world.exchange.markets[0].pool
    assert pool is not None
    assert pool.bound_count() == 100
    item = place(BUY, 10**6, 10**6, tif=FOK)
    outcome = world.order(trader, *[item] * BATCH_ITEMS_MAX)
    # Each meets one run of the pool's lots.
    assert reasons(outcome)["FILL_OR_KILL_UNFILLABLE"] == -(-ALL // 101)


# --- stops


def stops_reached(world: World, count: int, item_lots: int = 1) -> tuple[list[int], Outcome]:
    """Park so many sell stops, and reach them all by one trade; their keys and its outcome."""
    trader, other = world.traders[:2]
    keys: list[int] = []
    for start in range(0, count, 1_000):
        some = min(1_000, count - start)
        outcome = world.order(trader, *[stop(SELL, 99, item_lots)] * some)
        keys += [result.order_key for result in outcome.items]
    world.order(other, place(BUY, 99, 1), place(BUY, 95, 10**5))
    return keys, world.order(world.traders[2], place(SELL, 99, 1))


def is_due(world: World) -> bool:
    """Whether a tick is wanted at once."""
    return world.exchange.next_due_ns == world.time_ns


def test_a_command_runs_so_many_stops_and_the_next_goes_on() -> None:
    world = wide_world()
    most = STOPS_PER_COMMAND_MAX
    keys, outcome = stops_reached(world, 2 * most + 50)
    assert triggered(outcome) == keys[:most]
    assert is_due(world), "nobody is told to go on"
    world = restart(world)
    assert is_due(world), "a restart forgets who was triggered"
    # One that waits for its turn is cancelled like any other, if it is not before the command.
    outcome = world.order(world.traders[0], cancel(keys[-1]), cancel(keys[most]))
    assert triggered(outcome) == keys[most : 2 * most]
    states = [OrderStatus(result.status).name for result in outcome.items]
    assert states == ["CANCELLED", "REJECTED"]
    outcome = world.do(ClockTick())
    assert triggered(outcome) == keys[2 * most : -1]
    assert not is_due(world)
    assert triggered(world.do(ClockTick())) == []


def test_any_command_goes_on_with_stops() -> None:
    world = wide_world()
    keys, _ = stops_reached(world, STOPS_PER_COMMAND_MAX + 1)
    booking = (OPERATOR, world.traders[0].account_key, "nothing", 5, "a refused one, too")
    assert triggered(world.do(Deposit(*booking))) == keys[-1:]


def test_no_stop_comes_in_where_others_are_due() -> None:
    world = wide_world()
    stops_reached(world, 10 * STOPS_PER_COMMAND_MAX)
    trader, other = world.traders[:2]
    # Nobody buys: those that run from here on trade nothing.
    world.order(other, cancel_all())
    waits = key_of(world, trader, stop(SELL, 90))
    world.order(other, place(SELL, 104, 1))
    world.order(world.traders[2], place(BUY, 104, 1))
    # The last price is 104, and 95 is not served yet.
    assert world.exchange.markets[0].last_price_ticks == 104
    expected = ("STOP_WOULD_TRIGGER", "trigger_price_ticks")
    assert refusal(world, trader, stop(SELL, 95)) == expected
    change = with_terms(amend(5, order_key=waits), trigger_price_ticks=96)
    assert refusal(world, trader, change) == expected
    outcome = world.order(world.traders[2], place(SELL, 95, 1))
    assert len(triggered(outcome)) == STOPS_PER_COMMAND_MAX, "none was due any more"
    key_of(world, trader, stop(SELL, 94))


def test_stops_that_are_due_wait_for_an_open_market() -> None:
    world = wide_world()
    keys, _ = stops_reached(world, 3 * STOPS_PER_COMMAND_MAX)
    most = STOPS_PER_COMMAND_MAX
    assert triggered(phase(world, MarketStatus.HALTED)) == keys[most : 2 * most]
    assert not is_due(world)
    world = restart(world)
    assert triggered(world.do(ClockTick())) == []
    assert triggered(phase(world, MarketStatus.OPEN)) == keys[2 * most :]


def test_the_stops_of_a_command_meet_so_many() -> None:
    world = wide_world()
    trader, other = world.traders[:2]
    most = MEETINGS_BEFORE_STOPS_MAX
    keys = [key_of(world, trader, stop_limit(SELL, 99, 95, most // 2)) for _ in range(4)]
    rest(world, other, 4 * most, BUY, 95)
    world.order(other, place(BUY, 99, 1))
    outcome = world.order(world.traders[2], place(SELL, 99, 1))
    assert triggered(outcome) == keys[:2]
    assert triggered(world.do(ClockTick())) == keys[2:]


def test_an_order_that_met_much_leaves_its_stops_to_the_next_command() -> None:
    world = wide_world()
    trader, other = world.traders[:2]
    key = key_of(world, trader, stop(SELL, 99))
    rest(world, other, MEETINGS_BEFORE_STOPS_MAX, BUY, 98)
    outcome = world.order(world.traders[2], place(SELL, 98, MEETINGS_BEFORE_STOPS_MAX))
    assert triggered(outcome) == []
    assert triggered(world.do(ClockTick())) == [key]


def test_what_a_stop_that_is_killed_looked_at_counts() -> None:
    world = wide_world()
    trader, other = world.traders[:2]
    most = MEETINGS_BEFORE_STOPS_MAX
    item = stop_limit(SELL, 99, 95, 2 * most, tif=FOK)
    keys = [key_of(world, trader, item) for _ in range(2)]
    rest(world, other, most, BUY, 95)
    world.order(other, place(BUY, 99, 1))
    outcome = world.order(world.traders[2], place(SELL, 99, 1))
    assert (triggered(outcome), ends(outcome)[keys[0]]) == (keys[:1], "EXPIRED")
    assert triggered(world.do(ClockTick())) == keys[1:]


# --- items


def test_a_command_without_items_is_refused() -> None:
    world = wide_world()
    outcome = world.order(world.traders[0])
    assert (outcome.reason.name, outcome.field, outcome.items) == ("BATCH_SIZE", "items", ())


def test_only_a_placed_order_pulls_the_one_before_it_into_its_phase() -> None:
    world = wide_world()
    trader = world.traders[0]
    item = cancel(key_of(world, trader, place(BUY, 90, 5)))
    flagged = (*item[:4], OCO, *item[5:])
    # Were the buy carried out with the cancel, the post-only sell would be refused.
    items = (place(BUY, 98, 5), flagged, place(SELL, 98, 5, post_only=True))
    outcome = world.order(trader, *items, phased=True)
    states = [OrderStatus(result.status).name for result in outcome.items]
    assert states == ["FILLED", "CANCELLED", "OPEN"]
