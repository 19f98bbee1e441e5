"""What QuoteSwap says is what the order then gets, whatever the pool and the book are like."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dex.errors.v1 import errors_pb2
from dex.matching.v1 import swap_pb2 as pb
from dexcore.checkpoint import encode_state
from dexcore.commands import Command, CreateMarket, Deposit
from dexcore.exchange import Exchange
from dexcore.items import FOK
from dexcore.market import MarketSpec
from dexcore.pool_commands import AddLiquidity, CreatePool
from dexcore.quote_commands import GiveQuote, RequestQuote
from dexcore.results import Outcome
from dexnode.ids import IdFormat
from dexnode.instant_swap import quote_swap
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SECOND_NS,
    SELL,
    START_NS,
    Trader,
    orders,
    place,
    public_key,
    register,
    seed_of,
    spec,
)

PRODUCT, RANGES = 1, 2
# Ticks of markets and of pools about each other: a tick is 0.01 of a base atom's worth.
MIDDLE = -3_600
UNIT = {
    "fine": spec("AAA", "QQQ", price_ticks_max=100_000, quantity_lots_max=10**6),
    "coarse": spec(
        "BBB", "QQQ", price_increment_ticks=5, quantity_increment_lots=10, quantity_lots_max=10**6
    ),
}


class Fair:
    """A market with book and pool at random, and one who takes."""

    def __init__(self, chance: random.Random, market: MarketSpec, kind: int) -> None:
        self.chance = chance
        self.exchange = Exchange()
        self.nonce = 0
        self.apply(CreateMarket(OPERATOR, market))
        self.apply(CreatePool(OPERATOR, 0, kind, chance.choice((500, 3_000)), 100 * (kind - 1)))
        self.traders = []
        for number in range(2):
            key = self.apply(register(number)).key
            self.traders.append(Trader(key, public_key(number)))
            for asset in (market.base_asset_id, market.quote_asset_id):
                self.apply(Deposit(OPERATOR, key, asset, 10**12, f"{key} {asset}"))
        self.market = self.exchange.markets[0]
        self.lots = market.quantity_increment_lots
        self.ticks = market.price_increment_ticks
        for _ in range(chance.randint(1, 5)):
            self.provide(kind)

    def apply(self, command: Command) -> Outcome:
        return self.exchange.apply(self.exchange.sequence + 1, START_NS, command)

    def provide(self, kind: int) -> None:
        self.nonce += 1
        lower = MIDDLE + 60 * self.chance.randint(-8, 4)
        place_of = (
            (lower, lower + 60 * self.chance.choice((1, 3, 20))) if kind == RANGES else (0, 0)
        )
        # At 100 ticks a base atom is worth 0.7 quote atoms.
        base = self.chance.choice((3_000, 200_000, 5_000_000))
        most = (base, base * 7 // 10) if kind == PRODUCT else (base, base)
        head = (self.traders[0].account_key, self.nonce, START_NS + SECOND_NS, bytes(16))
        self.apply(AddLiquidity(*head, self.traders[0].public_key, 0, *place_of, *most, 0, 0))

    def head(self, trader: Trader) -> tuple[int, int, int, bytes, bytes]:
        self.nonce += 1
        digest = self.nonce.to_bytes(16, "big")
        return trader.account_key, self.nonce, START_NS + SECOND_NS, digest, trader.public_key

    def order(self, trader: Trader, *arguments: int, **terms: Any) -> Any:
        self.nonce += 1
        item = place(*arguments, **terms)
        return self.apply(orders(trader, self.nonce, [item], now_ns=START_NS)).items[0]

    def quoted(self, side: int, lots: int) -> pb.QuoteSwapResponse:
        account = self.exchange.accounts.by_key[self.traders[1].account_key]
        return quote_swap(self.exchange, IdFormat(0, 1), self.market, account, side, lots)


@pytest.mark.parametrize("units", UNIT)
@pytest.mark.parametrize("kind", [PRODUCT, RANGES])
def test_an_order_gets_what_was_quoted(kind: int, units: str) -> None:
    seed = seed_of("tests/unit/node/test_instant_swap.py")
    chance = random.Random(f"{seed} {kind} {units}")
    taken = 0
    for _ in range(12):
        fair = Fair(chance, UNIT[units], kind)
        for _ in range(12):
            side, price = chance.choice((BUY, SELL)), chance.randint(16, 24) * 5
            fair.order(fair.traders[0], side, price, chance.randint(1, 20) * fair.lots)
            side, lots = chance.choice((BUY, SELL)), chance.choice((1, 7, 60, 2_000)) * fair.lots
            before = encode_state(fair.exchange)
            quoted = fair.quoted(side, lots)
            assert encode_state(fair.exchange) == before, "a preview changed the exchange"
            order = quoted.order
            whole = order.book_lots + order.pool_lots == lots
            assert whole is not order.HasField("rejection")
            if not whole:
                assert quoted.better == pb.SWAP_SOURCE_UNSPECIFIED
                assert order.rejection.reason in {
                    errors_pb2.ERROR_REASON_NO_LIQUIDITY,
                    errors_pb2.ERROR_REASON_FILL_OR_KILL_UNFILLABLE,
                }
                continue
            limit = order.limit_price_ticks
            result = fair.order(fair.traders[1], side, limit, lots, tif=FOK)
            assert (result.reason, result.filled_lots) == (0, lots)
            value = sum(ticks * n for _, ticks, n, _ in result.fills)
            fees = sum(fee for *_, fee in result.fills)
            sign = 1 if side == BUY else -1
            atoms = value * fair.market.quote_atoms_per_tick_lot + sign * fees
            assert (atoms, fees) == (order.quote_atoms, order.fee_atoms)
            assert all(sign * ticks <= sign * limit for _, ticks, _, _ in result.fills)
            assert sign * atoms <= sign * order.limit_quote_atoms
            taken += 1
    assert taken > 20


@pytest.mark.parametrize("side", [BUY, SELL])
def test_the_better_of_both_is_named(side: int) -> None:
    fair = Fair(random.Random(1), UNIT["fine"], PRODUCT)
    maker, taker = fair.traders
    sign = 1 if side == BUY else -1
    fair.apply(AddLiquidity(*fair.head(maker), 0, 0, 0, 5_000_000, 3_500_000, 0, 0))
    # The pool asks and bids about 100, and a percent more for so many.
    lots = 60
    asked = fair.apply(RequestQuote(*fair.head(taker), 0, 0, lots, START_NS + SECOND_NS, b""))
    order = fair.quoted(side, lots).order
    assert not fair.quoted(side, lots).HasField("quote")
    market = fair.market
    unit = lots * market.quote_atoms_per_tick_lot
    found = []
    for price in (100 + 80 * sign, 100):
        prices = (0, price) if side == BUY else (price, 0)
        fair.apply(GiveQuote(*fair.head(maker), asked.key, *prices, START_NS + SECOND_NS, 0))
        quoted = fair.quoted(side, lots)
        fee = -(-price * unit * market.taker_fee_ppm // 1_000_000)
        total = price * unit + sign * fee
        assert (quoted.quote.quote_atoms, quoted.quote.fee_atoms) == (total, fee)
        by_quote = sign * total <= sign * order.quote_atoms
        wanted = pb.SWAP_SOURCE_QUOTE if by_quote else pb.SWAP_SOURCE_ORDER
        assert quoted.better == wanted, "the worse of two was called better"
        found.append(wanted)
    assert found == [pb.SWAP_SOURCE_ORDER, pb.SWAP_SOURCE_QUOTE]
    # A quote is on one size.
    assert not fair.quoted(side, lots - 1).HasField("quote")
