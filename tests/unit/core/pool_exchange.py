"""An exchange with a pool beside its naive twin, and random commands for both."""

from __future__ import annotations

import random
from typing import Any

from dexcore.amm.concentrated import Concentrated
from dexcore.amm.pool_tick import sqrt_price_at
from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import Command, CreateMarket, Deposit
from dexcore.events import Trade
from dexcore.exchange import Exchange
from dexcore.market import MarketSpec
from dexcore.pool_commands import (
    EXACT_IN,
    AddLiquidity,
    CreatePool,
    PoolSwap,
    RemoveLiquidity,
)
from dexcore.reasons import Reason
from dexcore.results import OrderStatus, Outcome
from tests.reference.pool_curves import Product, Ranges
from tests.reference.pool_twin import BASE, FOK, GTC, IOC, LIMIT, MARKET, QUOTE, No, PoolTwin
from tests.unit.core.exchanges import (
    BUY,
    OPERATOR,
    SECOND_NS,
    START_NS,
    Trader,
    cancel,
    orders,
    place,
    public_key,
    register,
)

CONSTANT_PRODUCT, CONCENTRATED = 1, 2
FIRST_PRICE = 100
# About the price, with the units of these markets: pool tick of 0.7 quote atoms per base atom.
MIDDLE = -3_600


class PoolPair:
    """One market with a pool, applied to both and compared after every command."""

    def __init__(self, spec: MarketSpec, kind: int, fee_ppm: int, traders: int = 3) -> None:
        self.exchange = Exchange()
        self.journal: list[tuple[int, Command]] = []
        self.time_ns = START_NS
        self.apply(CreateMarket(OPERATOR, spec))
        price = FIRST_PRICE if kind == CONCENTRATED else 0
        pool_key = self.apply(CreatePool(OPERATOR, 0, kind, fee_ppm, price)).key
        self.traders = []
        for number in range(traders):
            key = self.apply(register(number)).key
            self.traders.append(Trader(key, public_key(number)))
            for asset in (spec.base_asset_id, spec.quote_asset_id):
                self.apply(Deposit(OPERATOR, key, asset, 2_000_000, f"{key} {asset}"))
        owned = {(t.account_key, asset): 2_000_000 for t in self.traders for asset in (BASE, QUOTE)}
        pool: Product | Ranges = Product(fee_ppm)
        if isinstance(self.curve, Concentrated):
            pool = Ranges(fee_ppm, self.curve.sqrt_price, sqrt_price_at)
        self.twin = PoolTwin(spec._asdict(), pool, pool_key, owned)
        self.nonce = 0

    @property
    def curve(self) -> Any:
        pool = self.exchange.markets[0].pool
        assert pool is not None
        return pool.curve

    def apply(self, command: Command) -> Outcome:
        """Apply to the exchange alone."""
        self.journal.append((self.time_ns, command))
        return self.exchange.apply(self.exchange.sequence + 1, self.time_ns, command)

    def head(self, trader: Trader) -> tuple[int, int, int, bytes, bytes]:
        """What every signed command begins with."""
        self.nonce += 1
        digest = self.nonce.to_bytes(16, "big")
        return (
            trader.account_key,
            self.nonce,
            self.time_ns + SECOND_NS,
            digest,
            trader.public_key,
        )

    def restart(self) -> None:
        """Go on from a snapshot, which gives the same bytes again."""
        data = encode_state(self.exchange)
        self.exchange = decode_state(data)
        assert encode_state(self.exchange) == data

    # --- to both

    def order(
        self, trader: Trader, side: int, kind: int, tif: int, post_only: bool, price: int, lots: int
    ) -> None:
        """Place an order."""
        self.nonce += 1
        terms: dict[str, Any] = {"order_type": kind, "tif": tif, "post_only": post_only}
        item = place(side, price, lots, **terms)
        outcome = self.apply(orders(trader, self.nonce, [item], now_ns=self.time_ns))
        result = outcome.items[0]
        key, who = outcome.sequence * 4_096, trader.account_key
        said = said_by(self.twin.place, key, who, side, kind, tif, post_only, item[6], lots)
        if result.reason:
            assert said == Reason(result.reason).name
        else:
            assert (OrderStatus(result.status).name, *result[3:6]) == said
            trades = [tuple(e)[1:] for e in outcome.events if isinstance(e, Trade)]
            assert trades == self.twin.trades
        self.compare()

    def cancel(self, trader: Trader, key: int) -> None:
        """Cancel an order, which may be somebody else's."""
        self.nonce += 1
        sent = orders(trader, self.nonce, [cancel(key)], now_ns=self.time_ns)
        outcome = self.apply(sent)
        refused = said_by(self.twin.cancel, trader.account_key, key)
        assert Reason(outcome.items[0].reason).name == (refused or "NONE")
        self.compare()

    def add(
        self, trader: Trader, lower: int, upper: int, most: tuple[int, int], least: tuple[int, int]
    ) -> None:
        """Provide liquidity."""
        outcome = self.twice(AddLiquidity(*self.head(trader), 0, lower, upper, *most, *least))
        self.check(outcome, self.twin.add, (trader.account_key, lower, upper), most, least)

    def remove(
        self, trader: Trader, lower: int, upper: int, liquidity: int, least: tuple[int, int]
    ) -> None:
        """Take liquidity back."""
        outcome = self.twice(
            RemoveLiquidity(*self.head(trader), 0, lower, upper, liquidity, *least)
        )
        where = (trader.account_key, lower, upper)
        self.check(outcome, self.twin.remove, where, liquidity, least)

    def swap(self, trader: Trader, side: int, exact: int, atoms: int, limit: int) -> None:
        """Trade with the pool alone."""
        outcome = self.twice(PoolSwap(*self.head(trader), 0, side, exact, atoms, limit))
        who = trader.account_key
        self.check(outcome, self.twin.swap, who, side, atoms, limit, is_in=exact == EXACT_IN)

    def twice(self, command: Command) -> Outcome:
        """Apply it and send it again, which is answered the same and changes nothing."""
        outcome = self.apply(command)
        again = self.apply(command)
        assert again.repeated
        assert (again.reason, again.field, again.key, again.amounts) == (
            outcome.reason,
            outcome.field,
            outcome.key,
            outcome.amounts,
        )
        return outcome

    def check(self, outcome: Outcome, act: Any, *arguments: Any, **more: Any) -> None:
        """The twin says the same."""
        said = said_by(act, *arguments, **more)
        assert said == (outcome.reason.name if outcome.reason else outcome.amounts)
        self.compare()

    def compare(self) -> None:
        """All money, the book and the pool."""
        exchange, twin = self.exchange, self.twin
        market = exchange.markets[0]
        for asset, name in ((market.base, BASE), (market.quote, QUOTE)):
            for key in [*[t.account_key for t in self.traders], twin.pool_key]:
                cell = exchange.ledger.cell(key, asset)
                assert cell.available + cell.held == twin.owned.get((key, name), 0)
                assert cell.available == twin.available(key, name)
        assert market.fee_cell.available == twin.fees
        for number, side in ((BUY, market.book.bids), (3 - BUY, market.book.asks)):
            assert side.depth(1_000) == twin.levels(number)
        assert (self.curve.base_atoms, self.curve.quote_atoms) == (twin.pool.base, twin.pool.quote)
        if isinstance(twin.pool, Ranges):
            assert self.curve.sqrt_price == twin.pool.root


def said_by(act: Any, *arguments: Any, **more: Any) -> Any:
    """What the twin answers, or the name of its refusal."""
    try:
        return act(*arguments, **more)
    except No as no:
        return no.args[0]


def pool_life(trader: Trader, nonce: int, time_ns: int, kind: int = CONCENTRATED) -> list[Command]:
    """A concentrated pool in the first market, or another in the second; each command once."""
    heads = (
        (trader.account_key, each, time_ns + SECOND_NS, bytes(16), trader.public_key)
        for each in range(nonce, nonce + 3)
    )
    place, price = (0, MIDDLE - 600, MIDDLE + 600), FIRST_PRICE
    if kind == CONSTANT_PRODUCT:
        place, price = (1, 0, 0), 0
    return [
        CreatePool(OPERATOR, place[0], kind, 3_000, price),
        AddLiquidity(*next(heads), *place, 5_000, 5_000, 0, 0),
        PoolSwap(*next(heads), place[0], BUY, EXACT_IN, 100, 1),
        RemoveLiquidity(*next(heads), *place, 10, 0, 0),
    ]


class PoolCommands:
    """Random commands about one price, most of which do something."""

    def __init__(self, chance: random.Random, pair: PoolPair) -> None:
        self.chance = chance
        self.pair = pair
        self.is_product = isinstance(pair.twin.pool, Product)
        self.spec = pair.exchange.markets[0].spec

    def next(self) -> None:
        """Apply one to the pair."""
        chance, pair = self.chance, self.pair
        trader = chance.choice(pair.traders)
        roll = chance.random()
        if roll < 0.55:
            self._order(trader)
        elif roll < 0.65:
            keys = [order.key for order in pair.twin.resting]
            pair.cancel(trader, chance.choice([*keys, 1]))
        elif roll < 0.78:
            least = chance.choice(((0, 0), (0, 0), (1_000, 1_000)))
            most = chance.choice((10, 5_000, 300_000)), chance.choice((10, 5_000, 300_000))
            pair.add(trader, *self._range(), most, least)
        elif roll < 0.86:
            self._remove(trader)
        elif roll < 0.98:
            self._swap(trader)
        else:
            pair.restart()
        pair.time_ns += chance.choice((0, 1, SECOND_NS))

    def _range(self) -> tuple[int, int]:
        if self.is_product:
            return 0, 0
        # Of the widest fee tier, or of all others.
        spacing = 200 if self.pair.curve.fee_ppm == 10_000 else 60
        lower = MIDDLE + spacing * self.chance.randint(-12, 10)
        return lower, lower + spacing * self.chance.choice((1, 2, 10, 40))

    def _order(self, trader: Trader) -> None:
        chance, spec = self.chance, self.spec
        kind = chance.choice((LIMIT, LIMIT, LIMIT, MARKET))
        tif = chance.choice((IOC, FOK)) if kind == MARKET else chance.choice((GTC, GTC, IOC, FOK))
        post_only = kind == LIMIT and tif == GTC and chance.random() < 0.2
        ticks, lots = spec.price_increment_ticks, spec.quantity_increment_lots
        price = 0 if kind == MARKET else chance.randint(85 // ticks, 115 // ticks) * ticks
        size = chance.choice((1, 2, 5, 12)) * lots
        side = chance.choice((1, 2))
        self.pair.order(trader, side, kind, tif, post_only, price, size)

    def _remove(self, trader: Trader) -> None:
        chance, pool = self.chance, self.pair.twin.pool
        if isinstance(pool, Product):
            places = [(who, 0, 0) for who in pool.shares]
        else:
            places = list(pool.positions)
        if not places:
            return
        who, lower, upper = chance.choice(places)
        mine = trader.account_key if chance.random() < 0.1 else who
        owned = pool.owned((who, lower, upper)) or 0
        owner = next(t for t in self.pair.traders if t.account_key == mine)
        liquidity = chance.choice((0, 1, owned // 2, owned, owned + 1))
        self.pair.remove(owner, lower, upper, liquidity, chance.choice(((0, 0), (0, 0), (500, 0))))

    def _swap(self, trader: Trader) -> None:
        chance = self.chance
        exact = chance.choice((1, 2))
        atoms = chance.choice((1, 7, 1_000, 40_000, 400_000))
        limits = (0, 0, atoms) if exact == EXACT_IN else (10**9, 10**9, atoms)
        self.pair.swap(trader, chance.choice((1, 2)), exact, atoms, chance.choice(limits))
