"""Icebergs show a part, refill at the tail of their level, and are counted whole."""

from __future__ import annotations

from dexcore.book import BookSide, Level
from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import CreateMarket
from dexcore.events import LevelChanged, Trade
from dexcore.items import FOK, IOC, STP_CANCEL_NEWEST, STP_DECREMENT, TYPE_MARKET
from dexcore.reasons import Reason
from dexcore.results import Outcome
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
    spec,
    with_terms,
)


def iceberg(world: World, trader: Trader, lots: int, shown: int) -> int:
    """Rest a sell that shows a part."""
    item = with_terms(place(SELL, 100, lots), display_lots=shown)
    return world.order(trader, item).items[0].order_key


def asks(world: World) -> BookSide:
    return world.exchange.markets[0].book.asks


def level(world: World) -> Level:
    found = asks(world).best
    assert found is not None
    return found


def queue(world: World) -> list[tuple[int, int]]:
    """(order key, lots shown) at the best ask, first to last."""
    return [
        (order.key, order.open_lots - (order.terms.hidden_lots if order.terms else 0))
        for order in level(world)
    ]


def makers(outcome: Outcome) -> list[tuple[int, int]]:
    """(order key, lots) of each trade."""
    return [
        (event.maker_order_key, event.quantity_lots)
        for event in outcome.events
        if isinstance(event, Trade)
    ]


def take(world: World, lots: int) -> Outcome:
    return world.order(world.traders[2], place(BUY, 100, lots, tif=IOC))


def test_the_book_shows_a_part() -> None:
    world = small_world()
    outcome = world.order(world.traders[0], with_terms(place(SELL, 100, 25), display_lots=10))
    assert [event[2:] for event in outcome.events if isinstance(event, LevelChanged)] == [(100, 10)]
    assert asks(world).depth(9) == [(100, 10)]
    assert level(world).hidden_lots == 15
    assert outcome.items[0].remaining_lots == 25


def test_the_next_part_goes_to_the_tail() -> None:
    world = small_world()
    first, second = world.traders[:2]
    ice = iceberg(world, first, 25, 10)
    plain = world.order(second, place(SELL, 100, 7)).items[0].order_key
    assert makers(take(world, 10)) == [(ice, 10)]
    assert queue(world) == [(plain, 7), (ice, 10)]
    assert makers(take(world, 12)) == [(plain, 7), (ice, 5)]
    # What is shown is filled to its end before the next part comes.
    assert queue(world) == [(ice, 5)]
    assert makers(take(world, 9)) == [(ice, 5), (ice, 4)]
    assert queue(world) == [(ice, 1)]
    assert makers(take(world, 1)) == [(ice, 1)]
    assert asks(world).best is None


def test_two_icebergs_take_turns() -> None:
    world = small_world()
    first = iceberg(world, world.traders[0], 20, 5)
    second = iceberg(world, world.traders[1], 20, 8)
    assert makers(take(world, 30)) == [
        *((first, 5), (second, 8), (first, 5), (second, 8)),
        (first, 4),
    ]


def test_hidden_lots_fill_a_fill_or_kill() -> None:
    for lots, reason in ((25, Reason.NONE), (26, Reason.FILL_OR_KILL_UNFILLABLE)):
        world = small_world()
        iceberg(world, world.traders[0], 25, 10)
        [result] = world.order(world.traders[1], place(BUY, 100, lots, tif=FOK)).items
        assert result.reason == reason


def test_what_is_hidden_comes_behind_what_prevention_counts() -> None:
    for lots, reason in ((10, Reason.NONE), (11, Reason.FILL_OR_KILL_UNFILLABLE)):
        world = small_world()
        iceberg(world, world.traders[0], 25, 10)
        world.order(world.traders[1], place(SELL, 100, 5))
        item = with_terms(place(BUY, 100, lots, tif=FOK), stp=STP_CANCEL_NEWEST)
        [result] = world.order(world.traders[1], item).items
        assert result.reason == reason


def test_prevention_takes_what_is_hidden_first() -> None:
    world = small_world()
    mine = world.traders[0]
    ice = iceberg(world, mine, 25, 10)
    world.order(mine, with_terms(place(BUY, 100, 12), stp=STP_DECREMENT))
    assert (queue(world), level(world).hidden_lots) == ([(ice, 10)], 3)


def test_an_iceberg_that_takes_shows_a_part_of_the_rest() -> None:
    world = small_world()
    world.order(world.traders[0], place(BUY, 100, 9))
    outcome = world.order(world.traders[1], with_terms(place(SELL, 100, 25), display_lots=10))
    assert outcome.items[0].filled_lots == 9
    assert (level(world).quantity_lots, level(world).hidden_lots) == (10, 6)


def test_an_amend_takes_what_is_hidden_first() -> None:
    world = small_world()
    trader = world.traders[0]
    ice = iceberg(world, trader, 25, 10)
    iceberg(world, world.traders[1], 5, 5)
    for quantity, shown, hidden in ((20, 10, 10), (10, 10, 0), (7, 7, 0)):
        world.order(trader, amend(quantity, order_key=ice))
        assert queue(world)[0] == (ice, shown)
        assert level(world).hidden_lots == hidden
    world.order(trader, amend(30, order_key=ice))
    assert queue(world)[1] == (ice, 10)
    assert level(world).hidden_lots == 20


def test_a_restart_keeps_what_is_shown() -> None:
    world = small_world()
    ice = iceberg(world, world.traders[0], 25, 10)
    take(world, 4)
    state = encode_state(world.exchange)
    again = World(decode_state(state))
    again.traders, again.nonce = world.traders, 100
    assert encode_state(again.exchange) == state
    for each in (world, again):
        assert queue(each) == [(ice, 6)]
        assert each.order(each.traders[0], cancel(order_key=ice)).items[0].remaining_lots == 21
        assert asks(each).best is None


def test_only_a_limit_order_that_rests_hides() -> None:
    world = small_world()
    trader = world.traders[0]
    refused = {
        "display_lots": [
            with_terms(place(SELL, 100, 5), display_lots=6),
            with_terms(place(SELL, 100, 5), display_lots=-1),
            with_terms(place(SELL, 0, 5, order_type=TYPE_MARKET, tif=IOC), display_lots=1),
        ],
    }
    for field, items in refused.items():
        for item in items:
            [result] = world.order(trader, item).items
            assert (result.reason, result.field) == (Reason.FIELD_INVALID, field)
    [result] = world.order(trader, with_terms(place(SELL, 100, 5, tif=IOC), display_lots=1)).items
    assert (result.reason, result.field) == (Reason.TIME_IN_FORCE_INVALID, "time_in_force")
    market = 1
    item = with_terms(place(SELL, 100, 50, market=market), display_lots=15)
    assert world.order(trader, item).items[0].reason == Reason.FIELD_INVALID, "off the lot"


def test_one_iceberg_makes_no_million_trades() -> None:
    """Each part is a trade: the most parts that are shown bound what one order costs."""
    world = World()
    world.do(CreateMarket(OPERATOR, spec("AAA", "QQQ", quantity_lots_max=10**6)))
    seller = world.open_account(10**9)
    item = with_terms(place(SELL, 100, 101), display_lots=1)
    [result] = world.order(seller, item).items
    assert (result.reason, result.field) == (Reason.FIELD_INVALID, "display_lots")
    ice = iceberg(world, seller, 100, 1)
    [result] = world.order(seller, amend(101, order_key=ice)).items
    assert (result.reason, result.field) == (Reason.FIELD_INVALID, "quantity_lots")
    assert queue(world) == [(ice, 1)]
