"""Random commands about pools, valid and not, around the price where the orders are."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from dexcore.amm.constant_product import ConstantProduct
from dexcore.commands import Command
from dexcore.market import Market
from dexcore.pool import TICK_SPACING_OF_FEE
from dexcore.pool_commands import (
    EXACT_IN,
    EXACT_OUT,
    AddLiquidity,
    CreatePool,
    PoolSwap,
    RemoveLiquidity,
)
from tests.unit.core.exchanges import BUY, OPERATOR, SELL

if TYPE_CHECKING:
    from tests.unit.core.command_maker import CommandMaker

Head = tuple[int, int, int, bytes, bytes]
# A price of 100 ticks is 0.7 quote atoms per base atom in these markets: pool tick -3,567.
MIDDLE_TICK, MIDDLE_TICKS = -3_600, 100
CONSTANT_PRODUCT, CONCENTRATED = 1, 2


class PoolMaker:
    """Makes them for a maker of all commands, with its chance, traders, time and nonces."""

    def __init__(self, maker: CommandMaker) -> None:
        self.maker = maker
        # Some markets never have one, some runs have none at all.
        self.wanted = maker.chance.sample((0, 1, 2), maker.chance.choice((0, 1, 2, 2, 3)))

    def next(self) -> Command:
        """The next command."""
        markets = self.maker.exchange.markets
        missing = [index for index in self.wanted if markets[index].pool is None]
        makers = (
            (40 if missing else 1, self._create),
            (10, self._add),
            (6, self._remove),
            (8, self._swap),
        )
        chance = self.maker.chance
        return chance.choices([m for _, m in makers], [weight for weight, _ in makers])[0]()

    def _create(self) -> Command:
        chance, often = self.maker.chance, self.maker._often
        index = often(chance.choice(self.wanted or [9]), 3, -1, 9)
        kind = often(chance.choice((CONSTANT_PRODUCT, CONCENTRATED)), 0, 3)
        price = chance.choice((95, 100, 105)) if kind == CONCENTRATED else 0
        fee_ppm = often(chance.choice((100, 500, 3_000, 10_000)), 0, 101)
        return CreatePool(OPERATOR, index, kind, fee_ppm, often(price, 0, 1, 3, 1_001, -5))

    def _market(self) -> Market:
        """Nearly always one with a pool, if there is any."""
        markets = self.maker.exchange.markets
        with_pool = [market for market in markets if market.pool is not None]
        chosen: Market = self.maker.chance.choice(with_pool or markets)
        return self.maker._often(chosen, *markets)  # type: ignore[no-any-return]

    def _head(self, *said: int, owner: int = 0) -> Head:
        """Who signs: the owner of what it is about, nearly always."""
        trader, nonce, expire_ns = self.maker._signed()
        known = self.maker.exchange.accounts.by_key.get(self.maker._often(owner, 0))
        if known is not None:
            trader = trader._replace(account_key=known.key, public_key=next(iter(known.keys)))
        digest = blake2b(repr(said).encode(), digest_size=16).digest()
        return trader.account_key, nonce, expire_ns, digest, trader.public_key

    def _range(self, market: Market) -> tuple[int, int]:
        pool = market.pool
        if pool is None or isinstance(pool.curve, ConstantProduct):
            return self.maker._often(0, 1), self.maker._often(0, 60)
        chance, often = self.maker.chance, self.maker._often
        spacing = max(60, TICK_SPACING_OF_FEE[pool.curve.fee_ppm])
        lower = MIDDLE_TICK // spacing * spacing + spacing * chance.randint(-8, 6)
        upper = lower + spacing * chance.choice((1, 2, 5, 20))
        return often(lower, lower + 7, -900_000), often(upper, lower, upper + 7, 887_272, 900_000)

    def _add(self) -> Command:
        chance, often = self.maker.chance, self.maker._often
        market = self._market()
        most = [often(chance.choice((3_000, 30_000, 100_000)), 0, -1, 10, 2**63 - 1)] * 2
        most[chance.randint(0, 1)] = chance.choice((3_000, 30_000, 100_000))
        least = (often(0, 1_000, 10**6), often(0, 1_000, 10**6))
        index = often(market.index, -1, 9)
        said = (index, *self._range(market), *most, *least)
        return AddLiquidity(*self._head(*said), *said)

    def _remove(self) -> Command:
        chance, often = self.maker.chance, self.maker._often
        market = self._market()
        owner, place, owned = 0, self._range(market), 0
        curve = None if market.pool is None else market.pool.curve
        if isinstance(curve, ConstantProduct):
            owner, owned = chance.choice([*curve.shares.items(), (0, 0)])
        elif curve is not None and curve.positions:
            key, position = chance.choice(list(curve.positions.items()))
            owner, place, owned = key.account_key, key[1:], position.liquidity
        liquidity = chance.choice((owned // 3, owned // 3, owned // 2, owned, 0, 1, owned + 1))
        said = (market.index, *place, often(liquidity, -1), often(0, 500), often(0, 500))
        return RemoveLiquidity(*self._head(*said, owner=owner), *said)

    def _swap(self) -> Command:
        chance, often = self.maker.chance, self.maker._often
        market = self._market()
        side = often(chance.choice((BUY, SELL)), 0, 3)
        exact = often(chance.choice((EXACT_IN, EXACT_OUT)), 0, 3)
        atoms = often(chance.choice((1, 7, 1_000, 5_000, 40_000)), 0, -1, 10**6, 2**63 - 1)
        limit = 10**9 if exact == EXACT_OUT else 0
        limit = chance.choice((limit, limit, limit, max(atoms, 0)))
        said = (market.index, side, exact, atoms, often(limit, -1))
        return PoolSwap(*self._head(*said), *said)
