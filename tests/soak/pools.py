"""Book and pool beside their naive twin: everything that can be seen, after every command."""

from __future__ import annotations

import random

from tests.soak.job import Run
from tests.unit.core.exchanges import MARKETS
from tests.unit.core.pool_exchange import CONCENTRATED, CONSTANT_PRODUCT, PoolCommands, PoolPair

COMMANDS_PER_RUN = 500
FEES_PPM = (100, 500, 3_000, 10_000)


def work(run: Run) -> None:
    """Both kinds of pools in turn, every fee tier, in markets with and without increments."""
    number = 0
    while run.goes_on():
        seed = f"{run.seed} {number}"
        chance = random.Random(seed)
        kind = (CONSTANT_PRODUCT, CONCENTRATED)[number % 2]
        pair = PoolPair(MARKETS[chance.randrange(2)], kind, chance.choice(FEES_PPM))
        commands = PoolCommands(chance, pair)
        for step in range(COMMANDS_PER_RUN):
            try:
                commands.next()
            except BaseException:
                print(f"random.Random({seed!r}), step {step}: {pair.journal[-1]}")
                raise
            run.done += 1
            if not run.goes_on():
                break
        run.counts["trades"] += pair.twin.trade_sequence
        number += 1
    run.counts["runs of a fresh exchange"] = number
