"""Pools in every market against the naive twin, where much else goes on."""

from __future__ import annotations

import random
from collections import Counter

from tests.unit.core.beside_twin import Pair
from tests.unit.core.command_maker import CommandMaker
from tests.unit.core.exchanges import seed_of
from tests.unit.core.pool_exchange import use_pools

RUNS, COMMANDS = 6, 700
# What so few commands always come to; the run of a hundred thousand meets everything.
COMMON = (
    *("pool created: constant product", "pool created: concentrated", "liquidity added"),
    *("liquidity removed", "swapped with a pool", "from a pool: limit", "from pool and book"),
)


def test_random_commands_match_the_twin() -> None:
    seed = seed_of("tests/property/test_pools_twin.py")
    met: Counter[str] = Counter()
    for run in range(RUNS):
        pair = Pair()
        maker = CommandMaker(random.Random(f"{seed} {run}"), pair.exchange, pair.traders)
        use_pools(maker, pair, COMMANDS)
        met.update(pair.features.counts)
    assert not [name for name in COMMON if not met[name]]
