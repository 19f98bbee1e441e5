"""What one order item costs in the core: `python -m tests.bench.core_apply`.

Applies a seeded market maker's day (places, cancels, amends, takers) in batches and singly, and
prints CPU time per item by stage, so that a busy machine disturbs little. `--profile` prints where
the time of apply and views goes instead.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import random
import time
from collections.abc import Callable

from dexcore.commands import CreateMarket, OrderCommand, encode_command
from dexcore.events import Trade
from dexcore.items import FOK, IOC, Item
from dexcore.results import Outcome
from dexruntime.journal.format import CHAIN_BYTES, encode_records
from dexruntime.views import Views
from tests.unit.core.exchanges import (
    BUY,
    SECOND_NS,
    SELL,
    START_NS,
    Trader,
    World,
    amend,
    cancel,
    orders,
    place,
    spec,
)

MARKET = spec("BTC", "USDT", price_ticks_max=10**9, quantity_lots_max=10**9)
# Items whose records share one block of the journal.
BLOCK_ITEMS = 500
LIFETIME_NS = 30 * SECOND_NS


class Maker:
    """One account that quotes around a wandering price and sometimes takes."""

    def __init__(self, chance: random.Random, trader: Trader) -> None:
        self.chance = chance
        self.trader = trader
        self.client_id = 0
        self.quotes: list[int] = []

    def item(self, middle: int) -> Item:
        """The next item: 55% new quotes, 30% cancels, 5% amends, 10% takers."""
        chance = self.chance
        roll = chance.random()
        if roll < 0.35 and len(self.quotes) > 20:
            client_id = self.quotes.pop(chance.randrange(len(self.quotes)))
            if roll < 0.3:
                return cancel(client_id=client_id)
            self.quotes.append(client_id)
            return amend(chance.randint(1, 50), client_id=client_id)
        side = chance.choice((BUY, SELL))
        away = -1 if side == BUY else 1
        if roll > 0.9:
            price = middle - away * chance.randint(1, 3)
            return place(side, price, chance.randint(1, 60), tif=chance.choice((IOC, IOC, FOK)))
        self.client_id += 1
        self.quotes.append(self.client_id)
        price = middle + away * chance.randint(1, 40)
        return place(side, price, chance.randint(1, 50), client_id=self.client_id)


def workload(items: int, batch: int, seed: int) -> tuple[World, Views, list[OrderCommand]]:
    """A world with open accounts, its views, and signed commands of so many items in all."""
    chance = random.Random(seed)
    world = World()
    views = Views(world.exchange)
    world.do(CreateMarket("operator", MARKET))
    makers = [Maker(chance, world.open_account(10**15)) for _ in range(16)]
    for sequence, outcome in enumerate(world.outcomes, 1):
        views.consume(sequence, outcome)
    commands = []
    middle = 50_000
    for number in range(items // batch):
        middle += chance.randint(-1, 1)
        maker = chance.choice(makers)
        packed = [maker.item(middle) for _ in range(batch)]
        # As if 50,000 items came in a second.
        now_ns = START_NS + number * batch * 20_000
        command = orders(maker.trader, number + 1, packed, now_ns=now_ns, lifetime_ns=LIFETIME_NS)
        commands.append(command)
    return world, views, commands


def stages(
    world: World, views: Views, commands: list[OrderCommand], batch: int
) -> tuple[dict[str, Callable[[], object]], list[Outcome]]:
    """The work of the node's loop for these commands, one stage after the other."""
    exchange = world.exchange
    first = exchange.sequence + 1
    encoded: list[bytes] = []
    outcomes: list[Outcome] = []

    def encode() -> None:
        encoded.extend(map(encode_command, commands))

    def journal() -> None:
        chain, sequence = bytes(CHAIN_BYTES), first - 1
        step = max(1, BLOCK_ITEMS // batch)
        for start in range(0, len(encoded), step):
            # An envelope is about as long as its command.
            block = [
                (first + start + index, START_NS, data, data)
                for index, data in enumerate(encoded[start : start + step])
            ]
            _, sequence, _, chain = encode_records(
                block, sequence=sequence, time_ns=START_NS, chain=chain
            )

    def apply() -> None:
        for sequence, command in enumerate(commands, first):
            now_ns = command.expire_time_ns - LIFETIME_NS
            outcomes.append(exchange.apply(sequence, now_ns, command))

    def consume() -> None:
        for sequence, outcome in enumerate(outcomes, first):
            views.consume(sequence, outcome)
            views.wake()

    return {"encode": encode, "journal": journal, "apply": apply, "views": consume}, outcomes


def measure(items: int, batch: int, seed: int) -> dict[str, float]:
    """CPU microseconds per item of each stage, and trades per item."""
    world, views, commands = workload(items, batch, seed)
    work, outcomes = stages(world, views, commands, batch)
    gc.collect()
    gc.freeze()
    cost: dict[str, float] = {}
    for name, stage in work.items():
        started_ns = time.process_time_ns()
        stage()
        cost[name] = (time.process_time_ns() - started_ns) / 1_000 / items
    trades = sum(isinstance(event, Trade) for outcome in outcomes for event in outcome.events)
    refused = sum(bool(result.reason) for outcome in outcomes for result in outcome.items)
    return {**cost, "all": sum(cost.values()), "trades": trades / items, "refused": refused / items}


def profile(items: int, batch: int, seed: int) -> None:
    """Print the dearest functions of apply and views."""
    work, _ = stages(*workload(items, batch, seed), batch)
    profiler = cProfile.Profile()
    profiler.enable()
    work["apply"]()
    work["views"]()
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(28)


def main() -> None:
    """Measure, or profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.profile:
        profile(options.items, 100, options.seed)
        return
    for batch in (100, 1):
        row = measure(options.items, batch, options.seed)
        cells = "  ".join(f"{name} {value:.2f}" for name, value in row.items())
        print(f"batches of {batch:>3}: us per item: {cells}  = {1e6 / row['all']:,.0f} items/s")


if __name__ == "__main__":
    main()
