"""An exchange with one market and its pool beside the naive twin, for orders of one's own."""

from __future__ import annotations

from typing import Any

from dexcore.checkpoint import decode_state, encode_state
from dexcore.commands import Command, Deposit
from dexcore.market import MarketSpec
from dexcore.pool_commands import (
    EXACT_IN,
    AddLiquidity,
    CreatePool,
    PoolSwap,
    RemoveLiquidity,
)
from dexcore.results import Outcome
from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import BUY, OPERATOR, SECOND_NS, START_NS, Trader
from tests.unit.core.pool_maker import CONCENTRATED, CONSTANT_PRODUCT, MIDDLE_TICK, MIDDLE_TICKS

EVERY_HOW_MANY_RESTARTS = 97


class PoolPair(Pair):
    """One market with a pool, applied to both and compared after every command."""

    def __init__(self, spec: MarketSpec, kind: int, fee_ppm: int, traders: int = 3) -> None:
        super().__init__(traders, markets=(spec,))
        self.time_ns = START_NS
        self.nonce = 0
        price = MIDDLE_TICKS if kind == CONCENTRATED else 0
        self.pool_key = self.do(CreatePool(OPERATOR, 0, kind, fee_ppm, price)).key
        for trader in self.traders:
            key = trader.account_key
            for asset in (spec.base_asset_id, spec.quote_asset_id):
                self.do(Deposit(OPERATOR, key, asset, 2_000_000, f"more {key} {asset}"))

    @property
    def curve(self) -> Any:
        pool = self.exchange.markets[0].pool
        assert pool is not None
        return pool.curve

    def do(self, command: Command) -> Outcome:
        """Apply now."""
        return self.apply(self.time_ns, command)

    def head(self, trader: Trader) -> tuple[int, int, int, bytes, bytes]:
        """What every signed command begins with."""
        self.nonce += 1
        digest = self.nonce.to_bytes(16, "big")
        expire_ns = self.time_ns + SECOND_NS
        return trader.account_key, self.nonce, expire_ns, digest, trader.public_key


def pool_life(trader: Trader, nonce: int, time_ns: int, kind: int = CONCENTRATED) -> list[Command]:
    """A concentrated pool in the first market, or another in the second; each command once."""
    heads = (
        (trader.account_key, each, time_ns + SECOND_NS, bytes(16), trader.public_key)
        for each in range(nonce, nonce + 3)
    )
    place, price = (0, MIDDLE_TICK - 600, MIDDLE_TICK + 600), MIDDLE_TICKS
    if kind == CONSTANT_PRODUCT:
        place, price = (1, 0, 0), 0
    return [
        CreatePool(OPERATOR, place[0], kind, 3_000, price),
        AddLiquidity(*next(heads), *place, 5_000, 5_000, 0, 0),
        PoolSwap(*next(heads), place[0], BUY, EXACT_IN, 100, 1),
        RemoveLiquidity(*next(heads), *place, 10, 0, 0),
    ]


def use_pools(maker: CommandMaker, pair: Pair, commands: int) -> None:
    """Apply random commands, half of them about pools in every market, with restarts."""
    maker.pools.wanted = [0, 1, 2]
    for step in range(commands):
        time_ns, command = maker.next()
        if maker.chance.random() < 0.5:
            command = maker.pools.next()
            maker.sent.append(command)
        try:
            pair.apply(time_ns, command)
        except BaseException as error:
            error.add_note(f"step {step}: {command}")
            raise
        if step % EVERY_HOW_MANY_RESTARTS == 0:
            # On from a snapshot, which says the same again.
            state = encode_state(pair.exchange)
            maker.exchange = maker.order_maker.exchange = pair.exchange = decode_state(state)
            assert encode_state(pair.exchange) == state
