"""The bots of the demo: makers that quote around a wandering price, takers that hit them.

Every decision comes from one seed, so a run can be repeated; times do not.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import trio

from dexnode.demo.markets import DEMO_MARKETS, DemoMarket, open_markets, pull_faucet
from dexsdk import (
    CallerError,
    Cancel,
    Client,
    Key,
    Market,
    NewOrder,
    Place,
    Side,
    TimeInForce,
    Unavailable,
)

LEVELS_PER_SIDE: Final = 12
QUOTE_PAUSE_SECONDS: Final = 0.35
TAKE_PAUSE_SECONDS: Final = 0.25
# The price wanders by this much a quote, and the spread is this wide, in
# hundred-thousandths of the price.
STEP_PER_100K: Final = 6
SPREAD_PER_100K: Final = 4
TAKERS_PER_MARKET: Final = 3
RETRY_PAUSE_SECONDS: Final = 2.0


@dataclass
class FairPrice:
    """The price the makers of one market believe in."""

    price_ticks: int
    anchor_ticks: int

    def wander(self, chance: random.Random) -> None:
        """Move a little, drawn back to where the demo started."""
        step = max(1, self.price_ticks * STEP_PER_100K // 100_000)
        pull = (self.anchor_ticks - self.price_ticks) // 400
        self.price_ticks += chance.randint(-step, step) + pull


@dataclass(frozen=True)
class Arena:
    """Where the bots trade and who funds them."""

    address: str
    network_id: str
    operator: Client
    seed: int
    run_id: str

    def client(self, key: Key) -> Client:
        """A bot's own connection."""
        return Client(self.address, network_id=self.network_id, key=key)


async def run_bots(address: str, network_id: str, operator_key: Key, seed: int) -> None:
    """Open the demo markets and trade in them until cancelled."""
    async with Client(address, network_id=network_id, key=operator_key) as operator:
        run_id = Key.generate().public_bytes.hex()[:12]
        arena = Arena(address, network_id, operator, seed, run_id)
        markets = {market.market_id: market for market in await open_markets(operator)}
        async with trio.open_nursery() as nursery:
            for number, demo in enumerate(DEMO_MARKETS):
                market = markets[demo.market_id]
                start_ticks = market.price_ticks(demo.start_price)
                fair = FairPrice(start_ticks, start_ticks)
                nursery.start_soon(_keep, run_maker, arena, market, demo, fair, number)
                for taker in range(TAKERS_PER_MARKET):
                    bot = 100 * (taker + 1) + number
                    nursery.start_soon(_keep, run_taker, arena, market, demo, fair, bot)


async def _keep(bot: object, *arguments: object) -> None:
    """Start a bot again after the node was away."""
    while True:
        try:
            await bot(*arguments)  # type: ignore[operator]
        except Unavailable:
            await trio.sleep(RETRY_PAUSE_SECONDS)


async def run_maker(
    arena: Arena, market: Market, demo: DemoMarket, fair: FairPrice, number: int
) -> None:
    """Keep a ladder of quotes around the fair price, replaced in one signed batch each."""
    chance = random.Random(f"{arena.seed}-maker-{number}")  # noqa: S311 - a game of chance
    async with arena.client(Key.generate()) as client:
        account_id = await client.register_key()
        await pull_faucet(arena.operator, account_id, f"demo-{arena.run_id}-m{number}", 20)
        resting: list[str] = []
        while True:
            fair.wander(chance)
            quotes = _ladder(market, demo, fair, chance)
            actions = [Cancel(order_id=order_id) for order_id in resting]
            results = await client.submit_batch([*actions, *(Place(quote) for quote in quotes)])
            resting = [r.order_id for r in results[len(actions) :] if r.remaining_lots]
            await trio.sleep(QUOTE_PAUSE_SECONDS)


def _ladder(
    market: Market, demo: DemoMarket, fair: FairPrice, chance: random.Random
) -> list[NewOrder]:
    half_spread = max(1, fair.price_ticks * SPREAD_PER_100K // 200_000)
    lot_count = _usual_lots(market, demo)
    quotes = []
    for level in range(LEVELS_PER_SIDE):
        distance = half_spread + level * max(1, half_spread // 2) + chance.randint(0, half_spread)
        for side, price_ticks in (
            (Side.BUY, fair.price_ticks - distance),
            (Side.SELL, fair.price_ticks + distance),
        ):
            quotes.append(
                NewOrder(
                    market=market.market_id,
                    side=side,
                    price_ticks=price_ticks,
                    quantity_lots=chance.randint(lot_count, lot_count * (2 + level)),
                    post_only=True,
                )
            )
    return quotes


def _usual_lots(market: Market, demo: DemoMarket) -> int:
    """Lots that are worth about 500 quote units at the start price."""
    return max(1, market.quantity_lots(_floor(market, Decimal(500) / Decimal(demo.start_price))))


def _floor(market: Market, quantity: Decimal) -> Decimal:
    lot = market.quantity(1)
    return quantity // lot * lot


async def run_taker(
    arena: Arena, market: Market, demo: DemoMarket, fair: FairPrice, number: int
) -> None:
    """Hit the book now and then, now on this side, now on that."""
    chance = random.Random(f"{arena.seed}-taker-{number}")  # noqa: S311 - a game of chance
    usual_lots = _usual_lots(market, demo)
    async with arena.client(Key.generate()) as client:
        account_id = await client.register_key()
        await pull_faucet(arena.operator, account_id, f"demo-{arena.run_id}-t{number}", 4)
        while True:
            await trio.sleep(chance.expovariate(1 / TAKE_PAUSE_SECONDS))
            side = chance.choice((Side.BUY, Side.SELL))
            slack = fair.price_ticks // 1_000 * (1 if side == Side.BUY else -1)
            order = NewOrder(
                market=market.market_id,
                side=side,
                price_ticks=fair.price_ticks + slack,
                quantity_lots=chance.randint(max(1, usual_lots // 10), usual_lots * 2),
                time_in_force=TimeInForce.IOC,
            )
            try:
                await client.place_order(order)
            except CallerError as refused:
                if refused.reason != "INSUFFICIENT_FUNDS":
                    raise
                reference = f"demo-{arena.run_id}-t{number}-{chance.getrandbits(32):08x}"
                await pull_faucet(arena.operator, account_id, reference)
