"""Orders in a market with a pool, and what accounts do with the pool itself."""

from __future__ import annotations

from typing import Any

import pytest

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import (
    CreateMarket,
    SetMarketLimits,
    SetMarketStatus,
    Transfer,
    Withdraw,
)
from dexcore.events import PoolCreated, Trade
from dexcore.items import (
    POST_ONLY,
    SLIDE,
    STP_CANCEL_NEWEST,
    STP_CANCEL_OLDEST,
    STP_DECREMENT,
)
from dexcore.pool_commands import EXACT_IN, EXACT_OUT, AddLiquidity, CreatePool, PoolSwap
from dexcore.pool_commands import RemoveLiquidity as Remove
from dexcore.reasons import Reason
from dexcore.results import ItemResult, OrderStatus, Outcome
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SELL,
    START_NS,
    amend,
    orders,
    place,
    spec,
    with_terms,
)
from tests.unit.core.pool_exchange import PoolPair
from tests.unit.core.pool_maker import CONCENTRATED, CONSTANT_PRODUCT
from tests.unit.core.pool_maker import MIDDLE_TICK as MIDDLE

FOK, IOC, MARKET = 3, 2, 2
# 10 base atoms a lot, 1 quote atom a tick and lot; a taker pays 1 %.
SPEC = spec(
    "AAA",
    "QQQ",
    base_atoms_per_lot=10,
    quote_atoms_per_tick_lot=1,
    maker_fee_ppm=0,
    taker_fee_ppm=10_000,
)
HELD = 10_000, 10_000


def pair_with_liquidity() -> PoolPair:
    """A constant product of 10,000 each, at 10 ticks a lot and 0.01 %; the first trader's."""
    pair = PoolPair(SPEC, CONSTANT_PRODUCT, 100)
    assert not pair.do(AddLiquidity(*pair.head(pair.traders[0]), 0, 0, 0, *HELD, 0, 0)).reason
    return pair


def order(pair: PoolPair, who: int, side: int, price: int, lots: int, **terms: Any) -> Outcome:
    pair.nonce += 1
    item = place(side, price, lots, **terms)
    return pair.do(orders(pair.traders[who], pair.nonce, [item], now_ns=START_NS))


def order_with(
    pair: PoolPair, who: int, side: int, price: int, lots: int, *flags: int, **more: Any
) -> Outcome:
    """The same with terms: what `place` does not take is one."""
    names = {"order_type", "tif", "post_only"} & set(more)
    terms = {name: more.pop(name) for name in names}
    pair.nonce += 1
    item = with_terms(place(side, price, lots, **terms), *flags, **more)
    return pair.do(orders(pair.traders[who], pair.nonce, [item], now_ns=START_NS))


def result(outcome: Outcome) -> ItemResult:
    return outcome.items[0]


def test_a_fill_of_the_pool_is_a_trade_with_its_account() -> None:
    pair = pair_with_liquidity()
    outcome = order(pair, 1, BUY, 12, 20, tif=IOC)
    # 20 lots are 200 base atoms: 10000 * 200 / 9800 / 0.9999 = 204.10, so 205: 15 at 10, 5 at 11.
    trades = [event for event in outcome.events if isinstance(event, Trade)]
    assert [(t.price_ticks, t.quantity_lots) for t in trades] == [(10, 15), (11, 5)]
    pool_key = pair.pool_key
    assert {(t.maker_order_key, t.maker_account_key, t.maker_fee_atoms) for t in trades} == {
        (pool_key, pool_key, 0)
    }
    assert [fill[3] for fill in result(outcome).fills] == [2, 1]
    assert (pair.curve.base_atoms, pair.curve.quote_atoms) == (9_800, 10_205)
    assert pair.exchange.markets[0].last_price_ticks == 11


def test_the_book_is_first_at_the_pools_price_and_the_pool_before_worse() -> None:
    pair = pair_with_liquidity()
    order(pair, 2, SELL, 11, 4)
    order(pair, 2, SELL, 12, 4)
    outcome = order(pair, 1, BUY, 12, 10)
    keys = [event.maker_account_key for event in outcome.events if isinstance(event, Trade)]
    seller, pool = pair.traders[2].account_key, pair.pool_key
    assert keys == [seller, pool, pool]
    assert result(outcome).status == OrderStatus.FILLED


def test_fill_or_kill_counts_the_pool() -> None:
    pair = pair_with_liquidity()
    order(pair, 2, SELL, 11, 4)
    # The pool has 46 lots up to 11: the n-th costs 10^9 / 0.9999 / ((10010 - 10 n) (10000 - 10 n)).
    refused = order(pair, 1, BUY, 11, 52, tif=FOK)
    assert result(refused).reason == Reason.FILL_OR_KILL_UNFILLABLE
    assert result(order(pair, 1, BUY, 11, 50, tif=FOK)).status == OrderStatus.FILLED


def test_post_only_does_not_take_from_the_pool() -> None:
    pair = pair_with_liquidity()
    refused = order(pair, 1, BUY, 11, 1, post_only=True)
    assert result(refused).reason == Reason.POST_ONLY_WOULD_TAKE
    assert result(order(pair, 1, BUY, 10, 1, post_only=True)).status == OrderStatus.OPEN


def test_a_sliding_order_stays_outside_the_pools_price() -> None:
    pair = pair_with_liquidity()
    assert result(order_with(pair, 1, BUY, 15, 3, POST_ONLY, SLIDE)).status == OrderStatus.OPEN
    # The pool's next lot is at 11.
    assert pair.exchange.markets[0].book.bids.depth(5) == [(10, 3)]


def test_a_protection_band_begins_at_the_pools_price() -> None:
    pair = pair_with_liquidity()
    pair.do(SetMarketLimits(OPERATOR, 0, 1, 0, 0, 0))
    order(pair, 2, SELL, 14, 9)
    # 87 lots are at 12 or better; the order at 14 is outside of 11 + 1.
    outcome = order(pair, 1, BUY, 0, 200, order_type=MARKET, tif=IOC)
    assert (result(outcome).filled_lots, result(outcome).status) == (87, OrderStatus.EXPIRED)


def test_an_own_order_ends_what_counts_of_the_pool() -> None:
    pair = pair_with_liquidity()
    order(pair, 1, SELL, 11, 4)
    order(pair, 2, SELL, 11, 4)
    # Nothing of the pool is better than the own order at 11, and what is behind that is not had.
    stp = {"stp": STP_CANCEL_NEWEST, "tif": FOK}
    assert result(order_with(pair, 1, BUY, 12, 5, **stp)).reason == Reason.FILL_OR_KILL_UNFILLABLE
    outcome = order_with(pair, 1, BUY, 12, 5, stp=STP_CANCEL_NEWEST)
    assert (result(outcome).filled_lots, result(outcome).status) == (0, OrderStatus.CANCELLED)
    # Under the mode that cancels the own one, the other's and the pool's count.
    stp = {"stp": STP_CANCEL_OLDEST, "tif": FOK}
    assert result(order_with(pair, 1, BUY, 12, 5, **stp)).filled_lots == 5


def test_own_lots_shrink_what_is_taken_of_the_pool_behind_them() -> None:
    pair = pair_with_liquidity()
    order(pair, 1, SELL, 11, 4)
    order(pair, 2, SELL, 11, 4)
    # Ten are wanted: four are taken off by the own order, four are the other's, two the pool's.
    stp = {"stp": STP_DECREMENT, "tif": FOK}
    assert result(order_with(pair, 1, BUY, 11, 10, **stp)).reason == Reason.FILL_OR_KILL_UNFILLABLE
    least = {"stp": STP_DECREMENT, "tif": IOC}
    refused = order_with(pair, 1, BUY, 11, 10, min_lots=7, **least)
    assert result(refused).reason == Reason.MIN_QUANTITY_UNFILLABLE
    assert result(order_with(pair, 1, BUY, 11, 10, min_lots=6, **least)).filled_lots == 6


def test_a_market_buy_holds_nothing_for_what_its_own_lots_take_off() -> None:
    pair = pair_with_liquidity()
    order(pair, 1, SELL, 10, 400)
    # Without them 500 lots of the pool would cost as much as the account has, and more.
    spent = Withdraw(OPERATOR, pair.traders[1].account_key, "QQQ", 2_399_000, "spent")
    assert not pair.do(spent).reason
    terms = {"order_type": MARKET, "tif": IOC, "stp": STP_DECREMENT}
    outcome = order_with(pair, 1, BUY, 0, 410, **terms)
    assert (result(outcome).filled_lots, result(outcome).status) == (10, OrderStatus.FILLED)


def test_a_call_phase_does_not_look_at_the_pool() -> None:
    pair = pair_with_liquidity()
    key = result(order(pair, 1, BUY, 5, 3, post_only=True)).order_key
    pair.do(SetMarketStatus(OPERATOR, 0, 4))
    pair.nonce += 1
    changed = orders(pair.traders[1], pair.nonce, [amend(3, 15, key)], now_ns=START_NS)
    # The pool sells at 11, but only in OPEN, and to takers.
    assert result(pair.do(changed)).status == OrderStatus.OPEN
    pair.do(SetMarketStatus(OPERATOR, 0, 1))
    assert pair.exchange.markets[0].book.bids.depth(5) == [(15, 3)]


def test_minimum_quantity_counts_the_pool() -> None:
    pair = pair_with_liquidity()
    refused = order_with(pair, 1, BUY, 11, 100, min_lots=47)
    assert result(refused).reason == Reason.MIN_QUANTITY_UNFILLABLE
    assert result(order_with(pair, 1, BUY, 11, 100, min_lots=46)).filled_lots == 46


def test_a_market_order_needs_nothing_but_a_pool() -> None:
    pair = PoolPair(SPEC, CONSTANT_PRODUCT, 100)
    terms = {"order_type": MARKET, "tif": IOC}
    assert result(order(pair, 1, SELL, 0, 5, **terms)).reason == Reason.NO_LIQUIDITY
    pair.do(AddLiquidity(*pair.head(pair.traders[0]), 0, 0, 0, *HELD, 0, 0))
    assert result(order(pair, 1, SELL, 0, 5, **terms)).status == OrderStatus.FILLED


def test_a_pool_trades_only_where_orders_do() -> None:
    pair = pair_with_liquidity()
    pair.do(SetMarketStatus(OPERATOR, 0, 2))
    swap = PoolSwap(*pair.head(pair.traders[1]), 0, BUY, EXACT_IN, 100, 0)
    assert pair.do(swap).reason == Reason.MARKET_NOT_OPEN
    # Who provides liquidity gets out as long as orders do.
    remove = pair.do(Remove(*pair.head(pair.traders[0]), 0, 0, 0, 9_000, 0, 0))
    assert remove.amounts == (9_000, 9_000, 9_000)
    pair.do(SetMarketStatus(OPERATOR, 0, 3))
    remove = pair.do(Remove(*pair.head(pair.traders[0]), 0, 0, 0, 1, 0, 0))
    assert remove.reason == Reason.MARKET_NOT_OPEN


@pytest.mark.parametrize(
    ("exact", "limit", "reason"),
    [
        (EXACT_IN, 990, Reason.NONE),
        (EXACT_IN, 991, Reason.SLIPPAGE),
        (EXACT_OUT, 1_010, Reason.SLIPPAGE),
        (EXACT_OUT, 1_011, Reason.NONE),
    ],
)
def test_a_swap_is_not_worse_than_its_limit(exact: int, limit: int, reason: Reason) -> None:
    """100,000 each: 1,000 in bring 990.0, 1,000 out cost 1,010.2, the fee in it."""
    pair = PoolPair(SPEC, CONSTANT_PRODUCT, 100)
    pair.do(AddLiquidity(*pair.head(pair.traders[0]), 0, 0, 0, 100_000, 100_000, 0, 0))
    outcome = pair.do(PoolSwap(*pair.head(pair.traders[1]), 0, BUY, exact, 1_000, limit))
    assert outcome.reason == reason
    assert bool(outcome.amounts) == (reason == Reason.NONE)


def test_a_swap_that_is_sent_again_is_answered_with_its_amounts() -> None:
    pair = pair_with_liquidity()
    swap = PoolSwap(*pair.head(pair.traders[1]), 0, BUY, EXACT_IN, 1_000, 0)
    first, again = pair.do(swap), pair.do(swap)
    assert again.repeated
    # 10000 * 999.9 / 10999.9 = 909.01
    assert again.amounts == first.amounts == (909, 1_000)


def test_liquidity_is_not_added_for_less_than_asked() -> None:
    pair = pair_with_liquidity()
    pair.do(PoolSwap(*pair.head(pair.traders[1]), 0, BUY, EXACT_IN, 5_000, 0))
    head = pair.head(pair.traders[2])
    assert pair.do(AddLiquidity(*head, 0, 0, 0, 1_000, 1_000, 1_000, 0)).field == "base_atoms_min"


def test_the_first_shares_are_locked() -> None:
    pair = pair_with_liquidity()
    assert pair.curve.shares == {pair.traders[0].account_key: 9_000}
    head = pair.head(pair.traders[0])
    assert pair.do(Remove(*head, 0, 0, 0, 9_001, 0, 0)).reason == Reason.LIQUIDITY_OUT_OF_RANGE


def test_nobody_pays_into_a_pools_account() -> None:
    pair = pair_with_liquidity()
    transfer = Transfer(*pair.head(pair.traders[1]), pair.pool_key, "AAA", 1)
    assert pair.do(transfer).reason == Reason.UNKNOWN_ACCOUNT


def test_a_market_has_one_pool() -> None:
    pair = pair_with_liquidity()
    again = pair.do(CreatePool(OPERATOR, 0, CONSTANT_PRODUCT, 100, 0))
    assert (again.repeated, again.key) == (True, pair.pool_key)
    other = pair.do(CreatePool(OPERATOR, 0, CONSTANT_PRODUCT, 500, 0))
    assert other.reason == Reason.POOL_EXISTS


@pytest.mark.parametrize(
    ("market", "kind", "fee_ppm", "price", "field"),
    [
        (9, CONSTANT_PRODUCT, 100, 0, "market_id"),
        (1, 3, 100, 0, "kind"),
        (1, CONSTANT_PRODUCT, 101, 0, "fee_ppm"),
        (1, CONSTANT_PRODUCT, 100, 5, "price_ticks"),
        (1, CONCENTRATED, 100, 0, "price_ticks"),
        (2, CONSTANT_PRODUCT, 100, 0, "market_id"),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused(
    market: int, kind: int, fee_ppm: int, price: int, field: str
) -> None:
    pair = pair_with_liquidity()
    pair.do(CreateMarket(OPERATOR, spec("BBB", "QQQ")))
    pair.do(CreateMarket(OPERATOR, spec("XXX", "QQQ", kind=2)))
    outcome = pair.do(CreatePool(OPERATOR, market, kind, fee_ppm, price))
    assert outcome.field == field
    assert not [event for event in outcome.events if isinstance(event, PoolCreated)]


@pytest.mark.parametrize(
    ("lower", "upper", "field"),
    [
        (-3_601, -3_540, "lower_tick"),
        (-3_600, -3_541, "upper_tick"),
        (-3_600, -3_600, "upper_tick"),
    ],
)
def test_positions_end_where_the_fee_tier_says(lower: int, upper: int, field: str) -> None:
    pair = PoolPair(SPEC, CONCENTRATED, 3_000)
    outcome = pair.do(
        AddLiquidity(*pair.head(pair.traders[0]), 0, lower, upper, 10**5, 10**5, 0, 0)
    )
    assert (outcome.reason, outcome.field) == (Reason.FIELD_INVALID, field)


def test_fees_are_taken_without_the_liquidity() -> None:
    pair = PoolPair(spec("AAA", "QQQ"), CONCENTRATED, 10_000)
    provider, trader = pair.traders[:2]
    where = MIDDLE - 400, MIDDLE + 400
    added = pair.do(AddLiquidity(*pair.head(provider), 0, *where, 10**6, 10**6, 0, 0))
    assert not added.reason
    pair.do(PoolSwap(*pair.head(trader), 0, SELL, EXACT_IN, 10_000, 0))
    fees = pair.do(Remove(*pair.head(provider), 0, *where, 0, 0, 0))
    # 1 % of what came in, but the fraction that a division left.
    assert fees.amounts == (0, 99, 0)


def test_a_snapshot_holds_a_pool() -> None:
    pair = pair_with_liquidity()
    order(pair, 1, BUY, 12, 20, tif=IOC)
    restored = decode_state(encode_state(pair.exchange))
    pool = restored.markets[0].pool
    assert pool is not None
    assert pool.curve.base_atoms == pair.curve.base_atoms
    assert encode_state(restored) == encode_state(pair.exchange)
