"""Pools over the wire, on both servers: operators, who provides, who trades, strangers."""

from __future__ import annotations

from typing import Any, NamedTuple
from zlib import crc32

import pytest

from dex.admin.v1 import admin_pb2
from dex.matching.v1 import matching_pb2
from dex.orders.v1 import order_intake_pb2 as orders_pb
from dex.orders.v1 import signed_payload_pb2 as wire
from dex.pools.v1 import pools_pb2 as pb
from tests.integration.test_api_keys import add_key
from tests.support.wire import (
    CALL_SECONDS,
    OperatorWire,
    Refusal,
    Signer,
    Wire,
    answer,
    buy,
    refused,
    sell,
)

PRODUCT, RANGES = pb.POOL_KIND_CONSTANT_PRODUCT, pb.POOL_KIND_CONCENTRATED
IN, OUT = wire.SWAP_EXACT_IN, wire.SWAP_EXACT_OUT
BUY, SELL = wire.SIDE_BUY, wire.SIDE_SELL
# Of these markets: atoms of a lot, and of a tick and lot. At 100 ticks a base atom is worth 100
# quote atoms.
LOT, TICK_LOT = 1_000, 1_000
BASE, QUOTE = 1_000_000, 100_000_000
# Pool ticks about 1.0001^46054 = 100.
MIDDLE = 46_020


class Floor(NamedTuple):
    """A market with a pool, and who acts."""

    api: Wire
    operator: OperatorWire
    market: str
    owner: Signer
    taker: Signer

    def pool(self) -> pb.Pool:
        request = pb.GetPoolRequest(market_id=self.market)
        found: pb.Pool = self.api.pools.GetPool(request, timeout=CALL_SECONDS).pool
        return found

    def positions(self, signer: Signer, **more: Any) -> pb.ListPositionsResponse:
        request = pb.ListPositionsRequest(account_id=signer.account_id, **more)
        found: pb.ListPositionsResponse = self.api.pools.ListPositions(
            request, metadata=signer.token(), timeout=CALL_SECONDS
        )
        return found

    def send(self, envelope: wire.SignedEnvelope, method: str) -> Any:
        request = getattr(pb, f"{method}Request")(envelope=envelope)
        return getattr(self.api.pools, method)(request, timeout=CALL_SECONDS)

    def add(self, signer: Signer, base: int, quote: int, **more: Any) -> Any:
        body = wire.LiquidityAddition(
            market_id=self.market, base_atoms_max=base, quote_atoms_max=quote, **more
        )
        return self.send(signer.envelope(add_liquidity=body), "AddLiquidity")

    def remove(self, signer: Signer, liquidity: int, **more: Any) -> Any:
        body = wire.LiquidityRemoval(market_id=self.market, liquidity=liquidity, **more)
        return self.send(signer.envelope(remove_liquidity=body), "RemoveLiquidity")

    def swap(self, signer: Signer, swap: wire.PoolSwap) -> Any:
        return self.send(signer.envelope(pool_swap=swap), "SwapWithPool")

    def quote(self, swap: wire.PoolSwap) -> pb.QuotePoolSwapResponse:
        request = pb.QuotePoolSwapRequest(swap=swap)
        found: pb.QuotePoolSwapResponse = self.api.pools.QuotePoolSwap(
            request, timeout=CALL_SECONDS
        )
        return found

    def terms(self, side: Any, exact: Any, amount: int, limit: int = 0) -> wire.PoolSwap:
        return wire.PoolSwap(
            market_id=self.market, side=side, exact=exact, amount_atoms=amount, limit_atoms=limit
        )

    def money(self, signer: Signer) -> tuple[int, int]:
        """Base and quote atoms that the account may dispose of."""
        balances = self.api.balances(signer)
        base, quote = self.market.split("-")
        return balances[base][0], balances[quote][0]


def create(operator: OperatorWire, market: str, kind: Any, fee_ppm: int, price: int = 0) -> pb.Pool:
    request = admin_pb2.CreatePoolRequest(
        market_id=market, kind=kind, fee_ppm=fee_ppm, price_ticks=price
    )
    created: pb.Pool = operator.call("CreatePool", request).pool
    return created


def floor(operator: OperatorWire, base: str, kind: Any, price: int = 0) -> Floor:
    market = operator.open_market(base, taker_fee_ppm=0, maker_fee_ppm=0)
    create(operator, market, kind, 3_000, price)
    owner, taker = (operator.trader(base, "USDT") for _ in range(2))
    return Floor(operator.wire, operator, market, owner, taker)


@pytest.fixture
def product(operator: OperatorWire, request: pytest.FixtureRequest) -> Floor:
    """A constant product with money in it."""
    name = crc32(request.node.name.encode())
    made = floor(operator, f"P{name}", PRODUCT)
    made.add(made.owner, BASE, QUOTE)
    return made


def facts(said: Refusal) -> tuple[str, str]:
    return said.reason, said.field


def test_an_operator_gives_a_market_its_pool_once(operator: OperatorWire) -> None:
    market = operator.open_market("ONCE")
    assert facts(answer(create, operator, market, PRODUCT, 17)) == ("FIELD_INVALID", "fee_ppm")
    assert facts(answer(create, operator, market, 9, 100)) == ("FIELD_INVALID", "kind")
    off = answer(create, operator, market, RANGES, 100)
    assert facts(off) == ("PRICE_OUT_OF_RANGE", "price_ticks")
    assert facts(answer(create, operator, market, PRODUCT, 100, 7)) == (
        "FIELD_INVALID",
        "price_ticks",
    )
    assert facts(answer(create, operator, "NO-SUCH", PRODUCT, 100))[0] == "UNKNOWN_MARKET"
    first = create(operator, market, RANGES, 500, 100)
    assert (first.kind, first.fee_ppm, first.tick_spacing) == (RANGES, 500, 10)
    assert (first.start_price_ticks, first.price, first.liquidity) == (100, "100", 0)
    assert int(first.sqrt_price_x96) == 10 * 2**96
    assert create(operator, market, RANGES, 500, 100) == first
    assert facts(answer(create, operator, market, RANGES, 500, 101)) == ("POOL_EXISTS", "market_id")
    stranger = operator.trader("ONCE")
    request = admin_pb2.CreatePoolRequest(market_id=market, kind=PRODUCT, fee_ppm=100)
    said = answer(operator.wire.admin.CreatePool, request, metadata=stranger.token())
    assert said.reason == "PERMISSION_DENIED"


def test_pools_are_listed_by_market(api: Wire, operator: OperatorWire) -> None:
    markets = [operator.open_market(base) for base in ("LB", "LA", "LC")]
    for market in markets[:2]:
        create(operator, market, PRODUCT, 100)
    request = pb.ListPoolsRequest(page_size=1)
    found: list[str] = []
    while True:
        page = api.pools.ListPools(request, timeout=CALL_SECONDS)
        found += [pool.market_id for pool in page.pools]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert found == sorted(found)
    assert [name for name in found if name in markets] == ["LA-USDT", "LB-USDT"]
    absent = pb.GetPoolRequest(market_id="LC-USDT")
    assert facts(answer(api.pools.GetPool, absent)) == ("NO_POOL", "market_id")
    unknown = pb.GetPoolRequest(market_id="LX-USDT")
    assert facts(answer(api.pools.GetPool, unknown)) == ("UNKNOWN_MARKET", "market_id")


def test_liquidity_is_shared_and_comes_back(product: Floor) -> None:
    # 10^7 is the root of the product; a thousand shares are nobody's.
    [mine] = product.positions(product.owner).positions
    assert (mine.market_id, mine.lower_tick, mine.upper_tick) == (product.market, 0, 0)
    assert mine.liquidity == 10**7 - 1_000
    pool = product.pool()
    assert (pool.base_atoms, pool.quote_atoms, pool.price) == (BASE, QUOTE, "100")
    assert (pool.liquidity, pool.position_count, pool.sqrt_price_x96) == (10**7, 1, "")
    # At the pool's ratio: of the quote only as much as goes with the base.
    before = product.money(product.taker)
    done = product.add(product.taker, 1_000, QUOTE)
    assert (done.liquidity, done.base_atoms, done.quote_atoms) == (10_000, 1_000, 100_000)
    assert product.money(product.taker) == (before[0] - 1_000, before[1] - 100_000)
    assert product.pool().sequence == done.applied.sequence
    back = product.remove(product.taker, 10_000)
    assert (back.liquidity, back.base_atoms, back.quote_atoms) == (10_000, 1_000, 100_000)
    assert product.money(product.taker) == before
    assert not product.positions(product.taker).positions
    again = answer(product.remove, product.taker, 1)
    assert facts(again) == ("UNKNOWN_POSITION", "market_id")


def test_a_retry_gets_the_first_answer(product: Floor) -> None:
    swap = product.taker.envelope(pool_swap=product.terms(BUY, IN, 10_000))
    added = product.owner.envelope(
        add_liquidity=wire.LiquidityAddition(
            market_id=product.market, base_atoms_max=100, quote_atoms_max=10_000
        )
    )
    for envelope, method in ((swap, "SwapWithPool"), (added, "AddLiquidity")):
        first = product.send(envelope, method)
        pool = product.pool()
        assert product.send(envelope, method) == first
        assert product.pool() == pool


def test_an_order_meets_the_pool(product: Floor) -> None:
    order = buy(product.market, 102, 2, time_in_force=wire.TIME_IN_FORCE_IOC)
    [fill] = product.api.place(product.taker, order).fills
    # A buyer of 2,000 of 10^6 pays 100.5 a piece with the fee, rounded up to a tick.
    assert (fill.price_ticks, fill.quantity_lots) == (101, 2)
    pool = product.pool()
    assert (pool.base_atoms, pool.quote_atoms) == (BASE - 2 * LOT, QUOTE + 2 * 101 * TICK_LOT)
    request = matching_pb2.ListTradesRequest(market_id=product.market)
    [trade] = product.api.matching.ListTrades(request, timeout=CALL_SECONDS).trades
    assert trade.maker_order_id == pool.account_id


@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize("exact", [IN, OUT])
def test_a_swap_gives_what_was_quoted_and_keeps_its_limit(
    product: Floor, side: Any, exact: Any
) -> None:
    amount = 5_000 if (side == BUY) == (exact == OUT) else 500_000
    pool = product.pool()
    quoted = product.quote(product.terms(side, exact, amount))
    assert product.pool() == pool, "a preview changed the pool"
    base, quote = quoted.base_atoms, quoted.quote_atoms
    x, y = (QUOTE, BASE) if side == BUY else (BASE, QUOTE)
    paid, got = (quote, base) if side == BUY else (base, quote)

    def bought(atoms: int) -> int:
        """Of a constant product: what comes in counts less 0.3 %."""
        return atoms * 997 * y // (x * 1_000 + atoms * 997)

    if exact == IN:
        assert (paid, got) == (amount, bought(amount))
    else:
        assert got == amount <= bought(paid)
        assert bought(paid - 1) < amount
    other = got if exact == IN else paid
    one_worse = other + (1 if exact == IN else -1)
    before = product.money(product.taker)
    said = answer(product.swap, product.taker, product.terms(side, exact, amount, one_worse))
    assert facts(said) == ("SLIPPAGE", "limit_atoms"), "a swap went beyond its limit"
    assert product.money(product.taker) == before
    done = product.swap(product.taker, product.terms(side, exact, amount, other))
    assert (done.base_atoms, done.quote_atoms) == (base, quote)
    sign = 1 if side == BUY else -1
    after = product.money(product.taker)
    assert after == (before[0] + sign * base, before[1] - sign * quote)
    request = matching_pb2.ListTradesRequest(market_id=product.market)
    assert not product.api.matching.ListTrades(request, timeout=CALL_SECONDS).trades


def test_positions_of_ranges_earn_and_are_their_owners(operator: OperatorWire) -> None:
    made = floor(operator, "RNG", RANGES, 100)
    ranges = [(MIDDLE - 600, MIDDLE + 600), (MIDDLE - 60, MIDDLE + 120), (0, MIDDLE - 660)]
    for lower, upper in ranges:
        made.add(made.owner, BASE, QUOTE, lower_tick=lower, upper_tick=upper)
    made.swap(made.taker, made.terms(BUY, IN, 200_000))
    made.swap(made.taker, made.terms(SELL, IN, 1_000))
    found = made.positions(made.owner).positions
    assert [(each.lower_tick, each.upper_tick) for each in found] == sorted(ranges)
    assert made.positions(made.owner, market_id=made.market).positions == found
    paged: list[pb.Position] = []
    token = ""
    for _ in found:
        page = made.positions(made.owner, page_size=1, page_token=token)
        paged += page.positions
        token = page.next_page_token
    assert (paged, token) == ([*found], "")
    earned = [(each.fee_base_atoms, each.fee_quote_atoms) for each in found]
    assert earned[0] == (0, 0) < min(earned[1:])
    assert sum(quote for _, quote in earned) in range(598, 602)
    pool = made.pool()
    used = sum(each.liquidity for each in found[1:])
    assert (pool.liquidity, pool.position_count, pool.tick_spacing) == (used, 3, 60)
    assert pool.liquidity_total == used + found[0].liquidity
    # What is shown is what comes: first the fees, then half of it.
    shown = found[1]
    place = {"lower_tick": shown.lower_tick, "upper_tick": shown.upper_tick}
    fees = made.remove(made.owner, 0, **place)
    assert (fees.base_atoms, fees.quote_atoms) == (shown.fee_base_atoms, shown.fee_quote_atoms)
    whole = made.remove(made.owner, shown.liquidity, base_atoms_min=shown.base_atoms, **place)
    assert (whole.base_atoms, whole.quote_atoms) == (shown.base_atoms, shown.quote_atoms)
    # Nobody else's: neither seen nor taken.
    request = pb.ListPositionsRequest(account_id=made.owner.account_id)
    said = answer(made.api.pools.ListPositions, request, metadata=made.taker.token())
    assert facts(said) == ("PERMISSION_DENIED", "account_id")
    left = found[2]
    place = {"lower_tick": left.lower_tick, "upper_tick": left.upper_tick}
    said = answer(made.remove, made.taker, left.liquidity, **place)
    assert facts(said) == ("UNKNOWN_POSITION", "lower_tick"), "a position of another was taken"
    mine = [each for each in made.positions(made.owner).positions if each.lower_tick]
    assert [(each.lower_tick, each.liquidity) for each in mine] == [
        (left.lower_tick, left.liquidity)
    ]


def test_what_is_refused_says_why_and_where(product: Floor, operator: OperatorWire) -> None:
    bare = operator.open_market("BARE")
    owner, taker = product.owner, product.taker
    poor = operator.wire.open_account()
    made = product.market

    def add(**body: Any) -> tuple[str, str]:
        asked = wire.LiquidityAddition(**{"market_id": made, **body})
        return facts(answer(product.send, owner.envelope(add_liquidity=asked), "AddLiquidity"))

    def swap(signer: Signer = taker, **body: Any) -> tuple[str, str]:
        asked: dict[str, Any] = {"market_id": made, "side": BUY, "exact": IN, "amount_atoms": 1_000}
        envelope = signer.envelope(pool_swap=wire.PoolSwap(**{**asked, **body}))
        return facts(answer(product.send, envelope, "SwapWithPool"))

    assert add(market_id="NO-SUCH") == ("UNKNOWN_MARKET", "market_id")
    assert add(market_id=bare, base_atoms_max=1) == ("NO_POOL", "market_id")
    assert add(lower_tick=60, upper_tick=120) == ("FIELD_INVALID", "lower_tick")
    assert add(base_atoms_max=-1) == ("FIELD_INVALID", "base_atoms_max")
    assert add(base_atoms_max=1)[0] == "LIQUIDITY_OUT_OF_RANGE"
    assert add(base_atoms_max=100, quote_atoms_max=10_000, base_atoms_min=101) == (
        "SLIPPAGE",
        "base_atoms_min",
    )
    assert swap(side=0) == ("FIELD_INVALID", "side")
    assert swap(exact=0) == ("FIELD_INVALID", "exact")
    assert swap(amount_atoms=0) == ("FIELD_INVALID", "amount_atoms")
    assert swap(exact=OUT, amount_atoms=BASE, limit_atoms=QUOTE)[0] == "NO_LIQUIDITY"
    assert swap(poor)[0] == "INSUFFICIENT_FUNDS"
    asked = product.terms(BUY, OUT, BASE)
    assert facts(answer(product.quote, asked))[0] == "NO_LIQUIDITY"
    asked.side = wire.SIDE_UNSPECIFIED
    assert facts(answer(product.quote, asked)) == ("FIELD_INVALID", "swap.side")
    # The action is the method's, and not a stream's.
    envelope = taker.envelope(pool_swap=product.terms(BUY, IN, 1_000))
    said = answer(product.send, envelope, "AddLiquidity")
    assert facts(said) == ("ACTION_MISMATCH", "envelope.payload.pool_swap")
    stream = orders_pb.OrderStreamRequest(envelope=envelope)
    [told] = product.api.orders.OrderStream(iter([stream]), timeout=CALL_SECONDS)
    assert told.rejection.field == "envelope.payload.pool_swap"
    reader = add_key(product.api, taker, wire.KEY_SCOPE_READ)
    reader.account_id = taker.account_id
    assert swap(reader)[0] == "KEY_LACKS_SCOPE"
    halt = admin_pb2.SetMarketStatusRequest(
        market_id=made, status=matching_pb2.MARKET_STATUS_HALTED
    )
    operator.call("SetMarketStatus", halt)
    assert swap() == ("MARKET_NOT_OPEN", "market_id")
    closed = refused(lambda: product.quote(product.terms(BUY, IN, 1_000)))
    assert facts(closed) == ("MARKET_NOT_OPEN", "market_id")


def test_a_stream_shows_the_pool_after_each_change(product: Floor) -> None:
    request = pb.StreamPoolRequest(market_id=product.market)
    feed = product.api.pools.StreamPool(request, timeout=CALL_SECONDS)
    assert next(feed).pool == product.pool()
    product.swap(product.taker, product.terms(BUY, IN, 10_000))
    assert next(feed).pool == product.pool()
    # By orders, too; what does not touch the pool is not told.
    product.api.place(product.owner, sell(product.market, 500, 1))
    product.api.place(product.taker, buy(product.market, 102, 1))
    changed = next(feed).pool
    assert changed == product.pool()
    assert changed.base_atoms < BASE - 90
    feed.cancel()
