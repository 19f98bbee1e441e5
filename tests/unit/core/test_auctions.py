"""Market phases and the call auction, rule by rule of docs/reference/order-semantics.md."""

from __future__ import annotations

import pytest

from dexcore.checkpoint import encode_state
from dexcore.events import AuctionUncrossed, OrderTriggered, Trade
from dexcore.invariant import InvariantError
from dexcore.items import (
    AT_CLOSE,
    AT_OPEN,
    FOK,
    GTC,
    IOC,
    STP_CANCEL_BOTH,
    TYPE_MARKET,
)
from dexcore.market import MarketStatus
from dexcore.results import OrderStatus, Outcome
from tests.unit.core.exchanges import BUY, SELL, amend, cancel, place, with_terms
from tests.unit.core.parked import (
    ends,
    held,
    key_of,
    phase,
    refusal,
    restart,
    stop,
    trades,
    triggered,
    world_at,
)

OPEN, CANCEL_ONLY, HALTED = MarketStatus.OPEN, MarketStatus.CANCEL_ONLY, MarketStatus.HALTED
OPENING, CLOSING = MarketStatus.OPENING_AUCTION, MarketStatus.CLOSING_AUCTION
CLOSED = MarketStatus.CLOSED


def uncrossed(outcome: Outcome) -> list[tuple[int, int, int]]:
    """(price, lots, surplus) of each auction."""
    return [tuple(event[1:]) for event in outcome.events if isinstance(event, AuctionUncrossed)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("status", "places", "amends", "cancels"),
    [
        (OPEN, True, True, True),
        (CANCEL_ONLY, False, False, True),
        (HALTED, False, False, False),
        (OPENING, True, True, True),
        (CLOSING, True, True, True),
        (CLOSED, False, False, True),
    ],
)
def test_what_a_phase_allows(
    status: MarketStatus, places: bool, amends: bool, cancels: bool
) -> None:
    world = world_at(100)
    trader = world.traders[0]
    key = key_of(world, trader, place(BUY, 90))
    parked = key_of(world, trader, stop(BUY, 110))
    phase(world, status)
    no = OrderStatus.REJECTED
    for item, allowed in (
        (place(BUY, 91), places),
        (stop(BUY, 111), places),
        (amend(5, order_key=key), amends),
        (amend(4, order_key=parked), amends),
        (cancel(key), cancels),
        (cancel(parked), cancels),
    ):
        [result] = world.order(trader, item).items
        assert (result.status != no) is allowed, f"{status.name}: {item}"


def test_a_call_phase_collects_and_the_uncross_trades_at_one_price() -> None:
    world = world_at(100)
    first, second, third = world.traders[:3]
    phase(world, OPENING)
    buys = [key_of(world, first, place(BUY, 105, 5)), key_of(world, second, place(BUY, 103, 5))]
    outcome = world.order(third, place(SELL, 101, 7))
    assert trades(outcome) == [], "a call phase matches"
    assert world.exchange.indicative(0) == (101, 7, 3)
    world = restart(world)
    assert world.exchange.indicative(0) == (101, 7, 3)
    outcome = phase(world, OPEN)
    assert uncrossed(outcome) == [(101, 7, 3)]
    events = [event for event in outcome.events if isinstance(event, Trade)]
    rows = [(e.price_ticks, e.quantity_lots, e.maker_order_key, e.taker_side) for e in events]
    assert rows == [(101, 5, buys[0], SELL), (101, 2, buys[1], SELL)]
    assert events[0].taker_order_key > max(buys), "the larger key is the taker"
    assert world.exchange.indicative(0) is None
    world.exchange.markets[0].book.check_not_crossed()


def test_the_rule_of_the_price_in_its_order() -> None:
    """Lots first, then surplus, then the last price, then the lower one."""
    for last, orders, expected in (
        # 15 lots trade at 99 only.
        (100, [(BUY, 100, 10), (BUY, 99, 10), (SELL, 99, 15)], (99, 15, 5)),
        # 10 lots trade from 100 to 102; only at 102 nobody is left over.
        (100, [(BUY, 102, 10), (BUY, 101, 5), (SELL, 100, 10)], (102, 10, 0)),
        # All the same from 95 to 105.
        (100, [(BUY, 105, 5), (SELL, 95, 5)], (100, 5, 0)),
        (200, [(BUY, 105, 5), (SELL, 95, 5)], (105, 5, 0)),
        (0, [(BUY, 105, 5), (SELL, 95, 5)], (95, 5, 0)),
    ):
        world = world_at(last)
        phase(world, OPENING)
        trader = world.traders[0]
        world.order(trader, *[place(*order) for order in orders])
        assert world.exchange.indicative(0) == expected
        assert uncrossed(phase(world, OPEN)) == [expected]


def test_both_sides_pay_the_makers_rate_and_hold_it_from_then_on() -> None:
    world = world_at(0)
    buyer, seller = world.traders[:2]
    phase(world, OPENING)
    world.order(buyer, place(BUY, 100, 10))
    notional_atoms = 10 * 100 * 7
    assert held(world, buyer) == notional_atoms - (-notional_atoms * 56_789 // 1_000_000)
    world.order(seller, place(SELL, 100, 6))
    outcome = phase(world, OPEN)
    [trade] = [event for event in outcome.events if isinstance(event, Trade)]
    fee_atoms = -(-6 * 100 * 7 * 1_234 // 1_000_000)
    assert (trade.maker_fee_atoms, trade.taker_fee_atoms) == (fee_atoms, fee_atoms)
    rest_atoms = 4 * 100 * 7
    total_fee_atoms = -(-notional_atoms * 1_234 // 1_000_000)
    assert held(world, buyer) == rest_atoms + total_fee_atoms - fee_atoms


def test_hidden_lots_of_icebergs_trade_in_their_place() -> None:
    world = world_at(0)
    first, second, seller = world.traders[:3]
    phase(world, OPENING)
    iceberg = key_of(world, first, with_terms(place(BUY, 100, 10), display_lots=2))
    plain = key_of(world, second, place(BUY, 100, 5))
    world.order(seller, place(SELL, 100, 7))
    assert world.exchange.indicative(0) == (100, 7, 8)
    outcome = phase(world, OPEN)
    makers = [event.maker_order_key for event in outcome.events if isinstance(event, Trade)]
    assert makers == [iceberg], "only what it shows has a place"
    level = world.exchange.markets[0].book.bids.best
    assert level is not None
    assert [order.key for order in level] == [iceberg, plain]
    assert (level.quantity_lots, level.hidden_lots) == (2 + 5, 1)


def test_self_trades_are_not_prevented_in_an_uncross() -> None:
    world = world_at(0)
    trader = world.traders[0]
    phase(world, OPENING)
    for item in (place(BUY, 100, 5), place(SELL, 100, 5)):
        world.order(trader, with_terms(item, stp=STP_CANCEL_BOTH))
    assert trades(phase(world, OPEN)) == [(100, 5)]


def test_a_crossed_book_is_left_by_an_uncross_only() -> None:
    world = world_at(0)
    buyer, seller = world.traders[:2]
    phase(world, CLOSING)
    world.order(buyer, place(BUY, 105, 5))
    world.order(seller, place(SELL, 95, 5))
    for status in (HALTED, CANCEL_ONLY):
        assert trades(phase(world, status)) == []
        world = restart(world)
        assert world.exchange.indicative(0) is not None
        with pytest.raises(InvariantError):
            world.exchange.markets[0].book.check_not_crossed()
    outcome = phase(world, OPEN)
    assert trades(outcome) == [(95, 5)], "a halt lets a crossed book into the open market"
    world.exchange.markets[0].book.check_not_crossed()


def test_from_open_to_closed_there_is_no_uncross() -> None:
    world = world_at(100)
    outcome = phase(world, CLOSED)
    assert (uncrossed(outcome), trades(outcome)) == ([], [])


def test_the_uncross_is_a_step_of_the_phase_it_leads_to() -> None:
    for status in (OPEN, CLOSED):
        world = world_at(100)
        trader, other, third = world.traders[:3]
        key = key_of(world, trader, stop(BUY, 105))
        phase(world, OPENING)
        world.order(other, place(BUY, 106, 5))
        world.order(third, place(SELL, 106, 5))
        assert triggered(phase(world, status)) == [key] * (status == OPEN)


def test_at_the_open_is_for_the_opening_auction() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    expected = ("TIME_IN_FORCE_INVALID", "time_in_force")
    for status in (OPEN, CLOSING):
        phase(world, status)
        assert refusal(world, trader, place(BUY, 100, 5, tif=AT_OPEN)) == expected
    phase(world, OPENING)
    key = key_of(world, trader, place(BUY, 100, 5, tif=AT_OPEN))
    kept = key_of(world, trader, place(BUY, 99, 5))
    world.order(other, place(SELL, 100, 2))
    outcome = phase(world, OPEN)
    assert trades(outcome) == [(100, 2)]
    assert ends(outcome)[key] == "EXPIRED", "an order for the auction outlives it"
    assert list(world.exchange.accounts.by_key[trader.account_key].open_orders) == [kept]
    assert held(world, trader) > 0


def test_at_the_close_waits_for_the_closing_auction() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    item = place(BUY, 102, 5, tif=AT_CLOSE)
    keys = [key_of(world, trader, item) for _ in range(2)]
    assert trades(world.order(other, place(SELL, 101, 3))) == []
    world = restart(world)
    outcome = phase(world, CLOSING)
    entered = [event.order_key for event in outcome.events if isinstance(event, OrderTriggered)]
    assert entered == keys
    assert world.exchange.indicative(0) == (101, 3, 7)
    third = key_of(world, trader, place(BUY, 103, 1, tif=AT_CLOSE))
    outcome = phase(world, CLOSED)
    assert trades(outcome) == [(101, 1), (101, 2)]
    sell = next(e.maker_order_key for e in outcome.events if isinstance(e, Trade))
    expired = dict.fromkeys(keys, "EXPIRED")
    assert ends(outcome) == {third: "FILLED", sell: "FILLED", **expired}
    phase(world, OPENING)
    assert refusal(world, trader, item) == ("TIME_IN_FORCE_INVALID", "time_in_force")


def test_at_the_close_that_saw_no_auction_expires_with_the_market() -> None:
    world = world_at(100)
    key = key_of(world, world.traders[0], place(BUY, 90, 5, tif=AT_CLOSE))
    assert ends(phase(world, CLOSED)) == {key: "EXPIRED"}


def test_a_market_order_of_an_auction_is_priced_by_the_last_price_and_the_band() -> None:
    world = world_at(100)
    trader, other = world.traders[:2]
    market = place(BUY, 0, 5, order_type=TYPE_MARKET, tif=AT_OPEN)
    phase(world, OPENING)
    key = key_of(world, trader, market)
    order = world.exchange.accounts.by_key[trader.account_key].open_orders[key]
    assert order.price_ticks == 110
    world.order(other, place(SELL, 111, 5), place(SELL, 110, 1))
    assert world.exchange.indicative(0) == (110, 1, 4)
    for last, band in ((0, 10), (100, 0)):
        world = world_at(last, band_ticks=band)
        phase(world, OPENING)
        assert refusal(world, world.traders[0], market) == ("NO_REFERENCE_PRICE", "type")


def test_what_a_call_phase_refuses() -> None:
    world = world_at(100)
    trader = world.traders[0]
    phase(world, OPENING)
    expected = ("TIME_IN_FORCE_INVALID", "time_in_force")
    for tif in (IOC, FOK):
        assert refusal(world, trader, place(BUY, 100, 5, tif=tif)) == expected
    for tif in (GTC, IOC):
        item = place(BUY, 0, 5, order_type=TYPE_MARKET, tif=tif)
        assert refusal(world, trader, item) == expected
    item = place(BUY, 90, 5, post_only=True)
    assert refusal(world, trader, item) == ("TIME_IN_FORCE_INVALID", "post_only")
    least = with_terms(place(BUY, 90, 5), min_lots=1)
    assert refusal(world, trader, least) == ("MIN_QUANTITY_UNFILLABLE", "min_lots")


def test_amends_of_a_call_phase_do_not_trade() -> None:
    world = world_at(0)
    buyer, seller = world.traders[:2]
    phase(world, OPENING)
    key = key_of(world, buyer, place(BUY, 90, 5))
    world.order(seller, place(SELL, 100, 5))
    outcome = world.order(buyer, amend(5, 105, order_key=key))
    assert (outcome.items[0].status, trades(outcome)) == (OrderStatus.OPEN, [])
    assert world.exchange.indicative(0) == (100, 5, 0)


def test_phases_without_orders_leave_no_trace() -> None:
    world = world_at(0, band_ticks=0)
    before = encode_state(world.exchange)
    for status in (OPENING, OPEN, CLOSING, CLOSED, OPEN):
        phase(world, status)
        restart(world)
    after = encode_state(world.exchange)
    assert b'"version":1' in before
    assert b'"version":1' in after
