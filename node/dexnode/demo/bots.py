"""The bots of the demo: makers that quote around a wandering price, takers that hit them.

Every decision comes from one seed, so a run can be repeated; times do not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import click
import trio

from dexnode.demo.accounts import BotAccounts
from dexnode.demo.markets import DEMO_MARKETS, DemoMarket, open_markets
from dexsdk import (
    Cancel,
    Client,
    DexError,
    Key,
    Market,
    NewOrder,
    Place,
    PoolKind,
    Side,
    TimeInForce,
    Unavailable,
)
from dexsdk.errors import from_rejection

LEVELS_PER_SIDE: Final = 12
QUOTE_PAUSE_SECONDS: Final = 0.35
TAKE_PAUSE_SECONDS: Final = 0.25
# The price wanders by this much a quote, and the spread is this wide, in
# hundred-thousandths of the price.
STEP_PER_100K: Final = 6
SPREAD_PER_100K: Final = 4
TAKERS_PER_MARKET: Final = 3
RETRY_PAUSE_SECONDS: Final = 2.0
MAKER_FAUCET_PULLS: Final = 20
TAKER_FAUCET_PULLS: Final = 4
PROVIDER_FAUCET_PULLS: Final = 2
# What a pool begins with: so many units of the base asset, and their worth.
POOL_BASE_UNITS: Final = Decimal(100)
# What a bot waits out; at its next start it takes money from the faucet when short.
PASSING_REASONS: Final = frozenset({"MARKET_NOT_OPEN", "NO_LIQUIDITY", "INSUFFICIENT_FUNDS"})


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
    """One market the bots trade in, and what they share there."""

    accounts: BotAccounts
    market: Market
    demo: DemoMarket
    fair: FairPrice


Bot: TypeAlias = Callable[[Arena, str, random.Random], Awaitable[NoReturn]]


async def run_bots(
    address: str, network_id: str, operator_key: Key, seed: int, folder: Path
) -> None:
    """Open the demo markets and trade in them until cancelled; `folder` keeps the bots' keys."""
    async with Client(address, network_id=network_id, key=operator_key) as operator:
        accounts = BotAccounts(address, network_id, operator, folder)
        markets = {market.market_id: market for market in await open_markets(operator)}
        async with trio.open_nursery() as nursery:
            for number, demo in enumerate(DEMO_MARKETS):
                market = markets[demo.market_id]
                start_ticks = market.price_ticks(demo.start_price)
                arena = Arena(accounts, market, demo, FairPrice(start_ticks, start_ticks))
                nursery.start_soon(_keep, run_maker, arena, f"maker-{number}", seed)
                if demo.pool_fee_ppm:
                    nursery.start_soon(_keep, run_provider, arena, f"provider-{number}", seed)
                for taker in range(TAKERS_PER_MARKET):
                    name = f"taker-{100 * (taker + 1) + number}"
                    nursery.start_soon(_keep, run_taker, arena, name, seed)


async def _keep(bot: Bot, arena: Arena, name: str, seed: int) -> None:
    """Run a bot, and start it again after whatever ended it; the others do not notice."""
    chance = random.Random(f"{seed}-{name}")  # noqa: S311 - a game of chance
    while True:
        try:
            await bot(arena, name, chance)
        except* Exception as faults:  # noqa: BLE001 - told in a line
            for fault in faults.exceptions:
                if not _passes(fault):
                    _tell(name, fault)
        await trio.sleep(RETRY_PAUSE_SECONDS)


def _passes(fault: Exception) -> bool:
    """Whether the node is away or the market closed, for now."""
    return isinstance(fault, Unavailable) or (
        isinstance(fault, DexError) and fault.reason in PASSING_REASONS
    )


def _tell(name: str, fault: Exception) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    click.echo(f"{now} {name}: {type(fault).__name__}: {fault}", err=True)


async def run_maker(arena: Arena, name: str, chance: random.Random) -> NoReturn:
    """Keep a ladder of quotes around the fair price, replaced in one signed batch each."""
    async with arena.accounts.open(name, MAKER_FAUCET_PULLS) as client:
        resting: list[str] = []
        while True:
            arena.fair.wander(chance)
            quotes = _ladder(arena.market, arena.demo, arena.fair, chance)
            actions = [Cancel(order_id=order_id) for order_id in resting]
            results = await client.submit_batch([*actions, *(Place(quote) for quote in quotes)])
            for result in results:
                refused = from_rejection(result.rejection)
                # A quote that has been filled or would take is no fault.
                if refused is not None and refused.reason in PASSING_REASONS:
                    raise refused
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


async def run_provider(arena: Arena, name: str, _chance: random.Random) -> NoReturn:
    """Provide the pool's liquidity at the start price, once, and leave it there."""
    market = arena.market
    async with arena.accounts.open(name, PROVIDER_FAUCET_PULLS) as client:
        pool = await client.get_pool(market.market_id)
        if pool.kind == PoolKind.CONSTANT_PRODUCT and not pool.liquidity:
            worth = POOL_BASE_UNITS * Decimal(arena.demo.start_price)
            await client.add_liquidity(
                market.market_id,
                base_atoms_max=market.amount_atoms(market.base_asset_id, POOL_BASE_UNITS),
                quote_atoms_max=market.amount_atoms(market.quote_asset_id, worth),
            )
        await trio.sleep_forever()


async def run_taker(arena: Arena, name: str, chance: random.Random) -> NoReturn:
    """Hit the book now and then, now on this side, now on that."""
    usual_lots = _usual_lots(arena.market, arena.demo)
    async with arena.accounts.open(name, TAKER_FAUCET_PULLS) as client:
        while True:
            await trio.sleep(chance.expovariate(1 / TAKE_PAUSE_SECONDS))
            side = chance.choice((Side.BUY, Side.SELL))
            price_ticks = arena.fair.price_ticks
            slack = price_ticks // 1_000 * (1 if side == Side.BUY else -1)
            order = NewOrder(
                market=arena.market.market_id,
                side=side,
                price_ticks=price_ticks + slack,
                quantity_lots=chance.randint(max(1, usual_lots // 10), usual_lots * 2),
                time_in_force=TimeInForce.IOC,
            )
            await client.place_order(order)
