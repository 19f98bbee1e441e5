"""Minimum quantity, sliding post-only orders, protection, filters, and how an amend passes them."""

from __future__ import annotations

import pytest

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import SetMarketLimits
from dexcore.events import OrderRepriced, TermsAccepted, Trade
from dexcore.items import FOK, GTC, IOC, POST_ONLY, SLIDE, STP_DECREMENT, TYPE_LIMIT, TYPE_MARKET
from dexcore.market import NO_LIMITS, MarketLimits
from dexcore.reasons import Reason
from dexcore.results import OrderStatus
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SELL,
    Trader,
    World,
    amend,
    cancel_all,
    place,
    small_world,
    with_terms,
)

ATOMS = 7  # of the first market: of one tick and lot


def limit(world: World, **limits: int) -> None:
    """Set the first market's limits."""
    outcome = world.do(SetMarketLimits(OPERATOR, 0, *NO_LIMITS._replace(**limits)))
    assert outcome.reason == Reason.NONE


def refusal(world: World, trader: Trader, item: object) -> tuple[str, str]:
    [result] = world.order(trader, item).items  # type: ignore[arg-type]
    return Reason(result.reason).name, result.field


@pytest.fixture
def world() -> World:
    """Asks of another at 101 (4 lots) and 103 (6 lots), a bid at 97; the third trader acts."""
    world = small_world()
    first = world.traders[0]
    world.order(first, place(SELL, 101, 4), place(SELL, 103, 6), place(BUY, 97, 5))
    return world


def test_min_quantity_is_taken_at_once_or_refused(world: World) -> None:
    trader = world.traders[2]
    for tif in (IOC, GTC):
        item = with_terms(place(BUY, 102, 8, tif=tif), min_lots=5)
        assert refusal(world, trader, item) == ("MIN_QUANTITY_UNFILLABLE", "min_lots")
    [result] = world.order(trader, with_terms(place(BUY, 102, 8), min_lots=4)).items
    assert (result.filled_lots, result.remaining_lots) == (4, 4)


def test_min_quantity_goes_with_what_takes(world: World) -> None:
    trader = world.traders[2]
    for item in (
        with_terms(place(BUY, 102, 8, tif=FOK), min_lots=5),
        with_terms(place(BUY, 100, 8), POST_ONLY, min_lots=5),
        with_terms(place(BUY, 102, 8), min_lots=9),
        with_terms(place(BUY, 102, 8), min_lots=-1),
    ):
        assert refusal(world, trader, item) == ("FIELD_INVALID", "min_lots")


def test_a_sliding_order_rests_outside_the_best_price(world: World) -> None:
    trader = world.traders[2]
    for side, sent, rests in ((BUY, 105, 100), (SELL, 90, 98), (BUY, 99, 99)):
        outcome = world.order(trader, with_terms(place(side, sent, 5), POST_ONLY, SLIDE))
        [result] = outcome.items
        assert result.status == OrderStatus.OPEN
        book = world.exchange.markets[0].book
        assert book.side(side).levels.by_price[rests].quantity_lots == 5
        moved = [event.price_ticks for event in outcome.events if isinstance(event, OrderRepriced)]
        assert moved == ([rests] if sent != rests else [])
        world.order(trader, *[(2, 0, 0, 0, 0, 0, 0, 0, 0, result.order_key)])


def test_a_sliding_buy_reserves_for_the_price_it_slid_to(world: World) -> None:
    slid, plain = world.traders[1:3]
    world.order(slid, with_terms(place(BUY, 105, 5), POST_ONLY, SLIDE))
    world.order(plain, place(BUY, 100, 5))
    ledger = world.exchange.ledger
    quote = ledger.assets_by_id["QQQ"]
    assert ledger.cell(slid.account_key, quote).held == ledger.cell(plain.account_key, quote).held


def test_a_slide_to_no_valid_price_is_refused() -> None:
    world = small_world()
    first, second = world.traders[:2]
    world.order(first, place(SELL, 1, 5))
    item = with_terms(place(BUY, 5, 5), POST_ONLY, SLIDE)
    assert refusal(world, second, item) == ("POST_ONLY_WOULD_TAKE", "post_only")


def test_a_slide_counts_at_entry_only(world: World) -> None:
    trader = world.traders[2]
    [result] = world.order(trader, with_terms(place(BUY, 105, 5), POST_ONLY, SLIDE)).items
    item = amend(5, 104, order_key=result.order_key)
    assert refusal(world, trader, item) == ("POST_ONLY_WOULD_TAKE", "price_ticks")


def test_to_slide_is_to_be_post_only(world: World) -> None:
    item = with_terms(place(BUY, 99, 5), SLIDE)
    assert refusal(world, world.traders[2], item) == ("FIELD_INVALID", "slide")


@pytest.mark.parametrize(("side", "band", "lots"), [(BUY, 1, 4), (BUY, 2, 10), (SELL, 5, 5)])
def test_a_market_order_stays_inside_the_band(
    world: World, side: int, band: int, lots: int
) -> None:
    limit(world, protection_ticks=band)
    item = place(side, 0, 50, order_type=TYPE_MARKET, tif=IOC)
    [result] = world.order(world.traders[2], item).items
    assert (result.status, result.filled_lots) == (OrderStatus.EXPIRED, lots)


def test_a_band_wider_than_the_price_is_no_bound(world: World) -> None:
    limit(world, protection_ticks=500)
    item = place(SELL, 0, 50, order_type=TYPE_MARKET, tif=IOC)
    outcome = world.order(world.traders[2], item)
    assert [event.price_ticks for event in outcome.events if isinstance(event, Trade)] == [97]


def test_a_market_order_kills_what_the_band_leaves(world: World) -> None:
    limit(world, protection_ticks=1)
    item = place(BUY, 0, 5, order_type=TYPE_MARKET, tif=FOK)
    assert refusal(world, world.traders[2], item) == ("FILL_OR_KILL_UNFILLABLE", "quantity_lots")


def test_notional_has_bounds(world: World) -> None:
    trader = world.traders[2]
    limit(world, notional_min_atoms=90 * 5 * ATOMS, notional_max_atoms=90 * 8 * ATOMS)
    for lots, reason in ((4, True), (5, False), (8, False), (9, True)):
        got = refusal(world, trader, place(BUY, 90, lots))
        wanted = ("NOTIONAL_OUT_OF_RANGE", "quantity_lots") if reason else ("NONE", "")
        assert got == wanted, lots


def test_a_price_stays_near_the_last(world: World) -> None:
    trader = world.traders[2]
    limit(world, price_band_ppm=50_000)
    assert refusal(world, trader, place(BUY, 1, 1)) == ("NONE", ""), "no last price, no band"
    world.order(trader, place(BUY, 101, 1, tif=IOC))
    assert world.exchange.markets[0].last_price_ticks == 101
    for price, good in ((95, False), (96, True), (106, True), (107, False)):
        got = refusal(world, trader, place(BUY, price, 1, tif=IOC))
        assert got == (("NONE", "") if good else ("PRICE_OUT_OF_BAND", "price_ticks")), price


def test_an_amend_passes_the_filters_too(world: World) -> None:
    trader = world.traders[2]
    [result] = world.order(trader, place(BUY, 90, 5)).items
    key = result.order_key
    world.order(trader, place(BUY, 101, 1, tif=IOC))
    limit(world, price_band_ppm=50_000, notional_max_atoms=90 * 6 * ATOMS)
    for item, wanted in (
        (amend(7, order_key=key), ("NOTIONAL_OUT_OF_RANGE", "quantity_lots")),
        (amend(5, 95, order_key=key), ("PRICE_OUT_OF_BAND", "price_ticks")),
        # Its own price is out of the band by now, and it may stay there.
        (amend(4, order_key=key), ("NONE", "")),
        (amend(4, 96, order_key=key), ("NONE", "")),
    ):
        assert refusal(world, trader, item) == wanted


def test_limits_survive_a_restart(world: World) -> None:
    limit(world, protection_ticks=3, price_band_ppm=1, notional_min_atoms=2, notional_max_atoms=9)
    world.order(world.traders[2], place(BUY, 101, 1, tif=IOC))
    again = decode_state(encode_state(world.exchange))
    assert again.markets[0].limits == MarketLimits(3, 1, 2, 9)
    assert again.markets[1].limits is NO_LIMITS


def test_limits_must_make_sense() -> None:
    world = small_world()
    for market, limits, wanted in (
        (0, (-1, 0, 0, 0), ("FIELD_INVALID", "protection_ticks")),
        (1, (3, 0, 0, 0), ("FIELD_INVALID", "protection_ticks")),
        (0, (0, 1_000_001, 0, 0), ("FIELD_INVALID", "price_band_ppm")),
        (0, (0, 0, 5, 4), ("FIELD_INVALID", "notional_max_atoms")),
        (9, (0, 0, 0, 0), ("UNKNOWN_MARKET", "market_id")),
        (-1, (0, 0, 0, 0), ("UNKNOWN_MARKET", "market_id")),
    ):
        outcome = world.do(SetMarketLimits(OPERATOR, market, *limits))
        assert (outcome.reason.name, outcome.field) == wanted


def test_terms_are_reported_as_they_were_said(world: World) -> None:
    item = with_terms(place(BUY, 90, 5), display_lots=2, min_lots=0, stp=STP_DECREMENT)
    outcome = world.order(world.traders[2], item)
    [event] = [event for event in outcome.events if isinstance(event, TermsAccepted)]
    assert event[3:] == (TYPE_LIMIT, GTC, 4, 2, 0, 0, 0, 0, 0, STP_DECREMENT, 0)


def test_what_a_limit_order_cannot_use_is_refused(world: World) -> None:
    for field, terms in (
        ("trigger_price_ticks", {"trigger_price_ticks": 1}),
        ("trail_ticks", {"trail_ticks": 1}),
        ("peg_offset_ticks", {"peg_offset_ticks": -1}),
        ("expire_time", {"expire_time_ns": 1}),
        ("self_trade_prevention", {"stp": 5}),
        ("peg", {"peg": 1}),
    ):
        item = with_terms(place(BUY, 90, 5), **terms)
        assert refusal(world, world.traders[2], item) == ("FIELD_INVALID", field)
    item = with_terms(place(BUY, 90, 5), 128)
    assert refusal(world, world.traders[2], item) == ("FIELD_INVALID", "terms")


def test_a_cancel_of_all_names_an_unknown_market_before_an_unknown_side() -> None:
    world = small_world()
    trader = world.traders[0]
    unknown_side = 3
    for market, said in ((9, ("UNKNOWN_MARKET", "market_id")), (0, ("FIELD_INVALID", "side"))):
        item = cancel_all(market)
        assert refusal(world, trader, (item[0], unknown_side, *item[2:])) == said
